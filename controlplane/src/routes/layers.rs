//! What happens to every request, whatever its route.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Shared, State};
use crate::clock;
use crate::error::{ApiError, Code};

/// Most bytes of a request body.
const BODY_BYTES_MAX: u64 = 64 << 10;
/// Longest request id that is taken over from a client.
const REQUEST_ID_BYTES_MAX: usize = 64;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request an id, counts it, logs it.
pub(super) async fn account(
    axum::extract::State(state): Shared,
    path: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let in_flight = state.metrics.http.begin();
    let id = request_id(request.headers());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let method = request.method().clone();
    let uri = request.uri().clone();
    let mut response = next.run(request).await;
    drop(in_flight);
    let route = path.as_ref().map_or("unmatched", MatchedPath::as_str);
    let status = response.status();
    let took = started.elapsed();
    state.metrics.http.answered(method.as_str(), route, status.as_u16(), took);
    log(&state, &method, uri.path(), status, &id, took);
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Requests that change something are worth a line each; the others only to a debugger.
fn log(
    _state: &Arc<State>,
    method: &Method,
    path: &str,
    status: StatusCode,
    id: &HeaderValue,
    took: std::time::Duration,
) {
    let (status, took_us) = (status.as_u16(), took.as_micros());
    let request_id = id.to_str().unwrap_or_default();
    if method.is_safe() {
        tracing::debug!(%method, path, status, took_us, request_id, "request");
    } else {
        tracing::info!(%method, path, status, took_us, request_id, "request");
    }
}

/// The client's own id when it is a short plain token, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let plain = |id: &HeaderValue| {
        let bytes = id.as_bytes();
        !bytes.is_empty()
            && bytes.len() <= REQUEST_ID_BYTES_MAX
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
    };
    headers.get(REQUEST_ID).filter(|id| plain(id)).cloned().unwrap_or_else(new_request_id)
}

fn new_request_id() -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let text = format!("{:x}-{number:x}", clock::unix_ns());
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

/// Headers of every answer.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert_with(|| HeaderValue::from_static("no-store"));
    response
}

/// A handler's panic costs its own request only.
pub(super) fn panicked(_cause: Box<dyn Any + Send>) -> Response {
    // The panic hook has logged cause and place.
    ApiError::internal().into_response()
}

/// Bounds the request's body and the time for the answer.
pub(super) async fn limit(
    axum::extract::State(state): Shared,
    request: Request,
    next: Next,
) -> Response {
    if let Err(error) = bounded(request.headers()) {
        return error.into_response();
    }
    // A body without a declared length is cut here; no handler needs one.
    let request = request.map(|body| Body::new(BoundedBody { body, left: BODY_BYTES_MAX }));
    let limit = state.config.server.write_timeout;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Timeout,
            "the answer took longer than server.write_timeout",
        )
        .into_response(),
    }
}

fn bounded(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(()) };
    let length: Option<u64> = length.to_str().ok().and_then(|text| text.parse().ok());
    match length {
        Some(length) if length <= BODY_BYTES_MAX => Ok(()),
        _ => Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::BodyTooLarge,
            format!("a request body may have at most {BODY_BYTES_MAX} bytes"),
        )),
    }
}

/// A body that fails after so many bytes.
struct BoundedBody {
    body: Body,
    left: u64,
}

impl hyper::body::Body for BoundedBody {
    type Data = hyper::body::Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        let frame = std::pin::Pin::new(&mut self.body).poll_frame(context);
        frame.map(|frame| {
            let frame = match frame? {
                Ok(frame) => frame,
                Err(error) => return Some(Err(error.into())),
            };
            let bytes = frame.data_ref().map_or(0, |data| data.len());
            match self.left.checked_sub(u64::try_from(bytes).unwrap_or(u64::MAX)) {
                Some(left) => self.left = left,
                None => return Some(Err("the request body is too long".into())),
            }
            Some(Ok(frame))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_request_ids_are_taken_over() {
        let id = |text: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(text).unwrap());
            request_id(&headers)
        };
        assert_eq!(id(b"abc-1.2_3:4"), "abc-1.2_3:4");
        for refused in [&b"has space"[..], b"", &[b'x'; 65], b"quote\""] {
            assert_ne!(id(refused).as_bytes(), refused);
        }
        assert_ne!(new_request_id(), new_request_id());
    }
}
