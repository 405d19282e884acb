//! Frame truth: what a reader gets is, frame by frame, what FFmpeg finds in the bytes that were
//! sent.
//!
//! The reader is there before the publisher. Of each stream every frame from the first key frame
//! on is compared, the last one included, and none may be missing or be there twice.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::generate::clips::{self, AAC, H264, Shape, run};
use penstock_tests::generate::h264::{Paff, paff};
use penstock_tests::generate::mux::Stream;
use penstock_tests::generate::pack::{Packing, mux, pack};
use penstock_tests::generate::{AccessUnit, sha256};
use penstock_tests::oracle::{self, Check, Frame, Packet, compare};
use penstock_tests::process::{Process, eventually};
use penstock_tests::publisher::{PAYLOAD_BYTES, Publisher};
use penstock_tests::senders::{self, SrtLiveTransmit};
use penstock_tests::system::{Options, PATIENCE, Penstock};
use tempfile::TempDir;

/// FFmpeg's multiplexer begins with these.
const VIDEO: u16 = 0x100;
const AUDIO: u16 = 0x101;
/// About three times the rate of the clips.
const BITS_PER_SECOND: u64 = 1_000_000;
/// Stamps on the wire are modulo this.
const WRAP: u64 = 1 << 33;

/// Rings that hold a whole clip: a reader that the machine keeps waiting misses nothing.
fn options() -> Options {
    let ingestion = "  max_connections: 12\n  gop: {buffer_count: 12}\n".to_owned();
    Options { ingestion: Options::default().ingestion + &ingestion, ..Options::default() }
}

/// What a stream is expected to be.
#[derive(Debug, Clone, Copy)]
struct Expected<'a> {
    /// The bytes that were sent.
    path: &'a Path,
    video: u16,
    audio: Option<u16>,
    /// What the generator knows of the video.
    truth: Option<&'a [AccessUnit]>,
    /// Each picture has one slice, so that a decoder tells the picture's type.
    one_slice: bool,
}

impl<'a> Expected<'a> {
    /// Pictures of one slice, and sound.
    const fn clip(path: &'a Path) -> Self {
        Self { path, video: VIDEO, audio: Some(AUDIO), truth: None, one_slice: true }
    }

    /// Pictures of which everything is known, and nothing else.
    const fn generated(path: &'a Path, truth: &'a [AccessUnit]) -> Self {
        Self { audio: None, truth: Some(truth), one_slice: false, ..Self::clip(path) }
    }

    /// Compares every frame.
    fn check(&self, frames: &[Frame]) -> Result<()> {
        for (number, frame) in (0..).zip(frames) {
            ensure!(frame.seq == number, "frame {number} has the number {}", frame.seq);
        }
        let video = of_kind(frames, "video")?;
        let packets = oracle::track(self.path, self.video)?;
        self.check_video(&video, &packets).context("video")?;
        let audio = of_kind(frames, "audio")?;
        match self.audio {
            Some(pid) => {
                check_audio(&audio, &oracle::track(self.path, pid)?, &packets).context("audio")?
            }
            None => ensure!(audio.is_empty(), "{} frames of sound", audio.len()),
        }
        ensure!(video.len() + audio.len() == frames.len(), "frames that are neither");
        Ok(())
    }

    fn check_video(&self, frames: &[Frame], packets: &[Packet]) -> Result<()> {
        let types = if self.one_slice {
            oracle::picture_types(self.path, self.video)?
        } else {
            HashMap::new()
        };
        ensure!(types.is_empty() != self.one_slice, "{} pictures decoded", types.len());
        let check = Check { truth: self.truth, picture_types: Some(&types), ..Check::default() };
        let compared = compare(frames, packets, &check)?;
        let key = packets.iter().position(|packet| packet.key).context("no key packet")?;
        ensure!(compared.frames == packets.len() - key, "begins behind the first key packet");
        ensure!(frames.len() == compared.frames, "frames before the first key frame");
        ensure!(
            self.truth.is_some() || frames.iter().all(|frame| frame.field.is_none()),
            "marked as fields"
        );
        Ok(())
    }
}

/// Sound begins with the first key frame: what lies behind that in the file must be there.
fn check_audio(frames: &[Frame], packets: &[Packet], video: &[Packet]) -> Result<()> {
    let compared = compare(frames, packets, &Check::default())?;
    let key = video.iter().position(|packet| packet.key).context("no key packet")?;
    let end = video.get(key + 1).and_then(|packet| packet.position).context("one picture")?;
    let behind = packets.iter().position(|packet| packet.position.is_some_and(|at| at > end));
    let behind = behind.context("no sound behind the first key frame")?;
    ensure!(
        compared.frames >= packets.len() - behind,
        "begins with packet {}, not {behind} or before",
        packets.len() - compared.frames
    );
    Ok(())
}

/// The frames of the one track of a kind.
fn of_kind(frames: &[Frame], kind: &str) -> Result<Vec<Frame>> {
    let own: Vec<Frame> = frames.iter().filter(|frame| frame.kind == kind).cloned().collect();
    let tracks = own.first().map_or(0, |frame| frame.track);
    ensure!(own.iter().all(|frame| frame.track == tracks), "two tracks of {kind}");
    Ok(own)
}

/// A tap and where it writes.
struct Tap {
    process: Process,
    output: PathBuf,
}

impl Tap {
    /// Starts it before the stream is there.
    fn start(system: &Penstock, id: &str, format: &str) -> Result<Self> {
        let output = system.path(&format!("{id}.{format}"));
        let patience = PATIENCE.as_secs().to_string();
        let arguments = ["--format", format, "--from", "oldest", "--wait", &patience];
        Ok(Self { process: system.tap(id, &arguments, &output)?, output })
    }

    fn has_begun(&self) -> Result<bool> {
        Ok(std::fs::metadata(&self.output)?.len() > 0)
    }

    /// All it wrote, once the stream has ended.
    fn end(mut self) -> Result<Vec<u8>> {
        self.process.succeed(PATIENCE)?;
        Ok(std::fs::read(self.output)?)
    }

    fn frames(self) -> Result<Vec<Frame>> {
        oracle::frames(&String::from_utf8(self.end()?)?)
    }
}

/// Sends bytes by a publisher of ours and ends in order.
fn publish(system: &Penstock, id: &str, bytes: &[u8], taps: &[&Tap]) -> Result<()> {
    let mut publisher = Publisher::connect(system.srt_address(), id, 1)?;
    publisher.send_stream(bytes, BITS_PER_SECOND)?;
    eventually("every tap reads", PATIENCE, || {
        publisher.pump()?;
        let begun = taps.iter().map(|tap| tap.has_begun()).collect::<Result<Vec<bool>>>()?;
        Ok(begun.iter().all(|begun| *begun).then_some(()))
    })?;
    publisher.close()
}

/// Sends the file by a publisher of ours; its frames.
fn frames_of(system: &Penstock, id: &str, path: &Path) -> Result<Vec<Frame>> {
    let tap = Tap::start(system, id, "frames")?;
    publish(system, id, &std::fs::read(path)?, &[&tap])?;
    tap.frames()
}

/// Sends and compares.
fn is_true(system: &Penstock, id: &str, expected: &Expected<'_>) -> Result<Vec<Frame>> {
    let frames = frames_of(system, id, expected.path)?;
    expected.check(&frames).with_context(|| format!("{id}, {} frames", frames.len()))?;
    Ok(frames)
}

/// A clip of FFmpeg's, with sound or without, through a system of its own.
fn clip_is_true(
    make: impl FnOnce(&Path) -> Result<PathBuf>,
    audio: Option<u16>,
) -> Result<Vec<Frame>> {
    let folder = tempfile::tempdir()?;
    let path = make(folder.path())?;
    let system = Penstock::start(&options())?;
    let frames = is_true(&system, "clip", &Expected { audio, ..Expected::clip(&path) })?;
    system.stop()?;
    Ok(frames)
}

fn classes(frames: &[Frame]) -> impl Iterator<Item = &str> {
    frames.iter().map(|frame| frame.class.as_str())
}

#[test]
fn h264_high_with_b_frames_and_aac() -> Result<()> {
    let frames = clip_is_true(clips::h264_aac, Some(AUDIO))?;
    for class in ["idr", "p", "b", "audio"] {
        ensure!(classes(&frames).any(|it| it == class), "no {class}");
    }
    Ok(())
}

#[test]
fn h264_with_four_slices_a_picture_and_no_delimiters() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (path, units) = clips::multi_slice_without_delimiters(folder.path())?;
    let system = Penstock::start(&options())?;
    is_true(&system, "slices", &Expected::generated(&path, &units))?;
    system.stop()
}

#[test]
fn mbaff_is_a_frame_a_picture() -> Result<()> {
    clip_is_true(clips::mbaff, None)?;
    Ok(())
}

#[test]
fn hevc_main_with_b_frames_and_aac() -> Result<()> {
    let frames = clip_is_true(clips::hevc, Some(AUDIO))?;
    ensure!(classes(&frames).any(|class| class == "b"), "no b");
    Ok(())
}

#[test]
fn hevc_main_10_with_b_frames_and_aac() -> Result<()> {
    let frames = clip_is_true(clips::hevc_main10, Some(AUDIO))?;
    ensure!(classes(&frames).any(|class| class == "b"), "no b");
    Ok(())
}

/// Field pictures in this packing, with units of a known length that may be told or not.
fn fields_are_true(packing: Packing) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let system = Penstock::start(&options())?;
    let base = Paff::default();
    for (name, config) in [
        ("plain", base),
        ("without_delimiters", Paff { delimiters: false, ..base }),
        ("two_slices", Paff { delimiters: false, slices: 2, ..base }),
        ("with_frames_between", Paff { frame_picture_every: 3, ..base }),
    ] {
        let units = paff(&config);
        for bounded in [true, false] {
            let id = format!("{name}_{}", if bounded { "bounded" } else { "unbounded" });
            let path = folder.path().join(&id);
            let packed = pack(&units, packing, bounded);
            std::fs::write(&path, mux(&[(Stream::h264(VIDEO), packed)], 20))?;
            let frames = is_true(&system, &id, &Expected::generated(&path, &units))?;
            ensure!(frames.iter().any(|frame| frame.field.is_some()), "{id}: no fields");
        }
    }
    system.stop()
}

#[test]
fn a_field_is_a_frame_with_its_place_in_the_pair() -> Result<()> {
    fields_are_true(Packing::OnePerUnit)
}

#[test]
fn field_pairs_share_a_pes_packet() -> Result<()> {
    fields_are_true(Packing::UnitsPerPes(2))
}

#[test]
fn five_fields_share_a_pes_packet() -> Result<()> {
    fields_are_true(Packing::UnitsPerPes(5))
}

#[test]
fn a_field_lies_over_three_pes_packets() -> Result<()> {
    fields_are_true(Packing::PesPerUnit(3))
}

#[test]
fn pes_packets_smaller_than_fields_begin_anywhere() -> Result<()> {
    fields_are_true(Packing::Unaligned(700))
}

#[test]
fn pes_packets_larger_than_fields_begin_anywhere() -> Result<()> {
    fields_are_true(Packing::Unaligned(2_000))
}

#[test]
fn the_first_program_is_taken_and_another_one_by_its_number() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = clips::two_programs(folder.path())?;
    let program = |number: u16| Options {
        ingestion: options().ingestion + &format!("  mpegts: {{program: {number}}}\n"),
        ..options()
    };
    for (options, video, audio) in
        [(options(), 0x100, 0x101), (program(9), 0x102, 0x103), (program(7), 0x100, 0x101)]
    {
        let system = Penstock::start(&options)?;
        let expected = Expected { video, audio: Some(audio), ..Expected::clip(&path) };
        is_true(&system, "programs", &expected).with_context(|| format!("PID {video:#x}"))?;
        system.stop()?;
    }
    Ok(())
}

/// The stamps rise from the wire's below 2^33 to values beyond it.
fn passes_the_wrap(frames: &[Frame]) -> Result<()> {
    let stamps: Vec<u64> = frames.iter().filter_map(|frame| frame.dts).collect();
    ensure!(stamps.len() == frames.len() && stamps.is_sorted(), "DTS {stamps:?}");
    let (first, last) = (stamps.first(), stamps.last());
    ensure!(first.is_some_and(|first| *first < WRAP), "begins with {first:?}");
    ensure!(last.is_some_and(|last| (WRAP..WRAP + 90_000 * 60).contains(last)), "{last:?}");
    Ok(())
}

#[test]
fn stamps_of_pictures_and_sound_go_on_past_the_wrap() -> Result<()> {
    let frames = clip_is_true(clips::wrap, Some(AUDIO))?;
    for kind in ["video", "audio"] {
        passes_the_wrap(&of_kind(&frames, kind)?).context(kind)?;
    }
    Ok(())
}

#[test]
fn stamps_that_are_derived_go_on_past_the_wrap() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let units = paff(&Paff { start: WRAP - 20 * 3_600, ..Paff::default() });
    let path = folder.path().join("fields.ts");
    let packed = pack(&units, Packing::UnitsPerPes(5), true);
    std::fs::write(&path, mux(&[(Stream::h264(VIDEO), packed)], 20))?;
    let system = Penstock::start(&options())?;
    let frames = is_true(&system, "fields", &Expected::generated(&path, &units))?;
    passes_the_wrap(&frames)?;
    system.stop()
}

/// Packets of 188 bytes, each with so many bytes before and behind it.
fn repacked(folder: &Path, path: &Path, before: usize, behind: usize) -> Result<PathBuf> {
    let mut out = Vec::new();
    for packet in std::fs::read(path)?.chunks(188) {
        // Never a sync byte.
        out.extend(std::iter::repeat_n(0x11, before));
        out.extend(packet);
        out.extend(std::iter::repeat_n(0x22, behind));
    }
    let path = folder.join(format!("{}.ts", before + 188 + behind));
    std::fs::write(&path, out)?;
    Ok(path)
}

#[test]
fn packets_of_192_and_204_bytes_carry_the_same_frames() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = clips::h264_aac(folder.path())?;
    let system = Penstock::start(&options())?;
    for (before, behind) in [(4, 0), (0, 16)] {
        let path = repacked(folder.path(), &path, before, behind)?;
        is_true(&system, &format!("packets_{before}_{behind}"), &Expected::clip(&path))?;
    }
    system.stop()
}

/// A clip in this coding, without its first half second.
fn joined_late(folder: &Path, coder: &[&str]) -> Result<PathBuf> {
    let path = clips::make(folder, "whole.ts", Shape::default(), &[coder, &AAC[..]].concat())?;
    let bytes = std::fs::read(path)?;
    let path = folder.join("late.ts");
    std::fs::write(&path, &bytes[bytes.len() / 8 / 188 * 188..])?;
    Ok(path)
}

#[test]
fn a_stream_joined_between_key_frames_begins_with_the_next_one() -> Result<()> {
    let make = |folder: &Path| joined_late(folder, &H264);
    clip_is_true(make, Some(AUDIO))?;
    Ok(())
}

/// Key frames that are no IDR pictures.
fn key_flags_are_true(coder: &[&str], class: &str) -> Result<()> {
    let make = |folder: &Path| clips::make(folder, "keys.ts", Shape::default(), coder);
    let frames = clip_is_true(make, None)?;
    let keys = frames.iter().filter(|frame| frame.key && frame.class == class).count();
    ensure!(keys > 0, "no key frame of the class {class}");
    Ok(())
}

#[test]
fn an_open_group_of_h264_begins_with_a_key_frame_that_is_no_idr() -> Result<()> {
    key_flags_are_true(&[&H264[..], &["-x264-params", "open-gop=1", "-an"]].concat(), "i")
}

#[test]
fn intra_refresh_has_key_frames_that_are_p() -> Result<()> {
    key_flags_are_true(&[&H264[..], &["-x264-params", "intra-refresh=1", "-an"]].concat(), "p")
}

#[test]
fn an_open_group_of_hevc_begins_with_a_key_frame_that_is_no_idr() -> Result<()> {
    let parameters = "log-level=none:bframes=3:open-gop=1";
    let coder = ["-c:v", "libx265", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-an"];
    key_flags_are_true(&[&coder[..], &["-x265-params", parameters]].concat(), "i")
}

/// What FFmpeg takes out of a file as an elementary stream.
fn elementary(path: &Path, format: &str) -> Result<Vec<u8>> {
    run("ffmpeg", &["-i", &path.to_string_lossy(), "-map", "0:v", "-c", "copy", "-f", format, "-"])
}

#[test]
fn annexb_is_the_elementary_stream_from_the_first_key_frame_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let system = Penstock::start(&options())?;
    let hevc = ["-c:v", "libx265", "-preset", "veryfast", "-x265-params", "log-level=none"];
    for (format, coder) in [("h264", &H264[..]), ("hevc", &hevc)] {
        let path = joined_late(folder.path(), coder)?;
        let tap = Tap::start(&system, format, "annexb")?;
        publish(&system, format, &std::fs::read(&path)?, &[&tap])?;
        let (ours, theirs) = (tap.end()?, elementary(&path, format)?);
        ensure!(
            sha256(&ours) == sha256(&theirs),
            "{format}: {} bytes, FFmpeg extracts {}, equal up to {:?}",
            ours.len(),
            theirs.len(),
            ours.iter().zip(&theirs).position(|(a, b)| a != b)
        );
    }
    system.stop()
}

#[test]
fn frames_of_srt_live_transmit() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = Penstock::start(&options())?;
    let tap = Tap::start(&system, "libsrt", "frames")?;
    let mut sender =
        SrtLiveTransmit::start(&system.srt_url("libsrt"), &system.path("srt-live-transmit.log"))?;
    system.wait_stream("libsrt", "connected", |_| true)?;
    sender.feed(&clip)?;
    let packets = clip.bytes.chunks(PAYLOAD_BYTES).count() as u64;
    system.wait_stream("libsrt", "everything", |stream| {
        // It sends more than the clip: what pushes the clip's end out of its buffers.
        stream["counters"]["packets_delivered"].as_u64() >= Some(packets)
    })?;
    drop(sender);
    Expected::clip(&clip.path).check(&tap.frames()?)?;
    system.stop()
}

#[test]
fn frames_of_gstreamer() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = Penstock::start(&options())?;
    let tap = Tap::start(&system, "gstreamer", "frames")?;
    let uri = format!("uri=srt://127.0.0.1:{}?mode=caller", system.srt_port);
    let properties = [&uri, "latency=300", "streamid=gstreamer"];
    senders::gstreamer(&system, &clip.path, &properties)?.succeed(PATIENCE)?;
    Expected::clip(&clip.path).check(&tap.frames()?)?;
    system.stop()
}

/// FFmpeg codes in real time and writes what it sends to a file also. Without `linger` it would
/// throw away what libsrt has not sent when it ends.
fn ffmpeg_live(system: &Penstock, id: &str, recorded: &Path) -> Result<Process> {
    let url = format!("{}&latency=300000&pkt_size=1316&linger=5", system.srt_url(id));
    let mut command = Command::new("ffmpeg");
    command.stderr(system.log()?);
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin"]);
    command.args(["-re", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=4"]);
    command.args(["-re", "-f", "lavfi", "-i", "sine=440:r=48000:d=4"]);
    command.args(["-map", "0:v", "-map", "1:a", "-g", "25"]).args(H264).args(AAC);
    let outputs = format!("[f=mpegts]{}|[f=mpegts]{url}", recorded.display());
    command.args(["-f", "tee", &outputs]);
    Process::start("ffmpeg", &mut command)
}

#[test]
fn frames_of_ffmpeg_coding_live() -> Result<()> {
    let folder = TempDir::new()?;
    let system = Penstock::start(&options())?;
    let tap = Tap::start(&system, "ffmpeg", "frames")?;
    let recorded = folder.path().join("recorded.ts");
    ffmpeg_live(&system, "ffmpeg", &recorded)?.succeed(PATIENCE)?;
    Expected::clip(&recorded).check(&tap.frames()?)?;
    system.stop()
}
