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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recovery_point_may_come_after_other_messages() {
        // A message of type 5 with two bytes, then recovery_frame_cnt 1 (010).
        assert_eq!(recovery_point(&[6, 5, 2, 0xaa, 0xbb, 6, 1, 0b0101_0000, 0x80]), Some(1));
        assert_eq!(recovery_point(&[6, 6, 1, 0x84, 0x80]), Some(0));
    }

    #[test]
    fn sizes_count_without_emulation_prevention_bytes() {
        assert_eq!(recovery_point(&[6, 5, 4, 0, 0, 3, 1, 9, 6, 1, 0x84, 0x80]), Some(0));
    }

    #[test]
    fn other_and_damaged_messages_hold_none() {
        for nal in [
            &[][..],
            &[6],
            &[6, 0x80],
            &[6, 1, 1, 0x84, 0x80],
            &[6, 5, 200, 1, 2, 0x80],
            &[7, 6, 1, 0x84, 0x80],
            &[6, 6, 1],
            &[6, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(recovery_point(nal), None, "{nal:x?}");
        }
    }
}
