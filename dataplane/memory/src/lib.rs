//! Slab of receive slots, SPSC rings, and the time type.
mod time;
pub use time::Time;
