//! The handshake of a connection that we ask for.

use memory::Time;
use srt::caller::{Caller, Connected, Failure};
use srt::rendezvous::Rendezvous;

use crate::config::SourceMode;
use crate::messages::Call;

/// One of the two ways to ask.
#[derive(Debug)]
pub(crate) enum Asking {
    Caller(Caller),
    Rendezvous(Rendezvous),
}

impl Asking {
    pub(crate) fn new(call: &Call, now: Time) -> Self {
        match call.mode {
            SourceMode::Caller => Self::Caller(Caller::new(call.config, now)),
            SourceMode::Rendezvous => {
                Self::Rendezvous(Rendezvous::new(call.config, call.cookie, now))
            }
        }
    }

    /// How it ended, once it has.
    pub(crate) const fn outcome(&self) -> Option<Result<Connected, Failure>> {
        match self {
            Self::Caller(caller) => caller.outcome(),
            Self::Rendezvous(rendezvous) => rendezvous.outcome(),
        }
    }

    pub(crate) fn next_timeout(&self) -> Time {
        match self {
            Self::Caller(caller) => caller.next_timeout(),
            Self::Rendezvous(rendezvous) => rendezvous.next_timeout(),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        match self {
            Self::Caller(caller) => caller.handle_timeout(now, out),
            Self::Rendezvous(rendezvous) => rendezvous.handle_timeout(now, out),
        }
    }

    pub(crate) fn handle_datagram(
        &mut self,
        arrival: Time,
        datagram: &[u8],
        out: &mut impl FnMut(&[u8]),
    ) {
        match self {
            Self::Caller(caller) => caller.handle_datagram(arrival, datagram, out),
            Self::Rendezvous(rendezvous) => rendezvous.handle_datagram(arrival, datagram, out),
        }
    }
}
