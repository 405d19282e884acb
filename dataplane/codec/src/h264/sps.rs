//! Sequence parameter set (7.3.2.1.1, annex E).

use crate::{Error, VideoFormat};

/// What is kept of a sequence parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sps {
    /// seq_parameter_set_id.
    pub id: u8,
    /// What it says of the pictures.
    pub format: VideoFormat,
}

impl Sps {
    /// Parses an SPS NAL unit, header byte first.
    pub fn parse(_nal: &[u8]) -> Result<Self, Error> {
        unimplemented!()
    }
}
