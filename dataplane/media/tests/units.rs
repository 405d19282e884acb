//! Units that hold whole access units, as RTP hands them over: frames end with their units, have
//! decoding times although none are carried, and a loss stays where it was.

mod support;

use codec::annexb::nal_units;
use codec::sink::{Carriage, Codec, Sink, Timestamps, TrackConfig};
use penstock_media::{DamagedFrames, Limits, Run};
use shm::FrameFlags;
use support::fields::{self, Picture};
use support::{Got, Packet, Random, Rig, ffmpeg, packets};

const SOURCE: &str = "-f lavfi -i testsrc2=s=160x96:r=25:d=3";

fn video(codec: Codec) -> TrackConfig {
    let carriage = Carriage::AccessUnits;
    TrackConfig { codec, carriage, clock_hz: 90_000, payload_type: 96, ..TrackConfig::default() }
}

fn sound(codec: Codec, clock_hz: u32, channels: u8) -> TrackConfig {
    TrackConfig { clock_hz, channels, payload_type: 97, ..video(codec) }
}

fn shown(pts: u64) -> Timestamps {
    Timestamps { pts: Some(pts), dts: None }
}

/// An access unit as a depacketizer writes it.
#[derive(Clone)]
struct Unit {
    pts: u64,
    /// What is written at once: start codes and NAL units, OBUs.
    pieces: Vec<Vec<u8>>,
}

impl Unit {
    fn bytes(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

fn of_nal_units(bytes: &[u8]) -> Vec<Vec<u8>> {
    nal_units(bytes).flat_map(|nal| [vec![0, 0, 0, 1], nal.to_vec()]).collect()
}

/// What an encoder makes, as its packets say.
struct Sample {
    codec: Codec,
    units: Vec<Unit>,
    packets: Vec<Packet>,
}

fn sample(codec: Codec, options: &str) -> Sample {
    let folder = tempfile::tempdir().unwrap();
    let name = match codec {
        Codec::H264 => "a.h264",
        _ => "a.hevc",
    };
    ffmpeg(folder.path(), &format!("{SOURCE} {options} -muxdelay 0 -pes_payload_size 0 a.ts"));
    let file = ffmpeg(folder.path(), &format!("-i a.ts -c copy {name}"));
    let bytes = std::fs::read(&file).unwrap();
    let packets = packets(&folder.path().join("a.ts"), "v:0");
    let mut rest = &bytes[..];
    let units = packets
        .iter()
        .map(|packet| {
            let (unit, after) = rest.split_at(packet.size);
            rest = after;
            let pts = u64::try_from(packet.pts.unwrap()).unwrap();
            Unit { pts, pieces: of_nal_units(unit) }
        })
        .collect();
    Sample { codec, units, packets }
}

fn push(rig: &mut Rig, track: usize, unit: &Unit) {
    rig.stream.unit_start(track, shown(unit.pts));
    for piece in &unit.pieces {
        rig.data(track, piece, 300, &mut Random::new(4));
    }
    rig.stream.unit_end(track);
    rig.read();
}

#[test]
fn a_frame_is_there_with_the_end_of_its_unit() {
    let mut rig = Rig::new(&[video(Codec::H264)]);
    for (index, picture) in fields::stream(12, true).iter().enumerate() {
        let unit = Unit { pts: 90_000 + picture.pts * 1800, pieces: of_nal_units(&picture.bytes) };
        push(&mut rig, 0, &unit);
        assert_eq!(rig.got.len(), index + 1);
        assert_eq!(rig.got[index].bytes, unit.bytes());
        assert_eq!(rig.got[index].frame.pts, Some(unit.pts));
        assert_eq!(rig.got[index].frame.class.label(), picture.class);
        assert!(!rig.got[index].frame.is_damaged());
    }
}

/// A stream whose bytes come in runs where they can.
struct InRuns {
    rig: Rig,
    run: Run,
    is_on: bool,
    pieces: usize,
}

impl InRuns {
    fn end(&mut self) {
        if std::mem::take(&mut self.is_on) {
            self.rig.stream.end_run(0, &self.run);
        }
    }

    fn data(&mut self, piece: &[u8]) {
        let now = self.rig.pass();
        if self.is_on && self.run.push(piece, now, now) {
            self.pieces += 1;
            return;
        }
        self.end();
        self.rig.stream.input(now, now);
        self.rig.stream.unit_data(0, piece);
        self.is_on = self.rig.stream.begin_run(0, &mut self.run);
    }
}

#[test]
fn frames_are_the_same_whether_their_bytes_came_in_runs_or_not() {
    let samples = [
        sample(Codec::H264, "-c:v libx264 -g 20 -x264-params slices=2:aud=1:cabac=0 -qp 12"),
        sample(Codec::Hevc, "-c:v libx265 -x265-params log-level=none:bframes=3:keyint=20:qp=12"),
    ];
    for sample in &samples {
        // Too small a ring for all of them, and a frame that is too large.
        let largest = sample.units.iter().map(|unit| unit.bytes().len()).max().unwrap();
        let frame_bytes_max = u32::try_from(largest - 1).unwrap();
        let limits = Limits { frame_bytes_max, ..Limits::default() };
        let new = || Rig::with(limits, 4 * largest as u64, &[video(sample.codec)]);
        let mut plain = new();
        let mut runs = InRuns { rig: new(), run: Run::default(), is_on: false, pieces: 0 };
        let mut random = Random::new(9);
        for (index, unit) in sample.units.iter().enumerate() {
            plain.stream.unit_start(0, shown(unit.pts));
            runs.rig.stream.unit_start(0, shown(unit.pts));
            for piece in unit.bytes().chunks(20 + random.below(300)) {
                plain.tick();
                plain.stream.unit_data(0, piece);
                runs.data(piece);
                if random.below(900) == 0 {
                    runs.end();
                    plain.stream.gap(0);
                    runs.rig.stream.gap(0);
                }
            }
            runs.end();
            plain.stream.unit_end(0);
            runs.rig.stream.unit_end(0);
            plain.read();
            runs.rig.read();
            assert_eq!(plain.got.len(), runs.rig.got.len(), "unit {index}");
        }
        plain.finish_here();
        runs.rig.finish_here();
        for (one, other) in plain.got.iter().zip(&runs.rig.got) {
            assert_eq!((one.frame, &one.bytes), (other.frame, &other.bytes));
        }
        assert_eq!(plain.stream.counters(), runs.rig.stream.counters());
        assert_eq!(plain.stream.tracks(), runs.rig.stream.tracks());
        assert!(runs.pieces > 400, "{} pieces in runs", runs.pieces);
        assert!(plain.got.iter().any(|got| got.frame.is_damaged()), "some were damaged");
        assert!(plain.stream.counters().frames_dropped() > 0, "some were too large");
    }
}

#[test]
fn frames_are_the_same_whether_nal_units_are_told_or_found() {
    let samples = [
        sample(Codec::H264, "-c:v libx264 -g 20 -x264-params slices=2:aud=1 -qp 12"),
        sample(Codec::Hevc, "-c:v libx265 -x265-params log-level=none:bframes=3:keyint=20:qp=12"),
    ];
    for sample in &samples {
        let largest = sample.units.iter().map(|unit| unit.bytes().len()).max().unwrap();
        let frame_bytes_max = u32::try_from(largest - 1).unwrap();
        let limits = Limits { frame_bytes_max, ..Limits::default() };
        let [mut found, mut told] = [(); 2].map(|()| {
            Rig::with(
                limits,
                4 * largest as u64,
                &[video(sample.codec), sound(Codec::Aac, 48_000, 2)],
            )
        });
        let mut random = Random::new(5);
        for unit in &sample.units {
            found.stream.unit_start(0, shown(unit.pts));
            told.stream.unit_start(0, shown(unit.pts));
            for pair in unit.pieces.chunks(2) {
                let (mut nal, zeros) = (pair[1].clone(), random.below(60));
                if zeros < 4 {
                    // Behind these the start code is another.
                    nal.resize(nal.len() + zeros, 0);
                }
                let (header, body) = nal.split_at(random.below(3));
                let (first, rest) = body.split_at(body.len().min(1_100));
                let code = [&pair[0], header].concat();
                found.tick();
                told.tick();
                found.stream.unit_data(0, &code);
                found.stream.unit_data(0, first);
                told.stream.nal_unit(0, &code, first);
                for rig in [&mut found, &mut told] {
                    rig.stream.unit_data(0, rest);
                    if zeros == 5 {
                        rig.stream.gap(0);
                    }
                    // A track that has no NAL units, and none at all.
                    rig.stream.nal_unit(1, &code, first);
                    rig.stream.nal_unit(2, &code, first);
                }
            }
            for rig in [&mut found, &mut told] {
                rig.stream.unit_end(0);
                rig.read();
            }
            assert_eq!(found.got.len(), told.got.len());
        }
        found.finish_here();
        told.finish_here();
        for (one, other) in found.got.iter().zip(&told.got) {
            assert_eq!((one.frame, &one.bytes), (other.frame, &other.bytes));
        }
        assert_eq!(found.stream.counters(), told.stream.counters());
        assert_eq!(found.stream.tracks(), told.stream.tracks());
        assert!(found.got.iter().any(|got| got.frame.is_damaged()), "some were damaged");
        assert!(found.got.iter().any(|got| !got.frame.is_damaged()), "some were not");
        assert!(found.stream.counters().frames_dropped() > 0, "some were too large");
    }
}

#[test]
fn frames_classes_and_decoding_times_are_those_of_the_encoder() {
    let x264 = "-c:v libx264 -pix_fmt yuv420p -g 20";
    let samples = [
        sample(Codec::H264, &format!("{x264} -bf 3 -x264-params b-pyramid=normal:slices=3")),
        sample(Codec::H264, &format!("{x264} -bf 2 -x264-params b-pyramid=none:aud=1")),
        sample(Codec::H264, &format!("{x264} -tune zerolatency")),
        sample(Codec::Hevc, "-c:v libx265 -x265-params log-level=none:bframes=3:keyint=20"),
    ];
    for (index, sample) in samples.iter().enumerate() {
        let mut rig = Rig::new(&[video(sample.codec)]);
        sample.units.iter().for_each(|unit| push(&mut rig, 0, unit));
        assert_eq!(rig.got.len(), sample.units.len(), "before the end of the stream");
        rig.finish_here();
        let reorders = sample.packets.iter().any(|packet| packet.pts != packet.dts);
        for (at, (got, unit)) in rig.got.iter().zip(&sample.units).enumerate() {
            let what = format!("sample {index} frame {at}");
            let packet = &sample.packets[at];
            assert_eq!(got.bytes, unit.bytes(), "{what}");
            assert_eq!(got.frame.is_key(), packet.key, "{what}");
            assert_eq!(got.frame.pts.map(u64::cast_signed), packet.pts, "{what}");
            assert_eq!(got.frame.dts.map(u64::cast_signed), packet.dts, "{what}");
            assert_eq!(got.has(FrameFlags::STAMPS_DERIVED), reorders, "{what}");
            assert!(!got.frame.is_damaged() && !got.has(FrameFlags::DISCONTINUITY), "{what}");
        }
        assert_eq!(rig.stream.counters().frame_rate_mhz, 25_000, "sample {index}");
    }
}

/// The pictures of each frame of a field-coded stream: two fields, now and then one for both.
fn frames_of_fields() -> Vec<Vec<Picture>> {
    let mut frames: Vec<Vec<Picture>> = Vec::new();
    for picture in fields::stream(40, false) {
        match frames.last_mut() {
            Some(frame) if picture.second => frame.push(picture),
            _ => frames.push(vec![picture]),
        }
    }
    frames
}

fn check_fields(got: &[Got], frames: &[Vec<Picture>], what: &str) {
    let made: Vec<_> = frames.iter().flatten().collect();
    assert_eq!(got.len(), made.len(), "{what}");
    let mut last = 0;
    for (index, (got, picture)) in got.iter().zip(made).enumerate() {
        let what = format!("{what}, picture {index}");
        assert_eq!(got.bytes, of_nal_units(&picture.bytes).concat(), "{what}");
        assert_eq!(got.frame.pts, Some(90_000 + picture.pts * 1800), "{what}");
        assert_eq!(got.has(FrameFlags::FIELD_SECOND), picture.second, "{what}");
        assert_eq!(got.has(FrameFlags::FIELD_FIRST), !picture.second && !picture.frame, "{what}");
        assert!(!got.frame.is_damaged(), "{what}");
        assert!(got.frame.dts.unwrap() > last, "{what}");
        last = got.frame.dts.unwrap();
    }
}

#[test]
fn fields_are_frames_whether_they_share_a_unit_a_time_or_neither() {
    let frames = frames_of_fields();
    for (what, shares_time, shares_unit) in
        [("own times", false, false), ("one time", true, false), ("one unit", true, true)]
    {
        let mut rig = Rig::new(&[video(Codec::H264)]);
        for frame in &frames {
            let units = frame.iter().map(|picture| {
                let of = if shares_time { &frame[0] } else { picture };
                Unit { pts: 90_000 + of.pts * 1800, pieces: of_nal_units(&picture.bytes) }
            });
            let mut units: Vec<_> = units.collect();
            if shares_unit {
                let pieces = units.iter().flat_map(|unit| unit.pieces.clone()).collect();
                units = vec![Unit { pieces, ..units[0].clone() }];
            }
            units.iter().for_each(|unit| push(&mut rig, 0, unit));
        }
        check_fields(&rig.finish(), &frames, what);
    }
}

#[test]
fn parameter_sets_in_a_unit_of_their_own_go_with_the_picture_behind_them() {
    let pictures = fields::stream(30, false);
    let whole: Vec<_> = pictures.iter().map(|picture| of_nal_units(&picture.bytes)).collect();
    let mut rig = Rig::new(&[video(Codec::H264)]);
    for (picture, pieces) in pictures.iter().zip(&whole) {
        let at = if picture.class == "idr" { 4 } else { 0 };
        let pts = 90_000 + picture.pts * 1800;
        let (sets, slices) = pieces.split_at(at);
        if !sets.is_empty() {
            push(&mut rig, 0, &Unit { pts: pts - 5, pieces: sets.to_vec() });
        }
        push(&mut rig, 0, &Unit { pts, pieces: slices.to_vec() });
    }
    let got: Vec<_> = rig.finish().into_iter().map(|got| (got.frame.pts, got.bytes)).collect();
    let times = pictures.iter().map(|picture| Some(90_000 + picture.pts * 1800));
    let made: Vec<_> = times.zip(whole.iter().map(|pieces| pieces.concat())).collect();
    assert_eq!(got, made);
}

#[test]
fn a_hole_damages_its_frame_alone_and_a_skipped_unit_none() {
    let x264 = "-c:v libx264 -pix_fmt yuv420p -g 20 -bf 2 -x264-params slices=4";
    for sample in [
        sample(Codec::H264, x264),
        sample(Codec::Hevc, "-c:v libx265 -x265-params log-level=none:slices=3:keyint=20"),
    ] {
        for at in [0, 7, 20, 33] {
            let last = sample.units[at].pieces.len() - 1;
            // The first slice, a later one, half of one: whatever is missing.
            for hole in [last - 1, last, last + 1] {
                let mut rig = Rig::new(&[video(sample.codec)]);
                for (index, unit) in sample.units.iter().enumerate() {
                    if index != at {
                        push(&mut rig, 0, unit);
                        continue;
                    }
                    rig.stream.unit_start(0, shown(unit.pts));
                    let from = (hole / 2) * 2;
                    unit.pieces[..from].iter().for_each(|piece| rig.stream.unit_data(0, piece));
                    rig.stream.gap(0);
                    unit.pieces[from..]
                        .iter()
                        .skip(2)
                        .for_each(|piece| rig.stream.unit_data(0, piece));
                    rig.stream.unit_end(0);
                }
                rig.finish_here();
                let dropped = rig.stream.counters().frames_dropped();
                let clean: Vec<_> = rig.got.iter().filter(|got| !got.frame.is_damaged()).collect();
                let whole: Vec<_> =
                    sample.units.iter().enumerate().filter(|(index, _)| *index != at).collect();
                if at > 0 {
                    assert_eq!(
                        rig.got.len() + usize::try_from(dropped).unwrap(),
                        sample.units.len()
                    );
                    let bytes = clean.iter().map(|got| got.bytes.clone());
                    assert!(bytes.eq(whole.iter().map(|(_, unit)| unit.bytes())), "{at} {hole}");
                }
            }
        }
        let mut rig = Rig::new(&[video(sample.codec)]);
        for (index, unit) in sample.units.iter().enumerate() {
            if index % 7 == 5 {
                rig.stream.skipped(0);
            } else {
                push(&mut rig, 0, unit);
            }
        }
        let got = rig.finish();
        assert_eq!(got.len(), sample.units.len() - sample.units.len() / 7);
        assert!(got.iter().all(|got| !got.frame.is_damaged()));
    }
}

#[test]
fn frames_with_holes_are_dropped_and_counted_where_that_is_the_policy() {
    let pictures = fields::stream(20, false);
    let limits = Limits { damaged_frames: DamagedFrames::Drop, ..Limits::default() };
    let tracks = [video(Codec::H264), sound(Codec::Opus, 48_000, 2)];
    let mut rig = Rig::with(limits, 1 << 20, &tracks);
    for (index, picture) in pictures.iter().enumerate() {
        let hole = index % 5 == 3;
        let pieces = of_nal_units(&picture.bytes);
        for (track, pieces) in [(0, &pieces[..]), (1, &[vec![0xfc, 1, 2]][..])] {
            rig.stream.unit_start(track, shown(90_000 + picture.pts * 1800));
            pieces.iter().for_each(|piece| rig.stream.unit_data(track, piece));
            if hole {
                rig.stream.gap(track);
            }
            rig.stream.unit_end(track);
        }
    }
    rig.finish_here();
    let holes = pictures.len().div_ceil(5) - usize::from(pictures.len() % 5 < 4);
    assert!(rig.got.iter().all(|got| !got.frame.is_damaged()));
    assert_eq!(rig.got.len(), 2 * (pictures.len() - holes));
    let counters = rig.stream.counters();
    assert_eq!(counters.frames_dropped_damaged, 2 * u64::try_from(holes).unwrap());
}

#[test]
fn a_unit_that_starts_with_a_hole_is_damaged_or_counted() {
    let pictures = fields::stream(8, false);
    let mut rig = Rig::new(&[video(Codec::H264)]);
    for (index, picture) in pictures.iter().enumerate() {
        let pieces = of_nal_units(&picture.bytes);
        rig.stream.unit_start(0, shown(90_000 + picture.pts * 1800));
        match index {
            // The second slice is there.
            3 => {
                rig.stream.gap(0);
                pieces[2..].iter().for_each(|piece| rig.stream.unit_data(0, piece));
            }
            // Nothing is.
            5 => rig.stream.gap(0),
            _ => pieces.iter().for_each(|piece| rig.stream.unit_data(0, piece)),
        }
        rig.stream.unit_end(0);
    }
    rig.finish_here();
    let damaged: Vec<_> = rig.got.iter().map(|got| got.frame.is_damaged()).collect();
    let made = pictures.len();
    assert_eq!(damaged.len(), made - 1);
    assert_eq!(damaged.iter().position(|damaged| *damaged), Some(3));
    assert_eq!(damaged.iter().filter(|damaged| **damaged).count(), 1);
    assert_eq!(rig.got[3].bytes, of_nal_units(&pictures[3].bytes)[2..].concat());
    assert_eq!(rig.stream.counters().frames_dropped_invalid, 1);
}

#[test]
fn whatever_is_lost_what_is_clean_is_right() {
    let x264 = "-c:v libx264 -pix_fmt yuv420p -g 20 -bf 2 -x264-params slices=2";
    let samples = [
        sample(Codec::H264, x264),
        sample(Codec::Hevc, "-c:v libx265 -x265-params log-level=none:bframes=3:keyint=20"),
    ];
    let mut random = Random::new(11);
    for sample in &samples {
        for round in 0..60 {
            let mut rig = Rig::new(&[video(sample.codec)]);
            let mut whole = Vec::new();
            for (index, unit) in sample.units.iter().enumerate() {
                if index > 0 && random.below(9) == 0 {
                    rig.stream.skipped(0);
                    continue;
                }
                rig.stream.unit_start(0, shown(unit.pts));
                let mut lost = false;
                for nal in unit.pieces.chunks(2).map(|pair| pair.concat()) {
                    match random.below(if index == 0 { 1 } else { 40 }) {
                        7 => rig.stream.gap(0),
                        8 => {
                            rig.stream.unit_data(0, &nal[..nal.len() / 2]);
                            rig.stream.gap(0);
                        }
                        _ => {
                            rig.stream.unit_data(0, &nal);
                            continue;
                        }
                    }
                    lost = true;
                }
                rig.stream.unit_end(0);
                if !lost {
                    whole.push((Some(unit.pts), unit.bytes()));
                }
            }
            rig.finish_here();
            let clean = rig.got.iter().filter(|got| !got.frame.is_damaged());
            let clean: Vec<_> = clean.map(|got| (got.frame.pts, got.bytes.clone())).collect();
            assert_eq!(clean, whole, "{:?} round {round}", sample.codec);
        }
    }
}

/// AV1's temporal units as Matroska stores them: OBUs with sizes, no delimiters.
fn av1_sample() -> Vec<Unit> {
    let folder = tempfile::tempdir().unwrap();
    let encoder = "-c:v libsvtav1 -preset 10 -g 12 -pix_fmt yuv420p";
    ffmpeg(folder.path(), &format!("{SOURCE} {encoder} a.mkv"));
    let bytes = std::fs::read(ffmpeg(folder.path(), "-i a.mkv -c copy a.obu")).unwrap();
    let mut units: Vec<Unit> = Vec::new();
    for obu in codec::av1::obus(&bytes) {
        let obu = obu.unwrap();
        if obu.header.obu_type == codec::av1::ObuType::TEMPORAL_DELIMITER {
            let pts = 90_000 + 3_600 * u64::try_from(units.len()).unwrap();
            units.push(Unit { pts, pieces: Vec::new() });
        } else {
            units.last_mut().unwrap().pieces.push(obu.bytes.to_vec());
        }
    }
    units
}

#[test]
fn temporal_units_of_av1_end_with_their_units_and_holes_stay_in_them() {
    let units = av1_sample();
    let mut rig = Rig::new(&[video(Codec::Av1)]);
    for (index, unit) in units.iter().enumerate() {
        push(&mut rig, 0, unit);
        assert_eq!(rig.got.len(), index + 1);
        assert_eq!(
            (rig.got[index].frame.pts, rig.got[index].frame.dts),
            (Some(unit.pts), Some(unit.pts))
        );
        assert!(!rig.got[index].has(FrameFlags::STAMPS_DERIVED));
        assert_eq!(rig.got[index].bytes, unit.bytes());
        assert_eq!(rig.got[index].frame.is_key(), index % 12 == 0, "{index}");
    }
    let mut random = Random::new(3);
    for round in 0..40 {
        let mut rig = Rig::new(&[video(Codec::Av1)]);
        let mut whole = Vec::new();
        for (index, unit) in units.iter().enumerate() {
            let lost = if index == 0 { 3 } else { random.below(12) };
            match lost {
                0 => rig.stream.skipped(0),
                1 => {
                    // Its start may be missing, its end, or an OBU between.
                    let at = random.below(unit.pieces.len() + 1);
                    rig.stream.unit_start(0, shown(unit.pts));
                    unit.pieces[..at].iter().for_each(|obu| rig.stream.unit_data(0, obu));
                    rig.stream.gap(0);
                    unit.pieces[at..].iter().for_each(|obu| rig.stream.unit_data(0, obu));
                    rig.stream.unit_end(0);
                }
                _ => {
                    push(&mut rig, 0, unit);
                    whole.push(unit.bytes());
                }
            }
        }
        rig.finish_here();
        let clean = rig.got.iter().filter(|got| !got.frame.is_damaged());
        assert!(clean.map(|got| got.bytes.clone()).eq(whole), "round {round}");
    }
}

#[test]
fn access_units_of_aac_are_frames_described_by_their_configuration() {
    // AAC-LC, 48 kHz, two channels.
    let config = [0x11, 0x90];
    let mut rig = Rig::new(&[sound(Codec::Aac, 48_000, 2)]);
    rig.stream.configuration(0, &config);
    let format = rig.stream.tracks()[0].audio.unwrap();
    assert_eq!((format.sample_rate, format.channels, format.profile), (48_000, 2, "LC"));
    assert_eq!(format.audio_specific_config(), config);
    for index in 0..5u8 {
        rig.stream.unit_start(0, shown(1_000 + 1_920 * u64::from(index)));
        rig.data(0, &[index; 300], 100, &mut Random::new(1));
        if index == 2 {
            rig.stream.gap(0);
        }
        rig.stream.unit_end(0);
        rig.read();
        assert_eq!(rig.got.len(), usize::from(index) + 1, "with the end of its unit");
    }
    let got = rig.finish();
    for (index, got) in (0u8..).zip(&got) {
        assert_eq!(got.bytes, [index; 300]);
        assert_eq!(got.frame.pts, Some(1_000 + 1_920 * u64::from(index)));
        assert_eq!(got.frame.is_damaged(), index == 2);
    }
}

#[test]
fn a_configuration_that_is_not_read_is_kept_for_who_can_read_it() {
    // Channels by a program config element.
    let config = [0x11, 0x80, 0x04, 0xc8, 0x44, 0x00];
    let mut rig = Rig::new(&[sound(Codec::Aac, 44_100, 6)]);
    rig.stream.configuration(0, &config);
    let format = rig.stream.tracks()[0].audio.unwrap();
    assert_eq!((format.sample_rate, format.channels, format.profile), (44_100, 6, "unknown"));
    assert_eq!(format.audio_specific_config(), config);
}

#[test]
fn packets_of_opus_and_of_samples_are_frames() {
    let tracks = [
        sound(Codec::Opus, 48_000, 2),
        sound(Codec::L24, 96_000, 8),
        sound(Codec::L16, 44_100, 2),
        sound(Codec::Pcma, 8_000, 1),
    ];
    let mut rig = Rig::new(&tracks);
    // 20 ms; 1 ms; 1 ms and 0.1 samples are not looked for; 20 ms.
    let units = [vec![0xfc, 1, 2, 3], vec![7; 96 * 24], vec![5; 44 * 4], vec![0xd5; 160]];
    for (track, bytes) in units.iter().enumerate() {
        for time in [90_000, 91_800] {
            rig.unit(track, shown(time), bytes, &mut Random::new(2));
            rig.stream.unit_end(track);
        }
    }
    rig.finish_here();
    let formats = rig.stream.tracks().iter().map(|track| track.audio.unwrap());
    let formats: Vec<_> =
        formats.map(|it| (it.sample_rate, it.channels, it.samples_per_frame)).collect();
    assert_eq!(formats, [(48_000, 2, 960), (96_000, 8, 96), (44_100, 2, 44), (8_000, 1, 160)]);
    for (track, bytes) in units.iter().enumerate() {
        let of_track = rig.got.iter().filter(|got| usize::from(got.frame.track) == track);
        let of_track: Vec<_> = of_track.map(|got| (got.frame.pts, &got.bytes)).collect();
        assert_eq!(of_track, [(Some(90_000), bytes), (Some(91_800), bytes)], "track {track}");
    }
}

#[test]
fn sound_that_is_no_frame_is_counted() {
    let mut rig = Rig::new(&[sound(Codec::Opus, 48_000, 2), sound(Codec::Aac, 48_000, 2)]);
    // A packet of code 3 without its count; nothing; more than any frame has.
    for (track, len) in [(0, 1), (1, 0), (1, 20_000)] {
        rig.stream.unit_start(track, shown(5));
        for piece in [0xff; 20_000][..len].chunks(1_000) {
            rig.stream.unit_data(track, piece);
        }
        rig.stream.unit_end(track);
    }
    rig.stream.unit_data(1, &[1, 2, 3]);
    rig.finish_here();
    let counters = rig.stream.counters();
    assert_eq!((counters.frames_dropped_invalid, counters.frames_dropped_oversize), (2, 1));
    assert_eq!((counters.bytes_skipped, rig.got.len()), (3, 0));
}

#[test]
fn tracks_that_are_told_alike_stay_apart_when_the_list_comes_again() {
    let tracks = [sound(Codec::L16, 48_000, 2); 2];
    let mut rig = Rig::new(&tracks);
    for round in 0..2u8 {
        Sink::tracks(&mut rig.stream, &tracks);
        for track in [0, 1u8] {
            rig.stream.unit_start(track.into(), shown(90_000));
            rig.stream.unit_data(track.into(), &[10 * round + track; 4]);
        }
        for track in [0, 1] {
            rig.stream.unit_end(track);
        }
    }
    let got: Vec<_> = rig.finish().into_iter().map(|got| (got.frame.track, got.bytes[0])).collect();
    assert_eq!(got, [(0, 0), (1, 1), (0, 10), (1, 11)]);
}
