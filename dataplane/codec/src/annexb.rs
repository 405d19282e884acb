//! Finding NAL units in an Annex B byte stream (H.264 and H.265, annex B) that comes in pieces of
//! any size.
//!
//! ```text
//!  … 9f 80 00 00 | 00 01 67 64 00 …        one start code over two pieces
//!           ^code        ^nal
//! ```
//!
//! A start code is `00 00 01` with the zero byte before it, when there is one, counted to it.
//! Further zeros before that belong to the NAL unit before (trailing_zero_8bits).
//!
//! Every payload byte of every video track passes here, so the search looks at all bytes of a
//! block at once, for two zeros, and where there are some once more for a code, whatever else they
//! are: a sender cannot choose bytes that make it slow. Only a block that holds a start code is looked
//! at byte by byte.

/// Where a NAL unit starts, in bytes since the scanner's origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// First byte of the start code (3 or 4 bytes). It may lie in an earlier piece.
    pub code: u64,
    /// First byte of the NAL unit's header. It may lie in a later piece.
    pub nal: u64,
}

/// Finds start codes over any split of the stream into pieces.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scanner {
    position: u64,
    /// Zero bytes directly before `position`, at most 3.
    zeros: u8,
}

/// Windows searched at once, a multiple of the vector width: so many that the reduction at the end
/// costs little.
const BLOCK: usize = 1024;
/// Windows searched at once in a block that holds a start code: so few that little is left to the
/// byte-wise search.
const SUB_BLOCK: usize = 64;

impl Scanner {
    /// A scanner at its origin.
    pub const fn new() -> Self {
        Self { position: 0, zeros: 0 }
    }

    /// Forgets the bytes just before (after a loss), so that no start code spans the hole, and
    /// keeps counting.
    pub const fn interrupt(&mut self) {
        self.zeros = 0;
    }

    /// Bytes scanned since the origin.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Scans the next piece and reports each start code whose last byte is in it, in order.
    #[inline]
    pub fn scan(&mut self, piece: &[u8], mut found: impl FnMut(Start)) {
        if self.zeros != 0 {
            self.scan_border(piece, &mut found);
        }
        let mut from = 0;
        while let Some(rest) = piece.get(from..).filter(|rest| rest.len() > 2) {
            // Two bytes more than windows, so that no code between blocks is missed.
            let block = rest.get(..BLOCK + 2).unwrap_or(rest);
            if holds_zero_pair(block) && holds_code(block) {
                self.scan_block(piece, from, block, &mut found);
            }
            from += BLOCK;
        }
        self.zeros = trailing_zeros(piece, self.zeros);
        self.position += piece.len() as u64;
    }

    /// Passes over a start code of four bytes and what of its NAL unit's header follows, two bytes at
    /// most, behind bytes that [are calm](Self::is_calm), without looking for it.
    #[inline]
    pub fn pass_code(&mut self, code_and_header: &[u8]) -> Start {
        let start = Start { code: self.position, nal: self.position + 4 };
        self.zeros = trailing_zeros(code_and_header, 0);
        self.position += code_and_header.len() as u64;
        start
    }

    /// Whether no start code can have begun in the bytes just before.
    pub const fn is_calm(&self) -> bool {
        self.zeros == 0
    }

    /// So many bytes that have no part of a start code: the last is not zero, and nowhere are two zeros
    /// before one below 3, behind bytes that [are calm](Self::is_calm).
    pub const fn pass(&mut self, len: u64) {
        self.position += len;
    }

    /// Start codes that begin in an earlier piece: their last byte is one of the first two here.
    #[cold]
    fn scan_border(&self, piece: &[u8], found: &mut impl FnMut(Start)) {
        let (zeros, last) = match *piece {
            [1, ..] => (self.zeros, 0),
            [0, 1, ..] => (self.zeros + 1, 1),
            _ => return,
        };
        if zeros >= 2 {
            let last = self.position + last;
            found(Start { code: last - u64::from(zeros.min(3)), nal: last + 1 });
        }
    }

    /// Reports the start codes that lie in `block`, which starts at `from` in `piece`.
    #[cold]
    fn scan_block(&self, piece: &[u8], from: usize, block: &[u8], found: &mut impl FnMut(Start)) {
        for at in codes(block) {
            let code = from + at;
            let zero_before = match code.checked_sub(1) {
                Some(before) => piece.get(before) == Some(&0),
                None => self.zeros != 0,
            };
            let code = self.position + code as u64;
            found(Start { code: code - u64::from(zero_before), nal: code + 3 });
        }
    }
}

/// Where each `00 00 01` lies in `block`.
fn codes(block: &[u8]) -> impl Iterator<Item = usize> {
    (0..block.len())
        .step_by(SUB_BLOCK)
        .filter_map(|from| {
            let rest = block.get(from..)?;
            let part = rest.get(..SUB_BLOCK + 2).unwrap_or(rest);
            holds_code(part).then_some((from, part))
        })
        .flat_map(|(from, part)| {
            let windows = part.windows(3).enumerate();
            windows.filter_map(move |(at, window)| (window == [0, 0, 1]).then_some(from + at))
        })
}

/// The NAL units of a whole buffer, without start codes and trailing zero bytes. Bytes before the
/// first start code are skipped.
pub fn nal_units(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = split_at_code(bytes).map(|(_, after)| after);
    core::iter::from_fn(move || {
        let bytes = rest?;
        let unit = match split_at_code(bytes) {
            Some((unit, after)) => {
                rest = Some(after);
                unit
            }
            None => {
                rest = None;
                bytes
            }
        };
        Some(trim_zeros(unit))
    })
}

/// `unit` without its trailing zero bytes, which are never part of a NAL unit (7.4.1).
pub(crate) fn trim_zeros(mut unit: &[u8]) -> &[u8] {
    while let [head @ .., 0] = unit {
        unit = head;
    }
    unit
}

/// What stands before and after the first `00 00 01`.
fn split_at_code(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        let rest = bytes.get(from..)?;
        let block = rest.get(..BLOCK + 2).unwrap_or(rest);
        if holds_code(block)
            && let Some(at) = codes(block).next()
        {
            return bytes.get(..from + at).zip(rest.get(at + 3..));
        }
        from += BLOCK;
    }
}

/// Whether two zeros in a row are among these bytes. Coded video has few, and to look for them costs
/// half of what it does to look for a code.
#[inline]
fn holds_zero_pair(bytes: &[u8]) -> bool {
    let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
    pairs.fold(u8::MAX, |least, (a, b)| least.min(a | b)) == 0
}

/// `bytes` hold `00 00 01`. What is left of a multiple of 32 windows is searched with windows that
/// were searched already, which is cheaper than one by one.
#[inline]
fn holds_code(bytes: &[u8]) -> bool {
    const STEP: usize = 32;
    let windows = bytes.len().saturating_sub(2);
    let whole = windows - windows % STEP;
    match (bytes.get(..whole + 2), bytes.last_chunk::<{ STEP + 2 }>()) {
        (Some(searched), Some(_)) if whole == windows => any_code(searched),
        (Some(searched), Some(last)) => any_code(searched) | any_code(last),
        _ => any_code(bytes),
    }
}

/// Written so that the compiler compares a vector of windows at once: no early exit, no branch.
#[inline]
fn any_code(bytes: &[u8]) -> bool {
    let second = bytes.get(1..).unwrap_or_default();
    let third = bytes.get(2..).unwrap_or_default();
    bytes
        .iter()
        .zip(second)
        .zip(third)
        .fold(0, |any, ((a, b), c)| any | u8::from(a | b | (c ^ 1) == 0))
        != 0
}

/// Zero bytes at the end of `piece`, with those before it when it is all zeros; at most 3.
fn trailing_zeros(piece: &[u8], before: u8) -> u8 {
    match *piece {
        [.., 0, 0, 0] => 3,
        [0, 0] => (before + 2).min(3),
        [0] => (before + 1).min(3),
        [.., 0, 0] => 2,
        [.., 0] => 1,
        [] => before,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn starts(pieces: &[&[u8]]) -> Vec<(u64, u64)> {
        let mut scanner = Scanner::new();
        let mut starts = Vec::new();
        for piece in pieces {
            scanner.scan(piece, |start| starts.push((start.code, start.nal)));
        }
        assert_eq!(scanner.position(), pieces.iter().map(|piece| piece.len() as u64).sum::<u64>());
        starts
    }

    /// The definition, byte by byte.
    fn starts_by_definition(bytes: &[u8]) -> Vec<(u64, u64)> {
        (0..bytes.len())
            .filter(|&at| bytes[at..].starts_with(&[0, 0, 1]))
            .map(|at| {
                let four = at > 0 && bytes[at - 1] == 0;
                ((at - usize::from(four)) as u64, at as u64 + 3)
            })
            .collect()
    }

    #[test]
    fn three_and_four_byte_codes_and_leading_zeros() {
        assert_eq!(starts(&[&[0, 0, 1, 9]]), [(0, 3)]);
        assert_eq!(starts(&[&[0, 0, 0, 1, 9]]), [(0, 4)]);
        assert_eq!(starts(&[&[0, 0, 0, 0, 0, 1, 9]]), [(2, 6)]);
        assert_eq!(starts(&[&[7, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1]]), [(1, 4), (4, 7), (7, 11)]);
    }

    #[test]
    fn every_split_of_every_code_gives_the_same_starts() {
        for bytes in [
            &[9u8, 0, 0, 0, 0, 1, 0x67, 0, 0, 1, 0x68, 0, 0][..],
            &[0, 0, 1, 0, 0, 1, 0, 0, 0, 1],
            &[1, 0, 1, 0, 0, 2, 0, 0, 3, 1],
        ] {
            let whole = starts_by_definition(bytes);
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                    assert_eq!(starts(&pieces), whole, "{first} {second}");
                }
            }
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(starts(&single), whole);
        }
    }

    #[test]
    fn a_code_at_every_place_of_a_piece() {
        for len in [34, 184, 258, 600, 1316] {
            for at in 0..=len - 3 {
                let mut bytes = vec![0xff; len];
                bytes[at..at + 3].copy_from_slice(&[0, 0, 1]);
                assert_eq!(starts(&[&bytes]), [(at as u64, at as u64 + 3)], "{len}");
            }
        }
    }

    #[test]
    fn no_code_spans_a_loss() {
        let mut scanner = Scanner::new();
        scanner.scan(&[5, 0, 0], |_| panic!("no start"));
        scanner.interrupt();
        scanner.scan(&[1, 5], |_| panic!("no start"));
        assert_eq!(scanner.position(), 5);
    }

    #[test]
    fn a_code_that_is_passed_over_is_as_one_that_is_found() {
        for before in [&[][..], &[7], &[7, 0, 9]] {
            for header in [&[][..], &[0x65], &[0x40, 1], &[9, 0], &[0, 0]] {
                for behind in [&[][..], &[1, 9], &[0, 1, 9], &[5, 0, 0, 1, 9]] {
                    let code = [&[0, 0, 0, 1], header].concat();
                    let mut scanner = Scanner::new();
                    let mut found = Vec::new();
                    scanner.scan(before, |start| found.push((start.code, start.nal)));
                    let start = scanner.pass_code(&code);
                    found.push((start.code, start.nal));
                    scanner.scan(behind, |start| found.push((start.code, start.nal)));
                    assert_eq!(found, starts(&[before, &code, behind]));
                    let all = [before, &code, behind].concat();
                    assert_eq!(scanner.position(), all.len() as u64);
                }
            }
        }
    }

    #[test]
    fn units_of_a_buffer_lose_their_trailing_zeros() {
        let bytes = [0xff, 0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0, 0, 1, 0x68];
        let units: Vec<&[u8]> = nal_units(&bytes).collect();
        assert_eq!(units, [&[9, 0xf0][..], &[0x67, 1], &[], &[0x68]]);
        assert_eq!(nal_units(&[]).count(), 0);
        assert_eq!(nal_units(&[1, 2, 3]).count(), 0);
        assert_eq!(nal_units(&[0, 0, 1]).collect::<Vec<_>>(), [&[] as &[u8]]);
        assert_eq!(nal_units(&[0, 0, 1, 7, 0, 0, 1]).collect::<Vec<_>>(), [&[7][..], &[]]);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_starts(
            bytes in prop::collection::vec(prop_oneof![5 => Just(0u8), 3 => Just(1), 1 => any::<u8>()], 0..1500),
            cuts in prop::collection::vec(1usize..400, 0..40),
        ) {
            let mut rest = &bytes[..];
            let mut pieces = Vec::new();
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            prop_assert_eq!(starts(&pieces), starts_by_definition(&bytes));
        }
    }
}
