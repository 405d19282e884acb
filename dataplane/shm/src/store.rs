//! Many words stored one after the other: media on its way into a lane.
//!
//! A lane is seldom in the cache and its writer does not read it again, so the lines of large pieces go
//! past the cache, if the processor can do that: nothing is fetched only to be overwritten, and the
//! sessions' memory stays where it is. Such stores are not ordered with others by themselves:
//! [`settle`] does it.

use crate::layout::WORD;
use crate::primitive::{AtomicU64, Ordering};

/// A line of the cache, in words.
pub(crate) const LINE_WORDS: usize = 64 / WORD;

/// Stores a value in each word, in order or not, each as a relaxed store does. Panics when there are
/// not as many of both.
///
/// A release store or fence does not order these: call [`settle`] before one that shows them, and
/// after one that they must follow.
#[inline]
pub(crate) fn store_all(words: &[AtomicU64], values: &[[u8; WORD]]) {
    assert!(words.len() == values.len(), "a value for each word");
    let (first, words) = words.split_at(words_to_line(words));
    let (first_values, values) = values.split_at(first.len());
    store_each(first, first_values);
    let stored = lines::store(words, values, lines::PAST_CACHE_LINES);
    store_each(&words[stored..], &values[stored..]);
}

/// As [`store_all`] for whole lines that are to go past the cache, however few: what is not in it.
#[inline]
pub(crate) fn store_lines(words: &[AtomicU64], values: &[[u8; WORD]]) {
    assert!(words.len() == values.len(), "a value for each word");
    let stored = if words_to_line(words) == 0 { lines::store(words, values, 1) } else { 0 };
    store_each(&words[stored..], &values[stored..]);
}

/// Orders what [`store_all`] stored before this call, and what it stores after it, with all other
/// stores.
#[inline]
pub(crate) fn settle() {
    lines::settle();
}

/// Asks the processor for the line of the first of these words, to store into it soon. Nothing changes
/// but time.
#[inline]
pub(crate) fn prefetch(words: &[AtomicU64]) {
    lines::prefetch(words);
}

/// As [`prefetch`] for a place in the program's own memory, which need not hold anything.
#[inline]
pub(crate) fn prefetch_at<T>(place: *const T) {
    lines::prefetch_at(place.cast());
}

/// How many words lie before the first whole line.
#[inline]
fn words_to_line(words: &[AtomicU64]) -> usize {
    words.as_ptr().align_offset(lines::BYTES).min(words.len())
}

#[inline]
fn store_each(words: &[AtomicU64], values: &[[u8; WORD]]) {
    for (word, bytes) in words.iter().zip(values) {
        word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
    }
}

#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
mod lines {
    use std::arch::asm;

    use super::{AtomicU64, WORD};

    /// A line of the cache.
    pub(super) const BYTES: usize = 64;
    const WORDS: usize = BYTES / WORD;

    /// Fewer lines than these are stored as usual: their first and last ones are shared with the pieces
    /// before and behind, and a line that is half in the cache is dear to store past it.
    pub(super) const PAST_CACHE_LINES: usize = 8;

    /// The loop over `lines` lines with stores of one kind.
    macro_rules! store_lines {
        ($store:literal, $words:expr, $values:expr, $lines:expr) => {
            asm!(
                "2:",
                "movups {a}, [{from}]",
                "movups {b}, [{from} + 16]",
                "movups {c}, [{from} + 32]",
                "movups {d}, [{from} + 48]",
                concat!($store, " [{to}], {a}"),
                concat!($store, " [{to} + 16], {b}"),
                concat!($store, " [{to} + 32], {c}"),
                concat!($store, " [{to} + 48], {d}"),
                "add {from}, 64",
                "add {to}, 64",
                "dec {left}",
                "jnz 2b",
                from = inout(reg) $values.as_ptr() => _,
                to = inout(reg) $words.as_ptr() => _,
                left = inout(reg) $lines => _,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack),
            )
        };
    }

    /// Stores as many whole lines as there are, from the start of one, past the cache if they are not
    /// fewer than that; returns how many words that was.
    #[inline]
    pub(super) fn store(words: &[AtomicU64], values: &[[u8; WORD]], past_from: usize) -> usize {
        let lines = words.len().min(values.len()) / WORDS;
        if lines == 0 {
            return 0;
        }
        assert!(words.as_ptr().addr().is_multiple_of(BYTES), "the start of a line");
        // JUSTIFICATION: the compiler neither joins stores of atomics nor has them go past the cache.
        // With a word in each entry of the store buffer those of eight lines fill it; with two words
        // in each, twice as many lines are fetched at once.
        if lines < past_from {
            // SAFETY: both slices have `lines` lines, and nothing else is touched. The words are
            // atomics behind a shared reference, so they may be written; on this processor every
            // aligned half of such a store is written whole, and stores become visible in order. The
            // compiler moves no access to memory across it.
            unsafe { store_lines!("movups", words, values, lines) };
        } else {
            // SAFETY: as above, and those of `words` begin at a line, as just checked. Until `settle`
            // the order of these is any, as that of relaxed stores is.
            unsafe { store_lines!("movntps", words, values, lines) };
        }
        lines * WORDS
    }

    #[inline]
    pub(super) fn settle() {
        // JUSTIFICATION: a fence of the language is nothing at all here, and orders no such stores.
        // SAFETY: it touches nothing; stores that the program made come in order across it.
        unsafe { asm!("sfence", options(nostack, preserves_flags)) };
    }

    #[inline]
    pub(super) fn prefetch(words: &[AtomicU64]) {
        prefetch_at(words.as_ptr().cast());
    }

    #[inline]
    pub(super) fn prefetch_at(place: *const u8) {
        // JUSTIFICATION: there is no safe way to say it.
        // SAFETY: the instruction reads and writes nothing that a program can see and never faults,
        // whatever the address.
        unsafe { asm!("prefetchw [{at}]", at = in(reg) place, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
mod lines {
    use super::{AtomicU64, WORD};

    pub(super) const BYTES: usize = WORD;
    pub(super) const PAST_CACHE_LINES: usize = 0;

    /// Stores nothing: the caller stores every word.
    pub(super) const fn store(_: &[AtomicU64], _: &[[u8; WORD]], _: usize) -> usize {
        0
    }

    pub(super) const fn settle() {}

    pub(super) const fn prefetch(_: &[AtomicU64]) {}

    pub(super) const fn prefetch_at(_: *const u8) {}
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_stored_and_no_other_whatever_their_number_and_place() {
        const GUARD: u64 = 0x5a5a_5a5a_5a5a_5a5a;
        let bytes: Vec<u8> = (0..=255_u8).cycle().skip(7).take(400).collect();
        for skew in 0..9 {
            let (values, _) = bytes[skew..].as_chunks::<WORD>();
            for count in 0..40 {
                let words: Vec<AtomicU64> = (0..60).map(|_| AtomicU64::new(GUARD)).collect();
                store_all(&words[skew..skew + count], &values[..count]);
                for (at, word) in words.iter().enumerate() {
                    let stored = at.checked_sub(skew).filter(|at| *at < count);
                    let expected = stored.map_or(GUARD, |at| u64::from_le_bytes(values[at]));
                    assert_eq!(word.load(Ordering::Relaxed), expected, "{at} of {count}");
                }
            }
        }
    }

    /// As readers of another processor see them: a number that is shown is never ahead of its words.
    #[cfg(not(miri))]
    #[test]
    fn what_is_shown_after_settling_is_seen_whole() {
        const WORDS: usize = 64;
        let (words, shown) = (words(WORDS), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=20_000_u64 {
                    store_all(&words, &[round.to_le_bytes(); WORDS]);
                    settle();
                    shown.store(round, Ordering::Release);
                }
            });
            let mut last = 0;
            while last < 20_000 {
                last = shown.load(Ordering::Acquire);
                for word in &words {
                    assert!(word.load(Ordering::Relaxed) >= last, "behind what is shown");
                }
            }
        });
    }

    fn words(count: usize) -> Vec<AtomicU64> {
        (0..count).map(|_| AtomicU64::new(0)).collect()
    }
}
