//! What conductor and workers say to each other, over one pair of SPSC rings per worker.
//!
//! Boxes are made and freed by the conductor only: a worker passes them on.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use memory::Time;
use rtp::detect::Detector;
use rtp::session::{LEGS_MAX, SessionConfig, TRACKS_MAX};
use shm::EndReason;
use srt::caller::{CallerConfig, Failure};
use srt::crypto::{KeyMaterial, KeyState, Keys};
use srt::handshake::RejectReason;
use srt::{ANSWER_BYTES, Answer, ConnectRequest, ConnectionConfig};
use uring::SocketIndex;

use crate::berth::Berth;
use crate::conductor::placement::Place;
use crate::config::{Access, OverBandwidth, Purpose, RtpTerms, SourceMode, StreamOptions};
use crate::worker::attempts::AttemptKey;

/// Who asked for a connection.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A publisher did: the ticket of its request, the worker that took it, and the request.
    Accepted { ticket: u32, from: u16, request: ConnectRequest },
    /// We do.
    Called(Call),
}

/// What an operator asks of a running session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Act on this pressure, in thousandths; `None`: on the measured one.
    Pressure(Option<u16>),
    /// Give up the oldest closed group of pictures.
    DropGop,
    /// Go by these terms from now on.
    Terms(Terms),
    /// The same for a session of RTP.
    RtpTerms(RtpTerms),
}

/// What can be changed while a session runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) max_bandwidth_bps: u64,
    pub(crate) over_bandwidth: OverBandwidth,
    pub(crate) peer_idle_timeout: Duration,
    pub(crate) reorder_tolerance_packets: u32,
    pub(crate) priority: u8,
}

/// A peer that we call, and how.
#[derive(Debug)]
pub(crate) struct Call {
    /// The id of the source and of its stream.
    pub(crate) id: String,
    pub(crate) mode: SourceMode,
    pub(crate) peer: SocketAddr,
    pub(crate) config: CallerConfig,
    /// For the contest of a rendezvous.
    pub(crate) cookie: u32,
    /// The longest latency that the peer may ask for.
    pub(crate) latency_max_ms: u16,
    /// The stream was lost and goes on.
    pub(crate) resumed: bool,
    /// Keys that the peer of a rendezvous brought, as its initiator. Where ours are the ones in use,
    /// or the other way round, these ride along and are wiped by the conductor.
    pub(crate) their_keys: Option<Box<Keys>>,
    /// Why there is no connection.
    pub(crate) failure: Option<Failure>,
}

/// A connection on its way to its worker, there, and on its way back.
#[derive(Debug)]
pub(crate) struct Tenancy {
    pub(crate) place: Place,
    /// What it receives and sends on.
    pub(crate) socket: SocketIndex,
    pub(crate) origin: Origin,
    pub(crate) config: ConnectionConfig,
    /// The keys of a secured session; with the connection while that runs.
    pub(crate) keys: Option<Box<Keys>>,
    /// Everything decided about the stream.
    pub(crate) options: StreamOptions,
    pub(crate) berth: Berth,
    /// Why it is on its way back.
    pub(crate) end: EndReason,
}

impl Tenancy {
    /// The address of the other side.
    pub(crate) const fn peer(&self) -> SocketAddr {
        match &self.origin {
            Origin::Accepted { request, .. } => request.peer,
            Origin::Called(call) => call.peer,
        }
    }
}

/// A sender of RTP at the shared port that proved itself and waits for its admission: where its
/// worker keeps its packets meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) index: u16,
    /// Rooms are used again: the number of this use.
    pub(crate) serial: u32,
}

/// A sender at the shared port of RTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) room: Room,
    pub(crate) ssrc: u32,
    pub(crate) payload_type: u8,
    pub(crate) peer: SocketAddr,
}

/// How a session of RTP came about.
#[derive(Debug)]
pub(crate) enum Admission {
    /// A sender at the shared port was admitted, by this ticket.
    Sender { ticket: u32, sender: Sender },
    /// It is given, with sockets of its own.
    Given {
        access: Access,
        /// It takes a transport stream without RTP.
        is_ts: bool,
    },
}

/// The sockets of RTCP, by track and leg.
pub(crate) type RtcpSockets = [[SocketIndex; LEGS_MAX]; TRACKS_MAX];

/// A session of RTP on its way to its worker, there, and on its way back.
#[derive(Debug)]
pub(crate) struct RtpTenancy {
    pub(crate) place: Place,
    /// Names the session in orders, as a socket id does with SRT.
    pub(crate) id: u32,
    pub(crate) admission: Admission,
    /// Where reports to the sender leave, unless it sends its own to another socket.
    pub(crate) rtcp_sockets: RtcpSockets,
    pub(crate) config: SessionConfig,
    pub(crate) max_bandwidth_bps: u64,
    pub(crate) over_bandwidth: OverBandwidth,
    pub(crate) berth: Berth,
    /// Why it is on its way back.
    pub(crate) end: EndReason,
}

/// What a worker does with a datagram that comes on a socket without naming a session.
///
/// The conductor gives sockets their index, the same on every worker for the members of a steered
/// group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The member of a listener's group: what names no session is a handshake for it.
    Listener,
    /// A socket of one session that we called: what names no session is dropped.
    Caller,
    /// A socket of one rendezvous: what names no session is for that one, for its peer does not
    /// know its id yet.
    Rendezvous {
        /// The session's place.
        session: u16,
    },
    /// The member of the group of RTP's shared port, where senders come that nobody announced.
    SharedRtp,
    /// The same of the port of their RTCP.
    SharedRtcp,
    /// A socket of one session that is given.
    Given {
        /// The session's place.
        session: u16,
        purpose: Purpose,
    },
}

/// Conductor to worker.
#[derive(Debug)]
pub(crate) enum Order {
    /// Receive on this socket, at an index that is free.
    OpenSocket { socket: SocketIndex, role: Role, fd: OwnedFd },
    /// Close this socket and report [`Report::SocketClosed`].
    CloseSocket { socket: SocketIndex },
    /// Open this session and report [`Report::Installed`].
    Install(Box<Tenancy>),
    /// Open this session of RTP with what its sender sent so far and report
    /// [`Report::RtpInstalled`].
    InstallRtp(Box<RtpTenancy>),
    /// Drop what a sender sends that may not.
    RefuseSender(Room),
    /// Ask for this connection and report [`Report::Connected`] or [`Report::Ended`].
    Call(Box<Tenancy>),
    /// Send and store the answer to a conclusion that this worker took.
    Answer(Box<Verdict>),
    /// Give this session new keys, or refuse them, and report [`Report::Renewed`].
    Renew(Box<Renewal>),
    /// End this session and report [`Report::Ended`].
    End { place: Place, socket_id: u32, reason: EndReason },
    /// The session that this attempt led to, on another worker, is over.
    Forget(AttemptKey),
    /// Steer this session.
    Control { place: Place, socket_id: u32, control: Control },
    /// End all sessions, give everything back, leave.
    Stop,
}

/// What became of key material that a session received.
#[derive(Debug)]
pub(crate) struct Renewal {
    pub(crate) place: Place,
    pub(crate) socket_id: u32,
    pub(crate) material: KeyMaterial,
    /// On its way back, the keys that were replaced.
    pub(crate) result: Result<Box<Keys>, KeyState>,
}

/// A handshake packet ready to be sent; an answer is the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    bytes: [u8; ANSWER_BYTES],
    len: usize,
}

impl Packet {
    fn new(packet: &[u8]) -> Self {
        let mut bytes = [0; ANSWER_BYTES];
        bytes[..packet.len()].copy_from_slice(packet);
        Self { bytes, len: packet.len() }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The answer to one connection attempt.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Where the conclusion came and the answer leaves.
    pub(crate) socket: SocketIndex,
    pub(crate) request: ConnectRequest,
    pub(crate) packet: Packet,
    pub(crate) accepted: bool,
}

impl Verdict {
    pub(crate) fn accepted(socket: SocketIndex, request: ConnectRequest, answer: &Answer) -> Self {
        Self { socket, request, packet: Packet::new(answer.as_bytes()), accepted: true }
    }

    pub(crate) fn refused(
        socket: SocketIndex,
        request: ConnectRequest,
        reason: RejectReason,
        now: Time,
    ) -> Self {
        let packet = Packet::new(&request.reject(reason, now));
        Self { socket, request, packet, accepted: false }
    }
}

/// Worker to conductor.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a worker makes no boxes: a request travels by value"
)]
pub(crate) enum Report {
    /// A caller with a good cookie asks to connect at this listener's socket.
    Admit { socket: SocketIndex, request: ConnectRequest },
    /// A handshake with a good cookie was refused by itself; the answer has left.
    Refused { socket: SocketIndex, peer: SocketAddr, reason: RejectReason },
    /// The session of this ticket is open; its answer may leave.
    Installed { ticket: u32, answer: Answer },
    /// The connection that was asked for is made.
    Connected { socket_id: u32 },
    /// A session is over, or what was to become one.
    Ended(Box<Tenancy>),
    /// A sender of RTP proved itself at the shared port; its packets wait.
    Proven(Sender),
    /// The session of RTP of this ticket is open; not when its sender's packets are no longer kept.
    RtpInstalled { ticket: u32 },
    /// The sender of a session that is given has come, or comes from elsewhere now.
    RtpHeard { id: u32, peer: SocketAddr },
    /// What a session's packets carry was not recognised; what was seen of each format.
    Undetected { id: u32, seen: Detector },
    /// A session of RTP is over.
    RtpEnded(Box<RtpTenancy>),
    /// A secured session received key material.
    Rekey { socket_id: u32, material: KeyMaterial },
    /// The session has what it was given; what it had is to be wiped.
    Renewed(Box<Renewal>),
    /// What an order brought, to be freed.
    Spent(Box<Verdict>),
    /// That socket is closed, its index is free; also when it could not be opened.
    SocketClosed { socket: SocketIndex },
    /// A session has been above its bandwidth for a second.
    OverBandwidth { socket_id: u32, rate_bps: u64 },
    /// The worker has left.
    Stopped,
}
