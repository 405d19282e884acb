//! Many words stored one after the other: media on its way into a lane.

use crate::layout::WORD;
use crate::primitive::{AtomicU64, Ordering};

/// Stores a value in each word, in order, each as a relaxed store does. Panics when there are not as
/// many of both.
#[inline]
pub(crate) fn store_all(words: &[AtomicU64], values: &[[u8; WORD]]) {
    assert!(words.len() == values.len(), "a value for each word");
    let stored = blocks::store(words, values);
    for (word, bytes) in words.iter().zip(values).skip(stored) {
        word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
    }
}

#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
mod blocks {
    use std::arch::asm;

    use super::{AtomicU64, WORD};

    /// A line of the cache.
    const BLOCK_WORDS: usize = 8;

    /// Stores as many whole lines as there are; returns how many words that was.
    #[inline]
    pub(super) fn store(words: &[AtomicU64], values: &[[u8; WORD]]) -> usize {
        let blocks = words.len().min(values.len()) / BLOCK_WORDS;
        if blocks == 0 {
            return 0;
        }
        // JUSTIFICATION: a lane is seldom in the cache, and a store that misses waits in the store
        // buffer. With a word in each entry those of eight lines fill it and the rest of the packet
        // waits; with two words in each, twice as many lines are fetched at once. The compiler does
        // not join atomic stores.
        // SAFETY: both slices have `blocks` lines, and nothing else is touched. The words are atomics
        // behind a shared reference, so they may be written; as on this processor every aligned half
        // of such a store is written whole and stores become visible in order, this does what relaxed
        // stores of the words do, and the compiler moves no access to memory across it.
        unsafe {
            asm!(
                "2:",
                "movups {a}, [{from}]",
                "movups {b}, [{from} + 16]",
                "movups {c}, [{from} + 32]",
                "movups {d}, [{from} + 48]",
                "movups [{to}], {a}",
                "movups [{to} + 16], {b}",
                "movups [{to} + 32], {c}",
                "movups [{to} + 48], {d}",
                "add {from}, 64",
                "add {to}, 64",
                "dec {left}",
                "jnz 2b",
                from = inout(reg) values.as_ptr() => _,
                to = inout(reg) words.as_ptr() => _,
                left = inout(reg) blocks => _,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack),
            );
        }
        blocks * BLOCK_WORDS
    }
}

#[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
mod blocks {
    use super::{AtomicU64, WORD};

    /// Stores nothing: the caller stores every word.
    pub(super) const fn store(_: &[AtomicU64], _: &[[u8; WORD]]) -> usize {
        0
    }
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
}
