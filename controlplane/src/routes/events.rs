//! `/api/v1/events`: what happened, as a list and as a stream of server-sent events.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use hyper::body::{Bytes, Frame};
use shm::link::{Event, EventKind};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::request::query;
use super::{Shared, State};
use crate::clock;
use crate::dto::{EventBody, EventList};
use crate::error::{ApiError, Code};
use crate::events::Kept;

/// Events of one answer.
const LIMIT_MAX: usize = 1_000;
const LIMIT_DEFAULT: usize = 100;
/// A quiet stream says that it lives, well within any idle time.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// Pieces on their way to a follower.
const PIECES: usize = 4;

/// What a request wants of the events.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    after: Option<u64>,
    limit: usize,
    kind: Option<EventKind>,
    stream_id: Option<String>,
}

impl Wanted {
    fn read(uri: &Uri) -> Result<Self, ApiError> {
        let mut wanted = Self { after: None, limit: LIMIT_DEFAULT, kind: None, stream_id: None };
        for (name, text) in query(uri, &["after", "limit", "kind", "stream_id"])? {
            match name.as_str() {
                "after" => wanted.after = Some(number("after", &text, u64::MAX)?),
                "limit" => {
                    let limit = number("limit", &text, LIMIT_MAX as u64)?;
                    wanted.limit = usize::try_from(limit.max(1)).unwrap_or(LIMIT_MAX);
                }
                "kind" => wanted.kind = Some(kind(&text)?),
                _ => wanted.stream_id = Some(text),
            }
        }
        Ok(wanted)
    }

    fn passes(&self, event: &Event) -> bool {
        self.kind.is_none_or(|kind| event.kind == kind)
            && (self.stream_id.is_none() || event.stream_id == self.stream_id)
    }
}

fn number(name: &str, text: &str, max: u64) -> Result<u64, ApiError> {
    text.parse().ok().filter(|number| *number <= max).ok_or_else(|| {
        let message = format!("{text:?} is not a whole number from 0 to {max}");
        ApiError::invalid_parameter(name, message)
    })
}

fn kind(text: &str) -> Result<EventKind, ApiError> {
    EventKind::ALL.iter().copied().find(|kind| kind.label() == text).ok_or_else(|| {
        let labels: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.label()).collect();
        ApiError::invalid_parameter("kind", format!("kind is one of {}", labels.join(", ")))
    })
}

/// `GET /events?after=CURSOR&limit=N&kind=K&stream_id=ID`: the events behind a cursor, else the
/// last ones.
pub(super) async fn list(
    axum::extract::State(state): Shared,
    uri: Uri,
) -> Result<Json<EventList>, ApiError> {
    let wanted = Wanted::read(&uri)?;
    let passes = |event: &Event| wanted.passes(event);
    let events = &state.events;
    let after = wanted.after.unwrap_or_else(|| events.cursor_of_last(wanted.limit, passes));
    let (kept, next) = events.after(after, wanted.limit, passes);
    let totals = events.totals();
    Ok(Json(EventList {
        count: kept.len(),
        events: kept.iter().map(EventBody::new).collect(),
        next,
        attending: totals.attending,
        missed: totals.missed,
        time: clock::rfc3339_now(),
    }))
}

/// `GET /events/stream`: the same as server-sent events, from the cursor of `Last-Event-ID` or
/// `after`, else from now on.
pub(super) async fn stream(
    axum::extract::State(state): Shared,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let wanted = Wanted::read(&uri)?;
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let cursor = resumed.or(wanted.after).unwrap_or_else(|| state.events.newest());
    let permit = Arc::clone(&state.followers).try_acquire_owned().map_err(|_| {
        let message = "as many clients as are served follow the events";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, Code::TooManyFollowers, message)
    })?;
    let (pieces, taken) = mpsc::channel(PIECES);
    tokio::spawn(follow(Arc::clone(&state), wanted, cursor, pieces, permit));
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream")
        .header(header::CACHE_CONTROL, "no-store")
        .body(Body::new(Pieces(taken)));
    response.map_err(|_| ApiError::internal())
}

/// Feeds one follower until it or the process is gone.
async fn follow(
    state: Arc<State>,
    wanted: Wanted,
    mut cursor: u64,
    pieces: mpsc::Sender<Bytes>,
    _permit: OwnedSemaphorePermit,
) {
    let keepalive = KEEPALIVE.min(state.config.server.max_idle_timeout / 3);
    let mut waiter = state.events.news();
    // Tells the client that it is connected, before anything happens.
    if pieces.send(Bytes::from_static(b": connected\n\n")).await.is_err() {
        return;
    }
    loop {
        let (kept, next) = state.events.after(cursor, LIMIT_DEFAULT, |event| wanted.passes(event));
        cursor = next;
        let piece = if !kept.is_empty() {
            kept.iter().map(sse).collect::<String>().into()
        } else {
            match tokio::time::timeout(keepalive, waiter.wait(cursor)).await {
                Ok(true) => continue,
                Ok(false) => return,
                Err(_) => Bytes::from_static(b": alive\n\n"),
            }
        };
        if pieces.send(piece).await.is_err() {
            return;
        }
    }
}

/// One event in the form of the HTML standard, 9.2. The data is one line of JSON.
fn sse(kept: &Kept) -> String {
    let body = serde_json::to_string(&EventBody::new(kept)).unwrap_or_default();
    format!("id: {}\nevent: {}\ndata: {body}\n\n", kept.cursor, kept.event.kind.label())
}

/// A body that ends when its sender does.
struct Pieces(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(query: &str) -> Result<Wanted, ApiError> {
        Wanted::read(&format!("/x?{query}").parse().unwrap())
    }

    #[test]
    fn parameters_are_bounded_and_named() {
        let all = wanted("after=7&limit=5&kind=refused&stream_id=live%2Fa").unwrap();
        assert_eq!((all.after, all.limit, all.kind), (Some(7), 5, Some(EventKind::Refused)));
        assert_eq!(all.stream_id.as_deref(), Some("live/a"));
        for (query, named) in
            [("after=-1", "18446744073709551615"), ("limit=1001", "1000"), ("kind=x", "refused")]
        {
            let error = wanted(query).unwrap_err();
            assert!(error.message().contains(named), "{query}: {}", error.message());
        }
    }

    #[test]
    fn a_stream_id_cannot_break_out_of_its_line() {
        let event = Event::new(EventKind::Refused).stream("a\n\ndata: forged");
        let text = sse(&Kept { cursor: 9, event: Arc::new(event) });
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.starts_with("id: 9\nevent: refused\ndata: {"));
    }
}
