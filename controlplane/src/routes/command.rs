//! Commands to the dataplane, which alone knows whether they can be carried out, and what its
//! refusals are over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use shm::link::{CommandError, Link};

use super::State;
use crate::error::{ApiError, Code};

/// Longest wait for the dataplane's answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The dataplane's answer, or its refusal.
pub(super) async fn ask<T: Send + 'static>(
    state: &Arc<State>,
    ask: impl FnOnce(&mut Link) -> Result<T, shm::Error> + Send + 'static,
) -> Result<Result<T, CommandError>, ApiError> {
    if state.snapshot()?.is_stale() {
        return Err(ApiError::dataplane_unavailable("the dataplane is gone or silent"));
    }
    let _permit = state.commands.acquire().await.map_err(|_| ApiError::internal())?;
    let socket = state.source.socket().to_owned();
    let answer = tokio::task::spawn_blocking(move || ask(&mut Link::connect(&socket, TIMEOUT)?))
        .await
        .map_err(|_| ApiError::internal())?;
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(shm::Error::Refused(refusal)) => Ok(Err(refusal)),
        // What was asked for does not fit into a message.
        Err(error @ shm::Error::LinkMessage { .. }) => {
            Err(ApiError::invalid_parameter("body", error.to_string()))
        }
        Err(error) => Err(ApiError::dataplane_unavailable(error.to_string())),
    }
}

/// Adds, removes or calls something; `absent` is said when it is not there. What has changed is
/// read before the client hears of it.
pub(super) async fn change(
    state: &Arc<State>,
    absent: ApiError,
    change: impl FnOnce(&mut Link) -> Result<(), shm::Error> + Send + 'static,
) -> Result<(), ApiError> {
    let answer = ask(state, change).await?;
    state.source.refresh().await;
    answer.map_err(|refusal| refused(&refusal, absent))
}

/// A refusal over HTTP; `absent` is for what is not there.
pub(super) fn refused(refusal: &CommandError, absent: ApiError) -> ApiError {
    let message = refusal.message.clone();
    let conflict = |code| ApiError::new(StatusCode::CONFLICT, code, message.clone());
    match refusal.code.as_str() {
        CommandError::NOT_FOUND => absent,
        CommandError::EXISTS => conflict(Code::AlreadyExists),
        CommandError::ADDRESS_IN_USE => conflict(Code::AddressInUse),
        CommandError::LIMIT => conflict(Code::LimitReached),
        CommandError::WRONG_STATE => conflict(Code::WrongState),
        CommandError::INVALID_OPTION => invalid("options.", message),
        CommandError::INVALID_SOURCE => invalid("source.", message),
        CommandError::INVALID_SESSION => invalid("session.", message),
        CommandError::TOO_MANY_CLIENTS => ApiError::dataplane_unavailable(message),
        _ => ApiError::new(StatusCode::BAD_GATEWAY, Code::DataplaneFailed, refusal.to_string()),
    }
}

/// The message begins with the key at fault, below a `section` that the client did not write.
fn invalid(section: &str, message: String) -> ApiError {
    let key = message.split(':').next().unwrap_or_default();
    let key = key.strip_prefix(section).unwrap_or(key).to_owned();
    ApiError::invalid_parameter(&key, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over_http(code: &str, message: &str) -> ApiError {
        refused(&CommandError::new(code, message), ApiError::stream_not_found("absent"))
    }

    #[test]
    fn a_refusal_names_the_key_at_fault() {
        for (code, message, key) in [
            (CommandError::INVALID_OPTION, "options.latency: 0s is out of range", "latency"),
            (CommandError::INVALID_SOURCE, "source.address: missing", "address"),
            (CommandError::INVALID_SESSION, "session.tracks[1].port: missing", "tracks[1].port"),
        ] {
            let error = over_http(code, message);
            assert_eq!((error.status(), error.key()), (StatusCode::BAD_REQUEST, Some(key)));
            assert_eq!(error.message(), message);
        }
    }

    #[test]
    fn what_stands_in_the_way_is_a_conflict() {
        for (code, expected) in [
            (CommandError::EXISTS, Code::AlreadyExists),
            (CommandError::ADDRESS_IN_USE, Code::AddressInUse),
            (CommandError::LIMIT, Code::LimitReached),
            (CommandError::WRONG_STATE, Code::WrongState),
        ] {
            let error = over_http(code, "127.0.0.1:6000 belongs to b");
            assert_eq!((error.status(), error.code()), (StatusCode::CONFLICT, expected));
        }
        assert_eq!(over_http(CommandError::NOT_FOUND, "none").code(), Code::StreamNotFound);
        let unknown = over_http("of_a_later_version", "no");
        assert_eq!(
            (unknown.status(), unknown.code()),
            (StatusCode::BAD_GATEWAY, Code::DataplaneFailed)
        );
    }
}
