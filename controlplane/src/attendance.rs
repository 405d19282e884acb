//! Attends the dataplane: a thread of its own hears what it says unasked, keeps the events, and
//! has the questions answered. It comes back on its own after either process was restarted.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use shm::link::{Attendant, CommandError, Decision, Heard, Question};
use tokio::runtime::Handle;

use crate::Error;
use crate::authorization::Authorizer;
use crate::events::Events;

/// How long the thread waits before it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(500);
/// Pause between two tries to reach the dataplane.
const RETRY: Duration = Duration::from_millis(200);

/// A running attendance. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Attendance(Arc<AtomicBool>);

impl Attendance {
    /// Begins to attend the dataplane at `socket`, which need not be there yet. Must be called
    /// within a tokio runtime.
    pub(crate) fn start(
        socket: PathBuf,
        events: &Arc<Events>,
        authorizer: Option<Authorizer>,
    ) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let listener = Listener {
            socket,
            events: Arc::downgrade(events),
            authorizer,
            runtime: Handle::current(),
            stop: Arc::clone(&stop),
            trouble: String::new(),
        };
        std::thread::Builder::new()
            .name("attendant".to_owned())
            .spawn(move || listener.run())
            .map_err(|source| Error::System {
                what: "cannot start the attendant thread",
                source,
            })?;
        Ok(Self(stop))
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Listener {
    socket: PathBuf,
    events: Weak<Events>,
    authorizer: Option<Authorizer>,
    runtime: Handle,
    stop: Arc<AtomicBool>,
    /// The last failure, so that each is logged once.
    trouble: String,
}

impl Listener {
    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            match Attendant::connect(&self.socket, LOOK) {
                Ok(attendant) => self.attend(attendant),
                Err(error) => self.failed(&error),
            }
            std::thread::sleep(RETRY);
        }
    }

    fn attend(&mut self, mut attendant: Attendant) {
        tracing::info!("attending the dataplane");
        self.trouble.clear();
        self.set_attending(true);
        while !self.stop.load(Ordering::Relaxed) {
            match attendant.next() {
                Ok(Heard::Event(event)) => {
                    if let Some(events) = self.events.upgrade() {
                        events.add(*event);
                    }
                }
                Ok(Heard::Question(question)) => self.answer(&attendant, *question),
                Err(shm::Error::LinkTimeout { .. }) => {}
                Err(shm::Error::LinkMessage { reason }) => {
                    tracing::warn!(reason, "the dataplane said something unknown");
                }
                Err(error) => {
                    tracing::warn!(%error, "the dataplane is no longer attended");
                    break;
                }
            }
        }
        self.set_attending(false);
    }

    fn set_attending(&self, attending: bool) {
        if let Some(events) = self.events.upgrade() {
            events.set_attending(attending);
        }
    }

    /// Has a question answered, while the next ones are heard.
    fn answer(&self, attendant: &Attendant, question: Question) {
        let (number, answerer) = (question.question, attendant.answerer());
        let authorizer = self.authorizer.clone();
        self.runtime.spawn(async move {
            let decision = match authorizer {
                Some(authorizer) => authorizer.decide(question).await,
                None => Decision::Unavailable {
                    message: "the control plane has no ingestion.authorization.url".to_owned(),
                },
            };
            // A dataplane that is gone has no caller waiting either.
            let _ = answerer.decide(number, decision);
        });
    }

    fn failed(&mut self, error: &shm::Error) {
        // The sampler says when there is no dataplane; here only what is peculiar.
        let trouble = match error {
            shm::Error::Refused(refusal) if refusal.code == CommandError::ATTENDED => {
                refusal.message.clone()
            }
            _ => return,
        };
        if trouble != self.trouble {
            tracing::warn!(%error, "events and questions are heard by somebody else");
            self.trouble = trouble;
        }
    }
}
