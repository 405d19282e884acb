//! Prometheus metrics: the HTTP server's own, and everything shared memory holds, written from the
//! last reading at each scrape. A stream's series end with the stream, and every label takes its
//! values from a closed set: stream ids that are live, workers, reasons, routes.

mod events;
mod families;
mod http;
mod source;
mod stream;
mod system;

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;

use self::events::Attended;
use self::families::Families;
pub(crate) use self::http::HttpMetrics;
use crate::authorization::Authorizer;
use crate::events::Events;
use crate::source::Source;

/// What a scrape is answered with.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the process.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// The HTTP server's own.
    pub(crate) http: HttpMetrics,
}

impl Metrics {
    /// Over the dataplane that `source` follows.
    pub(crate) fn new(
        source: Arc<Source>,
        events: Arc<Events>,
        authorizer: Option<Authorizer>,
    ) -> Self {
        let mut registry = Registry::default();
        let http = HttpMetrics::new(&mut registry);
        registry.register_collector(Box::new(SharedMemory(source)));
        registry.register_collector(Box::new(Attended { events, authorizer }));
        Self { registry, http }
    }

    /// The text of a scrape.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[derive(Debug)]
struct SharedMemory(Arc<Source>);

impl Collector for SharedMemory {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut families = Families::new(encoder);
        let Ok(snapshot) = self.0.snapshot() else {
            return system::absent(&mut families);
        };
        let memory = self.0.memory_bytes(&snapshot);
        system::encode(&mut families, &snapshot, memory)?;
        source::encode(&mut families, &snapshot)?;
        stream::encode(&mut families, &snapshot)
    }
}

#[cfg(test)]
mod tests {
    use shm::counters::{ConductorCounter, StreamCounter, WorkerCounter};

    use super::families::is_gauge;

    /// The counter table says "Gauge:" where a value may go down; the metrics must agree.
    #[test]
    fn the_gauges_are_those_of_the_counter_table() {
        let table = include_str!("../../../dataplane/shm/src/counters.rs");
        let mut gauge = false;
        let mut found = 0;
        for line in table.lines().map(str::trim) {
            if line.starts_with("///") {
                gauge |= line.starts_with("/// Gauge:");
            } else if let Some((_, label)) = line.split_once("=> \"") {
                let label = label.trim_end_matches("\",");
                assert_eq!(is_gauge(label), gauge, "{label}");
                gauge = false;
                found += 1;
            }
        }
        let all = StreamCounter::COUNT + WorkerCounter::COUNT + ConductorCounter::COUNT;
        assert_eq!(found, all, "the table's form has changed");
    }
}
