//! Names to addresses, on threads of their own: a name server may take as long as it likes.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::config::PeerAddress;
use crate::wake::Wake;

/// Look-ups at a time. A name server that answers nobody holds up no more threads than these.
const LOOKUPS_MAX: usize = 8;

/// The outcome of a look-up, with what it was for.
pub(crate) struct Lookup {
    pub(crate) id: String,
    pub(crate) addresses: Result<Vec<SocketAddr>, String>,
}

/// Looks names up and wakes the conductor when it is done.
pub(crate) struct Resolver {
    results: Receiver<Lookup>,
    sender: Sender<Lookup>,
    wake: Wake,
    running: usize,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("running", &self.running).finish_non_exhaustive()
    }
}

impl Resolver {
    pub(crate) fn new(wake: Wake) -> Self {
        let (sender, results) = channel();
        Self { results, sender, wake, running: 0 }
    }

    /// Starts a look-up; false when it has to wait for others.
    pub(crate) fn start(&mut self, id: &str, address: &PeerAddress) -> bool {
        if self.running >= LOOKUPS_MAX {
            return false;
        }
        let (id, address) = (id.to_owned(), address.clone());
        let (sender, wake) = (self.sender.clone(), self.wake.clone());
        let look_up = move || {
            let addresses = (address.host.as_str(), address.port).to_socket_addrs();
            let addresses = match addresses {
                Ok(addresses) => Ok(addresses.collect()),
                Err(error) => Err(error.to_string()),
            };
            // At the end of the process nobody listens any more.
            let _ = sender.send(Lookup { id, addresses });
            wake.wake();
        };
        let started = thread::Builder::new().name("resolver".into()).spawn(look_up).is_ok();
        self.running += usize::from(started);
        started
    }

    /// The next look-up that is done.
    pub(crate) fn done(&mut self) -> Option<Lookup> {
        let lookup = self.results.try_recv().ok()?;
        self.running -= 1;
        Some(lookup)
    }
}
