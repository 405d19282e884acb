//! Encoder output cut into any pieces and units gives the frames that FFmpeg's parsers find.

mod support;

use std::path::Path;

use codec::sink::{Codec, Sink, Timestamps};
use support::{Got, Packet, Random, Rig, ffmpeg, packets, picture_types, stamps, track};

const SOURCE: &str = "-f lavfi -i testsrc2=s=160x96:r=25:d=2,noise=alls=6:allf=t";

fn x264(folder: &Path, name: &str, options: &str) -> std::path::PathBuf {
    ffmpeg(
        folder,
        &format!("{SOURCE} -c:v libx264 -pix_fmt yuv420p -x264-params {options} {name}.h264"),
    )
}

fn x265(folder: &Path, name: &str, format: &str, options: &str) -> std::path::PathBuf {
    ffmpeg(
        folder,
        &format!(
            "{SOURCE} -c:v libx265 -pix_fmt {format} -x265-params {options}:log-level=none \
             {name}.hevc"
        ),
    )
}

/// Pushes the whole file in pieces up to `piece_max`, with a unit at each of `cuts`.
fn run(codec: Codec, bytes: &[u8], cuts: &[usize], piece_max: usize, seed: u64) -> Vec<Got> {
    let mut rig = Rig::new(&[track(codec, 256)]);
    let mut random = Random::new(seed);
    for (index, start) in cuts.iter().enumerate() {
        let end = cuts.get(index + 1).copied().unwrap_or(bytes.len());
        let time = 90_000 + 3600 * u64::try_from(index).unwrap();
        rig.stream.unit_start(0, stamps(time + 7200, time));
        rig.data(0, &bytes[*start..end], piece_max, &mut random);
    }
    rig.finish()
}

fn agrees(got: &[Got], expected: &[Packet], what: &str) {
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_eq!(got.bytes.len(), expected.size, "{what}: size of frame {index}");
        assert_eq!(got.sha256(), expected.sha256, "{what}: bytes of frame {index}");
        assert_eq!(got.frame.is_key(), expected.key, "{what}: key flag of frame {index}");
        assert!(!got.frame.is_damaged(), "{what}: frame {index} is clean");
    }
    assert_eq!(got.len(), expected.len(), "{what}: number of frames");
}

/// Cuts at access units, at one unit for all, at every third access unit, at random places.
fn cuttings(expected: &[Packet], len: usize) -> Vec<(&'static str, Vec<usize>)> {
    let starts: Vec<usize> =
        expected.iter().map(|packet| usize::try_from(packet.pos).unwrap()).collect();
    let mut random = Random::new(7);
    let mut anywhere: Vec<usize> = (0..40).map(|_| random.below(len)).collect();
    anywhere.push(0);
    anywhere.sort_unstable();
    anywhere.dedup();
    let thirds = starts.iter().copied().step_by(3).collect();
    vec![("aligned", starts), ("one", vec![0]), ("thirds", thirds), ("anywhere", anywhere)]
}

fn compare(codec: Codec, file: &Path, one_slice: bool) {
    let bytes = std::fs::read(file).unwrap();
    let expected = packets(file, "v:0");
    let types = picture_types(file);
    for (cutting, cuts) in cuttings(&expected, bytes.len()) {
        for (seed, piece_max) in [(1, 1), (2, 7), (3, 184), (4, 1500), (5, 200_000)] {
            let what = format!("{} {cutting} pieces to {piece_max}", file.display());
            let got = run(codec, &bytes, &cuts, piece_max, seed);
            agrees(&got, &expected, &what);
            if one_slice {
                classes_agree(&got, &types, &what);
            }
        }
    }
}

fn classes_agree(got: &[Got], types: &[(u64, char)], what: &str) {
    for (index, (got, (_, expected))) in got.iter().zip(types).enumerate() {
        let class = match got.frame.class.label() {
            "idr" | "i" => 'I',
            "p" => 'P',
            "b" => 'B',
            other => panic!("{what}: class {other} of frame {index}"),
        };
        assert_eq!(class, *expected, "{what}: type of frame {index}");
    }
    assert_eq!(got.len(), types.len(), "{what}: number of pictures");
}

#[test]
fn h264_with_b_frames_and_no_delimiters() {
    let folder = tempfile::tempdir().unwrap();
    let file = x264(folder.path(), "b", "bframes=3:keyint=20:aud=0");
    compare(Codec::H264, &file, true);
}

#[test]
fn h264_with_delimiters() {
    let folder = tempfile::tempdir().unwrap();
    let file = x264(
        folder.path(),
        "aud",
        "bframes=2:keyint=25:aud=1:nal-hrd=vbr:vbv-maxrate=2000:vbv-bufsize=2000",
    );
    compare(Codec::H264, &file, true);
}

#[test]
fn h264_of_four_slices() {
    let folder = tempfile::tempdir().unwrap();
    let file = x264(folder.path(), "slices", "bframes=2:slices=4:keyint=20");
    compare(Codec::H264, &file, false);
}

#[test]
fn h264_mbaff() {
    let folder = tempfile::tempdir().unwrap();
    let file = x264(folder.path(), "mbaff", "tff=1:bframes=2:keyint=20");
    compare(Codec::H264, &file, true);
}

#[test]
fn h264_intra_refresh_is_key_at_each_recovery_point() {
    let folder = tempfile::tempdir().unwrap();
    let file = x264(folder.path(), "refresh", "intra-refresh=1:keyint=15:bframes=0");
    assert!(packets(&file, "v:0").iter().filter(|packet| packet.key).count() > 1);
    compare(Codec::H264, &file, true);
}

#[test]
fn h264_open_gop() {
    let folder = tempfile::tempdir().unwrap();
    let file = x264(folder.path(), "open", "open-gop=1:bframes=3:keyint=12");
    compare(Codec::H264, &file, true);
}

#[test]
fn hevc_main() {
    let folder = tempfile::tempdir().unwrap();
    let file = x265(folder.path(), "main", "yuv420p", "bframes=3:keyint=20");
    compare(Codec::Hevc, &file, true);
}

#[test]
fn hevc_main_10_with_delimiters_and_slices() {
    let folder = tempfile::tempdir().unwrap();
    let file = x265(folder.path(), "main10", "yuv420p10le", "bframes=2:keyint=20:aud=1:slices=3");
    compare(Codec::Hevc, &file, false);
}

#[test]
fn hevc_open_gop_starts_at_clean_random_access() {
    let folder = tempfile::tempdir().unwrap();
    let file = x265(folder.path(), "cra", "yuv420p", "open-gop=1:bframes=3:keyint=12");
    compare(Codec::Hevc, &file, true);
}

#[test]
fn trailing_and_leading_zeros_go_where_ffmpeg_puts_them() {
    let folder = tempfile::tempdir().unwrap();
    for (codec, file) in [
        (Codec::H264, x264(folder.path(), "zeros", "bframes=0:keyint=10:aud=0")),
        (Codec::Hevc, x265(folder.path(), "zeros", "yuv420p", "bframes=0:keyint=10")),
    ] {
        let plain = std::fs::read(&file).unwrap();
        let starts = packets(&file, "v:0");
        let mut bytes = vec![0; 5];
        for (index, packet) in starts.iter().enumerate() {
            let pos = usize::try_from(packet.pos).unwrap();
            bytes.extend_from_slice(&plain[pos..pos + packet.size]);
            bytes.extend(std::iter::repeat_n(0, index % 4));
        }
        std::fs::write(&file, &bytes).unwrap();
        let expected = packets(&file, "v:0");
        for piece_max in [1, 3, 184, 5000] {
            let got = run(codec, &bytes, &[0], piece_max, 11);
            agrees(&got, &expected, &format!("{codec:?} in pieces to {piece_max}"));
        }
    }
}

#[test]
fn aac_frames_come_out_raw() {
    let folder = tempfile::tempdir().unwrap();
    let file = ffmpeg(
        folder.path(),
        "-f lavfi -i sine=f=440:r=44100:d=3 -ac 2 -c:a aac -b:a 96k tone.aac",
    );
    let bytes = std::fs::read(&file).unwrap();
    let expected = packets(&file, "a:0");
    for piece_max in [1, 5, 184, 4000] {
        let mut rig = Rig::new(&[track(Codec::Aac, 257)]);
        rig.unit_in(0, stamps(5_000, 5_000), &bytes, piece_max);
        let got = rig.finish();
        assert_eq!(got.len(), expected.len(), "pieces to {piece_max}");
        for (got, packet) in got.iter().zip(&expected) {
            let start = usize::try_from(packet.pos).unwrap() + 7;
            assert_eq!(got.bytes, &bytes[start..start + packet.size - 7]);
            assert!(!got.frame.is_damaged());
        }
        let last = got.last().unwrap();
        let exact = 5_000 + (got.len() - 1) * 1024 * 90_000 / 44_100;
        assert!(last.frame.pts.unwrap().abs_diff(u64::try_from(exact).unwrap()) <= 1);
    }
}

#[test]
fn junk_between_adts_frames_is_skipped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = ffmpeg(folder.path(), "-f lavfi -i sine=f=440:r=48000:d=1 -c:a aac tone.aac");
    let plain = std::fs::read(&file).unwrap();
    let expected = packets(&file, "a:0");
    let junk = [0xff, 0xf1, 0x50, 0x80, 0x00, 0x00, 0x12, 0x34, 0xff];
    let mut bytes = junk.to_vec();
    for packet in &expected {
        let pos = usize::try_from(packet.pos).unwrap();
        if packet.pos == expected[10].pos {
            bytes.extend_from_slice(&junk);
        }
        bytes.extend_from_slice(&plain[pos..pos + packet.size]);
    }
    let mut rig = Rig::new(&[track(Codec::Aac, 257)]);
    rig.unit_in(0, Timestamps::default(), &bytes, 184);
    rig.finish_here();
    assert_eq!(rig.got.len(), expected.len());
    let skipped = rig.stream.counters().bytes_skipped;
    assert_eq!(skipped, 2 * u64::try_from(junk.len()).unwrap());
}
