//! `/api/v1/stats`: the whole system; `/api/v1/openapi.json`: what is served.

use std::sync::Arc;

use axum::Json;
use axum::http::{Uri, header};
use axum::response::IntoResponse;

use super::Shared;
use super::request::query;
use crate::dto::SystemStats;
use crate::error::ApiError;

/// `GET /stats`
pub(super) async fn stats(
    axum::extract::State(state): Shared,
    uri: Uri,
) -> Result<Json<SystemStats>, ApiError> {
    query(&uri, &[])?;
    let snapshot = state.snapshot()?;
    let (source, reading) = (Arc::clone(&state.source), Arc::clone(&snapshot));
    let memory = tokio::task::spawn_blocking(move || source.memory_bytes(&reading))
        .await
        .map_err(|_| ApiError::internal())?;
    let enabled = (state.config.srt_enabled, state.config.rtp_enabled);
    Ok(Json(SystemStats::new(&snapshot, enabled, state.source.socket(), memory)))
}

/// `GET /openapi.json`
pub(super) async fn openapi(uri: Uri) -> Result<impl IntoResponse, ApiError> {
    query(&uri, &[])?;
    let document = include_str!("../openapi.json");
    Ok(([(header::CONTENT_TYPE, "application/json")], document))
}
