//! What conductor and workers say to each other, over one pair of SPSC rings per worker.
//!
//! Boxes are made and freed by the conductor only: a worker passes them on.

use memory::Time;
use shm::{EndReason, GopWriter, StreamInfo, StreamSlotWriter};
use srt::handshake::RejectReason;
use srt::{ANSWER_BYTES, Answer, ConnectRequest, ConnectionConfig};

use crate::conductor::placement::Place;

/// A stream's places in shared memory. They go to the worker with a session and come back when
/// it ends.
#[derive(Debug)]
pub(crate) struct Berth {
    pub(crate) slot: StreamSlotWriter,
    /// Out while the session's `media::Stream` writes it.
    pub(crate) ring: Option<GopWriter>,
    /// What the slot shows.
    pub(crate) info: StreamInfo,
}

/// An accepted connection on its way to its worker, there, and on its way back.
#[derive(Debug)]
pub(crate) struct Tenancy {
    pub(crate) ticket: u32,
    pub(crate) place: Place,
    pub(crate) request: ConnectRequest,
    pub(crate) config: ConnectionConfig,
    pub(crate) berth: Berth,
    /// Why it is on its way back.
    pub(crate) end: EndReason,
}

/// Conductor to worker.
#[derive(Debug)]
pub(crate) enum Order {
    /// Open this session and report [`Report::Installed`].
    Install(Box<Tenancy>),
    /// Send and store the answer to a conclusion that this worker took.
    Answer(Box<Verdict>),
    /// End this session and report [`Report::Ended`].
    End { place: Place, socket_id: u32, reason: EndReason },
    /// End all sessions, give everything back, leave.
    Stop,
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
    pub(crate) request: ConnectRequest,
    pub(crate) packet: Packet,
    pub(crate) accepted: bool,
}

impl Verdict {
    pub(crate) fn accepted(request: ConnectRequest, answer: &Answer) -> Self {
        Self { request, packet: Packet::new(answer.as_bytes()), accepted: true }
    }

    pub(crate) fn refused(request: ConnectRequest, reason: RejectReason, now: Time) -> Self {
        Self { request, packet: Packet::new(&request.reject(reason, now)), accepted: false }
    }
}

/// Worker to conductor.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a worker makes no boxes: a request travels by value"
)]
pub(crate) enum Report {
    /// A caller with a good cookie asks to connect.
    Admit(ConnectRequest),
    /// The session of this ticket is open; its answer may leave.
    Installed { ticket: u32, answer: Answer },
    /// A session is over.
    Ended(Box<Tenancy>),
    /// What an order brought, to be freed.
    Spent(Box<Verdict>),
    /// The worker has left.
    Stopped,
}
