//! The cursors of a ring and the order in which they are stored and read: what makes a reader see
//! whole published frames of its own stream, or notice that it did not.
//!
//! Positions count all frames that ever went through the ring; `tail..head` are in it.
//!
//! ```text
//!   writer                                   reader at `next`
//!   make room:  tail = t (Release)           head; fence(Acquire); generation; tail; end
//!               fence(Release)               generation is not mine       → ended
//!               overwrite what was below t   next < tail                  → overrun
//!   publish:    descriptor, bytes…           next ≥ head: end ≤ next      → ended, else empty
//!               head = h (Release)           copy descriptor and bytes
//!   new stream: tail = head (Release)        fence(Acquire); tail > next  → overrun
//!               fence(Release)
//!               key, end, generation (Release)
//! ```
//!
//! A reader that copied any word of an overwrite synchronises, by the pair of fences, with the
//! store of the tail before it, and so finds its frame below the tail. Bytes may be stored past the
//! cache: they are [settled](settle) before the head and after the tail.

use crate::primitive::{Ordering, fence};
use crate::segment::Words;
use crate::store::settle;

/// Words of the cursors.
pub(crate) const WORDS: usize = 8;

const GENERATION: usize = 0;
const END: usize = 1;
const TAIL: usize = 2;
const HEAD: usize = 3;
const KEY: usize = 4;

/// No such position.
pub(crate) const NONE: u64 = u64::MAX;

/// The cursors in shared memory.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    words: Words,
}

/// What a reader sees at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) generation: u64,
    /// Position behind the stream's last frame, [`NONE`] while it goes on.
    pub(crate) end: u64,
    pub(crate) tail: u64,
    pub(crate) head: u64,
    /// Newest video key frame, [`NONE`] before the first; may lie below `tail`.
    pub(crate) key: u64,
}

impl Index {
    pub(crate) fn new(words: Words) -> Self {
        assert!(words.len() >= WORDS, "room for the cursors");
        Self { words }
    }

    /// Writer: frames below `tail` are given up; their bytes may be overwritten after this.
    pub(crate) fn retire(&self, tail: u64) {
        self.words.word(TAIL).store(tail, Ordering::Release);
        fence(Ordering::Release);
        settle();
    }

    /// Writer: what publishing writes to.
    pub(crate) fn place(&self) -> *const u8 {
        self.words.run(HEAD, 1).0.as_ptr().cast()
    }

    /// Writer: the frame below `head`, whose descriptor and bytes are stored, becomes visible.
    pub(crate) fn publish(&self, head: u64, is_key: bool) {
        settle();
        self.words.word(HEAD).store(head, Ordering::Release);
        if is_key {
            self.words.word(KEY).store(head.wrapping_sub(1), Ordering::Release);
        }
    }

    /// Writer: a new stream begins at `head`; all frames of the former are given up.
    pub(crate) fn start(&self, generation: u64, head: u64) {
        self.retire(head);
        self.words.store(KEY, NONE);
        self.words.store(END, NONE);
        self.words.word(GENERATION).store(generation, Ordering::Release);
    }

    /// Writer: the stream ends at `head`.
    pub(crate) fn end(&self, head: u64) {
        self.words.word(END).store(head, Ordering::Release);
    }

    /// Reader: where things stand. What is looked at later is at least as new: the generation as
    /// the head, the rest as the generation.
    pub(crate) fn look(&self) -> Seen {
        let head = self.words.load(HEAD);
        fence(Ordering::Acquire);
        let generation = self.words.load(GENERATION);
        fence(Ordering::Acquire);
        let [end, tail, key] = [END, TAIL, KEY].map(|word| self.words.load(word));
        Seen { generation, end, tail, head, key }
    }

    /// Reader, after copying the frame at `position`: how far the writer has given frames up, when
    /// that includes this one.
    pub(crate) fn passed(&self, position: u64) -> Option<u64> {
        fence(Ordering::Acquire);
        let tail = self.words.load(TAIL);
        fence(Ordering::Acquire);
        (tail > position).then_some(tail)
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use crate::layout::WORD;
    use crate::segment::Mapping;

    const SLOTS: u64 = 2;

    /// A ring of two one-word frames, each holding its position plus 100 × generation.
    fn ring() -> (Index, Words) {
        let memory = Mapping::zeroed((WORDS + 2) * WORD);
        let index = Index::new(Words::new(&memory, 0, WORDS * WORD, false));
        (index, Words::new(&memory, WORDS * WORD, 2 * WORD, false))
    }

    fn check(model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
    }

    fn slot(position: u64) -> usize {
        usize::try_from(position % SLOTS).unwrap()
    }

    fn write(index: &Index, slots: &Words, position: u64, generation: u64) {
        if position >= SLOTS {
            index.retire(position - SLOTS + 1);
        }
        slots.store(slot(position), position + 100 * generation);
        index.publish(position + 1, false);
    }

    /// One step of a reader; the frame's word when there is one.
    fn read(index: &Index, slots: &Words, next: &mut u64, generation: u64) -> Option<u64> {
        let seen = index.look();
        if seen.generation != generation {
            return None;
        }
        *next = (*next).max(seen.tail);
        if *next >= seen.head {
            return None;
        }
        let word = slots.load(slot(*next));
        match index.passed(*next) {
            Some(tail) => {
                *next = tail;
                None
            }
            None => {
                *next += 1;
                Some(word)
            }
        }
    }

    #[test]
    fn a_reader_takes_whole_frames_in_order_while_the_writer_laps_it() {
        check(|| {
            let (index, slots) = ring();
            index.start(1, 0);
            let (theirs, their_slots) = (index.clone(), slots.clone());
            let writer = loom::thread::spawn(move || {
                (0..4).for_each(|position| write(&theirs, &their_slots, position, 1));
            });
            let mut next = 0;
            for _ in 0..3 {
                if let Some(word) = read(&index, &slots, &mut next, 1) {
                    assert_eq!(word, 100 + next - 1);
                }
            }
            writer.join().unwrap();
        });
    }

    #[test]
    fn a_reader_takes_no_frame_of_the_next_stream() {
        check(|| {
            let (index, slots) = ring();
            index.start(1, 0);
            write(&index, &slots, 0, 1);
            let (theirs, their_slots) = (index.clone(), slots.clone());
            let writer = loom::thread::spawn(move || {
                theirs.end(1);
                theirs.start(2, 1);
                write(&theirs, &their_slots, 1, 2);
                write(&theirs, &their_slots, 2, 2);
            });
            let mut next = 0;
            for _ in 0..2 {
                if let Some(word) = read(&index, &slots, &mut next, 1) {
                    assert_eq!(word, 100 + next - 1);
                }
            }
            writer.join().unwrap();
        });
    }

    #[test]
    fn a_reader_at_the_end_saw_every_frame() {
        check(|| {
            let (index, slots) = ring();
            index.start(1, 0);
            let (theirs, their_slots) = (index.clone(), slots.clone());
            let writer = loom::thread::spawn(move || {
                write(&theirs, &their_slots, 0, 1);
                theirs.end(1);
            });
            let seen = index.look();
            // What `GopReader::next` calls the end of a reader at position 0.
            if seen.head == 0 {
                assert!(seen.end > 0, "ended before the frame was visible");
            }
            writer.join().unwrap();
        });
    }

    /// The model must be able to fail: a writer that overwrites first and gives up afterwards.
    #[test]
    #[should_panic(expected = "not what was published")]
    fn a_writer_that_overwrites_too_early_is_caught() {
        check(|| {
            let (index, slots) = ring();
            index.start(1, 0);
            let (theirs, their_slots) = (index.clone(), slots.clone());
            let writer = loom::thread::spawn(move || {
                for position in 0..3 {
                    their_slots.store(slot(position), position + 100);
                    if position >= SLOTS {
                        theirs.retire(position - SLOTS + 1);
                    }
                    theirs.publish(position + 1, false);
                }
            });
            let mut next = 0;
            if let Some(word) = read(&index, &slots, &mut next, 1) {
                assert_eq!(word, 100 + next - 1, "not what was published");
            }
            writer.join().unwrap();
        });
    }
}
