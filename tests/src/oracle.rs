//! FFmpeg as the judge of frames.
//!
//! What `penstock tap --format frames` says of a track is compared with what
//! `ffprobe -show_packets -show_data_hash sha256` finds in the same bytes:
//!
//! - every frame from the first key frame on (sound: from the first), in order, none missing and
//!   none more;
//! - bytes exactly, AAC as raw access units (FFmpeg's ADTS headers are taken off first);
//! - stamps modulo 2^33, since FFmpeg turns negative near the wrap; sound within a tick, because
//!   ADTS frames without a stamp of their own are rounded;
//! - stamps that FFmpeg does not give, against the generator's truth;
//! - the codec and the key flag, and the picture type where a picture has one slice;
//! - the place of a field in its pair, by the generator's truth;
//! - no mark of damage, and none of a timeline that jumps.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::generate::{AccessUnit, Field, clips::run, sha256};

/// Wire stamps are modulo 2^33.
const MODULUS: u64 = 1 << 33;
/// Sound may be off by so much: FFmpeg rounds where an ADTS frame has no stamp of its own.
const AUDIO_TOLERANCE_TICKS: u64 = 1;

/// One packet as ffprobe shows it: a frame, or a field of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// FFmpeg's index of its stream.
    pub stream: u32,
    /// Its PID.
    pub pid: u16,
    /// `codec_name`.
    pub codec: String,
    /// Presentation time modulo 2^33, where FFmpeg gives one.
    pub pts: Option<u64>,
    /// Decoding time modulo 2^33, where FFmpeg gives one.
    pub dts: Option<u64>,
    /// A decoder can start here.
    pub key: bool,
    /// Where in the file the PES packet begins that it begins in, where FFmpeg says so.
    pub position: Option<u64>,
    /// Bytes.
    pub size: usize,
    /// SHA-256 of the bytes.
    pub sha256: String,
}

/// A line of `penstock tap --format frames`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Frame {
    /// Sequence number.
    pub seq: u64,
    /// Track index.
    pub track: u32,
    /// `video`, `audio` or `data`.
    pub kind: String,
    /// `h264`, `hevc`, `aac`, ...
    pub codec: String,
    /// Presentation time in 90 kHz ticks.
    pub pts: Option<u64>,
    /// Decoding time in 90 kHz ticks.
    pub dts: Option<u64>,
    /// `idr`, `i`, `p`, `b`, `inter`, `audio` or `data`.
    pub class: String,
    /// A decoder can start here.
    pub key: bool,
    /// Bytes of it are missing.
    pub damaged: bool,
    /// Bytes.
    pub size: usize,
    /// SHA-256 of the bytes.
    pub sha256: String,
    /// `first` or `second` of a pair of fields.
    #[serde(default)]
    pub field: Option<String>,
    /// The timeline jumped before it.
    #[serde(default)]
    pub discontinuity: bool,
}

/// Reads the lines of a tap.
pub fn frames(lines: &str) -> Result<Vec<Frame>> {
    let lines = lines.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a frame: {line}")))
        .collect()
}

fn probe(path: &Path, arguments: &[&str]) -> Result<Value> {
    let path = path.to_string_lossy();
    let json = run("ffprobe", &[arguments, &["-of", "json", &path]].concat())?;
    Ok(serde_json::from_slice(&json)?)
}

fn list<'a>(json: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    json[key].as_array().with_context(|| format!("no {key} from ffprobe"))
}

fn stamp(value: &Value) -> Option<u64> {
    let modulus = i64::try_from(MODULUS).ok()?;
    u64::try_from(value.as_i64()?.rem_euclid(modulus)).ok()
}

/// Our name of what FFmpeg calls so.
fn coding(codec_name: &str) -> &str {
    match codec_name {
        "mp1" | "mp2" | "mp3" => "mpegaudio",
        // Frames are what LATM carries.
        "aac_latm" => "aac",
        same => same,
    }
}

/// All packets of a file.
pub fn packets(path: &Path) -> Result<Vec<Packet>> {
    let streams = probe(path, &["-show_entries", "stream=index,id,codec_name"])?;
    let mut known = HashMap::new();
    for stream in list(&streams, "streams")? {
        let id = stream["id"].as_str().context("a stream without id")?;
        let pid = u16::from_str_radix(id.trim_start_matches("0x"), 16)?;
        let codec = coding(stream["codec_name"].as_str().unwrap_or("unknown"));
        known.insert(stream["index"].as_u64(), (pid, codec.to_owned()));
    }
    let json = probe(path, &["-show_packets", "-show_data_hash", "sha256"])?;
    let packet = |packet: &Value| {
        let index = packet["stream_index"].as_u64();
        let (pid, codec) = known.get(&index).context("a packet of no stream")?;
        let hash = packet["data_hash"].as_str().context("no hash")?;
        Ok(Packet {
            stream: u32::try_from(index.unwrap_or(0))?,
            pid: *pid,
            codec: codec.clone(),
            pts: stamp(&packet["pts"]),
            dts: stamp(&packet["dts"]),
            key: packet["flags"].as_str().is_some_and(|flags| flags.contains('K')),
            position: packet["pos"].as_str().and_then(|text| text.parse().ok()),
            size: packet["size"].as_str().context("no size")?.parse()?,
            sha256: hash.trim_start_matches("SHA256:").to_lowercase(),
        })
    };
    list(&json, "packets")?.iter().map(packet).collect()
}

/// The bytes of one PID's packets, which must be all of them.
pub fn payloads(path: &Path, pid: u16, packets: &[&Packet]) -> Result<Vec<Vec<u8>>> {
    let map = format!("0:i:{pid}");
    let text = path.to_string_lossy();
    let arguments = [
        "-i",
        &text,
        "-map",
        &map,
        "-c",
        "copy",
        "-copyinkf",
        "-copypriorss",
        "1",
        "-f",
        "data",
        "-",
    ];
    let bytes = run("ffmpeg", &arguments)?;
    let total: usize = packets.iter().map(|packet| packet.size).sum();
    ensure!(bytes.len() == total, "{} bytes, not {total}", bytes.len());
    let mut rest = bytes.as_slice();
    let piece = |packet: &&Packet| {
        let (piece, behind) = rest.split_at(packet.size);
        rest = behind;
        ensure!(sha256(piece) == packet.sha256, "FFmpeg contradicts itself");
        Ok(piece.to_vec())
    };
    packets.iter().map(piece).collect()
}

/// The packets of one PID as frames should be: ADTS headers taken off.
pub fn track(path: &Path, pid: u16) -> Result<Vec<Packet>> {
    let mut packets = packets(path)?;
    packets.retain(|packet| packet.pid == pid);
    ensure!(!packets.is_empty(), "no packets on PID {pid}");
    if packets.iter().any(|packet| packet.codec == "aac") {
        let pieces = payloads(path, pid, &packets.iter().collect::<Vec<_>>())?;
        if pieces[0].starts_with(&[0x56]) {
            return Ok(packets); // LATM
        }
        for (packet, piece) in packets.iter_mut().zip(pieces) {
            let raw = without_adts_header(&piece)?;
            packet.size = raw.len();
            packet.sha256 = sha256(raw);
        }
    }
    Ok(packets)
}

fn without_adts_header(frame: &[u8]) -> Result<&[u8]> {
    let [0xFF, second, _, third, fourth, fifth, ..] = *frame else {
        bail!("no ADTS header");
    };
    let length = u32::from(third & 3) << 11 | u32::from(fourth) << 3 | u32::from(fifth >> 5);
    ensure!(length as usize == frame.len(), "more than one ADTS frame");
    // protection_absent 0: a CRC of two bytes follows.
    let header = if second & 1 == 0 { 9 } else { 7 };
    frame.get(header..).context("an empty ADTS frame")
}

/// Picture types of one PID by presentation time modulo 2^33, from the decoder.
pub fn picture_types(path: &Path, pid: u16) -> Result<HashMap<u64, char>> {
    let selected = format!("i:{pid}");
    let entries = "frame=pts,pict_type";
    let json = probe(path, &["-select_streams", &selected, "-show_entries", entries])?;
    let frames = list(&json, "frames")?.iter();
    let pair =
        |frame: &Value| Some((stamp(&frame["pts"])?, frame["pict_type"].as_str()?.chars().next()?));
    Ok(frames.filter_map(pair).collect())
}

/// What a comparison knows beside the packets, and what it allows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Check<'a> {
    /// The generator's truth, one unit for each packet.
    pub truth: Option<&'a [AccessUnit]>,
    /// Picture types, where each picture has one slice.
    pub picture_types: Option<&'a HashMap<u64, char>>,
    /// Frames may be missing, and damaged ones are not compared: what loss may do.
    pub lossy: bool,
}

/// What was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compared {
    /// Frames found equal.
    pub frames: usize,
    /// Frames marked damaged.
    pub damaged: usize,
    /// Packets of the file without a frame.
    pub missing: usize,
}

/// Compares the frames of one track with the packets of one PID: pictures from the first key
/// frame on, all else from the first frame.
pub fn compare(frames: &[Frame], packets: &[Packet], check: &Check<'_>) -> Result<Compared> {
    if let Some(truth) = check.truth {
        ensure!(
            truth.len() == packets.len(),
            "FFmpeg finds {} packets, the truth has {}",
            packets.len(),
            truth.len()
        );
    }
    let first = frames.iter().position(|frame| frame.key || frame.kind != "video");
    let frames = &frames[first.context("no key frame")?..];
    let mut at = first_packet(&frames[0], packets)?;
    let mut compared = Compared::default();
    for frame in frames {
        if check.lossy {
            if frame.damaged {
                compared.damaged += 1;
                continue;
            }
            let ahead = packets[at..].iter().position(|packet| packet.sha256 == frame.sha256);
            let ahead = ahead.with_context(|| format!("no packet is frame {frame:?}"))?;
            compared.missing += ahead;
            at += ahead;
        }
        let packet = packets
            .get(at)
            .with_context(|| format!("a frame behind the last packet: {frame:?}"))?;
        let truth = check.truth.map(|truth| &truth[at]);
        same(frame, packet, truth, check)
            .with_context(|| format!("packet {at}: {packet:?}\nframe: {frame:?}"))?;
        compared.frames += 1;
        at += 1;
    }
    compared.missing += packets.len() - at;
    if !check.lossy {
        ensure!(at == packets.len(), "{} packets have no frame", packets.len() - at);
    }
    Ok(compared)
}

/// Where the frames begin in the file: the same bytes may come again, the same time does not.
fn first_packet(frame: &Frame, packets: &[Packet]) -> Result<usize> {
    let is = |packet: &Packet| {
        let stamps = packet.pts.zip(frame.pts);
        packet.sha256 == frame.sha256
            && stamps.is_none_or(|(theirs, ours)| distance(ours, theirs) <= tolerance(frame))
    };
    let key = packets.iter().position(|packet| packet.key);
    let key = key.context("no key packet")?;
    let found = packets.iter().position(is);
    let found = found.with_context(|| format!("the first key frame is no packet: {frame:?}"))?;
    ensure!(found >= key, "begins before the first key packet");
    Ok(found)
}

fn same(
    frame: &Frame,
    packet: &Packet,
    truth: Option<&AccessUnit>,
    check: &Check<'_>,
) -> Result<()> {
    ensure!(!frame.damaged, "marked damaged");
    ensure!(check.lossy || !frame.discontinuity, "marked as a jump of the timeline");
    ensure!(frame.sha256 == packet.sha256, "other bytes");
    ensure!(frame.size == packet.size, "other size");
    ensure!(frame.codec == packet.codec, "other codec");
    ensure!(frame.key == packet.key, "other key flag");
    for (name, ours, theirs, known) in [
        ("PTS", frame.pts, packet.pts, truth.map(|unit| unit.pts)),
        ("DTS", frame.dts, packet.dts, truth.map(|unit| unit.dts)),
    ] {
        let ours = ours.with_context(|| format!("no {name}"))?;
        if let Some(wanted) = theirs.or(known) {
            let off = distance(ours, wanted);
            ensure!(off <= tolerance(frame), "{name} is off by {off} ticks");
        }
        if let Some(known) = known {
            ensure!(ours == known, "{name} {ours} is not the true {known}");
        }
    }
    if let Some(unit) = truth {
        ensure!(frame.class == unit.class, "the class is {}", unit.class);
        let field = unit.field.map(Field::label);
        ensure!(frame.field.as_deref() == field, "its place in a pair is {field:?}");
    }
    let kind = check.picture_types.zip(packet.pts);
    if let Some(kind) = kind.and_then(|(types, pts)| types.get(&pts)) {
        let fits = match kind {
            'I' => matches!(frame.class.as_str(), "idr" | "i"),
            'P' => frame.class == "p",
            'B' => frame.class == "b",
            _ => true,
        };
        ensure!(fits, "the picture type is {kind}");
    }
    Ok(())
}

fn tolerance(frame: &Frame) -> u64 {
    if frame.kind == "audio" { AUDIO_TOLERANCE_TICKS } else { 0 }
}

/// How far two stamps are apart, modulo 2^33.
fn distance(a: u64, b: u64) -> u64 {
    let ahead = (a % MODULUS + MODULUS - b % MODULUS) % MODULUS;
    ahead.min(MODULUS - ahead)
}

/// What frames would be in a perfect system: the packets as lines of a tap.
pub fn as_frames(packets: &[Packet], kind: &str, class: impl Fn(usize) -> String) -> Vec<Frame> {
    let frame = |(seq, packet): (usize, &Packet)| Frame {
        seq: seq as u64,
        track: packet.stream,
        kind: kind.to_owned(),
        codec: packet.codec.clone(),
        pts: packet.pts,
        dts: packet.dts,
        class: class(seq),
        key: packet.key,
        damaged: false,
        size: packet.size,
        sha256: packet.sha256.clone(),
        field: None,
        discontinuity: false,
    };
    packets.iter().enumerate().map(frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{
        clips,
        h264::{Paff, paff},
        mux::Stream,
        pack::{Packing, mux, pack},
    };

    const VIDEO: u16 = 0x100;

    /// Writes a generated stream and reads it back through FFmpeg.
    fn through_ffmpeg(
        units: &[AccessUnit],
        packing: Packing,
        bounded: bool,
    ) -> (Vec<Packet>, Vec<bool>, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("generated.ts");
        let packed = pack(units, packing, bounded);
        let stamped = packed.stamped.clone();
        std::fs::write(&path, mux(&[(Stream::h264(VIDEO), packed)], 20)).unwrap();
        let text = path.to_str().unwrap();
        // A decoder that finds a mistake prints it.
        let log = std::process::Command::new("ffmpeg")
            .args(["-v", "warning", "-i", text, "-f", "null", "-"])
            .output()
            .unwrap();
        // Of the decoder alone: the multiplexer behind it complains of missing stamps.
        let log = String::from_utf8_lossy(&log.stderr);
        let log = log.lines().filter(|line| line.contains("h264 @")).collect();
        (track(&path, VIDEO).unwrap(), stamped, log)
    }

    fn assert_true(units: &[AccessUnit], packing: Packing, bounded: bool) {
        let (packets, stamped, log) = through_ffmpeg(units, packing, bounded);
        assert_eq!(log, "", "{packing:?}");
        assert_eq!(packets.len(), units.len(), "{packing:?}");
        for (number, (packet, unit)) in packets.iter().zip(units).enumerate() {
            let context = format!("{packing:?}, unit {number}");
            assert_eq!(packet.sha256, unit.sha256(), "{context}");
            assert_eq!(packet.key, unit.key, "{context}");
            if stamped[number] {
                assert_eq!(packet.pts, Some(unit.pts % MODULUS), "{context}");
                assert_eq!(packet.dts, Some(unit.dts % MODULUS), "{context}");
            }
        }
    }

    #[test]
    fn field_pairs_are_valid_and_one_packet_a_field() {
        for (packing, bounded) in [
            (Packing::OnePerUnit, false),
            (Packing::OnePerUnit, true),
            (Packing::UnitsPerPes(2), false),
            (Packing::UnitsPerPes(5), true),
            (Packing::PesPerUnit(3), true),
            (Packing::Unaligned(700), false),
            (Packing::Unaligned(2000), true),
        ] {
            assert_true(&paff(&Paff::default()), packing, bounded);
        }
    }

    #[test]
    fn variants_of_field_coding_are_valid() {
        let base = Paff::default();
        for config in [
            Paff { delimiters: false, ..base },
            Paff { slices: 2, delimiters: false, ..base },
            Paff { frame_picture_every: 3, ..base },
            Paff { start: MODULUS - 20 * 3600, ..base },
        ] {
            assert_true(&paff(&config), Packing::OnePerUnit, false);
        }
    }

    #[test]
    fn fields_decode_to_interlaced_frames() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("paff.ts");
        let units = paff(&Paff::default());
        let packed = pack(&units, Packing::OnePerUnit, false);
        std::fs::write(&path, mux(&[(Stream::h264(VIDEO), packed)], 20)).unwrap();
        let entries = "frame=interlaced_frame,top_field_first,width,height";
        let json = probe(&path, &["-show_entries", entries]).unwrap();
        let frames = list(&json, "frames").unwrap();
        assert_eq!(frames.len(), 24);
        assert!(frames.iter().all(|frame| frame["interlaced_frame"] == 1 && frame["width"] == 64));
    }

    #[test]
    fn clips_are_what_they_say() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for (path, codec, profile) in [
            (clips::h264_aac(folder), "h264", "High"),
            (clips::mbaff(folder), "h264", "High"),
            (clips::hevc(folder), "hevc", "Main"),
            (clips::hevc_main10(folder), "hevc", "Main 10"),
        ] {
            let path = path.unwrap();
            let json = probe(&path, &["-show_streams", "-select_streams", "v"]).unwrap();
            let stream = &json["streams"][0];
            assert_eq!(stream["codec_name"], codec, "{}", path.display());
            assert_eq!(stream["profile"], profile, "{}", path.display());
            let types = picture_types(&path, VIDEO).unwrap();
            assert!(types.values().any(|kind| *kind == 'B'), "{}", path.display());
        }
        let packets = track(&clips::mbaff(folder).unwrap(), VIDEO).unwrap();
        assert_eq!(packets.len(), 100, "one packet a frame");
    }

    #[test]
    fn wrap_clip_passes_the_wrap_on_both_tracks() {
        let folder = tempfile::tempdir().unwrap();
        let path = clips::wrap(folder.path()).unwrap();
        for pid in [VIDEO, 0x101] {
            let stamps: Vec<u64> =
                track(&path, pid).unwrap().iter().filter_map(|p| p.dts).collect();
            assert!(stamps.iter().any(|dts| *dts > MODULUS - 90_000));
            assert!(stamps.iter().any(|dts| *dts < 90_000));
        }
    }

    #[test]
    fn two_programs_hold_four_streams() {
        let folder = tempfile::tempdir().unwrap();
        let path = clips::two_programs(folder.path()).unwrap();
        let json = probe(&path, &["-show_programs"]).unwrap();
        let numbers: Vec<_> =
            list(&json, "programs").unwrap().iter().map(|p| p["program_num"].as_u64()).collect();
        assert_eq!(numbers, [Some(7), Some(9)]);
    }

    #[test]
    fn multi_slice_clip_has_no_delimiters_and_keeps_its_units() {
        let folder = tempfile::tempdir().unwrap();
        let (path, units) = clips::multi_slice_without_delimiters(folder.path()).unwrap();
        let packets = track(&path, VIDEO).unwrap();
        assert_eq!(packets.len(), units.len());
        for (packet, unit) in packets.iter().zip(&units) {
            assert_eq!(packet.sha256, unit.sha256());
            assert_eq!((packet.pts, packet.dts), (Some(unit.pts), Some(unit.dts)));
            let nal = |kind| {
                unit.bytes.windows(4).filter(|w| w[..3] == [0, 0, 1] && w[3] & 31 == kind).count()
            };
            assert_eq!(nal(9), 0);
            assert_eq!(nal(1) + nal(5), 4);
        }
    }

    #[test]
    fn adts_headers_are_taken_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = clips::h264_aac(folder.path()).unwrap();
        let with: Vec<Packet> =
            packets(&path).unwrap().into_iter().filter(|p| p.pid == 0x101).collect();
        let without = track(&path, 0x101).unwrap();
        assert_eq!(with.len(), without.len());
        for (with, without) in with.iter().zip(&without) {
            assert_eq!(with.size, without.size + 7);
            assert_ne!(with.sha256, without.sha256);
        }
    }

    mod comparison {
        use super::*;

        fn packets() -> Vec<Packet> {
            let packet = |number: u64| Packet {
                stream: 0,
                pid: VIDEO,
                codec: "h264".to_owned(),
                pts: Some(number * 3000),
                dts: (number % 4 != 3).then_some(number * 3000),
                key: number.is_multiple_of(4),
                position: None,
                size: 10,
                sha256: format!("{number}"),
            };
            (1..20).map(packet).collect()
        }

        fn perfect(packets: &[Packet]) -> Vec<Frame> {
            let mut frames = as_frames(packets, "video", |_| "p".to_owned());
            for frame in &mut frames {
                frame.dts = frame.pts;
            }
            frames
        }

        fn verdict(change: impl Fn(&mut Vec<Frame>)) -> Result<Compared> {
            let packets = packets();
            let mut frames = perfect(&packets);
            change(&mut frames);
            compare(&frames, &packets, &Check::default())
        }

        #[test]
        fn equal_frames_pass_from_the_first_key_frame_on() {
            assert_eq!(verdict(|_| {}).unwrap().frames, 16);
            assert_eq!(verdict(|frames| drop(frames.drain(..6))).unwrap().frames, 12);
            assert_eq!(verdict(|frames| frames[0].size = 1).unwrap().frames, 16);
        }

        #[test]
        fn sound_begins_anywhere_and_may_be_off_by_a_tick() {
            let sound = |ticks: u64| {
                verdict(|frames| {
                    frames.drain(..5);
                    for frame in frames {
                        frame.kind = "audio".to_owned();
                        frame.pts = frame.pts.map(|pts| pts + ticks);
                        frame.dts = frame.pts;
                    }
                })
            };
            assert_eq!(sound(1).unwrap().frames, 14);
            assert!(sound(2).is_err());
        }

        #[test]
        fn stamps_are_compared_modulo_the_wrap() {
            let beyond = |frames: &mut Vec<Frame>| {
                for frame in frames {
                    frame.pts = frame.pts.map(|pts| pts + MODULUS);
                    frame.dts = frame.dts.map(|dts| dts + MODULUS);
                }
            };
            assert_eq!(verdict(beyond).unwrap().frames, 16);
        }

        #[test]
        fn every_difference_is_found() {
            let changes: [fn(&mut Vec<Frame>); 11] = [
                |frames| frames[5].sha256.push('x'),
                |frames| frames[5].size += 1,
                |frames| frames[5].key = true,
                |frames| frames[5].codec = "hevc".to_owned(),
                |frames| frames[5].pts = Some(1),
                |frames| frames[5].dts = None,
                |frames| frames[5].damaged = true,
                |frames| frames[5].discontinuity = true,
                |frames| drop(frames.remove(5)),
                |frames| drop(frames.pop()),
                |frames| frames.push(frames[18].clone()),
            ];
            for (number, change) in changes.into_iter().enumerate() {
                assert!(verdict(change).is_err(), "change {number}");
            }
        }

        #[test]
        fn loss_may_leave_out_but_not_alter() {
            let packets = packets();
            let lossy = Check { lossy: true, ..Check::default() };
            let mut frames = perfect(&packets);
            frames.remove(8);
            frames[10].damaged = true;
            frames[10].sha256.push('x');
            let compared = compare(&frames, &packets, &lossy).unwrap();
            assert_eq!((compared.frames, compared.damaged, compared.missing), (14, 1, 2));
            frames[12].sha256.push('x');
            assert!(compare(&frames, &packets, &lossy).is_err());
        }

        #[test]
        fn truth_and_picture_types_are_held_against_the_frames() {
            let packets = packets();
            let frames = perfect(&packets);
            let types: HashMap<u64, char> = [(15_000, 'B')].into();
            let check = Check { picture_types: Some(&types), ..Check::default() };
            assert!(compare(&frames, &packets, &check).is_err());
            let truth: Vec<AccessUnit> = packets
                .iter()
                .map(|packet| AccessUnit {
                    bytes: Vec::new(),
                    pts: packet.pts.unwrap(),
                    dts: packet.pts.unwrap(),
                    key: packet.key,
                    class: "p",
                    field: None,
                })
                .collect();
            let check = Check { truth: Some(&truth), ..Check::default() };
            assert_eq!(compare(&frames, &packets, &check).unwrap().frames, 16);
            let changes: [fn(&mut Frame); 3] = [
                |frame| frame.dts = Some(1), // FFmpeg gives none here
                |frame| frame.class = "b".to_owned(),
                |frame| frame.field = Some("first".to_owned()),
            ];
            for (number, change) in changes.into_iter().enumerate() {
                let mut wrong = frames.clone();
                change(&mut wrong[6]);
                assert!(compare(&wrong, &packets, &check).is_err(), "change {number}");
            }
        }
    }
}
