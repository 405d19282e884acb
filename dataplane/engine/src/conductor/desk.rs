//! What readers and operators ask over the link.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use memory::Time;
use shm::link::{CommandError, Handler, RingGrant};
use shm::{Directory, EndReason};

use super::Conductor;
use super::placement::Place;
use super::streams::{State, Streams};
use crate::messages::Order;

impl Conductor {
    pub(super) fn serve_link(&mut self, now: Time) {
        let mut desk = Desk {
            streams: &mut self.streams,
            ring_fds: &self.parts.ring_fds,
            view: &self.parts.view,
            now,
            endings: Vec::new(),
            closings: Vec::new(),
        };
        if let Err(error) = self.parts.link.serve_ready(&mut desk) {
            tracing::error!(%error, "the link cannot be served");
        }
        let Desk { endings, closings, .. } = desk;
        for (place, socket_id) in endings {
            let reason = EndReason::Terminated;
            self.order(place.worker, Order::End { place, socket_id, reason });
        }
        for id in closings {
            self.close(&id);
        }
    }
}

/// Serves local readers and the control plane.
struct Desk<'a> {
    streams: &'a mut Streams,
    ring_fds: &'a [OwnedFd],
    view: &'a Directory,
    now: Time,
    endings: Vec<(Place, u32)>,
    closings: Vec<String>,
}

impl Handler for Desk<'_> {
    fn ring(&mut self, stream_id: &str) -> Result<RingGrant<'_>, CommandError> {
        let info = self.view.stream(stream_id).map(|stream| stream.info);
        let ring = info.and_then(|info| Some((info.ring?, info.ring_generation)));
        let Some((ring, generation)) = ring else { return Err(unknown(stream_id)) };
        let fd = &self.ring_fds[usize::try_from(ring.0).expect("32 bits fit")];
        Ok(RingGrant { fd: fd.as_fd(), ring, generation })
    }

    fn terminate(&mut self, stream_id: &str, block: Duration) -> Result<(), CommandError> {
        let Some(stream) = self.streams.get_mut(stream_id) else { return Err(unknown(stream_id)) };
        match stream.state {
            State::Live { place, socket_id, .. } => {
                stream.state = State::Ending { then: None };
                self.endings.push((place, socket_id));
            }
            State::Lost { .. } => self.closings.push(stream_id.to_owned()),
            State::Installing | State::Ending { .. } => {
                return Err(CommandError::new(
                    CommandError::WRONG_STATE,
                    format!("stream `{stream_id}` is starting or ending; try again"),
                ));
            }
        }
        if !block.is_zero() {
            self.streams.block(stream_id, self.now + block);
        }
        Ok(())
    }
}

fn unknown(stream_id: &str) -> CommandError {
    CommandError::new(CommandError::NOT_FOUND, format!("no stream `{stream_id}`"))
}
