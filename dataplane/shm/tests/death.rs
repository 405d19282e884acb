//! The dataplane dies in the middle of things: what readers have then. The dataplane is this test
//! program again, started with a role in its environment.

// System calls that neither the interpreter nor the models know.
#![cfg(not(any(miri, loom)))]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use penstock_shm::counters::StreamCounter;
use penstock_shm::link::{BackpressureAction, CommandError, Handler, Link, LinkServer, RingGrant};
use penstock_shm::{
    Directory, DirectoryConfig, DirectoryWriter, Error, FrameFlags, FrameMeta, GopReader, GopRing,
    GopWriter, Liveness, Next, RingId, RingSpec, SeekFrom, StreamId, StreamInfo, StreamSlotWriter,
};

const ROLE: &str = "PENSTOCK_SHM_DEATH_ROLE";
const SOCKET: &str = "PENSTOCK_SHM_DEATH_SOCKET";
const LONG: Duration = Duration::from_secs(30);

/// Runs this program as a dataplane; `role` says how it behaves.
fn dataplane(role: &str, socket: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_dataplane_in_a_process_of_its_own", "--nocapture"])
        .env(ROLE, role)
        .env(SOCKET, socket)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

struct Engine {
    writer: GopWriter,
    ring: std::os::fd::OwnedFd,
    slot: StreamSlotWriter,
    ending: bool,
}

impl Handler for Engine {
    fn ring(&mut self, _stream_id: &str) -> Result<RingGrant<'_>, CommandError> {
        let (ring, generation) = (self.writer.ring(), self.writer.generation());
        Ok(RingGrant { fd: std::os::fd::AsFd::as_fd(&self.ring), ring, generation })
    }

    fn terminate(&mut self, _stream_id: &str, _block: Duration) -> Result<(), CommandError> {
        self.ending = true;
        Ok(())
    }

    fn backpressure(&mut self, _: &str, _: BackpressureAction) -> Result<(), CommandError> {
        Ok(())
    }
}

/// Not a test of its own: the other process of the tests below.
#[test]
fn a_dataplane_in_a_process_of_its_own() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let socket = PathBuf::from(std::env::var_os(SOCKET).unwrap());
    let software = "test";
    let config = DirectoryConfig { workers: 1, stream_slots: 1, memory_budget_bytes: 0, software };
    let mut directory = DirectoryWriter::create(&config).unwrap();
    let (ring, video_bytes, side_bytes) = (RingId(0), 16 * 4096, 4096);
    let spec = RingSpec { ring, video_bytes, side_bytes, descriptors: 32, pending_frames: 4 };
    let (mut writer, ring) = GopRing::create(&spec).unwrap();
    writer.start_generation();
    let slot = directory.stream(0);
    let mut engine = Engine { writer, ring, slot, ending: false };
    let mut server = LinkServer::bind(&socket, directory.fd()).unwrap();
    let mut frame = 0;
    // Publishes without pause, so that a kill hits the middle of something; who asks for the end
    // gets it in the middle of a picture.
    loop {
        server.serve_ready(&mut engine).unwrap();
        picture(&mut engine.writer, frame);
        show(&mut engine.slot, frame);
        frame += 1;
        if engine.ending {
            engine.writer.append(&[0xee; 100]).unwrap();
            match role.as_str() {
                "panics" => panic!("in the middle of a picture"),
                _ => std::process::abort(),
            }
        }
    }
}

fn picture(writer: &mut GopWriter, frame: u32) {
    let fill = [frame.to_le_bytes()[0]; 184];
    for _ in 0..frame % 20 {
        writer.append(&fill).unwrap();
    }
    writer.append(&frame.to_le_bytes()).unwrap();
    let flags = FrameFlags::KEY | FrameFlags::GOP_START;
    writer.finish(&FrameMeta { flags, ..FrameMeta::default() }, 0).unwrap();
    writer.publish_due(0, 0, |_| ());
}

/// Every number in the record is the same, so that half of a write shows.
fn show(slot: &mut StreamSlotWriter, frame: u32) {
    let (id, time) = (StreamId::cut(&"x".repeat(500)), u64::from(frame));
    let info = StreamInfo {
        id,
        created_unix_ns: time,
        connected_unix_ns: time,
        ended_unix_ns: time,
        ring_generation: time,
        peer_version: frame,
        ..StreamInfo::default()
    };
    if frame == 0 {
        slot.open(&info)
    } else {
        slot.set_info(&info)
    }
    slot.set(StreamCounter::FramesPublished, time);
}

/// Connects as soon as the dataplane listens.
fn connect(socket: &Path) -> (Link, Directory, GopReader) {
    loop {
        if let Ok(mut link) = Link::connect(socket, LONG) {
            let directory = link.directory().unwrap();
            let reader = link.ring("any").unwrap();
            return (link, directory, reader);
        }
        std::thread::yield_now();
    }
}

/// Reads all that is left; every frame must be whole.
fn drain(reader: &mut GopReader) -> u32 {
    let (mut frames, mut out) = (0, Vec::new());
    reader.seek(SeekFrom::Oldest);
    loop {
        match reader.next(&mut out).unwrap() {
            Next::Frame(frame) => {
                let (fill, number) = out.split_at(out.len() - 4);
                let number = u32::from_le_bytes(number.try_into().unwrap());
                assert_eq!(u64::from(number), frame.sequence);
                assert_eq!(fill.len(), usize::try_from(number % 20).unwrap() * 184);
                assert!(fill.iter().all(|byte| *byte == number.to_le_bytes()[0]));
                frames += 1;
            }
            Next::Overrun { .. } => panic!("nobody writes any more"),
            Next::Empty => return frames,
            Next::Ended => panic!("nobody ended the stream"),
        }
    }
}

fn check_table(directory: &Directory) {
    match directory.stream_at(0) {
        Ok(Some(stream)) => {
            let info = stream.info;
            let time = info.created_unix_ns;
            assert_eq!(
                [info.connected_unix_ns, info.ended_unix_ns, info.ring_generation],
                [time; 3]
            );
            assert_eq!(u64::from(info.peer_version), time);
            assert_eq!(info.id.len(), 500);
        }
        // Killed in the middle of a change: said, not waited for.
        Err(Error::Torn { slot: 0, .. }) => {}
        other => panic!("{other:?}"),
    }
}

fn dies_when_asked(role: &str) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("link");
    let mut child = dataplane(role, &socket);
    let (mut link, directory, mut reader) = connect(&socket);
    assert_ne!(directory.liveness(LONG), Liveness::Gone);
    link.terminate("any", Duration::ZERO).unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(directory.liveness(LONG), Liveness::Gone);
    assert!(drain(&mut reader) > 0);
    check_table(&directory);
    assert!(directory.stream_at(0).unwrap().unwrap().counter(StreamCounter::FramesPublished) > 0);
}

#[test]
fn an_abort_in_the_middle_of_a_picture_leaves_whole_pictures_only() {
    dies_when_asked("aborts");
}

#[test]
fn a_panic_in_the_middle_of_a_picture_leaves_whole_pictures_only() {
    dies_when_asked("panics");
}

#[test]
fn a_kill_at_any_moment_leaves_whole_pictures_and_a_table_that_says_when_it_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let socket = folder.path().join("link");
        let mut child = dataplane("killed", &socket);
        let (_link, directory, mut reader) = connect(&socket);
        // Some frames later, each time at another place.
        let mut out = Vec::new();
        for _ in 0..round * 7 {
            reader.next(&mut out).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(directory.liveness(LONG), Liveness::Gone);
        drain(&mut reader);
        check_table(&directory);
    }
}

#[test]
fn a_writer_dropped_in_the_middle_of_a_frame_leaves_whole_frames_only() {
    let (ring, video_bytes, side_bytes) = (RingId(0), 4096, 4096);
    let spec = RingSpec { ring, video_bytes, side_bytes, descriptors: 32, pending_frames: 4 };
    let (mut writer, fd) = GopRing::create(&spec).unwrap();
    writer.start_generation();
    let mut reader = GopReader::map(std::os::fd::AsFd::as_fd(&fd)).unwrap();
    (0..3).for_each(|frame| picture(&mut writer, frame));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        writer.append(&[0xee; 100]).unwrap();
        panic!("a fault of the session");
    }));
    assert!(caught.is_err());
    assert_eq!(drain(&mut reader), 3);
    writer.discard_open();
    picture(&mut writer, 3);
    assert_eq!(drain(&mut reader), 4);
    writer.append(&[0xee; 100]).unwrap();
    drop(writer);
    assert_eq!(drain(&mut reader), 4);
}
