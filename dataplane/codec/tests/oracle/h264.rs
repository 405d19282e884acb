//! H.264 from x264.

use codec::annexb::{Scanner, nal_units};
use codec::h264::{NalType, ParameterSets, SliceHeader, SlicePicOrder, recovery_point};
use codec::sink::Codec;
use codec::{FrameClass, SetChange, SliceType, VideoFormat};
use h264_reader::Context;
use h264_reader::nal::pps::PicParameterSet;
use h264_reader::nal::slice::{SliceFamily, SliceHeader as TheirSliceHeader};
use h264_reader::nal::sps::SeqParameterSet;
use h264_reader::nal::{Nal, RefNal};

use crate::ffmpeg::{self, Encoded};

/// An access unit by this crate's rules.
#[derive(Debug)]
struct AccessUnit {
    bytes: usize,
    class: FrameClass,
    key: bool,
    format: VideoFormat,
}

/// Splits a whole stream by the rules of 7.4.1.2.3 and 7.4.1.2.4.
fn access_units(stream: &[u8]) -> Vec<AccessUnit> {
    let mut starts = Vec::new();
    Scanner::new().scan(stream, |start| starts.push(start));
    let mut sets = ParameterSets::new();
    let mut units = Vec::new();
    let mut from = 0;
    let mut picture: Option<(SliceHeader, SliceType)> = None;
    let mut recovery = false;
    for start in starts {
        let nal = &stream[usize::try_from(start.nal).unwrap()..];
        let nal_type = NalType::of(nal[0]);
        let header = nal_type.is_slice().then(|| SliceHeader::parse(nal, &sets).unwrap());
        let begins = match (&picture, &header) {
            (None, _) => false,
            (Some((first, _)), Some(header)) => header.starts_new_picture(first),
            (Some(_), None) => nal_type.starts_access_unit(),
        };
        if begins {
            let (first, worst) = picture.take().unwrap();
            let end = usize::try_from(start.code).unwrap();
            units.push(unit(end - from, &first, worst, recovery, &sets));
            from = end;
            recovery = false;
        }
        let whole = nal_units(&stream[usize::try_from(start.code).unwrap()..]).next().unwrap();
        match nal_type {
            NalType::SPS | NalType::PPS => {
                sets.insert(whole).unwrap();
            }
            NalType::SEI => recovery |= recovery_point(whole).is_some(),
            _ => {}
        }
        if let Some(header) = header {
            let worst =
                picture.map_or(header.slice_type, |(_, worst)| worst.max(header.slice_type));
            picture = Some((header, worst));
        }
    }
    let (first, worst) = picture.unwrap();
    units.push(unit(stream.len() - from, &first, worst, recovery, &sets));
    units
}

fn unit(
    bytes: usize,
    slice: &SliceHeader,
    worst: SliceType,
    recovery: bool,
    sets: &ParameterSets,
) -> AccessUnit {
    AccessUnit {
        bytes,
        class: FrameClass::of_picture(slice.idr, worst),
        key: slice.idr || recovery,
        format: sets.format(slice.pps_id).unwrap(),
    }
}

/// The access units are FFmpeg's packets, byte for byte, with its key flags.
fn assert_packets(units: &[AccessUnit], packets: &[ffmpeg::Packet]) {
    let ours: Vec<_> = units.iter().map(|unit| (unit.bytes, unit.key)).collect();
    let theirs: Vec<_> = packets.iter().map(|packet| (packet.size, packet.key)).collect();
    assert_eq!(ours, theirs);
}

/// Compares all that FFmpeg tells of a stream, with access unit delimiters and without.
fn check(source: &str, frames: u32, encoder: &str) -> Vec<AccessUnit> {
    let encoder = format!("-c:v libx264 -threads 1 {encoder}");
    let encoded = Encoded::video(source, frames, &encoder);
    let (_, stream) = encoded.elementary("h264", None);
    let units = access_units(&stream);
    let packets = ffmpeg::packets(encoded.ts());
    assert_packets(&units, &packets);
    let types = ffmpeg::picture_types(encoded.ts());
    for (unit, packet) in units.iter().zip(&packets) {
        let expected = match types[&packet.pts.unwrap()] {
            'I' => &[FrameClass::Idr, FrameClass::I][..],
            'P' => &[FrameClass::P],
            _ => &[FrameClass::B],
        };
        assert!(expected.contains(&unit.class), "{unit:?} {packet:?}");
    }
    assert_format(&units[0].format, &ffmpeg::stream(encoded.ts()));
    assert_parameter_sets_and_slices(&stream);

    let (path, stream) = encoded.elementary("h264", Some("filter_units=remove_types=9"));
    let units = access_units(&stream);
    assert_packets(&units, &ffmpeg::packets(&path));
    units
}

pub(crate) fn assert_format(format: &VideoFormat, probed: &ffmpeg::Fields) {
    assert_eq!(format.width.to_string(), probed["width"]);
    assert_eq!(format.height.to_string(), probed["height"]);
    assert_eq!(format.profile, probed["profile"]);
    assert_eq!(format.level_idc.to_string(), probed["level"]);
    let (numerator, denominator) = format.frame_rate.unwrap();
    assert_eq!(format!("{numerator}/{denominator}"), probed["r_frame_rate"]);
    let aspect = match format.sar {
        (0, 0) => "N/A".to_owned(),
        (width, height) => format!("{width}:{height}"),
    };
    assert_eq!(&aspect, probed.get("sample_aspect_ratio").map_or("N/A", String::as_str));
    let depth = match format.bit_depth_luma {
        8 => "",
        10 => "10le",
        12 => "12le",
        other => panic!("{other} bits"),
    };
    let planes = match format.chroma {
        // FFmpeg decodes luma-only H.264 into 4:2:0 with grey planes.
        codec::Chroma::Mono if format.codec == Codec::H264 => "yuv420p".to_owned(),
        codec::Chroma::Mono => "gray".to_owned(),
        chroma => format!("yuv{}p", chroma.label().replace(':', "")),
    };
    let pixels = probed["pix_fmt"].replace("yuvj", "yuv");
    assert_eq!(format!("{planes}{depth}"), pixels);
    let full = probed.get("color_range").is_some_and(|range| range == "pc");
    assert_eq!(format.colour.full_range, full);
}

/// Each parameter set and slice header, against h264-reader.
fn assert_parameter_sets_and_slices(stream: &[u8]) {
    let mut sets = ParameterSets::new();
    let mut theirs = Context::new();
    for nal in nal_units(stream) {
        let reference = RefNal::new(nal, &[], true);
        match NalType::of(nal[0]) {
            NalType::SPS => {
                sets.insert(nal).unwrap();
                let sps = SeqParameterSet::from_bits(reference.rbsp_bits()).unwrap();
                assert_sps(&sets, &sps);
                theirs.put_seq_param_set(sps);
            }
            NalType::PPS => {
                sets.insert(nal).unwrap();
                let pps = PicParameterSet::from_bits(&theirs, reference.rbsp_bits()).unwrap();
                let ours = sets.pps(pps.pic_parameter_set_id.id()).unwrap();
                assert_eq!(ours.sps_id, pps.seq_parameter_set_id.id());
                assert_eq!(ours.redundant_pic_cnt, pps.redundant_pic_cnt_present_flag);
                assert_eq!(
                    ours.bottom_field_pic_order,
                    pps.bottom_field_pic_order_in_frame_present_flag
                );
                theirs.put_pic_param_set(pps);
            }
            nal_type if nal_type.is_slice() => assert_slice(nal, &sets, &theirs),
            _ => {}
        }
    }
}

fn assert_sps(sets: &ParameterSets, theirs: &SeqParameterSet) {
    let ours = sets.sps(theirs.seq_parameter_set_id.id()).unwrap();
    let (width, height) = theirs.pixel_dimensions().unwrap();
    assert_eq!((ours.format.width, ours.format.height), (width, height));
    assert_eq!(ours.frame_num_bits, theirs.log2_max_frame_num_minus4 + 4);
    assert_eq!(u32::from(ours.ref_frames_max), theirs.max_num_ref_frames);
    assert_eq!(ours.format.bit_depth_luma, 8 + theirs.chroma_info.bit_depth_luma_minus8);
    assert_eq!(ours.format.bit_depth_chroma, 8 + theirs.chroma_info.bit_depth_chroma_minus8);
    let vui = theirs.vui_parameters.as_ref().unwrap();
    let reorder = vui.bitstream_restrictions.as_ref().map(|limits| limits.max_num_reorder_frames);
    assert_eq!(ours.reorder_frames.map(u32::from), reorder);
    let (numerator, denominator) = ours.format.frame_rate.unwrap();
    let rate = f64::from(numerator) / f64::from(denominator);
    assert!((theirs.fps().unwrap() - rate).abs() < 1e-9);
}

fn assert_slice(nal: &[u8], sets: &ParameterSets, theirs: &Context) {
    let reference = RefNal::new(nal, &[], true);
    let header = reference.header().unwrap();
    let prefix = &nal[..nal.len().min(codec::h264::SLICE_PREFIX_BYTES)];
    let ours = SliceHeader::parse(prefix, sets).unwrap();
    let (theirs, _, _) =
        TheirSliceHeader::from_bits(theirs, &mut reference.rbsp_bits(), header, None).unwrap();
    assert_eq!(ours.first_mb, theirs.first_mb_in_slice);
    assert_eq!(ours.frame_num, theirs.frame_num);
    assert_eq!(u32::from(ours.idr_pic_id), theirs.idr_pic_id.unwrap_or(0));
    let family = match ours.slice_type {
        SliceType::I => SliceFamily::I,
        SliceType::P => SliceFamily::P,
        SliceType::B => SliceFamily::B,
    };
    assert_eq!(family, theirs.slice_type.family);
    use h264_reader::nal::slice::PicOrderCountLsb;
    match (ours.pic_order, theirs.pic_order_cnt_lsb) {
        (SlicePicOrder::Lsb { lsb, delta_bottom: 0 }, Some(PicOrderCountLsb::Frame(theirs))) => {
            assert_eq!(u32::from(lsb), theirs);
        }
        (
            SlicePicOrder::Lsb { lsb, delta_bottom },
            Some(PicOrderCountLsb::FieldsAbsolute {
                pic_order_cnt_lsb,
                delta_pic_order_cnt_bottom,
            }),
        ) => {
            assert_eq!(u32::from(lsb), pic_order_cnt_lsb);
            assert_eq!(delta_bottom, delta_pic_order_cnt_bottom);
        }
        (SlicePicOrder::Decoding, None) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn high_with_b_pictures_and_1080_lines_of_1088() {
    let units = check(
        "testsrc2=size=1920x1080:rate=30000/1001",
        24,
        "-preset veryfast -profile:v high -level 4.1 -bf 2 -g 12 -pix_fmt yuv420p",
    );
    let format = units[0].format;
    assert_eq!((format.width, format.height), (1920, 1080));
    assert_eq!((format.coded_width, format.coded_height), (1920, 1088));
    assert_eq!((format.profile, format.level), ("High", "4.1"));
    assert_eq!(format.frame_rate, Some((30_000, 1001)));
    assert!(units.iter().any(|unit| unit.class == FrameClass::B));
}

#[test]
fn main_with_scaling_free_sps_and_odd_crop() {
    let units = check(
        "testsrc2=size=322x242:rate=25,setsar=12/11",
        12,
        "-preset veryfast -profile:v main -g 6 -pix_fmt yuv420p",
    );
    assert_eq!((units[0].format.width, units[0].format.height), (322, 242));
    assert_eq!(units[0].format.sar, (12, 11));
}

#[test]
fn baseline_without_reordering_counts_pictures_in_decoding_order() {
    let units = check(
        "testsrc2=size=176x144:rate=15",
        10,
        "-preset veryfast -profile:v baseline -g 5 -pix_fmt yuv420p",
    );
    assert_eq!(units[0].format.profile, "Constrained Baseline");
}

#[test]
fn high_10() {
    let units = check(
        "testsrc2=size=320x180:rate=50",
        8,
        "-preset veryfast -profile:v high10 -pix_fmt yuv420p10le",
    );
    assert_eq!(units[0].format.profile, "High 10");
}

#[test]
fn high_422_10_bits() {
    let units = check(
        "testsrc2=size=320x242:rate=60000/1001",
        8,
        "-preset veryfast -profile:v high422 -pix_fmt yuv422p10le",
    );
    assert_eq!(units[0].format.profile, "High 4:2:2");
}

#[test]
fn high_444_with_a_declared_full_range() {
    let units = check(
        "testsrc2=size=322x242:rate=24",
        8,
        "-preset veryfast -profile:v high444 -pix_fmt yuv444p -color_range pc -colorspace bt709 -color_primaries bt709 -color_trc bt709",
    );
    assert_eq!(units[0].format.profile, "High 4:4:4 Predictive");
    let colour = units[0].format.colour;
    assert_eq!((colour.primaries, colour.transfer, colour.matrix), (1, 1, 1));
}

#[test]
fn luma_only() {
    let units = check("testsrc2=size=322x242:rate=24", 4, "-preset veryfast -pix_fmt gray");
    assert_eq!(units[0].format.chroma, codec::Chroma::Mono);
}

#[test]
fn scaling_lists_and_hrd() {
    check(
        "testsrc2=size=320x240:rate=25",
        10,
        "-preset veryfast -pix_fmt yuv420p -b:v 500k -maxrate 500k -bufsize 500k -x264-params cqm=jvt:nal-hrd=vbr:pic-struct=1",
    );
}

#[test]
fn interlaced_frames_of_macroblock_pairs() {
    let units = check(
        "testsrc2=size=720x576:rate=25",
        10,
        "-preset veryfast -flags +ildct+ilme -x264-params tff=1 -pix_fmt yuv420p",
    );
    assert!(units[0].format.field_coded);
    assert_eq!(units[0].format.height, 576);
}

#[test]
fn several_slices() {
    check(
        "testsrc2=size=320x240:rate=25",
        20,
        "-preset veryfast -bf 2 -g 8 -x264-params slices=5 -pix_fmt yuv420p",
    );
}

#[test]
fn all_intra_changes_only_idr_pic_id() {
    let units = check(
        "testsrc2=size=320x240:rate=25",
        6,
        "-preset veryfast -g 1 -x264-params slices=3 -pix_fmt yuv420p",
    );
    assert!(units.iter().all(|unit| unit.class == FrameClass::Idr));
}

#[test]
fn open_gop_has_key_pictures_that_are_not_idr() {
    let units = check(
        "testsrc2=size=320x240:rate=25",
        40,
        "-preset veryfast -bf 2 -g 10 -x264-params open-gop=1:scenecut=0 -pix_fmt yuv420p",
    );
    assert!(units.iter().any(|unit| unit.key && unit.class == FrameClass::I));
}

#[test]
fn intra_refresh_has_key_pictures_that_are_predicted() {
    let units = check(
        "testsrc2=size=320x240:rate=25",
        60,
        "-preset veryfast -g 20 -x264-params intra-refresh=1 -pix_fmt yuv420p",
    );
    assert!(units.iter().any(|unit| unit.key && unit.class == FrameClass::P));
}

#[test]
fn a_repeated_set_is_no_change_and_another_size_is_one() {
    let of = |size: &str| {
        let source = format!("testsrc2=size={size}:rate=25");
        let encoded = Encoded::video(
            &source,
            3,
            "-c:v libx264 -threads 1 -preset ultrafast -g 1 -pix_fmt yuv420p -x264-params repeat-headers=1",
        );
        encoded.elementary("h264", None).1
    };
    let mut stream = of("320x240");
    stream.extend(of("352x288"));
    let mut sets = ParameterSets::new();
    let mut changes = Vec::new();
    let mut hashes = Vec::new();
    for nal in nal_units(&stream) {
        if NalType::of(nal[0]) == NalType::SPS {
            changes.push(sets.insert(nal).unwrap());
        } else if NalType::of(nal[0]) == NalType::PPS {
            sets.insert(nal).unwrap();
            hashes.push(sets.content_hash(0).unwrap());
        }
    }
    use SetChange::{Changed, New, Unchanged};
    assert_eq!(changes, [New, Unchanged, Unchanged, Changed, Unchanged, Unchanged]);
    assert!(hashes[..3].iter().all(|hash| *hash == hashes[0]));
    assert!(hashes[3..].iter().all(|hash| *hash == hashes[3] && *hash != hashes[0]));
}
