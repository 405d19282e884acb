//! Sessions of RTP that are added and removed while everything runs, as REST and the command line do
//! it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use penstock_tests::process::{Process, eventually};
use penstock_tests::system::{Options, PATIENCE, Penstock, free_rtp_port, free_udp_port};
use serde_json::{Value, json};

const SESSIONS: &str = "/api/v1/rtp/sessions";
const PICTURES: u64 = 75;

/// A Penstock that takes RTP, with further keys of `ingestion.rtp`.
fn start(further: &str) -> Result<Penstock> {
    let (port, rtcp_port) = (free_udp_port()?, free_udp_port()?);
    let defaults = Options::default();
    let ingestion = format!(
        "{}  rtp: {{port: {port}, rtcp_port: {rtcp_port}, max_sessions: 2, session_timeout: 3s{further}}}\n",
        defaults.ingestion
    );
    Penstock::start(&Options { ingestion, ..defaults })
}

/// Two pairs of ports that are free, for picture and sound.
fn ports() -> Result<[u16; 2]> {
    let first = free_rtp_port()?;
    eventually("two pairs of ports", PATIENCE, || {
        let second = free_rtp_port()?;
        Ok((first.abs_diff(second) > 1).then_some([first, second]))
    })
}

/// Picture and sound of FFmpeg to two ports; its description stands in `sdp` from the beginning on.
fn ffmpeg(system: &Penstock, [video, sound]: [u16; 2], pictures: u64) -> Result<Process> {
    let mut command = Command::new("ffmpeg");
    command.stderr(system.log()?).stdout(system.log()?);
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]);
    command.args(["-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]);
    command.args(["-re", "-f", "lavfi", "-i", "sine=sample_rate=48000"]);
    let time = format!("{}ms", pictures * 40);
    command.args(["-t", &time, "-map", "0:v", "-c:v", "libx264", "-preset", "ultrafast"]);
    command.args(["-g", "25", "-flags", "+global_header", "-f", "rtp"]);
    command.arg(format!("rtp://127.0.0.1:{video}?pkt_size=1200"));
    command.args(["-t", &time, "-map", "1:a", "-c:a", "aac", "-flags", "+global_header"]);
    command.args(["-f", "rtp"]).arg(format!("rtp://127.0.0.1:{sound}?pkt_size=1200"));
    command.arg("-sdp_file").arg(system.path("sdp"));
    Process::start("ffmpeg", &mut command)
}

/// What FFmpeg says of what it would send to these ports.
fn description(system: &Penstock, ports: [u16; 2]) -> Result<String> {
    ffmpeg(system, ports, 1)?.succeed(PATIENCE)?;
    Ok(std::fs::read_to_string(system.path("sdp"))?)
}

fn counter(stream: &Value, name: &str) -> u64 {
    stream["counters"][name].as_u64().unwrap_or(0)
}

/// The session as REST tells it, once `condition` holds.
fn wait_session(
    system: &Penstock,
    id: &str,
    what: &str,
    condition: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let mut last = Value::Null;
    let found = eventually(what, PATIENCE, || {
        let (status, body) = system.request("GET", &format!("{SESSIONS}/{id}"))?;
        last = body.clone();
        Ok((status == 200 && condition(&body)).then_some(body))
    });
    found.with_context(|| format!("the last answer was {last}"))
}

/// FFmpeg sends all of its pictures, and all of them become frames of the stream.
fn send_all(system: &Penstock, ports: [u16; 2]) -> Result<()> {
    let mut sender = ffmpeg(system, ports, PICTURES)?;
    let active =
        |stream: &Value| stream["status"] == "active" && counter(stream, "frames_audio") > 0;
    let stream = system.wait_stream("av", "active", active)?;
    ensure!(stream["video_codec"] == "h264" && stream["type"] == "rtp", "{stream}");
    let session = wait_session(system, "av", "its sender", |it| it["state"] == "receiving")?;
    ensure!(session["source_addr"] == stream["source_addr"], "{session}, {stream}");
    ensure!(session["packets_received"].as_u64() > Some(0), "{session}");
    sender.succeed(PATIENCE)?;
    let lost = system.wait_stream("av", "lost", |stream| stream["status"] == "lost")?;
    let pictures = counter(&lost, "frames_published") - counter(&lost, "frames_audio");
    ensure!(pictures == PICTURES, "{lost}");
    ensure!(counter(&lost, "frames_damaged") == 0, "{lost}");
    Ok(())
}

#[test]
fn a_description_of_ffmpeg_becomes_a_stream_is_removed_and_becomes_one_again() -> Result<()> {
    let (system, ports) = (start("")?, ports()?);
    let sdp = description(&system, ports)?;
    ensure!(sdp.contains("sprop-parameter-sets="), "{sdp}");
    std::fs::write(system.path("av.sdp"), &sdp)?;
    for by_rest in [true, false] {
        if by_rest {
            let path = format!("{SESSIONS}?id=av");
            let (status, body) = system.post_as(&path, "application/sdp", &sdp)?;
            ensure!(status == 201 && body["data"]["session_id"] == "av", "{body}");
        } else {
            let mut add = system.cli(&["rtp", "add", "av", "--sdp"])?;
            let added = add.arg(system.path("av.sdp")).output()?;
            ensure!(added.status.success(), "{added:?}");
        }
        let session = wait_session(&system, "av", "open", |it| it["state"] == "listening")?;
        ensure!(session["origin"] == "api", "{session}");
        let encodings = [0, 1].map(|track: usize| session["tracks"][track]["encoding"].clone());
        ensure!(encodings == ["H264", "mpeg4-generic"], "{session}");
        let addresses = session["sockets"].as_array().into_iter().flatten();
        let addresses: Vec<_> = addresses.map(|socket| socket["address"].clone()).collect();
        let [video, sound] = ports;
        let expected = [video, video + 1, sound, sound + 1];
        ensure!(addresses == expected.map(|port| format!("127.0.0.1:{port}")), "{session}");
        send_all(&system, ports)?;
        if by_rest {
            let (status, body) = system.request("DELETE", &format!("{SESSIONS}/av"))?;
            ensure!(status == 200, "{body}");
        } else {
            let removed = system.cli(&["rtp", "remove", "av"])?.output()?;
            ensure!(removed.status.success(), "{removed:?}");
        }
        for port in expected {
            UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).context("its port is free")?;
        }
        ensure!(system.request("GET", "/api/v1/streams/av")?.0 == 404, "the stream has ended");
        let (status, body) = system.request("GET", &format!("{SESSIONS}/av"))?;
        ensure!((status, &body["code"]) == (404, &"session_not_found".into()), "{body}");
    }
    system.stop()
}

#[test]
fn a_session_that_is_added_has_its_place_where_senders_took_all_others() -> Result<()> {
    let (shared, rtcp_port) = (free_udp_port()?, free_udp_port()?);
    let defaults = Options::default();
    let ingestion = format!(
        "{}  max_connections: 1\n  rtp: {{port: {shared}, rtcp_port: {rtcp_port}, max_sessions: 1}}\n",
        defaults.ingestion
    );
    let (system, ports) = (Penstock::start(&Options { ingestion, ..defaults })?, ports()?);
    let sdp = description(&system, ports)?;
    // Picture and sound are two senders, and there is a place for one.
    let _senders = ffmpeg(&system, [shared, shared], 1_000)?;
    eventually("one of two is refused", PATIENCE, || {
        let events = system.get("/api/v1/events?kind=refused")?;
        Ok(events["events"].to_string().contains("\"limit\"").then_some(()))
    })?;
    ensure!(system.get("/api/v1/streams")?["count"] == 1);
    let (status, body) = system.post_as(&format!("{SESSIONS}?id=av"), "application/sdp", &sdp)?;
    ensure!(status == 201, "{body}");
    let _sender = ffmpeg(&system, ports, 1_000)?;
    let first = system.wait_stream("av", "active", |stream| stream["status"] == "active")?;
    ensure!(system.get("/api/v1/streams")?["count"] == 2);
    // Its stream is ended, the session stays: what comes then is another stream.
    ensure!(system.request("DELETE", "/api/v1/streams/av")?.0 == 200);
    system.wait_stream("av", "active again", |stream| {
        stream["status"] == "active" && stream["created_at"] != first["created_at"]
    })?;
    system.stop()
}

#[test]
fn what_cannot_be_added_is_refused_with_the_reason() -> Result<()> {
    let configured = free_rtp_port()?;
    let further = format!(
        ", max_added_sessions: 1, sessions: [{{id: own, port: {configured}, rtcp_port: {configured}}}]"
    );
    let (system, held) = (start(&further)?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
    let (held, free) = (held.local_addr()?.port(), free_udp_port()?);
    let _held = UdpSocket::bind((Ipv4Addr::LOCALHOST, held));
    let session = |id: &str, port: u16| json!({"id": id, "port": port, "rtcp_port": port});
    let sdp = |media: &str| json!({"id": "x", "sdp": format!("v=0\n{media}")});
    let video = |port: u16, profile: &str, further: &str| {
        sdp(&format!("m=video {port} {profile} 96\na=rtpmap:96 H264/90000\na=rtcp-mux\n{further}"))
    };
    let three: Vec<_> = (0..3).map(|n| json!({"port": 2 * n + 1, "payload_type": 33})).collect();
    for (status, code, key, said, session) in [
        (409, "already_exists", None, "`own`", session("own", free)),
        (409, "address_in_use", None, "`own`", session("x", configured)),
        (400, "invalid_parameter", Some("port"), "missing", json!({"id": "x"})),
        (400, "invalid_parameter", Some("id"), "missing", json!({"port": 1})),
        (400, "invalid_parameter", Some("prot"), "unknown field", json!({"prot": 1})),
        (
            400,
            "invalid_parameter",
            Some("fec"),
            "no memory",
            json!({"id": "x", "port": 1, "fec": true}),
        ),
        (
            400,
            "invalid_parameter",
            Some("tracks"),
            "max_added_tracks",
            json!({"id": "x", "tracks": three}),
        ),
        (
            400,
            "invalid_parameter",
            Some("listen_addr"),
            "192.0.2.1",
            json!({
                "id": "x", "port": free, "listen_addr": "192.0.2.1", "open": true
            }),
        ),
        (400, "invalid_parameter", Some("sdp"), "m=video 5: RTP/SAVP", video(5, "RTP/SAVP", "")),
        (
            400,
            "invalid_parameter",
            Some("sdp"),
            "a=fmtp:96: H264: packetization-mode=3",
            video(5, "RTP/AVP", "a=fmtp:96 packetization-mode=3\n"),
        ),
        (
            400,
            "invalid_parameter",
            Some("sdp"),
            "a=rtpmap:96: \"VP8\" is not supported",
            sdp("m=video 5 RTP/AVP 96\na=rtpmap:96 VP8/90000\n"),
        ),
        (400, "invalid_parameter", Some("sdp"), "line 2", sdp("m=video\n")),
    ] {
        let (had, body) = system.post(SESSIONS, &session)?;
        ensure!(had == status && body["code"] == code, "{session}: {had} {body}");
        ensure!(body["key"].as_str() == key, "{session}: {body}");
        ensure!(body["message"].as_str().unwrap_or_default().contains(said), "{session}: {body}");
    }
    let (_, body) = system.post(SESSIONS, &json!({"prot": 1}))?;
    let message = body["message"].as_str().unwrap_or_default();
    let (_, allowed) = message.split_once("expected one of").context("it says what is allowed")?;
    let allowed: BTreeSet<&str> = allowed.split('`').skip(1).step_by(2).collect();
    let document = system.get("/api/v1/openapi.json")?;
    let schema = &document["components"]["schemas"]["RtpSessionRequest"]["properties"];
    let documented: BTreeSet<&str> =
        schema.as_object().into_iter().flat_map(|keys| keys.keys().map(String::as_str)).collect();
    assert_eq!(allowed, documented);
    ensure!(system.post(SESSIONS, &session("first", free))?.0 == 201);
    let (status, body) = system.post(SESSIONS, &session("second", free_udp_port()?))?;
    ensure!((status, &body["code"]) == (409, &"limit_reached".into()), "{body}");
    let (status, body) = system.request("DELETE", &format!("{SESSIONS}/second"))?;
    ensure!((status, &body["code"]) == (404, &"session_not_found".into()), "{body}");
    let taken = system.cli(&["rtp", "add", "third", "--port", &free.to_string()])?.output()?;
    ensure!(taken.status.code() == Some(4), "{taken:?}");
    ensure!(String::from_utf8_lossy(&taken.stderr).contains("belongs to"), "{taken:?}");
    let source = json!({"id": "first", "address": "127.0.0.1:9"});
    ensure!(system.post("/api/v1/sources", &source)?.0 == 409, "its id is taken");
    system.stop()
}
