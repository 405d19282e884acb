//! What the HTTP server counts about itself.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Labels of a request: the route's template, never the URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: &'static str,
    path: String,
    status: u16,
}

/// Requests by route.
#[derive(Debug)]
pub(crate) struct HttpMetrics {
    requests: Family<Route, Counter>,
    durations: Family<Route, Histogram>,
    in_flight: Gauge<i64, AtomicI64>,
}

impl HttpMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        // From 0.5 ms to 8 s.
        let histogram = || Histogram::new(exponential_buckets(0.000_5, 2.0, 15));
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
            in_flight: Gauge::default(),
        };
        registry.register("http_requests", "HTTP requests answered", metrics.requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time from a request's headers to its answer",
            metrics.durations.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "HTTP requests under way",
            metrics.in_flight.clone(),
        );
        metrics
    }

    /// A request begins.
    pub(crate) fn begin(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// A request was answered.
    pub(crate) fn answered(&self, method: &str, path: &str, status: u16, took: Duration) {
        let route = Route { method: known_method(method), path: path.to_owned(), status };
        self.durations.get_or_create(&route).observe(took.as_secs_f64());
        self.requests.get_or_create(&route).inc();
    }
}

/// A client chooses the method: only known ones become a label.
fn known_method(method: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("other")
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct InFlight(Gauge<i64, AtomicI64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
