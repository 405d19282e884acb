//! Bodies of the fuzz targets: each takes any bytes and checks what must hold for them.

use std::sync::Arc;

use crate::directory::{Directory, DirectoryConfig, DirectoryWriter};
use crate::info::{StreamId, StreamInfo, TrackInfo};
use crate::layout::{ABI_VERSION, DIRECTORY_MAGIC, LAYOUT_HASH, RING_MAGIC, WORD};
use crate::ring::{FrameFlags, FrameMeta, GopReader, GopRing, GopWriter, Next, RingSpec, SeekFrom};
use crate::segment::{Mapping, Words};
use crate::{Error, RingId};

/// Bits of the first byte of an input.
const DIRECTORY: u8 = 1;
/// The rest is the segment itself, not a list of changes to a good one.
const WHOLE: u8 = 2;
/// Keep the head as it is; else it is made right, so that what lies behind the check is reached.
const HEAD_AS_IS: u8 = 4;

/// The reader of either segment over hostile memory: no panic, no endless loop, texts that are
/// texts, frames no larger than their lane.
pub fn reader(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let is_directory = mode & DIRECTORY != 0;
    let memory = if mode & WHOLE != 0 { whole(rest) } else { changed(is_directory, rest) };
    if mode & HEAD_AS_IS == 0 {
        mend_head(&memory, if is_directory { DIRECTORY_MAGIC } else { RING_MAGIC });
    }
    if is_directory { read_directory(&memory) } else { read_ring(&memory) }
}

fn whole(bytes: &[u8]) -> Arc<Mapping> {
    let words = bytes.chunks(WORD).map(|chunk| {
        let mut word = [0; WORD];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    Mapping::heap(words)
}

/// A good segment with some of its words overwritten: two bytes of place, eight of value, again
/// and again.
fn changed(is_directory: bool, changes: &[u8]) -> Arc<Mapping> {
    let memory = if is_directory { good_directory() } else { good_ring() };
    let words = Words::new(&memory, 0, memory.bytes(), false);
    for change in changes.as_chunks::<10>().0 {
        let [a, b, value @ ..] = *change;
        words.store(
            usize::from(u16::from_le_bytes([a, b])) % words.len(),
            u64::from_le_bytes(value),
        );
    }
    memory
}

fn mend_head(memory: &Arc<Mapping>, magic: u64) {
    let words = Words::new(memory, 0, memory.bytes(), false);
    let head = [magic, ABI_VERSION.into(), LAYOUT_HASH, memory.bytes() as u64];
    for (index, value) in head.into_iter().enumerate().take(words.len()) {
        words.store(index, value);
    }
}

/// Copies a heap segment, which its writer still owns, to memory of its own.
fn copy(words: &Words) -> Arc<Mapping> {
    Mapping::heap((0..words.len()).map(|index| words.load(index)))
}

fn good_directory() -> Arc<Mapping> {
    let software = "fuzz";
    let config = DirectoryConfig { workers: 1, stream_slots: 2, memory_budget_bytes: 1, software };
    let (mut writer, _reader) = DirectoryWriter::in_process(&config).expect("a good size");
    let id = StreamId::cut("live/küche");
    let mut info = StreamInfo { id, source: "[::1]:9000".parse().ok(), ..StreamInfo::default() };
    info.set_tracks(&[TrackInfo::default(); 3]);
    writer.stream(0).open(&info);
    copy(writer.words())
}

fn good_ring() -> Arc<Mapping> {
    let ring = RingId(1);
    let spec =
        RingSpec { ring, video_bytes: 128, side_bytes: 64, descriptors: 4, pending_frames: 4 };
    let (mut writer, reader) = GopRing::in_process(&spec).expect("a good size");
    writer.start_generation();
    for length in [20, 30, 40] {
        publish(&mut writer, length);
    }
    copy(&reader.words())
}

fn publish(writer: &mut GopWriter, length: usize) {
    let flags = FrameFlags::KEY | FrameFlags::GOP_START;
    writer.append(&[7; 40][..length]).expect("room");
    writer.finish(&FrameMeta { flags, ..FrameMeta::default() }, 0).expect("room");
    writer.append_frame(b"audio", &FrameMeta::default(), 0).expect("room");
    writer.publish_due(0, 0, |_| ());
}

fn read_directory(memory: &Arc<Mapping>) {
    let words = Words::new(memory, 0, memory.bytes(), false);
    let Ok(directory) = Directory::new(words) else { return };
    check_directory(&directory);
}

fn check_directory(directory: &Directory) {
    let header = directory.header();
    assert!(header.software.as_str().len() <= 64);
    let _ = directory.conductor();
    for worker in directory.workers() {
        let latency = &worker.latency;
        let told = [0.0, 50.0, 99.0, 100.0].map(|percent| latency.percentile_ns(percent));
        assert!(told.iter().all(|ns| *ns < 1 << 36));
        let _ = latency.since(latency).buckets().count();
    }
    for slot in 0..header.stream_slots {
        match directory.stream_at(slot) {
            Ok(None) | Err(Error::Torn { .. }) => {}
            Ok(Some(stream)) => check_info(&stream.info),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(directory.stream_at(header.stream_slots).is_err());
    assert!(directory.streams().len() <= usize::try_from(header.stream_slots).unwrap_or(0));
}

fn check_info(info: &StreamInfo) {
    assert!(info.id.as_str().len() <= 512);
    assert!(info.tracks().len() <= crate::TRACKS_MAX);
    for track in info.tracks() {
        assert!(track.language().is_none_or(|code| code.len() == 3));
        assert!(track.video().is_none_or(|v| v.profile.len() <= 24 && v.level.len() <= 8));
        assert!(track.audio().is_none_or(|audio| usize::from(audio.config_len) <= 16));
    }
    // What a reader understood, a writer can say again.
    assert_eq!(StreamInfo::decode(&info.encode()).as_ref(), Some(info));
}

fn read_ring(memory: &Arc<Mapping>) {
    let Ok(mut reader) = GopReader::from_image(memory) else { return };
    let mut out = Vec::new();
    for from in [SeekFrom::Oldest, SeekFrom::Key, SeekFrom::Live] {
        reader.seek(from);
        let _ = reader.lag();
        for _ in 0..8 {
            match reader.next(&mut out) {
                Ok(Next::Frame(frame)) => {
                    assert_eq!(out.len() as u64, u64::from(frame.size));
                    assert!(out.len() <= memory.bytes());
                }
                Ok(Next::Overrun { .. }) => assert!(out.is_empty()),
                Ok(Next::Empty | Next::Ended) | Err(_) => {
                    assert!(out.is_empty());
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
#[cfg_attr(miri, allow(dead_code, reason = "the tests that read files are left out"))]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/shm_reader")
    }

    fn corpus() -> Vec<Vec<u8>> {
        let files = std::fs::read_dir(folder()).expect("the corpus is there");
        let files: Vec<_> =
            files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        assert!(files.len() >= 20, "the corpus of shm_reader is nearly empty");
        files
    }

    /// A small generator with a seed, so that a failure can be repeated.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        /// A value that a careless reader trips over.
        fn nasty(&mut self) -> u64 {
            let near = self.roll() % 5;
            match self.roll() % 6 {
                0 => near,
                1 => u64::MAX - near,
                2 => 1 << (self.roll() % 64),
                3 => (1_u64 << (self.roll() % 64)).wrapping_sub(1),
                4 => u64::from(u32::MAX) + near,
                _ => self.roll(),
            }
        }

        fn input(&mut self) -> Vec<u8> {
            let mut input = vec![self.roll().to_le_bytes()[0] & (DIRECTORY | HEAD_AS_IS)];
            for _ in 0..self.roll() % 12 {
                // Most changes go to where headers, cursors and descriptors are.
                let place = if self.roll().is_multiple_of(2) { 0x140 } else { 0x600 };
                let place = self.roll() % place;
                input.extend_from_slice(&place.to_le_bytes()[..2]);
                input.extend_from_slice(&self.nasty().to_le_bytes());
            }
            input
        }
    }

    #[test]
    #[cfg(not(miri))]
    fn the_corpus_holds() {
        corpus().iter().for_each(|input| reader(input));
    }

    #[test]
    #[cfg(not(miri))]
    fn the_corpus_holds_with_any_byte_changed_and_cut_anywhere() {
        for input in corpus() {
            let step = (input.len() / 64).max(1);
            for at in (0..input.len()).step_by(step) {
                let mut changed = input.clone();
                changed[at] ^= 0x81;
                reader(&changed);
                reader(&input[..at]);
            }
        }
    }

    #[test]
    fn good_segments_with_some_words_overwritten_hold() {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for _ in 0..if cfg!(miri) { 4 } else { 5_000 } {
            reader(&dice.input());
        }
    }

    /// The reader meets every state that a writer, or a madman, can leave behind at any moment.
    #[test]
    fn segments_that_change_while_they_are_read_hold() {
        for (seed, memory) in [(1, good_directory()), (2, good_ring())] {
            let stop = AtomicBool::new(false);
            let rounds = if cfg!(miri) { 1 } else { 1_000 };
            std::thread::scope(|scope| {
                let words = Words::new(&memory, 0, memory.bytes(), false);
                let stop = &stop;
                scope.spawn(move || {
                    let mut dice = Dice(seed);
                    while !stop.load(Ordering::Relaxed) {
                        let place = usize::try_from(dice.roll() % words.len() as u64).unwrap();
                        let kept = words.load(place);
                        words.store(place, dice.nasty());
                        words.store(place, kept);
                    }
                });
                for _ in 0..rounds {
                    read_directory(&memory);
                    read_ring(&memory);
                }
                stop.store(true, Ordering::Relaxed);
            });
        }
    }

    /// Writes the seeds of the corpus: `cargo test -p penstock-shm -- --ignored the_corpus_seeds`.
    #[test]
    #[ignore = "writes files"]
    #[cfg(not(miri))]
    fn the_corpus_seeds() {
        let folder = folder();
        std::fs::create_dir_all(&folder).unwrap();
        let save = |name: &str, input: &[u8]| std::fs::write(folder.join(name), input).unwrap();
        let bytes = |memory: &Arc<Mapping>| -> Vec<u8> {
            let words = Words::new(memory, 0, memory.bytes(), false);
            (0..words.len()).flat_map(|index| words.load(index).to_le_bytes()).collect()
        };
        save("ring_whole", &[&[WHOLE][..], &bytes(&good_ring())].concat());
        save("directory_whole", &[&[WHOLE | DIRECTORY][..], &bytes(&good_directory())].concat());
        save("ring_good", &[0]);
        save("directory_good", &[DIRECTORY]);
        save("empty_whole", &[WHOLE]);
        save("version_other", &change(HEAD_AS_IS, &[(1, 2)]));
        save("layout_other", &change(HEAD_AS_IS | DIRECTORY, &[(2, 0)]));
        save("length_other", &change(HEAD_AS_IS, &[(3, u64::MAX)]));
        let cursors = 64;
        let ring = [
            ("ring_descriptors_none", (5, 0)),
            ("ring_descriptors_many", (5, u64::MAX)),
            ("ring_side_outside", (6, u64::MAX - 7)),
            ("ring_side_odd", (6, 1025)),
            ("ring_side_empty", (7, 0)),
            ("ring_side_huge", (7, u64::MAX - 7)),
            ("ring_video_over_side", (8, 1024)),
            ("ring_video_huge", (9, 1 << 40)),
            ("ring_generation", (cursors, 9)),
            ("ring_ended", (cursors + 1, 3)),
            ("ring_tail_far", (cursors + 2, u64::MAX)),
            ("ring_head_far", (cursors + 3, u64::MAX)),
            ("ring_head_back", (cursors + 3, 0)),
            ("ring_key_far", (cursors + 4, u64::MAX - 1)),
            ("frame_position", (128 + 32, 77)),
            ("frame_offset_odd", (128 + 32 + 3, 3)),
            ("frame_offset_far", (128 + 32 + 3, u64::MAX - 7)),
            ("frame_length_huge", (128 + 32 + 4, 0xffff_ffff)),
            ("frame_lane_unknown", (128 + 32 + 4, 0x07_0000_0014)),
            ("frame_generation", (128 + 32 + 11, 5)),
        ];
        for (name, one) in ring {
            save(name, &change(0, &[one]));
        }
        let words = Words::new(&good_directory(), 0, good_directory().bytes(), false);
        let slot = Directory::new(words).unwrap().first_slot_word();
        let directory = [
            ("directory_workers_many", (10, 65_535)),
            ("directory_workers_beyond", (10, u64::MAX)),
            ("directory_slots_many", (11, 65_536)),
            ("directory_slots_none", (11, 0)),
            ("directory_stride_other", (16, 8)),
            ("directory_offset_other", (15, u64::MAX)),
            ("slot_torn", (slot, 1)),
            ("slot_codes_unknown", (slot + 1, u64::MAX)),
            ("slot_lengths_huge", (slot + 1 + 9, u64::MAX)),
            ("slot_id_not_utf8", (slot + 1 + 16, u64::MAX)),
            ("slot_track_all_ones", (slot + 1 + 80, u64::MAX)),
        ];
        for (name, one) in directory {
            save(name, &change(DIRECTORY, &[one]));
        }
    }

    #[cfg(not(miri))]
    fn change(mode: u8, changes: &[(u16, u64)]) -> Vec<u8> {
        let mut input = vec![mode];
        for (place, value) in changes {
            input.extend_from_slice(&place.to_le_bytes());
            input.extend_from_slice(&value.to_le_bytes());
        }
        input
    }
}
