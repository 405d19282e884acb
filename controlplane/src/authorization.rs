//! Asks an HTTP service whether a publisher may publish, for a dataplane that holds it meanwhile.
//!
//! ```text
//!  POST url   {"id":"live/a","user":"ann","session":"…","source":"10.0.0.1:9000",…}
//!    200      {"allow":true,"options":{"latency_ms":300,"passphrase":"…"}}    or empty: allowed
//!    200      {"allow":false,"code":2403,"message":"…"}                       denied
//!    4xx                                                                      denied with 2000 + x
//!    else, or too late                                                        could not be asked
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use serde_json::{Value, json};
use shm::link::{Decision, Grants, Question};
use tokio::sync::Semaphore;

use crate::config::Authorization;

/// Requests to the service at one time; the others wait.
const REQUESTS_MAX: usize = 64;
/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// SRT's codes for what HTTP's say begin here (SRT draft, access control).
const HTTP_CODES: u32 = 2_000;
/// Denied without a code of its own.
const FORBIDDEN: u32 = 2_403;
/// Longest message that is passed on.
const MESSAGE_BYTES_MAX: usize = 256;

/// The service behind `ingestion.authorization.url`.
#[derive(Debug, Clone)]
pub(crate) struct Authorizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Authorization,
    agent: ureq::Agent,
    requests: Semaphore,
    outcomes: Outcomes,
}

/// What the service said so far.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    allowed: AtomicU64,
    denied: AtomicU64,
    unavailable: AtomicU64,
}

impl Outcomes {
    /// By name.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 3] {
        [("allow", &self.allowed), ("deny", &self.denied), ("unavailable", &self.unavailable)]
            .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }

    fn count(&self, decision: &Decision) {
        let count = match decision {
            Decision::Allow(_) => &self.allowed,
            Decision::Deny { .. } => &self.denied,
            Decision::Unavailable { .. } => &self.unavailable,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Authorizer {
    pub(crate) fn new(config: Authorization) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // Another place has not been configured to be trusted.
            .max_redirects(0)
            .timeout_global(Some(config.timeout))
            .build();
        let (requests, outcomes) = (Semaphore::new(REQUESTS_MAX), Outcomes::default());
        Self(Arc::new(Inner { config, agent: agent.into(), requests, outcomes }))
    }

    pub(crate) fn outcomes(&self) -> &Outcomes {
        &self.0.outcomes
    }

    /// The service's decision, within the configured time or soon after.
    pub(crate) async fn decide(&self, question: Question) -> Decision {
        let decision = match tokio::time::timeout(self.0.config.timeout, self.ask(question)).await {
            Ok(decision) => decision,
            Err(_) => unavailable("the service did not answer in time"),
        };
        if let Decision::Unavailable { message } = &decision {
            tracing::debug!(message, "authorization unavailable");
        }
        self.0.outcomes.count(&decision);
        decision
    }

    async fn ask(&self, question: Question) -> Decision {
        let Ok(_permit) = self.0.requests.acquire().await else {
            return unavailable("the control plane is stopping");
        };
        let inner = Arc::clone(&self.0);
        let asked = tokio::task::spawn_blocking(move || inner.post(&question));
        asked.await.unwrap_or_else(|_| unavailable("the request failed"))
    }
}

impl Inner {
    fn post(&self, question: &Question) -> Decision {
        let mut request = self.agent.post(&self.config.url);
        request = request.header("content-type", "application/json");
        if let Some(token) = &self.config.token {
            request = request.header("authorization", format!("Bearer {}", token.expose()));
        }
        let mut answer = match request.send(body(question).to_string()) {
            Ok(answer) => answer,
            Err(error) => return unavailable(&format!("the service cannot be asked: {error}")),
        };
        let status = answer.status().as_u16();
        let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        match text {
            Ok(text) => decision(status, &text),
            Err(error) => unavailable(&format!("the service's answer cannot be read: {error}")),
        }
    }
}

fn body(question: &Question) -> Value {
    let version = question.peer_version;
    json!({
        "id": question.stream_id,
        "protocol": "srt",
        "mode": "publish",
        "user": question.user,
        "resource": question.resource,
        "host": question.host,
        "session": question.session,
        "source": question.source.to_string(),
        "address": question.source.ip().to_canonical().to_string(),
        "listener": question.listener,
        "encrypted": question.encrypted,
        "latency_ms": question.latency_ms,
        "peer_version": format!("{}.{}.{}", version >> 16, version >> 8 & 0xff, version & 0xff),
    })
}

/// The body of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    allow: Option<bool>,
    code: Option<u32>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    options: Grants,
}

fn decision(status: u16, text: &str) -> Decision {
    let empty = text.trim().is_empty();
    match status {
        200..=299 if empty => Decision::Allow(Grants::default()),
        200..=299 => match serde_json::from_str(text) {
            Ok(answer) => answered(answer),
            // The library's message may quote a secret.
            Err(error) => unavailable(&format!(
                "the service's answer does not parse at line {} column {}",
                error.line(),
                error.column()
            )),
        },
        // Timed out, too early, too many: not about the publisher.
        408 | 425 | 429 => unavailable(&format!("the service answered {status}")),
        400..=499 => {
            let answer: Answer = serde_json::from_str(text).unwrap_or_default();
            let code = answer.code.unwrap_or_else(|| HTTP_CODES + u32::from(status));
            deny(code, &answer.message)
        }
        _ => unavailable(&format!("the service answered {status}")),
    }
}

fn answered(answer: Answer) -> Decision {
    match answer.allow {
        Some(true) => Decision::Allow(answer.options),
        Some(false) => deny(answer.code.unwrap_or(FORBIDDEN), &answer.message),
        None => unavailable("the service's answer has no `allow`"),
    }
}

fn deny(code: u32, message: &str) -> Decision {
    Decision::Deny { code, message: cut(message) }
}

fn unavailable(message: &str) -> Decision {
    Decision::Unavailable { message: cut(message) }
}

fn cut(message: &str) -> String {
    let plain = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut text: String = plain.take(MESSAGE_BYTES_MAX).collect();
    text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(status: u16, text: &str) -> Option<u32> {
        match decision(status, text) {
            Decision::Deny { code, .. } => Some(code),
            _ => None,
        }
    }

    #[test]
    fn a_permission_may_come_with_options_or_without_a_word() {
        for (status, text) in [(200, ""), (204, ""), (200, r#"{"allow":true}"#)] {
            assert_eq!(decision(status, text), Decision::Allow(Grants::default()), "{status}");
        }
        let text = r#"{"allow":true,"options":{"latency_ms":300,"passphrase":"correct horse"}}"#;
        let Decision::Allow(grants) = decision(200, text) else { panic!("allowed") };
        assert_eq!(grants.latency_ms, Some(300));
        assert_eq!(grants.passphrase.as_deref(), Some("correct horse"));
    }

    #[test]
    fn a_denial_carries_its_code() {
        assert_eq!(code(200, r#"{"allow":false}"#), Some(2_403));
        assert_eq!(code(200, r#"{"allow":false,"code":2409}"#), Some(2_409));
        assert_eq!(code(401, ""), Some(2_401));
        assert_eq!(code(404, "<html>"), Some(2_404));
        assert_eq!(code(403, r#"{"code":3001,"message":"no"}"#), Some(3_001));
    }

    #[test]
    fn what_is_no_answer_is_unavailable_and_quotes_nothing() {
        for (status, text) in [
            (200, "yes"),
            (200, "{}"),
            (200, r#"{"allow":true,"option":{}}"#),
            (200, r#"{"allow":true,"options":{"pass":"correct horse"}}"#),
            (200, r#"{"allow":"correct horse"}"#),
            (302, ""),
            (429, ""),
            (500, r#"{"allow":true}"#),
        ] {
            let Decision::Unavailable { message } = decision(status, text) else {
                panic!("{status} {text}")
            };
            assert!(!message.contains("horse"), "{message}");
        }
    }

    #[test]
    fn messages_are_short_and_printable() {
        let text = cut(&format!("a\nb{}", "é".repeat(1_000)));
        assert!(text.len() <= MESSAGE_BYTES_MAX && text.starts_with("a b"));
    }
}
