//! Reading bits of a NAL unit.
