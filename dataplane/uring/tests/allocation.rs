//! After a ring is made and has its sockets, it allocates nothing.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use common::{LONG, add_socket, ring, sender_to};

/// Counts the allocations of the thread that asks.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is handed on to the system's allocator; the count is a plain thread-local.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(block, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn receiving_sending_and_arming_again_allocate_nothing() {
    let (mut ring, _) = ring(64, 256);
    let (index, address) = add_socket(&mut ring);
    let sender = sender_to(address);
    let back = sender.local_addr().unwrap();
    let waker = ring.waker();
    let before = ALLOCATIONS.get();
    for round in 0..200u32 {
        for _ in 0..10 {
            sender.send(&[1; 1316]).unwrap();
        }
        sender.send(&[]).unwrap();
        assert!(ring.send(index, back, b"answer"));
        waker.wake();
        ring.ask_kernel_drops();
        let mut got = 0;
        while got < 11 {
            let min_wait = Duration::from_micros(u64::from(round % 2) * 100);
            ring.wait(min_wait, LONG).unwrap();
            ring.receive(&mut |_| got += 1);
        }
    }
    assert_eq!(ALLOCATIONS.get(), before);
    assert_eq!(ring.counters().rearms_empty, 200);
}
