//! `/api/v1/streams/{id}/options`: what is decided about a stream, and changes of it.

use axum::Json;
use axum::body::Bytes;
use axum::http::Uri;
use serde_json::{Value, json};

use super::Shared;
use super::request::{self, Id, only_id};
use super::streams::command;
use crate::clock;
use crate::error::ApiError;

/// `GET /streams/{id}/options`: the options in effect, and those that wait for the next connection.
pub(super) async fn show(
    axum::extract::State(state): Shared,
    id: Id,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let id = only_id(id, &uri)?;
    let mut body = command(&state, &id, |link, id| link.options(id)).await?;
    body["stream_id"] = id.into();
    body["time"] = clock::rfc3339_now().into();
    Ok(Json(body))
}

/// `PATCH /streams/{id}/options` with an object of options named as in the configuration: all of
/// them are changed, or none.
pub(super) async fn change(
    axum::extract::State(state): Shared,
    id: Id,
    uri: Uri,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let id = only_id(id, &uri)?;
    let options = request::json(&body)?;
    let set = command(&state, &id, move |link, id| link.set_options(id, options)).await?;
    Ok(Json(json!({
        "stream_id": id,
        "applied": set.applied,
        "next_connection": set.next_connection,
        "timestamp": clock::rfc3339_now(),
    })))
}
