//! Health, readiness, version and metrics: what machines ask the process itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use shm::{Liveness, WorkerSnapshot};

use super::{Shared, State};
use crate::clock;
use crate::dto::heartbeat_age_ms;
use crate::error::{ApiError, Code};
use crate::metrics::CONTENT_TYPE;
use crate::source::Snapshot;

/// A worker silent for this long is stuck: its longest wait is far below.
const WORKER_SILENCE_MS_MAX: u64 = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Degraded,
    Down,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    last_checked: String,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Value::is_null")]
    details: Value,
}

#[derive(Debug, Serialize)]
struct Health {
    status: Status,
    timestamp: String,
    version: &'static str,
    uptime: String,
    checks: BTreeMap<String, Check>,
}

impl State {
    fn health(&self) -> Health {
        let mut checks = Vec::new();
        let begun = Instant::now();
        let snapshot = self.source.snapshot();
        checks.push(dataplane(snapshot.as_deref(), begun));
        if let Ok(snapshot) = &snapshot {
            checks.extend(snapshot.workers.iter().map(|worker| heartbeat(snapshot, worker)));
        }
        Health {
            status: checks.iter().map(|check| check.status).max().unwrap_or(Status::Down),
            timestamp: clock::rfc3339_now(),
            version: env!("CARGO_PKG_VERSION"),
            uptime: clock::in_words(self.started.elapsed()),
            checks: checks.into_iter().map(|check| (check.name.clone(), check)).collect(),
        }
    }
}

fn check(name: String, status: Status, message: Option<String>, details: Value) -> Check {
    let last_checked = clock::rfc3339_now();
    Check { name, status, message, last_checked, duration_ms: 0.0, details }
}

fn dataplane(snapshot: Result<&Snapshot, &String>, begun: Instant) -> Check {
    let (status, message, details) = match snapshot {
        Err(reason) => (Status::Down, Some(reason.clone()), Value::Null),
        Ok(snapshot) => {
            let message = match snapshot.liveness {
                Liveness::Alive if snapshot.is_stale() => Some("its figures are old".to_owned()),
                Liveness::Alive => None,
                Liveness::Silent { age } => {
                    Some(format!("the conductor has been silent for {} ms", age.as_millis()))
                }
                Liveness::Gone => Some("the process is gone".to_owned()),
            };
            let status = if message.is_none() { Status::Ok } else { Status::Down };
            let age_ms = u64::try_from(snapshot.age().as_millis()).unwrap_or(u64::MAX);
            let epoch = format!("{:016x}", snapshot.header.epoch);
            (status, message, json!({"pid": snapshot.header.pid, "epoch": epoch, "age_ms": age_ms}))
        }
    };
    let mut check = check("dataplane".to_owned(), status, message, details);
    check.duration_ms = begun.elapsed().as_secs_f64() * 1e3;
    check
}

/// A stuck worker stops its own streams only: the system is degraded, not down.
fn heartbeat(snapshot: &Snapshot, worker: &WorkerSnapshot) -> Check {
    let age_ms = heartbeat_age_ms(worker);
    let name = format!("worker_{}", worker.worker);
    let stuck = age_ms > WORKER_SILENCE_MS_MAX;
    let message = stuck.then(|| format!("no duty cycle for {age_ms} ms"));
    let status = match (stuck, snapshot.workers.len()) {
        (false, _) => Status::Ok,
        (true, 1) => Status::Down,
        (true, _) => Status::Degraded,
    };
    check(name, status, message, json!({"heartbeat_age_ms": age_ms, "cpu": worker.cpu}))
}

const NO_CACHE: (header::HeaderName, &str) =
    (header::CACHE_CONTROL, "no-cache, no-store, must-revalidate");

/// `GET /health`
pub(super) async fn health(axum::extract::State(state): Shared) -> Response {
    let health = state.health();
    let status = match health.status {
        Status::Down => StatusCode::SERVICE_UNAVAILABLE,
        Status::Ok | Status::Degraded => StatusCode::OK,
    };
    (status, [NO_CACHE], Json(health)).into_response()
}

/// `GET /ready`
pub(super) async fn ready(axum::extract::State(state): Shared) -> Response {
    let health = state.health();
    if health.status != Status::Down {
        let body = json!({"status": "ready", "timestamp": health.timestamp});
        return ([NO_CACHE], Json(body)).into_response();
    }
    // The error's shape with the fields of a readiness answer.
    let down = health.checks.values().filter(|check| check.status == Status::Down);
    let reasons: Vec<String> = down
        .map(|check| format!("{}: {}", check.name, check.message.as_deref().unwrap_or("down")))
        .collect();
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let body = json!({
        "status": "down",
        "timestamp": health.timestamp,
        "error": status.canonical_reason(),
        "message": reasons.join("; "),
        "time": health.timestamp,
        "code": Code::DataplaneUnavailable,
    });
    (status, [NO_CACHE], Json(body)).into_response()
}

/// `GET /live`
pub(super) async fn live() -> Response {
    let body = json!({"status": "alive", "timestamp": clock::rfc3339_now()});
    ([NO_CACHE], Json(body)).into_response()
}

/// `GET /version`
pub(super) async fn version(axum::extract::State(state): Shared) -> Response {
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "git_commit": option_env!("PENSTOCK_GIT_COMMIT").unwrap_or("unknown"),
        "build_time": option_env!("PENSTOCK_BUILD_TIME").unwrap_or("unknown"),
        "rust_version": env!("CARGO_PKG_RUST_VERSION"),
        "abi_version": shm::ABI_VERSION,
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "dataplane_socket": state.source.socket(),
    });
    ([(header::CACHE_CONTROL, "public, max-age=3600")], Json(body)).into_response()
}

/// `GET /debug/info`
pub(super) async fn debug_info(axum::extract::State(state): Shared) -> Response {
    let server = &state.config.server;
    let body = json!({
        "protocols": {"http3": false, "http2": server.enable_http2, "http11": server.enable_http},
        "ports": {"http3": null, "http": server.http_port},
        "debug_enabled": server.debug_endpoints,
    });
    Json(body).into_response()
}

/// `GET <metrics.path>`
pub(super) async fn metrics(axum::extract::State(state): Shared) -> Result<Response, ApiError> {
    let state = Arc::clone(&state);
    // Reading the dataplane's memory figure blocks.
    let text = tokio::task::spawn_blocking(move || state.metrics.text())
        .await
        .ok()
        .and_then(Result::ok)
        .ok_or_else(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
