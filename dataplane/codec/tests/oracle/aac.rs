//! AAC in ADTS from FFmpeg's encoder.

use codec::adts::Header;
use codec::audio::{Sync, Syntax, find};

use crate::ffmpeg::{self, Encoded};

fn check(source: &str, options: &str, channels: u8, rate: u32) -> Vec<u8> {
    let mut arguments = vec!["-f", "lavfi", "-i", source, "-t", "0.5", "-c:a", "aac"];
    arguments.extend(options.split_whitespace());
    let encoded = Encoded::encode(&arguments);
    let probed = ffmpeg::stream(encoded.ts());
    let (_, stream) = encoded.elementary("adts", None);
    let mut rest = &stream[..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let header = Header::parse(rest).unwrap();
        assert_eq!(header.format.sample_rate, rate);
        assert_eq!(header.format.channels, channels);
        assert_eq!(probed["sample_rate"], rate.to_string());
        assert_eq!(probed["channels"], channels.to_string());
        assert_eq!(probed["profile"], header.format.profile);
        assert_eq!(
            header.access_units(rest).map(<[u8]>::len).sum::<usize>(),
            usize::from(header.frame_bytes - 7)
        );
        frames.push(usize::from(header.frame_bytes));
        rest = &rest[usize::from(header.frame_bytes)..];
    }
    let packets: Vec<_> = ffmpeg::packets(encoded.ts()).iter().map(|packet| packet.size).collect();
    assert_eq!(frames, packets);
    assert_extradata(&encoded, &stream);
    stream
}

/// The configuration is the one that FFmpeg's aac_adtstoasc puts into an MP4.
fn assert_extradata(encoded: &Encoded, stream: &[u8]) {
    let mp4 = encoded.ts().with_extension("mp4");
    let bytes = ffmpeg::remux(encoded.ts(), &mp4);
    let config = Header::parse(stream).unwrap().format;
    // In the esds box the DecoderSpecificInfo is tag 5 and its length.
    let esds = bytes.windows(4).position(|name| name == b"esds").unwrap();
    let tag = esds + bytes[esds..].windows(4).position(|tag| tag == [5, 0x80, 0x80, 0x80]).unwrap();
    let wanted = config.audio_specific_config();
    assert!(bytes[tag + 5..].starts_with(wanted), "{wanted:x?}");
    assert_eq!(wanted.len(), 2);
}

#[test]
fn mono_stereo_and_surround() {
    check("sine=frequency=440:sample_rate=48000", "-ac 1", 1, 48_000);
    check("sine=frequency=440:sample_rate=44100", "-ac 2", 2, 44_100);
    check("sine=frequency=440:sample_rate=32000", "-ac 6", 6, 32_000);
}

#[test]
fn resync_finds_the_first_whole_frame_behind_junk() {
    let stream = check("anoisesrc=sample_rate=48000", "-ac 2", 2, 48_000);
    let first = usize::from(Header::parse(&stream).unwrap().frame_bytes);
    for cut in 1..first {
        let Sync::Confirmed { offset, .. } = find(Syntax::Adts, &stream[cut..]) else {
            panic!("no frame after {cut} bytes");
        };
        assert_eq!(cut + offset, first);
    }
}
