//! The tag of a video access unit: an SEI message (H.264 7.3.2.3, user_data_unregistered) that
//! says which frame of which stream it is, how long the access unit is and what its other bytes
//! hash to. All in hexadecimal digits, so that no start code can be emulated and every tag has
//! the same length.
//!
//! ```text
//! 00 00 00 01 | 06 | 05 | 38 | uuid (16) | stream (8) frame (8) length (8) crc (8) check (8) | 80
//! ```
//!
//! `crc` covers the access unit without this NAL unit, `check` the 32 digits before it.

const UUID: [u8; 16] = *b"penstock-bench\x01\x01";
const DIGITS: usize = 40;
const HEAD: usize = 7;
/// Bytes of the whole NAL unit, its start code included.
pub(crate) const NAL_LEN: usize = HEAD + UUID.len() + DIGITS + 1;

/// What a tag says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    /// Connection number.
    pub(crate) stream: u32,
    /// Frames of the stream before this one.
    pub(crate) frame: u32,
    /// Bytes of the access unit, the tag included.
    pub(crate) length: u32,
    /// CRC-32 of the access unit without the tag.
    pub(crate) crc: u32,
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No tag where one should be.
    Missing,
    /// The tag's own checksum differs.
    Broken,
    /// The frame is longer or shorter than the tag says.
    Length,
    /// The frame's bytes hash to something else.
    Content,
}

impl Tag {
    /// Writes the digits of a tag (`place` begins at the first digit).
    pub(crate) fn write(self, place: &mut [u8]) {
        for (digits, value) in
            place.chunks_exact_mut(8).zip([self.stream, self.frame, self.length, self.crc])
        {
            write_hex(digits, value);
        }
        let check = crc32fast::hash(&place[..32]);
        write_hex(&mut place[32..DIGITS], check);
    }

    /// Reads and checks the tag of an access unit; with `content` its bytes are hashed as well.
    pub(crate) fn verify(frame: &[u8], content: bool) -> Result<Self, Fault> {
        let at = find(frame).ok_or(Fault::Missing)?;
        let digits = frame.get(at..at + DIGITS).ok_or(Fault::Missing)?;
        let value = |index: usize| read_hex(&digits[index * 8..index * 8 + 8]).ok_or(Fault::Broken);
        if crc32fast::hash(&digits[..32]) != value(4)? {
            return Err(Fault::Broken);
        }
        let tag = Self { stream: value(0)?, frame: value(1)?, length: value(2)?, crc: value(3)? };
        if usize::try_from(tag.length) != Ok(frame.len()) {
            return Err(Fault::Length);
        }
        if content {
            let start = at - HEAD - UUID.len();
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&frame[..start]);
            hasher.update(&frame[start + NAL_LEN..]);
            if hasher.finalize() != tag.crc {
                return Err(Fault::Content);
            }
        }
        Ok(tag)
    }
}

/// Where the digits of a tag begin, looking through the first transport packet's worth of bytes.
pub(crate) fn find(bytes: &[u8]) -> Option<usize> {
    let window = &bytes[..bytes.len().min(256)];
    let at = window.windows(UUID.len()).position(|w| w == UUID)? + UUID.len();
    (bytes.len() > at + DIGITS).then_some(at)
}

/// Where a tag goes into an access unit: behind its delimiter (7.4.1.2.3), or first.
pub(crate) fn place(frame: &[u8]) -> usize {
    if frame.starts_with(&[0, 0, 0, 1, 9]) { 6 } else { 0 }
}

/// A tag's NAL unit whose digits are still to be written.
pub(crate) fn blank_nal() -> [u8; NAL_LEN] {
    let mut nal = [b'0'; NAL_LEN];
    nal[..HEAD].copy_from_slice(&[0, 0, 0, 1, 6, 5, 0x38]);
    nal[HEAD..HEAD + UUID.len()].copy_from_slice(&UUID);
    nal[NAL_LEN - 1] = 0x80;
    nal
}

fn write_hex(place: &mut [u8], value: u32) {
    for (digit, byte) in place.chunks_exact_mut(2).zip(value.to_be_bytes()) {
        digit[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
        digit[1] = b"0123456789abcdef"[usize::from(byte & 15)];
    }
}

fn read_hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(value << 4 | digit)
    })
}
