//! `/api/v1/streams`: what is published, and how to end it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;
use shm::link::{CommandError, Link};
use shm::{StreamSnapshot, StreamState};

use super::{Shared, State};
use crate::clock;
use crate::dto::{
    Done, DoneTo, Freshness, Stream, StreamDetail, StreamList, StreamStatsDetail, VideoStatsList,
};
use crate::error::{ApiError, Code};
use crate::source::{Snapshot, is_live};

/// Longest wait for the dataplane's answer to a command.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time for which an id can be kept out: one day.
const BLOCK_S_MAX: u64 = 86_400;

/// A stream id from the path, percent-decoded.
pub(super) type Id = Result<Path<String>, PathRejection>;

pub(super) fn decoded(id: Id) -> Result<String, ApiError> {
    match id {
        Ok(Path(id)) => Ok(id),
        Err(_) => Err(ApiError::invalid_parameter("id", "the stream id is not UTF-8")),
    }
}

/// The parameters of a query; a name that is not `known` is refused.
pub(super) fn query(uri: &Uri, known: &[&str]) -> Result<Vec<(String, String)>, ApiError> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name);
            if known.contains(&name.as_str()) {
                return Ok((name, decode(value)));
            }
            let allowed = if known.is_empty() { "none" } else { &known.join(", ") };
            let message = format!("unknown parameter {name:?}; this route knows: {allowed}");
            Err(ApiError::invalid_parameter(&name, message))
        })
        .collect()
}

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
    query(&uri, &[])?;
    let id = decoded(id)?;
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
    query(&uri, &[])?;
    let id = decoded(id)?;
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

/// Asks the dataplane, which alone knows whether that can be done to the stream.
pub(super) async fn command<T: Send + 'static>(
    state: &Arc<State>,
    id: &str,
    ask: impl FnOnce(&mut Link, &str) -> Result<T, shm::Error> + Send + 'static,
) -> Result<T, ApiError> {
    if state.snapshot()?.is_stale() {
        return Err(ApiError::dataplane_unavailable("the dataplane is gone or silent"));
    }
    let _permit = state.commands.acquire().await.map_err(|_| ApiError::internal())?;
    let (socket, stream_id) = (state.source.socket().to_owned(), id.to_owned());
    let answer = tokio::task::spawn_blocking(move || {
        ask(&mut Link::connect(&socket, COMMAND_TIMEOUT)?, &stream_id)
    })
    .await
    .map_err(|_| ApiError::internal())?;
    match answer {
        Ok(answer) => Ok(answer),
        Err(shm::Error::Refused(refusal)) => {
            state.source.refresh().await;
            Err(refused(&*state.snapshot()?, id, &refusal))
        }
        Err(error) => Err(ApiError::dataplane_unavailable(error.to_string())),
    }
}

fn refused(snapshot: &Snapshot, id: &str, refusal: &CommandError) -> ApiError {
    let ended = snapshot.stream(id).is_some_and(|stream| !is_live(stream));
    match refusal.code.as_str() {
        CommandError::NOT_FOUND | CommandError::WRONG_STATE if ended => ApiError::stream_closed(id),
        CommandError::NOT_FOUND => ApiError::stream_not_found(id),
        CommandError::WRONG_STATE => {
            ApiError::new(StatusCode::CONFLICT, Code::WrongState, refusal.message.clone())
        }
        CommandError::INVALID_OPTION => {
            // The message begins with the key.
            let key = refusal.message.split(':').next().unwrap_or_default();
            let key = key.strip_prefix("options.").unwrap_or(key).to_owned();
            ApiError::invalid_parameter(&key, refusal.message.clone())
        }
        CommandError::TOO_MANY_CLIENTS => ApiError::dataplane_unavailable(refusal.message.clone()),
        _ => ApiError::new(StatusCode::BAD_GATEWAY, Code::DataplaneFailed, refusal.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn unknown_parameters_are_refused_by_name() {
        let error = query(&uri("/x?blok_s=1"), &["block_s"]).unwrap_err();
        assert!(error.message().contains("blok_s") && error.message().contains("block_s"));
        assert_eq!(query(&uri("/x?a=b+c%2F&a"), &["a"]).unwrap()[0].1, "b c/");
    }
}
