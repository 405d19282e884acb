//! Supplemental enhancement information (7.3.2.3, annex D).

use crate::Error;
use crate::rbsp::BitReader;

use super::NalType;

/// payloadType of the recovery point message.
const RECOVERY_POINT: u32 = 6;

/// recovery_frame_cnt above MaxFrameNum - 1 is invalid (D.2.8); MaxFrameNum is at most this.
const FRAME_NUM_END: u32 = 1 << 16;

/// recovery_frame_cnt of the recovery point message in an SEI NAL unit, if it holds one. Any
/// value makes the access unit a place where decoding can start (a key frame as FFmpeg has it:
/// open-GOP I pictures, and P pictures with intra refresh); 0 means that the picture itself is
/// already right.
pub fn recovery_point(nal: &[u8]) -> Option<u32> {
    let (header, rest) = nal.split_first()?;
    if NalType::of(*header) != NalType::SEI {
        return None;
    }
    let mut bits = BitReader::new(rest);
    while bits.more_data() {
        let (kind, size) = message_header(&mut bits).ok()?;
        if kind == RECOVERY_POINT {
            return bits.ue().ok().filter(|count| *count < FRAME_NUM_END);
        }
        bits.skip(size.checked_mul(8)?).ok()?;
    }
    None
}

/// payloadType and payloadSize of the next message (7.3.2.3.1).
fn message_header(bits: &mut BitReader<'_>) -> Result<(u32, u32), Error> {
    Ok((extended(bits)?, extended(bits)?))
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
