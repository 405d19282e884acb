//! Slice header (7.3.3) as far as picture boundaries need it.

use crate::rbsp::BitReader;
use crate::{Error, SliceType};

use super::{NalType, ParameterSets, PicOrder, nal_ref_idc};

/// Bytes of a slice NAL unit, header byte first, that surely hold all that is parsed here: the
/// fields take at most 281 bits, with an emulation prevention byte after every two of their bytes
/// in the worst case.
pub const SLICE_PREFIX_BYTES: usize = 64;

/// The fields before the first that needs a parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceStart {
    /// first_mb_in_slice.
    pub first_mb: u32,
    /// slice_type.
    pub slice_type: SliceType,
    /// pic_parameter_set_id.
    pub pps_id: u8,
}

impl SliceStart {
    /// Parses the start of a slice NAL unit (types 1, 2, 5), header byte first.
    pub fn parse(nal: &[u8]) -> Result<Self, Error> {
        let (header, rest) = nal.split_first().ok_or(Error::Truncated)?;
        if !NalType::of(*header).is_slice() {
            return Err(Error::WrongType);
        }
        Self::read(&mut BitReader::prefix(rest))
    }

    fn read(bits: &mut BitReader<'_>) -> Result<Self, Error> {
        let first_mb = bits.ue()?;
        // Types 5 to 9 promise that all slices of the picture are alike (table 7-6).
        let slice_type = match bits.ue_max(9, "slice_type")? % 5 {
            1 => SliceType::B,
            2 | 4 => SliceType::I,
            _ => SliceType::P,
        };
        Ok(Self { first_mb, slice_type, pps_id: bits.ue8(255, "pic_parameter_set_id")? })
    }
}

/// The fields of a slice header that tell pictures apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceHeader {
    /// nal_ref_idc; 0 for a picture that no other refers to.
    pub nal_ref_idc: u8,
    /// IdrPicFlag: nal_unit_type is 5.
    pub idr: bool,
    /// first_mb_in_slice.
    pub first_mb: u32,
    /// slice_type.
    pub slice_type: SliceType,
    /// pic_parameter_set_id.
    pub pps_id: u8,
    /// seq_parameter_set_id of that PPS.
    pub sps_id: u8,
    /// colour_plane_id, 0 when planes are not coded apart.
    pub colour_plane_id: u8,
    /// frame_num.
    pub frame_num: u16,
    /// field_pic_flag: the picture is one field.
    pub field_pic: bool,
    /// bottom_field_flag.
    pub bottom_field: bool,
    /// idr_pic_id, 0 in other pictures.
    pub idr_pic_id: u16,
    /// The coded part of the picture order count.
    pub pic_order: SlicePicOrder,
    /// redundant_pic_cnt; above 0 the slice repeats one of the primary picture.
    pub redundant_pic_cnt: u8,
    /// The profile allows slices of a picture in any order (Baseline and Extended).
    pub arbitrary_slice_order: bool,
}

/// What a slice header codes of the picture order count, by pic_order_cnt_type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlicePicOrder {
    /// Type 0.
    Lsb {
        /// pic_order_cnt_lsb.
        lsb: u16,
        /// delta_pic_order_cnt_bottom.
        delta_bottom: i32,
    },
    /// Type 1: delta_pic_order_cnt.
    Expected([i32; 2]),
    /// Type 2.
    Decoding,
}

impl SliceHeader {
    /// The fields before the first that needs a parameter set.
    pub const fn start(&self) -> SliceStart {
        let Self { first_mb, slice_type, pps_id, .. } = *self;
        SliceStart { first_mb, slice_type, pps_id }
    }

    /// Parses the header of a slice NAL unit (types 1, 2, 5), header byte first;
    /// [`SLICE_PREFIX_BYTES`] of it suffice.
    pub fn parse(nal: &[u8], sets: &ParameterSets) -> Result<Self, Error> {
        let (header, rest) = nal.split_first().ok_or(Error::Truncated)?;
        if !NalType::of(*header).is_slice() {
            return Err(Error::WrongType);
        }
        let bits = &mut BitReader::prefix(rest);
        let start = SliceStart::read(bits)?;
        let pps = sets.pps(start.pps_id).ok_or(Error::UnknownPps(start.pps_id))?;
        let sps = sets.sps(pps.sps_id).ok_or(Error::UnknownSps(pps.sps_id))?;
        let idr = NalType::of(*header) == NalType::IDR;
        let colour_plane_id = if sps.separate_colour_planes { bits.bits8(2)? } else { 0 };
        let frame_num = bits.bits16(sps.frame_num_bits)?;
        let field_pic = !sps.frame_mbs_only && bits.flag()?;
        let bottom_field = field_pic && bits.flag()?;
        let idr_pic_id = if idr { bits.ue_max(0xffff, "idr_pic_id")? } else { 0 };
        let has_bottom = pps.bottom_field_pic_order && !field_pic;
        let pic_order = SlicePicOrder::read(sps.pic_order, has_bottom, bits)?;
        let redundant_pic_cnt =
            if pps.redundant_pic_cnt { bits.ue8(127, "redundant_pic_cnt")? } else { 0 };
        Ok(Self {
            nal_ref_idc: nal_ref_idc(*header),
            idr,
            first_mb: start.first_mb,
            slice_type: start.slice_type,
            pps_id: start.pps_id,
            sps_id: pps.sps_id,
            colour_plane_id,
            frame_num,
            field_pic,
            bottom_field,
            idr_pic_id: u16::try_from(idr_pic_id).unwrap_or_default(),
            pic_order,
            redundant_pic_cnt,
            arbitrary_slice_order: sps.arbitrary_slice_order,
        })
    }

    /// The slice is the first of another primary picture than `prev`'s, the last primary slice
    /// before it (7.4.1.2.4).
    ///
    /// Encoders that repeat every compared field (all-intra cameras with a constant idr_pic_id)
    /// are told apart by first_mb_in_slice: where slices come in order, it does not go back
    /// within a picture.
    pub fn starts_new_picture(&self, prev: &Self) -> bool {
        if self.redundant_pic_cnt > 0 {
            return false;
        }
        let one_is_no_reference = self.nal_ref_idc == 0 || prev.nal_ref_idc == 0;
        let goes_back = !self.arbitrary_slice_order
            && self.colour_plane_id == prev.colour_plane_id
            && self.first_mb <= prev.first_mb;
        self.frame_num != prev.frame_num
            || self.pps_id != prev.pps_id
            || self.sps_id != prev.sps_id
            || self.field_pic != prev.field_pic
            || self.bottom_field != prev.bottom_field
            || (self.nal_ref_idc != prev.nal_ref_idc && one_is_no_reference)
            || self.pic_order != prev.pic_order
            || self.idr != prev.idr
            || self.idr_pic_id != prev.idr_pic_id
            || goes_back
    }

    /// The picture is the second field of the frame whose first field is `first`'s picture, the
    /// one directly before it and not itself a second field (3.30 and 3.31, complementary field
    /// pairs).
    pub fn is_second_field_of(&self, first: &Self) -> bool {
        self.field_pic
            && first.field_pic
            && self.bottom_field != first.bottom_field
            && self.frame_num == first.frame_num
            && !self.idr
            && (self.nal_ref_idc == 0) == (first.nal_ref_idc == 0)
    }
}

impl SlicePicOrder {
    fn read(coding: PicOrder, has_bottom: bool, bits: &mut BitReader<'_>) -> Result<Self, Error> {
        match coding {
            PicOrder::Lsb { bits: width } => {
                Ok(Self::Lsb { lsb: bits.bits16(width)?, delta_bottom: se_if(has_bottom, bits)? })
            }
            PicOrder::Expected { always_zero } => Ok(Self::Expected([
                se_if(!always_zero, bits)?,
                se_if(!always_zero && has_bottom, bits)?,
            ])),
            PicOrder::Decoding => Ok(Self::Decoding),
        }
    }
}

/// se(v) of a field that may be absent, which means 0.
fn se_if(present: bool, bits: &mut BitReader<'_>) -> Result<i32, Error> {
    if present { bits.se() } else { Ok(0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::BitWriter;

    /// pic_order_cnt_type of the SPS under test.
    #[derive(Clone, Copy, PartialEq)]
    enum Order {
        Lsb,
        Expected,
        Decoding,
    }

    /// A stream of 720x576 with fields, redundant slices and 8-bit counters.
    fn sets(profile_idc: u8, order: Order) -> ParameterSets {
        let mut sps = BitWriter::default();
        sps.ue(0);
        if profile_idc == 100 {
            // 4:2:0, 8 bits, no transform bypass, no scaling lists.
            sps.ue(1).ue(0).ue(0).u(2, 0);
        }
        sps.ue(4);
        match order {
            Order::Lsb => sps.ue(0).ue(4),
            Order::Expected => sps.ue(1).u(1, 0).se(-1).se(7).ue(2).se(3).se(-300_000),
            Order::Decoding => sps.ue(2),
        };
        // 1 reference, no gaps, 45x18 map units, fields allowed, MBAFF, direct, no crop, no VUI.
        sps.ue(1).u(1, 0).ue(44).ue(17).u(1, 0).u(1, 1).u(1, 1).u(1, 0).u(1, 0);
        let mut sets = ParameterSets::new();
        sets.insert(&sps.nal(&[0x67, profile_idc, 0, 30])).unwrap();
        for id in [0, 1] {
            let mut pps = BitWriter::default();
            // Bottom field order present, one slice group, one reference each, no weights.
            pps.ue(id).ue(0).u(1, 1).u(1, 1).ue(0).ue(0).ue(0).u(3, 0);
            // QPs, deblocking control, constrained intra, redundant_pic_cnt_present.
            pps.se(0).se(0).se(0).u(1, 1).u(1, 0).u(1, 1);
            sets.insert(&pps.nal(&[0x68])).unwrap();
        }
        sets
    }

    #[derive(Clone, Copy)]
    struct Slice {
        header: u8,
        first_mb: u32,
        pps: u32,
        frame_num: u32,
        field: Option<u32>,
        idr_pic_id: u32,
        order: [i32; 2],
        redundant: u32,
    }

    const SLICE: Slice = Slice {
        header: 0x41,
        first_mb: 0,
        pps: 0,
        frame_num: 7,
        field: None,
        idr_pic_id: 0,
        order: [8, 0],
        redundant: 0,
    };

    fn header(slice: Slice, order: Order, sets: &ParameterSets) -> SliceHeader {
        let mut bits = BitWriter::default();
        bits.ue(slice.first_mb).ue(5).ue(slice.pps).u(8, slice.frame_num);
        match slice.field {
            Some(bottom) => bits.u(1, 1).u(1, bottom),
            None => bits.u(1, 0),
        };
        if slice.header & 0x1f == 5 {
            bits.ue(slice.idr_pic_id);
        }
        match order {
            Order::Lsb => {
                bits.u(8, u32::try_from(slice.order[0]).unwrap());
                if slice.field.is_none() {
                    bits.se(slice.order[1]);
                }
            }
            Order::Expected => {
                bits.se(slice.order[0]);
                if slice.field.is_none() {
                    bits.se(slice.order[1]);
                }
            }
            Order::Decoding => {}
        }
        bits.ue(slice.redundant).u(32, 0xdead_beef);
        SliceHeader::parse(&bits.nal(&[slice.header]), sets).unwrap()
    }

    #[test]
    fn each_compared_field_starts_a_picture() {
        let first = Slice { first_mb: 0, ..SLICE };
        // A later slice of the same picture, and what differs in the first of another.
        let later = Slice { first_mb: 100, ..SLICE };
        let cases: [(&str, Slice, bool); 10] = [
            ("nothing", later, false),
            ("frame_num", Slice { frame_num: 8, ..later }, true),
            ("pic_parameter_set_id", Slice { pps: 1, ..later }, true),
            ("field_pic_flag", Slice { field: Some(0), ..later }, true),
            ("nal_ref_idc 2 and 3", Slice { header: 0x61, ..later }, false),
            ("nal_ref_idc 0", Slice { header: 0x01, ..later }, true),
            ("pic_order_cnt_lsb", Slice { order: [10, 0], ..later }, true),
            ("delta_pic_order_cnt_bottom", Slice { order: [8, -1], ..later }, true),
            ("nal_unit_type", Slice { header: 0x45, ..later }, true),
            ("first_mb_in_slice back", Slice { first_mb: 0, ..later }, true),
        ];
        let sets = sets(100, Order::Lsb);
        for (what, slice, expected) in cases {
            let previous = header(first, Order::Lsb, &sets);
            let slice = header(slice, Order::Lsb, &sets);
            assert_eq!(slice.starts_new_picture(&previous), expected, "{what}");
        }
    }

    #[test]
    fn idr_pictures_differ_in_idr_pic_id() {
        let sets = sets(100, Order::Lsb);
        let idr = Slice { header: 0x65, ..SLICE };
        let previous = header(idr, Order::Lsb, &sets);
        let next = Slice { idr_pic_id: 1, first_mb: 5, ..idr };
        assert!(header(next, Order::Lsb, &sets).starts_new_picture(&previous));
        let same = Slice { first_mb: 5, ..idr };
        assert!(!header(same, Order::Lsb, &sets).starts_new_picture(&previous));
    }

    #[test]
    fn expected_order_counts_compare_both_differences() {
        let sets = sets(100, Order::Expected);
        let previous = header(SLICE, Order::Expected, &sets);
        for (order, expected) in [([8, 0], false), ([9, 0], true), ([8, 1], true)] {
            let slice = Slice { order, first_mb: 9, ..SLICE };
            let slice = header(slice, Order::Expected, &sets);
            assert_eq!(slice.starts_new_picture(&previous), expected);
        }
    }

    #[test]
    fn baseline_slices_may_come_in_any_order() {
        let sets = sets(66, Order::Decoding);
        let later = header(Slice { first_mb: 100, ..SLICE }, Order::Decoding, &sets);
        assert!(!header(SLICE, Order::Decoding, &sets).starts_new_picture(&later));
    }

    #[test]
    fn a_redundant_slice_starts_nothing() {
        let sets = sets(66, Order::Decoding);
        let primary = header(SLICE, Order::Decoding, &sets);
        let redundant = Slice { redundant: 1, frame_num: 9, ..SLICE };
        assert!(!header(redundant, Order::Decoding, &sets).starts_new_picture(&primary));
    }

    #[test]
    fn two_fields_of_a_frame_are_two_pictures_and_a_pair() {
        let sets = sets(100, Order::Lsb);
        let field =
            |header, bottom, frame_num| Slice { header, field: Some(bottom), frame_num, ..SLICE };
        // First and second field, and whether they pair.
        let cases = [
            ("top then bottom", field(0x41, 0, 7), field(0x41, 1, 7), true),
            ("bottom then top", field(0x41, 1, 7), field(0x41, 0, 7), true),
            ("IDR then P", field(0x65, 0, 0), field(0x41, 1, 0), true),
            ("neither is a reference", field(0x01, 0, 7), field(0x01, 1, 7), true),
            ("same parity", field(0x41, 0, 7), field(0x41, 0, 7), false),
            ("another frame", field(0x41, 0, 7), field(0x41, 1, 8), false),
            ("only one is a reference", field(0x41, 0, 7), field(0x01, 1, 7), false),
            ("both IDR", field(0x65, 0, 0), field(0x65, 1, 0), false),
            ("a frame first", SLICE, field(0x41, 1, 7), false),
        ];
        for (what, first, second, expected) in cases {
            let first = header(first, Order::Lsb, &sets);
            let second = header(second, Order::Lsb, &sets);
            assert!(second.starts_new_picture(&first), "{what}");
            assert_eq!(second.is_second_field_of(&first), expected, "{what}");
        }
    }

    #[test]
    fn the_longest_header_fits_the_prefix() {
        let sets = sets(100, Order::Expected);
        let longest = Slice {
            header: 0x65,
            first_mb: u32::MAX - 1,
            pps: 1,
            frame_num: 0,
            field: None,
            idr_pic_id: 0xffff,
            order: [-0x7fff_ffff, -0x4000_0000],
            redundant: 127,
        };
        let parsed = header(longest, Order::Expected, &sets);
        assert_eq!(parsed.first_mb, u32::MAX - 1);
        assert_eq!(parsed.redundant_pic_cnt, 127);
    }

    #[test]
    fn a_slice_without_its_sets_says_which_is_missing() {
        let slice = [0x41, 0b1100_1100, 0xff, 0xff];
        let mut sets = ParameterSets::new();
        assert_eq!(SliceHeader::parse(&slice, &sets), Err(Error::UnknownPps(5)));
        sets.insert(
            &BitWriter::default()
                .ue(5)
                .ue(3)
                .u(2, 0)
                .ue(0)
                .ue(0)
                .ue(0)
                .u(3, 0)
                .se(0)
                .se(0)
                .se(0)
                .u(3, 0)
                .nal(&[0x68]),
        )
        .unwrap();
        assert_eq!(SliceHeader::parse(&slice, &sets), Err(Error::UnknownSps(3)));
        let start = SliceStart::parse(&slice).unwrap();
        assert_eq!((start.first_mb, start.slice_type, start.pps_id), (0, SliceType::P, 5));
        assert_eq!(SliceStart::parse(&[0x67, 0xff]), Err(Error::WrongType));
        assert_eq!(SliceStart::parse(&[]), Err(Error::Truncated));
    }
}
