//! Too little memory is an error that names size and cause. A file of its own: the limit holds for
//! the whole process.

// System calls that neither the interpreter nor the models know.
#![cfg(not(any(miri, loom)))]

use penstock_shm::{DirectoryConfig, DirectoryWriter, GopRing, RingId, RingSpec};
use rustix::process::{Resource, Rlimit, setrlimit};

#[test]
fn a_ring_or_directory_that_does_not_fit_is_refused_by_size_and_cause() {
    let limit = Some(256 << 20);
    setrlimit(Resource::As, Rlimit { current: limit, maximum: limit }).unwrap();
    let (ring, video_bytes, side_bytes) = (RingId(0), 1 << 30, 4096);
    let spec = RingSpec { ring, video_bytes, side_bytes, descriptors: 32, pending_frames: 16 };
    let text = GopRing::create(&spec).unwrap_err().to_string();
    let bytes = spec.file_bytes();
    assert!(text.contains(&format!("{bytes} bytes for penstock-gop-ring: mmap failed")), "{text}");
    assert!(text.contains("Cannot allocate memory"), "{text}");

    let (workers, stream_slots) = (u16::MAX, 1 << 16);
    let config = DirectoryConfig { workers, stream_slots, memory_budget_bytes: 0, software: "" };
    let text = DirectoryWriter::create(&config).unwrap_err().to_string();
    assert!(text.contains("penstock-directory: mmap failed: Cannot allocate memory"), "{text}");
}
