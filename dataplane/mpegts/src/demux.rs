//! The demultiplexer: packets routed by PID.

use codec::sink::{Codec, Sink, TrackConfig};

use crate::{
    Counters,
    continuity::{Continuity, Verdict},
    packet::{Header, PACKET_BYTES, PID_NULL, Packet},
    program::{Followed, Route},
    psi::{Assembled, Assembler, Program},
    splice::Splices,
    stream_type,
    sync::{Found, Synchronizer},
    track::{Output, Track},
};

/// What to demultiplex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Config {
    /// The program to follow; the first of the association table when not given.
    pub program: Option<u16>,
}

/// How far the stream has got: why there is no media, if there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Too little has come to tell.
    Syncing,
    /// What comes is no transport stream.
    NotTransportStream,
    /// Packets come, but no whole program association table.
    NoPat,
    /// The association table does not list the program that the config names, or any.
    NoProgram,
    /// The program is known, but its map table has not come.
    NoPmt {
        /// The program.
        program: u16,
    },
    /// The map table lists no elementary stream.
    NoTracks {
        /// The program.
        program: u16,
    },
    /// Tracks are known.
    Playing {
        /// The program.
        program: u16,
    },
}

/// Takes a transport stream in pieces of any size and hands its elementary streams to a
/// [`Sink`].
#[derive(Debug)]
pub struct Demuxer {
    sync: Synchronizer,
    core: Core,
}

impl Demuxer {
    /// Makes a demultiplexer; nothing is allocated afterwards.
    pub fn new(config: Config) -> Self {
        Self {
            sync: Synchronizer::new(),
            core: Core {
                followed: Followed::new(config.program),
                pat: Table::new(),
                pmt: Table::new(),
                splices: Splices::new(),
                clock: None,
                counters: Counters::default(),
                lost: 0,
                missing: 0,
            },
        }
    }

    /// Forgets the stream, for the next session.
    pub fn reset(&mut self) {
        self.sync.reset();
        self.core.reset();
    }

    /// Takes the next bytes. Where one push ends and the next begins has no meaning; whole packets
    /// are read in place.
    pub fn push(&mut self, payload: &[u8], sink: &mut (impl Sink + ?Sized)) {
        let core = &mut self.core;
        self.sync.push(payload, &mut |found| core.found(&found, sink));
    }

    /// So many datagrams are missing here. Units stay whole where continuity proves that they
    /// lost nothing; the others get their gap.
    pub fn lost(&mut self, datagrams: u32, sink: &mut (impl Sink + ?Sized)) {
        let packets = u64::try_from(self.sync.packets_per_push()).unwrap_or(u64::MAX);
        let core = &mut self.core;
        self.sync.break_here(&mut |found| core.found(&found, sink));
        core.miss(packets.saturating_mul(u64::from(datagrams)));
        core.tell_unproven(sink);
    }

    /// The stream ends: closes the open units.
    pub fn finish(&mut self, sink: &mut (impl Sink + ?Sized)) {
        let core = &mut self.core;
        self.sync.break_here(&mut |found| core.found(&found, sink));
        core.finish(sink);
    }

    /// Running totals since the last reset.
    pub const fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// How far the stream has got.
    pub fn state(&self) -> State {
        let followed = &self.core.followed;
        if self.sync.is_foreign() {
            return State::NotTransportStream;
        }
        if !followed.pat().is_complete() {
            return if self.sync.is_locked() { State::NoPat } else { State::Syncing };
        }
        match followed.selected().map(|program| program.number) {
            None => State::NoProgram,
            Some(program) if !followed.has_pmt() => State::NoPmt { program },
            Some(program) if followed.listed().is_empty() => State::NoTracks { program },
            Some(program) => State::Playing { program },
        }
    }

    /// The programs of the association table, at most 64.
    pub fn programs(&self) -> &[Program] {
        self.core.followed.pat().programs()
    }

    /// The tracks as last told to the sink.
    pub fn tracks(&self) -> &[TrackConfig] {
        self.core.followed.listed()
    }
}

/// Sections of one PID.
#[derive(Debug)]
struct Table {
    assembler: Assembler,
    continuity: Continuity,
}

impl Table {
    const fn new() -> Self {
        Self { assembler: Assembler::new(), continuity: Continuity::new() }
    }

    const fn reset(&mut self) {
        self.assembler.drop_open();
        self.continuity.reset();
    }

    /// Judges the packet; `false` when its payload is not to be read.
    fn accept(&mut self, packet: &Packet<'_>, bytes: &Bytes, missing: u64) -> (bool, Verdict) {
        let verdict = self.continuity.judge(packet, bytes, missing);
        if matches!(verdict, Verdict::Missing | Verdict::Unproven) {
            self.assembler.drop_open();
        }
        let new = verdict != Verdict::Duplicate && !packet.payload.is_empty();
        (new, verdict)
    }
}

type Bytes = [u8; PACKET_BYTES];

/// All that comes behind synchronization.
#[derive(Debug)]
struct Core {
    followed: Followed,
    pat: Table,
    pmt: Table,
    splices: Splices,
    /// The program's last clock reference.
    clock: Option<u64>,
    counters: Counters,
    /// Packets known to be missing: lost by the transport, or too damaged to have a PID.
    lost: u64,
    /// The same and those within skipped bytes.
    missing: u64,
}

impl Core {
    fn reset(&mut self) {
        self.followed.reset();
        self.pat.reset();
        self.pmt.reset();
        self.splices.reset();
        self.clock = None;
        self.counters = Counters::default();
        self.lost = 0;
        self.missing = 0;
    }

    #[inline]
    fn found(&mut self, found: &Found<'_>, sink: &mut (impl Sink + ?Sized)) {
        match found {
            Found::Packet(bytes) => self.packet(bytes, sink),
            Found::Skipped(bytes) => {
                self.counters.ts_bytes_skipped += u64::try_from(*bytes).unwrap_or(u64::MAX);
                self.miss(0);
            }
            Found::SyncLost => self.counters.ts_sync_losses += 1,
        }
    }

    fn miss(&mut self, packets: u64) {
        self.lost = self.lost.saturating_add(packets);
        let skipped = self.counters.ts_bytes_skipped.div_ceil(188);
        self.missing = self.lost.saturating_add(skipped);
    }

    fn packet(&mut self, bytes: &Bytes, sink: &mut (impl Sink + ?Sized)) {
        self.counters.ts_packets += 1;
        let header = Header::of(bytes);
        if header.transport_error() {
            self.counters.ts_transport_errors += 1;
            return self.miss(1); // the PID itself may be wrong
        }
        let route = self.followed.route(header.pid());
        if header.scrambled() && header.pid() != PID_NULL {
            return self.scrambled(route, bytes, sink);
        }
        if route == Route::Nowhere {
            return;
        }
        let Ok(packet) = Packet::parse(bytes) else {
            self.counters.ts_invalid += 1;
            return;
        };
        match route {
            Route::Track(index) => self.track(index, &packet, bytes, sink),
            Route::Pat => self.pat(&packet, bytes, sink),
            Route::Pmt => self.pmt(&packet, bytes, sink),
            Route::Clock => {
                if packet.adaptation.discontinuity {
                    self.announce();
                }
                self.clock = packet.adaptation.pcr.or(self.clock);
            }
            Route::Nowhere => {}
        }
    }

    #[inline]
    fn track(
        &mut self,
        index: usize,
        packet: &Packet<'_>,
        bytes: &Bytes,
        sink: &mut (impl Sink + ?Sized),
    ) {
        if packet.adaptation.discontinuity {
            self.discontinuity(index, packet.header.pid());
        }
        if packet.header.unit_start() {
            self.recognise(index, packet, sink);
        }
        if packet.adaptation.pcr.is_some() && packet.header.pid() == self.followed.pcr_pid() {
            self.clock = packet.adaptation.pcr;
        }
        let (missing, clock) = (self.missing, self.clock);
        let Some((track, mut out, splices)) = self.parts(index, sink) else {
            return;
        };
        let spliced = track.config.codec == Codec::Scte35;
        match track.continuity.judge(packet, bytes, missing) {
            Verdict::Continuous => {}
            Verdict::Duplicate => {
                out.counters.ts_duplicates += 1;
                return;
            }
            Verdict::Missing => {
                out.counters.ts_continuity_errors += 1;
                splices.gap(packet.header.pid());
                track.gap(&mut out);
            }
            Verdict::Unproven => {
                splices.gap(packet.header.pid());
                track.gap(&mut out);
            }
        }
        if spliced {
            splices.packet(packet, clock, track, &mut out);
        } else {
            track.packet(packet, &mut out);
        }
    }

    /// Looks at the contents of a stream that nothing names.
    fn recognise(&mut self, index: usize, packet: &Packet<'_>, sink: &mut (impl Sink + ?Sized)) {
        let Some(config) = self.followed.listed().get(index) else { return };
        if config.codec != Codec::Unknown {
            return;
        }
        let codec = stream_type::by_contents(config.stream_type, packet.payload);
        if codec != Codec::Unknown {
            self.followed.recognise(index, codec, sink);
        }
    }

    /// A track and all that it needs to hand on its units.
    #[inline]
    fn parts<'a, S: Sink + ?Sized>(
        &'a mut self,
        index: usize,
        sink: &'a mut S,
    ) -> Option<(&'a mut Track, Output<'a, S>, &'a mut Splices)> {
        let track = self.followed.tracks.get_mut(index)?;
        let out = Output {
            sink,
            counters: &mut self.counters,
            timeline: &mut self.followed.timeline,
            index,
        };
        Some((track, out, &mut self.splices))
    }

    #[cold]
    fn scrambled(&mut self, route: Route, bytes: &Bytes, sink: &mut (impl Sink + ?Sized)) {
        self.counters.ts_scrambled += 1;
        let missing = self.missing;
        let (Route::Track(index), Ok(packet)) = (route, Packet::parse(bytes)) else {
            return;
        };
        if let Some((track, mut out, _)) = self.parts(index, sink) {
            track.continuity.judge(&packet, bytes, missing);
            track.scrambled(&mut out);
        }
    }

    /// The time base breaks where the clock's PID says so; a track may say it for itself.
    #[cold]
    fn discontinuity(&mut self, index: usize, pid: u16) {
        if pid == self.followed.pcr_pid() {
            self.announce();
        } else if let Some(track) = self.followed.tracks.get_mut(index) {
            track.time.announced = true;
        }
    }

    fn announce(&mut self) {
        for track in self.followed.tracks_listed() {
            track.time.announced = true;
        }
    }

    fn pat(&mut self, packet: &Packet<'_>, bytes: &Bytes, sink: &mut (impl Sink + ?Sized)) {
        let (new, verdict) = self.pat.accept(packet, bytes, self.missing);
        self.count(verdict);
        if !new {
            return;
        }
        let (followed, counters) = (&mut self.followed, &mut self.counters);
        let mut moved = false;
        let start = packet.header.unit_start();
        self.pat.assembler.push(start, packet.payload, &mut |assembled| match assembled {
            Assembled::Section(bytes) => moved |= followed.pat_section(bytes, sink, counters),
            Assembled::Malformed => counters.psi_invalid += 1,
        });
        if moved {
            self.pmt.reset();
        }
    }

    fn pmt(&mut self, packet: &Packet<'_>, bytes: &Bytes, sink: &mut (impl Sink + ?Sized)) {
        let (new, verdict) = self.pmt.accept(packet, bytes, self.missing);
        self.count(verdict);
        if packet.adaptation.discontinuity && packet.header.pid() == self.followed.pcr_pid() {
            self.announce();
        }
        if !new {
            return;
        }
        let (followed, counters) = (&mut self.followed, &mut self.counters);
        let start = packet.header.unit_start();
        self.pmt.assembler.push(start, packet.payload, &mut |assembled| match assembled {
            Assembled::Section(bytes) => followed.pmt_section(bytes, sink, counters),
            Assembled::Malformed => counters.psi_invalid += 1,
        });
    }

    const fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Duplicate => self.counters.ts_duplicates += 1,
            Verdict::Missing => self.counters.ts_continuity_errors += 1,
            Verdict::Continuous | Verdict::Unproven => {}
        }
    }

    /// Tells the gap at once where no continuity can vouch any more.
    fn tell_unproven(&mut self, sink: &mut (impl Sink + ?Sized)) {
        let missing = self.missing;
        for index in 0..self.followed.listed().len() {
            if let Some((track, mut out, _)) = self.parts(index, sink)
                && !track.continuity.can_vouch(missing)
            {
                track.gap(&mut out);
                track.continuity.settle(missing);
            }
        }
    }

    fn finish(&mut self, sink: &mut (impl Sink + ?Sized)) {
        let missing = self.missing;
        for index in 0..self.followed.listed().len() {
            if let Some((track, mut out, _)) = self.parts(index, sink) {
                track.finish(missing, &mut out);
            }
        }
    }
}
