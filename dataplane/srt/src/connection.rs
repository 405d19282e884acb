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

mod feedback;
mod keying;
mod measuring;
mod ordering;

use std::time::Duration;

use memory::{Datagram, Time};

use self::feedback::KEEPALIVE_INTERVAL;
use self::keying::{Admission, Keying};
use self::ordering::GIVEN_UP_MAX;
use crate::backlog::Backlog;
use crate::caller::Connected;
use crate::control::{Control, encode_keepalive, encode_shutdown};
use crate::crypto::Keys;
use crate::packet::{
    ControlHeader, DataHeader, Encryption, HEADER_BYTES, MTU_MAX, PACKET_BYTES_MAX, Packet,
    UDP_IP_BYTES,
};
use crate::rate::Rates;
use crate::request::{Answer, ConnectRequest, Terms};
use crate::rtt::{Rtt, SentAcks};
use crate::sequence::{Sequence, SequenceRange};
use crate::stats::{Meters, Stats};
use crate::tsbpd::TimeBase;
use crate::window::Window;

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
    /// Most that is advertised while the receiver asks for less.
    window_max: u32,
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
    rate_step_from: (Time, u64),
    meters: Meters,
    backlog: Backlog,
    keying: Keying,
    stats: Stats,
}

/// What a connection starts from, whichever side asked for it.
struct Opening {
    peer_id: u32,
    /// First sequence number the peer sends.
    initial: Sequence,
    mtu: u32,
    latency_ms: u16,
    /// When the peer's greeting came, and its clock when it was sent: the base of delivery times.
    arrival: Time,
    timestamp_us: u32,
    /// Zero of our own timestamps.
    opened: Time,
}

/// A row of packets beyond the window.
#[derive(Debug, Clone, Copy, Default)]
struct Beyond {
    next: Sequence,
    packets: u32,
}

impl Connection {
    /// Bytes that a connection with this window takes, for the memory sum.
    pub fn bytes(window_packets: u32) -> usize {
        size_of::<Self>() + Window::bytes(window_packets) + SentAcks::BYTES + Backlog::BYTES
    }

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
            window_max: u32::MAX,
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
            rate_step_from: (Time::ZERO, 0),
            meters: Meters::new(),
            backlog: Backlog::new(),
            keying: Keying::default(),
            stats: Stats::default(),
        }
    }

    /// Starts a session on the caller's request and says what to answer. Counters start at zero.
    ///
    /// With `keys`, unwrapped from the request's key material, everything has to be encrypted; without
    /// them nothing may be.
    pub fn open(
        &mut self,
        request: &ConnectRequest,
        config: &ConnectionConfig,
        keys: Option<Box<Keys>>,
        now: Time,
    ) -> Answer {
        let own_latency_ms = u16::try_from(config.latency.as_millis()).unwrap_or(u16::MAX);
        let latency_ms = own_latency_ms.max(request.capabilities.sender_latency_ms);
        self.start(
            config,
            now,
            &Opening {
                peer_id: request.caller_id,
                initial: request.initial_sequence,
                mtu: request.mtu.into(),
                latency_ms,
                arrival: request.arrival,
                timestamp_us: request.timestamp_us,
                opened: now,
            },
        );
        self.keying.open(keys, request.key_material, now);
        let terms = Terms {
            local_id: config.local_id,
            flow_window: self.available(),
            receiver_latency_ms: latency_ms,
            sender_latency_ms: request.capabilities.receiver_latency_ms,
            secured: self.is_secured(),
        };
        request.accept(&terms, 0)
    }

    /// Starts a session on a connection that this side asked for, as caller or in a rendezvous. The
    /// latency is what was agreed. Counters start at zero.
    ///
    /// `keys` are those whose material the conclusion carried ([`Initiator::keys`]): the listener
    /// encrypts with them too.
    ///
    /// [`Initiator::keys`]: crate::crypto::Initiator::keys
    pub fn open_connected(
        &mut self,
        connected: &Connected,
        config: &ConnectionConfig,
        keys: Option<Box<Keys>>,
        now: Time,
    ) {
        self.start(
            config,
            now,
            &Opening {
                peer_id: connected.peer_socket_id,
                initial: connected.peer_initial_sequence,
                mtu: connected.mtu,
                latency_ms: connected.latency_ms,
                arrival: connected.greeted,
                timestamp_us: connected.greeted_timestamp_us,
                opened: connected.start,
            },
        );
        self.keying.open(keys, None, now);
    }

    fn start(&mut self, config: &ConnectionConfig, now: Time, opening: &Opening) {
        let latency = Duration::from_millis(opening.latency_ms.into());
        self.window.reset(opening.initial, config.flow_window);
        self.sent_acks.reset();
        self.state = State::Open;
        self.local_id = config.local_id;
        self.peer_id = opening.peer_id;
        self.opened = opening.opened;
        self.time_base = TimeBase::new(opening.arrival, opening.timestamp_us, latency);
        self.slots_max = config.slots_max;
        self.window_max = u32::MAX;
        self.reorder_tolerance = config.reorder_tolerance;
        self.peer_idle_timeout = config.peer_idle_timeout;
        let mtu = usize::try_from(opening.mtu).unwrap_or(MTU_MAX).min(MTU_MAX);
        self.nak_bytes_max = mtu.saturating_sub(UDP_IP_BYTES);
        self.rtt = Rtt::new();
        self.rates = Rates::new();
        self.acked = opening.initial;
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
        self.rate_step_from = (now, 0);
        self.meters = Meters::new();
        self.backlog.reset(latency, now);
        self.stats = Stats {
            rtt_us: self.rtt.smoothed_us().into(),
            rtt_variance_us: self.rtt.variance_us().into(),
            latency_ms: opening.latency_ms.into(),
            flow_window_packets: self.available().into(),
            reorder_tolerance_packets: config.reorder_tolerance.into(),
            last_received_ns: now.nanos(),
            ..Stats::default()
        };
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

    /// First sequence number not passed yet, and the first that nothing is known of.
    #[cfg(any(test, fuzzing, feature = "fuzz"))]
    pub(crate) fn window_ends(&self) -> (Sequence, Sequence) {
        (self.window.base(), self.window.end())
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
        mut datagram: Datagram,
        out: &mut impl Output,
    ) {
        self.stats.packets_received += 1;
        self.stats.packets_retransmitted += u64::from(header.retransmitted);
        if header.destination != self.local_id || header.encryption == Encryption::Both {
            self.stats.packets_dropped_invalid += 1;
            return;
        }
        let sequence = header.sequence;
        match self.admit(header.encryption) {
            Admission::Dropped => return,
            Admission::Decrypt if sequence.is_before(self.window.base()) => {}
            Admission::Decrypt if !self.decrypt(header.encryption, &mut datagram) => return,
            Admission::Decrypt | Admission::Clear => {}
        }
        let in_order = sequence == self.window.end() && !header.retransmitted;
        let payload_bytes = datagram.len() - HEADER_BYTES;
        self.rates.arrived(arrival, sequence, payload_bytes, in_order);
        if sequence != self.window.base() {
            self.out_of_order(now, arrival, header, datagram, out);
            return;
        }
        if self.window.pass() {
            self.recovered(&header);
        }
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
            Control::Handshake(_) | Control::CongestionWarning | Control::PeerError(_) => {}
            Control::UserDefined(subtype, body) => self.key_message(now, subtype, body, out),
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
        self.measure(now);
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
        self.window_changed(before, now, out);
    }

    /// Advertises at most so many packets of free buffer (two in any case), whatever there is:
    /// `u32::MAX` for all of it. What is in flight already is still taken. The sender hears of more
    /// at once and of less within an acknowledgement's interval; it does not slow its encoder, it
    /// drops what it cannot send in time.
    pub fn set_window_max(&mut self, packets: u32, now: Time, out: &mut impl Output) {
        let before = self.available();
        self.window_max = packets;
        self.window_changed(before, now, out);
    }

    /// Changes the silence after which the connection ends.
    pub const fn set_peer_idle_timeout(&mut self, timeout: Duration) {
        self.peer_idle_timeout = timeout;
    }

    /// Changes how many packets may overtake a missing one before it is reported.
    pub fn set_reorder_tolerance(&mut self, packets: u32) {
        self.reorder_tolerance = packets;
        self.stats.reorder_tolerance_packets = packets.into();
    }

    fn end(&mut self, reason: EndReason) {
        if self.state == State::Open {
            self.state = State::Closed(reason);
            self.close_interval();
        }
        // What is still missing is not waited for any more.
        self.stats.packets_skipped_too_late += u64::from(self.window.absent());
        self.stats.packets_discarded_at_end += u64::from(self.window.clear());
        self.show_window();
        self.hole = None;
    }
}

#[cfg(test)]
mod tests;
