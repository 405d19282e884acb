//! JPEG XS over RTP, from sender to frame: in each mode of RFC 9134, progressive and interlaced.

use anyhow::{Context, Result, ensure};
use penstock_tests::generate::AccessUnit;
use penstock_tests::generate::jpegxs::{Picture, pictures};
use penstock_tests::rtp::jpegxs::{Cut, Mode, packets};
use penstock_tests::rtp::paced::{Datagram, Stream};
use penstock_tests::system::free_rtp_port;

use super::rtp_units::{Receiver, Truth, lossy, shuffled};

/// Frames of a clip: a second and a half.
const FRAMES: usize = 38;
/// Bytes of a slice: about 20 kB a frame, 4 Mbit/s.
const SLICE_BYTES: usize = 220;

const MODES: [Mode; 3] = [Mode::Codestream, Mode::Slice, Mode::SliceInAnyOrder];

fn units(pictures: &[Picture]) -> Vec<AccessUnit> {
    pictures.iter().map(Picture::unit).collect()
}

fn datagrams(stream: &Stream, pictures: &[Picture], cut: &Cut) -> Vec<Datagram> {
    stream.datagrams(&packets(pictures, cut))
}

/// Sends pictures cut in these ways, each by a sender of its own at one time.
fn are_whole(pictures: &[Picture], cuts: &[Cut]) -> Result<()> {
    let senders = u32::try_from(cuts.len())?;
    let receiver = Receiver::start(senders, "")?;
    let streams: Vec<Stream> = (1..=senders).map(Stream::new).collect();
    let sent = streams.iter().zip(cuts).map(|(it, cut)| (*it, datagrams(it, pictures, cut)));
    let all = receiver.all_at_shared_port(sent.collect())?;
    let units = units(pictures);
    for ((frames, cut), stream) in all.iter().zip(cuts).zip(&streams) {
        let truth = Truth::whole("jpegxs", &units, stream);
        truth.check(frames).with_context(|| format!("{cut:?}"))?;
    }
    receiver.system.stop()
}

#[test]
fn frames_are_recognised_and_whole_in_each_mode() -> Result<()> {
    let mut cuts = MODES.map(Cut::new).to_vec();
    cuts.push(Cut { boxed: false, ..Cut::new(Mode::Codestream) });
    are_whole(&pictures(FRAMES, false, SLICE_BYTES), &cuts)
}

#[test]
fn fields_are_recognised_and_whole_in_each_mode() -> Result<()> {
    let mut cuts = MODES.map(Cut::new).to_vec();
    cuts.push(Cut { frame_counted: true, ..Cut::new(Mode::Codestream) });
    // The second field's time is then half a frame after the first one's.
    cuts.push(Cut { frame_counted: true, frame_stamped: true, ..Cut::new(Mode::Slice) });
    are_whole(&pictures(FRAMES, true, SLICE_BYTES), &cuts)
}

#[test]
fn a_session_that_is_given_is_whole() -> Result<()> {
    let ports = [free_rtp_port()?, free_rtp_port()?];
    let session = |id: &str, port: u16, mode: &str| {
        let sdp = format!(
            "v=0\\no=- 0 0 IN IP4 127.0.0.1\\ns=-\\nc=IN IP4 127.0.0.1\\nt=0 0\\n\
             m=video {port} RTP/AVP 112\\na=rtpmap:112 jxsv/90000\\n\
             a=fmtp:112 {mode};profile=Main422.10;width=1920;height=1080\\na=rtcp-mux\\n"
        );
        format!("{{id: {id}, sdp: \"{sdp}\"}}")
    };
    let sessions = [
        session("frames", ports[0], "packetmode=0"),
        session("fields", ports[1], "packetmode=1;transmode=0;interlace"),
    ];
    let receiver = Receiver::start(0, &format!(", sessions: [{}]", sessions.join(", ")))?;
    for (id, port, mode) in
        [("frames", ports[0], Mode::Codestream), ("fields", ports[1], Mode::SliceInAnyOrder)]
    {
        let pictures = pictures(FRAMES, id == "fields", SLICE_BYTES);
        let stream = Stream { payload_type: 112, ..Stream::new(1) };
        let sent = datagrams(&stream, &pictures, &Cut::new(mode));
        let frames = receiver.at(id, port, stream, sent)?;
        Truth::whole("jpegxs", &units(&pictures), &stream).check(&frames).context(id)?;
    }
    receiver.system.stop()
}

#[test]
fn packets_out_of_order_inside_the_window_cost_nothing() -> Result<()> {
    let receiver = Receiver::start(3, "")?;
    let pictures = pictures(FRAMES, true, SLICE_BYTES);
    let streams: Vec<Stream> = (1..=3).map(Stream::new).collect();
    // The first packets prove the sender.
    let sent = streams.iter().zip(MODES).map(|(stream, mode)| {
        (*stream, shuffled(datagrams(stream, &pictures, &Cut::new(mode)), 1, 12))
    });
    let all = receiver.all_at_shared_port(sent.collect())?;
    for ((frames, mode), stream) in all.iter().zip(MODES).zip(&streams) {
        let units = units(&pictures);
        let truth = Truth::whole("jpegxs", &units, stream);
        truth.check(frames).with_context(|| format!("{mode:?}"))?;
    }
    receiver.system.stop()
}

#[test]
fn at_one_loss_of_a_hundred_exactly_the_pictures_without_one_are_clean() -> Result<()> {
    let receiver = Receiver::start(6, "")?;
    let clips = [false, true].map(|interlaced| pictures(FRAMES, interlaced, SLICE_BYTES));
    let senders: Vec<(&Vec<Picture>, Mode)> =
        clips.iter().flat_map(|clip| MODES.map(|mode| (clip, mode))).collect();
    let streams: Vec<Stream> = (1..=6).map(Stream::new).collect();
    let (mut torn, mut sent) = (Vec::new(), Vec::new());
    for (stream, (pictures, mode)) in streams.iter().zip(&senders) {
        let (kept, lost) = lossy(datagrams(stream, pictures, &Cut::new(*mode)), 1, stream.ssrc, 3);
        ensure!(!lost.is_empty() && lost.len() < pictures.len(), "{} lost", lost.len());
        torn.push(lost);
        sent.push((*stream, kept));
    }
    let all = receiver.all_at_shared_port(sent)?;
    for (((frames, (pictures, mode)), stream), torn) in
        all.iter().zip(&senders).zip(&streams).zip(&torn)
    {
        let units = units(pictures);
        let whole = |unit: usize| !torn.contains(&unit);
        let truth = Truth { whole: &whole, ..Truth::whole("jpegxs", &units, stream) };
        truth.check(frames).with_context(|| format!("{mode:?}, torn {torn:?}"))?;
    }
    receiver.system.stop()
}
