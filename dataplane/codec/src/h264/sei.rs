//! Supplemental enhancement information (annex D).

use crate::rbsp::BitReader;
use crate::sei::{RECOVERY_POINT, find_message};

use super::NalType;

/// recovery_frame_cnt is below MaxFrameNum (D.2.8), which is at most this.
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
    let mut message = find_message(BitReader::new(rest), RECOVERY_POINT)?;
    message.ue().ok().filter(|count| *count < FRAME_NUM_END)
}
