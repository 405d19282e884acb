//! After a ring and a directory are made, writing to them allocates nothing.

// System calls that neither the interpreter nor the models know.
#![cfg(not(any(miri, loom)))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use penstock_shm::counters::{StreamCounter, WorkerCounter};
use penstock_shm::{
    DirectoryConfig, DirectoryWriter, FrameFlags, FrameMeta, Full, GopLimits, GopRing, RingId,
    RingSpec, StreamInfo,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counting_allocator_counts() {
    assert!(allocations_of(|| drop(std::hint::black_box(vec![1]))) > 0);
}

#[test]
fn a_ring_allocates_nothing_after_it_was_made() {
    let (ring, video_bytes, side_bytes) = (RingId(0), 64 * 1024, 4096);
    let spec = RingSpec { ring, video_bytes, side_bytes, descriptors: 32, pending_frames: 16 };
    let (mut writer, _fd) = GopRing::create(&spec).unwrap();
    let made = allocations_of(|| {
        for generation in 0..3_u64 {
            writer.start_generation();
            writer.set_limits(GopLimits { closed_gops_max: 3, ..GopLimits::default() });
            for frame in 0..500_u64 {
                let starts = frame.is_multiple_of(20);
                let flags = if starts { FrameFlags::GOP_START } else { FrameFlags::NONE };
                let meta = FrameMeta { flags, ..FrameMeta::default() };
                for _ in 0..frame % 30 {
                    assert!(writer.append(&[1; 184]).is_ok());
                }
                let _: Result<(), Full> = writer.split_open(writer.open_len() / 2, &meta, frame);
                let _: Result<(), Full> = writer.append_frame(&[2; 300], &meta, frame);
                writer.publish_due(frame.saturating_sub(generation), frame, |_| ());
            }
            writer.end();
        }
    });
    assert_eq!(made, 0);
}

#[test]
fn a_directory_allocates_nothing_after_it_was_made() {
    let software = "test";
    let config = DirectoryConfig { workers: 1, stream_slots: 1, memory_budget_bytes: 0, software };
    let mut directory = DirectoryWriter::create(&config).unwrap();
    let (mut worker, mut slot) = (directory.worker(0), directory.stream(0));
    let made = allocations_of(|| {
        slot.open(&StreamInfo::default());
        for value in 0..1_000 {
            slot.add(StreamCounter::FramesPublished, 1);
            slot.set_info(&StreamInfo::default());
            worker.add(WorkerCounter::Cycles, 1);
            worker.latency().record(value * 1_000);
        }
        slot.clear();
    });
    assert_eq!(made, 0);
}
