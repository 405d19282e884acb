//! The parameter sets of one stream, by id, with a hash of their bytes.

use crate::annexb::trim_zeros;
use crate::hash::{Stored, combined, content_hash};
use crate::{Error, SetChange, VideoFormat};

use super::{NalType, Pps, Sps};

/// The parameter sets of one stream. A picture parameter set is kept before its sequence
/// parameter set comes.
#[derive(Debug, Clone)]
pub struct ParameterSets {
    sps: [Option<Stored<Sps>>; 32],
    pps: [Option<Stored<Pps>>; 256],
}

impl ParameterSets {
    /// An empty store.
    pub const fn new() -> Self {
        Self { sps: [None; 32], pps: [None; 256] }
    }

    /// Where the sequence and the picture parameter set of id 0 are or would be, which most encoders
    /// use alone: to ask for that memory before it is needed.
    pub const fn first(&self) -> (&impl Sized, &impl Sized) {
        (&self.sps[0], &self.pps[0])
    }

    /// Forgets all sets.
    pub const fn clear(&mut self) {
        *self = Self::new();
    }

    /// Stores an SPS or PPS NAL unit (header byte first, no start code). Other types are
    /// [`Error::WrongType`]; a set that does not parse leaves the stored one in place.
    pub fn insert(&mut self, nal: &[u8]) -> Result<SetChange, Error> {
        let nal = trim_zeros(nal);
        let header = *nal.first().ok_or(Error::Truncated)?;
        let hash = content_hash(nal);
        match NalType::of(header) {
            NalType::SPS => {
                let set = Sps::parse(nal)?;
                Stored::replace(self.sps.get_mut(usize::from(set.id)), set, hash)
            }
            NalType::PPS => {
                let set = Pps::parse(nal)?;
                Stored::replace(self.pps.get_mut(usize::from(set.id)), set, hash)
            }
            _ => Err(Error::WrongType),
        }
    }

    /// A sequence parameter set.
    pub fn sps(&self, id: u8) -> Option<&Sps> {
        Some(&self.sps.get(usize::from(id))?.as_ref()?.set)
    }

    /// A picture parameter set.
    pub fn pps(&self, id: u8) -> Option<&Pps> {
        Some(&self.pps.get(usize::from(id))?.as_ref()?.set)
    }

    /// The SPS that slices naming `pps_id` use.
    pub fn sps_of(&self, pps_id: u8) -> Option<&Sps> {
        self.sps(self.pps(pps_id)?.sps_id)
    }

    /// The format of pictures whose slices name `pps_id`.
    pub fn format(&self, pps_id: u8) -> Option<VideoFormat> {
        Some(self.sps_of(pps_id)?.format)
    }

    /// Hash of the bytes of the sets that slices naming `pps_id` use: it differs when any differs.
    pub fn content_hash(&self, pps_id: u8) -> Option<u64> {
        let pps = self.pps.get(usize::from(pps_id))?.as_ref()?;
        let sps = self.sps.get(usize::from(pps.set.sps_id))?.as_ref()?;
        Some(combined(&[sps.hash, pps.hash]))
    }
}

impl Default for ParameterSets {
    fn default() -> Self {
        Self::new()
    }
}
