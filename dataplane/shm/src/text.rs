//! Short strings of a fixed size, so that what goes into shared memory needs no allocation.

use std::fmt;

/// UTF-8 text of at most `N` bytes, `Copy`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    /// The empty text.
    pub const EMPTY: Self = Self { bytes: [0; N], len: 0 };

    /// The text, or `None` when it is longer than `N` bytes.
    pub fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; N];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, len: text.len() })
    }

    /// The text, cut at the last character that fits.
    pub fn cut(text: &str) -> Self {
        let end = text.floor_char_boundary(N);
        Self::from_hostile(text.as_bytes(), end)
    }

    /// From bytes that another process wrote: whatever they hold, the longest valid prefix of
    /// their first `len` bytes.
    pub(crate) fn from_hostile(source: &[u8], len: usize) -> Self {
        let source = &source[..len.min(source.len()).min(N)];
        let valid = match std::str::from_utf8(source) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let mut bytes = [0; N];
        bytes[..valid].copy_from_slice(&source[..valid]);
        Self { bytes, len: valid }
    }

    /// From bytes that another process wrote, ending at the first zero.
    pub(crate) fn from_hostile_padded(source: &[u8]) -> Self {
        let len = source.iter().position(|byte| *byte == 0).unwrap_or(source.len());
        Self::from_hostile(source, len)
    }

    /// All `N` bytes, zeros behind the text.
    pub(crate) const fn padded(&self) -> &[u8; N] {
        &self.bytes
    }

    /// As a string slice.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).expect("constructors admit valid UTF-8 only")
    }

    /// Its length in bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_too_long_is_refused_and_cut_at_a_character() {
        assert_eq!(Text::<4>::new("abcde"), None);
        assert_eq!(Text::<4>::cut("abcé").as_str(), "abc");
        assert_eq!(Text::<4>::cut("abcd").as_str(), "abcd");
    }

    #[test]
    fn hostile_bytes_keep_their_valid_prefix() {
        assert_eq!(Text::<8>::from_hostile(b"ab\xff\xfe", 4).as_str(), "ab");
        assert_eq!(Text::<4>::from_hostile(b"abcdefgh", usize::MAX).as_str(), "abcd");
        assert_eq!(Text::<8>::from_hostile_padded(b"ab\0cd").as_str(), "ab");
    }
}
