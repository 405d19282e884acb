//! SRT, sans-IO: listener, receiving connection and the codecs of every packet they need.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod bytes;
pub mod control;
mod error;
pub mod handshake;
pub mod packet;
pub mod sequence;

pub use error::Error;
