//! Requests on their way to an answer.

use memory::Time;
use srt::ConnectRequest;
use uring::SocketIndex;

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
    pub(super) asked: Time,
    pub(super) phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits until the publisher before it has proven alive or silent, or has ended.
    Undecided,
    /// Its session is being opened.
    Installing { place: Place, socket_id: u32, slot: u32 },
}
