//! Sound from FFmpeg's encoders: every frame's length, what its header says of the sound.

use codec::audio::{Header, Sync, Syntax, find};
use codec::latm;

use crate::ffmpeg::{self, Encoded};

/// Walks the elementary stream frame by frame: they are FFmpeg's packets.
fn check(syntax: Syntax, format: &str, coder: &str) {
    let source = "sine=frequency=440:sample_rate=48000";
    let mut arguments = vec!["-f", "lavfi", "-i", source, "-t", "0.5"];
    arguments.extend(coder.split_whitespace());
    let encoded = Encoded::encode(&arguments);
    let probed = ffmpeg::stream(encoded.ts());
    let (_, stream) = encoded.elementary(format, None);
    let mut rest = &stream[..];
    let mut sizes = Vec::new();
    let mut known = None;
    while !rest.is_empty() {
        let header = syntax.parse(rest).unwrap();
        let frame = &rest[..header.frame_bytes()];
        let told = match header {
            Header::Ac3(header) => header.format,
            Header::MpegAudio(header) => header.format,
            Header::Loas(_) => {
                let units = latm::units(&frame[latm::HEADER_BYTES..], &mut known).unwrap();
                assert_eq!(units.map(Result::unwrap).count(), 1, "{coder}");
                known.unwrap().format
            }
            _ => panic!("{coder}: another header"),
        };
        assert_eq!(probed["sample_rate"], told.sample_rate.to_string(), "{coder}");
        assert_eq!(probed["channels"], told.channels.to_string(), "{coder}");
        sizes.push(frame.len());
        rest = &rest[frame.len()..];
    }
    let packets: Vec<_> = ffmpeg::packets(encoded.ts()).iter().map(|packet| packet.size).collect();
    assert_eq!(sizes, packets, "{coder}");
    resync_finds_the_first_whole_frame(syntax, &stream, sizes[0], coder);
}

fn resync_finds_the_first_whole_frame(syntax: Syntax, stream: &[u8], first: usize, what: &str) {
    for cut in (1..first).step_by(7) {
        let Sync::Confirmed { offset, .. } = find(syntax, &stream[cut..]) else {
            panic!("{what}: no frame after {cut} bytes");
        };
        assert_eq!(cut + offset, first, "{what}");
    }
}

#[test]
fn ac3_of_all_rates_and_layouts() {
    for rate in [48_000, 44_100, 32_000] {
        for (channels, bits) in [(1, "64k"), (2, "192k"), (3, "224k"), (6, "448k")] {
            let coder = format!("-c:a ac3 -ar {rate} -ac {channels} -b:a {bits}");
            check(Syntax::Ac3, "ac3", &coder);
        }
    }
}

#[test]
fn eac3_of_all_rates_and_layouts() {
    for rate in [48_000, 44_100, 32_000] {
        for (channels, bits) in [(1, "48k"), (2, "96k"), (6, "256k")] {
            let coder = format!("-c:a eac3 -ar {rate} -ac {channels} -b:a {bits}");
            check(Syntax::Ac3, "eac3", &coder);
        }
    }
}

#[test]
fn mpeg_audio_of_all_sample_rates() {
    for (rate, bits) in [(48_000, 192), (44_100, 128), (32_000, 96), (24_000, 64), (22_050, 48)] {
        for channels in [1, 2] {
            let options = format!("-ar {rate} -ac {channels} -b:a {bits}k");
            check(Syntax::MpegAudio, "data", &format!("-c:a mp2 {options}"));
            check(Syntax::MpegAudio, "data", &format!("-c:a libmp3lame {options}"));
        }
    }
}

#[test]
fn aac_in_latm() {
    for (rate, channels) in [(48_000, 2), (44_100, 1), (32_000, 6), (16_000, 1)] {
        let coder = format!("-c:a aac -ar {rate} -ac {channels} -mpegts_flags latm");
        check(Syntax::Loas, "data", &coder);
    }
}
