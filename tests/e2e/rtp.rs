//! RTP at the shared port: senders that nobody announced become streams, whole from their first
//! picture on. RTP and bare transport streams at sockets of their own: sessions that are given.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use penstock_tests::process::Process;
use penstock_tests::system::{Options, Penstock, free_rtp_port, free_udp_port};
use serde_json::Value;

/// A Penstock that takes RTP too.
struct Rtp {
    system: Penstock,
    port: u16,
    rtcp_port: u16,
}

impl Rtp {
    /// With further keys of `ingestion.rtp`.
    fn start(further: &str) -> Result<Self> {
        Self::lasting("3s", further)
    }

    /// With sessions that outlast such a silence.
    fn lasting(session_timeout: &str, further: &str) -> Result<Self> {
        let (port, rtcp_port) = (free_udp_port()?, free_udp_port()?);
        let defaults = Options::default();
        let ingestion = format!(
            "{}  rtp: {{port: {port}, rtcp_port: {rtcp_port}, max_sessions: 4, session_timeout: {session_timeout}{further}}}\n",
            defaults.ingestion
        );
        let system = Penstock::start(&Options { ingestion, ..defaults })?;
        Ok(Self { system, port, rtcp_port })
    }

    fn url(&self) -> String {
        format!("rtp://127.0.0.1:{}?rtcpport={}&pkt_size=1200", self.port, self.rtcp_port)
    }

    /// Pictures of a test card, coded as `coding` says, at most so many.
    fn ffmpeg(&self, pictures: u32, coding: &[&str], format: &str) -> Result<Process> {
        let mut command = Command::new("ffmpeg");
        command.stderr(self.system.log()?).stdout(self.system.log()?);
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-re"]);
        command.args(["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]);
        command.args(["-frames:v", &pictures.to_string()]).args(coding);
        command.args(["-f", format]).arg(self.url());
        Process::start("ffmpeg", &mut command)
    }

    /// The same, sent to somewhere else, with sound where `sound` says how.
    fn ffmpeg_to(&self, outputs: &[(&[&str], &str, &str)]) -> Result<Process> {
        let mut command = Command::new("ffmpeg");
        command.stderr(self.system.log()?).stdout(self.system.log()?);
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin"]);
        command.args(["-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]);
        command.args(["-re", "-f", "lavfi", "-i", "sine=sample_rate=48000"]);
        for (coding, format, url) in outputs {
            command.args(["-t", "3"]).args(*coding).args(["-f", format]).arg(url);
        }
        Process::start("ffmpeg", &mut command)
    }

    /// The only stream, once `condition` holds.
    fn only_stream(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Result<Value> {
        let system = &self.system;
        penstock_tests::process::eventually(what, penstock_tests::system::PATIENCE, || {
            let list = system.get("/api/v1/streams")?;
            let streams = list["streams"].as_array().cloned().unwrap_or_default();
            ensure!(streams.len() <= 1, "more than one stream: {list}");
            Ok(streams.into_iter().find(|stream| condition(stream)))
        })
    }
}

const H264: [&str; 6] = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25"];

fn counter(stream: &Value, name: &str) -> u64 {
    stream["counters"][name].as_u64().unwrap_or(0)
}

/// Every packet is accounted for.
fn assert_balanced(stream: &Value) {
    let of = |name| counter(stream, name);
    let received = of("packets_received") + of("packets_recovered_fec");
    let known = [
        "packets_delivered",
        "packets_held",
        "packets_discarded_at_end",
        "packets_duplicate",
        "packets_redundant",
        "packets_belated",
        "packets_dropped_invalid",
        "packets_dropped_rate",
        "packets_dropped_source",
        "packets_dropped_unmapped",
        "packets_dropped_probation",
        "packets_dropped_jump",
        "packets_dropped_undetected",
    ];
    assert_eq!(received, known.into_iter().map(of).sum::<u64>(), "{stream}");
}

/// A stream of all pictures that were sent, none missing.
fn assert_whole(stream: &Value, pictures: u64) {
    assert_eq!(counter(stream, "frames_published"), pictures, "{stream}");
    assert_eq!(counter(stream, "frames_dropped_before_key"), 0);
    assert_eq!(counter(stream, "packets_skipped_too_late"), 0);
    assert_balanced(stream);
}

#[test]
fn h264_of_ffmpeg_is_a_stream_from_its_first_picture_on() -> Result<()> {
    let rtp = Rtp::start("")?;
    let mut sender = rtp.ffmpeg(75, &H264, "rtp")?;
    let stream = rtp.only_stream("active", |stream| stream["status"] == "active")?;
    assert_eq!(stream["type"], "rtp");
    assert_eq!(stream["video_codec"], "h264");
    let id = stream["id"].as_str().unwrap_or_default();
    ensure!(id.starts_with("rtp_") && id.ends_with("_001"), "{id}");
    sender.succeed(penstock_tests::system::PATIENCE)?;
    // FFmpeg says no goodbye.
    let ended = rtp.only_stream("lost", |stream| stream["status"] == "lost")?;
    assert_eq!(ended["status_reason"], "idle");
    assert_eq!(ended["resolution"], "320x180");
    assert_whole(&ended, 75);
    assert_eq!(counter(&ended, "frames_damaged"), 0);
    ensure!(counter(&ended, "rtcp_sent") > 0, "{ended}");
    rtp.system.stop()
}

#[test]
fn a_transport_stream_of_ffmpeg_is_a_stream_from_its_first_picture_on() -> Result<()> {
    let rtp = Rtp::start(", streams: [{payload_type: 33, id: studio/ts}]")?;
    let mut sender = rtp.ffmpeg(75, &H264, "rtp_mpegts")?;
    let stream = rtp.only_stream("active", |stream| stream["status"] == "active")?;
    assert_eq!((&stream["id"], &stream["type"]), (&"studio/ts".into(), &"rtp".into()));
    assert_eq!(stream["video_codec"], "h264");
    sender.succeed(penstock_tests::system::PATIENCE)?;
    let ended = rtp.only_stream("lost", |stream| stream["status"] == "lost")?;
    assert_whole(&ended, 75);
    // A PES packet of unknown length ends with the next one: the last may have been cut off.
    assert_eq!(counter(&ended, "frames_damaged"), 1);
    let stats = rtp.system.get("/api/v1/stats")?;
    assert_eq!((&stats["rtp_enabled"], &stats["rtp_sessions"]), (&true.into(), &0.into()));
    rtp.system.stop()
}

#[test]
fn a_sender_from_elsewhere_is_dropped_and_told_of() -> Result<()> {
    let rtp = Rtp::start(", allow: [10.0.0.0/8]")?;
    let mut sender = rtp.ffmpeg(25, &H264, "rtp")?;
    let events = "/api/v1/events?kind=refused";
    let refused =
        penstock_tests::process::eventually("a refusal", penstock_tests::system::PATIENCE, || {
            let list = rtp.system.get(events)?;
            let list = list["events"].as_array().cloned().unwrap_or_default();
            Ok(list.into_iter().next())
        })?;
    assert_eq!((&refused["reason"], &refused["listener"]), (&"source".into(), &"rtp".into()));
    sender.succeed(penstock_tests::system::PATIENCE)?;
    assert_eq!(rtp.system.get("/api/v1/streams")?["count"], 0);
    let stats = rtp.system.get("/api/v1/stats")?;
    let dropped = &stats["workers"][0]["counters"]["rtp_packets_dropped_refused"];
    ensure!(dropped.as_u64() > Some(10), "{stats}");
    rtp.system.stop()
}

/// Two pictures a second are intra: a stream is joined soon.
const VIDEO: [&str; 8] = ["-map", "0:v", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25"];

#[test]
fn a_session_that_is_given_waits_for_its_sender_and_for_the_next_one() -> Result<()> {
    let port = free_rtp_port()?;
    let rtp = Rtp::start(&format!(", sessions: [{{id: studio/own, port: {port}}}]"))?;
    let waiting = rtp.only_stream("listed", |_| true)?;
    assert_eq!((&waiting["id"], &waiting["type"]), (&"studio/own".into(), &"rtp".into()));
    assert_eq!((&waiting["status"], &waiting["source_addr"]), (&"connecting".into(), &Value::Null));
    let url = format!("rtp://127.0.0.1:{port}?pkt_size=1200");
    for connections in 1..=2 {
        let mut sender = rtp.ffmpeg_to(&[(&VIDEO, "rtp", &url)])?;
        let active = rtp.only_stream("active", |stream| {
            stream["status"] == "active" && counter(stream, "connections") == connections
        })?;
        assert_eq!(active["video_codec"], "h264");
        ensure!(active["source_addr"].is_string(), "{active}");
        sender.succeed(penstock_tests::system::PATIENCE)?;
        let lost = rtp.only_stream("lost", |stream| stream["status"] == "lost")?;
        assert_eq!(lost["status_reason"], "idle");
        assert_whole(&lost, 75 * connections);
        assert_eq!(counter(&lost, "frames_damaged"), 0);
    }
    rtp.system.stop()
}

#[test]
fn a_transport_stream_without_rtp_is_a_stream_unicast_and_multicast() -> Result<()> {
    let (port, other) = (free_udp_port()?, free_udp_port()?);
    let rtp = Rtp::start(&format!(
        ", sessions: [{{id: a, transport: ts, port: {port}}}, \
         {{id: b, transport: ts, port: {other}, group: 239.255.42.7, interface: lo}}]"
    ))?;
    let to = [
        format!("udp://127.0.0.1:{port}?pkt_size=1316"),
        format!("udp://239.255.42.7:{other}?pkt_size=1316&localaddr=127.0.0.1&ttl=0"),
    ];
    for (id, url) in ["a", "b"].into_iter().zip(&to) {
        let mut sender = rtp.ffmpeg_to(&[(&VIDEO, "mpegts", url)])?;
        let active = rtp.system.wait_stream(id, "active", |it| it["status"] == "active")?;
        assert_eq!((&active["type"], &active["video_codec"]), (&"rtp".into(), &"h264".into()));
        sender.succeed(penstock_tests::system::PATIENCE)?;
        let lost = rtp.system.wait_stream(id, "lost", |it| it["status"] == "lost")?;
        assert_whole(&lost, 75);
        // A PES packet of unknown length ends with the next one: the last may have been cut off.
        assert_eq!(counter(&lost, "frames_damaged"), 1);
    }
    rtp.system.stop()
}

#[test]
fn picture_and_sound_of_a_description_are_one_stream() -> Result<()> {
    let (video, sound) = (free_udp_port()?, free_udp_port()?);
    let sdp = format!(
        "v=0\\no=- 0 0 IN IP4 127.0.0.1\\ns=-\\nc=IN IP4 127.0.0.1\\nt=0 0\\n\
         m=video {video} RTP/AVP 96\\na=rtpmap:96 H264/90000\\n\
         a=fmtp:96 packetization-mode=1\\na=rtcp-mux\\n\
         m=audio {sound} RTP/AVP 97\\na=rtpmap:97 opus/48000/2\\na=rtcp-mux\\n"
    );
    let rtp = Rtp::start(&format!(", sessions: [{{id: av, sdp: \"{sdp}\"}}]"))?;
    let url = |port| format!("rtp://127.0.0.1:{port}?rtcpport={port}&pkt_size=1200");
    let opus = ["-map", "1:a", "-c:a", "libopus", "-ac", "2"];
    let (video, sound) = (url(video), url(sound));
    let outputs: [(&[&str], &str, &str); 2] = [(&VIDEO, "rtp", &video), (&opus, "rtp", &sound)];
    let mut sender = rtp.ffmpeg_to(&outputs)?;
    rtp.only_stream("active", |stream| {
        stream["status"] == "active" && counter(stream, "frames_audio") > 0
    })?;
    sender.succeed(penstock_tests::system::PATIENCE)?;
    let lost = rtp.only_stream("lost", |stream| stream["status"] == "lost")?;
    let codecs: Vec<_> = lost["tracks"].as_array().into_iter().flatten().collect();
    assert_eq!((&codecs[0]["codec"], &codecs[1]["codec"]), (&"h264".into(), &"opus".into()));
    let pictures = counter(&lost, "frames_published") - counter(&lost, "frames_audio");
    assert_eq!(pictures, 75, "{lost}");
    ensure!(counter(&lost, "frames_audio") >= 145, "{lost}");
    ensure!(counter(&lost, "sender_reports") > 0, "{lost}");
    assert_balanced(&lost);
    rtp.system.stop()
}

/// Sends what comes at a port on to two others, each without every tenth packet, never the same.
fn two_lossy_paths(from: UdpSocket, to: [u16; 2], stop: Arc<AtomicBool>) -> Result<()> {
    let paths =
        [UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?];
    from.set_read_timeout(Some(Duration::from_millis(20)))?;
    let mut packet = [0; 2_048];
    let mut number = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        let Ok(len) = from.recv(&mut packet) else { continue };
        number += 1;
        for (path, lost) in [(0, 3), (1, 8)] {
            if number % 10 != lost {
                paths[path].send_to(&packet[..len], (Ipv4Addr::LOCALHOST, to[path]))?;
            }
        }
    }
    Ok(())
}

#[test]
fn two_legs_with_losses_of_their_own_make_one_whole_stream() -> Result<()> {
    let (first, second) = (free_rtp_port()?, free_rtp_port()?);
    let relay = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let rtp = Rtp::start(&format!(
        ", sessions: [{{id: twice, port: {first}, second_leg: {{port: {second}}}}}]"
    ))?;
    let url = format!("rtp://127.0.0.1:{}?pkt_size=1200", relay.local_addr()?.port());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let paths = std::thread::spawn(move || two_lossy_paths(relay, [first, second], stopped));
    let mut sender = rtp.ffmpeg_to(&[(&VIDEO, "rtp", &url)])?;
    sender.succeed(penstock_tests::system::PATIENCE)?;
    let lost = rtp.only_stream("lost", |stream| stream["status"] == "lost")?;
    stop.store(true, Ordering::Relaxed);
    paths.join().map_err(|_| anyhow::anyhow!("the relay panicked"))??;
    assert_whole(&lost, 75);
    assert_eq!(counter(&lost, "frames_damaged"), 0);
    let legs = &lost["stats"]["connection_stats"]["legs"];
    for leg in 0..2 {
        ensure!(legs[leg]["packets_lost"].as_u64() > Some(5), "{legs}");
    }
    ensure!(counter(&lost, "packets_redundant") > 50, "{lost}");
    rtp.system.stop()
}

/// Sockets at a port, two and four above: media, and the columns and rows of error correction.
fn three_ports() -> Result<[UdpSocket; 3]> {
    penstock_tests::process::eventually("three ports", penstock_tests::system::PATIENCE, || {
        let first = free_udp_port()?;
        let bind = |above| UdpSocket::bind((Ipv4Addr::LOCALHOST, first.checked_add(above)?)).ok();
        Ok(bind(0).zip(bind(2)).zip(bind(4)).map(|((media, columns), rows)| [media, columns, rows]))
    })
}

/// Sends what comes at three ports on to those above `to`, without every 30th packet of media.
fn lossy_with_correction(from: [UdpSocket; 3], to: u16, stop: Arc<AtomicBool>) -> Result<u32> {
    let out = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    for socket in &from {
        socket.set_nonblocking(true)?;
    }
    let (mut packet, mut number, mut lost) = ([0; 2_048], 0_u32, 0);
    while !stop.load(Ordering::Relaxed) {
        for (socket, above) in from.iter().zip([0, 2, 4]) {
            let Ok(len) = socket.recv(&mut packet) else { continue };
            number += u32::from(above == 0);
            if above == 0 && number % 30 == 7 {
                lost += 1;
            } else {
                out.send_to(&packet[..len], (Ipv4Addr::LOCALHOST, to + above))?;
            }
        }
        std::thread::yield_now();
    }
    Ok(lost)
}

#[test]
fn error_correction_of_ffmpeg_brings_single_losses_back() -> Result<()> {
    let [media, columns, rows] = three_ports()?;
    let port = media.local_addr()?.port();
    drop((media, columns, rows));
    let relay = three_ports()?;
    let url = format!("rtp://127.0.0.1:{}?pkt_size=1328", relay[0].local_addr()?.port());
    let rtp = Rtp::start(&format!(
        ", latency: 200ms, sessions: [{{id: fec, port: {port}, rtcp_port: {port}, \
         payload_type: 33, fec: true}}]"
    ))?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let path = std::thread::spawn(move || lossy_with_correction(relay, port, stopped));
    let coding = [&VIDEO[..], &["-b:v", "1M", "-fec", "prompeg=l=5:d=5"]].concat();
    let mut sender = rtp.ffmpeg_to(&[(&coding, "rtp_mpegts", &url)])?;
    sender.succeed(penstock_tests::system::PATIENCE)?;
    let ended = rtp.only_stream("lost", |stream| stream["status"] == "lost")?;
    stop.store(true, Ordering::Relaxed);
    let lost = path.join().map_err(|_| anyhow::anyhow!("the relay panicked"))??;
    ensure!(lost > 3, "{lost}");
    ensure!(counter(&ended, "fec_received") > 20, "{ended}");
    // The last block's corrections may not have been sent.
    let recovered = counter(&ended, "packets_recovered_fec");
    ensure!((u64::from(lost) - 1..=u64::from(lost)).contains(&recovered), "{lost}: {ended}");
    assert_balanced(&ended);
    rtp.system.stop()
}

#[test]
fn a_sender_that_returns_from_its_address_keeps_its_id_beside_another() -> Result<()> {
    let rtp = Rtp::start("")?;
    let (local, other) = (free_rtp_port()?, free_rtp_port()?);
    let url = |local: u16| {
        let Rtp { port, rtcp_port, .. } = rtp;
        format!("rtp://127.0.0.1:{port}?rtcpport={rtcp_port}&localrtpport={local}&pkt_size=1200")
    };
    let (own, others) = (url(local), url(other));
    let by_source = |port: u16, what: &str, condition: &dyn Fn(&Value) -> bool| {
        let source = format!("127.0.0.1:{port}");
        penstock_tests::process::eventually(what, penstock_tests::system::PATIENCE, || {
            let list = rtp.system.get("/api/v1/streams")?;
            let streams = list["streams"].as_array().cloned().unwrap_or_default();
            let mut streams = streams.into_iter();
            Ok(streams.find(|it| it["source_addr"] == source.as_str() && condition(it)))
        })
    };
    let mut first = rtp.ffmpeg_to(&[(&VIDEO, "rtp", &own)])?;
    let before = by_source(local, "a stream", &|stream| stream["status"] == "active")?;
    first.kill();
    let _other = rtp.ffmpeg_to(&[(&VIDEO, "rtp", &others)])?;
    // Another SSRC from the same address: the silent stream goes on.
    let _again = rtp.ffmpeg_to(&[(&VIDEO, "rtp", &own)])?;
    let after = by_source(local, "the stream again", &|stream| {
        stream["status"] == "active" && counter(stream, "connections") == 2
    })?;
    assert_eq!((&before["id"], &before["created_at"]), (&after["id"], &after["created_at"]));
    let beside = by_source(other, "the other", &|stream| stream["status"] == "active")?;
    assert_ne!(beside["id"], after["id"]);
    assert_eq!(counter(&beside, "connections"), 1);
    rtp.system.stop()
}

#[test]
fn what_is_not_recognised_is_said_to_be_so() -> Result<()> {
    // The reason is told after two seconds: the session is to be there when it is looked for.
    let rtp = Rtp::lasting("60s", "")?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut noise = 1_u32;
    for sequence in 0..150_u16 {
        let [high, low] = sequence.to_be_bytes();
        let mut packet = vec![0x80, 100, high, low, 0, 0, high, low, 0, 0, 0, 9];
        packet.resize_with(600, || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_be_bytes()[0]
        });
        sender.send_to(&packet, (Ipv4Addr::LOCALHOST, rtp.port))?;
    }
    let stream = rtp.only_stream("no media", |stream| {
        stream["status_reason"] == "unknown_format"
            && counter(stream, "packets_dropped_undetected") >= 150
    })?;
    assert_eq!(stream["status"], "connected, no media");
    assert_eq!(counter(&stream, "packets_dropped_undetected"), 150, "{stream}");
    assert_balanced(&stream);
    rtp.system.stop()
}
