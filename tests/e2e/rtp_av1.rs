//! AV1 over RTP, from sender to frame.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use penstock_tests::generate::AccessUnit;
use penstock_tests::generate::av1::{self, AOM, SVT};
use penstock_tests::generate::clips::Shape;
use penstock_tests::rtp::av1::{Cut, packets};
use penstock_tests::rtp::paced::{Datagram, Stream, recorded};
use penstock_tests::system::free_rtp_port;

use super::rtp_units::{Receiver, Truth, lossy, shuffled};

const SHAPE: Shape = Shape { width: 320, height: 180, rate: 25, seconds: 2 };

fn units(coder: &[&str]) -> Result<Vec<AccessUnit>> {
    let folder = tempfile::tempdir()?;
    Ok(av1::units(folder.path(), SHAPE, coder)?.1)
}

fn datagrams(stream: &Stream, units: &[AccessUnit], cut: &Cut) -> Vec<Datagram> {
    stream.datagrams(&packets(units, cut))
}

#[test]
fn two_senders_at_the_shared_port_are_recognised_and_whole_from_their_key_frame_on() -> Result<()> {
    let receiver = Receiver::start(2, "")?;
    let sources = [units(&SVT)?, units(&AOM)?];
    let streams = [Stream::new(1), Stream::new(2)];
    let sent = streams.iter().zip(&sources);
    let sent = sent.map(|(it, units)| (*it, datagrams(it, units, &Cut::default())));
    let all = receiver.all_at_shared_port(sent.collect())?;
    for ((frames, units), stream) in all.iter().zip(&sources).zip(&streams) {
        let truth = Truth::whole("av1", units, stream);
        truth.check(frames).with_context(|| format!("sender {}", stream.ssrc))?;
    }
    receiver.system.stop()
}

/// What a real sender sent of a stream, as the source `ssrc`, and the stream
/// (`dataplane/rtp/tests/vectors/make`).
fn sent_by(
    sender: &str,
    source: &str,
    ssrc: u32,
) -> Result<(Stream, Vec<Datagram>, Vec<AccessUnit>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dataplane/rtp/tests/vectors");
    let (stream, sent) = recorded(&folder.join(format!("{source}_{sender}.rtp")), ssrc)?;
    let source = std::fs::read(folder.join(format!("{source}.src.obu")))?;
    let units = av1::temporal_units(&source, 3_600);
    ensure!(units.len() == 50 && sent.len() > 60, "{} units, {} packets", units.len(), sent.len());
    Ok((stream, sent, units))
}

#[test]
fn what_ffmpeg_and_gstreamer_send_is_whole_at_the_shared_port() -> Result<()> {
    let receiver = Receiver::start(4, "")?;
    let cases =
        [("ffmpeg", "av1"), ("ffmpeg", "av1_svt"), ("gstreamer", "av1"), ("gstreamer", "av1_svt")];
    let sources = (1..).zip(cases).map(|(ssrc, (sender, source))| sent_by(sender, source, ssrc));
    let sources = sources.collect::<Result<Vec<_>>>()?;
    let sent = sources.iter().map(|(stream, sent, _)| (*stream, sent.clone()));
    let all = receiver.all_at_shared_port(sent.collect())?;
    for ((frames, (stream, _, units)), case) in all.iter().zip(&sources).zip(cases) {
        let truth = Truth::whole("av1", units, stream);
        truth.check(frames).with_context(|| format!("{case:?}"))?;
    }
    receiver.system.stop()
}

#[test]
fn what_ffmpeg_sends_is_whole_by_its_own_description() -> Result<()> {
    let port = free_rtp_port()?;
    let sdp = format!(
        "v=0\\no=- 0 0 IN IP4 127.0.0.1\\ns=No Name\\nc=IN IP4 127.0.0.1\\nt=0 0\\n\
         a=tool:libavformat 63.1.102\\nm=video {port} RTP/AVP 96\\na=rtpmap:96 AV1/90000\\n\
         a=fmtp:96 profile=0;level-idx=0;tier=0\\n"
    );
    let receiver = Receiver::start(0, &format!(", sessions: [{{id: given, sdp: \"{sdp}\"}}]"))?;
    let (stream, sent, units) = sent_by("ffmpeg", "av1_svt", 9)?;
    let frames = receiver.at("given", port, stream, sent)?;
    Truth::whole("av1", &units, &stream).check(&frames)?;
    receiver.system.stop()
}

#[test]
fn senders_that_cut_in_each_way_the_format_allows_are_recognised_and_whole() -> Result<()> {
    let cuts = [
        Cut { counted: false, ..Cut::default() },
        Cut { apart: true, ..Cut::default() },
        Cut { sized: true, ..Cut::default() },
        Cut { delimited: true, ..Cut::default() },
        Cut { announced: false, ..Cut::default() },
        Cut { padded: true, counted: false, ..Cut::default() },
        Cut { payload_bytes: 30, ..Cut::default() },
        Cut { payload_bytes: 1_400, apart: true, counted: false, ..Cut::default() },
    ];
    let receiver = Receiver::start(8, "")?;
    let units = units(&SVT)?;
    let streams: Vec<Stream> = (1..=8).map(Stream::new).collect();
    let sent = streams.iter().zip(&cuts).map(|(it, cut)| (*it, datagrams(it, &units, cut)));
    let all = receiver.all_at_shared_port(sent.collect())?;
    for ((frames, cut), stream) in all.iter().zip(&cuts).zip(&streams) {
        let truth = Truth::whole("av1", &units, stream);
        truth.check(frames).with_context(|| format!("{cut:?}"))?;
    }
    receiver.system.stop()
}

#[test]
fn a_session_that_is_given_is_whole_and_its_stamps_go_on_past_the_wrap() -> Result<()> {
    let port = free_rtp_port()?;
    let sdp = format!(
        "v=0\\no=- 0 0 IN IP4 127.0.0.1\\ns=-\\nc=IN IP4 127.0.0.1\\nt=0 0\\n\
         m=video {port} RTP/AVP 98\\na=rtpmap:98 AV1/90000\\na=fmtp:98 profile=0\\na=rtcp-mux\\n"
    );
    let receiver = Receiver::start(0, &format!(", sessions: [{{id: given, sdp: \"{sdp}\"}}]"))?;
    let sources = [units(&AOM)?, units(&SVT)?];
    for (ssrc, units) in (1..).zip(&sources) {
        let timestamp = u32::MAX - 90_000;
        let stream = Stream { payload_type: 98, timestamp, ..Stream::new(ssrc) };
        let sent = datagrams(&stream, units, &Cut::default());
        // The frames of a sender that has gone are there until the next one comes.
        let frames = match ssrc {
            1 => receiver.at("given", port, stream, sent)?,
            _ => receiver.after("given", port, stream, sent)?,
        };
        Truth::whole("av1", units, &stream).check(&frames)?;
        Truth::whole("av1", units, &stream)
            .check(&receiver.system.frames_of("given")?.frames()?)?;
    }
    receiver.system.stop()
}

#[test]
fn packets_out_of_order_inside_the_window_cost_nothing() -> Result<()> {
    let receiver = Receiver::start(1, "")?;
    let units = units(&SVT)?;
    let stream = Stream::new(1);
    let cut = Cut { payload_bytes: 200, ..Cut::default() };
    // The first packets prove the sender, and say what it sends.
    let sent = shuffled(datagrams(&stream, &units, &cut), 3, 8);
    let frames = receiver.at_shared_port(stream, sent)?;
    Truth::whole("av1", &units, &stream).check(&frames)?;
    receiver.system.stop()
}

#[test]
fn at_one_loss_of_a_hundred_exactly_the_units_without_one_are_clean() -> Result<()> {
    let receiver = Receiver::start(3, "")?;
    let (svt, aom) = (units(&SVT)?, units(&AOM)?);
    let small = Cut { payload_bytes: 150, ..Cut::default() };
    let apart = Cut { apart: true, announced: false, ..small };
    let senders = [(&svt, small), (&aom, small), (&svt, apart)];
    let streams: Vec<Stream> = (1..=3).map(Stream::new).collect();
    let mut torn: Vec<HashSet<usize>> = Vec::new();
    let mut sent = Vec::new();
    for (stream, (units, cut)) in streams.iter().zip(&senders) {
        // A sender is known to keep its pace after a few units.
        let (kept, lost) = lossy(datagrams(stream, units, cut), 5, stream.ssrc, 1);
        ensure!(!lost.is_empty() && lost.len() < units.len() / 2, "{} units lost", lost.len());
        torn.push(lost);
        sent.push((*stream, kept));
    }
    let all = receiver.all_at_shared_port(sent)?;
    for (((frames, (units, cut)), stream), torn) in
        all.iter().zip(&senders).zip(&streams).zip(&torn)
    {
        let whole = |unit: usize| !torn.contains(&unit);
        let truth = Truth { whole: &whole, ..Truth::whole("av1", units, stream) };
        truth.check(frames).with_context(|| format!("{cut:?}, torn {torn:?}"))?;
    }
    receiver.system.stop()
}
