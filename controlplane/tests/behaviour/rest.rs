//! Each route: its success, its refusals, its fields.

use std::time::Duration;

use serde_json::{Value, json};
use shm::counters::{ConductorCounter, StreamCounter, WorkerCounter};
use shm::{EndReason, NoMediaReason, StreamState};

use crate::support::{Served, System};

/// What a field of a body is, in the words of the API's documentation.
fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "str" => value.is_string(),
        "time" => value.as_str().is_some_and(|text| {
            let format = &time::format_description::well_known::Rfc3339;
            time::OffsetDateTime::parse(text, format).is_ok()
        }),
        "int" => value.is_u64(),
        "float" => value.is_f64() || value.is_u64(),
        "bool" => value.is_boolean(),
        "list" => value.is_array(),
        "map" => value.is_object(),
        other => panic!("no kind {other}"),
    }
}

fn assert_fields(body: &Value, fields: &[(&str, &str)]) {
    for (field, kind) in fields {
        assert!(is(&body[*field], kind), "{field} is {} and not {kind} in {body}", body[*field]);
    }
}

const STREAM: [(&str, &str); 17] = [
    ("id", "str"),
    ("type", "str"),
    ("source_addr", "str"),
    ("status", "str"),
    ("created_at", "time"),
    ("last_heartbeat", "time"),
    ("connected_at", "time"),
    ("video_codec", "str"),
    ("resolution", "str"),
    ("bitrate", "int"),
    ("frame_rate", "float"),
    ("worker", "int"),
    ("peer_version", "str"),
    ("encryption", "map"),
    ("tracks", "list"),
    ("stats", "map"),
    ("counters", "map"),
];

const STATS: [(&str, &str); 6] = [
    ("bytes_received", "int"),
    ("packets_received", "int"),
    ("packets_lost", "int"),
    ("bitrate", "int"),
    ("frame_buffer_stats", "map"),
    ("connection_stats", "map"),
];

const FRAME_BUFFER: [(&str, &str); 9] = [
    ("capacity", "int"),
    ("used", "int"),
    ("available", "int"),
    ("frames_assembled", "int"),
    ("frames_dropped", "int"),
    ("queue_pressure", "float"),
    ("keyframes", "int"),
    ("p_frames", "int"),
    ("b_frames", "int"),
];

const CONNECTION: [(&str, &str); 34] = [
    ("packets_received", "int"),
    ("packets_unique", "int"),
    ("packets_lost", "int"),
    ("packets_missing", "int"),
    ("packets_retrans", "int"),
    ("packets_recovered", "int"),
    ("packets_reordered", "int"),
    ("packets_belated", "int"),
    ("belated_avg_ms", "float"),
    ("packets_duplicate", "int"),
    ("packets_undecryptable", "int"),
    ("packets_dropped", "map"),
    ("acks_sent", "int"),
    ("light_acks_sent", "int"),
    ("ackacks_received", "int"),
    ("naks_sent", "int"),
    ("drop_requests_received", "int"),
    ("rtt_ms", "float"),
    ("rtt_variance_ms", "float"),
    ("receive_rate_mbps", "float"),
    ("bandwidth_mbps", "float"),
    ("buffer_packets", "int"),
    ("buffer_ms", "float"),
    ("held_packets", "int"),
    ("delivery_delay_ms", "float"),
    ("drift_ms", "float"),
    ("flow_window_packets", "int"),
    ("reorder_tolerance_packets", "int"),
    ("reorder_distance_packets", "int"),
    ("socket_kernel_drops", "int"),
    ("socket_shared", "bool"),
    ("worker_kernel_drops", "int"),
    ("connection_time_ms", "int"),
    ("interval", "map"),
];

const SPREADS: [&str; 6] = [
    "rtt_ms",
    "margin_ms",
    "buffer_ms",
    "held_packets",
    "receive_rate_mbps",
    "flow_window_packets",
];

fn assert_stats(stats: &Value) {
    assert_fields(stats, &STATS);
    assert_fields(&stats["frame_buffer_stats"], &FRAME_BUFFER);
    let connection = &stats["connection_stats"];
    assert_fields(connection, &CONNECTION);
    for (span, quantity) in
        ["interval", "since_connected"].iter().flat_map(|span| SPREADS.map(|name| (*span, name)))
    {
        let range = [("min", "float"), ("avg", "float"), ("max", "float")];
        assert_fields(&connection[span][quantity], &range);
    }
}

#[test]
fn an_empty_table_is_an_empty_list() {
    let system = System::start();
    let body = system.served.get("/api/v1/streams");
    assert_eq!(body["streams"], Value::Array(vec![]));
    assert_eq!(body["count"], 0);
    assert_fields(&body, &[("time", "time"), ("stale", "bool"), ("age_ms", "int")]);
}

#[test]
fn a_stream_has_every_documented_field() {
    let system = System::start();
    system.publish(&["studio-a"]);
    let list = system.served.get("/api/v1/streams");
    assert_fields(&list["streams"][0], &STREAM);
    assert_stats(&list["streams"][0]["stats"]);
    let stream = system.served.get("/api/v1/streams/studio-a");
    assert_fields(&stream, &STREAM);
    assert_eq!(stream["type"], "srt");
    assert_eq!(stream["status"], "active");
    assert_eq!(stream["status_reason"], Value::Null);
    assert_eq!(stream["source_addr"], "192.0.2.7:41022");
    assert_eq!(stream["video_codec"], "h264");
    assert_eq!(stream["resolution"], "1920x1080");
    assert_eq!(stream["bitrate"], 5_000_000);
    assert_eq!(stream["frame_rate"], 29.97);
    assert_eq!(stream["peer_version"], "1.5.4");
    let encryption = &stream["encryption"];
    assert_eq!(encryption["state"], "secured");
    assert_eq!((&encryption["cipher"], &encryption["key_bits"]), (&"aes_ctr".into(), &192.into()));
    assert_fields(encryption, &[("refreshes", "int"), ("refreshes_refused", "int")]);
    assert_eq!(stream["stale"], false);
}

#[test]
fn tracks_tell_codec_format_and_place_in_the_transport() {
    let system = System::start();
    system.publish(&["a"]);
    let stream = system.served.get("/api/v1/streams/a");
    let (video, audio) = (&stream["tracks"][0], &stream["tracks"][1]);
    for (field, expected) in [
        ("index", Value::from(0)),
        ("kind", "video".into()),
        ("codec", "h264".into()),
        ("profile", "High".into()),
        ("level", "4.1".into()),
        ("width", 1920.into()),
        ("height", 1080.into()),
        ("coded_height", 1088.into()),
        ("bit_depth", 8.into()),
        ("chroma", "4:2:0".into()),
        ("frame_rate_measured", 29.97.into()),
        ("pid", 256.into()),
        ("program", 1.into()),
        ("stream_type", 0x1b.into()),
        ("sample_aspect_ratio", "1:1".into()),
    ] {
        assert_eq!(video[field], expected, "{field}");
    }
    let declared = video["frame_rate_declared"].as_f64().unwrap();
    assert!((declared - 30_000.0 / 1_001.0).abs() < 1e-9);
    for (field, expected) in [
        ("kind", Value::from("audio")),
        ("codec", "aac".into()),
        ("profile", "LC".into()),
        ("sample_rate", 48_000.into()),
        ("channels", 2.into()),
        ("language", "eng".into()),
        ("audio_specific_config", "1190".into()),
    ] {
        assert_eq!(audio[field], expected, "{field}");
    }
    assert!(audio.get("width").is_none() && video.get("channels").is_none());
}

#[test]
fn stats_of_one_stream_carry_every_counter_by_name() {
    let system = System::start();
    system.publish(&["a"]);
    let stats = system.served.get("/api/v1/streams/a/stats");
    assert_stats(&stats);
    assert_eq!(stats["stream_id"], "a");
    assert_eq!(stats["packets_lost"], 5);
    assert_eq!(stats["packets_unrecovered"], 1);
    let ring = &stats["frame_buffer_stats"];
    assert_eq!((&ring["used"], &ring["available"]), (&1_000_000.into(), &3_000_000.into()));
    assert_eq!(ring["queue_pressure"], 0.25);
    assert_eq!(ring["frames_dropped"], 3);
    let connection = &stats["connection_stats"];
    assert_eq!(connection["rtt_ms"], 20.5);
    assert_eq!(connection["delivery_delay_ms"], 120.0);
    assert_eq!(connection["drift_ms"], -0.25);
    assert_eq!(connection["bandwidth_mbps"], 12.0);
    let counters = stats["counters"].as_object().unwrap();
    assert_eq!(counters.len(), StreamCounter::COUNT);
    assert_eq!(counters["frames_dropped_before_key"], 3);
    assert_eq!(counters["drift_us"], -250);
}

#[test]
fn a_connection_tells_spreads_drops_by_reason_and_the_drops_of_its_own_socket() {
    let system = System::with("", 2);
    system.publish(&["a"]);
    {
        let mut world = system.dataplane.world();
        world.workers[0].set(WorkerCounter::KernelDrops, 17);
        world.workers[1].set(WorkerCounter::KernelDrops, 23);
        world.change("a", |info| info.worker = 1);
        world.count("a", StreamCounter::SocketKernelDrops, 5);
        world.count("a", StreamCounter::SocketShared, 1);
        world.workers[1].set_port_drops(1, 4);
        world.count("a", StreamCounter::PacketsSkippedBySender, 9);
        world.count("a", StreamCounter::PacketsBelated, 4);
        world.count("a", StreamCounter::BelatedUs, 10_000);
    }
    let body = system.served.eventually("/api/v1/streams/a/stats", |_, body| {
        body["connection_stats"]["worker_kernel_drops"] == 23
            && body["connection_stats"]["packets_dropped"]["by_sender"] == 9
    });
    let connection = &body["connection_stats"];
    assert_eq!(connection["socket_kernel_drops"], 5);
    assert_eq!(connection["socket_shared"], true);
    let by_listener = &system.served.get("/api/v1/stats")["workers"][1]["listener_kernel_drops"];
    assert_eq!(by_listener, &json!({"srt": 0, "remote": 4}));
    let metrics = system.served.text(system.served.address, "/metrics");
    let line = "penstock_listener_kernel_drops_total{worker=\"1\",listener=\"remote\"} 4";
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(connection["belated_avg_ms"], 2.5);
    assert_eq!(connection["packets_dropped"]["too_late"], 1);
    assert_eq!(connection["interval"]["rtt_ms"], json!({"min": 19.0, "avg": 20.0, "max": 22.5}));
    let ever = json!({"min": 18.0, "avg": 21.0, "max": 95.0});
    assert_eq!(connection["since_connected"]["rtt_ms"], ever);
}

#[test]
fn any_id_is_reached_percent_encoded() {
    let system = System::start();
    let id = "#!::r=live/studio a,m=publish?\"%";
    system.publish(&[id]);
    let path = "/api/v1/streams/%23!::r=live%2Fstudio%20a,m=publish%3F%22%25";
    assert_eq!(system.served.get(path)["id"], id);
    assert_eq!(system.served.get(&format!("{path}/stats"))["stream_id"], id);
    assert_eq!(system.served.request("DELETE", path).0, 200);
}

#[test]
fn a_stream_called_like_a_route_is_reached_percent_encoded() {
    let system = System::start();
    system.publish(&["stats/video"]);
    assert_eq!(system.served.get("/api/v1/streams/stats%2Fvideo")["id"], "stats/video");
    assert!(system.served.get("/api/v1/streams/stats/video")["streams"].is_object());
}

#[test]
fn unknown_streams_and_routes_are_404_with_different_codes() {
    let system = System::start();
    for path in ["/api/v1/streams/nobody", "/api/v1/streams/nobody/stats"] {
        let (status, body) = system.served.request("GET", path);
        assert_eq!((status, &body["code"]), (404, &"stream_not_found".into()));
        assert!(body["message"].as_str().unwrap().contains("nobody"));
    }
    let (status, body) = system.served.request("DELETE", "/api/v1/streams/nobody");
    assert_eq!((status, &body["code"]), (404, &"stream_not_found".into()));
    for path in ["/", "/api/v1", "/api/v1/streams/", "/api/v1/streams/a/b", "/debug/info"] {
        let (status, body) = system.served.request("GET", path);
        assert_eq!((status, &body["code"]), (404, &"route_not_found".into()), "{path}");
        assert_eq!(body["error"], "Not Found");
    }
}

#[test]
fn a_wrong_method_is_405() {
    let system = System::start();
    for (method, path) in
        [("POST", "/api/v1/streams"), ("DELETE", "/api/v1/stats"), ("POST", "/health")]
    {
        let (status, body) = system.served.request(method, path);
        assert_eq!((status, &body["code"]), (405, &"method_not_allowed".into()), "{path}");
    }
}

#[test]
fn a_wrong_parameter_is_400_and_named() {
    let system = System::start();
    system.publish(&["a"]);
    for (method, path, key) in [
        ("GET", "/api/v1/streams?status=asleep", "status"),
        ("GET", "/api/v1/streams?page=1", "page"),
        ("GET", "/api/v1/streams/a?x=1", "x"),
        ("DELETE", "/api/v1/streams/a?block_s=-1", "block_s"),
        ("DELETE", "/api/v1/streams/a?block=1", "block"),
        ("GET", "/api/v1/streams/%ff", "id"),
    ] {
        let (status, body) = system.served.request(method, path);
        assert_eq!((status, &body["code"]), (400, &"invalid_parameter".into()), "{path}");
        assert_eq!(body["key"], key, "{path}");
    }
    assert_eq!(system.served.get("/api/v1/streams/a")["status"], "active");
}

#[test]
fn options_that_do_not_fit_into_a_message_are_the_clients_fault() {
    let system = System::start();
    system.publish(&["cam"]);
    let options = format!(r#"{{"latency": "{}"}}"#, "x".repeat(9_000));
    let path = "/api/v1/streams/cam/options";
    let (status, body) = system.served.request_with("PATCH", path, &options);
    assert_eq!((status, &body["key"]), (400, &"body".into()), "{body}");
}

#[test]
fn deleting_a_stream_ends_it_and_keeps_its_id_out() {
    let system = System::start();
    system.publish(&["a"]);
    let (status, body) = system.served.request("DELETE", "/api/v1/streams/a?block_s=60");
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["message"], "Stream terminated successfully");
    assert_eq!(body["data"]["stream_id"], "a");
    assert_fields(&body, &[("timestamp", "time")]);
    let blocked = system.dataplane.world().blocked.clone();
    assert_eq!(blocked, [("a".to_owned(), Duration::from_secs(60))]);
    // The answer comes after a new reading: what was ended is not listed as live.
    assert_eq!(system.served.get("/api/v1/streams")["count"], 0);
    let stream = system.served.get("/api/v1/streams/a");
    assert_eq!(
        (&stream["status"], &stream["status_reason"]),
        (&"closed".into(), &"terminated".into())
    );
    assert_fields(&stream, &[("ended_at", "time")]);
    assert_eq!(stream["bitrate"], 0);
}

#[test]
fn deleting_an_ended_stream_is_409() {
    let system = System::start();
    system.publish(&["a"]);
    system.dataplane.world().end("a", EndReason::Shutdown);
    let (status, body) = system.served.request("DELETE", "/api/v1/streams/a");
    assert_eq!((status, &body["code"]), (409, &"stream_closed".into()));
    assert_eq!(body["error"], "Conflict");
}

#[test]
fn ended_streams_are_listed_on_request_only() {
    let system = System::start();
    system.publish(&["a", "b"]);
    system.dataplane.world().end("a", EndReason::Idle);
    system.served.eventually("/api/v1/streams", |_, body| body["count"] == 1);
    assert_eq!(system.served.get("/api/v1/streams?status=all")["count"], 2);
    let closed = system.served.get("/api/v1/streams?status=closed");
    assert_eq!(closed["streams"][0]["id"], "a");
    assert_eq!(closed["streams"][0]["status_reason"], "idle");
    assert_eq!(system.served.get("/api/v1/streams?status=active")["streams"][0]["id"], "b");
}

#[test]
fn a_connected_stream_without_media_says_why() {
    let system = System::start();
    system.publish(&["a"]);
    system.without_media("a", NoMediaReason::NotTransportStream);
    let stream = system
        .served
        .eventually("/api/v1/streams/a", |_, body| body["status"] == "connected, no media");
    assert_eq!(stream["status_reason"], "not_transport_stream");
}

#[test]
fn of_two_streams_with_one_id_the_live_one_is_shown() {
    let system = System::start();
    system.publish(&["a"]);
    {
        let mut world = system.dataplane.world();
        world.end("a", EndReason::Idle);
        world.publish("a");
    }
    system.served.eventually("/api/v1/streams/a", |_, body| body["status"] == "active");
    assert_eq!(system.served.get("/api/v1/streams?status=all")["count"], 1);
}

#[test]
fn system_stats_tell_what_runs_and_what_it_carries() {
    let system = System::start();
    system.publish(&["a", "b", "c"]);
    {
        let mut world = system.dataplane.world();
        world.conductor.set(ConductorCounter::EndedIdle, 2);
        world.change("c", |info| info.state = StreamState::Lost);
    }
    let fields = [
        ("started", "bool"),
        ("srt_enabled", "bool"),
        ("rtp_enabled", "bool"),
        ("srt_sessions", "int"),
        ("rtp_sessions", "int"),
        ("total_streams", "int"),
        ("active_handlers", "int"),
        ("active_streams", "int"),
        ("failed_streams", "int"),
        ("total_bitrate", "int"),
        ("cpu_usage", "float"),
        ("memory_usage", "int"),
        ("uptime", "int"),
        ("workers", "list"),
        ("stale", "bool"),
        ("age_ms", "int"),
    ];
    let stats = system.served.eventually("/api/v1/stats", |_, body| body["active_streams"] == 2);
    assert_fields(&stats, &fields);
    assert_eq!((&stats["started"], &stats["srt_enabled"]), (&true.into(), &true.into()));
    assert_eq!(stats["total_streams"], 3);
    assert_eq!(stats["srt_sessions"], 2);
    assert_eq!(stats["active_handlers"], 2);
    assert_eq!(stats["failed_streams"], 2);
    assert_eq!(stats["total_bitrate"], 10_000_000);
    assert_eq!(stats["workers"].as_array().unwrap().len(), 2);
    assert_eq!(stats["dataplane"]["pid"], std::process::id());
    assert_eq!(stats["dataplane"]["socket"], system.socket().to_str().unwrap());
    assert!(stats["memory_usage"].as_u64().unwrap() > 0);
}

#[test]
fn srt_is_shown_as_disabled_where_the_file_says_so() {
    let system = System::with("ingestion: {srt: {enabled: false}}", 1);
    assert_eq!(system.served.get("/api/v1/stats")["srt_enabled"], false);
}

#[test]
fn video_stats_are_finite_before_and_after_the_first_group_of_pictures() {
    let system = System::start();
    system.publish(&["a", "new"]);
    for counter in StreamCounter::ALL {
        system.dataplane.world().count("new", *counter, 0);
    }
    let body = system.served.eventually("/api/v1/streams/stats/video", |_, body| {
        body["streams"]["new"]["keyframes"] == 0
    });
    assert_eq!(body["count"], 2);
    let fields = [
        ("frames_assembled", "int"),
        ("frames_dropped", "int"),
        ("keyframes", "int"),
        ("p_frames", "int"),
        ("b_frames", "int"),
        ("gop_count", "int"),
        ("avg_gop_size", "float"),
    ];
    for id in ["a", "new"] {
        assert_fields(&body["streams"][id], &fields);
    }
    assert_eq!(body["streams"]["a"]["frames_assembled"], 200);
    assert_eq!(body["streams"]["a"]["avg_gop_size"], 40.0);
    assert_eq!(body["streams"]["new"]["avg_gop_size"], 0.0);
}

#[test]
fn health_has_a_check_for_the_dataplane_and_each_worker() {
    let system = System::start();
    let health = system.served.get("/health");
    assert_fields(
        &health,
        &[("timestamp", "time"), ("version", "str"), ("uptime", "str"), ("checks", "map")],
    );
    assert_eq!(health["status"], "ok");
    for name in ["dataplane", "worker_0", "worker_1"] {
        let check = &health["checks"][name];
        assert_fields(
            check,
            &[
                ("name", "str"),
                ("status", "str"),
                ("last_checked", "time"),
                ("duration_ms", "float"),
            ],
        );
        assert_eq!(check["status"], "ok");
    }
    assert_eq!(system.served.get("/ready")["status"], "ready");
    assert_eq!(system.served.get("/live")["status"], "alive");
}

#[test]
fn version_tells_where_the_dataplane_is() {
    let system = System::start();
    let version = system.served.get("/version");
    assert_fields(
        &version,
        &[("version", "str"), ("git_commit", "str"), ("os", "str"), ("arch", "str")],
    );
    assert_eq!(version["dataplane_socket"], system.socket().to_str().unwrap());
}

#[test]
fn debug_info_exists_only_where_the_file_says_so() {
    let system = System::with("server: {debug_endpoints: true}", 1);
    let info = system.served.get("/debug/info");
    assert_eq!(info["protocols"]["http2"], true);
    assert_eq!(info["debug_enabled"], true);
}

#[test]
fn without_a_dataplane_data_is_503_and_the_process_lives() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(&directory.path().join("nobody.sock"), "");
    for path in
        ["/api/v1/streams", "/api/v1/streams/a", "/api/v1/stats", "/api/v1/streams/stats/video"]
    {
        let (status, body) = served.request("GET", path);
        assert_eq!((status, &body["code"]), (503, &"dataplane_unavailable".into()), "{path}");
    }
    let (status, _) = served.request("DELETE", "/api/v1/streams/a");
    assert_eq!(status, 503);
    let (status, body) = served.request("GET", "/ready");
    assert_eq!((status, &body["status"]), (503, &"down".into()));
    assert_eq!(served.get("/live")["status"], "alive");
}

#[test]
fn backpressure_is_shown_and_an_operators_value_stays_until_it_is_reset() {
    let system = System::start();
    system.publish(&["live/a"]);
    {
        let mut world = system.dataplane.world();
        world.count("live/a", StreamCounter::PressureMeasuredPermille, 250);
        world.count("live/a", StreamCounter::FlowWindowPackets, 512);
    }
    let path = "/api/v1/streams/live%2Fa/backpressure";
    let idle = system.served.eventually(path, |_, body| body["measured_pressure"] == 0.25);
    assert_eq!((&idle["is_set"], &idle["should_drop_gop"]), (&json!(false), &json!(false)));
    assert!(idle.get("window_limit_packets").is_none());
    for (field, kind) in [
        ("current_pressure", "float"),
        ("current_rate_bps", "int"),
        ("statistics", "map"),
        ("timestamp", "time"),
    ] {
        assert!(is(&idle[field], kind), "{field} in {idle}");
    }
    for field in [
        "CurrentRate",
        "CurrentPressure",
        "SmoothedPressure",
        "AdjustmentCount",
        "GOPsDropped",
        "TargetPressure",
        "MinRate",
        "MaxRate",
        "GOPsPerSecond",
    ] {
        assert!(is(&idle["statistics"][field], "float"), "{field} in {idle}");
    }
    let control = |body: &str| system.served.post(&format!("{path}/control"), body);
    let (status, done) = control(r#"{"action":"set_pressure","pressure":0.95}"#);
    assert_eq!((status, &done["action"]), (200, &json!("set_pressure")), "{done}");
    assert_eq!((&done["success"], &done["stream_id"]), (&json!(true), &json!("live/a")));
    let set = system.served.get(path);
    assert_eq!((&set["current_pressure"], &set["is_set"]), (&json!(0.95), &json!(true)));
    assert_eq!(set["should_drop_gop"], json!(true));
    assert_eq!(control(r#"{"action":"drop_gop"}"#).0, 200);
    assert_eq!(control(r#"{"action":"reset"}"#).0, 200);
    let reset = system.served.get(path);
    assert_eq!((&reset["is_set"], &reset["statistics"]["GOPsDropped"]), (&json!(false), &json!(1)));
}

#[test]
fn wrong_backpressure_requests_are_refused_with_their_cause() {
    let system = System::start();
    system.publish(&["a"]);
    let control = |id: &str, body: &str| {
        let path = format!("/api/v1/streams/{id}/backpressure/control");
        let (status, body) = system.served.post(&path, body);
        (status, body["code"].clone(), body["key"].clone())
    };
    for pressure in ["-0.1", "1.1", "null", "\"x\""] {
        let body = format!("{{\"action\":\"set_pressure\",\"pressure\":{pressure}}}");
        let refused = (400, json!("invalid_parameter"), json!("pressure"));
        assert_eq!(control("a", &body), refused, "{body}");
    }
    let (status, _, key) = control("a", "{\"action\":\"set_pressure\",\"pressure\":NaN}");
    assert_eq!((status, key), (400, json!("body")));
    // A page of another origin may send this without asking.
    let path = "/api/v1/streams/a/backpressure/control";
    let (status, body) = system.served.post_as(path, "text/plain", "{\"action\":\"drop_gop\"}");
    assert_eq!((status, &body["key"]), (400, &json!("content-type")));
    assert_eq!(control("none", "{\"action\":\"reset\"}").0, 404);
    system.dataplane.world().end("a", EndReason::Shutdown);
    let (status, code, _) = control("a", "{\"action\":\"reset\"}");
    assert_eq!((status, code), (409, json!("stream_closed")));
}
