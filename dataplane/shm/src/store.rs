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
    let stored = lines::store(words, values);
    store_each(&words[stored..], &values[stored..]);
}

/// As [`store_all`] for whole lines of values that were just worked out. They go past the cache however
/// few they are, word by word, as they were left: a load of more than one store left is waited for
/// until all stores before it are done, and of those that go past the cache there may be many.
#[inline(always)]
pub(crate) fn store_values(words: &[AtomicU64], values: &[u64]) {
    assert!(words.len() == values.len(), "a value for each word");
    for (word, value) in words.iter().zip(values) {
        lines::store_value(word, *value);
    }
}

/// As [`store_all`] for whole lines of `bytes`, of which the first is the one before: they go past the
/// cache however few they are, and are looked through on the way. False when two zeros in a row are
/// among these bytes; stored they are in any case.
#[inline]
pub(crate) fn store_lines(words: &[AtomicU64], bytes: &[u8]) -> bool {
    assert!(bytes.len() == 1 + words.len() * WORD, "a byte before, and those of each word");
    let aligned = words_to_line(words) == 0;
    let (stored, calm) =
        if aligned { lines::store_and_look(words, bytes, true) } else { (0, true) };
    let (words, bytes) = (&words[stored..], &bytes[stored * WORD..]);
    store_each(words, bytes[1..].as_chunks().0);
    calm && !holds_zero_pair(bytes)
}

/// Whether two zeros in a row are among these bytes. It looks at all of them whatever they are: coded
/// video has few, and a vector of pairs takes four instructions.
#[inline(always)]
pub(crate) fn holds_zero_pair(bytes: &[u8]) -> bool {
    let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
    pairs.fold(u8::MAX, |least, (a, b)| least.min(a | b)) == 0
}

/// Whether two zeros in a row are among these bytes that may belong to a start code of a byte stream:
/// what follows them is below 3 (nothing within a NAL unit is so: H.264, 7.4.1; H.265, 7.4.2), or is
/// not there to be seen.
#[cold]
pub(crate) fn holds_code(bytes: &[u8]) -> bool {
    let from = |start: usize| bytes.get(start..).unwrap_or_default();
    let threes = bytes.iter().zip(from(1)).zip(from(2));
    let any = threes.fold(0, |any, ((a, b), c)| any | u8::from(a | b | u8::from(*c > 2) == 0));
    any != 0 || bytes.ends_with(&[0, 0])
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
    const PAST_CACHE_LINES: usize = 8;

    /// A loop over `$lines` lines with these instructions before it, for each of them and behind it, and
    /// the registers that they name. In `from` and `to` is where the line's bytes are and go.
    macro_rules! each_line {
        (
            ($words:expr, $bytes:expr, $lines:expr),
            [$($before:expr),*], [$($line:expr),+], [$($behind:expr),*], $($registers:tt)+
        ) => {
            asm!(
                $($before,)*
                "2:",
                $($line,)+
                "add {from}, 64",
                "add {to}, 64",
                "dec {left}",
                "jnz 2b",
                $($behind,)*
                from = inout(reg) $bytes.as_ptr() => _,
                to = inout(reg) $words.as_ptr() => _,
                left = inout(reg) $lines => _,
                $($registers)+
                options(nostack),
            )
        };
    }

    /// Stores lines with stores of one kind.
    macro_rules! store_lines {
        ($store:literal, $words:expr, $values:expr, $lines:expr) => {
            each_line!(
                ($words, $values, $lines),
                [],
                [
                    "movups {a}, [{from}]",
                    "movups {b}, [{from} + 16]",
                    "movups {c}, [{from} + 32]",
                    "movups {d}, [{from} + 48]",
                    concat!($store, " [{to}], {a}"),
                    concat!($store, " [{to} + 16], {b}"),
                    concat!($store, " [{to} + 32], {c}"),
                    concat!($store, " [{to} + 48], {d}")
                ],
                [],
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
            )
        };
    }

    /// Stores as many whole lines as there are, from the start of one, past the cache if they are not
    /// few; returns how many words that was.
    #[inline]
    pub(super) fn store(words: &[AtomicU64], values: &[[u8; WORD]]) -> usize {
        let lines = words.len().min(values.len()) / WORDS;
        if lines == 0 {
            return 0;
        }
        assert!(words.as_ptr().addr().is_multiple_of(BYTES), "the start of a line");
        // JUSTIFICATION: the compiler neither joins stores of atomics nor has them go past the cache.
        // With a word in each entry of the store buffer those of eight lines fill it; with two words
        // in each, twice as many lines are fetched at once.
        if lines < PAST_CACHE_LINES {
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

    #[inline(always)]
    pub(super) fn store_value(word: &AtomicU64, value: u64) {
        // JUSTIFICATION: as above.
        // SAFETY: the word is an atomic behind a shared reference, so it may be written; the store is
        // aligned and so whole. Until `settle` its order with others is any, as that of a relaxed one is.
        unsafe {
            asm!(
                "movnti [{to}], {value}",
                to = in(reg) word.as_ptr(),
                value = in(reg) value,
                options(nostack, preserves_flags),
            );
        }
    }

    /// Stores lines with these instructions and looks at them; whether nothing was found.
    macro_rules! look {
        ($lines:tt, [$before:expr], [$($line:expr),+], [$($behind:expr),+]) => {{
            let zeros: u32;
            each_line!(
                $lines,
                [$before],
                [$($line),+],
                [$($behind),+],
                zeros = out(reg) zeros,
                least = out(xmm_reg) _,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
            );
            zeros == 0
        }};
    }

    /// 16 bytes of a line: stored, and or-ed with those that lie one before; the least of each place.
    macro_rules! sixteen {
        ($at:literal) => {
            concat!(
                "movdqu {a}, [{from} + 1 + ",
                $at,
                "]\nmovdqu {b}, [{from} + ",
                $at,
                "]\n",
                "movntdq [{to} + ",
                $at,
                "], {a}\npor {b}, {a}\npminub {least}, {b}",
            )
        };
    }

    /// The same of 32.
    macro_rules! thirty_two {
        ($at:literal) => {
            concat!(
                "vmovdqu {a:y}, [{from} + 1 + ",
                $at,
                "]\nvpor {b:y}, {a:y}, [{from} + ",
                $at,
                "]\n",
                "vmovntdq [{to} + ",
                $at,
                "], {a:y}\nvpminub {least:y}, {least:y}, {b:y}",
            )
        };
    }

    /// Leaves the wide registers. Where the compiler knows of them it may have something in them, and
    /// leaves them itself.
    #[cfg(not(target_feature = "avx"))]
    macro_rules! leave_wide {
        () => {
            "vzeroupper"
        };
    }
    #[cfg(target_feature = "avx")]
    macro_rules! leave_wide {
        () => {
            ""
        };
    }

    /// Stores as many whole lines as there are, from the start of one, past the cache; `bytes` begin
    /// with the one before. With the widest registers that there are, or those that all have. Returns how
    /// many words that was, and whether no two zeros in a row are among their bytes and that one.
    #[inline]
    pub(super) fn store_and_look(words: &[AtomicU64], bytes: &[u8], widest: bool) -> (usize, bool) {
        let lines = (words.len() / WORDS).min(bytes.len().saturating_sub(1) / BYTES);
        if lines == 0 {
            return (0, true);
        }
        assert!(words.as_ptr().addr().is_multiple_of(BYTES), "the start of a line");
        // JUSTIFICATION: as above; and the loads of the one are stores' waiting time of the other.
        let calm = if widest && std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has the instructions; the rest is as below.
            unsafe {
                look!(
                    (words, bytes, lines),
                    ["vpcmpeqd {least:y}, {least:y}, {least:y}"],
                    [thirty_two!(0), thirty_two!(32)],
                    [
                        "vpxor {a:y}, {a:y}, {a:y}",
                        "vpcmpeqb {least:y}, {least:y}, {a:y}",
                        "vpmovmskb {zeros:e}, {least:y}",
                        leave_wide!()
                    ]
                )
            }
        } else {
            // SAFETY: `words` have so many lines, `bytes` one byte more, and nothing else is touched. The
            // words are atomics behind a shared reference, so they may be written, and begin at a line, as
            // just checked: each aligned half of a store is written whole. Until `settle` the order of
            // these is any, as that of relaxed stores is. The compiler moves no access to memory across.
            unsafe {
                look!(
                    (words, bytes, lines),
                    ["pcmpeqd {least}, {least}"],
                    [sixteen!(0), sixteen!(16), sixteen!(32), sixteen!(48)],
                    ["pxor {a}, {a}", "pcmpeqb {least}, {a}", "pmovmskb {zeros:e}, {least}"]
                )
            }
        };
        (lines * WORDS, calm)
    }

    #[inline]
    pub(super) fn settle() {
        // JUSTIFICATION: a fence of the language is nothing at all here, and orders no such stores.
        // SAFETY: it touches nothing; stores that the program made come in order across it.
        unsafe { asm!("sfence", options(nostack, preserves_flags)) };
    }

    #[inline]
    pub(super) fn prefetch(words: &[AtomicU64]) {
        let place = words.as_ptr();
        // JUSTIFICATION: there is no safe way to say it.
        // SAFETY: the instruction reads and writes nothing that a program can see and never faults,
        // whatever the address.
        unsafe { asm!("prefetchw [{at}]", at = in(reg) place, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
mod lines {
    use super::{AtomicU64, Ordering, WORD};

    pub(super) const BYTES: usize = WORD;

    pub(super) fn store_value(word: &AtomicU64, value: u64) {
        word.store(value, Ordering::Relaxed);
    }

    /// Stores nothing and looks at nothing: the caller does.
    pub(super) const fn store_and_look(_: &[AtomicU64], _: &[u8], _: bool) -> (usize, bool) {
        (0, true)
    }

    /// Stores nothing: the caller stores every word.
    pub(super) const fn store(_: &[AtomicU64], _: &[[u8; WORD]]) -> usize {
        0
    }

    pub(super) const fn settle() {}

    pub(super) const fn prefetch(_: &[AtomicU64]) {}
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

    /// Lines that begin where one of the cache does.
    fn whole_lines(words: &[AtomicU64], count: usize) -> &[AtomicU64] {
        &words[words_to_line(words)..][..count * LINE_WORDS]
    }

    #[test]
    fn lines_are_stored_and_two_zeros_in_a_row_are_found_wherever_they_lie() {
        for count in 0..4 {
            let memory = words((count + 1) * LINE_WORDS);
            let words = whole_lines(&memory, count);
            let mut bytes: Vec<u8> = (1..=255).cycle().take(1 + words.len() * WORD).collect();
            for at in 1..bytes.len() {
                let before = [bytes[at - 1], bytes[at]];
                bytes[at] = 0;
                assert!(store_lines(words, &bytes), "one at {at} of {count} lines");
                bytes[at - 1] = 0;
                assert!(!store_lines(words, &bytes), "two before {at} of {count} lines");
                bytes[at - 1..=at].copy_from_slice(&before);
            }
            let narrow = |bytes: &[u8]| lines::store_and_look(words, bytes, false);
            let all = if cfg!(all(target_arch = "x86_64", not(miri))) { words.len() } else { 0 };
            assert_eq!(narrow(&bytes), (all, true));
            if let [.., one, two] = &mut bytes[..] {
                (*one, *two) = (0, 0);
                assert_eq!(narrow(&bytes), (all, all == 0), "{count} lines");
            }
            words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
            bytes.iter_mut().rev().zip([9, 8]).for_each(|(byte, value)| *byte = value);
            assert!(store_lines(words, &bytes));
            let stored = words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes());
            assert_eq!(stored.collect::<Vec<_>>(), bytes[1..], "all but the byte before");
        }
    }

    #[test]
    fn two_zeros_are_of_a_code_before_zero_one_and_two_and_at_the_end() {
        for len in 3..70 {
            for at in 0..len - 1 {
                for third in 0..=u8::MAX {
                    let mut bytes = vec![9; len];
                    bytes[at..at + 2].fill(0);
                    let is_last = at + 2 == len;
                    if !is_last {
                        bytes[at + 2] = third;
                    }
                    assert_eq!(holds_code(&bytes), is_last || third < 3, "{third} {at} {len}");
                }
            }
        }
        assert!(!holds_code(&[]) && !holds_code(&[0]) && holds_code(&[0, 0]));
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
