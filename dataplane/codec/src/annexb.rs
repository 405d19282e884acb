//! Finding NAL units in an Annex B byte stream (H.264 and H.265, annex B) that comes in pieces of
//! any size.
//!
//! ```text
//!  … 9f 80 00 00 | 00 01 67 64 00 …        one start code over two pieces
//!          ^code        ^nal
//! ```
//!
//! A start code is `00 00 01` with the zero byte before it, when there is one, counted to it.
//! Further zeros before that belong to the NAL unit before (trailing_zero_8bits).

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

impl Scanner {
    /// A scanner at its origin.
    pub const fn new() -> Self {
        Self {
            position: 0,
            zeros: 0,
        }
    }

    /// Forgets what came before (after a loss) but keeps counting bytes.
    pub const fn interrupt(&mut self) {
        self.zeros = 0;
    }

    /// Bytes scanned since the origin.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Scans the next piece and reports each start code whose last byte is in it, in order.
    pub fn scan(&mut self, _piece: &[u8], _found: impl FnMut(Start)) {
        unimplemented!()
    }
}
