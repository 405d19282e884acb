//! Big-endian words out of and into byte slices, never past their end.

/// The big-endian word `at` bytes into `bytes`.
#[inline]
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|chunk| u32::from_be_bytes(*chunk))
}

/// The upper and the lower half of a word.
#[inline]
pub(crate) fn halves(word: u32) -> (u16, u16) {
    let [a, b, c, d] = word.to_be_bytes();
    (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

/// A word of two halves.
#[inline]
pub(crate) fn join(upper: u16, lower: u16) -> u32 {
    u32::from(upper) << 16 | u32::from(lower)
}

/// Fills a caller's buffer front to back; a value that does not fit is left out and remembered.
pub(crate) struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
    full: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self { out, len: 0, full: false }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.len..self.len + bytes.len()) {
            Some(place) if !self.full => {
                place.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            _ => self.full = true,
        }
    }

    pub(crate) fn put_word(&mut self, word: u32) {
        self.put(&word.to_be_bytes());
    }

    /// Bytes still free.
    pub(crate) fn room(&self) -> usize {
        self.out.len() - self.len
    }

    /// Bytes written, or `None` when something did not fit.
    pub(crate) fn finish(self) -> Option<usize> {
        (!self.full).then_some(self.len)
    }
}
