//! `/api/v1/sources`: the streams that are fetched, and how to add, remove and call them.

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};

use super::Shared;
use super::command::change;
use super::request::{Id, object, only_id, query};
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
    let id = only_id(id, &uri)?;
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
    let source = serde_json::Value::Object(object(&headers, &body)?);
    let id = source["id"].as_str().unwrap_or_default().to_owned();
    change(&state, not_found(&id), move |link| link.add_source(source)).await?;
    Ok((StatusCode::CREATED, done("Source added", id)))
}

/// `DELETE /sources/{id}`: its stream ends, and it is called no more.
pub(super) async fn remove(
    axum::extract::State(state): Shared,
    id: Id,
    uri: Uri,
) -> Result<Json<SourceDone>, ApiError> {
    let id = only_id(id, &uri)?;
    let asked = id.clone();
    change(&state, not_found(&id), move |link| link.remove_source(&asked)).await?;
    Ok(done("Source removed", id))
}

/// `POST /sources/{id}/restart`: it is called at once, whatever its breaker says.
pub(super) async fn restart(
    axum::extract::State(state): Shared,
    id: Id,
    uri: Uri,
) -> Result<Json<SourceDone>, ApiError> {
    let id = only_id(id, &uri)?;
    let asked = id.clone();
    change(&state, not_found(&id), move |link| link.restart_source(&asked)).await?;
    Ok(done("Source restarted", id))
}

fn done(message: &'static str, source_id: String) -> Json<SourceDone> {
    let data = SourceDoneTo { source_id };
    Json(SourceDone { message, data, timestamp: clock::rfc3339_now() })
}

fn not_found(id: &str) -> ApiError {
    let message = format!("no source has the id {id:?}");
    ApiError::new(StatusCode::NOT_FOUND, Code::SourceNotFound, message)
}
