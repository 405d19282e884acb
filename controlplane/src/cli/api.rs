//! The REST API as the command line sees it.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{Failure, Kind, URL_DEFAULT};

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read: far above what thousands of streams take.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Everything in a stream id but what never needs an escape.
const ID: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A control plane.
#[derive(Debug)]
pub(super) struct Api {
    url: String,
    agent: ureq::Agent,
}

impl Api {
    /// At `url`, else where the environment says, else at the default.
    pub(super) fn new(url: Option<&str>) -> Self {
        let environment = || std::env::var("PENSTOCK_URL").ok().filter(|url| !url.is_empty());
        let url = url.map(str::to_owned).or_else(environment);
        let url = url.unwrap_or_else(|| URL_DEFAULT.to_owned());
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build();
        Self { url: url.trim_end_matches('/').to_owned(), agent: config.into() }
    }

    /// The JSON of a GET.
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.read(self.agent.get(format!("{}{path}", self.url)).call())
    }

    /// The body of a GET that goes on until the other side ends it.
    pub(super) fn follow(&self, path: &str) -> Result<impl std::io::Read + use<>, Failure> {
        let request = self.agent.get(format!("{}{path}", self.url));
        let request = request.config().timeout_global(None).timeout_connect(Some(TIMEOUT)).build();
        let answer = request.call();
        match answer {
            Ok(answer) if answer.status().as_u16() == 200 => Ok(answer.into_body().into_reader()),
            other => {
                self.read(other)?;
                Err(Failure::new(Kind::Failed, "the control plane answered without a stream"))
            }
        }
    }

    /// The JSON of a PATCH.
    pub(super) fn patch(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.read(self.agent.patch(format!("{}{path}", self.url)).send(body.to_string()))
    }

    /// The JSON of a DELETE.
    pub(super) fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.read(self.agent.delete(format!("{}{path}", self.url)).call())
    }

    /// The JSON of a POST, with a body or without.
    pub(super) fn post(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let request = self.agent.post(format!("{}{path}", self.url));
        let answer = match body {
            Some(body) => request.header("content-type", "application/json").send(body.to_string()),
            None => request.send_empty(),
        };
        self.read(answer)
    }

    fn read(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Value, Failure> {
        let unreachable = |error: ureq::Error| {
            let kind = match error {
                ureq::Error::BadUri(_) | ureq::Error::Http(_) => Kind::Usage,
                _ => Kind::Unreachable,
            };
            Failure::new(kind, format!("control plane at {}: {error}", self.url))
        };
        let mut answer = answer.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let text = body.read_to_string().map_err(unreachable)?;
        let body: Option<Value> = serde_json::from_str(&text).ok();
        match (status, body) {
            (200 | 201, Some(body)) => Ok(body),
            (200 | 201, None) => {
                let message = format!("what answers at {} is not a control plane", self.url);
                Err(Failure::new(Kind::Failed, message))
            }
            (status, body) => Err(failure(status, &body.unwrap_or_default())),
        }
    }
}

/// The codes of what an id names and is not there.
const NOT_FOUND: [&str; 3] = ["stream_not_found", "source_not_found", "session_not_found"];

/// What an error answer means for the exit code.
fn failure(status: u16, body: &Value) -> Failure {
    let code = body["code"].as_str().unwrap_or_default();
    let kind = match status {
        404 if NOT_FOUND.contains(&code) => Kind::NotFound,
        400 => Kind::Usage,
        409 => Kind::Conflict,
        503 => Kind::Unreachable,
        _ => Kind::Failed,
    };
    let fallback = format!("the control plane answered {status}");
    Failure::new(kind, body["message"].as_str().unwrap_or(&fallback))
}

/// The path of a stream.
pub(super) fn stream_path(id: &str) -> String {
    format!("/api/v1/streams/{}", utf8_percent_encode(id, ID))
}

/// Where the sessions of RTP are.
pub(super) const RTP_SESSIONS: &str = "/api/v1/rtp/sessions";

/// The path of one of them.
pub(super) fn rtp_session_path(id: &str) -> String {
    format!("{RTP_SESSIONS}/{}", utf8_percent_encode(id, ID))
}

/// The path of a source.
pub(super) fn source_path(id: &str) -> String {
    format!("/api/v1/sources/{}", utf8_percent_encode(id, ID))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn exit_codes_follow_the_answer() {
        let kind = |status, code: &str| failure(status, &json!({"code": code})).kind;
        assert_eq!(kind(404, "stream_not_found"), Kind::NotFound);
        assert_eq!(kind(404, "session_not_found"), Kind::NotFound);
        assert_eq!(kind(404, "route_not_found"), Kind::Failed);
        assert_eq!(kind(409, "stream_closed"), Kind::Conflict);
        assert_eq!(kind(400, "invalid_parameter"), Kind::Usage);
        assert_eq!(kind(503, "dataplane_unavailable"), Kind::Unreachable);
        assert_eq!(kind(500, "internal"), Kind::Failed);
        assert_eq!(failure(500, &Value::Null).kind, Kind::Failed);
    }

    #[test]
    fn any_id_makes_one_path_segment() {
        assert_eq!(stream_path("live/a b?#%"), "/api/v1/streams/live%2Fa%20b%3F%23%25");
        assert_eq!(stream_path("#!::r=x"), "/api/v1/streams/%23%21%3A%3Ar%3Dx");
    }

    #[test]
    fn nobody_at_the_address_is_unreachable_and_nonsense_is_wrong_usage() {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = port.local_addr().unwrap();
        drop(port);
        let api = Api::new(Some(&format!("http://{address}")));
        assert_eq!(api.get("/live").unwrap_err().kind, Kind::Unreachable);
        assert_eq!(Api::new(Some("not a url")).get("/live").unwrap_err().kind, Kind::Usage);
    }
}
