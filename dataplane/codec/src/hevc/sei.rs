//! Supplemental enhancement information (annex D).

use crate::rbsp::BitReader;
use crate::sei::{RECOVERY_POINT, find_message};

use super::{NalHeader, NalType};

/// recovery_poc_cnt of the recovery point message in a prefix SEI NAL unit, if it holds one.
///
/// FFmpeg's key flag takes no notice of it in HEVC; only IRAP pictures are key there.
pub fn recovery_point(nal: &[u8]) -> Option<i32> {
    let header = NalHeader::parse(nal).ok()?;
    if header.nal_type != NalType::PREFIX_SEI {
        return None;
    }
    let bits = BitReader::new(nal.get(2..)?);
    let mut message = find_message(bits, RECOVERY_POINT)?;
    // Between minus and plus half of MaxPicOrderCntLsb (D.3.8), which is at most 2^16.
    let count = message.se().ok()?;
    (-32_768..=32_767).contains(&count).then_some(count)
}
