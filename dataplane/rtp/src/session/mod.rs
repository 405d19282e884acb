//! A session: the tracks of one stream, their sources, reports and requests.
//!
//! ```text
//!  handle_rtp ──▶ rate limit ─▶ address ─▶ track ─▶ source ─▶ window ─▶ depacketizer ─▶ Output (Sink)
//!  handle_fec ─────────────────────────────────────────▲
//!  handle_rtcp ─▶ clocks, goodbye           handle_timeout ─▶ window, reports, NACK, PLI ─▶ transmit
//! ```
//!
//! **Addresses.** A track's leg belongs to the address whose source proved itself there first. Packets
//! of other addresses are dropped and counted, whatever their SSRC, until the leg has been silent for
//! [`SessionConfig::relatch_after`]. RTCP and error correction are taken from the hosts of the legs
//! only; a report of who has not sent yet is used once that host has proven itself.
//!
//! **Goodbyes.** Anybody behind the sender's host can say goodbye in its name: it holds once the source
//! has been silent for a moment after it, and is void when the source goes on.

mod early;
mod feedback;
mod leg;
mod limit;
mod listing;
mod run;
mod stats;
mod terms;
mod track;

use std::mem::offset_of;
use std::net::SocketAddr;
use std::time::Duration;

use memory::{Datagram, Places, Slab, Time, prefetch_part, prefetch_start};

use self::early::EarlyReports;
pub use self::leg::LEGS_MAX;
use self::leg::Leg;
use self::limit::RateLimit;
use self::listing::Listing;
pub use self::run::Run;
pub use self::stats::{LegStats, Stats, TrackStats};
pub use self::terms::Terms;
pub use self::track::TrackSetup;
use self::track::{Context, Rank, Track};
use crate::clock::{Line, TrackClock};
use crate::detect::Detector;
use crate::output::Output;
use crate::packet::Packet;
use crate::payload::Limits;
use crate::reorder::Window;
use crate::rtcp::interval::Interval;
use crate::rtcp::write::CNAME_BYTES_MAX;
use crate::rtcp::{self, Compound, SenderInfo};
use crate::rtx;

/// Tracks of a session.
pub const TRACKS_MAX: usize = 4;
/// A session without packets for this long is paused.
const PAUSED_AFTER: Duration = Duration::from_secs(2);

/// What a session's memory is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Tracks, up to [`TRACKS_MAX`].
    pub tracks: usize,
    /// Packets of each track's window.
    pub window_packets: u32,
    /// Packets that one OBU, or a picture of JPEG XS out of order, may be spread over.
    pub pieces: usize,
    /// Forward error correction is possible.
    pub fec: bool,
}

impl Default for Room {
    fn default() -> Self {
        Self { tracks: 1, window_packets: 1_024, pieces: 4_096, fec: false }
    }
}

impl Room {
    /// Bytes of a session with this room beside its own size, for the memory sum.
    pub fn bytes(&self) -> usize {
        self.tracks.clamp(1, TRACKS_MAX) * Track::bytes(self) + Listing::BYTES
    }
}

/// What a receiver may ask of the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Feedback {
    /// Lost packets (RFC 4585, 6.2.1).
    pub nack: bool,
    /// Key pictures, by PLI (RFC 4585, 6.3.1).
    pub pli: bool,
    /// Key pictures, by FIR (RFC 5104, 4.3.1).
    pub fir: bool,
}

/// What a session is granted. What each packet is looked at by comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SessionConfig {
    /// Its tracks. The format of a single one is detected when it is not given; of several, those
    /// without a format are left out.
    pub tracks: [Option<TrackSetup>; TRACKS_MAX],
    /// Packets of tracks come on two legs (SMPTE 2022-7).
    pub redundant: bool,
    /// How long missing packets are waited for.
    pub window: Window,
    /// A source's first packets wait as long for such as were sent before them.
    pub first_wait: bool,
    /// Least interval of reports (RFC 3550, 6.2).
    pub report_interval: Duration,
    /// Our SSRC in reports.
    pub ssrc: u32,
    /// Our canonical name and its length.
    pub cname: ([u8; CNAME_BYTES_MAX], u8),
    /// Of the spread of report intervals.
    pub seed: u64,
    /// Most packets of a track that wait.
    pub slots_max: u32,
    /// What may be asked of the sender.
    pub feedback: Feedback,
    /// The session waits for its first packets as long as it takes.
    pub patient: bool,
    /// But ends after so long without RTP and RTCP.
    pub timeout: Duration,
    /// Another address may take a track over after so long a silence.
    pub relatch_after: Duration,
    /// Most bits a second, `None` for any.
    pub rate_limit_bps: Option<u64>,
    /// What frames may not exceed.
    pub limits: Limits,
}

impl Default for SessionConfig {
    fn default() -> Self {
        let mut tracks = [None; TRACKS_MAX];
        if let Some(first) = tracks.first_mut() {
            *first = Some(TrackSetup::default());
        }
        Self {
            tracks,
            redundant: false,
            window: Window::default(),
            first_wait: false,
            slots_max: 1_024,
            limits: Limits::default(),
            timeout: Duration::from_secs(30),
            patient: false,
            relatch_after: Duration::from_secs(5),
            rate_limit_bps: None,
            feedback: Feedback::default(),
            report_interval: Duration::from_secs(5),
            ssrc: 1,
            cname: ([0; CNAME_BYTES_MAX], 0),
            seed: 1,
        }
    }
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing was proven yet.
    Waiting,
    /// Packets come.
    Active,
    /// No packets for a while; the session lives on.
    Paused,
    /// Over.
    Ended(EndReason),
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Not opened yet.
    Unused,
    /// All sources said goodbye.
    Goodbye,
    /// Silence.
    Timeout,
    /// Closed from this side.
    Local,
}

/// A session. Made once with its memory, opened anew for each sender; nothing is allocated after
/// [`new`](Self::new).
///
/// Fields lie so that those of every packet share few lines of the cache, at the end of the session and
/// close to what follows it: see [`prefetch`](Self::prefetch).
#[derive(Debug)]
#[repr(C)]
pub struct Session {
    early: EarlyReports,
    interval: Interval,
    reported: (Time, u64),
    keys_seen: u64,
    config: SessionConfig,
    limit: RateLimit,
    listing: Listing,
    tracks: Box<[Track]>,
    tracks_len: usize,
    heard_at: Time,
    media_at: Option<Time>,
    report_at: Time,
    key_request_at: Time,
    due: Time,
    line: Line,
    ended: Option<EndReason>,
    fir_number: u8,
    key_requests: u32,
    clocks: [TrackClock; TRACKS_MAX],
    stats: Stats,
}

impl Session {
    /// Takes the memory of `room`.
    pub fn new(room: &Room) -> Self {
        let tracks = (0..room.tracks.clamp(1, TRACKS_MAX))
            .map(|_| Track::new(room.window_packets, room.pieces, room.fec))
            .collect();
        Self {
            config: SessionConfig::default(),
            ended: Some(EndReason::Unused),
            tracks,
            tracks_len: 0,
            clocks: [TrackClock::new(90_000); TRACKS_MAX],
            line: Line::default(),
            limit: RateLimit::default(),
            interval: Interval::new(Duration::from_secs(5), 1),
            report_at: Time::NEVER,
            reported: (Time::ZERO, 0),
            key_request_at: Time::NEVER,
            key_requests: 0,
            keys_seen: 0,
            fir_number: 0,
            heard_at: Time::ZERO,
            due: Time::ZERO,
            media_at: None,
            early: EarlyReports::default(),
            listing: Listing::new(),
            stats: Stats::default(),
        }
    }

    /// A session begins. Tracks beyond its room are left out.
    pub fn open(&mut self, config: &SessionConfig, now: Time) {
        self.config = *config;
        self.ended = None;
        self.tracks_len = 0;
        self.listing.reset();
        let alone = config.tracks.iter().flatten().count() == 1;
        let setups = config.tracks.iter().flatten();
        let setups = setups.filter(|setup| alone || setup.format.is_some());
        for (setup, track) in setups.zip(&mut self.tracks) {
            self.listing.push(setup.format);
            track.open(*setup, config);
            let clock_hz = setup.format.map_or(90_000, |format| format.clock_hz);
            if let Some(clock) = self.clocks.get_mut(self.tracks_len) {
                *clock = TrackClock::new(clock_hz);
            }
            self.tracks_len += 1;
        }
        self.line.reset();
        self.limit = RateLimit::new(config.rate_limit_bps, now);
        self.interval = Interval::new(config.report_interval, config.seed);
        self.report_at = Time::NEVER;
        self.reported = (now, 0);
        self.key_request_at = Time::NEVER;
        self.key_requests = 0;
        self.keys_seen = 0;
        self.heard_at = now;
        self.due = Time::ZERO;
        self.media_at = None;
        self.early = EarlyReports::default();
        self.stats = Stats::default();
    }

    /// Asks for the memory of the session itself that a packet will need.
    pub fn prefetch(&self) {
        let first = offset_of!(Self, config) + offset_of!(SessionConfig, slots_max);
        prefetch_part(self, first..offset_of!(Self, clocks) + size_of::<TrackClock>());
        prefetch_start(&self.stats, Stats::OF_EACH_PACKET_BYTES);
    }

    /// Where what lies behind begins.
    pub fn places(&self, places: &mut Places) {
        if let Some(track) = self.tracks.first() {
            places.add([std::ptr::from_ref(track).cast()]);
        }
    }

    /// The same for what lies behind, once that is near. Of several tracks the first stands for all.
    pub fn prefetch_track(&self) {
        if let Some(track) = self.tracks.first() {
            track.prefetch();
        }
    }

    /// Where it stands at `now`.
    pub fn state(&self, now: Time) -> State {
        match (self.ended, self.media_at) {
            (Some(reason), _) => State::Ended(reason),
            (None, None) => State::Waiting,
            (None, Some(at)) if now.since(at) >= PAUSED_AFTER => State::Paused,
            (None, Some(_)) => State::Active,
        }
    }

    /// What was counted.
    pub fn stats(&self) -> Stats {
        if self.ended.is_some() {
            return self.stats;
        }
        let tracks = self.tracks.iter().take(self.tracks_len);
        let packets_held = tracks.clone().map(Track::waiting).sum();
        let packets_awaited = tracks.map(|track| track.reorder.awaited()).sum();
        Stats { packets_held, packets_awaited, ..self.stats }
    }

    /// What was counted of each track.
    pub fn track_stats(&self) -> impl Iterator<Item = TrackStats> {
        let tracks = self.tracks.iter().zip(&self.clocks).take(self.tracks_len);
        tracks.map(|(track, clock)| track.stats(clock))
    }

    /// What the detection saw of a track whose format was not found.
    pub fn undetected(&self) -> Option<&Detector> {
        let mut tracks = self.tracks.iter().take(self.tracks_len);
        tracks.find(|track| track.is_undetected()).map(|track| &track.detector)
    }

    /// Where RTCP of a track's leg is to go: where the sender's came from, else the port above its
    /// RTP on the first leg.
    pub fn rtcp_peer(&self, track: usize, leg: usize) -> Option<SocketAddr> {
        self.tracks.get(track).filter(|_| track < self.tracks_len)?.rtcp_peer(leg)
    }

    /// A datagram came from `source` on `leg` of the session's sockets: 0, or 1 for the second path of
    /// SMPTE 2022-7. RTCP on the same port is for [`handle_rtcp`](Self::handle_rtcp): see
    /// [`Kind`](crate::packet::Kind). True when it is of the session's sender.
    pub fn handle_rtp<O: Output>(
        &mut self,
        now: Time,
        arrival: Time,
        leg: usize,
        source: SocketAddr,
        datagram: Datagram,
        out: &mut O,
    ) -> bool {
        let bytes = datagram.len();
        match Packet::new(datagram, arrival) {
            Ok(packet) => self.handle_packet(now, None, leg, source, packet, out),
            Err(_) => {
                self.stats.packets_received += 1;
                self.stats.bytes_received += crate::bytes::count(bytes);
                self.stats.packets_invalid += 1;
                false
            }
        }
    }

    /// The same for a packet whose header has been read, at a socket of that track if of one.
    pub fn handle_packet<O: Output>(
        &mut self,
        now: Time,
        track: Option<usize>,
        leg: usize,
        source: SocketAddr,
        packet: Packet,
        out: &mut O,
    ) -> bool {
        self.stats.packets_received += 1;
        self.stats.bytes_received += crate::bytes::count(packet.len());
        if self.ended.is_some() {
            self.stats.packets_discarded += 1;
            return false;
        }
        let ours = self.route(now, track, leg.min(LEGS_MAX - 1), source, packet, out);
        self.settle(now);
        ours
    }

    /// A FEC packet of SMPTE 2022-1 for the first track came. What it restores takes slots of `slab`.
    /// True when it is of the session's sender.
    pub fn handle_fec<O: Output>(
        &mut self,
        now: Time,
        source: SocketAddr,
        datagram: &[u8],
        slab: &Slab,
        out: &mut O,
    ) -> bool {
        if self.ended.is_some() {
            return false;
        }
        self.stats.fec_received += 1;
        let ours = self.is_ours(source);
        let highest = self.tracks.first().map_or(0, Track::highest);
        let fec = self.tracks.first_mut().and_then(|track| track.fec.as_mut());
        if !ours || !fec.is_some_and(|fec| fec.parity(datagram, highest)) {
            self.stats.fec_invalid += 1;
            return ours;
        }
        self.restore(now, slab, out);
        self.settle(now);
        ours
    }

    /// RTCP came from `source`, at a socket of that track's leg if of one; what is sent of the track is
    /// answered there. True when it is of the session's sender.
    pub fn handle_rtcp<O: Output>(
        &mut self,
        now: Time,
        track: Option<usize>,
        leg: usize,
        source: SocketAddr,
        datagram: &[u8],
        out: &mut O,
    ) -> bool {
        if self.ended.is_some() {
            return false;
        }
        self.stats.rtcp_received += 1;
        let ours = self.is_ours(source);
        let anyone = self.legs().all(|leg| leg.address.is_none());
        let compound = Compound::parse(datagram);
        let (true, Ok(compound)) = (ours || anyone, compound) else {
            self.stats.rtcp_invalid += 1;
            return false;
        };
        if ours {
            self.interval.packet(datagram.len());
            self.heard_at = now;
            self.note_rtcp_peer(track, leg, source);
        }
        for packet in compound {
            match packet {
                rtcp::Packet::SenderReport { ssrc, info, .. } => {
                    self.report(ssrc, source, &info, now, out);
                }
                rtcp::Packet::Goodbye { sources, .. } if ours => self.goodbye(sources, now),
                _ => {}
            }
        }
        self.settle(now);
        ours
    }

    /// [`next_timeout`](Self::next_timeout) has come.
    pub fn handle_timeout<O: Output>(&mut self, now: Time, out: &mut O) {
        if self.ended.is_some() {
            return;
        }
        for index in 0..self.tracks_len {
            self.with(index, now, out, |track, cx| track.run(cx));
        }
        self.settle(now);
        if self.has_left(now, out) {
            return self.end(EndReason::Goodbye, now, out);
        }
        if now >= self.ends_at() {
            return self.end(EndReason::Timeout, now, out);
        }
        self.ask_again(now, out);
        self.ask_key(now, out);
        if now >= self.report_at {
            self.send_report(now, out);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has to be called next.
    pub fn next_timeout(&self) -> Time {
        if self.ended.is_some() {
            return Time::NEVER;
        }
        let mut next = self.ends_at().min(self.report_at);
        next = next.min(self.key_request_at);
        for track in self.tracks.iter().take(self.tracks_len) {
            next = next.min(track.reorder.next_timeout()).min(track.nacks.next_timeout());
            next = next.min(track.leaves_at());
        }
        next
    }

    /// When silence ends it.
    fn ends_at(&self) -> Time {
        match (self.config.patient, self.media_at) {
            (true, None) => Time::NEVER,
            _ => self.heard_at + self.config.timeout,
        }
    }

    /// Where its packets come from, once a source is proven.
    pub fn source(&self) -> Option<SocketAddr> {
        self.legs().find_map(|leg| leg.address)
    }

    /// Ends the session from this side; says goodbye to the sender.
    pub fn close<O: Output>(&mut self, now: Time, out: &mut O) {
        if self.ended.is_none() {
            self.end(EndReason::Local, now, out);
        }
    }

    fn legs(&self) -> impl Iterator<Item = &Leg> {
        self.tracks.iter().take(self.tracks_len).flat_map(|track| &track.legs)
    }

    /// Whether a host is that of a leg: its ports are many.
    fn is_ours(&self, source: SocketAddr) -> bool {
        self.legs().any(|leg| leg.address.is_some_and(|address| address.ip() == source.ip()))
    }

    /// Runs `work` on a track with what it needs of the session.
    fn with<O: Output, R>(
        &mut self,
        index: usize,
        now: Time,
        out: &mut O,
        work: impl FnOnce(&mut Track, &mut Context<'_, O>) -> R,
    ) -> Option<R> {
        let track = self.tracks.get_mut(index)?;
        let mut cx = Context {
            index,
            out,
            line: &mut self.line,
            clocks: &mut self.clocks,
            limits: &self.config.limits,
            stats: &mut self.stats,
            now,
            due: &mut self.due,
            slots_max: self.config.slots_max,
            first_wait: self.config.first_wait,
            asks: self.config.feedback.nack,
            listing: &mut self.listing,
            early: &mut self.early,
        };
        Some(work(track, &mut cx))
    }

    /// Finds the packet's track and gives it there. True when it is of the track's sender.
    fn route<O: Output>(
        &mut self,
        now: Time,
        only: Option<usize>,
        leg: usize,
        source: SocketAddr,
        packet: Packet,
        out: &mut O,
    ) -> bool {
        let (ssrc, payload_type) = (packet.header.ssrc, packet.header.payload_type);
        let repeated = self.track_among(only, |track| track.is_repeated_by(&packet.header));
        if let Some(index) = repeated {
            return self.again(index, now, source, packet, out);
        }
        let find = |test: &dyn Fn(&Track) -> bool| self.track_among(only, test);
        let known = find(&|track| matches!(track.rank(ssrc), Rank::Known));
        let index = known.or_else(|| {
            let free = |track: &Track| track.is_free_for(ssrc, payload_type);
            find(&|track| track.setup.ssrc == Some(ssrc))
                .or_else(|| find(&|track| track.ssrc.is_none() && free(track)))
                .or_else(|| find(&free))
        });
        let Some(index) = index
            .filter(|index| self.tracks.get(*index).is_some_and(|track| track.takes(payload_type)))
        else {
            self.stats.packets_dropped_unmapped += 1;
            return false;
        };
        let relatch_after = self.config.relatch_after;
        let path = self.tracks.get(index).and_then(|track| track.legs.get(leg));
        let own = path.is_some_and(|path| path.address == Some(source));
        let free = path.is_some_and(|path| path.is_free(now, relatch_after));
        if !own && !free {
            self.stats.packets_dropped_source += 1;
            return false;
        }
        // After the look at its address: what others send is none of the sender's rate.
        if !self.limit.admits(packet.len(), now) {
            self.stats.packets_dropped_rate += 1;
            return own;
        }
        let is_known = known.is_some() && own;
        let ours = self.with(index, now, out, |track, cx| {
            if is_known {
                track.receive(packet, leg, cx);
                true
            } else {
                track.consider(packet, leg, source, cx)
            }
        });
        let ours = ours.unwrap_or(false);
        if ours {
            self.heard(now);
        }
        ours
    }

    /// A packet of the sender keeps the session alive.
    fn heard(&mut self, now: Time) {
        self.heard_at = now;
        self.media_at = Some(now);
        if self.report_at == Time::NEVER {
            self.reported = (now, self.stats.bytes_received);
            self.report_at = now + self.interval.next(2, 1, 1_000_000);
        }
    }

    fn track_where(&self, test: impl Fn(&Track) -> bool) -> Option<usize> {
        self.tracks.iter().take(self.tracks_len).position(test)
    }

    /// The same, of one track where a socket is that track's.
    fn track_among(&self, only: Option<usize>, test: impl Fn(&Track) -> bool) -> Option<usize> {
        let tracks = self.tracks.iter().take(self.tracks_len).enumerate();
        let mut tracks = tracks.filter(|(index, _)| only.is_none_or(|only| only == *index));
        tracks.find(|(_, track)| test(track)).map(|(index, _)| index)
    }

    fn again<O: Output>(
        &mut self,
        index: usize,
        now: Time,
        source: SocketAddr,
        packet: Packet,
        out: &mut O,
    ) -> bool {
        let Some(track) = self.tracks.get(index) else { return false };
        let ours = track.legs.iter().any(|leg| leg.address.is_some_and(|a| a.ip() == source.ip()));
        if !ours {
            self.stats.packets_dropped_source += 1;
            return false;
        }
        if !self.limit.admits(packet.len(), now) {
            self.stats.packets_dropped_rate += 1;
            return true;
        }
        self.stats.packets_retransmitted += 1;
        let (ssrc, association) = (track.ssrc.unwrap_or(0), track.setup.rtx);
        let packet = match association {
            Some(association) => rtx::restore(packet, association, ssrc),
            None => Ok(packet),
        };
        let Ok(packet) = packet else {
            self.stats.packets_invalid += 1;
            return true;
        };
        let filled = self.with(index, now, out, |track, cx| track.insert_again(packet, cx));
        self.stats.packets_recovered_rtx += u64::from(filled == Some(true));
        true
    }

    fn restore<O: Output>(&mut self, now: Time, slab: &Slab, out: &mut O) {
        for _ in 0..256 {
            let highest = self.tracks.first().map_or(0, Track::highest);
            let fec = self.tracks.first_mut().and_then(|track| track.fec.as_mut());
            let Some((number, restored)) = fec.and_then(|fec| fec.restore(highest)) else { return };
            if self.tracks.first().is_none_or(|track| !track.is_missing(number)) {
                continue;
            }
            let packet = Datagram::copy_from(slab, restored.as_bytes());
            let Some(Ok(packet)) = packet.map(|datagram| Packet::new(datagram, now)) else {
                self.stats.fec_invalid += 1;
                continue;
            };
            self.stats.packets_recovered_fec += 1;
            self.with(0, now, out, |track, cx| track.insert_again(packet, cx));
        }
    }

    fn report<O: Output>(
        &mut self,
        ssrc: u32,
        source: SocketAddr,
        info: &SenderInfo,
        now: Time,
        out: &mut O,
    ) {
        match self.track_where(|track| track.ssrc == Some(ssrc)) {
            Some(index) => {
                self.with(index, now, out, |track, cx| track.use_report(info, now, cx));
            }
            // The source may not have sent yet.
            None => self.early.keep(ssrc, source.ip(), *info, now),
        }
    }

    fn goodbye(&mut self, sources: &[u8], now: Time) {
        for ssrc in rtcp::sources(sources) {
            if let Some(track) = self.tracks.iter_mut().find(|track| track.ssrc == Some(ssrc)) {
                track.goodbye_at.get_or_insert(now);
            }
        }
    }

    /// Ends the sources whose goodbye holds; whether no other is left.
    fn has_left<O: Output>(&mut self, now: Time, out: &mut O) -> bool {
        for index in 0..self.tracks_len {
            if self.tracks.get(index).is_some_and(|track| track.leaves_at() <= now) {
                self.with(index, now, out, |track, cx| {
                    track.end_source(cx);
                    track.gone = true;
                });
            }
        }
        let tracks = self.tracks.iter().take(self.tracks_len);
        let mut proven = tracks.filter(|track| track.ssrc.is_some()).peekable();
        proven.peek().is_some() && proven.all(|track| track.gone)
    }

    /// After every change: what is to be asked for.
    fn settle(&mut self, now: Time) {
        let may_ask = self.config.feedback.pli || self.config.feedback.fir;
        if !may_ask {
            return;
        }
        let tracks = self.tracks.iter().take(self.tracks_len);
        let keys: u64 = tracks.clone().map(|track| track.counters.keys).sum();
        let needs = tracks.clone().any(|track| track.needs_key);
        if keys > self.keys_seen && !needs {
            self.key_request_at = Time::NEVER;
        }
        if needs && self.key_request_at == Time::NEVER {
            self.key_request_at = now;
            self.key_requests = 0;
        }
    }

    fn end<O: Output>(&mut self, reason: EndReason, now: Time, out: &mut O) {
        for index in 0..self.tracks_len {
            self.with(index, now, out, |track, cx| {
                track.end_source(cx);
                track.drop_candidates(cx.stats);
            });
        }
        if self.media_at.is_some() && reason != EndReason::Goodbye {
            self.say_goodbye(out);
        }
        self.ended = Some(reason);
    }
}

#[cfg(test)]
mod tests;
