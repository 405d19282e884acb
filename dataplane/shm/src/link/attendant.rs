//! The control plane's end of an attended link: it hears events and questions and answers these.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::client::Link;
use super::message::{Incoming, Push, Request, receive, send};
use super::{Decision, Event, Question};
use crate::Error;

/// What a dataplane says unasked.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// Something happened.
    Event(Box<Event>),
    /// Somebody wants to publish: answer with [`Answerer::decide`].
    Question(Box<Question>),
}

/// A link that listens. A dataplane has at most one.
#[derive(Debug)]
pub struct Attendant {
    socket: Arc<OwnedFd>,
    timeout: Duration,
}

/// Answers questions, from any thread.
#[derive(Debug, Clone)]
pub struct Answerer(Arc<OwnedFd>);

impl Attendant {
    /// Attends the dataplane at `path`. [`Attendant::next`] waits at most `timeout`.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, Error> {
        let socket = Link::connect(path, timeout)?.attend()?;
        Ok(Self { socket: Arc::new(socket), timeout })
    }

    /// For the answers.
    pub fn answerer(&self) -> Answerer {
        Answerer(Arc::clone(&self.socket))
    }

    /// What is said next; [`Error::LinkTimeout`] when nothing is, [`Error::LinkClosed`] when the
    /// dataplane is gone.
    #[expect(clippy::should_implement_trait, reason = "it waits and fails: no iterator")]
    pub fn next(&mut self) -> Result<Heard, Error> {
        let bytes = match receive(self.socket.as_fd(), false, RecvFlags::empty()) {
            Ok(Incoming::Message(bytes, _)) => bytes,
            Ok(Incoming::Oversize) => {
                return Err(Error::LinkMessage { reason: "a push too long".to_owned() });
            }
            Err(Errno::AGAIN) => {
                let waited_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
                return Err(Error::LinkTimeout { waited_ms });
            }
            Ok(Incoming::Closed) | Err(_) => return Err(Error::LinkClosed),
        };
        match serde_json::from_slice(&bytes) {
            Ok(Push::Event(event)) => Ok(Heard::Event(event)),
            Ok(Push::Question(question)) => Ok(Heard::Question(question)),
            Err(error) => Err(Error::LinkMessage { reason: format!("push: {error}") }),
        }
    }
}

impl Answerer {
    /// Answers a question; the dataplane ignores answers that come too late.
    pub fn decide(&self, question: u64, decision: Decision) -> Result<(), Error> {
        let request = Request::Decide { question, decision };
        match send(self.0.as_fd(), &request, None, SendFlags::empty()) {
            Ok(()) => Ok(()),
            Err(Errno::MSGSIZE) => {
                Err(Error::LinkMessage { reason: "a decision too long".to_owned() })
            }
            Err(_) => Err(Error::LinkClosed),
        }
    }
}
