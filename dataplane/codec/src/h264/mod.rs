//! H.264 (ITU-T H.264): NAL unit types, parameter sets, slice headers, access unit rules.

mod labels;
mod pps;
mod sei;
mod sets;
mod slice;
mod sps;
pub(crate) mod vui;

pub use pps::Pps;
pub use sei::recovery_point;
pub use sets::ParameterSets;
pub use slice::{SLICE_PREFIX_BYTES, SliceHeader, SlicePicOrder, SliceStart};
pub use sps::{PicOrder, Sps};

/// nal_unit_type, table 7-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NalType(pub u8);

impl NalType {
    /// Slice of a picture that is not IDR.
    pub const SLICE: Self = Self(1);
    /// Slice of an IDR picture.
    pub const IDR: Self = Self(5);
    /// Supplemental enhancement information.
    pub const SEI: Self = Self(6);
    /// Sequence parameter set.
    pub const SPS: Self = Self(7);
    /// Picture parameter set.
    pub const PPS: Self = Self(8);
    /// Access unit delimiter.
    pub const AUD: Self = Self(9);
    /// End of sequence.
    pub const END_OF_SEQUENCE: Self = Self(10);
    /// End of stream.
    pub const END_OF_STREAM: Self = Self(11);
    /// Filler data.
    pub const FILLER: Self = Self(12);
    /// Prefix NAL unit of scalable and multiview streams, before each slice of the base layer.
    pub const PREFIX: Self = Self(14);

    /// From the NAL unit's header byte.
    pub const fn of(header: u8) -> Self {
        Self(header & 0x1f)
    }

    /// A slice with a header of its own (types 1, 2 and 5; partition A stands for 2).
    pub const fn is_slice(self) -> bool {
        matches!(self.0, 1 | 2 | 5)
    }

    /// Coded picture data of the base layer (1 to 5).
    pub const fn is_vcl(self) -> bool {
        matches!(self.0, 1..=5)
    }

    /// Starts an access unit when it comes after a slice of the one before (7.4.1.2.3): 6 to 9
    /// and 15 to 18. A [`PREFIX`](Self::PREFIX) stands before *each* slice, so it starts one only
    /// if the slice that follows starts a picture.
    pub const fn starts_access_unit(self) -> bool {
        matches!(self.0, 6..=9 | 15..=18)
    }
}

/// nal_ref_idc of a NAL unit's header byte; 0 means that no other picture refers to this one.
pub const fn nal_ref_idc(header: u8) -> u8 {
    (header >> 5) & 3
}

/// forbidden_zero_bit is set: the sender or a gateway marks the NAL unit as damaged.
pub const fn is_forbidden(header: u8) -> bool {
    header & 0x80 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nal_types_that_start_an_access_unit_after_a_slice() {
        let starting: Vec<u8> =
            (0..32).filter(|kind| NalType(*kind).starts_access_unit()).collect();
        assert_eq!(starting, [6, 7, 8, 9, 15, 16, 17, 18]);
        let slices: Vec<u8> = (0..32).filter(|kind| NalType(*kind).is_slice()).collect();
        assert_eq!(slices, [1, 2, 5]);
    }

    #[test]
    fn header_fields() {
        assert_eq!(NalType::of(0x65), NalType::IDR);
        assert_eq!(nal_ref_idc(0x65), 3);
        assert_eq!(nal_ref_idc(0x01), 0);
        assert!(is_forbidden(0xe5));
        assert!(!is_forbidden(0x65));
    }
}
