//! The open frame of a video lane, lent out for many small appends.
//!
//! ```text
//!   lane    ───┬──────────────┬──────────────┬──────────────┬───
//!   frame      │      ▒▒▒▒▒▒▒▒│▒▒▒▒▒▒▒▒▒▒▒▒▒▒│▒▒▒▒▒         │
//!              └──────────────┴──────────────┴▲────┘────────┘
//!                    whole lines, stored      at   line[..fill]: waits here
//! ```
//!
//! A lane stores words: the lines that hold the end of one piece and the start of the next are fetched
//! for a few bytes each time. Here bytes wait until their line is whole, so that each goes past the
//! cache and none is fetched. And all that an append needs lies together, apart from the writer: with
//! thousands of streams what is touched for each packet is what counts.

use super::Full;
use super::lane::Lane;
use crate::layout::WORD;
use crate::segment::Words;
use crate::store::{LINE_WORDS, prefetch, store_lines};

/// A line of the cache, in bytes.
const LINE: usize = LINE_WORDS * WORD;

/// The open frame between [`GopWriter::lend_open`](super::GopWriter::lend_open) and
/// [`GopWriter::take_back`](super::GopWriter::take_back). Between the two nothing is appended, closed or
/// discarded of it by other means; publishing and evicting may go on.
#[derive(Debug)]
pub struct OpenFrame {
    words: Words,
    /// Index of the first word of the line that waits.
    at: usize,
    /// Bytes of it that there are, below [`LINE`]. Those before the frame's first are another's, and are
    /// stored again as they are: readers see no change.
    fill: usize,
    /// Length of the frame, and the most it may have.
    len: usize,
    room: usize,
    /// The bytes that wait end in the middle. Copies of a whole line to fixed places are a few
    /// instructions, those of a length that is not known are calls.
    line: [u8; 2 * LINE],
}

impl OpenFrame {
    pub(super) fn of(lane: &Lane) -> Self {
        let words = lane.words().clone();
        let mut frame = Self { words, at: 0, fill: 0, len: 0, room: 0, line: [0; 2 * LINE] };
        frame.take_up(lane);
        frame
    }

    /// Whether it is of that lane.
    pub(super) fn is_of(&self, lane: &Lane) -> bool {
        self.words.is(lane.words())
    }

    /// Begins where the lane's open frame ends.
    pub(super) fn take_up(&mut self, lane: &Lane) {
        let (place, carry) = lane.open_end();
        (self.len, self.room) = (lane.open_len(), lane.room());
        self.at = place - place % LINE_WORDS;
        self.fill = (place - self.at) * WORD + self.len % WORD;
        let words = (self.at..place).map(|at| self.words.load(at)).chain([carry]);
        let bytes = words.flat_map(u64::to_le_bytes);
        for (to, byte) in self.line[LINE - self.fill..LINE].iter_mut().zip(bytes) {
            *to = byte;
        }
    }

    /// Asks for the page that the next line will be stored in.
    pub fn prefetch(&self) {
        prefetch(self.words.run(self.at, 1).0);
    }

    /// Bytes that it may have more.
    pub const fn left(&self) -> usize {
        self.room - self.len
    }

    /// Appends. On `Full` nothing was appended: the writer may make room.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Full> {
        if bytes.len() > self.left() {
            return Err(Full::Lane);
        }
        self.len += bytes.len();
        let (Some(first), Some(last)) = (bytes.first_chunk::<LINE>(), bytes.last_chunk::<LINE>())
        else {
            self.append_short(bytes);
            return Ok(());
        };
        self.line[LINE..].copy_from_slice(first);
        self.store_line();
        let rest = &bytes[LINE - self.fill..];
        let lines = &rest[..rest.len() - rest.len() % LINE];
        if !lines.is_empty() {
            self.store(lines.as_chunks().0);
            self.at += lines.len() / WORD;
        }
        self.line[..LINE].copy_from_slice(last);
        self.fill = rest.len() % LINE;
        Ok(())
    }

    /// Less than a line.
    fn append_short(&mut self, bytes: &[u8]) {
        let (fill, end) = (self.fill + bytes.len(), LINE + bytes.len());
        self.line[LINE..end].copy_from_slice(bytes);
        if fill >= LINE {
            self.store_line();
        }
        self.fill = fill % LINE;
        self.line.copy_within(end - self.fill..end, LINE - self.fill);
    }

    /// Stores the line that is whole now.
    #[inline]
    fn store_line(&mut self) {
        let from = LINE - self.fill;
        self.store(self.line[from..from + LINE].as_chunks().0);
        self.at += LINE_WORDS;
    }

    /// Stores whole lines from the one on that waits.
    #[inline]
    fn store(&self, values: &[[u8; WORD]]) {
        let (one, two) = self.words.run(self.at, values.len());
        let (values_one, values_two) = values.split_at(one.len());
        store_lines(one, values_one);
        store_lines(two, values_two);
    }

    /// Stores what waits, and says where the frame ends now: its length, and the bytes of its last word
    /// that is not whole.
    pub(super) fn settle(&self) -> (usize, u64) {
        let (whole, rest) = self.line[LINE - self.fill..LINE].as_chunks::<WORD>();
        for (at, word) in (self.at..).zip(whole) {
            self.words.store(at, u64::from_le_bytes(*word));
        }
        let carry = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        (self.len, carry)
    }
}
