//! What operators ask about the sessions of RTP that are given.

use std::io::ErrorKind;

use rtp::session::TrackSetup;
use serde_json::Value;
use shm::link::{CommandError, RtpSessionReport, RtpSessionsPage, RtpSocketReport, RtpTrackReport};

use super::desk::Desk;
use super::given::{GivenSession, open_sockets};
use super::streams::Stream;
use crate::config::{Purpose, RtpConfig, SessionSetup, SocketSetup};

/// Longest reason that is told of what is wrong with a session or a medium of it.
const REASON_BYTES_MAX: usize = 160;
/// Media that are told of as left out.
const LEFT_OUT_MAX: usize = 4;

impl Desk<'_> {
    pub(super) fn tell_rtp_sessions(&self, after: Option<&str>, page: &mut RtpSessionsPage) {
        let mut behind = self.given.after(after);
        while behind.next().is_some_and(|session| page.push(report(session))) {}
    }

    pub(super) fn take_rtp_session(&mut self, session: Value) -> Result<(), CommandError> {
        let Some(rtp) = self.rtp else {
            let message = "RTP is off; ingestion.rtp turns it on";
            return Err(CommandError::new(CommandError::WRONG_STATE, message));
        };
        let setup = rtp
            .read(session)
            .map_err(|error| CommandError::new(CommandError::INVALID_SESSION, error.to_string()))?;
        self.is_free(&setup, rtp)?;
        let sockets = open_sockets(&setup, rtp.receive_buffer_bytes).map_err(|error| {
            let held = matches!(&error, uring::Error::Socket { source, .. }
                if source.kind() == ErrorKind::AddrInUse);
            match held {
                true => CommandError::new(CommandError::ADDRESS_IN_USE, error.to_string()),
                false => {
                    let message = format!("session.listen_addr: {error}");
                    CommandError::new(CommandError::INVALID_SESSION, message)
                }
            }
        })?;
        self.given.add(setup, sockets, self.now);
        Ok(())
    }

    /// Whether nobody has the id and addresses of a session, and there may be one more.
    fn is_free(&self, setup: &SessionSetup, rtp: &RtpConfig) -> Result<(), CommandError> {
        let refuse = |code, message: String| Err(CommandError::new(code, message));
        let id = &setup.id;
        match self.given.get(id) {
            Some(session) if session.removed => {
                let message = format!("RTP session `{id}` is being removed; try again");
                return refuse(CommandError::WRONG_STATE, message);
            }
            Some(_) => {
                return refuse(CommandError::EXISTS, format!("RTP session `{id}` exists"));
            }
            None => {}
        }
        if self.has_source(id) {
            return refuse(CommandError::EXISTS, format!("source `{id}` exists"));
        }
        if self.streams.get(id).is_some_and(Stream::is_taken) {
            return refuse(CommandError::EXISTS, format!("stream `{id}` has a publisher"));
        }
        for other in self.given.iter() {
            if let Some(address) = setup.shared_address(&other.setup) {
                let message = format!("{address} belongs to RTP session `{}`", other.setup.id);
                return refuse(CommandError::ADDRESS_IN_USE, message);
            }
        }
        let max = rtp.added.max;
        if self.given.added().count() >= usize::from(max) {
            let message = format!(
                "{max} sessions were added, as many as ingestion.rtp.max_added_sessions allows"
            );
            return refuse(CommandError::LIMIT, message);
        }
        Ok(())
    }

    pub(super) fn drop_rtp_session(&mut self, id: &str) -> Result<(), CommandError> {
        match self.given.remove(id) {
            true => Ok(()),
            false => {
                let message = format!("no RTP session `{id}`");
                Err(CommandError::new(CommandError::NOT_FOUND, message))
            }
        }
    }
}

/// A session as the link tells it.
fn report(session: &GivenSession) -> RtpSessionReport {
    let SessionSetup { id, sockets, config, is_ts, left_out, .. } = &session.setup;
    RtpSessionReport {
        id: id.clone(),
        configured: session.configured,
        transport: if *is_ts { "ts" } else { "rtp" }.to_owned(),
        state: session.state().to_owned(),
        trouble: session.trouble.as_deref().map(cut),
        source: session.sender.map(|sender| sender.to_string()),
        sockets: sockets.iter().map(socket).collect(),
        tracks: config.tracks.iter().flatten().map(track).collect(),
        left_out: left_out.iter().take(LEFT_OUT_MAX).map(|text| cut(text)).collect(),
    }
}

fn cut(text: &str) -> String {
    let mut text = text.to_owned();
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}

fn socket(socket: &SocketSetup) -> RtpSocketReport {
    let (purpose, track, leg) = match socket.purpose {
        Purpose::Rtp { track, leg } => ("rtp", Some(track), Some(leg)),
        Purpose::Rtcp { track, leg } => ("rtcp", Some(track), Some(leg)),
        Purpose::Fec => ("fec", None, None),
        Purpose::TransportStream => ("ts", None, None),
    };
    let membership = socket.membership.as_ref();
    RtpSocketReport {
        purpose: purpose.to_owned(),
        address: socket.listen.to_string(),
        track,
        leg,
        source: membership.and_then(|it| it.source).map(|source| source.to_string()),
        interface: membership.and_then(|it| it.interface.clone()),
    }
}

fn track(setup: &TrackSetup) -> RtpTrackReport {
    let format = setup.format.as_ref();
    RtpTrackReport {
        payload_type: format.map(|format| format.payload_type),
        encoding: format.map(|format| format.name().to_owned()),
        clock_hz: format.map(|format| format.clock_hz),
        channels: format.map(|format| format.channels).filter(|channels| *channels > 0),
        ssrc: setup.ssrc,
        rtx_payload_type: setup.rtx.map(|rtx| rtx.payload_type),
    }
}
