//! One elementary stream: PES packets put together from packets and handed on as units.
//!
//! ```text
//!             start            header whole, bounded            last byte
//!  Waiting ──────────▶ Header ──────────────────────▶ Bounded ───────────▶ Closed
//!     ▲                  │ header whole, unbounded       │ gap              │ more bytes
//!     └── refused ───────┤                               ▼                  ▼
//!                        └────────────────────────────▶ Open ◀──────────────┘
//! ```
//! A start leads from every state to `Header`.

use codec::sink::{Carriage, Codec, Sink, Timestamps, TrackConfig, TrackKind};

use crate::{
    Counters,
    continuity::Continuity,
    packet::Packet,
    pes::{self, HEADER_BYTES_MAX, Header, Parsed},
    timeline::{Timeline, TrackTime},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// Nothing is of use until the next start.
    Waiting,
    /// The header is not whole yet.
    Header,
    /// The unit ends at the next start.
    Open,
    /// So many bytes are still to come.
    Bounded(usize),
    /// The unit ended by its length.
    Closed,
}

/// Where a track's units go, and what is kept for the whole program.
pub(crate) struct Output<'a, S: ?Sized> {
    pub sink: &'a mut S,
    pub counters: &'a mut Counters,
    pub timeline: &'a mut Timeline,
    /// The track's place in the list.
    pub index: usize,
}

#[derive(Debug)]
pub(crate) struct Track {
    pub config: TrackConfig,
    pub continuity: Continuity,
    pub time: TrackTime,
    unit: Unit,
    /// The sink has been given a unit.
    begun: bool,
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
}

impl Track {
    pub(crate) const fn new() -> Self {
        Self {
            config: TrackConfig {
                codec: Codec::Unknown,
                pid: 0,
                stream_type: 0,
                program: 0,
                language: None,
                channels: 0,
                carriage: Carriage::Stream,
                clock_hz: 0,
                payload_type: 0,
            },
            continuity: Continuity::new(),
            time: TrackTime { last: None, announced: false },
            unit: Unit::Waiting,
            begun: false,
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
        }
    }

    /// Begins anew as another stream.
    pub(crate) fn assign(&mut self, config: TrackConfig) {
        self.config = config;
        self.continuity.reset();
        self.time = TrackTime::default();
        self.drop_unit();
    }

    /// Forgets the open unit; the sink knows already.
    pub(crate) const fn drop_unit(&mut self) {
        self.unit = Unit::Waiting;
        self.begun = false;
    }

    /// Bytes are missing before what comes next.
    pub(crate) fn gap<S: Sink + ?Sized>(&mut self, out: &mut Output<'_, S>) {
        self.unit = match self.unit {
            // Bytes that come now belong to a unit whose start is missing.
            Unit::Waiting | Unit::Header | Unit::Closed => Unit::Waiting,
            // How many bytes are still to come is not known any more.
            Unit::Open | Unit::Bounded(_) => Unit::Open,
        };
        if self.begun {
            out.sink.gap(out.index);
        }
    }

    /// The payload is scrambled: nothing until the next clear start can be used.
    pub(crate) fn scrambled<S: Sink + ?Sized>(&mut self, out: &mut Output<'_, S>) {
        if self.unit != Unit::Waiting {
            self.gap(out);
            self.unit = Unit::Waiting;
        }
    }

    /// Takes the payload of a packet that follows the one before.
    pub(crate) fn packet<S: Sink + ?Sized>(
        &mut self,
        packet: &Packet<'_>,
        out: &mut Output<'_, S>,
    ) {
        if packet.payload.is_empty() {
            return;
        }
        if packet.header.unit_start() {
            self.cut_short(out);
            out.counters.pes_packets += 1;
            self.unit = Unit::Header;
            self.header_len = 0;
            self.read_header(packet.payload, out);
        } else {
            self.body(packet.payload, out);
        }
    }

    /// The stream ends here. `missing` as in [`Continuity::judge`].
    pub(crate) fn finish<S: Sink + ?Sized>(&mut self, missing: u64, out: &mut Output<'_, S>) {
        self.cut_short(out);
        if self.unit == Unit::Open {
            // No packet comes any more that could prove the unit's end complete.
            if !self.continuity.is_untouched(missing) {
                out.sink.gap(out.index);
            }
            out.sink.unit_end(out.index);
        }
        self.drop_unit();
    }

    /// A start or the end comes before the unit's end.
    fn cut_short<S: Sink + ?Sized>(&mut self, out: &mut Output<'_, S>) {
        match self.unit {
            Unit::Header => {
                out.counters.pes_invalid += 1;
                self.gap(out);
            }
            Unit::Bounded(_) => {
                out.counters.pes_invalid += 1;
                self.gap(out);
            }
            Unit::Waiting | Unit::Open | Unit::Closed => {}
        }
    }

    fn body<S: Sink + ?Sized>(&mut self, bytes: &[u8], out: &mut Output<'_, S>) {
        match self.unit {
            Unit::Waiting => {}
            Unit::Header => self.read_header(bytes, out),
            Unit::Open => out.sink.unit_data(out.index, bytes),
            Unit::Bounded(left) => self.bounded(left, bytes, out),
            Unit::Closed => self.overrun(bytes, out),
        }
    }

    fn bounded<S: Sink + ?Sized>(&mut self, left: usize, bytes: &[u8], out: &mut Output<'_, S>) {
        let (inside, behind) = bytes.split_at_checked(left).unwrap_or((bytes, &[]));
        if !inside.is_empty() {
            out.sink.unit_data(out.index, inside);
        }
        self.unit = Unit::Bounded(left - inside.len());
        if inside.len() == left {
            self.unit = Unit::Closed;
            out.sink.unit_end(out.index);
        }
        // Padding of the last packet with 0xFF instead of an adaptation field is seen.
        if behind.iter().any(|&byte| byte != 0xFF) {
            self.overrun(behind, out);
        }
    }

    /// More bytes than the length said, as where it overflowed: they go on without a stamp.
    fn overrun<S: Sink + ?Sized>(&mut self, bytes: &[u8], out: &mut Output<'_, S>) {
        out.counters.pes_invalid += 1;
        self.unit = Unit::Open;
        out.sink.unit_start(out.index, Timestamps::default());
        out.sink.unit_data(out.index, bytes);
    }

    /// Reads the header in place where the packet holds it whole; gathers it otherwise.
    fn read_header<S: Sink + ?Sized>(&mut self, bytes: &[u8], out: &mut Output<'_, S>) {
        if self.header_len == 0
            && let Ok(Parsed::Header(header)) = Header::parse(bytes)
        {
            let payload = bytes.get(header.header_bytes..).unwrap_or(&[]);
            return self.start(&header, payload, out);
        }
        let mut rest = bytes;
        loop {
            match Header::parse(self.header.get(..self.header_len).unwrap_or(&[])) {
                Ok(Parsed::Header(header)) => return self.start(&header, rest, out),
                Ok(Parsed::Need(_)) if rest.is_empty() => return,
                Ok(Parsed::Need(wanted)) => rest = self.gather(wanted, rest),
                Err(_) => {
                    out.counters.pes_invalid += 1;
                    // Its bytes may have belonged to the access unit that is open.
                    return self.gap(out);
                }
            }
        }
    }

    fn gather<'a>(&mut self, wanted: usize, bytes: &'a [u8]) -> &'a [u8] {
        let room = self.header.get_mut(self.header_len..wanted);
        let room = room.unwrap_or(&mut []);
        let taken = room.len().min(bytes.len());
        for (to, &from) in room.iter_mut().zip(bytes) {
            *to = from;
        }
        self.header_len += taken;
        bytes.get(taken..).unwrap_or(&[])
    }

    fn start<S: Sink + ?Sized>(
        &mut self,
        header: &Header,
        payload: &[u8],
        out: &mut Output<'_, S>,
    ) {
        out.counters.pes_invalid += u64::from(header.flawed);
        if pes::is_foreign(header.stream_id) {
            self.unit = Unit::Waiting;
            return;
        }
        if header.scrambled {
            out.counters.ts_scrambled += 1;
            return self.scrambled(out);
        }
        let leads = self.config.codec.kind() != TrackKind::Data;
        let placed = out.timeline.place(&mut self.time, header.pts, header.dts, leads);
        out.counters.timeline_jumps += u64::from(placed.jumped);
        self.begun = true;
        out.sink.unit_start(out.index, placed.stamps);
        match header.payload_bytes {
            None => {
                self.unit = Unit::Open;
                if !payload.is_empty() {
                    out.sink.unit_data(out.index, payload);
                }
            }
            Some(length) => self.bounded(length, payload, out),
        }
    }
}
