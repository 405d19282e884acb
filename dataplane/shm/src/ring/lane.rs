//! One lane of a ring, as its writer works it: bytes go in at the open frame, in pieces of any
//! size, straight to where readers will find them.
//!
//! Offsets count the lane's bytes over its whole life; modulo its size they are places in it.
//!
//! ```text
//!        kept              open_start          open_start + room
//!   ──────┬─────────┬─────────┬───────────────────┬──────
//!         │ frames, │ not yet │ open frame ▒▒▒·   │  = kept + size: the oldest kept byte
//!         │ visible │   due   │            carry ┘│
//!   ──────┴─────────┴─────────┴───────────────────┴──────
//! ```
//!
//! Frames start on a word; the last word of one is padded with zeros. Bytes of a word that is not
//! yet complete wait in `carry`, since a word must be stored whole.

use std::ops::Range;
use std::sync::atomic::{Ordering::SeqCst, compiler_fence};

use crate::layout::WORD;
use crate::segment::Words;
use crate::store::store_all;

#[derive(Debug)]
pub(crate) struct Lane {
    words: Words,
    /// Its size in bytes.
    bytes: u64,
    /// Oldest byte that must not be overwritten.
    kept: u64,
    open_start: u64,
    /// Index of the open frame's first word; below the number of words.
    open_word: usize,
    open_len: usize,
    /// The last `open_len % 8` bytes of the open frame, zeros above.
    carry: u64,
    /// Bytes the open frame can have before something must be evicted.
    room: usize,
}

impl Lane {
    pub(crate) fn new(words: Words) -> Self {
        let bytes = (words.len() * WORD) as u64;
        let room = words.len() * WORD;
        Self { words, bytes, kept: 0, open_start: 0, open_word: 0, open_len: 0, carry: 0, room }
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) const fn open_start(&self) -> u64 {
        self.open_start
    }

    #[inline]
    pub(crate) const fn open_len(&self) -> usize {
        self.open_len
    }

    /// Bytes the open frame can have before something must be evicted; whole words.
    #[inline]
    pub(crate) const fn room(&self) -> usize {
        self.room
    }

    pub(crate) const fn words(&self) -> &Words {
        &self.words
    }

    /// Where the open frame ends: the index of its word that is not whole, and that word's bytes.
    pub(crate) const fn open_end(&self) -> (usize, u64) {
        (self.open_word + self.open_len / WORD, self.carry)
    }

    /// The open frame has become longer: what stands behind [`open_end`](Self::open_end) was stored by
    /// other means, but for the bytes of its last word.
    pub(crate) const fn lengthen(&mut self, open_len: usize, carry: u64) {
        (self.open_len, self.carry) = (open_len, carry);
    }

    /// Bytes in use, paddings included.
    pub(crate) const fn used(&self) -> u64 {
        self.open_start - self.kept + self.open_len.next_multiple_of(WORD) as u64
    }

    /// Everything below `offset` may be overwritten from now on.
    pub(crate) fn keep_from(&mut self, offset: u64) {
        debug_assert!(self.kept <= offset && offset <= self.open_start, "kept bytes in order");
        self.kept = offset;
        self.measure();
    }

    fn measure(&mut self) {
        let room = self.kept + self.bytes - self.open_start;
        self.room = usize::try_from(room).expect("at most the lane's size");
    }

    /// The line that the next bytes begin in: the words of it that are there stay.
    pub(crate) fn place(&self) -> *const u8 {
        self.words.run(self.open_word + self.open_len / WORD, 1).0.as_ptr().cast()
    }

    /// Appends to the open frame. The caller has seen to the room.
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        debug_assert!(self.open_len + bytes.len() <= self.room, "room was made");
        let fill = self.open_len % WORD;
        let mut at = self.open_word + self.open_len / WORD;
        let mut rest = bytes;
        if fill > 0 {
            let (first, others) = bytes.split_at(bytes.len().min(WORD - fill));
            self.carry |= first_word(bytes) << (8 * fill);
            if fill + first.len() < WORD {
                self.open_len += bytes.len();
                return;
            }
            self.words.store(at, self.carry);
            at += 1;
            rest = others;
        }
        // From here the destination is aligned; unaligned loads of the source cost nothing, so no
        // byte is ever shifted.
        let (whole, partial) = rest.as_chunks::<WORD>();
        if !whole.is_empty() {
            let (one, two) = self.words.run(at, whole.len());
            let (whole_one, whole_two) = whole.split_at(one.len());
            store_all(one, whole_one);
            store_all(two, whole_two);
        }
        self.carry = last_word(bytes, partial.len());
        self.open_len += bytes.len();
    }

    /// Copies what exists of `range` of the open frame; returns how many bytes that is.
    pub(crate) fn copy_open(&self, range: Range<usize>, out: &mut [u8]) -> usize {
        let end = range.end.min(self.open_len).min(range.start.saturating_add(out.len()));
        let mut at = range.start;
        while at < end {
            let index = at / WORD;
            let word = if index == self.open_len / WORD {
                self.carry
            } else {
                self.words.load(self.open_word + index)
            };
            let bytes = word.to_le_bytes();
            let take = (WORD - at % WORD).min(end - at);
            let to = at - range.start;
            out[to..to + take].copy_from_slice(&bytes[at % WORD..at % WORD + take]);
            at += take;
        }
        end.saturating_sub(range.start)
    }

    /// Puts up to seven bytes in front of byte `at` of the open frame; what lies behind moves. The
    /// caller has seen to the room.
    pub(crate) fn insert(&mut self, at: usize, bytes: &[u8]) {
        let count = bytes.len();
        debug_assert!(count < WORD && at <= self.open_len, "few bytes, inside the open frame");
        if count == 0 {
            return;
        }
        self.push(&[0; WORD][..count]);
        self.flush_carry();
        let (first, skip) = (at / WORD, at % WORD);
        let last = (self.open_len - 1) / WORD;
        let load = |word: usize| self.words.load(self.open_word + word);
        for word in (first + 1..=last).rev() {
            let before = load(word - 1);
            // What lies in front of the place stays.
            let before = if word - 1 == first { before & !low_bytes(skip) } else { before };
            let moved = load(word) << (8 * count) | before >> (8 * (WORD - count));
            self.words.store(self.open_word + word, moved);
        }
        let stays = load(first);
        let moved = (stays & !low_bytes(skip)) << (8 * count);
        self.words.store(self.open_word + first, stays & low_bytes(skip) | moved);
        for (place, byte) in (skip..).zip(bytes) {
            let word = self.open_word + first + place / WORD;
            let with = self.words.load(word) | u64::from(*byte) << (8 * (place % WORD));
            self.words.store(word, with);
        }
        self.carry = if self.open_len.is_multiple_of(WORD) { 0 } else { load(last) };
    }

    /// Where the rest of the open frame would start if its first `at` bytes were closed, and
    /// whether the rest still finds room there.
    pub(crate) const fn fits_after_close(&self, at: usize) -> bool {
        at.next_multiple_of(WORD) + (self.open_len - at).next_multiple_of(WORD) <= self.room
    }

    /// Closes the first `at` bytes of the open frame as a frame of their own; the rest becomes the
    /// start of the next one and moves by up to seven bytes to the next word. The caller has seen
    /// that it fits.
    pub(crate) fn close(&mut self, at: usize) {
        debug_assert!(at <= self.open_len && self.fits_after_close(at), "room was made");
        let padded = at.next_multiple_of(WORD);
        self.flush_carry();
        let (rest, last) = (self.open_len - at, at / WORD);
        let last_word = if at < padded { self.words.load(self.open_word + last) } else { 0 };
        if rest > 0 && at < padded {
            self.shift(at, padded / WORD);
        }
        if at < padded {
            self.words.store(self.open_word + last, last_word & low_bytes(at % WORD));
        }
        self.open_len = rest;
        self.open_start += padded as u64;
        self.open_word += padded / WORD;
        if self.open_word >= self.words.len() {
            // From here the same words are reached through the first round's addresses. The
            // processor knows that they are the same, the compiler does not.
            compiler_fence(SeqCst);
            self.open_word -= self.words.len();
        }
        if rest == 0 {
            self.carry = 0;
        }
        self.measure();
    }

    /// Throws the first `at` bytes of the open frame away; the rest moves to its start.
    pub(crate) fn discard_front(&mut self, at: usize) {
        if at >= self.open_len {
            self.open_len = 0;
            self.carry = 0;
        } else if at > 0 {
            self.flush_carry();
            self.shift(at, 0);
            self.open_len -= at;
        }
    }

    /// Stores the bytes of the incomplete word, padded with zeros.
    fn flush_carry(&self) {
        if !self.open_len.is_multiple_of(WORD) {
            self.words.store(self.open_word + self.open_len / WORD, self.carry);
        }
    }

    /// Moves the bytes of the open frame from `from` on to its word `to`, which lies at most one
    /// word behind the one that holds byte `from`: one word is read ahead, so nothing is
    /// overwritten before it was read. The carry becomes that of the moved bytes.
    fn shift(&mut self, from: usize, to: usize) {
        let rest = self.open_len - from;
        let (skip, first) = (from % WORD, from / WORD);
        let ends = self.open_len.div_ceil(WORD);
        let mut current = self.words.load(self.open_word + first);
        let mut moved = 0;
        for i in 0..rest.div_ceil(WORD) {
            let ahead = first + i + 1;
            let next = if ahead < ends { self.words.load(self.open_word + ahead) } else { 0 };
            moved = if skip == 0 {
                current
            } else {
                (current >> (8 * skip)) | (next << (8 * (WORD - skip)))
            };
            self.words.store(self.open_word + to + i, moved);
            current = next;
        }
        self.carry = if rest.is_multiple_of(WORD) { 0 } else { moved };
    }
}

/// The first eight bytes as a word; zeros above when there are fewer.
#[inline]
fn first_word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or_else(|| short_word(bytes), |bytes| u64::from_le_bytes(*bytes))
}

/// The last `count` bytes, fewer than eight, as a word with zeros above. Where there are eight to
/// load, the unwanted ones are shifted out: a copy of a few bytes costs more than all the rest of
/// a small append.
#[inline]
fn last_word(bytes: &[u8], count: usize) -> u64 {
    match bytes.last_chunk() {
        _ if count == 0 => 0,
        Some(eight) => u64::from_le_bytes(*eight) >> (8 * (WORD - count)),
        None => short_word(&bytes[bytes.len() - count..]),
    }
}

/// Fewer than eight bytes as a word, zeros above.
fn short_word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte))
}

/// A mask of the lowest `count` bytes; `count` is below eight.
const fn low_bytes(count: usize) -> u64 {
    (1 << (8 * count)) - 1
}
