//! A sequence lock: one writer that never waits, readers that notice when they read in the middle.
//!
//! ```text
//!   writer                              reader
//!   sequence = odd                      before = sequence; fence(Acquire)
//!   fence(Release)                      odd → again
//!   words…                              words…
//!   sequence = next even (Release)      fence(Acquire)
//!                                       sequence != before → again
//! ```
//!
//! A reader that sees any word of a write synchronises, by the pair of fences, with the store of
//! the odd number before it, and its second look at the sequence then differs from the first.

use crate::primitive::{AtomicU64, Ordering, fence, relax};

/// How often a reader tries before it calls the record torn. A write takes about a microsecond;
/// the later half of the tries are naps apart.
pub(crate) const TRIES_MAX: u32 = 100;

/// Runs `body`, which stores the words, between the two marks. A former write that never came to
/// its end is healed.
pub(crate) fn write(sequence: &AtomicU64, body: impl FnOnce()) {
    let odd = sequence.load(Ordering::Relaxed) | 1;
    sequence.store(odd, Ordering::Relaxed);
    fence(Ordering::Release);
    body();
    sequence.store(odd.wrapping_add(1), Ordering::Release);
}

/// Runs `body`, which copies the words, until no write fell into it; `None` when one always did.
pub(crate) fn read<T>(sequence: &AtomicU64, mut body: impl FnMut() -> T) -> Option<T> {
    (0..TRIES_MAX).find_map(|attempt| {
        let value = read_once(sequence, &mut body);
        if value.is_none() {
            relax(attempt);
        }
        value
    })
}

/// One try.
fn read_once<T>(sequence: &AtomicU64, body: impl FnOnce() -> T) -> Option<T> {
    let before = sequence.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    if before & 1 != 0 {
        return None;
    }
    let value = body();
    fence(Ordering::Acquire);
    (sequence.load(Ordering::Relaxed) == before).then_some(value)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_record_left_in_the_middle_of_a_write_is_torn_until_the_next_write() {
        let sequence = AtomicU64::new(7);
        assert_eq!(read(&sequence, || 1), None);
        write(&sequence, || ());
        assert_eq!(read(&sequence, || 1), Some(1));
        assert_eq!(sequence.load(Ordering::Relaxed), 8);
    }

    #[test]
    fn a_record_that_changes_under_every_reading_is_given_up() {
        let sequence = AtomicU64::new(0);
        let mut tries = 0;
        let read = read(&sequence, || {
            tries += 1;
            write(&sequence, || ());
        });
        assert_eq!((read, tries), (None, TRIES_MAX));
    }
}

#[cfg(all(test, loom))]
mod model {
    use loom::sync::Arc;

    use super::*;

    /// The two words are always equal outside a write.
    #[test]
    fn a_reader_never_takes_half_of_a_write() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let shared = Arc::new([AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)]);
            let theirs = Arc::clone(&shared);
            let writer = loom::thread::spawn(move || {
                for value in 1..=2 {
                    write(&theirs[0], || {
                        theirs[1].store(value, Ordering::Relaxed);
                        theirs[2].store(value, Ordering::Relaxed);
                    });
                }
            });
            for _ in 0..2 {
                let pair = read_once(&shared[0], || {
                    (shared[1].load(Ordering::Relaxed), shared[2].load(Ordering::Relaxed))
                });
                if let Some((one, two)) = pair {
                    assert_eq!(one, two);
                }
            }
            writer.join().unwrap();
        });
    }

    /// The model must be able to fail: a writer that marks the end of its write only.
    #[test]
    #[should_panic(expected = "half of a write")]
    fn a_writer_that_does_not_mark_its_beginning_is_caught() {
        loom::model(|| {
            let shared = Arc::new([AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)]);
            let theirs = Arc::clone(&shared);
            let writer = loom::thread::spawn(move || {
                theirs[1].store(1, Ordering::Relaxed);
                theirs[2].store(1, Ordering::Relaxed);
                theirs[0].store(2, Ordering::Release);
            });
            let pair = read_once(&shared[0], || {
                (shared[1].load(Ordering::Relaxed), shared[2].load(Ordering::Relaxed))
            });
            if let Some((one, two)) = pair {
                assert_eq!(one, two, "half of a write");
            }
            writer.join().unwrap();
        });
    }
}
