//! `/api/v1/rtp/sessions`: the sessions of RTP that are given, and how to add and remove them.

use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Map, Value};
use shm::link::Link;

use super::Shared;
use super::command::change;
use super::request::{Id, is_of_type, object, only_id, query};
use crate::dto::{Freshness, RtpSessionBody, RtpSessionDetail, RtpSessionDone, RtpSessionsBody};
use crate::error::{ApiError, Code};

/// The content type of a session description (RFC 8866, 8.1).
const SDP: &str = "application/sdp";
/// How long a removal waits for the session's sockets: a worker closes them in its next turns.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);
const CLOSED_STEP: Duration = Duration::from_millis(5);

/// Keys of a session that may stand in the query beside a description, and what their values are.
const QUERY: [(&str, Kind); 14] = [
    ("id", Kind::Text),
    ("listen_addr", Kind::Text),
    ("interface", Kind::Text),
    ("allow", Kind::List),
    ("deny", Kind::List),
    ("feedback", Kind::List),
    ("open", Kind::Flag),
    ("latency", Kind::Text),
    ("latency_max", Kind::Text),
    ("session_timeout", Kind::Text),
    ("over_bandwidth", Kind::Text),
    ("reorder_packets", Kind::Number),
    ("max_bandwidth", Kind::Number),
    ("rate_limit", Kind::Number),
];

/// What a value of the query is.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Number,
    Flag,
    /// Separated by commas.
    List,
}

/// `GET /rtp/sessions`
pub(super) async fn list(
    axum::extract::State(state): Shared,
    uri: Uri,
) -> Result<Json<RtpSessionsBody>, ApiError> {
    query(&uri, &[])?;
    Ok(Json(RtpSessionsBody::new(&*state.snapshot()?)))
}

/// `GET /rtp/sessions/{id}`
pub(super) async fn detail(
    axum::extract::State(state): Shared,
    id: Id,
    uri: Uri,
) -> Result<Json<RtpSessionDetail>, ApiError> {
    let id = only_id(id, &uri)?;
    let snapshot = state.snapshot()?;
    let session = snapshot.rtp_sessions.iter().find(|session| session.id == id);
    let session = session.ok_or_else(|| not_found(&id))?;
    Ok(Json(RtpSessionDetail {
        session: RtpSessionBody::new(&snapshot, session),
        freshness: Freshness::of(&snapshot),
    }))
}

/// `POST /rtp/sessions`: an object with the keys of `ingestion.rtp.sessions`, or a session
/// description with its id, and more of these keys, in the query.
pub(super) async fn add(
    axum::extract::State(state): Shared,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<RtpSessionDone>), ApiError> {
    let session = session(&uri, &headers, &body)?;
    let id = session["id"].as_str().unwrap_or_default().to_owned();
    change(&state, not_found(&id), move |link| link.add_rtp_session(session)).await?;
    let snapshot = state.snapshot()?;
    let added = snapshot.rtp_sessions.iter().find(|session| session.id == id);
    let left_out = added.map(|session| session.left_out.clone()).unwrap_or_default();
    Ok((StatusCode::CREATED, Json(RtpSessionDone::new("RTP session added", id, left_out))))
}

/// `DELETE /rtp/sessions/{id}`: its stream ends, and its ports are free.
pub(super) async fn remove(
    axum::extract::State(state): Shared,
    id: Id,
    uri: Uri,
) -> Result<Json<RtpSessionDone>, ApiError> {
    let id = only_id(id, &uri)?;
    let asked = id.clone();
    change(&state, not_found(&id), move |link| remove_wholly(link, &asked)).await?;
    Ok(Json(RtpSessionDone::new("RTP session removed", id, Vec::new())))
}

/// Removes a session and waits until it is told of no more.
fn remove_wholly(link: &mut Link, id: &str) -> Result<(), shm::Error> {
    link.remove_rtp_session(id)?;
    let asked = Instant::now();
    while is_told(link, id)? && asked.elapsed() < CLOSED_WITHIN {
        std::thread::sleep(CLOSED_STEP);
    }
    Ok(())
}

fn is_told(link: &mut Link, id: &str) -> Result<bool, shm::Error> {
    let mut last: Option<String> = None;
    loop {
        let (page, more) = link.rtp_sessions(last.as_deref())?;
        if page.iter().any(|session| session.id == id) {
            return Ok(true);
        }
        last = page.last().map(|session| session.id.clone());
        if !more || last.is_none() {
            return Ok(false);
        }
    }
}

/// The session of a request, as an object.
fn session(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
    if !is_of_type(headers, SDP) {
        if !is_of_type(headers, "application/json") {
            let message = "the body is to be sent with content-type: application/json or \
                           application/sdp";
            return Err(ApiError::invalid_parameter("content-type", message));
        }
        query(uri, &[])?;
        return object(headers, body).map(Value::Object);
    }
    let names = QUERY.map(|(name, _)| name);
    let mut session = Map::new();
    for (name, text) in query(uri, &names)? {
        let kind = QUERY.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
        let value = value(&name, &text, kind.unwrap_or(Kind::Text))?;
        if session.insert(name.clone(), value).is_some() {
            return Err(ApiError::invalid_parameter(&name, format!("{name} is given twice")));
        }
    }
    if !session.contains_key("id") {
        let message = "missing; the id of the stream stands in the query, as ?id=studio%2Fcam";
        return Err(ApiError::invalid_parameter("id", message));
    }
    let Ok(description) = std::str::from_utf8(body) else {
        return Err(ApiError::invalid_parameter("body", "a session description is UTF-8 text"));
    };
    session.insert("sdp".to_owned(), description.into());
    Ok(Value::Object(session))
}

fn value(name: &str, text: &str, kind: Kind) -> Result<Value, ApiError> {
    let wrong = |allowed: &str| {
        ApiError::invalid_parameter(name, format!("{name}: {text:?}; allowed is {allowed}"))
    };
    Ok(match kind {
        Kind::Text => text.into(),
        Kind::Number => text.parse::<u64>().map_err(|_| wrong("a whole number"))?.into(),
        Kind::Flag => text.parse::<bool>().map_err(|_| wrong("true or false"))?.into(),
        Kind::List => text.split(',').map(str::trim).collect::<Vec<_>>().into(),
    })
}

fn not_found(id: &str) -> ApiError {
    let message = format!("no RTP session has the id {id:?}");
    ApiError::new(StatusCode::NOT_FOUND, Code::SessionNotFound, message)
}

#[cfg(test)]
mod tests {
    use axum::http::header::{CONTENT_TYPE, HeaderValue};
    use serde_json::json;

    use super::*;

    fn described(query: &str) -> Result<Value, ApiError> {
        let uri = format!("/api/v1/rtp/sessions?{query}").parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/sdp"));
        session(&uri, &headers, b"v=0\r\n")
    }

    #[test]
    fn a_description_has_its_id_and_more_in_the_query() {
        let session = described("id=a%2Fb&allow=10.0.0.0/8,::1&open=true&max_bandwidth=8000000");
        let expected = json!({
            "id": "a/b", "sdp": "v=0\r\n", "allow": ["10.0.0.0/8", "::1"], "open": true,
            "max_bandwidth": 8_000_000
        });
        assert_eq!(session.unwrap(), expected);
        for (query, key) in [
            ("", "id"),
            ("id=a&id=b", "id"),
            ("id=a&open=yes", "open"),
            ("id=a&rate_limit=fast", "rate_limit"),
            ("id=a&port=6000", "port"),
        ] {
            assert_eq!(described(query).unwrap_err().key(), Some(key), "{query}");
        }
    }
}
