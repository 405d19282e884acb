//! The handshake of a connection that we ask for.

use memory::Time;
use srt::caller::{Caller, Connected, Failure};
use srt::crypto::{KeyMaterial, KeyState};
use srt::handshake::RejectReason;
use srt::rendezvous::{Rendezvous, RendezvousState, Role};

use crate::config::SourceMode;
use crate::messages::{Call, Renewal};

/// What a handshake goes on with.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    /// A datagram and its arrival.
    Datagram(Time, &'a [u8]),
    /// What the conductor made of key material.
    Keys(&'a mut Renewal),
}

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

    /// Goes on with the handshake: on what came, or by its timer.
    pub(crate) fn take(
        &mut self,
        now: Time,
        input: Option<Input<'_>>,
        call: &mut Call,
        out: &mut impl FnMut(&[u8]),
    ) {
        match input {
            None => self.handle_timeout(now, out),
            Some(Input::Datagram(arrival, datagram)) => {
                self.handle_datagram(arrival, datagram, out);
            }
            Some(Input::Keys(renewal)) => self.handle_keys(now, renewal, call, out),
        }
    }

    fn handle_timeout(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        match self {
            Self::Caller(caller) => caller.handle_timeout(now, out),
            Self::Rendezvous(rendezvous) => rendezvous.handle_timeout(now, out),
        }
    }

    fn handle_datagram(&mut self, arrival: Time, datagram: &[u8], out: &mut impl FnMut(&[u8])) {
        match self {
            Self::Caller(caller) => caller.handle_datagram(arrival, datagram, out),
            Self::Rendezvous(rendezvous) => rendezvous.handle_datagram(arrival, datagram, out),
        }
    }

    /// Key material that the initiator of a rendezvous brought and the conductor has to unwrap.
    pub(crate) fn key_question(&mut self) -> Option<KeyMaterial> {
        match self {
            Self::Caller(_) => None,
            Self::Rendezvous(rendezvous) => rendezvous.key_question(),
        }
    }

    /// Takes the keys of an initiator, or why there are none; what is replaced leaves with the
    /// renewal, for a worker frees nothing.
    fn handle_keys(
        &mut self,
        now: Time,
        renewal: &mut Renewal,
        call: &mut Call,
        out: &mut impl FnMut(&[u8]),
    ) {
        let Self::Rendezvous(rendezvous) = self else { return };
        let answer = renewal.result.as_ref().map(|_| ()).map_err(|state| refusal(*state));
        if !rendezvous.answer_keys(now, &renewal.material, answer, out) || answer.is_err() {
            return;
        }
        let before = call.their_keys.take().ok_or(KeyState::Unsecured);
        call.their_keys = std::mem::replace(&mut renewal.result, before).ok();
    }

    /// Whether the agreed connection is encrypted with what the peer brought.
    pub(crate) const fn uses_their_keys(&self) -> bool {
        match self {
            Self::Caller(_) => false,
            Self::Rendezvous(rendezvous) => {
                matches!(rendezvous.state(), RendezvousState::Connected(Role::Responder, _))
            }
        }
    }
}

/// The code that an initiator is told.
const fn refusal(state: KeyState) -> RejectReason {
    match state {
        KeyState::BadMode => RejectReason::CRYPTO,
        KeyState::BadSecret => RejectReason::BAD_SECRET,
        KeyState::Unsecured | KeyState::NoSecret => RejectReason::UNSECURE,
    }
}
