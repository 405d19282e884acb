//! Both segments over real memory files: what a reader in any process sees, and what it cannot do.

// System calls that neither the interpreter nor the models know.
#![cfg(not(any(miri, loom)))]

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use penstock_shm::counters::{ConductorCounter, StreamCounter, WorkerCounter};
use penstock_shm::{
    ABI_VERSION, Directory, DirectoryConfig, DirectoryWriter, Error, FrameFlags, FrameMeta,
    GopLimits, GopReader, GopRing, GopWriter, Liveness, Measured, Next, RingId, RingSpec, SeekFrom,
    Spread, StreamId, StreamInfo, StreamSpread, StreamState,
};
use rustix::fs::{MemfdFlags, SealFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

fn config() -> DirectoryConfig<'static> {
    let software = "penstock-dataplane 0.1.0";
    DirectoryConfig { workers: 2, stream_slots: 4, memory_budget_bytes: 1 << 30, software }
}

fn spec() -> RingSpec {
    let (video_bytes, side_bytes) = (8 * 4096, 4096);
    RingSpec { ring: RingId(5), video_bytes, side_bytes, descriptors: 64, pending_frames: 16 }
}

fn info(id: &str) -> StreamInfo {
    StreamInfo { id: StreamId::new(id).unwrap(), created_unix_ns: 1, ..StreamInfo::default() }
}

fn ring() -> (GopWriter, GopReader, OwnedFd) {
    let (mut writer, fd) = GopRing::create(&spec()).unwrap();
    writer.start_generation();
    let reader = GopReader::map(fd.as_fd()).unwrap();
    (writer, reader, fd)
}

/// Past the cache, over the end of the lane, with lines that two frames share: another thread reads
/// whatever is visible meanwhile.
#[test]
fn frames_that_were_lent_are_whole_for_a_reader_of_another_thread() {
    const FRAMES: u32 = 3_000;
    let (mut writer, mut reader, _fd) = ring();
    reader.attach();
    let bytes = |seed: u32| -> Vec<u8> {
        (0..200 + seed * 37 % 9_000).map(|at| (seed * 31 + at).to_le_bytes()[0]).collect()
    };
    let read = std::thread::spawn(move || {
        let (mut out, mut whole) = (Vec::new(), 0);
        loop {
            match reader.next(&mut out).unwrap() {
                Next::Frame(frame) => {
                    let seed = u32::try_from(frame.pts.unwrap()).unwrap();
                    assert!(out == bytes(seed), "frame {seed}");
                    whole += 1;
                }
                Next::Ended => return whole,
                Next::Empty | Next::Overrun { .. } => std::thread::yield_now(),
            }
        }
    });
    let mut lent = None;
    for seed in 0..FRAMES {
        let frame = bytes(seed);
        let (first, rest) = frame.split_at(150);
        // Makes the room that the lent frame needs.
        writer.append(&frame).unwrap();
        writer.discard_open();
        writer.append(first).unwrap();
        writer.lend_open(&mut lent);
        let open = lent.as_mut().unwrap();
        for piece in rest.chunks(1_316) {
            assert!(open.append(piece));
        }
        writer.take_back(open);
        let flags = FrameFlags::KEY | FrameFlags::GOP_START;
        let meta = FrameMeta { flags, pts: Some(seed.into()), ..FrameMeta::default() };
        writer.finish(&meta, 0).unwrap();
        writer.publish_due(1, 1, |_| ());
    }
    writer.end();
    assert!(read.join().unwrap() > 0, "some were read");
}

#[test]
fn everything_the_dataplane_writes_is_seen_at_once() {
    let mut writer = DirectoryWriter::create(&config()).unwrap();
    let reader = Directory::map(writer.fd()).unwrap();
    let header = reader.header();
    assert_eq!((header.abi_version, header.pid), (ABI_VERSION, std::process::id()));
    assert_eq!((header.workers, header.stream_slots), (2, 4));
    assert_eq!(header.memory_budget_bytes, 1 << 30);
    assert_eq!(header.software.as_str(), "penstock-dataplane 0.1.0");
    assert_eq!(header.epoch, writer.epoch());

    writer.conductor().add(ConductorCounter::Accepted, 3);
    assert_eq!(reader.conductor().counter(ConductorCounter::Accepted), 3);

    let mut worker = writer.worker(1);
    assert_eq!(reader.workers()[1].cpu, None);
    worker.set_identity(0, 77);
    worker.add(WorkerCounter::Cycles, 5);
    worker.add(WorkerCounter::Cycles, 5);
    worker.set(WorkerCounter::SlotsFree, 9);
    worker.latency().record(1_000);
    let seen = &reader.workers()[1];
    assert_eq!((seen.worker, seen.cpu, seen.thread_id), (1, Some(0), 77));
    assert_eq!(seen.counter(WorkerCounter::Cycles), 10);
    assert_eq!(seen.counter(WorkerCounter::SlotsFree), 9);
    assert_eq!((seen.latency.count(), seen.latency.max_ns()), (1, 1_000));
    assert_eq!(reader.workers()[0].counter(WorkerCounter::Cycles), 0);
}

#[test]
fn a_stream_slot_shows_its_stream_until_it_is_freed_and_counts_anew_for_the_next() {
    let mut writer = DirectoryWriter::create(&config()).unwrap();
    let reader = Directory::map(writer.fd()).unwrap();
    assert!(reader.streams().is_empty());
    let mut slot = writer.stream(2);
    slot.open(&info("live/a"));
    slot.add(StreamCounter::FramesPublished, 7);
    let measured = |from: u64| Measured {
        interval: Spread { min: from, avg: from + 1, max: from + 2 },
        total: Spread { min: from + 3, avg: from + 4, max: u64::MAX },
    };
    for (from, quantity) in StreamSpread::ALL.iter().enumerate() {
        slot.set_spread(*quantity, &measured(from as u64));
    }
    let seen = reader.stream("live/a").unwrap();
    assert_eq!((seen.slot, seen.info), (2, info("live/a")));
    assert_eq!(seen.counter(StreamCounter::FramesPublished), 7);
    for (from, quantity) in StreamSpread::ALL.iter().enumerate() {
        assert_eq!(seen.spread(*quantity), measured(from as u64), "{}", quantity.label());
    }

    let active = StreamInfo { state: StreamState::Active, ..info("live/a") };
    slot.set_info(&active);
    let seen = reader.stream_at(2).unwrap().unwrap();
    assert_eq!((seen.info, seen.counter(StreamCounter::FramesPublished)), (active, 7));

    slot.clear();
    assert_eq!(reader.stream_at(2).unwrap(), None);
    slot.open(&info("live/b"));
    let next = reader.stream("live/b").unwrap();
    assert_eq!(next.counter(StreamCounter::FramesPublished), 0);
    assert_eq!(next.spread(StreamSpread::RttUs), Measured::default());
    assert!(matches!(reader.stream_at(4), Err(Error::NoSlot { slot: 4, slots: 4 })));
}

#[test]
fn of_two_streams_with_one_id_the_later_is_meant() {
    let mut writer = DirectoryWriter::create(&config()).unwrap();
    let reader = Directory::map(writer.fd()).unwrap();
    let later = StreamInfo { created_unix_ns: 2, ..info("live/a") };
    writer.stream(0).open(&later);
    writer.stream(1).open(&info("live/a"));
    assert_eq!(reader.stream("live/a").unwrap().slot, 0);
    assert_eq!(reader.streams().len(), 2);
}

#[test]
#[should_panic(expected = "taken twice")]
fn a_block_has_one_owner() {
    let mut writer = DirectoryWriter::create(&config()).unwrap();
    let _first = writer.worker(0);
    let _second = writer.worker(0);
}

#[test]
fn the_last_words_stay_readable_after_the_writer_is_gone() {
    let mut writer = DirectoryWriter::create(&config()).unwrap();
    let reader = Directory::map(writer.fd()).unwrap();
    writer.stream(0).open(&info("live/a"));
    drop(writer);
    assert!(reader.stream("live/a").is_some());

    let (mut writer, mut reader, fd) = ring();
    publish(&mut writer, b"last picture");
    drop((writer, fd));
    let mut out = Vec::new();
    assert!(matches!(reader.next(&mut out).unwrap(), Next::Frame(_)));
    assert_eq!(out, b"last picture");
}

#[test]
fn a_dataplane_lives_while_its_conductor_turns() {
    let mut writer = DirectoryWriter::create(&config()).unwrap();
    let reader = Directory::map(writer.fd()).unwrap();
    let mut conductor = writer.conductor();
    assert!(reader.is_alive(Duration::from_secs(60)), "it has just started");
    assert!(matches!(reader.liveness(Duration::ZERO), Liveness::Silent { .. }));
    let ahead = reader.header().started_monotonic_ns + 3_600_000_000_000;
    conductor.set(ConductorCounter::HeartbeatNs, ahead);
    assert_eq!(reader.heartbeat_age(), Duration::ZERO);
    assert_eq!(reader.liveness(Duration::ZERO), Liveness::Alive);
}

#[test]
fn two_runs_are_told_apart() {
    let [one, two] = [(); 2].map(|()| DirectoryWriter::create(&config()).unwrap().epoch());
    assert_ne!(one, two);
}

fn publish(writer: &mut GopWriter, bytes: &[u8]) {
    writer.append(bytes).unwrap();
    let flags = FrameFlags::KEY | FrameFlags::GOP_START;
    writer.finish(&FrameMeta { flags, ..FrameMeta::default() }, 0).unwrap();
    writer.publish_due(0, 0, |_| ());
}

#[test]
fn frames_of_all_lengths_come_out_whole_wherever_the_lane_ends() {
    let (mut writer, mut reader, _fd) = ring();
    let source: Vec<u8> = (0..30_000_u32).map(|i| (i % 251).to_le_bytes()[0]).collect();
    let mut out = Vec::new();
    for length in (0..30_000).step_by(37) {
        let bytes = &source[..length];
        bytes.chunks(184).for_each(|piece| writer.append(piece).unwrap());
        let mut half = vec![0; length / 2];
        assert_eq!(writer.copy_open(length / 4..length, &mut half), half.len());
        assert_eq!(half, bytes[length / 4..length / 4 + half.len()]);
        publish(&mut writer, b"");
        assert!(matches!(reader.next(&mut out).unwrap(), Next::Frame(_)));
        assert_eq!(out, bytes, "{length} bytes");
    }
}

#[test]
fn a_reader_that_is_overrun_all_the_time_never_gets_a_wrong_byte() {
    let (mut writer, mut reader, _fd) = ring();
    writer.set_limits(GopLimits { closed_gops_max: 2, ..GopLimits::default() });
    let writing = std::thread::spawn(move || {
        let mut piece = [0; 184];
        for frame in 0..20_000_u32 {
            piece.fill(frame.to_le_bytes()[0]);
            for _ in 0..frame % 40 {
                writer.append(&piece).unwrap();
            }
            publish(&mut writer, &frame.to_le_bytes());
        }
        writer.end();
    });
    let (mut frames, mut lost, mut out) = (0_u64, 0, Vec::new());
    loop {
        match reader.next(&mut out).unwrap() {
            Next::Frame(frame) => {
                assert_eq!(frame.sequence, frames + lost);
                let (fill, number) = out.split_at(out.len() - 4);
                let number = u32::from_le_bytes(number.try_into().unwrap());
                assert_eq!(u64::from(number), frame.sequence);
                assert_eq!(fill.len(), usize::try_from(number % 40).unwrap() * 184);
                assert!(fill.iter().all(|byte| *byte == number.to_le_bytes()[0]));
                frames += 1;
            }
            Next::Overrun { lost: more } => lost += more,
            Next::Empty => std::hint::spin_loop(),
            Next::Ended => break,
        }
    }
    writing.join().unwrap();
    assert_eq!(frames + lost, 20_000);
}

#[test]
fn many_readers_each_at_its_own_place() {
    let (mut writer, mut oldest, fd) = ring();
    for frame in 0..5_u8 {
        publish(&mut writer, &[frame]);
    }
    let mut live = GopReader::map_generation(fd.as_fd(), 1).unwrap();
    live.seek(SeekFrom::Live);
    let mut out = Vec::new();
    assert_eq!(live.next(&mut out).unwrap(), Next::Empty);
    assert!(matches!(oldest.next(&mut out).unwrap(), Next::Frame(_)));
    assert_eq!(out, [0]);
    writer.start_generation();
    let error = GopReader::map_generation(fd.as_fd(), 1).unwrap_err();
    assert!(matches!(error, Error::Generation { got: 2, expected: 1 }));
}

#[test]
fn a_reader_can_change_neither_bytes_nor_size() {
    let (_writer, _reader, fd) = ring();
    let directory = DirectoryWriter::create(&config()).unwrap();
    for fd in [fd.as_fd(), directory.fd()] {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a mapping at an address of the kernel's choice; it is refused.
        let map = |fd: BorrowedFd<'_>| unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), 4096, protection, flags, fd, 0)
        };
        assert_eq!(map(fd), Err(Errno::PERM));
        assert_eq!(rustix::io::pwrite(fd, b"x", 0), Err(Errno::PERM));
        assert_eq!(ftruncate(fd, 0), Err(Errno::PERM));
        assert_eq!(ftruncate(fd, 1 << 30), Err(Errno::PERM));
        let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        assert_eq!(rustix::fs::fallocate(fd, punch, 0, 4096), Err(Errno::PERM));
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        let again = File::options().read(true).write(true).open(path).unwrap();
        assert_eq!(map(again.as_fd()), Err(Errno::PERM));
    }
}

#[test]
fn a_segment_takes_no_more_memory_than_its_budget_says_and_all_of_it_at_once() {
    let big = RingSpec { video_bytes: 4 << 20, side_bytes: 300_000, ..spec() };
    for spec in [spec(), big] {
        let (writer, fd) = GopRing::create(&spec).unwrap();
        let file = File::from(fd).metadata().unwrap();
        assert_eq!(file.size(), spec.file_bytes());
        let taken = file.blocks() * 512;
        assert!(taken <= spec.file_bytes(), "{taken} of {}", spec.file_bytes());
        assert!(taken >= writer.capacity_bytes(), "every page is there from the start");
    }
    let directory = DirectoryWriter::create(&config()).unwrap();
    let file = File::from(directory.fd().try_clone_to_owned().unwrap()).metadata().unwrap();
    assert_eq!((file.size(), file.blocks() * 512), (config().file_bytes(), config().file_bytes()));
}

/// A segment with the same bytes, one word changed, sealed or not.
fn altered(fd: BorrowedFd<'_>, word: usize, value: u64, seal: bool) -> OwnedFd {
    let mut bytes = Vec::new();
    let mut file = File::from(fd.try_clone_to_owned().unwrap());
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes[word * 8..word * 8 + 8].copy_from_slice(&value.to_le_bytes());
    memory_file(&bytes, seal)
}

fn memory_file(bytes: &[u8], seal: bool) -> OwnedFd {
    let fd = memfd_create("altered", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    let mut written = 0;
    while written < bytes.len() {
        written += rustix::io::pwrite(&fd, &bytes[written..], written as u64).unwrap();
    }
    if seal {
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
    }
    fd
}

fn refusals(fd: BorrowedFd<'_>, map: impl Fn(BorrowedFd<'_>) -> Error) -> Vec<String> {
    let version = u64::from(ABI_VERSION);
    [
        (0, 7, true),
        (1, version - 1, true),
        (1, version + 1, true),
        (2, 9, true),
        (3, 8, true),
        (0, 0, false),
    ]
    .map(|(word, value, seal)| map(altered(fd, word, value, seal).as_fd()).to_string())
    .to_vec()
}

fn version_text(version: u32) -> String {
    format!("ABI version {version}, this reader has {ABI_VERSION}")
}

#[test]
fn a_directory_of_another_build_is_refused_with_what_differs() {
    let writer = DirectoryWriter::create(&config()).unwrap();
    let texts = refusals(writer.fd(), |fd| Directory::map(fd).unwrap_err());
    assert!(texts[0].contains("starts with 0x0000000000000007"), "{texts:?}");
    assert!(texts[1].contains(&version_text(ABI_VERSION - 1)), "{texts:?}");
    assert!(texts[2].contains(&version_text(ABI_VERSION + 1)), "{texts:?}");
    assert!(texts[3].contains("layout 0x0000000000000009, this reader has 0x"), "{texts:?}");
    assert!(texts[4].contains("says it has 8 bytes but has"), "{texts:?}");
    assert!(texts[5].contains("not sealed against shrinking"), "{texts:?}");
}

#[test]
fn a_ring_of_another_build_is_refused_with_what_differs() {
    let (_writer, _reader, fd) = ring();
    let texts = refusals(fd.as_fd(), |fd| GopReader::map(fd).unwrap_err());
    assert!(texts[0].contains("starts with 0x0000000000000007"), "{texts:?}");
    assert!(texts[1].contains(&version_text(ABI_VERSION - 1)), "{texts:?}");
    assert!(texts[2].contains(&version_text(ABI_VERSION + 1)), "{texts:?}");
    assert!(texts[3].contains("layout 0x0000000000000009, this reader has 0x"), "{texts:?}");
    assert!(texts[4].contains("says it has 8 bytes but has"), "{texts:?}");
    assert!(texts[5].contains("not sealed against shrinking"), "{texts:?}");
}

#[test]
fn a_directory_is_no_ring_and_a_ring_no_directory() {
    let writer = DirectoryWriter::create(&config()).unwrap();
    let (_writer, _reader, fd) = ring();
    assert!(matches!(GopReader::map(writer.fd()), Err(Error::Magic { .. })));
    assert!(matches!(Directory::map(fd.as_fd()), Err(Error::Magic { .. })));
}

#[test]
fn what_is_no_segment_at_all_is_refused() {
    for bytes in [vec![], vec![0; 8], vec![0; 4095], vec![0; 4096], vec![0xff; 8192]] {
        let fd = memory_file(&bytes, true);
        assert!(Directory::map(fd.as_fd()).is_err(), "{} bytes", bytes.len());
        assert!(GopReader::map(fd.as_fd()).is_err(), "{} bytes", bytes.len());
    }
    let (pipe, _other) = rustix::pipe::pipe().unwrap();
    assert!(matches!(Directory::map(pipe.as_fd()), Err(Error::Map { step: "F_GET_SEALS", .. })));
    assert!(matches!(GopReader::map(pipe.as_fd()), Err(Error::Map { step: "F_GET_SEALS", .. })));
}

#[test]
fn sizes_no_writer_makes_are_refused() {
    let (_writer, _reader, fd) = ring();
    for (word, value) in [(5, 0), (5, u64::MAX), (6, 1), (7, 12), (8, 0), (9, u64::MAX - 7)] {
        let fd = altered(fd.as_fd(), word, value, true);
        let error = GopReader::map(fd.as_fd()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "word {word}: {error}");
    }
    let writer = DirectoryWriter::create(&config()).unwrap();
    for word in [10, 11, 12, 13, 14, 15, 16] {
        let fd = altered(writer.fd(), word, 0, true);
        assert!(Directory::map(fd.as_fd()).is_err(), "word {word}");
    }
}
