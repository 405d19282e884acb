//! `/api/v1/stats`: the whole system.

use std::sync::Arc;

use axum::Json;

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
