//! RTP for live ingest, sans-IO: headers, sequences, the reorder window, clocks and RTCP.
//!
//! There is no socket, clock, thread or timer here: time comes in as a parameter. No input panics,
//! every loop over what came from the wire is bounded, and nothing is allocated after construction.
//!
//! Clauses cited without a document are those of RFC 3550.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod bytes;
pub mod clock;
mod error;
pub mod packet;
pub mod reorder;
pub mod rtcp;
pub mod rtx;
pub mod source;

pub use error::Error;
