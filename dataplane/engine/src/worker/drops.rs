//! Datagrams that the kernel dropped before they came here.

use std::time::Duration;

use memory::Time;
use shm::counters::WorkerCounter;
use uring::SocketIndex;

use super::Worker;
use crate::messages::Role;
use crate::network::Network;

/// The kernel is asked about one socket at a time, so far apart.
const DROPS_ASKED_EVERY: Duration = Duration::from_millis(100);

impl<N: Network> Worker<N> {
    /// Asks the kernel how many datagrams it dropped at the next socket: of itself it tells so only
    /// with a datagram that comes later.
    pub(super) fn ask_for_drops(&mut self, now: Time) {
        let (asked, last) = self.drops_asked;
        if now.since(asked) < DROPS_ASKED_EVERY {
            return;
        }
        let roles = &self.parts.roles;
        let next = (1..=roles.len()).map(|step| (last + step) % roles.len());
        let socket = next.into_iter().find(|socket| roles[*socket].is_some()).unwrap_or(last);
        self.drops_asked = (now, socket);
        if let Ok(index) = u16::try_from(socket) {
            self.parts.ring.ask_kernel_drops(SocketIndex::new(index));
        }
    }

    /// Shows what the kernel dropped at each listener's socket, where that has changed.
    pub(super) fn show_drops(&mut self) {
        let all = self.parts.ring.counters().kernel_drops;
        if all == self.parts.block.value(WorkerCounter::KernelDrops) {
            return;
        }
        let shared =
            |role: &Role| matches!(role, Role::Listener | Role::SharedRtp | Role::SharedRtcp);
        let listeners = self.parts.roles.iter().take_while(|it| it.as_ref().is_some_and(shared));
        for (index, _) in (0..).zip(listeners) {
            let drops = self.parts.ring.kernel_drops(SocketIndex::new(index));
            self.parts.block.set_port_drops(index.into(), drops);
        }
    }
}
