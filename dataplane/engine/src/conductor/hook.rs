//! Publishers about whom somebody else decides: asked over the link, held meanwhile.
//!
//! ```text
//!  request ──▶ Asking ── question ──▶ control plane ──▶ HTTP service
//!                │  ◀──── decision ──────────┘
//!                ├─ allow, with options ──▶ as any other
//!                ├─ deny ──▶ refused with the decision's code
//!                └─ no decision in time, or nobody there ──▶ ingestion.authorization.unavailable
//! ```

use std::time::Duration;

use memory::Time;
use shm::counters::ConductorCounter;
use shm::link::{Decision, Grants, Question};
use srt::handshake::RejectReason;

use super::Conductor;
use super::admission::{Limit, Refusal};
use super::senders::SenderGrants;
use super::tickets::{Phase, Ticket};
use crate::config::{Passphrase, RtpConfig, StreamOverrides, Unavailable};
use crate::stream_id;

impl Conductor {
    /// Puts the question about a request, if anybody is to be asked.
    pub(super) fn ask_about(&mut self, number: u32, now: Time) {
        let Some(authorization) = self.parts.authorization else {
            return self.authorized(number, now);
        };
        let asking = |ticket: &&Ticket| matches!(ticket.phase, Phase::Asking { .. });
        if self.tickets.values().filter(asking).count() >= authorization.outstanding_max {
            return self.refuse_ticket(number, &Refusal::Limit(Limit::Requests), now);
        }
        if let Some(ticket) = self.tickets.get_mut(&number) {
            let until = now + authorization.timeout;
            ticket.phase = Phase::Asking { until, put: false };
        }
    }

    /// Puts what has not been put, again to an attendant that came anew, and gives up on what was
    /// not answered in time.
    pub(super) fn ask_waiting(&mut self, now: Time) {
        let anew = self.parts.link.take_newly_attended();
        let mut over = Vec::new();
        for (number, ticket) in &mut self.tickets {
            let Phase::Asking { until, put } = &mut ticket.phase else { continue };
            if *until <= now {
                over.push(*number);
                continue;
            }
            *put &= !anew;
            if !*put {
                let listener = &self.parts.srt.listeners[ticket.socket.index()].name;
                let question = question(*number, listener, &ticket.request, &ticket.id);
                *put = self.parts.link.put(&question);
            }
        }
        over.extend(self.ask_waiting_senders(anew, now));
        over.sort_unstable();
        for number in over {
            self.unavailable(number, "no decision in time", now);
        }
    }

    /// Takes the answer to a question.
    pub(super) fn decided(&mut self, question: u64, decision: Decision, now: Time) {
        let Ok(number) = u32::try_from(question) else { return };
        if self.is_sender_asked(number) {
            return self.sender_decided(number, decision, now);
        }
        let asking = |ticket: &Ticket| matches!(ticket.phase, Phase::Asking { .. });
        let Some(ticket) = self.tickets.get_mut(&number).filter(|ticket| asking(ticket)) else {
            return;
        };
        match decision {
            Decision::Allow(grants) => match overrides(&grants) {
                Ok(over) => {
                    let granted = ticket.options.with(&over);
                    ticket.options = self.settings.overlay(&ticket.id, &granted);
                    self.authorized(number, now);
                }
                Err(problem) => self.unavailable(number, problem, now),
            },
            Decision::Deny { code, message } => {
                let reason = RejectReason::new(code).unwrap_or(RejectReason::FORBIDDEN);
                self.refuse_ticket(number, &Refusal::Denied { reason, message }, now);
            }
            Decision::Unavailable { message } => self.unavailable(number, &message, now),
        }
    }

    /// The same for a sender of RTP.
    fn sender_decided(&mut self, number: u32, decision: Decision, now: Time) {
        match decision {
            Decision::Allow(grants) => {
                let Some(rtp) = &self.parts.rtp else { return };
                match sender_grants(&grants, rtp) {
                    Ok(granted) => self.sender_authorized(number, granted, now),
                    Err(problem) => self.unavailable(number, &problem, now),
                }
            }
            Decision::Deny { code, message } => {
                let reason = RejectReason::new(code).unwrap_or(RejectReason::FORBIDDEN);
                let refusal = Refusal::Denied { reason, message };
                self.refuse_ticket_of_sender(number, &refusal, now);
            }
            Decision::Unavailable { message } => self.unavailable(number, &message, now),
        }
    }

    fn unavailable(&mut self, number: u32, problem: &str, now: Time) {
        let policy = self.parts.authorization.map(|authorization| authorization.unavailable);
        if policy == Some(Unavailable::Allow) {
            self.parts.block.add(ConductorCounter::AllowedUndecided, 1);
            return self.authorized(number, now);
        }
        let problem = problem.to_owned();
        self.refuse_ticket_of_sender(number, &Refusal::Undecided { problem: problem.clone() }, now);
        self.refuse_ticket(number, &Refusal::Undecided { problem }, now);
    }

    /// Goes on with a request that may publish.
    fn authorized(&mut self, number: u32, now: Time) {
        if self.is_sender_asked(number) {
            return self.sender_authorized(number, SenderGrants::default(), now);
        }
        if let Some(ticket) = self.tickets.get_mut(&number) {
            ticket.phase = Phase::Undecided;
            // What the publisher before it does from now on counts.
            ticket.asked = now;
        }
        self.decide(number, now);
    }
}

fn question(number: u32, listener: &str, request: &srt::ConnectRequest, id: &str) -> Question {
    // It parsed when it came.
    let wish = stream_id::parse(request.stream_id.as_bytes()).unwrap_or_default();
    let text = |text: Option<&str>| text.map(str::to_owned);
    Question {
        question: number.into(),
        stream_id: id.to_owned(),
        listener: listener.to_owned(),
        source: request.peer,
        user: text(wish.user),
        resource: text(wish.resource),
        host: text(wish.host),
        session: text(wish.session),
        encrypted: request.encrypted,
        latency_ms: request.capabilities.sender_latency_ms.into(),
        peer_version: request.capabilities.version,
    }
}

/// The options of a permission, within the bounds of the configuration's.
fn overrides(grants: &Grants) -> Result<StreamOverrides, &'static str> {
    let bounded = |value: Option<u64>, max: u64| match value {
        Some(value) if value > max => Err(()),
        other => Ok(other),
    };
    let passphrase = match grants.passphrase.as_deref() {
        None => None,
        Some("") => Some(None),
        Some(text) => {
            let passphrase = Passphrase::new(text.as_bytes());
            Some(Some(passphrase.ok_or("the granted passphrase has not 10 to 79 bytes")?))
        }
    };
    let key_bytes = match grants.key_length {
        None | Some(0) => None,
        Some(128) => Some(16),
        Some(192) => Some(24),
        Some(256) => Some(32),
        Some(_) => return Err("the granted key_length is none of 128, 192, 256"),
    };
    let latency_ms = bounded(grants.latency_ms, 60_000);
    let latency_ms = latency_ms.map_err(|()| "the granted latency_ms is above 60000")?;
    let bandwidth = grants.max_bandwidth.filter(|bps| (64_000..=10_000_000_000).contains(bps));
    if bandwidth != grants.max_bandwidth {
        return Err("the granted max_bandwidth is out of range");
    }
    let priority = grants.priority.map(u8::try_from).transpose();
    Ok(StreamOverrides {
        latency: latency_ms.map(Duration::from_millis),
        max_bandwidth_bps: bandwidth,
        passphrase,
        key_bytes,
        priority: priority.map_err(|_| "the granted priority is above 255")?,
        ..StreamOverrides::default()
    })
}

/// The same for a sender of RTP. What it has not is refused by name: who grants a passphrase must not
/// get a stream in clear text. Memory is taken by what the configuration allows.
fn sender_grants(grants: &Grants, rtp: &RtpConfig) -> Result<SenderGrants, String> {
    let over = overrides(grants)?;
    let encrypted = matches!(over.passphrase, Some(Some(_))) || over.key_bytes.is_some();
    for (name, granted) in
        [("passphrase or key_length", encrypted), ("priority", over.priority.is_some())]
    {
        if granted {
            return Err(format!("the granted {name} is nothing that a sender of RTP has"));
        }
    }
    let (latency_max, bandwidth_max_bps) = (rtp.session.window.time, rtp.max_bandwidth_bps);
    if over.latency.is_some_and(|latency| latency > latency_max) {
        let latency_max_ms = latency_max.as_millis();
        return Err(format!(
            "the granted latency_ms is above {latency_max_ms}, ingestion.rtp.latency"
        ));
    }
    if over.max_bandwidth_bps.is_some_and(|bps| bps > bandwidth_max_bps) {
        return Err(format!(
            "the granted max_bandwidth is above {bandwidth_max_bps}, ingestion.rtp.max_bandwidth"
        ));
    }
    Ok(SenderGrants { latency: over.latency, max_bandwidth_bps: over.max_bandwidth_bps })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_become_options_within_their_bounds() {
        let grants = Grants {
            passphrase: Some("correct horse".into()),
            key_length: Some(256),
            latency_ms: Some(500),
            max_bandwidth: Some(8_000_000),
            priority: Some(3),
        };
        let over = overrides(&grants).expect("in bounds");
        assert_eq!(over.latency, Some(Duration::from_millis(500)));
        assert_eq!((over.key_bytes, over.priority), (Some(32), Some(3)));
        assert_eq!(over.max_bandwidth_bps, Some(8_000_000));
        assert_eq!(over.passphrase, Some(Passphrase::new(b"correct horse")));
        assert_eq!(overrides(&Grants::default()), Ok(StreamOverrides::default()));
    }

    #[test]
    fn grants_out_of_bounds_are_no_permission() {
        let none = Grants::default;
        for grants in [
            Grants { passphrase: Some("short".into()), ..none() },
            Grants { key_length: Some(64), ..none() },
            Grants { latency_ms: Some(60_001), ..none() },
            Grants { max_bandwidth: Some(1), ..none() },
            Grants { priority: Some(256), ..none() },
        ] {
            assert!(overrides(&grants).is_err(), "{grants:?}");
        }
    }
}
