//! Sender and receiver reports of picture and sound, each an RTP session of GStreamer's with ports of
//! its own, and of the two legs of one: what ours say is held against what went by, and so is the line
//! that theirs make.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use penstock_tests::paths::{Passing, Paths, Way, rtcp, word};
use penstock_tests::process::{Process, eventually};
use penstock_tests::relay::Random;
use penstock_tests::system::{PATIENCE, Penstock, free_rtp_port, free_udp_port};
use serde_json::Value;

use crate::rtp_feedback::{Noted, noise, start, ways};

/// Ticks a second of picture and sound.
const CLOCKS: [u32; 2] = [90_000, 48_000];

/// A packet of media: its sequence number counted on over the wrap, its timestamp, whether it was lost.
#[derive(Debug, Clone, Copy)]
struct Media {
    number: u32,
    timestamp: u32,
    is_lost: bool,
}

/// A sender report: wall clock, timestamp, and when it went by.
#[derive(Debug, Clone, Copy)]
struct SenderReport {
    ntp: u64,
    timestamp: u32,
    at: Instant,
}

/// A report block of ours (RFC 3550, 6.4.1).
#[derive(Debug, Clone, Copy)]
struct Block {
    source: u32,
    fraction_lost: u32,
    cumulative_lost: u32,
    highest: u32,
    jitter: u32,
    last_report: u32,
    delay: u32,
    at: Instant,
}

/// What went by of one medium.
#[derive(Debug, Clone, Default)]
struct Medium {
    ssrc: Option<u32>,
    media: Vec<Media>,
    reports: Vec<SenderReport>,
    blocks: Vec<Block>,
    names: Vec<Vec<u8>>,
    goodbyes: u32,
}

impl Medium {
    fn media(&mut self, passing: &Passing<'_>, is_lost: bool) {
        let Some(rtp) = passing.rtp() else { return };
        self.ssrc = Some(rtp.ssrc);
        let number = match self.media.last() {
            // Low halves that follow one another, over the wrap too.
            Some(last) => {
                let low = u16::try_from(last.number & 0xffff).unwrap_or(0);
                last.number + u32::from(rtp.sequence.wrapping_sub(low))
            }
            None => u32::from(rtp.sequence),
        };
        self.media.push(Media { number, timestamp: rtp.timestamp, is_lost });
    }

    fn theirs(&mut self, compound: &[u8]) {
        for (kind, _, body) in rtcp(compound) {
            if kind == 200 && self.ssrc == Some(word(body, 0)) {
                let ntp = u64::from(word(body, 4)) << 32 | u64::from(word(body, 8));
                let (timestamp, at) = (word(body, 12), Instant::now());
                self.reports.push(SenderReport { ntp, timestamp, at });
            }
        }
    }

    fn ours(&mut self, compound: &[u8]) {
        for (kind, count, body) in rtcp(compound) {
            match kind {
                201 if count > 0 => self.blocks.push(Block {
                    source: word(body, 4),
                    fraction_lost: word(body, 8) >> 24,
                    cumulative_lost: word(body, 8) & 0xff_ffff,
                    highest: word(body, 12),
                    jitter: word(body, 16),
                    last_report: word(body, 20),
                    delay: word(body, 24),
                    at: Instant::now(),
                }),
                202 => self.names.push(body.get(6..22).unwrap_or_default().to_vec()),
                203 => self.goodbyes += 1,
                _ => {}
            }
        }
    }

    /// Packets up to a number, and how many of them were lost.
    fn until(&self, highest: u32) -> (u32, u32) {
        let upto = self.media.iter().filter(|media| media.number <= highest);
        let lost = upto.clone().filter(|media| media.is_lost).count();
        (u32::try_from(upto.count()).unwrap_or(0), u32::try_from(lost).unwrap_or(0))
    }

    /// Each report says exactly what was lost up to its highest number, in all and since the one
    /// before, and which sender report it follows by how long.
    fn check(&self, clock_hz: u32) -> Result<()> {
        // What the first one follows may have gone to nobody: where the sender's reports come from
        // was not known.
        let mut before = None;
        for block in &self.blocks {
            ensure!(Some(block.source) == self.ssrc, "{block:?}");
            ensure!(self.media.iter().any(|it| it.number == block.highest), "{block:?}");
            let (expected, lost) = self.until(block.highest);
            ensure!(block.cumulative_lost == lost, "{lost}: {block:?}");
            if let Some((expected_before, lost_before)) = before.replace((expected, lost)) {
                let (interval, lost_in) = (expected - expected_before, lost - lost_before);
                let fraction = (lost_in << 8).checked_div(interval).unwrap_or(0);
                ensure!(block.fraction_lost == fraction, "{lost_in} of {interval}: {block:?}");
            }
            ensure!(block.jitter < clock_hz, "{block:?}");
            if block.last_report != 0 {
                let is_it = |report: &&SenderReport| {
                    report.ntp >> 16 & 0xffff_ffff == u64::from(block.last_report)
                };
                let report = self.reports.iter().find(is_it).context("a report that went by")?;
                // What passed here is more than what passed there.
                let passed = block.at.duration_since(report.at).as_secs_f64() * 65_536.0;
                ensure!(f64::from(block.delay) <= passed + 1.0, "{passed}: {block:?}");
            }
        }
        Ok(())
    }
}

/// What GStreamer says that it reads in our reports.
#[derive(Debug, Default)]
struct Taken {
    /// Highest sequence number and losses of each block.
    blocks: Vec<(u32, u32)>,
    /// Whole seconds of the round trips that it makes of them.
    round_trips_s: Vec<u32>,
}

impl Taken {
    fn parse(log: &str) -> Self {
        let mut taken = Self::default();
        for line in log.lines() {
            let field = |name: &str| {
                let text = line.split_once(name)?.1;
                text.trim_start().split([',', ':', ' ']).next()
            };
            let decimal = |name: &str| field(name)?.parse().ok();
            taken.blocks.extend(decimal(" HS ").zip(decimal(" PL ")));
            let seconds = field("round trip ").and_then(|text| u32::from_str_radix(text, 16).ok());
            taken.round_trips_s.extend(seconds);
        }
        taken
    }
}

/// Picture, or a first leg, at two paths, sound, or a second leg, at the two behind: media, then reports.
fn note(media: &mut [Medium; 2], passing: &Passing<'_>, is_lost: bool) {
    let medium = &mut media[passing.path / 2];
    match (passing.path % 2, passing.is_answer) {
        (0, false) => medium.media(passing, is_lost),
        (1, false) => medium.theirs(passing.bytes),
        _ => medium.ours(passing.bytes),
    }
}

/// A Penstock with a session of picture and sound, and the ways to it.
fn picture_and_sound(answers: [u16; 2]) -> Result<(Penstock, [Way; 4])> {
    let [picture, sound] = [free_rtp_port()?, free_rtp_port()?];
    let system = start(&format!(
        "{{id: av, latency: 200ms, latency_max: 500ms, tracks: [\
         {{port: {picture}, payload_type: 96, codec: H264/90000}}, \
         {{port: {sound}, payload_type: 97, codec: opus/48000/2}}]}}"
    ))?;
    let [[media, reports], [others, their_reports]] =
        [ways(picture, answers[0]), ways(sound, answers[1])];
    Ok((system, [media, reports, others, their_reports]))
}

/// GStreamer sends both; what it has of sound waits as long as `late` says before it leaves.
fn sender(system: &Penstock, paths: &Paths, answers: [u16; 2], late: &str) -> Result<Process> {
    let pipeline = format!(
        "rtpbin name=b {} ! rtph264pay pt=96 mtu=1200 ! b.send_rtp_sink_0 \
         b.send_rtp_src_0 ! udpsink host=127.0.0.1 port={} \
         b.send_rtcp_src_0 ! udpsink host=127.0.0.1 port={} sync=false async=false \
         udpsrc address=127.0.0.1 port={} ! b.recv_rtcp_sink_0 \
         audiotestsrc is-live=true samplesperbuffer=960 \
         ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay pt=97 ! b.send_rtp_sink_1 \
         b.send_rtp_src_1 ! {late} udpsink host=127.0.0.1 port={} sync=false async=false \
         b.send_rtcp_src_1 ! udpsink host=127.0.0.1 port={} sync=false async=false \
         udpsrc address=127.0.0.1 port={} ! b.recv_rtcp_sink_1",
        noise(100_000, "key-int-max=25"),
        paths.port(0),
        paths.port(1),
        answers[0],
        paths.port(2),
        paths.port(3),
        answers[1],
    );
    let mut command = Command::new("gst-launch-1.0");
    command.stdout(system.log()?).stderr(system.log()?);
    // Tells of each report block that it takes.
    command.env("GST_DEBUG", "rtpsource:5").env("GST_DEBUG_NO_COLOR", "1");
    command.env("GST_DEBUG_FILE", system.path("gstreamer"));
    command.arg("-q").args(pipeline.split_ascii_whitespace());
    Process::start("gst-launch-1.0", &mut command)
}

#[test]
fn picture_and_sound_each_hear_what_was_lost_of_them() -> Result<()> {
    let answers = [free_udp_port()?, free_udp_port()?];
    let (system, ways) = picture_and_sound(answers)?;
    let noted = Noted::<[Medium; 2]>::default();
    let (seen, mut random) = (noted.clone(), Random::new(3_550));
    let paths = Paths::start(&ways, move |passing| {
        let is_lost = passing.rtp().is_some() && random.permille(30);
        seen.note(|media| {
            // The first packets prove the source.
            let is_lost = is_lost && media[passing.path / 2].media.len() > 10;
            note(media, passing, is_lost);
            !is_lost
        })
    })?;
    let mut gstreamer = sender(&system, &paths, answers, "")?;
    eventually("two reports of each", PATIENCE, || {
        let enough = |it: &Medium| it.blocks.iter().filter(|it| it.last_report != 0).count() >= 2;
        Ok(noted.read().iter().all(enough).then_some(()))
    })?;
    let blocks: Vec<Block> = noted.read().into_iter().flat_map(|medium| medium.blocks).collect();
    let taken = eventually("GStreamer takes them", PATIENCE, || {
        let taken = Taken::parse(&std::fs::read_to_string(system.path("gstreamer"))?);
        let has = |it: &Block| taken.blocks.contains(&(it.highest, it.cumulative_lost));
        Ok(blocks.iter().all(has).then_some(taken))
    })?;
    // A wrong time in them would be hours, or negative.
    let sane = |seconds: &u32| *seconds < 30;
    ensure!(taken.round_trips_s.len() >= 4 && taken.round_trips_s.iter().all(sane), "{taken:?}");
    system.stop()?;
    eventually("a goodbye to each", PATIENCE, || {
        Ok(noted.read().iter().all(|medium| medium.goodbyes > 0).then_some(()))
    })?;
    gstreamer.kill();
    let media = noted.read();
    for (medium, clock_hz) in media.iter().zip(CLOCKS) {
        medium.check(clock_hz)?;
        ensure!(medium.blocks.iter().any(|block| block.fraction_lost > 0), "{:?}", medium.blocks);
    }
    let names: Vec<_> = media.iter().flat_map(|medium| &medium.names).collect();
    ensure!(names.iter().all(|name| *name == names[0] && name.len() == 16), "{names:?}");
    Ok(())
}

/// GStreamer sends the same packets and reports of picture along both legs.
fn sender_twice(system: &Penstock, paths: &Paths) -> Result<Process> {
    let both = |name: &str, first: usize| {
        let to = |path: usize| {
            let port = paths.port(path);
            format!("{name}. ! queue ! udpsink host=127.0.0.1 port={port} sync=false async=false")
        };
        format!("tee name={name} {} {}", to(first), to(first + 2))
    };
    let pipeline = format!(
        "rtpsession name=s {} ! rtph264pay pt=96 mtu=400 ! s.send_rtp_sink \
         s.send_rtp_src ! {} s.send_rtcp_src ! {}",
        noise(100_000, "key-int-max=25"),
        both("media", 0),
        both("reports", 1),
    );
    let mut command = Command::new("gst-launch-1.0");
    command.stdout(system.log()?).stderr(system.log()?);
    command.arg("-q").args(pipeline.split_ascii_whitespace());
    Process::start("gst-launch-1.0", &mut command)
}

#[test]
fn each_of_two_legs_hears_what_was_lost_of_it() -> Result<()> {
    let legs = [free_rtp_port()?, free_rtp_port()?];
    let system = start(&format!(
        "{{id: twice, port: {}, payload_type: 96, codec: H264/90000, latency: 200ms, \
         latency_max: 500ms, second_leg: {{port: {}}}}}",
        legs[0], legs[1]
    ))?;
    let noted = Noted::<[Medium; 2]>::default();
    let (seen, mut random) = (noted.clone(), Random::new(20_227));
    let ways = legs.map(|port| [port, port + 1].map(|to| Way { to, answers: None }));
    let paths = Paths::start(ways.as_flattened(), move |passing| {
        let is_unlucky = random.permille([30, 90][passing.path / 2]);
        seen.note(|legs| {
            // The first packets prove the source.
            let is_spared = legs[passing.path / 2].media.len() <= 10;
            let is_lost = passing.rtp().is_some() && is_unlucky && !is_spared;
            note(legs, passing, is_lost);
            !is_lost
        })
    })?;
    let mut gstreamer = sender_twice(&system, &paths)?;
    eventually("two reports of each leg", PATIENCE, || {
        let enough = |it: &Medium| it.blocks.iter().filter(|it| it.last_report != 0).count() >= 2;
        Ok(noted.read().iter().all(enough).then_some(()))
    })?;
    system.stop()?;
    eventually("a goodbye to each", PATIENCE, || {
        Ok(noted.read().iter().all(|leg| leg.goodbyes > 0).then_some(()))
    })?;
    gstreamer.kill();
    for leg in noted.read() {
        leg.check(CLOCKS[0])?;
        ensure!(leg.blocks.iter().any(|block| block.fraction_lost > 0), "{:?}", leg.blocks);
    }
    Ok(())
}

/// A report block as GStreamer's session shows it to whoever asks for its statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Understood {
    source: u64,
    fraction_lost: u64,
    lost: u64,
    highest: u64,
    jitter: u64,
    last_report: u64,
    delay: u64,
}

impl From<&Block> for Understood {
    fn from(block: &Block) -> Self {
        Self {
            source: block.source.into(),
            fraction_lost: block.fraction_lost.into(),
            lost: block.cumulative_lost.into(),
            highest: block.highest.into(),
            jitter: block.jitter.into(),
            last_report: block.last_report.into(),
            delay: block.delay.into(),
        }
    }
}

impl Understood {
    /// Each block that the session's statistics showed, and the round trip it makes of it, in
    /// seconds by 65,536.
    fn parse(said: &str) -> Vec<(Self, u64)> {
        // Its last line may be in the middle of being written.
        let said = said.rsplit_once('\n').map_or("", |(whole, _)| whole).replace('\\', "");
        let sources = said.split("application/x-rtp-source-stats").skip(1);
        sources.filter_map(Self::of_source).collect()
    }

    fn of_source(stats: &str) -> Option<(Self, u64)> {
        let field = |name: &str| -> Option<u64> {
            let (_, value) = stats.split_once(&format!(" {name}="))?;
            value.split_once(')')?.1.split([',', ';']).next()?.trim().parse().ok()
        };
        let block = Self {
            source: field("rb-ssrc")?,
            fraction_lost: field("rb-fractionlost")?,
            lost: field("rb-packetslost")?,
            highest: field("rb-exthighestseq")?,
            jitter: field("rb-jitter")?,
            last_report: field("rb-lsr")?,
            delay: field("rb-dlsr")?,
        };
        Some((block, field("rb-round-trip")?))
    }
}

/// What went by of one medium, and whether its path lets no more of it through.
#[derive(Debug, Clone, Default)]
struct Path {
    medium: Medium,
    is_closed: bool,
}

/// A session of GStreamer that sends picture and says what it knows of its peers.
fn telling_sender(system: &Penstock, paths: &Paths, answers: u16) -> Result<Process> {
    let pipeline = format!(
        "rtpsession name=s {} ! rtph264pay pt=96 mtu=400 ! s.send_rtp_sink \
         s.send_rtp_src ! udpsink host=127.0.0.1 port={} \
         s.send_rtcp_src ! udpsink host=127.0.0.1 port={} sync=false async=false \
         udpsrc address=127.0.0.1 port={answers} ! s.recv_rtcp_sink",
        noise(100_000, "key-int-max=25"),
        paths.port(0),
        paths.port(1),
    );
    let mut command = Command::new("gst-launch-1.0");
    command.stdout(std::fs::File::create(system.path("said"))?).stderr(system.log()?);
    command.arg("-v").args(pipeline.split_ascii_whitespace());
    Process::start("gst-launch-1.0", &mut command)
}

/// Lets reports through, and media until the path is closed, but for what is lost by chance.
fn passes(path: &mut Path, passing: &Passing<'_>, is_unlucky: bool) -> bool {
    let Path { medium, is_closed } = path;
    match (passing.path, passing.is_answer) {
        (0, false) => {
            // The first packets prove the source.
            let is_lost = *is_closed || is_unlucky && medium.media.len() > 10;
            medium.media(passing, is_lost);
            return !is_lost;
        }
        (1, false) => medium.theirs(passing.bytes),
        _ => medium.ours(passing.bytes),
    }
    true
}

/// The last report is made when nothing comes any more: then the figures of the API stand still too.
#[test]
fn a_sender_understands_of_our_reports_what_the_api_shows() -> Result<()> {
    let (port, answers) = (free_rtp_port()?, free_udp_port()?);
    let system = start(&format!(
        "{{id: told, port: {port}, payload_type: 96, codec: H264/90000, latency: 200ms, \
         latency_max: 500ms, session_timeout: 120s}}"
    ))?;
    let noted = Noted::<Path>::default();
    let (seen, mut random) = (noted.clone(), Random::new(6_411));
    let paths = Paths::start(&ways(port, answers), move |passing| {
        let is_unlucky = random.permille(50);
        seen.note(|path| passes(path, passing, is_unlucky))
    })?;
    let mut gstreamer = telling_sender(&system, &paths, answers)?;
    let understood =
        || anyhow::Ok(Understood::parse(&std::fs::read_to_string(system.path("said"))?));
    eventually("a report of losses that follows one of the sender's", PATIENCE, || {
        let is_it = |it: &Understood| it.fraction_lost > 0 && it.last_report != 0;
        Ok(understood()?.iter().any(|(block, _)| is_it(block)).then_some(()))
    })?;
    let highest = noted.note(|path| {
        path.is_closed = true;
        path.medium.media.iter().rfind(|media| !media.is_lost).map(|media| media.number)
    });
    let highest = u64::from(highest.context("packets that came through")?);
    let last = eventually("a report of the last packet that came through", PATIENCE, || {
        let last = understood()?.pop().map(|(block, _)| block);
        Ok(last.filter(|block| block.highest == highest))
    })?;
    gstreamer.kill();
    let Path { medium, .. } = noted.read();
    medium.check(CLOCKS[0])?;
    let sent: Vec<Understood> = medium.blocks.iter().map(Understood::from).collect();
    for (block, round_trip) in understood()? {
        ensure!(sent.contains(&block), "{block:?} is none of {sent:?}");
        // A wrong time in it would be hours.
        ensure!(round_trip < 30 << 16, "{block:?}: {round_trip}");
    }
    let told_ms = f64::from(u32::try_from(last.jitter)?) * 1e3 / f64::from(CLOCKS[0]);
    let is_told = |stream: &Value| {
        let figures = &stream["stats"]["connection_stats"];
        let lost = [&figures["packets_lost"], &figures["legs"][0]["packets_lost"]];
        // In whole microseconds.
        let is_jitter = |it: f64| (it - told_ms).abs() < 0.002;
        lost.iter().all(|it| it.as_u64() == Some(last.lost))
            && figures["jitter_ms"].as_f64().is_some_and(is_jitter)
    };
    system.wait_stream("told", &format!("what {last:?} says"), is_told)?;
    system.stop()
}

#[test]
fn reports_put_picture_and_sound_on_one_line_however_late_one_comes() -> Result<()> {
    let answers = [free_udp_port()?, free_udp_port()?];
    let (system, ways) = picture_and_sound(answers)?;
    let noted = Noted::<[Medium; 2]>::default();
    let seen = noted.clone();
    let paths = Paths::start(&ways, move |passing| {
        seen.note(|media| note(media, passing, false));
        true
    })?;
    let tap = system.frames_of("av")?;
    // Sound leaves a second later than picture, and its reports say so.
    let late = "queue min-threshold-time=1000000000 max-size-time=0 max-size-buffers=0 \
                max-size-bytes=0 !";
    let mut gstreamer = sender(&system, &paths, answers, late)?;
    let of = |stream: &Value, name: &str| stream["counters"][name].as_u64().unwrap_or(0);
    let placed = system.wait_stream("av", "reports", |it| of(it, "sender_reports") >= 4)?;
    // What comes behind them is placed by them.
    let sounds = of(&placed, "frames_audio") + 50;
    system.wait_stream("av", "sound", |it| of(it, "frames_audio") >= sounds)?;
    gstreamer.kill();
    system.wait_stream("av", "lost", |stream| stream["status"] == "lost")?;
    let frames = tap.frames()?;
    let [picture, sound] = noted.read();
    let wall = |medium: &Medium, clock_hz: u32| {
        let report = medium.reports.last().context("a report")?;
        let last = medium.media.last().context("a packet")?.timestamp;
        let ahead = i64::from(last.wrapping_sub(report.timestamp).cast_signed());
        // In ticks of the line since 1900, as far as they count.
        let ntp = (u128::from(report.ntp) * 90_000) >> 32;
        anyhow::Ok(i64::try_from(ntp)? + ahead * 90_000 / i64::from(clock_hz))
    };
    let apart = wall(&sound, CLOCKS[1])? - wall(&picture, CLOCKS[0])?;
    let last = |kind: &str| {
        let frame = frames.iter().rev().find(|frame| frame.kind == kind);
        anyhow::Ok(i64::try_from(frame.and_then(|frame| frame.pts).context("a frame")?)?)
    };
    let shown = last("audio")? - last("video")?;
    ensure!((shown - apart).abs() < 900, "10 ms at most: {shown} and {apart} ticks apart");
    system.stop()
}
