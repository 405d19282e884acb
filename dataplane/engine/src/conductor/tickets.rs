//! Requests on their way to an answer.

use memory::Time;
use shm::link::EventKind;
use srt::ConnectRequest;
use uring::SocketIndex;

use super::keys::Unwrapped;
use super::placement::Place;
use crate::config::StreamOptions;

/// One request on its way to an answer.
#[derive(Debug)]
pub(super) struct Ticket {
    /// The worker that took the handshake.
    pub(super) from: u16,
    /// The listener's socket it came on.
    pub(super) socket: SocketIndex,
    pub(super) request: ConnectRequest,
    /// The public id; derived ids are settled on arrival.
    pub(super) id: String,
    /// The place of the stream's rule among `ingestion.streams`.
    pub(super) rule: Option<usize>,
    pub(super) options: StreamOptions,
    /// The keys of a caller that encrypts, once they are unwrapped.
    pub(super) keys: Option<Unwrapped>,
    pub(super) asked: Time,
    /// What its acceptance will be told as.
    pub(super) arrival: EventKind,
    pub(super) phase: Phase,
}

impl Ticket {
    /// Its time may be over soon.
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Undecided | Phase::Asking { .. })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Somebody else decides about it.
    Asking { until: Time, put: bool },
    /// Waits until its keys are unwrapped, and until the publisher before it has proven alive or
    /// silent, or has ended.
    Undecided,
    /// Its session is being opened.
    Installing { place: Place, socket_id: u32, slot: u32 },
}
