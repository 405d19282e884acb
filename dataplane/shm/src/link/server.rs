//! The dataplane's end.
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use super::CommandError;
use crate::{Error, RingId};

/// Most clients at a time.
pub const CLIENTS_MAX: usize = 64;

/// What the dataplane does for a client.
pub trait Handler {
    /// The ring of a stream.
    fn ring(&mut self, stream_id: &str) -> Result<RingGrant<'_>, CommandError>;
    /// Ends a stream and keeps its id out for `block`.
    fn terminate(&mut self, stream_id: &str, block: Duration) -> Result<(), CommandError>;
}

/// A ring handed to a client.
#[derive(Debug)]
pub struct RingGrant<'a> {
    /// The ring's segment.
    pub fd: BorrowedFd<'a>,
    /// Its identity.
    pub ring: RingId,
    /// The generation that is the stream's.
    pub generation: u64,
}

/// What happened on the link; only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkTotals {
    /// Clients accepted.
    pub clients_accepted: u64,
    /// Clients turned away: too many.
    pub clients_rejected: u64,
    /// Clients dropped because they did not read their answers.
    pub clients_dropped_slow: u64,
    /// Requests answered, errors included.
    pub requests: u64,
    /// Requests answered with an error because they were malformed.
    pub requests_invalid: u64,
}

/// The listening socket and its clients. The conductor waits for [`LinkServer::as_fd`] to become
/// readable, together with whatever else it waits for, and then calls [`LinkServer::serve_ready`].
#[derive(Debug)]
pub struct LinkServer {}
impl LinkServer {
    /// Listens at `path`; clients that say hello get `directory`.
    pub fn bind(_path: &Path, _directory: BorrowedFd<'_>) -> Result<Self, Error> {
        todo!()
    }
    /// Answers what is waiting; never blocks.
    pub fn serve_ready(&mut self, _handler: &mut impl Handler) -> Result<(), Error> {
        todo!()
    }
    /// Clients connected.
    pub fn clients(&self) -> usize {
        todo!()
    }
    /// What happened so far.
    pub fn totals(&self) -> &LinkTotals {
        todo!()
    }
}
impl AsFd for LinkServer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        todo!()
    }
}
