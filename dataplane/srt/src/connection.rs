//! A receiving connection: what a listener's side does after the handshake.
//!
//! ```text
//!             handle_datagram                       Output
//!  data ────▶ in order? ──────────────yes─────────▶ deliver (at once, with its due time)
//!             └─no─▶ window ──hole filled or due──▶ skipped, deliver
//!  control ─▶ RTT, drift, drops, shutdown
//!             handle_timeout ─────────────────────▶ transmit: ACK, NAK, keepalive
//! ```
//!
//! Timers: acknowledgement (armed only when something changed), loss report (only while something
//! is missing), hole (only while something is held), keepalive, peer idle.

use std::time::Duration;

use memory::{Datagram, Time};

use crate::control::{
    AckRates, AckTiming, Control, DropRequest, NakWriter, encode_full_ack, encode_keepalive,
    encode_light_ack, encode_shutdown,
};
use crate::packet::{
    ControlHeader, DataHeader, Encryption, HEADER_BYTES, PACKET_BYTES_MAX, Packet, UDP_IP_BYTES,
};
use crate::rate::Rates;
use crate::request::{Answer, ConnectRequest, Terms};
use crate::rtt::{Rtt, SentAcks};
use crate::sequence::{Sequence, SequenceRange};
use crate::stats::Stats;
use crate::tsbpd::{TimeBase, low32};
use crate::window::{Inserted, Ready, Window};

/// Full acknowledgements are at least this far apart (3.2.4).
const ACK_INTERVAL: Duration = Duration::from_millis(10);
/// An acknowledgement without an answer is repeated at most this far apart.
const ACK_REPEAT_MAX: Duration = Duration::from_secs(1);
/// Packets after which a light acknowledgement goes out before the full one.
const LIGHT_ACK_PACKETS: u32 = 64;
/// Silence of ours after which a keepalive goes out (3.2.3).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// Span of the received-rate gauge.
const RATE_SPAN: Duration = Duration::from_secs(1);
/// A sender that is done for with the window: after this many packets in a row beyond it, with
/// nothing held, the window follows.
const RESYNC_PACKETS: u32 = 64;
/// Two packets of such a row are no further apart.
const RESYNC_STEP: i32 = 16;
/// Given-up ranges remembered, to tell belated packets from duplicates.
const GIVEN_UP_MAX: usize = 32;
/// Loss reports in one go; what is left over follows with the next.
const NAKS_PER_ROUND: u32 = 4;
/// Least free buffer that is ever advertised: a libsrt sender told 0 for a second never recovers.
const AVAILABLE_MIN: u32 = 2;

/// Where a connection's results go.
pub trait Output {
    /// Send this packet to the peer.
    fn transmit(&mut self, packet: &[u8]);
    /// The next payload in order, and when it is due. Called as soon as the order is known, which is
    /// mostly long before it is due.
    fn deliver(&mut self, payload: &[u8], arrival: Time, due: Time);
    /// These many packets are missing here and will not come.
    fn skipped(&mut self, packets: u32);
}

/// What a session is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// Our socket id: non-zero, below 2^30, telling the owner.
    pub local_id: u32,
    /// Least receive latency; the caller may ask for more.
    pub latency: Duration,
    /// Most packets in flight; the window's capacity may lower it.
    pub flow_window: u32,
    /// Most packets held behind a hole.
    pub slots_max: u32,
    /// The connection ends after this much silence of the peer.
    pub peer_idle_timeout: Duration,
    /// Packets that may overtake a missing one before it is reported: 0 on ordinary paths, more for
    /// bonded links.
    pub reorder_tolerance: u32,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            local_id: 0,
            latency: Duration::from_millis(120),
            flow_window: 8_192,
            slots_max: 8_192,
            peer_idle_timeout: Duration::from_secs(5),
            reorder_tolerance: 0,
        }
    }
}

/// Whether a connection is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Open.
    Open,
    /// Not opened yet, or over.
    Closed(EndReason),
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Not opened yet.
    Unused,
    /// The peer said shutdown.
    PeerShutdown,
    /// The peer fell silent.
    PeerIdle,
    /// Closed from this side.
    Local,
}

/// A receiving connection. Made once with its window, opened anew for each session; nothing is
/// allocated after [`Connection::new`].
#[derive(Debug)]
pub struct Connection {
    state: State,
    local_id: u32,
    peer_id: u32,
    opened: Time,
    time_base: TimeBase,
    window: Window,
    slots_max: u32,
    reorder_tolerance: u32,
    peer_idle_timeout: Duration,
    nak_bytes_max: usize,
    rtt: Rtt,
    rates: Rates,
    sent_acks: SentAcks,
    /// Last sequence acknowledged, by any acknowledgement.
    acked: Sequence,
    /// Packets passed since the last acknowledgement.
    unacked_packets: u32,
    ack_repeats: u32,
    ack_at: Time,
    nak_at: Time,
    /// The first held packet and when the hole before it is given up.
    hole: Option<(Sequence, Time)>,
    sent_at: Time,
    heard_at: Time,
    given_up: [Option<SequenceRange>; GIVEN_UP_MAX],
    next_given_up: usize,
    beyond: Beyond,
    rate_from: (Time, u64),
    stats: Stats,
}

/// A row of packets beyond the window.
#[derive(Debug, Clone, Copy, Default)]
struct Beyond {
    next: Sequence,
    packets: u32,
}

impl Connection {
    /// With a window of `window_packets`, rounded up to a power of two.
    pub fn new(window_packets: u32) -> Self {
        Self {
            state: State::Closed(EndReason::Unused),
            local_id: 0,
            peer_id: 0,
            opened: Time::ZERO,
            time_base: TimeBase::new(Time::ZERO, 0, Duration::ZERO),
            window: Window::new(window_packets),
            slots_max: 0,
            reorder_tolerance: 0,
            peer_idle_timeout: Duration::ZERO,
            nak_bytes_max: PACKET_BYTES_MAX,
            rtt: Rtt::new(),
            rates: Rates::new(),
            sent_acks: SentAcks::new(),
            acked: Sequence::default(),
            unacked_packets: 0,
            ack_repeats: 0,
            ack_at: Time::NEVER,
            nak_at: Time::NEVER,
            hole: None,
            sent_at: Time::ZERO,
            heard_at: Time::ZERO,
            given_up: [None; GIVEN_UP_MAX],
            next_given_up: 0,
            beyond: Beyond::default(),
            rate_from: (Time::ZERO, 0),
            stats: Stats::default(),
        }
    }

    /// Starts a session on the caller's request and says what to answer. Counters start at zero.
    pub fn open(
        &mut self,
        request: &ConnectRequest,
        config: &ConnectionConfig,
        now: Time,
    ) -> Answer {
        let own_latency_ms = u16::try_from(config.latency.as_millis()).unwrap_or(u16::MAX);
        let latency_ms = own_latency_ms.max(request.capabilities.sender_latency_ms);
        let latency = Duration::from_millis(latency_ms.into());
        let initial = request.initial_sequence;
        self.window.reset(initial, config.flow_window);
        self.sent_acks.reset();
        self.state = State::Open;
        self.local_id = config.local_id;
        self.peer_id = request.caller_id;
        self.opened = now;
        self.time_base = TimeBase::new(request.arrival, request.timestamp_us, latency);
        self.slots_max = config.slots_max;
        self.reorder_tolerance = config.reorder_tolerance;
        self.peer_idle_timeout = config.peer_idle_timeout;
        self.nak_bytes_max = usize::from(request.mtu).saturating_sub(UDP_IP_BYTES);
        self.rtt = Rtt::new();
        self.rates = Rates::new();
        self.acked = initial;
        self.unacked_packets = 0;
        self.ack_repeats = 0;
        self.ack_at = Time::NEVER;
        self.nak_at = Time::NEVER;
        self.hole = None;
        self.sent_at = now;
        self.heard_at = now;
        self.given_up = [None; GIVEN_UP_MAX];
        self.beyond = Beyond::default();
        self.rate_from = (now, 0);
        self.stats = Stats {
            rtt_us: self.rtt.smoothed_us().into(),
            rtt_variance_us: self.rtt.variance_us().into(),
            latency_ms: latency_ms.into(),
            flow_window_packets: self.available().into(),
            last_received_ns: now.nanos(),
            ..Stats::default()
        };
        let terms = Terms {
            local_id: config.local_id,
            flow_window: self.window.limit(),
            receiver_latency_ms: latency_ms,
            sender_latency_ms: request.capabilities.receiver_latency_ms,
        };
        request.accept(&terms, 0)
    }

    /// Whether it is open, or why not.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Counters since it was opened.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Our socket id.
    pub const fn local_id(&self) -> u32 {
        self.local_id
    }

    /// Packets it can hold.
    pub fn window_capacity(&self) -> u32 {
        self.window.capacity()
    }

    /// Takes a datagram of this connection: the caller has checked socket id and source address.
    ///
    /// `arrival` is the kernel's stamp where there is one: delivery times, rates and round trips are
    /// counted from it, timers from `now`.
    #[inline]
    pub fn handle_datagram(
        &mut self,
        now: Time,
        arrival: Time,
        datagram: Datagram,
        out: &mut impl Output,
    ) {
        if self.state != State::Open {
            return;
        }
        self.heard_at = now;
        self.stats.last_received_ns = now.nanos();
        self.stats.datagrams_received += 1;
        self.stats.bytes_received += datagram.len() as u64;
        match Packet::parse(datagram.payload()) {
            Ok(Packet::Data(header, _)) => self.data(now, arrival, header, datagram, out),
            Ok(Packet::Control(header, control)) => {
                self.control(now, arrival, header, control, out);
            }
            Err(_) => self.stats.control_invalid += 1,
        }
    }

    #[inline]
    fn data(
        &mut self,
        now: Time,
        arrival: Time,
        header: DataHeader,
        datagram: Datagram,
        out: &mut impl Output,
    ) {
        self.stats.packets_received += 1;
        self.stats.packets_retransmitted += u64::from(header.retransmitted);
        if header.destination != self.local_id || header.encryption == Encryption::Both {
            self.stats.packets_dropped_invalid += 1;
            return;
        }
        if header.encryption != Encryption::Clear {
            self.stats.packets_undecryptable += 1;
            return;
        }
        let sequence = header.sequence;
        let in_order = sequence == self.window.end() && !header.retransmitted;
        let payload_bytes = datagram.len() - HEADER_BYTES;
        self.rates.arrived(arrival, sequence, payload_bytes, in_order);
        if sequence != self.window.base() {
            self.out_of_order(now, arrival, header, datagram, out);
            return;
        }
        let recovered = self.window.pass();
        self.stats.packets_recovered += u64::from(recovered);
        self.stats.packets_unique += 1;
        let payload = datagram.payload().get(HEADER_BYTES..).unwrap_or_default();
        let due = self.time_base.due(arrival, header.timestamp_us);
        self.deliver(payload, arrival, due, out);
        drop(datagram);
        if self.window.base() != self.window.end() {
            self.drain(out);
        }
        self.passed(now, out);
    }

    #[inline]
    fn deliver(&mut self, payload: &[u8], arrival: Time, due: Time, out: &mut impl Output) {
        self.stats.packets_delivered += 1;
        self.stats.bytes_delivered += payload.len() as u64;
        self.unacked_packets += 1;
        out.deliver(payload, arrival, due);
    }

    /// Arms the acknowledgement after the base has moved.
    #[inline]
    fn passed(&mut self, now: Time, out: &mut impl Output) {
        self.beyond.packets = 0;
        if self.ack_repeats > 0 || self.ack_at == Time::NEVER {
            self.ack_repeats = 0;
            self.ack_at = self.ack_at.min(now + ACK_INTERVAL);
        }
        if self.unacked_packets >= LIGHT_ACK_PACKETS {
            self.light_ack(now, out);
        }
    }

    #[inline(never)]
    fn out_of_order(
        &mut self,
        now: Time,
        arrival: Time,
        header: DataHeader,
        mut datagram: Datagram,
        out: &mut impl Output,
    ) {
        let offset = header.sequence.offset_from(self.window.base());
        if offset < 0 {
            self.late(now, header.sequence);
            return;
        }
        if offset.unsigned_abs() >= self.window.limit() {
            self.beyond(now, arrival, header, datagram, out);
            return;
        }
        if self.window.held() >= self.slots_max {
            self.stats.packets_dropped_slots += 1;
            return;
        }
        stash_arrival(&mut datagram, arrival);
        let inserted = self.window.insert(header.sequence, datagram, now);
        match inserted {
            Inserted::Duplicate => {
                self.stats.packets_duplicate += 1;
                return;
            }
            Inserted::NoRoom => {
                self.stats.packets_dropped_window += 1;
                return;
            }
            Inserted::Gap(missing) => self.stats.packets_lost += u64::from(missing),
            Inserted::Recovered => self.stats.packets_recovered += 1,
            Inserted::Next | Inserted::Unexpected => {}
        }
        self.stats.packets_unique += 1;
        self.stats.packets_held = self.window.held().into();
        self.beyond.packets = 0;
        self.update_hole();
        self.report_ripe(now, out);
    }

    /// A packet from before the window: a duplicate, or one whose place was given up.
    fn late(&mut self, now: Time, sequence: Sequence) {
        let given_up = |range: &Option<SequenceRange>| range.is_some_and(|r| r.contains(sequence));
        if self.given_up.iter().any(given_up) {
            self.stats.packets_belated += 1;
        } else {
            self.stats.packets_duplicate += 1;
        }
        // The sender may not know what we have: tell it again.
        self.ack_at = self.ack_at.min(now + ACK_INTERVAL);
    }

    /// A packet from beyond the window moves nothing, unless the sender has plainly gone on there
    /// and nothing held would be lost by following.
    fn beyond(
        &mut self,
        now: Time,
        arrival: Time,
        header: DataHeader,
        datagram: Datagram,
        out: &mut impl Output,
    ) {
        let step = header.sequence.offset_from(self.beyond.next);
        let in_row = self.beyond.packets > 0 && (0..RESYNC_STEP).contains(&step);
        self.beyond.packets = if in_row { self.beyond.packets + 1 } else { 1 };
        self.beyond.next = header.sequence.next();
        if self.beyond.packets < RESYNC_PACKETS || self.window.held() > 0 {
            self.stats.packets_dropped_window += 1;
            return;
        }
        let base = self.window.base();
        let missing = header.sequence.offset_from(base).unsigned_abs();
        self.stats.packets_lost += u64::from(missing) - u64::from(self.window.missing());
        self.stats.packets_skipped_too_late += u64::from(missing);
        self.remember(SequenceRange::new(base, header.sequence.previous()));
        self.window.reset(header.sequence, self.window.limit());
        self.hole = None;
        self.nak_at = Time::NEVER;
        out.skipped(missing);
        self.window.pass();
        self.stats.packets_unique += 1;
        let payload = datagram.payload().get(HEADER_BYTES..).unwrap_or_default();
        let due = self.time_base.due(arrival, header.timestamp_us);
        self.deliver(payload, arrival, due, out);
        self.passed(now, out);
    }

    fn remember(&mut self, range: Option<SequenceRange>) {
        if let Some(place) = self.given_up.get_mut(self.next_given_up) {
            *place = range;
        }
        self.next_given_up = (self.next_given_up + 1) % GIVEN_UP_MAX;
    }

    /// Delivers what is in order now.
    fn drain(&mut self, out: &mut impl Output) {
        loop {
            let base = self.window.base();
            match self.window.ready() {
                Some(Ready::Packet(datagram)) => {
                    let (arrival, timestamp_us) = stashed(&datagram);
                    let due = self.time_base.due(arrival, timestamp_us);
                    let payload = datagram.payload().get(HEADER_BYTES..).unwrap_or_default();
                    self.deliver(payload, arrival, due, out);
                }
                Some(Ready::GivenUp(count)) => {
                    self.stats.packets_skipped_by_sender += u64::from(count);
                    self.remember(SequenceRange::new(base, base.add(count - 1)));
                    out.skipped(count);
                }
                None => break,
            }
        }
        self.stats.packets_held = self.window.held().into();
        self.update_hole();
    }

    /// Keeps the time at which the hole at the base is given up: when the first packet behind it is
    /// due (TLPKTDROP, 4.6).
    fn update_hole(&mut self) {
        let Some((sequence, datagram)) = self.window.first_held() else {
            self.hole = None;
            if !self.window.has_losses() {
                self.nak_at = Time::NEVER;
            }
            return;
        };
        if self.hole.is_none_or(|(known, _)| known != sequence) {
            let (arrival, timestamp_us) = stashed(datagram);
            self.hole = Some((sequence, self.time_base.due(arrival, timestamp_us)));
        }
    }

    /// Gives the hole at the base up and delivers what waited behind it.
    fn skip_hole(&mut self, now: Time, out: &mut impl Output) {
        if let Some(range) = self.window.give_up() {
            self.stats.packets_skipped_too_late += u64::from(range.count());
            self.remember(Some(range));
            out.skipped(range.count());
        }
        self.hole = None;
        self.drain(out);
        self.passed(now, out);
    }

    fn control(
        &mut self,
        now: Time,
        arrival: Time,
        header: ControlHeader,
        control: Control<'_>,
        out: &mut impl Output,
    ) {
        if header.destination != self.local_id {
            self.stats.control_invalid += 1;
            return;
        }
        match control {
            Control::Ackack(number) => self.ackack(arrival, header.timestamp_us, number),
            Control::Keepalive => self.stats.keepalives_received += 1,
            Control::DropRequest(request) => self.drop_request(now, request, out),
            Control::Shutdown => {
                self.flush(out);
                self.end(EndReason::PeerShutdown);
            }
            // Nothing was sent that these could answer.
            Control::Ack(_) | Control::Nak(_) => self.stats.control_invalid += 1,
            Control::Handshake(_)
            | Control::CongestionWarning
            | Control::PeerError(_)
            | Control::UserDefined(..) => {}
        }
    }

    fn ackack(&mut self, arrival: Time, timestamp_us: u32, number: u32) {
        let Some((sequence, sent)) = self.sent_acks.take(number) else {
            self.stats.control_invalid += 1;
            return;
        };
        self.stats.ackacks_received += 1;
        let sample = arrival.since(sent);
        self.rtt.sample(sample);
        self.stats.rtt_us = self.rtt.smoothed_us().into();
        self.stats.rtt_variance_us = self.rtt.variance_us().into();
        let excess = self.rtt.excess_us(sample);
        self.time_base.sample(arrival, timestamp_us, excess);
        self.stats.drift_us = self.time_base.drift_us();
        if self.nak_at != Time::NEVER {
            // Set while the round trip was still thought longer.
            self.nak_at = self.nak_at.min(arrival + self.rtt.nak_interval());
        }
        if self.ack_repeats > 0 && sequence == self.window.base() {
            self.ack_at = Time::NEVER;
            self.ack_repeats = 0;
        }
    }

    fn drop_request(&mut self, now: Time, request: DropRequest, out: &mut impl Output) {
        self.stats.drop_requests_received += 1;
        let base = self.window.base();
        self.window.drop_range(request.range);
        self.drain(out);
        if self.window.base() != base {
            self.passed(now, out);
        }
    }

    /// Runs the timers that have come. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Time, out: &mut impl Output) {
        if self.state != State::Open {
            return;
        }
        while let Some((_, due)) = self.hole
            && due <= now
        {
            self.skip_hole(now, out);
        }
        if self.ack_at <= now {
            self.full_ack(now, out);
        }
        if self.nak_at <= now {
            self.report_losses(now, out);
        }
        if self.heard_at + self.peer_idle_timeout <= now {
            self.flush(out);
            self.end(EndReason::PeerIdle);
            return;
        }
        if self.sent_at + KEEPALIVE_INTERVAL <= now {
            let packet = encode_keepalive(self.timestamp(now), self.peer_id);
            self.transmit(now, &packet, out);
        }
        self.update_rate(now);
    }

    /// When to call [`Connection::handle_timeout`] next. It only grows later without news from the
    /// peer, so a timer set for an earlier answer may fire and be set again.
    #[inline]
    pub fn next_timeout(&self) -> Time {
        if self.state != State::Open {
            return Time::NEVER;
        }
        let hole = self.hole.map_or(Time::NEVER, |(_, due)| due);
        (self.sent_at + KEEPALIVE_INTERVAL)
            .min(self.heard_at + self.peer_idle_timeout)
            .min(self.ack_at)
            .min(self.nak_at)
            .min(hole)
    }

    /// Ends the connection from this side: tells the peer and drops what is held.
    pub fn close(&mut self, now: Time, out: &mut impl Output) {
        if self.state == State::Open {
            let packet = encode_shutdown(self.timestamp(now), self.peer_id);
            self.transmit(now, &packet, out);
        }
        self.end(EndReason::Local);
    }

    /// Changes the share of slots; when the free buffer grows by it, the sender hears it at once.
    pub fn set_slots_max(&mut self, slots_max: u32, now: Time, out: &mut impl Output) {
        let before = self.available();
        self.slots_max = slots_max;
        self.stats.flow_window_packets = self.available().into();
        if self.state == State::Open && self.available() > before {
            self.full_ack(now, out);
        }
    }

    /// What a sender may have in flight. Acknowledged packets have been delivered, so holding costs
    /// nothing of it: only window and share count.
    fn available(&self) -> u32 {
        self.window.limit().min(self.slots_max).max(AVAILABLE_MIN)
    }

    /// Delivers everything held, given-up holes between: no retransmission will come any more.
    fn flush(&mut self, out: &mut impl Output) {
        while self.window.held() > 0 {
            let base = self.window.base();
            if let Some(range) = self.window.give_up() {
                self.stats.packets_skipped_too_late += u64::from(range.count());
                out.skipped(range.count());
            }
            self.drain(out);
            debug_assert!(base != self.window.base(), "every round passes something");
        }
    }

    fn end(&mut self, reason: EndReason) {
        if self.state == State::Open {
            self.state = State::Closed(reason);
        }
        self.stats.packets_discarded_at_end += u64::from(self.window.clear());
        self.stats.packets_held = 0;
        self.hole = None;
    }

    fn full_ack(&mut self, now: Time, out: &mut impl Output) {
        let sequence = self.window.base();
        let number = self.sent_acks.push(sequence, now);
        let timing = AckTiming {
            rtt_us: self.rtt.smoothed_us(),
            rtt_variance_us: self.rtt.variance_us(),
            available_packets: self.available(),
        };
        let (packets_per_s, bytes_per_s) = self.rates.receive_rate();
        let rates =
            AckRates { packets_per_s, link_capacity_pps: self.rates.link_capacity(), bytes_per_s };
        self.stats.link_capacity_pps = rates.link_capacity_pps.into();
        let to = self.peer_id;
        let packet = encode_full_ack(number, sequence, &timing, &rates, self.timestamp(now), to);
        self.transmit(now, &packet, out);
        self.stats.acks_sent += 1;
        self.acked = sequence;
        self.unacked_packets = 0;
        // Until its ACKACK comes it is repeated, ever more seldom.
        let patience = self.rtt.patience().max(ACK_INTERVAL) * (1 << self.ack_repeats.min(7));
        self.ack_at = now + patience.min(ACK_REPEAT_MAX);
        self.ack_repeats += 1;
    }

    fn light_ack(&mut self, now: Time, out: &mut impl Output) {
        self.unacked_packets = 0;
        if self.acked == self.window.base() {
            return;
        }
        self.acked = self.window.base();
        let packet = encode_light_ack(self.acked, self.timestamp(now), self.peer_id);
        self.transmit(now, &packet, out);
        self.stats.light_acks_sent += 1;
    }

    /// Reports new losses that enough packets have overtaken.
    fn report_ripe(&mut self, now: Time, out: &mut impl Output) {
        if self.nak_at == Time::NEVER && self.window.has_losses() {
            self.nak_at = now + self.rtt.nak_interval();
        }
        let tolerance = self.reorder_tolerance;
        let end = self.window.end();
        let ripe = |last: Sequence| end.offset_from(last).unsigned_abs() > tolerance + 1;
        let any = self
            .window
            .losses_mut()
            .rev()
            .take_while(|loss| loss.fresh)
            .any(|loss| ripe(loss.last));
        if any {
            self.report(now, out, |loss| loss.fresh && ripe(loss.last));
        }
    }

    /// Reports, oldest first, what was last reported one interval ago.
    fn report_losses(&mut self, now: Time, out: &mut impl Output) {
        let interval = self.rtt.nak_interval();
        self.report(now, out, |loss| loss.since + interval <= now);
        let next = self.window.losses().map(|loss| loss.since).min();
        // What did not fit into this round follows after a while.
        let earliest = now + ACK_INTERVAL;
        self.nak_at = next.map_or(Time::NEVER, |since| (since + interval).max(earliest));
    }

    fn report(
        &mut self,
        now: Time,
        out: &mut impl Output,
        wanted: impl Fn(&crate::window::Loss) -> bool,
    ) {
        let timestamp_us = self.timestamp(now);
        let to = self.peer_id;
        let mut bytes = [0; PACKET_BYTES_MAX];
        let limit = self.nak_bytes_max.min(PACKET_BYTES_MAX);
        for _ in 0..NAKS_PER_ROUND {
            let mut full = false;
            let mut nak =
                NakWriter::new(bytes.get_mut(..limit).unwrap_or_default(), timestamp_us, to);
            for loss in self.window.losses_mut().filter(|loss| wanted(loss)) {
                let Some(range) = SequenceRange::new(loss.first, loss.last) else {
                    continue;
                };
                if !nak.push(range) {
                    full = true;
                    break;
                }
                loss.since = now;
                loss.fresh = false;
            }
            let Some(len) = nak.finish() else { return };
            self.stats.naks_sent += 1;
            self.transmit(now, bytes.get(..len).unwrap_or_default(), out);
            if !full {
                return;
            }
        }
    }

    #[inline]
    fn transmit(&mut self, now: Time, packet: &[u8], out: &mut impl Output) {
        self.sent_at = now;
        out.transmit(packet);
    }

    fn timestamp(&self, now: Time) -> u32 {
        low32(now.micros() - self.opened.micros().min(now.micros()))
    }

    fn update_rate(&mut self, now: Time) {
        let (from, bytes) = self.rate_from;
        let span = now.since(from);
        if span < RATE_SPAN {
            return;
        }
        let bits = u128::from(self.stats.bytes_received - bytes) * 8;
        let rate = bits * 1_000_000_000 / span.as_nanos().max(1);
        self.stats.receive_rate_bps = u64::try_from(rate).unwrap_or(u64::MAX);
        self.rate_from = (now, self.stats.bytes_received);
    }
}

/// A held packet's sequence and message number are known from its place and not needed again: the
/// first two words of its header keep the time of its arrival instead.
fn stash_arrival(datagram: &mut Datagram, arrival: Time) {
    if let Some(words) = datagram.payload_mut().first_chunk_mut::<8>() {
        *words = arrival.nanos().to_be_bytes();
    }
}

/// Arrival and timestamp of a held packet.
fn stashed(datagram: &Datagram) -> (Time, u32) {
    let bytes = datagram.payload();
    let arrival = bytes.first_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b));
    let timestamp_us = crate::bytes::word(bytes, 8).unwrap_or(0);
    (Time::from_nanos(arrival), timestamp_us)
}
