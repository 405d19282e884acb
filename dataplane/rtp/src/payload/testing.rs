//! Gathers what depacketizers give, for tests.

use std::net::SocketAddr;

use codec::sink::{Field, Sink, Timestamps, TrackConfig};
use memory::Time;

use super::unit::Outlet;
use super::{Counters, Limits};
use crate::output::Output;

/// One unit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Gathered {
    pub(crate) pts: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) damaged: bool,
    pub(crate) ended: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    pub(crate) units: Vec<(usize, Gathered)>,
    open: [Option<usize>; 16],
    pub(crate) skipped: u32,
    pub(crate) ts: Vec<u8>,
    pub(crate) ts_lost: u32,
    pub(crate) sent: Vec<Vec<u8>>,
    /// Track, leg and address of each.
    pub(crate) sent_to: Vec<((usize, usize), SocketAddr)>,
    pub(crate) tracks: Vec<TrackConfig>,
    pub(crate) configurations: Vec<(usize, Vec<u8>)>,
    pub(crate) fields: Vec<Field>,
    pub(crate) due: Time,
}

impl Gather {
    fn open(&mut self, track: usize) -> &mut Gathered {
        let at = self.open[track].expect("a unit is open");
        &mut self.units[at].1
    }
}

impl Sink for Gather {
    fn tracks(&mut self, tracks: &[TrackConfig]) {
        self.tracks = tracks.to_vec();
        self.open = [None; 16];
    }

    fn unit_start(&mut self, track: usize, stamps: Timestamps) {
        assert!(self.open[track].is_none(), "a unit is open");
        self.open[track] = Some(self.units.len());
        let pts = stamps.pts.unwrap_or(u64::MAX);
        self.units.push((track, Gathered { pts, ..Gathered::default() }));
    }

    fn field(&mut self, track: usize, field: Field) {
        assert!(self.open(track).bytes.is_empty(), "before the unit's bytes");
        self.fields.push(field);
    }

    fn unit_data(&mut self, track: usize, bytes: &[u8]) {
        assert!(!bytes.is_empty());
        self.open(track).bytes.extend_from_slice(bytes);
    }

    fn unit_end(&mut self, track: usize) {
        self.open(track).ended = true;
        self.open[track] = None;
    }

    fn gap(&mut self, track: usize) {
        self.open(track).damaged = true;
    }

    fn configuration(&mut self, track: usize, bytes: &[u8]) {
        self.configurations.push((track, bytes.to_vec()));
    }

    fn skipped(&mut self, track: usize) {
        assert!(self.open[track].is_none(), "inside a unit it is a gap");
        self.skipped += 1;
    }
}

impl Output for Gather {
    fn transmit(&mut self, of: (usize, usize), to: SocketAddr, packet: &[u8]) {
        self.sent.push(packet.to_vec());
        self.sent_to.push((of, to));
    }

    fn input(&mut self, _: Time, due: Time) {
        assert!(due >= self.due, "due times do not go back");
        self.due = due;
    }

    fn deliver_ts(&mut self, payload: &[u8], _: Time, _: Time) {
        self.ts.extend_from_slice(payload);
    }

    fn ts_lost(&mut self, packets: u32) {
        self.ts_lost += packets;
    }
}

/// One depacketizer and what it gives. Timestamps are of 90 kHz.
#[derive(Debug)]
pub(crate) struct Bench<D> {
    format: D,
    out: Gather,
    pub(crate) counters: Counters,
    pub(crate) limits: Limits,
    pub(crate) clock_hz: u32,
    pub(crate) skipped: u32,
}

impl<D> Bench<D> {
    pub(crate) fn new(format: D) -> Self {
        Self {
            format,
            out: Gather::default(),
            counters: Counters::default(),
            limits: Limits::default(),
            clock_hz: 90_000,
            skipped: 0,
        }
    }

    pub(crate) fn parts(&mut self, timestamp: u32) -> (&mut D, Outlet<'_, Gather>) {
        let to = Outlet {
            out: &mut self.out,
            track: 0,
            limits: &self.limits,
            counters: &mut self.counters,
            stamps: Timestamps { pts: Some(timestamp.into()), dts: None },
            clock_hz: self.clock_hz,
        };
        (&mut self.format, to)
    }

    /// The units so far, the open one last.
    pub(crate) fn take(&mut self) -> Vec<Gathered> {
        self.skipped = self.out.skipped;
        let open = self.out.open[0].take();
        let mut units: Vec<Gathered> = self.out.units.drain(..).map(|(_, unit)| unit).collect();
        if open.is_some() {
            // It goes on in the next list.
            let rest = units.last().cloned().unwrap_or_default();
            self.out.units.push((0, Gathered { bytes: Vec::new(), ..rest }));
            self.out.open[0] = Some(0);
            units.last_mut().expect("it is the last").ended = false;
        }
        units
    }
}
