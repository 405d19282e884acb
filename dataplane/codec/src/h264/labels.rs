//! Names of profiles and levels, as `ffprobe` prints them.

/// constraint_set1_flag and constraint_set3_flag in the byte after profile_idc.
const CONSTRAINT_SET1: u8 = 0x40;
const CONSTRAINT_SET3: u8 = 0x10;

/// The name of a profile (A.2).
pub(super) const fn profile(profile_idc: u8, constraints: u8) -> &'static str {
    let set1 = constraints & CONSTRAINT_SET1 != 0;
    let intra = constraints & CONSTRAINT_SET3 != 0;
    match (profile_idc, intra) {
        (66, _) if set1 => "Constrained Baseline",
        (66, _) => "Baseline",
        (77, _) => "Main",
        (88, _) => "Extended",
        (100, _) => "High",
        (110, false) => "High 10",
        (110, true) => "High 10 Intra",
        (118, _) => "Multiview High",
        (122, false) => "High 4:2:2",
        (122, true) => "High 4:2:2 Intra",
        (128, _) => "Stereo High",
        (144, _) => "High 4:4:4",
        (244, false) => "High 4:4:4 Predictive",
        (244, true) => "High 4:4:4 Intra",
        (44, _) => "CAVLC 4:4:4",
        _ => "unknown",
    }
}

/// The name of a level (A.3, table A-1). In Baseline, Main and Extended 1b is written as 11 with
/// constraint_set3_flag.
pub(super) const fn level(profile_idc: u8, constraints: u8, level_idc: u8) -> &'static str {
    let set3 = constraints & CONSTRAINT_SET3 != 0;
    match level_idc {
        9 => "1b",
        11 if set3 && matches!(profile_idc, 66 | 77 | 88) => "1b",
        10 => "1.0",
        11 => "1.1",
        12 => "1.2",
        13 => "1.3",
        20 => "2.0",
        21 => "2.1",
        22 => "2.2",
        30 => "3.0",
        31 => "3.1",
        32 => "3.2",
        40 => "4.0",
        41 => "4.1",
        42 => "4.2",
        50 => "5.0",
        51 => "5.1",
        52 => "5.2",
        60 => "6.0",
        61 => "6.1",
        62 => "6.2",
        _ => "unknown",
    }
}

/// Slices of a picture may come in any order: Extended, and Baseline that is not also Main (A.2.1).
pub(super) const fn has_arbitrary_slice_order(profile_idc: u8, constraints: u8) -> bool {
    match profile_idc {
        66 => constraints & CONSTRAINT_SET1 == 0,
        88 => true,
        _ => false,
    }
}
