//! What a publisher sends: numbered access units as a transport stream, cut into datagrams.

use penstock_tests::generate::mux::{Muxer, Pes, Program, Stream};
use penstock_tests::generate::numbered::{Numbered, UNIT_TICKS};

use crate::scenario::PublisherPlan;

/// Seven transport packets: what live senders put into a datagram.
pub(crate) const PAYLOAD_BYTES: usize = 1_316;
/// The presentation clock runs so far behind the program clock.
const CLOCK_AHEAD: u64 = 20_000;
const STAMP_RANGE: u64 = 1 << 33;

#[derive(Debug)]
pub(crate) struct Encoder {
    units: Numbered,
    first_pts: u64,
    video: Stream,
    muxer: Muxer,
    next: u32,
    rest: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(stream: u32, plan: &PublisherPlan) -> Self {
        let video = Stream::h264(0x100);
        Self {
            units: Numbered::new(stream, plan.gop, plan.key_bytes, plan.other_bytes),
            first_pts: plan.first_pts,
            muxer: Muxer::new(vec![Program::single(vec![video.clone()])]),
            video,
            next: 0,
            rest: Vec::new(),
        }
    }

    /// The number of the unit that comes next.
    pub(crate) const fn next(&self) -> u32 {
        self.next
    }

    /// Begins anew at a key unit, as an encoder that is started again does.
    pub(crate) fn restart(&mut self) {
        self.next = self.units.next_key(self.next);
        self.rest.clear();
    }

    pub(crate) const fn units(&self) -> &Numbered {
        &self.units
    }

    /// PTS of a unit, modulo 2^33.
    pub(crate) fn pts(&self, number: u32) -> u64 {
        (self.first_pts + u64::from(number) * UNIT_TICKS) % STAMP_RANGE
    }

    /// The datagrams that the next unit completes.
    pub(crate) fn encode(&mut self) -> Vec<Vec<u8>> {
        let number = self.next;
        self.next += 1;
        if self.units.is_key(number) {
            self.muxer.tables();
        }
        let pts = self.first_pts + u64::from(number) * UNIT_TICKS;
        let clock = (pts + STAMP_RANGE - CLOCK_AHEAD) % STAMP_RANGE * 300;
        let pes = Pes {
            pts: Some(pts),
            dts: None,
            pcr: Some(clock),
            bounded: false,
            payload: self.units.unit(number),
        };
        self.muxer.pes(&self.video, &pes);
        self.rest.extend(self.muxer.take());
        let whole = self.rest.len() / PAYLOAD_BYTES * PAYLOAD_BYTES;
        let full = self.rest[..whole].chunks(PAYLOAD_BYTES).map(<[u8]>::to_vec).collect();
        self.rest.drain(..whole);
        full
    }

    /// What is left: shorter than a full datagram.
    pub(crate) fn flush(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then_some(rest)
    }
}
