//! `/api/v1/streams/{id}/backpressure`: how short memory is for a stream, and an operator's hand on
//! it.

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, Uri};
use serde_json::{Map, Value};
use shm::link::BackpressureAction;

use super::Shared;
use super::request::{Id, object, only_id};
use super::streams::{command, find};
use crate::clock;
use crate::dto::{Backpressure, BackpressureDone};
use crate::error::ApiError;

/// `GET /streams/{id}/backpressure`
pub(super) async fn show(
    axum::extract::State(state): Shared,
    id: Id,
    uri: Uri,
) -> Result<Json<Backpressure>, ApiError> {
    let id = only_id(id, &uri)?;
    let snapshot = state.snapshot()?;
    Ok(Json(Backpressure::new(&snapshot, find(&snapshot, &id)?)))
}

/// `POST /streams/{id}/backpressure/control` with
/// `{"action": "set_pressure"|"reset"|"drop_gop", "pressure": 0..1}`. A set value stays until reset.
pub(super) async fn control(
    axum::extract::State(state): Shared,
    id: Id,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<BackpressureDone>, ApiError> {
    let stream_id = only_id(id, &uri)?;
    let (name, action) = action(&object(&headers, &body)?)?;
    command(&state, &stream_id, move |link, id| link.backpressure(id, action)).await?;
    state.source.refresh().await;
    let timestamp = clock::rfc3339_now();
    Ok(Json(BackpressureDone { stream_id, action: name, success: true, timestamp }))
}

/// What the body asks for.
fn action(fields: &Map<String, Value>) -> Result<(&'static str, BackpressureAction), ApiError> {
    let wrong = |key: &str, message: String| ApiError::invalid_parameter(key, message);
    if let Some(name) = fields.keys().find(|name| !["action", "pressure"].contains(&name.as_str()))
    {
        let message = format!("unknown field {name:?}; this route knows: action, pressure");
        return Err(wrong(name, message));
    }
    let pressure = fields.get("pressure");
    let action = match fields.get("action").and_then(Value::as_str) {
        Some("set_pressure") => {
            let permille = permille(pressure)?;
            return Ok(("set_pressure", BackpressureAction::SetPressure { permille }));
        }
        Some("reset") => ("reset", BackpressureAction::Reset),
        Some("drop_gop") => ("drop_gop", BackpressureAction::DropGop),
        _ => {
            let given = fields.get("action").unwrap_or(&Value::Null);
            let message =
                format!("{given} is no action; allowed are set_pressure, reset, drop_gop");
            return Err(wrong("action", message));
        }
    };
    match pressure {
        Some(_) => Err(wrong("pressure", format!("{} takes no pressure", action.0))),
        None => Ok(action),
    }
}

fn permille(pressure: Option<&Value>) -> Result<u16, ApiError> {
    let given = pressure.unwrap_or(&Value::Null);
    match given.as_f64() {
        // NaN is not JSON, and no comparison with it holds.
        Some(value) if (0.0..=1.0).contains(&value) => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 1000"
            )]
            let permille = (value * f64::from(BackpressureAction::PERMILLE_MAX)).round() as u16;
            Ok(permille)
        }
        _ => {
            let message = format!("{given} is no pressure; allowed are numbers from 0 to 1");
            Err(ApiError::invalid_parameter("pressure", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_is_read() {
        for (body, expected) in [
            (
                r#"{"action":"set_pressure","pressure":0.9}"#,
                BackpressureAction::SetPressure { permille: 900 },
            ),
            (
                r#"{"action":"set_pressure","pressure":1}"#,
                BackpressureAction::SetPressure { permille: 1_000 },
            ),
            (
                r#"{"action":"set_pressure","pressure":0}"#,
                BackpressureAction::SetPressure { permille: 0 },
            ),
            (r#"{"action":"reset"}"#, BackpressureAction::Reset),
            (r#"{"action":"drop_gop"}"#, BackpressureAction::DropGop),
        ] {
            let body: Map<String, Value> = serde_json::from_str(body).unwrap();
            assert_eq!(action(&body).unwrap().1, expected, "{body:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused_by_name() {
        for (body, key) in [
            (r#"{}"#, "action"),
            (r#"{"action":"squeeze"}"#, "action"),
            (r#"{"action":7}"#, "action"),
            (r#"{"action":"set_pressure"}"#, "pressure"),
            (r#"{"action":"set_pressure","pressure":-0.1}"#, "pressure"),
            (r#"{"action":"set_pressure","pressure":1.001}"#, "pressure"),
            (r#"{"action":"set_pressure","pressure":"NaN"}"#, "pressure"),
            (r#"{"action":"reset","pressure":0}"#, "pressure"),
            (r#"{"action":"reset","presure":0}"#, "presure"),
        ] {
            let body: Map<String, Value> = serde_json::from_str(body).unwrap();
            let error = action(&body).unwrap_err();
            assert_eq!(error.key(), Some(key), "{body:?}: {}", error.message());
        }
    }
}
