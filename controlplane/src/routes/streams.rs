//! `/api/v1/streams`: what is published, and how to end it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::Uri;
use shm::link::{CommandError, Link};
use shm::{StreamSnapshot, StreamState};

use super::request::{Id, decoded, only_id, query};
use super::{Shared, State, command};
use crate::clock;
use crate::dto::{
    Done, DoneTo, Freshness, Stream, StreamDetail, StreamList, StreamStatsDetail, VideoStatsList,
};
use crate::error::ApiError;
use crate::source::{Snapshot, is_live};

/// Longest time for which an id can be kept out: one day.
const BLOCK_S_MAX: u64 = 86_400;

/// `GET /streams?status=…`: the streams that have not ended, or those with one status, or `all`.
pub(super) async fn list(
    axum::extract::State(state): Shared,
    uri: Uri,
) -> Result<Json<StreamList>, ApiError> {
    let wanted = status_filter(&uri)?;
    let snapshot = state.snapshot()?;
    let streams: Vec<Stream> = snapshot
        .streams
        .iter()
        .filter(|stream| wanted(stream))
        .map(|stream| Stream::new(&snapshot, stream))
        .collect();
    Ok(Json(StreamList {
        count: streams.len(),
        streams,
        time: clock::rfc3339_now(),
        freshness: Freshness::of(&snapshot),
    }))
}

fn status_filter(uri: &Uri) -> Result<impl Fn(&StreamSnapshot) -> bool, ApiError> {
    let parameters = query(uri, &["status"])?;
    let wanted = parameters.last().map(|(_, status)| status.as_str());
    let states: Vec<StreamState> = match wanted {
        None => StreamState::ALL.iter().copied().filter(|s| *s != StreamState::Closed).collect(),
        Some("all") => StreamState::ALL.to_vec(),
        Some(label) => StreamState::ALL.iter().copied().filter(|s| s.label() == label).collect(),
    };
    if states.is_empty() {
        let labels: Vec<&str> = StreamState::ALL.iter().map(|state| state.label()).collect();
        let message = format!("status is one of all, {}", labels.join(", "));
        return Err(ApiError::invalid_parameter("status", message));
    }
    Ok(move |stream: &StreamSnapshot| states.contains(&stream.info.state))
}

pub(super) fn find<'a>(snapshot: &'a Snapshot, id: &str) -> Result<&'a StreamSnapshot, ApiError> {
    snapshot.stream(id).ok_or_else(|| ApiError::stream_not_found(id))
}

/// `GET /streams/{id}`
pub(super) async fn detail(
    axum::extract::State(state): Shared,
    id: Id,
    uri: Uri,
) -> Result<Json<StreamDetail>, ApiError> {
    let id = only_id(id, &uri)?;
    let snapshot = state.snapshot()?;
    let stream = Stream::new(&snapshot, find(&snapshot, &id)?);
    Ok(Json(StreamDetail { stream, freshness: Freshness::of(&snapshot) }))
}

/// `GET /streams/{id}/stats`
pub(super) async fn stats(
    axum::extract::State(state): Shared,
    id: Id,
    uri: Uri,
) -> Result<Json<StreamStatsDetail>, ApiError> {
    let id = only_id(id, &uri)?;
    let snapshot = state.snapshot()?;
    Ok(Json(StreamStatsDetail::new(&snapshot, find(&snapshot, &id)?)))
}

/// `GET /streams/stats/video`
pub(super) async fn video(
    axum::extract::State(state): Shared,
    uri: Uri,
) -> Result<Json<VideoStatsList>, ApiError> {
    query(&uri, &[])?;
    Ok(Json(VideoStatsList::new(&*state.snapshot()?)))
}

/// `DELETE /streams/{id}?block_s=N`: ends the stream and keeps its id out for N seconds.
pub(super) async fn terminate(
    axum::extract::State(state): Shared,
    id: Id,
    uri: Uri,
) -> Result<Json<Done>, ApiError> {
    let block_s = block_s(&uri)?;
    let stream_id = decoded(id)?;
    let block = Duration::from_secs(block_s);
    command(&state, &stream_id, move |link, id| link.terminate(id, block)).await?;
    state.source.refresh().await;
    Ok(Json(Done {
        message: "Stream terminated successfully",
        data: DoneTo { stream_id, block_s },
        timestamp: clock::rfc3339_now(),
    }))
}

fn block_s(uri: &Uri) -> Result<u64, ApiError> {
    let parameters = query(uri, &["block_s"])?;
    let Some((_, text)) = parameters.last() else { return Ok(0) };
    text.parse().ok().filter(|seconds| *seconds <= BLOCK_S_MAX).ok_or_else(|| {
        let message = format!("{text:?} is not a whole number of seconds from 0 to {BLOCK_S_MAX}");
        ApiError::invalid_parameter("block_s", message)
    })
}

/// Asks the dataplane about a stream.
pub(super) async fn command<T: Send + 'static>(
    state: &Arc<State>,
    id: &str,
    ask: impl FnOnce(&mut Link, &str) -> Result<T, shm::Error> + Send + 'static,
) -> Result<T, ApiError> {
    let asked = id.to_owned();
    match command::ask(state, move |link| ask(link, &asked)).await? {
        Ok(answer) => Ok(answer),
        Err(refusal) => {
            state.source.refresh().await;
            Err(refused(&*state.snapshot()?, id, &refusal))
        }
    }
}

/// Whoever asks for a stream that has ended is told so.
fn refused(snapshot: &Snapshot, id: &str, refusal: &CommandError) -> ApiError {
    let ended = snapshot.stream(id).is_some_and(|stream| !is_live(stream));
    match refusal.code.as_str() {
        CommandError::NOT_FOUND | CommandError::WRONG_STATE if ended => ApiError::stream_closed(id),
        _ => command::refused(refusal, ApiError::stream_not_found(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn block_s_is_a_bounded_number_of_seconds() {
        assert_eq!(block_s(&uri("/x")).unwrap(), 0);
        assert_eq!(block_s(&uri("/x?block_s=60")).unwrap(), 60);
        for wrong in ["-1", "1.5", "", "x", "86401", "99999999999999999999"] {
            let error = block_s(&uri(&format!("/x?block_s={wrong}"))).unwrap_err();
            assert_eq!(error.code(), Code::InvalidParameter, "{wrong}");
        }
    }
}
