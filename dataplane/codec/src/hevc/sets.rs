//! The parameter sets of one stream, by id, with a hash of their bytes.

use crate::annexb::trim_zeros;
use crate::hash::{Stored, combined, content_hash};
use crate::{Error, SetChange, VideoFormat};

use super::sps::frame_rate;
use super::{NalHeader, NalType, Pps, Sps, Vps};

/// The parameter sets of one stream. Each is kept whether or not those it refers to have come.
#[derive(Debug, Clone)]
pub struct ParameterSets {
    vps: [Option<Stored<Vps>>; 16],
    sps: [Option<Stored<Sps>>; 16],
    pps: [Option<Stored<Pps>>; 64],
}

impl ParameterSets {
    /// An empty store.
    pub const fn new() -> Self {
        Self { vps: [None; 16], sps: [None; 16], pps: [None; 64] }
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

    /// Stores a VPS, SPS or PPS NAL unit (header first, no start code) of the base layer. Other
    /// types are [`Error::WrongType`]; a set that does not parse leaves the stored one in place.
    pub fn insert(&mut self, nal: &[u8]) -> Result<SetChange, Error> {
        let nal = trim_zeros(nal);
        let header = NalHeader::parse(nal)?;
        let hash = content_hash(nal);
        match header.nal_type {
            NalType::VPS => {
                let set = Vps::parse(nal)?;
                Stored::replace(self.vps.get_mut(usize::from(set.id)), set, hash)
            }
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

    /// A video parameter set.
    pub fn vps(&self, id: u8) -> Option<&Vps> {
        Some(&self.vps.get(usize::from(id))?.as_ref()?.set)
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

    /// The format of pictures whose slices name `pps_id`, with the VPS's frame rate when the SPS
    /// declares none.
    pub fn format(&self, pps_id: u8) -> Option<VideoFormat> {
        let sps = self.sps_of(pps_id)?;
        let mut format = sps.format;
        if format.frame_rate.is_none() {
            let picture_rate = self.vps(sps.vps_id).and_then(|vps| vps.picture_rate);
            format.frame_rate = frame_rate(picture_rate, format.field_coded);
        }
        Some(format)
    }

    /// Hash of the bytes of the sets that slices naming `pps_id` use: it differs when any differs.
    pub fn content_hash(&self, pps_id: u8) -> Option<u64> {
        let pps = self.pps.get(usize::from(pps_id))?.as_ref()?;
        let sps = self.sps.get(usize::from(pps.set.sps_id))?.as_ref()?;
        let vps = self.vps.get(usize::from(sps.set.vps_id))?.as_ref();
        Some(combined(&[vps.map_or(0, |vps| vps.hash), sps.hash, pps.hash]))
    }
}

impl Default for ParameterSets {
    fn default() -> Self {
        Self::new()
    }
}
