//! Access units that do not lie one in each PES packet, and field pictures in every packing.

use anyhow::{Result, ensure};
use penstock_tests::generate::clips::{self, AAC, H264, Shape};
use penstock_tests::generate::h264::{Paff, paff};
use penstock_tests::generate::mux::Stream;
use penstock_tests::generate::pack::{Packing, mux, pack};
use penstock_tests::system::Penstock;

use super::{AUDIO, Expected, VIDEO, is_true, options};

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

/// A clip with B-frames in this coding, packed anew: a decoder's types and FFmpeg's stamps of the
/// clip are its truth.
fn b_frames_are_true(packing: Packing) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let system = Penstock::start(&options())?;
    let hevc = "log-level=none:bframes=3:open-gop=0";
    let hevc = ["-c:v", "libx265", "-preset", "veryfast", "-x265-params", hevc];
    let shape = Shape { seconds: 2, ..Shape::default() };
    for (id, stream, coder) in
        [("h264", Stream::h264(VIDEO), &H264[..]), ("hevc", Stream::hevc(VIDEO), &hevc)]
    {
        let source = clips::make(folder.path(), "source.ts", shape, &[coder, &["-an"]].concat())?;
        let units = clips::access_units(&source, VIDEO)?;
        let path = folder.path().join(id);
        std::fs::write(&path, mux(&[(stream, pack(&units, packing, true))], 20))?;
        is_true(&system, id, &Expected::generated(&path, &units))?;
    }
    system.stop()
}

#[test]
fn three_pictures_with_b_frames_share_a_pes_packet() -> Result<()> {
    b_frames_are_true(Packing::UnitsPerPes(3))
}

#[test]
fn pictures_with_b_frames_lie_over_three_pes_packets() -> Result<()> {
    b_frames_are_true(Packing::PesPerUnit(3))
}

#[test]
fn pes_packets_with_b_frames_begin_anywhere() -> Result<()> {
    b_frames_are_true(Packing::Unaligned(2_500))
}

/// The sound of a clip beside its pictures, in PES packets that begin anywhere.
#[test]
fn sound_in_pes_packets_that_begin_anywhere() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let coder = [&H264[..], &AAC, &["-ar", "44100"]].concat();
    let source = clips::make(folder.path(), "source.ts", Shape::default(), &coder)?;
    let pictures = clips::access_units(&source, VIDEO)?;
    let sound = clips::adts_frames(&source, AUDIO)?;
    let system = Penstock::start(&options())?;
    for (id, packing) in [
        ("one", Packing::OnePerUnit),
        ("seven", Packing::UnitsPerPes(7)),
        ("pieces", Packing::PesPerUnit(2)),
        ("anywhere", Packing::Unaligned(500)),
    ] {
        let path = folder.path().join(id);
        let tracks = [
            (Stream::h264(VIDEO), pack(&pictures, Packing::OnePerUnit, false)),
            (Stream::aac(AUDIO), pack(&sound, packing, true)),
        ];
        std::fs::write(&path, mux(&tracks, 20))?;
        let expected = Expected { audio: &[AUDIO], ..Expected::generated(&path, &pictures) };
        is_true(&system, id, &expected)?;
    }
    system.stop()
}
