//! `/api/v1/sources`: the streams that are fetched, and how to add, remove and call them.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use serde_json::Value;
use shm::link::{CommandError, Link};

use super::streams::{COMMAND_TIMEOUT, Id, decoded, query};
use super::{Shared, State};
use crate::clock;
use crate::dto::{Freshness, SourceBody, SourceDetail, SourceDone, SourceDoneTo, SourcesBody};
use crate::error::{ApiError, Code};

/// `GET /sources`
pub(super) async fn list(
    axum::extract::State(state): Shared,
    uri: Uri,
) -> Result<Json<SourcesBody>, ApiError> {
    query(&uri, &[])?;
    Ok(Json(SourcesBody::new(&*state.snapshot()?)))
}

/// `GET /sources/{id}`
pub(super) async fn detail(
    axum::extract::State(state): Shared,
    id: Id,
    uri: Uri,
) -> Result<Json<SourceDetail>, ApiError> {
    query(&uri, &[])?;
    let id = decoded(id)?;
    let snapshot = state.snapshot()?;
    let list = &snapshot.sources;
    let source = list.sources.iter().find(|source| source.id == id);
    let source = source.ok_or_else(|| not_found(&id))?;
    Ok(Json(SourceDetail {
        source: SourceBody::new(list, source),
        freshness: Freshness::of(&snapshot),
    }))
}

/// `POST /sources`: an object with the keys of `ingestion.srt.sources`.
pub(super) async fn add(
    axum::extract::State(state): Shared,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<SourceDone>), ApiError> {
    query(&uri, &[])?;
    let source = object(&headers, &body)?;
    let id = source["id"].as_str().unwrap_or_default().to_owned();
    command(&state, &id, move |link| link.add_source(source)).await?;
    Ok((StatusCode::CREATED, done("Source added", id)))
}

/// `DELETE /sources/{id}`: its stream ends, and it is called no more.
pub(super) async fn remove(
    axum::extract::State(state): Shared,
    id: Id,
    uri: Uri,
) -> Result<Json<SourceDone>, ApiError> {
    query(&uri, &[])?;
    let id = decoded(id)?;
    let asked = id.clone();
    command(&state, &id, move |link| link.remove_source(&asked)).await?;
    Ok(done("Source removed", id))
}

/// `POST /sources/{id}/restart`: it is called at once, whatever its breaker says.
pub(super) async fn restart(
    axum::extract::State(state): Shared,
    id: Id,
    uri: Uri,
) -> Result<Json<SourceDone>, ApiError> {
    query(&uri, &[])?;
    let id = decoded(id)?;
    let asked = id.clone();
    command(&state, &id, move |link| link.restart_source(&asked)).await?;
    Ok(done("Source restarted", id))
}

fn done(message: &'static str, source_id: String) -> Json<SourceDone> {
    let data = SourceDoneTo { source_id };
    Json(SourceDone { message, data, timestamp: clock::rfc3339_now() })
}

/// Whether a body is of this type. A page of another origin cannot send any of those that are taken
/// here: browsers ask first.
pub(super) fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case(wanted)
}

/// The JSON object of a request.
pub(super) fn object(headers: &HeaderMap, body: &[u8]) -> Result<Value, ApiError> {
    if !is_of_type(headers, "application/json") {
        let message = "the body is to be sent with content-type: application/json";
        return Err(ApiError::invalid_parameter("content-type", message));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(Value::Object(object)),
        Ok(_) => Err(ApiError::invalid_parameter("body", "not an object, as {\"id\": \"cam\", …}")),
        // The parser quotes nothing of what it read.
        Err(error) => Err(ApiError::invalid_parameter("body", format!("not JSON: {error}"))),
    }
}

/// Asks the dataplane, then reads what has changed.
async fn command(
    state: &Arc<State>,
    id: &str,
    ask: impl FnOnce(&mut Link) -> Result<(), shm::Error> + Send + 'static,
) -> Result<(), ApiError> {
    change(state, ask, |refusal| refused(id, refusal)).await
}

/// The same, with an own word for what the dataplane refuses.
pub(super) async fn change(
    state: &Arc<State>,
    ask: impl FnOnce(&mut Link) -> Result<(), shm::Error> + Send + 'static,
    refused: impl FnOnce(&CommandError) -> ApiError,
) -> Result<(), ApiError> {
    if state.snapshot()?.is_stale() {
        return Err(ApiError::dataplane_unavailable("the dataplane is gone or silent"));
    }
    let _permit = state.commands.acquire().await.map_err(|_| ApiError::internal())?;
    let socket = state.source.socket().to_owned();
    let answer = tokio::task::spawn_blocking(move || {
        Link::connect(&socket, COMMAND_TIMEOUT).and_then(|mut link| ask(&mut link))
    })
    .await
    .map_err(|_| ApiError::internal())?;
    state.source.refresh().await;
    match answer {
        Ok(()) => Ok(()),
        Err(shm::Error::Refused(refusal)) => Err(refused(&refusal)),
        Err(error @ shm::Error::LinkMessage { .. }) => {
            Err(ApiError::invalid_parameter("body", error.to_string()))
        }
        Err(error) => Err(ApiError::dataplane_unavailable(error.to_string())),
    }
}

fn not_found(id: &str) -> ApiError {
    let message = format!("no source has the id {id:?}");
    ApiError::new(StatusCode::NOT_FOUND, Code::SourceNotFound, message)
}

fn refused(id: &str, refusal: &CommandError) -> ApiError {
    let message = refusal.message.clone();
    match refusal.code.as_str() {
        CommandError::NOT_FOUND => not_found(id),
        CommandError::EXISTS => ApiError::new(StatusCode::CONFLICT, Code::AlreadyExists, message),
        CommandError::LIMIT => ApiError::new(StatusCode::CONFLICT, Code::LimitReached, message),
        CommandError::INVALID_SOURCE => {
            let key = message.split(':').next().unwrap_or_default();
            let key = key.strip_prefix("source.").unwrap_or(key).to_owned();
            ApiError::invalid_parameter(&key, message)
        }
        CommandError::TOO_MANY_CLIENTS => ApiError::dataplane_unavailable(message),
        _ => ApiError::new(StatusCode::BAD_GATEWAY, Code::DataplaneFailed, refusal.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_key_at_fault() {
        let refusal = CommandError::new(CommandError::INVALID_SOURCE, "source.address: missing");
        let error = refused("cam", &refusal);
        assert_eq!(
            (error.status(), error.code()),
            (StatusCode::BAD_REQUEST, Code::InvalidParameter)
        );
        assert!(error.message().contains("address: missing"));
    }

    #[test]
    fn a_body_is_a_json_object_and_says_so() {
        let mut headers = HeaderMap::new();
        assert!(object(&headers, b"{}").is_err());
        let kind = header::HeaderValue::from_static("application/json; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, kind);
        assert!(object(&headers, b"{\"id\": \"cam\"}").is_ok());
        for wrong in [&b"[]"[..], b"{", b"", b"5"] {
            assert!(object(&headers, wrong).is_err());
        }
    }
}
