//! What a packet needs that only goes on with a picture: apart from its session and close to that of
//! the others, for it is looked at for every packet of thousands of sessions.

use std::net::SocketAddr;

use memory::{Places, Time, prefetch};
use uring::Received;

/// The run of a session's place. While it is on, the session does not know of its packets: it
/// is told of them before anything else is done with it.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct RtpRun {
    pub(super) packets: rtp::session::Run,
    pub(super) media: media::Run,
}

impl RtpRun {
    /// A packet that came at a socket of that track and leg may go on with the run: whether it did. If
    /// not, nothing happened, and the session is to receive it.
    #[inline]
    pub(crate) fn go_on(
        &mut self,
        now: Time,
        to: (Option<usize>, usize),
        peer: &SocketAddr,
        arrival: Time,
        packet: &[u8],
    ) -> bool {
        let Some(body) = self.packets.body(to, peer, packet) else { return false };
        let due = self.packets.due_of(arrival, now);
        if !self.media.push(body, arrival, due) {
            return false;
        }
        self.packets.took(packet.len(), arrival, now);
        #[cfg(feature = "fault-injection")]
        crate::worker::fault::strike(body);
        true
    }

    /// Whether these datagrams of one socket most likely go on with it, all of them, once some others
    /// have.
    pub(crate) fn expects(&self, before: u32, datagrams: &[Received]) -> bool {
        (before..).zip(datagrams).all(|(before, datagram)| {
            self.packets.expects(before, &datagram.peer, datagram.datagram.payload())
        })
    }

    /// Asks for its memory.
    pub(crate) fn prefetch(&self) {
        prefetch(self);
    }

    /// Where the next bytes go, once that is near.
    pub(crate) fn places(&self, places: &mut Places) {
        self.media.places(places);
    }
}
