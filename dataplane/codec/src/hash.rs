//! Telling a parameter set from a repeat of itself by its bytes.

use crate::{Error, SetChange};

/// FNV-1a over a NAL unit's bytes. Whoever makes two sets collide only hides a change of their own
/// stream from their own viewers.
pub(crate) fn content_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Hash of several hashes, in order.
pub(crate) fn combined(hashes: &[u64]) -> u64 {
    hashes.iter().fold(0, |all, hash| content_hash(&(all ^ hash).to_le_bytes()))
}

/// A parameter set and the hash of the bytes it was parsed from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<T> {
    pub(crate) set: T,
    pub(crate) hash: u64,
}

impl<T> Stored<T> {
    /// Puts a set into the place of its id.
    pub(crate) fn replace(
        place: Option<&mut Option<Self>>,
        set: T,
        hash: u64,
    ) -> Result<SetChange, Error> {
        let place = place.ok_or(Error::OutOfRange("parameter set id"))?;
        let change = match place {
            Some(stored) if stored.hash == hash => SetChange::Unchanged,
            Some(_) => SetChange::Changed,
            None => SetChange::New,
        };
        if change != SetChange::Unchanged {
            *place = Some(Self { set, hash });
        }
        Ok(change)
    }
}
