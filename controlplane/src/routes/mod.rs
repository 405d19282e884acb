//! The routes. Every answer that is not a success has the shape of [`ApiError`].

mod backpressure;
mod command;
mod events;
mod layers;
mod options;
mod request;
mod rtp_sessions;
mod service;
mod sources;
mod streams;
mod system;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

use crate::Config;
use crate::authorization::Authorizer;
use crate::error::{ApiError, Code};
use crate::events::Events;
use crate::metrics::Metrics;
use crate::source::{Snapshot, Source};

/// Commands to the dataplane at a time; the others wait.
const COMMANDS_MAX: usize = 4;

/// Clients that follow the events at a time.
const FOLLOWERS_MAX: usize = 64;

/// What every handler shares.
#[derive(Debug)]
struct State {
    config: Config,
    source: Arc<Source>,
    metrics: Metrics,
    events: Arc<Events>,
    /// Clients that follow the events.
    followers: Arc<Semaphore>,
    commands: Semaphore,
    started: Instant,
}

type Shared = axum::extract::State<Arc<State>>;

impl State {
    /// The last reading; 503 before there is one.
    fn snapshot(&self) -> Result<Arc<Snapshot>, ApiError> {
        self.source.snapshot().map_err(ApiError::dataplane_unavailable)
    }
}

/// The routers of both listeners.
#[derive(Debug)]
pub(crate) struct Routers {
    /// For `server.http_port`.
    pub(crate) api: Router,
    /// For `metrics.port`.
    pub(crate) metrics: Router,
}

/// Everything that is served about the dataplane behind `source`.
pub(crate) fn routers(
    config: &Config,
    source: Arc<Source>,
    events: Arc<Events>,
    authorizer: Option<Authorizer>,
) -> Routers {
    let state = Arc::new(State {
        config: config.clone(),
        metrics: Metrics::new(Arc::clone(&source), Arc::clone(&events), authorizer),
        source,
        events,
        followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
        commands: Semaphore::new(COMMANDS_MAX),
        started: Instant::now(),
    });
    let mut api = service_routes().nest("/api/v1", api_routes());
    if config.metrics_beside_api() {
        api = api.route(&config.metrics.path, get(service::metrics));
    }
    if config.server.debug_endpoints {
        api = api.route("/debug/info", get(service::debug_info));
    }
    let metrics = Router::new().route(&config.metrics.path, get(service::metrics));
    Routers { api: finish(api, &state), metrics: finish(metrics, &state) }
}

fn service_routes() -> Router<Arc<State>> {
    Router::new()
        .route("/health", get(service::health))
        .route("/ready", get(service::ready))
        .route("/live", get(service::live))
        .route("/version", get(service::version))
}

fn api_routes() -> Router<Arc<State>> {
    Router::new()
        .route("/streams", get(streams::list))
        .route("/streams/stats/video", get(streams::video))
        .route("/streams/{id}", get(streams::detail).delete(streams::terminate))
        .route("/streams/{id}/stats", get(streams::stats))
        .route("/sources", get(sources::list).post(sources::add))
        .route("/sources/{id}", get(sources::detail).delete(sources::remove))
        .route("/sources/{id}/restart", post(sources::restart))
        .route("/rtp/sessions", get(rtp_sessions::list).post(rtp_sessions::add))
        .route("/rtp/sessions/{id}", get(rtp_sessions::detail).delete(rtp_sessions::remove))
        .route("/events", get(events::list))
        .route("/events/stream", get(events::stream))
        .route("/streams/{id}/backpressure", get(backpressure::show))
        .route("/streams/{id}/options", get(options::show).patch(options::change))
        .route("/streams/{id}/backpressure/control", post(backpressure::control))
        .route("/stats", get(system::stats))
        .route("/openapi.json", get(system::openapi))
}

/// What surrounds every handler, from the inside out: limits, panics, headers, accounting.
fn finish(router: Router<Arc<State>>, state: &Arc<State>) -> Router {
    router
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(state), layers::limit))
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(from_fn(layers::headers))
        .layer(from_fn_with_state(Arc::clone(state), layers::account))
        .with_state(Arc::clone(state))
}

async fn unknown_route(uri: Uri) -> ApiError {
    let message = format!("nothing is served at {}", uri.path());
    ApiError::new(StatusCode::NOT_FOUND, Code::RouteNotFound, message)
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message =
        format!("{} does not take {method}; the Allow header says what it takes", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed, message)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use axum::body::Body;
    use axum::http::{Request, header};
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    type Routes = BTreeMap<String, BTreeSet<String>>;

    fn source() -> Arc<Source> {
        Arc::new(Source::start(std::path::Path::new("/nonexistent/d.sock")).unwrap())
    }

    /// Paths and methods of a router: it shows the ones, and says the others in its Allow header.
    async fn served(router: &Router) -> Routes {
        let shown = format!("{router:?}");
        let (shown, _fallbacks) = shown.split_once("fallback_router").unwrap();
        let (_, paths) = shown.split_once("paths: {").unwrap();
        let mut routes = Routes::new();
        for path in paths.split('"').skip(1).step_by(2) {
            let asked = path.replace("{id}", "x");
            let request = Request::builder().method(Method::TRACE).uri(asked);
            let request = request.body(Body::empty()).unwrap();
            let answer = router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
            let allowed = answer.headers()[header::ALLOW].to_str().unwrap();
            // axum answers HEAD wherever there is a GET.
            let methods = allowed.split(',').filter(|method| *method != "HEAD");
            routes.insert(path.to_owned(), methods.map(str::to_lowercase).collect());
        }
        routes
    }

    /// Every `$ref` below a value.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[tokio::test]
    async fn every_route_and_method_stands_in_the_document_and_nothing_else() {
        let config = Config::parse("server: {debug_endpoints: true}", []).unwrap();
        let routers = routers(&config, source(), Arc::default(), None);
        let document: Value = serde_json::from_str(include_str!("../openapi.json")).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let methods = |item: &Value| item.as_object().unwrap().keys().cloned().collect();
        let documented: Routes =
            paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect();
        assert_eq!(documented, served(&routers.api).await);
        for (path, methods) in served(&routers.metrics).await {
            assert_eq!(documented[&path], methods, "{path} at a port of its own");
        }
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_request_only() {
        let config = Config::parse("", []).unwrap();
        let source = source();
        let state = Arc::new(State {
            config,
            metrics: Metrics::new(Arc::clone(&source), Arc::default(), None),
            source,
            events: Arc::default(),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            commands: Semaphore::new(COMMANDS_MAX),
            started: Instant::now(),
        });
        let fault = || async { "x".parse::<u8>().expect("a fault of ours").to_string() };
        let router = finish(service_routes().route("/fault", get(fault)), &state);
        let ask = |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            router.clone().oneshot(request)
        };
        let answer = ask("/fault").await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(answer.into_body(), 1 << 16).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["code"], "internal");
        assert!(!body.to_string().contains("a fault of ours"), "causes stay in the log");
        assert_eq!(ask("/live").await.unwrap().status(), StatusCode::OK);
    }
}
