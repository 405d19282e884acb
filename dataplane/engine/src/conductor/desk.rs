//! What readers and operators ask over the link.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use memory::Time;
use shm::link::{
    BackpressureAction, CommandError, Decision, Handler, OptionsSet, RingGrant, RtpSessionsPage,
    SourceFailure, SourceFailures, SourceReport, SourcesPage,
};
use shm::{Directory, EndReason, StreamKind};

use super::Conductor;
use super::breaker::Breaker;
use super::given::GivenSessions;
use super::options::Settings;
use super::placement::Place;
use super::rtp_options::RtpSettings;
use super::sources::{Failures, Source, Sources};
use super::streams::{State, Stream, Streams};
use crate::config::{self, RtpConfig, SourceConfig};
use crate::messages::{Control, Order};
use crate::worker::REQUESTS_WAITING;

impl Conductor {
    pub(super) fn serve_link(&mut self, now: Time) {
        // Operators' orders leave room for those that connections need.
        let free = self.parts.workers.iter().map(|worker| worker.orders.free()).min();
        let mut desk = Desk {
            control_room: free.unwrap_or(0).saturating_sub(REQUESTS_WAITING),
            streams: &mut self.streams,
            settings: &mut self.settings,
            rtp_settings: &mut self.rtp_settings,
            ring_fds: &self.parts.ring_fds,
            view: &self.parts.view,
            now,
            endings: Vec::new(),
            controls: Vec::new(),
            closings: Vec::new(),
            sources: &self.sources,
            sources_config: &self.parts.srt.sources,
            given: &mut self.given,
            rtp: self.parts.rtp.as_ref(),
            changes: Vec::new(),
            decisions: Vec::new(),
        };
        if let Err(error) = self.parts.link.serve_ready(&mut desk) {
            tracing::error!(%error, "the link cannot be served");
        }
        let Desk { endings, controls, closings, changes, decisions, .. } = desk;
        for (place, socket_id) in endings {
            let reason = EndReason::Terminated;
            self.order(place.worker, Order::End { place, socket_id, reason });
        }
        for (place, socket_id, control) in controls {
            self.order(place.worker, Order::Control { place, socket_id, control });
        }
        for id in closings {
            self.close(&id);
        }
        for change in changes {
            match change {
                Change::Add(config) => self.add_source(*config, now),
                Change::Remove(id) => self.remove_source(&id),
                Change::Restart(id) => self.restart_source(&id, now),
            }
        }
        self.tend_given(now);
        for (question, decision) in decisions {
            self.decided(question, decision, now);
        }
    }
}

/// What is to become of a source once all requests of the turn are read.
enum Change {
    Add(Box<SourceConfig>),
    Remove(String),
    Restart(String),
}

/// Serves local readers and the control plane.
pub(super) struct Desk<'a> {
    pub(super) streams: &'a mut Streams,
    settings: &'a mut Settings,
    pub(super) rtp_settings: &'a mut RtpSettings,
    ring_fds: &'a [OwnedFd],
    view: &'a Directory,
    pub(super) now: Time,
    endings: Vec<(Place, u32)>,
    pub(super) controls: Vec<(Place, u32, Control)>,
    /// How many more of these the workers' rings take.
    pub(super) control_room: usize,
    closings: Vec<String>,
    decisions: Vec<(u64, Decision)>,
    sources: &'a Sources,
    sources_config: &'a config::Sources,
    pub(super) given: &'a mut GivenSessions,
    pub(super) rtp: Option<&'a RtpConfig>,
    changes: Vec<Change>,
}

impl Desk<'_> {
    /// Whether a source is there or about to be.
    pub(super) fn has_source(&self, id: &str) -> bool {
        let changed = self.changes.iter().rev().find_map(|change| match change {
            Change::Add(config) if config.id == id => Some(true),
            Change::Remove(removed) if removed == id => Some(false),
            _ => None,
        });
        changed.unwrap_or_else(|| self.sources.owns(id))
    }

    fn source(&self, id: &str) -> Result<String, CommandError> {
        if self.has_source(id) {
            return Ok(id.to_owned());
        }
        Err(CommandError::new(CommandError::NOT_FOUND, format!("no source `{id}`")))
    }
}

impl Handler for Desk<'_> {
    fn ring(&mut self, stream_id: &str) -> Result<RingGrant<'_>, CommandError> {
        let info = self.view.stream(stream_id).map(|stream| stream.info);
        let ring = info.and_then(|info| Some((info.ring?, info.ring_generation)));
        let Some((ring, generation)) = ring else { return Err(unknown(stream_id)) };
        let fd = &self.ring_fds[usize::try_from(ring.0).expect("32 bits fit")];
        Ok(RingGrant { fd: fd.as_fd(), ring, generation })
    }

    fn decide(&mut self, question: u64, decision: Decision) {
        self.decisions.push((question, decision));
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
                return Err(changing(stream_id));
            }
        }
        if !block.is_zero() {
            self.streams.block(stream_id, self.now + block);
        }
        Ok(())
    }

    fn sources(&self, after: Option<&str>, page: &mut SourcesPage) {
        for source in self.sources.after(after) {
            if !page.push(report(source, self.now)) {
                break;
            }
        }
    }

    fn add_source(&mut self, source: serde_json::Value) -> Result<(), CommandError> {
        let config = self
            .sources_config
            .read(source)
            .map_err(|error| CommandError::new(CommandError::INVALID_SOURCE, error.to_string()))?;
        let id = &config.id;
        if self.has_source(id) {
            let message = format!("source `{id}` exists");
            return Err(CommandError::new(CommandError::EXISTS, message));
        }
        if self.given.owns(id) {
            let message = format!("RTP session `{id}` exists");
            return Err(CommandError::new(CommandError::EXISTS, message));
        }
        if self.streams.get(id).is_some_and(Stream::is_taken) {
            let message = format!("stream `{id}` has a publisher");
            return Err(CommandError::new(CommandError::EXISTS, message));
        }
        let added = self.changes.iter().filter(|change| matches!(change, Change::Add(_))).count();
        let max = usize::from(self.sources_config.max);
        if self.sources.len() + added >= max {
            let message =
                format!("{max} sources exist, as many as ingestion.srt.max_sources allows");
            return Err(CommandError::new(CommandError::LIMIT, message));
        }
        self.changes.push(Change::Add(Box::new(config)));
        Ok(())
    }

    fn remove_source(&mut self, id: &str) -> Result<(), CommandError> {
        let id = self.source(id)?;
        self.changes.push(Change::Remove(id));
        Ok(())
    }

    fn restart_source(&mut self, id: &str) -> Result<(), CommandError> {
        let id = self.source(id)?;
        self.changes.push(Change::Restart(id));
        Ok(())
    }

    fn rtp_sessions(&self, after: Option<&str>, page: &mut RtpSessionsPage) {
        self.tell_rtp_sessions(after, page);
    }

    fn add_rtp_session(&mut self, session: serde_json::Value) -> Result<(), CommandError> {
        self.take_rtp_session(session)
    }

    fn remove_rtp_session(&mut self, id: &str) -> Result<(), CommandError> {
        self.drop_rtp_session(id)
    }

    fn options(&self, stream_id: &str) -> Result<serde_json::Value, CommandError> {
        match self.streams.get(stream_id).map(|stream| stream.kind) {
            Some(StreamKind::Rtp) => self.rtp_options(stream_id),
            _ => self.settings.show(stream_id).ok_or_else(|| unknown(stream_id)),
        }
    }

    fn set_options(
        &mut self,
        stream_id: &str,
        options: serde_json::Value,
    ) -> Result<OptionsSet, CommandError> {
        let Some(stream) = self.streams.get_mut(stream_id) else { return Err(unknown(stream_id)) };
        if stream.kind == StreamKind::Rtp {
            return self.set_rtp_options(stream_id, options);
        }
        if self.control_room == 0
            || matches!(stream.state, State::Installing | State::Ending { .. })
        {
            return Err(changing(stream_id));
        }
        let next_connection = !self.sources.owns(stream_id);
        let (set, terms) = self.settings.change(stream_id, options, next_connection)?;
        if let State::Live { place, socket_id, .. } = stream.state {
            self.control_room -= 1;
            self.controls.push((place, socket_id, Control::Terms(terms)));
        }
        Ok(set)
    }

    fn backpressure(
        &mut self,
        stream_id: &str,
        action: BackpressureAction,
    ) -> Result<(), CommandError> {
        let Some(stream) = self.streams.get_mut(stream_id) else { return Err(unknown(stream_id)) };
        let control = match action {
            BackpressureAction::SetPressure { permille } => Control::Pressure(Some(permille)),
            BackpressureAction::Reset => Control::Pressure(None),
            BackpressureAction::DropGop => Control::DropGop,
        };
        if stream.kind == StreamKind::Rtp && control != Control::DropGop {
            let message = format!(
                "stream `{stream_id}` is RTP: its sender cannot be told to hold back; drop_gop acts"
            );
            return Err(CommandError::new(CommandError::WRONG_STATE, message));
        }
        match (&mut stream.state, control) {
            (State::Live { .. }, _) if self.control_room == 0 => {
                let message = "too many orders are under way; try again";
                return Err(CommandError::new(CommandError::WRONG_STATE, message));
            }
            (State::Live { place, socket_id, .. }, _) => {
                self.control_room -= 1;
                self.controls.push((*place, *socket_id, control));
            }
            // It acts when the publisher comes back.
            (State::Lost { berth, .. }, Control::Pressure(set)) => berth.set_pressure(set),
            (State::Lost { .. }, Control::DropGop | Control::Terms(_) | Control::RtpTerms(_)) => {
                let message = format!("stream `{stream_id}` has no publisher");
                return Err(CommandError::new(CommandError::WRONG_STATE, message));
            }
            (State::Installing | State::Ending { .. }, _) => return Err(changing(stream_id)),
        }
        Ok(())
    }
}

/// A source as the link tells it.
fn report(source: &Source, now: Time) -> SourceReport {
    let SourceConfig { id, mode, address, stream_id, options, .. } = &source.config;
    let (breaker, refusals) = match source.breaker {
        Breaker::Closed(refusals) => ("closed", refusals),
        Breaker::Open(_) => ("open", 0),
        Breaker::HalfOpen => ("half_open", 0),
    };
    let ahead_ms = |at: Time| u64::try_from(at.since(now).as_millis()).unwrap_or(u64::MAX);
    let Failures { timeout, rejected, refused, bad_answer, unresolved, local } = source.failures;
    SourceReport {
        id: id.clone(),
        mode: mode.label().to_owned(),
        address: address.to_string(),
        peer: source.peer.map(|peer| peer.to_string()),
        stream_id: stream_id.clone(),
        encrypted: options.passphrase.is_some(),
        configured: source.configured,
        state: source.state().to_owned(),
        breaker: breaker.to_owned(),
        refusals_in_a_row: refusals,
        breaker_open_ms: source.breaker.opens_until().map(ahead_ms),
        next_try_ms: source.next_try().map(ahead_ms),
        attempts: source.attempts,
        connections: source.connections,
        failures: SourceFailures { timeout, rejected, refused, bad_answer, unresolved, local },
        last_failure: source.last.as_ref().map(|last| SourceFailure {
            reason: last.trouble.label().to_owned(),
            code: last.trouble.code(),
            message: last.trouble.to_string(),
            unix_ns: last.unix_ns,
        }),
        connected_unix_ns: Some(source.connected_unix_ns).filter(|ns| *ns > 0),
    }
}

pub(super) fn changing(stream_id: &str) -> CommandError {
    let message = format!("stream `{stream_id}` is starting or ending; try again");
    CommandError::new(CommandError::WRONG_STATE, message)
}

pub(super) fn unknown(stream_id: &str) -> CommandError {
    CommandError::new(CommandError::NOT_FOUND, format!("no stream `{stream_id}`"))
}
