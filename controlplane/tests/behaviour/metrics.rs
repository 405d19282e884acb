//! What Prometheus reads.

use shm::EndReason;
use shm::counters::WorkerCounter;

use crate::support::System;

fn scrape(system: &System) -> String {
    system.served.text(system.served.address, "/metrics")
}

fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[test]
fn ingestion_series_carry_live_values() {
    let system = System::start();
    system.publish(&["a"]);
    system.dataplane.world().workers[0].set(WorkerCounter::DatagramsReceived, 42);
    system.served.get("/api/v1/streams/a");
    system.served.eventually("/api/v1/stats", |_, body| {
        body["workers"][0]["counters"]["datagrams_received"] == 42
    });
    let text = scrape(&system);
    for (series, expected) in [
        ("stream_ingestion_active_total{protocol=\"srt\"}", 1.0),
        ("stream_ingestion_bytes_total{stream_id=\"a\",protocol=\"srt\"}", 1_500_000.0),
        ("stream_ingestion_packets_total{stream_id=\"a\",protocol=\"srt\"}", 1_000.0),
        ("stream_ingestion_packets_lost_total{stream_id=\"a\",protocol=\"srt\"}", 5.0),
        ("stream_ingestion_bitrate{stream_id=\"a\",protocol=\"srt\"}", 5e6),
        ("connection_reconnects_total{stream_id=\"a\",protocol=\"srt\"}", 0.0),
        ("srt_latency_milliseconds{stream_id=\"a\"}", 120.0),
        ("srt_packets_retransmitted_total{stream_id=\"a\"}", 4.0),
        ("srt_packets_lost_total{stream_id=\"a\"}", 5.0),
        ("srt_packets_dropped_total{stream_id=\"a\",reason=\"packets_skipped_too_late\"}", 1.0),
        ("penstock_stream_rtt_us_spread{stream_id=\"a\",span=\"second\",value=\"max\"}", 22_500.0),
        (
            "penstock_stream_rtt_us_spread{stream_id=\"a\",span=\"connection\",value=\"min\"}",
            18_000.0,
        ),
        ("buffer_usage_bytes{stream_id=\"a\"}", 1e6),
        ("penstock_stream_frames_dropped_before_key_total{stream_id=\"a\"}", 3.0),
        ("penstock_stream_drift_us{stream_id=\"a\"}", -250.0),
        ("penstock_worker_datagrams_received_total{worker=\"0\"}", 42.0),
        ("packetsReceived", 42.0),
        ("framesAssembled", 300.0),
        ("activeStreams", 1.0),
        ("penstock_up", 1.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series} in\n{text}");
    }
    let errors = "stream_ingestion_errors_total{stream_id=\"a\",protocol=\"srt\",\
                  error_type=\"packets_skipped_too_late\"}";
    assert_eq!(value(&text, errors), Some(1.0));
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn publication_latency_is_a_histogram_with_fixed_bounds() {
    let system = System::start();
    {
        let mut world = system.dataplane.world();
        for nanoseconds in [5_000, 30_000, 30_000, 3_000_000] {
            world.workers[0].latency().record(nanoseconds);
        }
    }
    system.served.eventually("/api/v1/stats", |_, body| {
        body["workers"][0]["publication_latency_us"]["count"] == 4
    });
    let text = scrape(&system);
    let bucket = |le: &str| {
        let name = "penstock_publication_latency_seconds_bucket";
        value(&text, &format!("{name}{{worker=\"0\",le=\"{le}\"}}"))
            .or_else(|| value(&text, &format!("{name}{{le=\"{le}\",worker=\"0\"}}")))
    };
    assert_eq!(bucket("0.00001"), Some(1.0), "{text}");
    assert_eq!(bucket("0.00005"), Some(3.0), "{text}");
    assert_eq!(bucket("+Inf"), Some(4.0), "{text}");
    assert_eq!(value(&text, "frameLatency_count"), Some(4.0));
}

#[test]
fn the_series_of_a_stream_vanish_with_it() {
    let system = System::start();
    system.publish(&["gone", "stays"]);
    assert!(scrape(&system).contains("stream_id=\"gone\""));
    system.dataplane.world().end("gone", EndReason::Shutdown);
    system.served.eventually("/api/v1/streams", |_, body| body["count"] == 1);
    let text = scrape(&system);
    assert!(!text.contains("stream_id=\"gone\""));
    assert!(text.contains("stream_id=\"stays\""));
    assert_eq!(value(&text, "connection_duration_seconds_count"), Some(1.0));
    assert_eq!(value(&text, "framesAssembled"), Some(600.0), "totals stay");
}

#[test]
fn requests_are_counted_by_route_and_never_by_url() {
    let system = System::start();
    for id in ["x1", "x2"] {
        system.served.request("GET", &format!("/api/v1/streams/{id}"));
        system.served.request("GET", &format!("/{id}"));
    }
    let text = scrape(&system);
    let by_route =
        "http_requests_total{method=\"GET\",path=\"/api/v1/streams/{id}\",status=\"404\"}";
    assert_eq!(value(&text, by_route), Some(2.0), "{text}");
    let unmatched = "http_requests_total{method=\"GET\",path=\"unmatched\",status=\"404\"}";
    assert_eq!(value(&text, unmatched), Some(2.0));
    assert!(!text.contains("x1"));
    assert_eq!(value(&text, "http_requests_in_flight"), Some(1.0), "the scrape itself");
}

#[test]
fn stream_ids_are_escaped() {
    let system = System::start();
    system.publish(&["a\"b\\c"]);
    assert!(scrape(&system).contains(r#"stream_id="a\"b\\c""#));
}

#[test]
fn metrics_have_their_own_port_where_one_is_set() {
    let system = System::with("metrics: {port: 9090, path: /prom}", 1);
    let own = system.served.metrics.unwrap();
    assert_eq!(value(&system.served.text(own, "/prom"), "penstock_up"), Some(1.0));
    assert_eq!(system.served.request("GET", "/prom").0, 404);
    assert!(system.served.text(own, "/api/v1/streams").contains("route_not_found"));
}

#[test]
fn metrics_can_be_switched_off() {
    let system = System::with("metrics: {enabled: false}", 1);
    assert_eq!(system.served.request("GET", "/metrics").0, 404);
}
