//! What Penstock tells a sender of RTP, and what comes of it: packets sent again, key pictures,
//! reports, error correction. The sender is GStreamer; the paths to it lose what a test says.

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use penstock_tests::paths::{Paths, Way};
use penstock_tests::process::Process;
use penstock_tests::relay::Random;
use penstock_tests::system::{Options, PATIENCE, Penstock, free_rtp_port, free_udp_port};
use serde_json::Value;

/// A Penstock with sessions of RTP that are given, as YAML.
fn start(sessions: &str) -> Result<Penstock> {
    let (port, rtcp_port) = (free_udp_port()?, free_udp_port()?);
    let defaults = Options::default();
    // What is asked for may take its time to come on a busy machine.
    let ingestion = format!(
        "{}  rtp: {{port: {port}, rtcp_port: {rtcp_port}, max_sessions: 4, session_timeout: 5s, \
         latency: 3s, latency_max: 6s, sessions: [{sessions}]}}\n",
        defaults.ingestion
    );
    Penstock::start(&Options { ingestion, ..defaults })
}

fn gstreamer(system: &Penstock, pipeline: &str) -> Result<Process> {
    let mut command = Command::new("gst-launch-1.0");
    command.stdout(system.log()?).stderr(system.log()?);
    command.arg("-q").args(pipeline.split_ascii_whitespace());
    Process::start("gst-launch-1.0", &mut command)
}

fn counter(stream: &Value, name: &str) -> u64 {
    stream["counters"][name].as_u64().unwrap_or(0)
}

/// A value that paths change and a test reads.
#[derive(Debug, Clone, Default)]
struct Noted<T>(Arc<Mutex<T>>);

impl<T: Clone> Noted<T> {
    fn note(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn read(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Pictures of noise, so that even few of them fill many packets.
fn noise(pictures: u32, coding: &str) -> String {
    format!(
        "videotestsrc is-live=true pattern=snow num-buffers={pictures} \
         ! video/x-raw,width=320,height=180,framerate=25/1 \
         ! x264enc tune=zerolatency speed-preset=ultrafast bitrate=1500 {coding} \
         ! video/x-h264,profile=constrained-baseline"
    )
}

/// RTP and reports of a GStreamer session named `s` out to two ports, reports in at a third.
fn session_ports(rtp: u16, rtcp: u16, answers: u16) -> String {
    format!(
        "s.send_rtp_src ! udpsink host=127.0.0.1 port={rtp} \
         s.send_rtcp_src ! udpsink host=127.0.0.1 port={rtcp} sync=false async=false \
         udpsrc address=127.0.0.1 port={answers} ! s.recv_rtcp_sink"
    )
}

/// The two ways of a session at `port` and the port above it: media, and reports.
fn ways(port: u16, answers: u16) -> [Way; 2] {
    [Way { to: port, answers: None }, Way { to: port + 1, answers: Some(answers) }]
}

#[test]
fn packets_that_a_path_loses_are_asked_for_and_sent_again() -> Result<()> {
    // The last packets are spared: that they are missing nobody could know.
    const LOSES_UNTIL: u32 = 3_000;
    let (port, answers) = (free_rtp_port()?, free_udp_port()?);
    let system = start(&format!(
        "{{id: again, port: {port}, payload_type: 96, codec: H264/90000, rtx_payload_type: 97, \
         feedback: [nack]}}"
    ))?;
    let lost = Noted::<u64>::default();
    let (noted, mut random, mut media) = (lost.clone(), Random::new(4_588), 0);
    let paths = Paths::start(&ways(port, answers), move |passing| {
        let is_media = passing.rtp().is_some_and(|rtp| rtp.payload_type == 96);
        media += u32::from(is_media);
        let is_lost = media < LOSES_UNTIL && random.permille(10);
        noted.note(|lost| *lost += u64::from(is_media && is_lost));
        !is_lost
    })?;
    let pipeline = format!(
        "rtpsession name=s rtp-profile=avpf {} ! rtph264pay pt=96 mtu=400 \
         ! rtprtxsend max-size-packets=2000 \
         payload-type-map=application/x-rtp-pt-map,96=(uint)97 ! s.send_rtp_sink {}",
        noise(200, "key-int-max=25"),
        session_ports(paths.port(0), paths.port(1), answers)
    );
    let mut sender = gstreamer(&system, &pipeline)?;
    sender.succeed(PATIENCE)?;
    let ended = system.wait_stream("again", "lost", |stream| stream["status"] == "lost")?;
    let lost = lost.read();
    ensure!(lost > 20, "the path lost {lost} packets");
    let recovered = counter(&ended, "packets_recovered_rtx");
    ensure!(recovered * 100 >= lost * 99 && recovered <= lost, "{recovered} of {lost}: {ended}");
    ensure!(counter(&ended, "packets_retransmitted") >= recovered, "{ended}");
    ensure!(counter(&ended, "nacks_sent") >= lost, "{ended}");
    assert_eq!(counter(&ended, "frames_published"), 200, "{ended}");
    assert_eq!(counter(&ended, "frames_damaged"), 0, "{ended}");
    assert_eq!(counter(&ended, "packets_skipped_too_late"), 0, "{ended}");
    system.stop()
}
