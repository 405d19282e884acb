//! Two kinds of failure: [`Error`] stops the process at start, [`ApiError`] is the one body that
//! every failed request gets.

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::clock;

/// Why the control plane does not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration key is at fault.
    #[error("{key}: {message}")]
    Config {
        /// The key in full, `server.http_port`.
        key: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The configuration is not YAML.
    #[error("the configuration does not parse: {0}")]
    Yaml(String),
    /// A file could not be read or opened.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A listener could not be opened.
    #[error("cannot listen on {address} ({key}): {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The key that says so.
        key: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The operating system refused something at start.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl Error {
    /// A fault of one configuration key.
    pub(crate) fn config(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Config { key: key.into(), message: message.into() }
    }
}

/// The stable word of a failed request, for programs; the message is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// No such route.
    RouteNotFound,
    /// No stream has that id.
    StreamNotFound,
    /// No source has that id.
    SourceNotFound,
    /// No session of RTP has that id.
    SessionNotFound,
    /// There is one with that id.
    AlreadyExists,
    /// Something else has the address and port.
    AddressInUse,
    /// There are as many as there may be.
    LimitReached,
    /// The route exists, the method does not.
    MethodNotAllowed,
    /// A parameter is unknown, malformed or out of range; `key` names it.
    InvalidParameter,
    /// The stream has ended already.
    StreamClosed,
    /// The state of the thing does not allow the request.
    WrongState,
    /// The request body is larger than the limit.
    BodyTooLarge,
    /// The request took longer than `server.write_timeout`.
    Timeout,
    /// As many clients as are served follow the events.
    TooManyFollowers,
    /// No dataplane answers.
    DataplaneUnavailable,
    /// The dataplane answered with a failure of its own.
    DataplaneFailed,
    /// A fault of the control plane.
    Internal,
}

/// The one shape of a failed request: `{"error","message","time","code","key"?}`.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    code: Code,
    message: String,
    key: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'static str,
    message: &'a str,
    time: String,
    code: Code,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
}

impl ApiError {
    /// A failure with its status and word.
    pub fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), key: None }
    }

    /// Names the parameter at fault.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// 404: no stream has this id.
    pub fn stream_not_found(id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            Code::StreamNotFound,
            format!("no stream has the id {id:?}"),
        )
    }

    /// 409: the stream has ended already.
    pub fn stream_closed(id: &str) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            Code::StreamClosed,
            format!("the stream {id:?} has ended already"),
        )
    }

    /// 400: a parameter is at fault.
    pub fn invalid_parameter(key: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidParameter, message).with_key(key)
    }

    /// 503: no dataplane answers.
    pub fn dataplane_unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::DataplaneUnavailable, message)
    }

    /// 500: a fault of ours; the cause goes to the log, not to the client.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Internal,
            "the control plane failed; its log has the cause",
        )
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable word.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The parameter at fault.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The text for people.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Body {
            error: self.status.canonical_reason().unwrap_or("Error"),
            message: &self.message,
            time: clock::rfc3339_now(),
            code: self.code,
            key: self.key.as_deref(),
        };
        (self.status, Json(body)).into_response()
    }
}
