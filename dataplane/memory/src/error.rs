//! What can go wrong before the first packet. Afterwards nothing in this crate fails.

use std::io;

/// Why memory could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A slab needs at least one slot.
    #[error("a slab needs at least one slot")]
    NoSlots,
    /// The address space does not hold this many slots.
    #[error("a slab of {slots} slots does not fit the address space")]
    TooManySlots {
        /// Slots asked for.
        slots: u32,
    },
    /// The kernel refused the mapping.
    #[error("cannot map {bytes} bytes for packet slots: {source}")]
    Map {
        /// Bytes asked for.
        bytes: usize,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The mapping could not be faulted in: the memory is not there.
    #[error("cannot populate {bytes} bytes for packet slots (is there memory enough?): {source}")]
    Populate {
        /// Bytes asked for.
        bytes: usize,
        /// The kernel's answer.
        source: io::Error,
    },
}
