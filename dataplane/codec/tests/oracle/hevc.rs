//! HEVC from x265.

use codec::annexb::{Scanner, nal_units};
use codec::hevc::{NalHeader, NalType, ParameterSets, SliceHeader};
use codec::{FrameClass, SliceType, VideoFormat};
use scuffle_h265::SpsNALUnit;

use crate::ffmpeg::{self, Encoded};
use crate::h264::assert_format;

/// An access unit by this crate's rules.
#[derive(Debug)]
struct AccessUnit {
    bytes: usize,
    class: FrameClass,
    key: bool,
    format: VideoFormat,
}

/// Splits a whole stream by the rules of 7.4.2.4.4.
fn access_units(stream: &[u8]) -> Vec<AccessUnit> {
    let mut starts = Vec::new();
    Scanner::new().scan(stream, |start| starts.push(start));
    let mut sets = ParameterSets::new();
    let mut units = Vec::new();
    let mut from = 0;
    let mut picture: Option<(SliceHeader, SliceType)> = None;
    for start in starts {
        let nal = nal_units(&stream[usize::try_from(start.code).unwrap()..]).next().unwrap();
        let nal_type = NalHeader::parse(nal).unwrap().nal_type;
        let begins = if nal_type.is_slice() {
            SliceHeader::is_first_in_picture(nal).unwrap()
        } else {
            nal_type.starts_access_unit()
        };
        if begins && let Some((first, worst)) = picture.take() {
            // FFmpeg cuts HEVC after the zero byte of a four-byte start code.
            let end = usize::try_from(start.nal - 3).unwrap();
            units.push(unit(end - from, &first, worst, &sets));
            from = end;
        }
        match nal_type {
            NalType::VPS | NalType::SPS | NalType::PPS => {
                sets.insert(nal).unwrap();
            }
            _ if nal_type.is_slice() => {
                let header = SliceHeader::parse(nal, &sets).unwrap();
                let inherited = picture.map_or(SliceType::I, |(_, worst)| worst);
                let worst = header.slice_type.map_or(inherited, |own| own.max(inherited));
                picture = Some((picture.map_or(header, |(first, _)| first), worst));
            }
            _ => {}
        }
    }
    let (first, worst) = picture.unwrap();
    units.push(unit(stream.len() - from, &first, worst, &sets));
    units
}

fn unit(bytes: usize, first: &SliceHeader, worst: SliceType, sets: &ParameterSets) -> AccessUnit {
    assert!(first.first_in_picture);
    assert_eq!(first.segment_address, 0);
    AccessUnit {
        bytes,
        class: FrameClass::of_picture(first.nal.nal_type.is_idr(), worst),
        key: first.nal.nal_type.is_irap(),
        format: sets.format(first.pps_id).unwrap(),
    }
}

fn check(source: &str, frames: u32, options: &str, parameters: &str) -> Vec<AccessUnit> {
    let encoder = format!(
        "-c:v libx265 -preset ultrafast {options} -x265-params log-level=none:pools=1:frame-threads=1:{parameters}"
    );
    let encoded = Encoded::video(source, frames, &encoder);
    let (_, stream) = encoded.elementary("hevc", None);
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
    assert_sps(&stream);

    let (path, stream) = encoded.elementary("hevc", Some("filter_units=remove_types=35"));
    assert_packets(&access_units(&stream), &ffmpeg::packets(&path));
    units
}

fn assert_packets(units: &[AccessUnit], packets: &[ffmpeg::Packet]) {
    let ours: Vec<_> = units.iter().map(|unit| (unit.bytes, unit.key)).collect();
    let theirs: Vec<_> = packets.iter().map(|packet| (packet.size, packet.key)).collect();
    assert_eq!(ours, theirs);
}

/// Each SPS against scuffle-h265.
fn assert_sps(stream: &[u8]) {
    let mut sets = ParameterSets::new();
    for nal in nal_units(stream).filter(|nal| NalType::of(nal[0]) == NalType::SPS) {
        sets.insert(nal).unwrap();
        let theirs = SpsNALUnit::parse(nal).unwrap().rbsp;
        let id = u8::try_from(theirs.sps_seq_parameter_set_id).unwrap();
        let ours = sets.sps(id).unwrap();
        assert_eq!(ours.vps_id, theirs.sps_video_parameter_set_id);
        assert_eq!(u64::from(ours.format.width), theirs.cropped_width());
        assert_eq!(u64::from(ours.format.height), theirs.cropped_height());
        assert_eq!(u64::from(ours.format.coded_width), theirs.pic_width_in_luma_samples.get());
        assert_eq!(ours.format.bit_depth_luma, theirs.bit_depth_y());
        assert_eq!(ours.format.bit_depth_chroma, theirs.bit_depth_c());
        assert_eq!(ours.pic_order_cnt_lsb_bits, theirs.log2_max_pic_order_cnt_lsb_minus4 + 4);
        // Equations 7-15 and 7-17 round up.
        let block = theirs.ctb_size_y().get();
        let blocks = theirs.pic_width_in_luma_samples.get().div_ceil(block)
            * theirs.pic_height_in_luma_samples.get().div_ceil(block);
        assert_eq!(
            u32::from(ours.segment_address_bits),
            blocks.next_power_of_two().trailing_zeros()
        );
        let vui = theirs.vui_parameters.unwrap();
        assert_eq!(ours.format.field_coded, vui.field_seq_flag);
        let timing = vui.vui_timing_info.unwrap();
        let (numerator, denominator) = ours.format.frame_rate.unwrap();
        let pictures = if vui.field_seq_flag { 2 } else { 1 };
        assert_eq!(
            u64::from(numerator) * u64::from(timing.num_units_in_tick.get()) * pictures,
            u64::from(denominator) * u64::from(timing.time_scale.get())
        );
    }
}

#[test]
fn main_with_b_pictures_and_an_open_gop() {
    let units = check(
        "testsrc2=size=320x240:rate=30000/1001",
        40,
        "-pix_fmt yuv420p",
        "keyint=10:bframes=3:scenecut=0:open-gop=1",
    );
    assert_eq!(units[0].format.profile, "Main");
    assert!(units.iter().any(|unit| unit.key && unit.class == FrameClass::I));
    assert!(units.iter().any(|unit| unit.class == FrameClass::B));
}

#[test]
fn main_10_with_closed_gops() {
    let units = check(
        "testsrc2=size=416x240:rate=50",
        24,
        "-pix_fmt yuv420p10le",
        "keyint=8:bframes=2:open-gop=0:aud=1",
    );
    assert_eq!(units[0].format.profile, "Main 10");
    assert!(units.iter().all(|unit| unit.key == (unit.class == FrameClass::Idr)));
}

#[test]
fn a_conformance_window() {
    let units = check(
        "testsrc2=size=1918x1078:rate=25,setsar=4/3",
        2,
        "-pix_fmt yuv420p",
        "level-idc=4.1:min-cu-size=16:ctu=32",
    );
    let format = units[0].format;
    assert_eq!((format.width, format.height), (1918, 1078));
    assert_eq!((format.coded_width, format.coded_height), (1920, 1088));
    assert_eq!(format.level, "4.1");
    assert_eq!(format.sar, (4, 3));
}

#[test]
fn range_extensions_422_and_444() {
    let units = check("testsrc2=size=322x242:rate=25", 4, "-pix_fmt yuv422p10le", "bframes=0");
    assert_eq!(units[0].format.profile, "Rext");
    check("testsrc2=size=322x242:rate=25", 4, "-pix_fmt yuv444p", "bframes=0");
    check("testsrc2=size=322x242:rate=25", 4, "-pix_fmt gray", "bframes=0");
    check("testsrc2=size=322x242:rate=25", 4, "-pix_fmt yuv420p12le", "bframes=0");
}

#[test]
fn several_slices_of_a_picture() {
    check(
        "testsrc2=size=640x480:rate=25",
        12,
        "-pix_fmt yuv420p",
        "slices=4:bframes=2:keyint=6:ctu=16",
    );
}

#[test]
fn sub_layers_scaling_lists_and_hrd() {
    check(
        "testsrc2=size=320x240:rate=25",
        24,
        "-pix_fmt yuv420p",
        "temporal-layers=1:scaling-list=default:hrd=1:vbv-bufsize=500:vbv-maxrate=500:bitrate=400:bframes=4:b-pyramid=1:ref=4",
    );
}

#[test]
fn inter_predicted_reference_sets_before_the_vui() {
    check(
        "testsrc2=size=320x240:rate=25",
        60,
        "-pix_fmt yuv420p -color_range pc",
        "bframes=8:b-adapt=0:ref=5:keyint=250:rc-lookahead=20:repeat-headers=1:opt-ref-list-length-pps=1",
    );
}

#[test]
fn two_pictures_of_a_field_sequence_are_a_frame() {
    let encoder = "-c:v libx265 -preset ultrafast -pix_fmt yuv420p -x265-params log-level=none:pools=1:interlace=tff:field=1:b-adapt=1";
    let encoded = Encoded::video("testsrc2=size=320x240:rate=50", 6, encoder);
    let (_, stream) = encoded.elementary("hevc", None);
    assert_sps(&stream);
    let units = access_units(&stream);
    assert_packets(&units, &ffmpeg::packets(encoded.ts()));
    assert!(units[0].format.field_coded);
    assert_eq!(units[0].format.frame_rate, Some((25, 1)));
}
