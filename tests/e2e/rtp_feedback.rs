//! What Penstock tells a sender of RTP, and what comes of it: packets sent again, key pictures,
//! reports, error correction. The sender is GStreamer; the paths to it lose what a test says.

use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use penstock_tests::paths::{Passing, Paths, Way, rtcp};
use penstock_tests::process::{Process, eventually};
use penstock_tests::relay::Random;
use penstock_tests::system::{Options, PATIENCE, Penstock, free_rtp_port, free_udp_port};
use serde_json::Value;

/// A Penstock with sessions of RTP that are given, as YAML.
pub(crate) fn start(sessions: &str) -> Result<Penstock> {
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
pub(crate) struct Noted<T>(Arc<Mutex<T>>);

impl<T: Clone> Noted<T> {
    pub(crate) fn note<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn read(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Pictures of noise, so that even few of them fill many packets.
pub(crate) fn noise(pictures: u32, coding: &str) -> String {
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
pub(crate) fn ways(port: u16, answers: u16) -> [Way; 2] {
    [Way { to: port, answers: None }, Way { to: port + 1, answers: Some(answers) }]
}

#[test]
fn packets_that_a_path_loses_are_asked_for_and_sent_again() -> Result<()> {
    // The last packets are spared: that they are missing nobody could know. So are those before the
    // sender's first report, which tells where it is to be asked: it may come after three seconds.
    const LOSES_UNTIL: u32 = 6_400;
    const PICTURES: u32 = 400;
    let (port, answers) = (free_rtp_port()?, free_udp_port()?);
    let system = start(&format!(
        "{{id: again, port: {port}, payload_type: 96, codec: H264/90000, rtx_payload_type: 97, \
         feedback: [nack]}}"
    ))?;
    let lost = Noted::<u64>::default();
    let (noted, mut random, mut media) = (lost.clone(), Random::new(4_588), 0_u32);
    let mut is_known = false;
    let paths = Paths::start(&ways(port, answers), move |passing| {
        let is_media = passing.rtp().is_some_and(|rtp| rtp.payload_type == 96);
        media += u32::from(is_media);
        let is_lost = is_known && media < LOSES_UNTIL && random.permille(10);
        is_known |= passing.path == 1 && !passing.is_answer;
        noted.note(|lost| *lost += u64::from(is_media && is_lost));
        !is_lost
    })?;
    let pipeline = format!(
        "rtpsession name=s rtp-profile=avpf {} ! rtph264pay pt=96 mtu=400 \
         ! rtprtxsend max-size-packets=2000 \
         payload-type-map=application/x-rtp-pt-map,96=(uint)97 ! s.send_rtp_sink {}",
        noise(PICTURES, "key-int-max=25"),
        session_ports(paths.port(0), paths.port(1), answers)
    );
    let mut sender = gstreamer(&system, &pipeline)?;
    let all = |stream: &Value| counter(stream, "frames_published") == u64::from(PICTURES);
    system.wait_stream("again", "all pictures", all)?;
    // By itself it may wait long for the end of its reports.
    sender.kill();
    let ended = system.wait_stream("again", "lost", |stream| stream["status"] == "lost")?;
    let lost = lost.read();
    ensure!(lost > 20, "the path lost {lost} packets");
    let recovered = counter(&ended, "packets_recovered_rtx");
    ensure!(recovered * 100 >= lost * 99 && recovered <= lost, "{recovered} of {lost}: {ended}");
    ensure!(counter(&ended, "packets_retransmitted") >= recovered, "{ended}");
    ensure!(counter(&ended, "nacks_sent") >= lost, "{ended}");
    assert_eq!(counter(&ended, "frames_published"), u64::from(PICTURES), "{ended}");
    assert_eq!(counter(&ended, "frames_damaged"), 0, "{ended}");
    assert_eq!(counter(&ended, "packets_skipped_too_late"), 0, "{ended}");
    system.stop()
}

/// Whether a packet of H.264 begins a slice of an IDR picture (RFC 6184, 5.2 and 5.8).
fn is_idr(packet: &[u8]) -> bool {
    match packet.get(12..14) {
        Some([indicator, header]) if indicator & 0x1f == 28 => header & 0x9f == 0x85,
        Some([header, _]) => header & 0x1f == 5,
        _ => false,
    }
}

/// What went by of pictures and requests for them.
#[derive(Debug, Clone, Default)]
struct Pictures {
    /// RTP timestamps, in order, and whether it is an IDR picture.
    sent: Vec<(u32, bool)>,
    /// Packets that end a picture.
    ends: u32,
    /// How many pictures had been sent at each request, and its format.
    requests: Vec<(usize, u8)>,
}

impl Pictures {
    fn is_complete(&self, sent: u32) -> bool {
        self.ends == sent
    }

    fn note(&mut self, passing: &Passing<'_>) {
        if let Some(rtp) = passing.rtp().filter(|rtp| rtp.payload_type == 96) {
            if self.sent.last().is_none_or(|(timestamp, _)| *timestamp != rtp.timestamp) {
                self.sent.push((rtp.timestamp, false));
            }
            if let Some((_, idr)) = self.sent.last_mut() {
                *idr |= is_idr(passing.bytes);
            }
            self.ends += u32::from(passing.bytes[1] & 0x80 != 0);
        }
        if passing.is_answer {
            let requests = rtcp(passing.bytes).into_iter().filter(|(kind, ..)| *kind == 206);
            self.requests.extend(requests.map(|(_, format, _)| (self.sent.len(), format)));
        }
    }
}

/// A picture is lost of a sender that codes none by itself that could be joined at.
fn a_lost_picture_is_answered(feedback: &str, format: u8) -> Result<()> {
    const LOST: usize = 100;
    const SENT: u32 = 200;
    let (port, answers) = (free_rtp_port()?, free_udp_port()?);
    let system = start(&format!(
        "{{id: key, port: {port}, payload_type: 96, codec: H264/90000, feedback: [{feedback}], \
         latency: 100ms, latency_max: 200ms, reorder_packets: 0}}"
    ))?;
    let pictures = Noted::<Pictures>::default();
    let noted = pictures.clone();
    let paths = Paths::start(&ways(port, answers), move |passing| {
        noted.note(|pictures| pictures.note(passing));
        passing.rtp().is_none() || noted.read().sent.len() != LOST
    })?;
    let pipeline = format!(
        "rtpsession name=s rtp-profile=avpf {} ! rtph264pay pt=96 mtu=1200 ! s.send_rtp_sink {}",
        noise(SENT, "key-int-max=10000 option-string=scenecut=0"),
        session_ports(paths.port(0), paths.port(1), answers)
    );
    let mut sender = gstreamer(&system, &pipeline)?;
    eventually("all pictures", PATIENCE, || Ok(pictures.read().is_complete(SENT).then_some(())))?;
    // By itself it may wait long for the end of its reports.
    sender.kill();
    let ended = system.wait_stream("key", "lost", |stream| stream["status"] == "lost")?;
    let Pictures { sent, requests, .. } = pictures.read();
    let keys: Vec<usize> = (0..sent.len()).filter(|at| sent[*at].1).collect();
    let (asked, _) = *requests.first().context("a request")?;
    ensure!(requests.iter().all(|(_, it)| *it == format), "{requests:?}");
    ensure!(asked > LOST && keys[0] == 0, "{keys:?} {requests:?}");
    ensure!((2..=1 + requests.len()).contains(&keys.len()), "{keys:?} {requests:?}");
    // By the sender's own clock: the request brings it, within a second of pictures.
    ensure!((asked - 1..asked + 25).contains(&keys[1]), "{keys:?} {requests:?}");
    assert_eq!(counter(&ended, "key_requests_sent"), requests.len() as u64, "{ended}");
    assert_eq!(counter(&ended, "frames_key"), keys.len() as u64, "{ended}");
    assert_eq!(counter(&ended, "nacks_sent"), 0, "{ended}");
    system.stop()
}

#[test]
fn a_lost_picture_is_answered_with_a_key_picture_that_pli_asks_for() -> Result<()> {
    a_lost_picture_is_answered("pli", 1)
}

#[test]
fn a_lost_picture_is_answered_with_a_key_picture_that_fir_asks_for() -> Result<()> {
    a_lost_picture_is_answered("fir", 4)
}

/// Every other matrix of five by five loses those of its packets, and has only its rows or only its
/// columns corrected.
fn error_correction(kind: &str, is_lost: fn(u32) -> bool) -> Result<()> {
    // Of the first four matrices corrections may overtake the media: whose they are is not known then.
    const LOSES: std::ops::Range<u32> = 100..600;
    let port = free_udp_port()?;
    let system = start(&format!(
        "{{id: fec, port: {port}, rtcp_port: {port}, payload_type: 33, fec: true}}"
    ))?;
    let lost = Noted::<u64>::default();
    let (noted, mut first) = (lost.clone(), None);
    let ways = [0, 2, 4].map(|above| Way { to: port + above, answers: None });
    let paths = Paths::start(&ways, move |passing| {
        let Some(rtp) = passing.rtp().filter(|_| passing.path == 0) else { return true };
        let number = u32::from(rtp.sequence.wrapping_sub(*first.get_or_insert(rtp.sequence)));
        let loses = LOSES.contains(&number) && number / 25 % 2 == 1 && is_lost(number % 25);
        noted.note(|lost| *lost += u64::from(loses));
        !loses
    })?;
    let (columns, rows) = (kind == "columns", kind == "rows");
    let pipeline = format!(
        "{} ! h264parse ! mpegtsmux alignment=7 ! rtpmp2tpay pt=33 ssrc=0 \
         ! rtpst2022-1-fecenc name=fec columns=5 rows=5 enable-column-fec={columns} \
         enable-row-fec={rows} ! udpsink host=127.0.0.1 port={} \
         fec.fec_0 ! udpsink host=127.0.0.1 port={} async=false \
         fec.fec_1 ! udpsink host=127.0.0.1 port={} async=false",
        noise(150, "key-int-max=25"),
        paths.port(0),
        paths.port(1),
        paths.port(2),
    );
    gstreamer(&system, &pipeline)?.succeed(PATIENCE)?;
    let ended = system.wait_stream("fec", "lost", |stream| stream["status"] == "lost")?;
    let lost = lost.read();
    ensure!(lost >= 50, "{lost}");
    assert_eq!(counter(&ended, "packets_recovered_fec"), lost, "{ended}");
    assert_eq!(counter(&ended, "packets_skipped_too_late"), 0, "{ended}");
    ensure!(counter(&ended, "fec_invalid") <= 20, "{ended}");
    assert_eq!(counter(&ended, "frames_published"), 150, "{ended}");
    system.stop()
}

#[test]
fn rows_of_gstreamers_error_correction_bring_a_loss_in_each_back() -> Result<()> {
    // One in each row, in columns that differ.
    error_correction("rows", |at| at % 5 == (at / 5 * 2 + 1) % 5)
}

#[test]
fn columns_of_gstreamers_error_correction_bring_a_whole_row_back() -> Result<()> {
    error_correction("columns", |at| at / 5 == 2)
}
