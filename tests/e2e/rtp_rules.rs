//! The rules of RTP sessions, end to end: who may send, how much, from where, and who decides.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use penstock_tests::hook::{Answer, Service};
use penstock_tests::process::{Process, eventually};
use penstock_tests::system::{Options, PATIENCE, Penstock, free_rtp_port, free_udp_port};
use serde_json::Value;

use crate::admission::wait_events;

/// Bytes of a packet: seven transport-stream packets behind the header.
const PACKET_BYTES: u64 = 12 + 7 * 188;

/// A Penstock that takes RTP.
struct Rtp {
    system: Penstock,
    port: u16,
}

impl Rtp {
    /// With these keys of `ingestion.rtp`, and these lines beside it.
    fn start(keys: &str, beside: &str) -> Result<Self> {
        Self::with(keys, &Options { ingestion: beside.into(), ..Options::default() })
    }

    fn with(keys: &str, options: &Options) -> Result<Self> {
        let (port, rtcp_port) = (free_udp_port()?, free_udp_port()?);
        let ingestion = format!(
            "  frame: {{max_frame_size: 1048576}}\n{}  rtp: {{port: {port}, \
             rtcp_port: {rtcp_port}, session_timeout: 120s{keys}}}\n",
            options.ingestion
        );
        let system = Penstock::start(&Options { ingestion, ..options.clone() })?;
        Ok(Self { system, port })
    }

    /// A sender of this machine at one of its addresses, to the shared port.
    fn sender(&self, from: [u8; 4], ssrc: u32) -> Result<Sender> {
        Sender::new(from.into(), self.port, ssrc)
    }

    /// Waits until a stream has counted that much.
    fn counted(&self, id: &str, name: &str, at_least: u64) -> Result<Value> {
        self.system.wait_stream(id, name, |stream| counter(stream, name) >= at_least)
    }
}

fn counter(stream: &Value, name: &str) -> u64 {
    stream["counters"][name].as_u64().unwrap_or(0)
}

/// Sends a transport stream in RTP that has nothing in it.
struct Sender {
    socket: UdpSocket,
    ssrc: u32,
    sequence: u16,
}

impl Sender {
    fn new(from: IpAddr, port: u16, ssrc: u32) -> Result<Self> {
        let socket = UdpSocket::bind((from, 0))?;
        let to: IpAddr = match from {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        socket.connect((to, port))?;
        Ok(Self { socket, ssrc, sequence: 0 })
    }

    fn send(&mut self, packets: u16) -> Result<()> {
        let mut ts = [0xff; 188];
        ts[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
        for _ in 0..packets {
            let mut packet = vec![0x80, 33];
            packet.extend(self.sequence.to_be_bytes());
            packet.extend((u32::from(self.sequence) * 900).to_be_bytes());
            packet.extend(self.ssrc.to_be_bytes());
            packet.extend(ts.repeat(7));
            self.socket.send(&packet)?;
            self.sequence = self.sequence.wrapping_add(1);
        }
        Ok(())
    }

    fn address(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }
}

#[test]
fn what_is_above_a_sessions_rate_is_dropped_and_the_session_beside_it_is_whole() -> Result<()> {
    const SENT: u16 = 200;
    let (slow, free) = (free_rtp_port()?, free_rtp_port()?);
    let rtp = Rtp::start(
        &format!(
            ", sessions: [{{id: slow, port: {slow}, rate_limit: 64000}}, {{id: free, port: {free}}}]"
        ),
        "",
    )?;
    let mut slow = Sender::new(Ipv4Addr::LOCALHOST.into(), slow, 1)?;
    let mut free = Sender::new(Ipv4Addr::LOCALHOST.into(), free, 2)?;
    for _ in 0..SENT {
        slow.send(1)?;
        free.send(1)?;
    }
    let whole = rtp.counted("free", "packets_delivered", SENT.into())?;
    assert_eq!(counter(&whole, "packets_dropped_rate"), 0, "off by default: {whole}");
    let limited = rtp.counted("slow", "packets_received", SENT.into())?;
    let passed = counter(&limited, "packets_received") - counter(&limited, "packets_dropped_rate");
    // A second's worth of bits passes at once; more only if all of this took seconds.
    ensure!((64_000 / (8 * PACKET_BYTES)..100).contains(&passed), "{passed}: {limited}");
    rtp.system.stop()
}

#[test]
fn a_sender_beyond_max_sessions_is_refused_with_the_reason() -> Result<()> {
    let rtp = Rtp::start(", max_sessions: 2, streams: [{ssrc: 1, id: a}, {ssrc: 2, id: b}]", "")?;
    let mut let_in = [rtp.sender([127, 0, 0, 1], 1)?, rtp.sender([127, 0, 0, 1], 2)?];
    for (sender, id) in let_in.iter_mut().zip(["a", "b"]) {
        sender.send(10)?;
        rtp.counted(id, "packets_delivered", 10)?;
    }
    let mut third = rtp.sender([127, 0, 0, 1], 3)?;
    third.send(2)?;
    let refused = wait_events(&rtp.system, "refused", 1)?;
    assert_eq!((&refused[0]["reason"], &refused[0]["listener"]), (&"limit".into(), &"rtp".into()));
    assert_eq!(refused[0]["source"], third.address()?.to_string());
    let message = refused[0]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("max_sessions"), "{}", refused[0]);
    eventually("the metric", PATIENCE, || {
        let metrics = rtp.system.get("/metrics")?;
        let metrics = metrics.as_str().context("text")?;
        Ok(metrics.contains("penstock_conductor_rejected_limit_total 1\n").then_some(()))
    })?;
    // Both go on.
    for (sender, id) in let_in.iter_mut().zip(["a", "b"]) {
        sender.send(10)?;
        rtp.counted(id, "packets_delivered", 20)?;
    }
    assert_eq!(rtp.system.get("/api/v1/streams")?["count"], 2);
    rtp.system.stop()
}

#[test]
fn another_address_takes_a_session_over_only_when_its_sender_has_fallen_silent() -> Result<()> {
    let port = free_rtp_port()?;
    let rtp =
        Rtp::start(&format!(", relatch_after: 3s, sessions: [{{id: own, port: {port}}}]"), "")?;
    let mut first = Sender::new([127, 0, 0, 1].into(), port, 7)?;
    let mut other = Sender::new([127, 0, 0, 2].into(), port, 7)?;
    first.send(10)?;
    let shown = rtp.counted("own", "packets_delivered", 10)?;
    assert_eq!(shown["source_addr"], first.address()?.to_string());
    for sent in 1..=50 {
        first.send(1)?;
        other.send(1)?;
        rtp.counted("own", "packets_dropped_source", sent)?;
    }
    let kept = rtp.counted("own", "packets_delivered", 60)?;
    assert_eq!((counter(&kept, "relatches"), counter(&kept, "packets_delivered")), (0, 60));
    let taken = eventually("the other takes over", PATIENCE, || {
        other.send(1)?;
        let stream = rtp.system.get("/api/v1/streams/own")?;
        Ok((counter(&stream, "relatches") == 1).then_some(stream))
    })?;
    ensure!(counter(&taken, "packets_dropped_source") > 50, "{taken}");
    other.send(10)?;
    let source = other.address()?.to_string();
    let moved = rtp
        .system
        .wait_stream("own", "its new source", |it| it["source_addr"] == source.as_str())?;
    assert_eq!(counter(&moved, "ssrc_changes"), 0, "{moved}");
    rtp.system.stop()
}

#[test]
fn senders_and_sessions_of_ipv6_are_taken() -> Result<()> {
    let port = free_rtp_port()?;
    let rtp = Rtp::start(
        &format!(
            ", listen_addr: '::1', streams: [{{source: '::1/128', ssrc: 6, id: shared}}], \
             sessions: [{{id: own, port: {port}}}]"
        ),
        "",
    )?;
    for (port, ssrc, id) in [(rtp.port, 6, "shared"), (port, 7, "own")] {
        let mut sender = Sender::new(Ipv6Addr::LOCALHOST.into(), port, ssrc)?;
        sender.send(20)?;
        let stream = rtp.counted(id, "packets_delivered", 20)?;
        assert_eq!(stream["source_addr"], sender.address()?.to_string());
    }
    rtp.system.stop()
}

#[test]
fn only_hosts_of_the_lists_may_send() -> Result<()> {
    let port = free_rtp_port()?;
    let rtp = Rtp::start(
        &format!(
            ", allow: [127.0.0.0/8], deny: [127.0.0.3/32], streams: [{{ssrc: 2, id: let-in}}], \
             sessions: [{{id: own, port: {port}, allow: [127.0.0.4/32]}}]"
        ),
        "",
    )?;
    rtp.sender([127, 0, 0, 2], 2)?.send(10)?;
    rtp.counted("let-in", "packets_delivered", 10)?;
    let mut denied = rtp.sender([127, 0, 0, 3], 3)?;
    denied.send(10)?;
    let refused = wait_events(&rtp.system, "refused", 1)?;
    assert_eq!(refused[0]["reason"], "source");
    assert_eq!(refused[0]["source"], denied.address()?.to_string());
    Sender::new([127, 0, 0, 2].into(), port, 5)?.send(10)?;
    rtp.counted("own", "wrong_source", 10)?;
    Sender::new([127, 0, 0, 4].into(), port, 6)?.send(10)?;
    let own = rtp.counted("own", "packets_delivered", 10)?;
    assert_eq!((counter(&own, "wrong_source"), counter(&own, "packets_received")), (10, 10));
    rtp.system.stop()
}

fn by_id(question: &Value) -> Answer {
    let options = match question["id"].as_str() {
        Some("granted") => r#"{"latency_ms": 40, "max_bandwidth": 1000000}"#,
        Some("secret") => r#"{"passphrase": "granted-by-the-service"}"#,
        Some("late") => r#"{"latency_ms": 5000}"#,
        Some("plain") => "{}",
        _ => return Answer::Say(200, r#"{"allow": false, "message": "not today"}"#.into()),
    };
    Answer::Say(200, format!(r#"{{"allow": true, "options": {options}}}"#))
}

#[test]
fn the_service_decides_about_senders_of_rtp_and_what_it_grants_holds_or_is_named() -> Result<()> {
    let service = Service::start(by_id)?;
    let rtp = Rtp::start(
        ", latency: 100ms, max_bandwidth: 8000000, streams: [{ssrc: 1, id: plain}, \
         {ssrc: 2, id: granted}, {ssrc: 3, id: denied}, {ssrc: 4, id: secret}, \
         {ssrc: 5, id: late}]",
        &format!("  authorization: {{url: '{}', timeout: 20s}}\n", service.url()),
    )?;
    for (ssrc, id, latency_ms, bandwidth_bps) in
        [(1, "plain", 100.0, 8_000_000), (2, "granted", 40.0, 1_000_000)]
    {
        let mut sender = rtp.sender([127, 0, 0, 1], ssrc)?;
        sender.send(20)?;
        // Those that came while the service thought about it, too.
        let stream = rtp.counted(id, "packets_delivered", 20)?;
        let shown = &stream["stats"]["connection_stats"]["delivery_delay_ms"];
        assert_eq!(shown.as_f64(), Some(latency_ms), "{stream}");
        assert_eq!(counter(&stream, "max_bandwidth_bps"), bandwidth_bps, "{stream}");
        let asked = service.asked();
        let question = &asked.last().context("it is asked")?.body;
        assert_eq!((&question["id"], &question["listener"]), (&id.into(), &"rtp".into()));
        assert_eq!(question["source"], sender.address()?.to_string());
    }
    let refusals = [
        (3, "denied", "not today"),
        (4, "undecided", "passphrase"),
        (5, "undecided", "ingestion.rtp.latency"),
    ];
    for (place, (ssrc, reason, why)) in refusals.into_iter().enumerate() {
        rtp.sender([127, 0, 0, 1], ssrc)?.send(2)?;
        let events = wait_events(&rtp.system, "refused", place + 1)?;
        assert_eq!(events[place]["reason"], reason, "{events:?}");
        let message = events[place]["message"].as_str().unwrap_or_default();
        ensure!(message.contains(why), "{events:?}");
    }
    assert_eq!(service.asked().len(), 5);
    assert_eq!(rtp.system.get("/api/v1/streams")?["count"], 2);
    rtp.system.stop()
}

#[test]
fn the_service_is_asked_about_the_id_that_a_sender_gets() -> Result<()> {
    let allow = |_: &Value| Answer::Say(204, String::new());
    let service = Service::start(allow)?;
    let beside = format!("  authorization: {{url: '{}', timeout: 20s}}\n", service.url());
    let rtp = Rtp::start("", &beside)?;
    let mut first = rtp.sender([127, 0, 0, 1], 1)?;
    let mut second = rtp.sender([127, 0, 0, 1], 1)?;
    first.send(2)?;
    let streams = |count: usize| {
        eventually("streams", PATIENCE, || {
            let list = rtp.system.get("/api/v1/streams")?;
            let streams = list["streams"].as_array().context("a list")?;
            Ok((streams.len() == count).then(|| streams.clone()))
        })
    };
    streams(1)?;
    // It seems to be the one before, until that one is heard again.
    second.send(2)?;
    eventually("it is asked about twice", PATIENCE, || {
        first.send(1)?;
        Ok((service.asked().len() >= 3).then_some(()))
    })?;
    let ids: Vec<Value> = streams(2)?.iter().map(|stream| stream["id"].clone()).collect();
    let asked: Vec<Value> = service.asked().iter().map(|it| it.body["id"].clone()).collect();
    assert_eq!(asked.len(), 3);
    assert_eq!((&asked[0], asked[2] == asked[0]), (&asked[1], false), "{asked:?}");
    ensure!(ids.contains(&asked[0]) && ids.contains(&asked[2]), "{ids:?} {asked:?}");
    rtp.system.stop()
}

#[test]
fn a_host_has_no_more_streams_of_rtp_than_it_may() -> Result<()> {
    let rtp = Rtp::start(
        ", streams: [{ssrc: 1, id: first}, {ssrc: 3, id: elsewhere}]",
        "  max_streams_per_source: 1\n",
    )?;
    rtp.sender([127, 0, 0, 1], 1)?.send(10)?;
    rtp.counted("first", "packets_delivered", 10)?;
    rtp.sender([127, 0, 0, 1], 2)?.send(2)?;
    let refused = wait_events(&rtp.system, "refused", 1)?;
    assert_eq!(refused[0]["reason"], "limit");
    let message = refused[0]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("source"), "{}", refused[0]);
    rtp.sender([127, 0, 0, 2], 3)?.send(10)?;
    rtp.counted("elsewhere", "packets_delivered", 10)?;
    rtp.system.stop()
}

/// FFmpeg sends a second of a transport stream to a group, from an address of this machine.
fn to_group(rtp: &Rtp, group: &str, from: &str) -> Result<Process> {
    let mut command = Command::new("ffmpeg");
    command.stderr(rtp.system.log()?).stdout(rtp.system.log()?);
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-re", "-f", "lavfi"]);
    command.args(["-i", "testsrc2=size=320x180:rate=25", "-frames:v", "25", "-c:v", "libx264"]);
    command.args(["-preset", "ultrafast", "-f", "mpegts"]);
    command.arg(format!("udp://{group}?pkt_size=1316&localaddr={from}&ttl=0"));
    Process::start("ffmpeg", &mut command)
}

#[test]
fn of_a_group_only_the_source_that_is_named_is_heard() -> Result<()> {
    let port = free_udp_port()?;
    let rtp = Rtp::start(
        &format!(
            ", sessions: [{{id: one, transport: ts, port: {port}, group: 232.42.0.7, \
             source: 127.0.0.1, interface: lo}}]"
        ),
        "",
    )?;
    let group = format!("232.42.0.7:{port}");
    rtp.system.wait_stream("one", "it waits", |stream| stream["status"] == "connecting")?;
    to_group(&rtp, &group, "127.0.0.2")?.succeed(PATIENCE)?;
    to_group(&rtp, &group, "127.0.0.1")?.succeed(PATIENCE)?;
    let stream = rtp.counted("one", "frames_published", 20)?;
    let source = stream["source_addr"].as_str().unwrap_or_default();
    ensure!(source.starts_with("127.0.0.1:"), "{stream}");
    // The kernel keeps the other away: none of it was there to be dropped.
    assert_eq!(counter(&stream, "packets_dropped_source"), 0, "{stream}");
    ensure!(counter(&stream, "frames_published") <= 25, "{stream}");
    rtp.system.stop()
}

#[test]
fn rtp_works_where_srt_is_switched_off() -> Result<()> {
    let srt = "    enabled: false\n".to_owned();
    let options = Options { srt, ingestion: String::new(), ..Options::default() };
    let rtp = Rtp::with(", max_bandwidth: 10000000, streams: [{ssrc: 1, id: alone}]", &options)?;
    rtp.sender([127, 0, 0, 1], 1)?.send(20)?;
    let stream = rtp.counted("alone", "packets_delivered", 20)?;
    assert_eq!(stream["type"], "rtp");
    // The port of SRT is anybody's.
    UdpSocket::bind((Ipv4Addr::LOCALHOST, rtp.system.srt_port))?;
    rtp.system.stop()
}

#[test]
fn a_pause_shorter_than_the_timeout_keeps_the_session() -> Result<()> {
    const PAUSE: Duration = Duration::from_secs(3);
    let rtp = Rtp::start(", streams: [{ssrc: 1, id: paused}]", "")?;
    let mut sender = rtp.sender([127, 0, 0, 1], 1)?;
    sender.send(20)?;
    let before = rtp.counted("paused", "packets_delivered", 20)?;
    let silent_since = Instant::now();
    eventually("silence", PATIENCE, || Ok((silent_since.elapsed() > PAUSE).then_some(())))?;
    sender.send(20)?;
    let after = rtp.counted("paused", "packets_delivered", 40)?;
    for (name, expected) in
        [("connections", 1), ("packets_dropped_jump", 0), ("source_restarts", 0), ("relatches", 0)]
    {
        assert_eq!(counter(&after, name), expected, "{name}: {after}");
    }
    assert_eq!((&before["created_at"], &before["id"]), (&after["created_at"], &after["id"]));
    rtp.system.stop()
}
