//! Names of profiles and levels, as `ffprobe` prints them.

/// The name of general_profile_idc (A.3).
pub(super) const fn profile(profile_idc: u8) -> &'static str {
    match profile_idc {
        1 => "Main",
        2 => "Main 10",
        3 => "Main Still Picture",
        4 => "Rext",
        9 => "Scc",
        _ => "unknown",
    }
}

/// The name of general_level_idc, which is 30 times the level (A.4.1).
pub(super) const fn level(level_idc: u8) -> &'static str {
    match level_idc {
        30 => "1.0",
        60 => "2.0",
        63 => "2.1",
        90 => "3.0",
        93 => "3.1",
        120 => "4.0",
        123 => "4.1",
        150 => "5.0",
        153 => "5.1",
        156 => "5.2",
        180 => "6.0",
        183 => "6.1",
        186 => "6.2",
        189 => "6.3",
        210 => "7.0",
        213 => "7.1",
        216 => "7.2",
        255 => "8.5",
        _ => "unknown",
    }
}
