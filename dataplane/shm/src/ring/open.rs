//! The open frame of a video lane, lent out for many small appends.
//!
//! ```text
//!   lane    ───┬──────────────┬──────────────┬──────────────┬───
//!   frame      │      ▒▒▒▒▒▒▒▒│▒▒▒▒▒▒▒▒▒▒▒▒▒▒│▒▒▒▒▒         │
//!              └──────────────┴──────────────┴▲────┘────────┘
//!                    whole lines, stored      at   the end of `last`: waits
//! ```
//!
//! A lane stores words: the lines that hold the end of one piece and the start of the next are fetched
//! for a few bytes each time. Here bytes wait until their line is whole, so that each goes past the
//! cache and none is fetched. And all that an append needs lies together, apart from the writer: with
//! thousands of streams what is touched for each packet is what counts.

use super::lane::Lane;
use crate::layout::WORD;
use crate::segment::Words;
use crate::store::{LINE_WORDS, holds_code, holds_zero_pair, settle, store_lines, store_values};

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
    /// The last bytes that came, a line of them, of which the last `fill` wait; behind them there is
    /// room for those that come next, and for a word that is only read.
    last: [u64; 2 * LINE_WORDS + 1],
}

impl OpenFrame {
    pub(super) fn of(lane: &Lane) -> Self {
        let words = lane.words().clone();
        let mut frame =
            Self { words, at: 0, fill: 0, len: 0, room: 0, last: [0; 2 * LINE_WORDS + 1] };
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
        let mut words = [0; 2 * LINE_WORDS + 1];
        let whole = (self.at..place).map(|at| self.words.load(at));
        for (to, word) in words[LINE_WORDS..].iter_mut().zip(whole.chain([carry])) {
            *to = word;
        }
        self.keep(&line_at(&words, self.fill));
    }

    /// Where the next line will be stored.
    pub fn place(&self) -> *const u8 {
        self.words.run(self.at, 1).0.as_ptr().cast()
    }

    /// Bytes that it may have more.
    pub const fn left(&self) -> usize {
        self.room - self.len
    }

    /// Appends bytes among which no start code lies: no two zeros before a byte below 3. False when one
    /// may, or there is no room, which the writer may make: then nothing was appended.
    ///
    /// What has just been stored in pieces is not loaded as a whole here: such a load would be waited
    /// for until the lines on their way to memory have arrived there.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let ends = (bytes.first_chunk::<{ LINE + 1 }>(), bytes.last_chunk::<{ LINE + 1 }>());
        if bytes.len() > self.left() {
            return false;
        }
        let (Some(first), Some(last)) = ends else { return self.append_by_lines(bytes) };
        if (holds_zero_pair(first) | holds_zero_pair(last)) && holds_code(bytes) {
            return false;
        }
        let line = self.join(first.first_chunk().expect("a line and one byte"));
        // From the byte before the first line that is all of these bytes.
        let behind = &bytes[LINE - self.fill - 1..];
        let lines = (behind.len() - 1) / LINE;
        let (words, over_the_end) = self.words.run(self.at, (1 + lines) * LINE_WORDS);
        if !over_the_end.is_empty() {
            return self.append_by_lines(bytes);
        }
        let (to, rest) = words.split_at(LINE_WORDS);
        store_values(to, &line);
        if !store_lines(rest, &behind[..1 + lines * LINE]) && holds_code(bytes) {
            // The writer stores in the same place by other means, and that is to stand.
            settle();
            return false;
        }
        self.at += (1 + lines) * LINE_WORDS;
        self.fill = (behind.len() - 1) % LINE;
        self.len += bytes.len();
        self.keep(&words_of(last.last_chunk().expect("a line and one byte")));
        true
    }

    /// As [`append`](Self::append), where it is about few bytes or about a lane that is not mirrored.
    fn append_by_lines(&mut self, bytes: &[u8]) -> bool {
        if holds_zero_pair(bytes) && holds_code(bytes) {
            return false;
        }
        for piece in bytes.chunks(LINE) {
            let mut next = [0; LINE];
            next[..piece.len()].copy_from_slice(piece);
            let line = self.join(&next);
            let fill = self.fill + piece.len();
            if fill >= LINE {
                self.words.store_past(self.at, &line);
                self.at += LINE_WORDS;
            }
            self.fill = fill % LINE;
            self.keep(&line_at(&self.last, piece.len()));
        }
        self.len += bytes.len();
        true
    }

    /// The line that is whole with `next`, which are the next bytes from here on.
    #[inline(always)]
    fn join(&mut self, next: &[u8; LINE]) -> [u64; LINE_WORDS] {
        self.last[LINE_WORDS..2 * LINE_WORDS].copy_from_slice(&words_of(next));
        line_at(&self.last, LINE - self.fill)
    }

    /// These came last.
    #[inline(always)]
    fn keep(&mut self, line: &[u64; LINE_WORDS]) {
        self.last[..LINE_WORDS].copy_from_slice(line);
    }

    /// Stores what waits, and says where the frame ends now: its length, and the bytes of its last word
    /// that is not whole.
    pub(super) fn settle(&self) -> (usize, u64) {
        let mut words = self.last;
        words[LINE_WORDS..].fill(0);
        let line = line_at(&words, LINE - self.fill);
        let whole = self.fill / WORD;
        for (at, word) in (self.at..).zip(&line[..whole]) {
            self.words.store(at, *word);
        }
        (self.len, line[whole])
    }
}

/// The line that begins with the byte at `from` of `words`, at most a line from their start.
#[inline(always)]
fn line_at(words: &[u64; 2 * LINE_WORDS + 1], from: usize) -> [u64; LINE_WORDS] {
    let shift = 8 * (from % WORD);
    let words = words[from / WORD..].first_chunk::<{ LINE_WORDS + 1 }>();
    let words = words.expect("at most a line from the start");
    let mut line = [0; LINE_WORDS];
    for (at, word) in line.iter_mut().enumerate() {
        // By no more than 63 at a time: where nothing is shifted nothing comes in either.
        *word = words[at] >> shift | words[at + 1] << 1 << (63 - shift);
    }
    line
}

/// The words of these bytes.
#[inline(always)]
fn words_of(bytes: &[u8; LINE]) -> [u64; LINE_WORDS] {
    let mut words = [0; LINE_WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}
