//! `/api/v1/stats`: the whole system; `/api/v1/openapi.json`: what is served.

use std::sync::Arc;

use axum::Json;
use axum::http::header;
use axum::response::IntoResponse;

use super::Shared;
use crate::dto::SystemStats;
use crate::error::ApiError;

/// `GET /stats`
pub(super) async fn stats(
    axum::extract::State(state): Shared,
) -> Result<Json<SystemStats>, ApiError> {
    let snapshot = state.snapshot()?;
    let (source, reading) = (Arc::clone(&state.source), Arc::clone(&snapshot));
    let memory = tokio::task::spawn_blocking(move || source.memory_bytes(&reading))
        .await
        .map_err(|_| ApiError::internal())?;
    let enabled = (state.config.srt_enabled, state.config.rtp_enabled);
    Ok(Json(SystemStats::new(&snapshot, enabled, state.source.socket(), memory)))
}

/// `GET /openapi.json`
pub(super) async fn openapi() -> impl IntoResponse {
    let document = include_str!("../openapi.json");
    ([(header::CONTENT_TYPE, "application/json")], document)
}
