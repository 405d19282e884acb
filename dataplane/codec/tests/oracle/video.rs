//! Sequence headers of MPEG-2 video and AV1 from FFmpeg's encoders: what ffprobe says of them.

use codec::av1::{self, ObuType};
use codec::{Chroma, VideoFormat, mpeg_video};

use crate::ffmpeg::{self, Encoded, Fields};

fn agrees(format: &VideoFormat, probed: &Fields, what: &str) {
    assert_eq!(probed["profile"], format.profile, "{what}");
    assert_eq!(probed["width"], format.width.to_string(), "{what}");
    assert_eq!(probed["height"], format.height.to_string(), "{what}");
    let pixels = &probed["pix_fmt"];
    let chroma = match format.chroma {
        Chroma::Mono => "gray",
        Chroma::C420 => "yuv420p",
        Chroma::C422 => "yuv422p",
        Chroma::C444 => "yuv444p",
    };
    assert!(pixels.starts_with(chroma), "{what}: {pixels}");
    assert_eq!(pixels.ends_with("10le"), format.bit_depth_luma == 10, "{what}: {pixels}");
    if format.sar != (0, 0) {
        let (x, y) = format.sar;
        assert_eq!(probed["sample_aspect_ratio"], format!("{x}:{y}"), "{what}");
    }
}

#[test]
fn mpeg2_of_several_profiles_sizes_and_aspects() {
    for (source, coder) in [
        ("testsrc2=s=720x576:r=25", "-flags +ilme+ildct -aspect 16:9"),
        ("testsrc2=s=352x288:r=30000/1001", "-bf 2 -aspect 4:3"),
        ("testsrc2=s=1280x720:r=50", "-b:v 10M"),
        ("testsrc2=s=640x360:r=24", "-pix_fmt yuv422p"),
    ] {
        let encoded = Encoded::video(source, 8, &format!("-c:v mpeg2video {coder}"));
        let probed = ffmpeg::stream(encoded.ts());
        let (_, stream) = encoded.elementary("mpeg2video", None);
        let mut headers = mpeg_video::headers(&stream);
        let sequence = mpeg_video::sequence_header(headers.next().unwrap()).unwrap();
        let format = mpeg_video::sequence_extension(headers.next().unwrap(), &sequence).unwrap();
        agrees(&format, &probed, coder);
        let (numerator, denominator) = format.frame_rate.unwrap();
        assert_eq!(probed["r_frame_rate"], format!("{numerator}/{denominator}"), "{coder}");
        assert_eq!(probed["level"], format.level_idc.to_string(), "{coder}");
        let types = ffmpeg::packets(encoded.ts()).len();
        let pictures = mpeg_video::headers(&stream)
            .filter_map(|header| mpeg_video::PictureHeader::parse(header).ok());
        assert_eq!(pictures.count(), types, "{coder}");
    }
}

#[test]
fn av1_of_several_encoders_depths_and_samplings() {
    for coder in [
        "-c:v libsvtav1 -preset 12",
        "-c:v libsvtav1 -preset 12 -pix_fmt yuv420p10le",
        "-c:v libaom-av1 -cpu-used 8",
        "-c:v libaom-av1 -cpu-used 8 -pix_fmt yuv444p",
        "-c:v libaom-av1 -cpu-used 8 -pix_fmt yuv422p10le",
        "-c:v libaom-av1 -cpu-used 8 -color_primaries bt709 -color_trc bt709 -colorspace bt709",
        "-c:v librav1e -speed 10",
    ] {
        let encoded = Encoded::file("testsrc2=s=322x182:r=25", 3, coder, "obu");
        let probed = ffmpeg::stream(encoded.ts());
        let stream = std::fs::read(encoded.ts()).unwrap();
        let sequence = av1::obus(&stream)
            .map(Result::unwrap)
            .find(|obu| obu.header.obu_type == ObuType::SEQUENCE_HEADER)
            .unwrap();
        let format = av1::SequenceHeader::parse(sequence.payload).unwrap().format;
        agrees(&format, &probed, coder);
        assert_eq!(probed["level"], format.level_idc.to_string(), "{coder}");
        if coder.contains("bt709") {
            assert_eq!((format.colour.primaries, format.colour.matrix), (1, 1), "{coder}");
        }
    }
}
