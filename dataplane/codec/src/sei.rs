//! The frame of supplemental enhancement information, alike in H.264 (7.3.2.3) and H.265
//! (7.3.2.4): a list of messages, each with its type and size.

use crate::Error;
use crate::rbsp::BitReader;

/// payloadType of the recovery point message in both standards.
pub(crate) const RECOVERY_POINT: u32 = 6;

/// The payload of the first message of a type, as a reader that starts there.
pub(crate) fn find_message(mut bits: BitReader<'_>, wanted: u32) -> Option<BitReader<'_>> {
    while bits.more_data() {
        let kind = extended(&mut bits).ok()?;
        let size = extended(&mut bits).ok()?;
        if kind == wanted {
            return Some(bits);
        }
        bits.skip(size.checked_mul(8)?).ok()?;
    }
    None
}

/// A number in bytes of 255 and a last one below. The end of the bytes bounds it.
fn extended(bits: &mut BitReader<'_>) -> Result<u32, Error> {
    let mut value = 0u32;
    loop {
        let byte = bits.bits(8)?;
        value = value.saturating_add(byte);
        if byte < 255 {
            return Ok(value);
        }
    }
}
