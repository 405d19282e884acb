//! The engine: workers that own every packet, and the conductor that owns everything slow.
//!
//! [`Dataplane::start`] takes all memory, opens the SRT port for all workers and starts them;
//! [`Dataplane::run`] is the conductor's life. What the engine finds out is in shared memory
//! (crate `shm`): counters, the stream table, frames.
//!
//! It does not parse SRT, MPEG-TS or video itself (crates `srt`, `mpegts`, `codec`, `media`), and
//! it serves no HTTP.
//!
//! The invariant: a worker never allocates, locks or waits for anyone once it turns; all
//! that is slow reaches it as an order and leaves it as a report.
//!
//! ```no_run
//! use penstock_engine::{Dataplane, config::Config, run_worker};
//!
//! let config = Config::embedded()?;
//! let dataplane = Dataplane::start(&config, run_worker)?;
//! println!("{}", dataplane.budget());
//! dataplane.run(|| false)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod berth;
mod budget;
mod clock;
mod conductor;
pub mod config;
pub mod cpu;
mod dataplane;
#[cfg(any(test, fuzzing, feature = "fuzz"))]
pub mod fuzz;
mod messages;
mod network;
mod plan;
#[cfg(feature = "simulation")]
pub mod simulation;
mod socket_id;
mod stream_id;
mod wake;
mod wheel;
mod worker;

pub use budget::{Budget, Line};
pub use dataplane::{Dataplane, Error, RunWorker, run_worker};
