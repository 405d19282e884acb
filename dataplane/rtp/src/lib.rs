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
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make bytes of numbers"
    )
)]

mod bytes;
pub mod clock;
pub mod detect;
mod error;
pub mod format;
mod output;
pub mod packet;
pub mod payload;
pub mod redundancy;
pub mod reorder;
pub mod rtcp;
pub mod rtx;
pub mod session;
pub mod source;

pub use error::Error;
pub use output::Output;
