//! The directory segment: who the dataplane is, the counters of its conductor and workers, and the
//! stream table. One segment for each run of a dataplane; readers map it once and then only read.
mod clock;
mod geometry;
mod process;
mod reader;
mod writer;

pub use reader::{ConductorSnapshot, Directory, Header, Liveness, StreamSnapshot, WorkerSnapshot};
pub use writer::{ConductorBlock, DirectoryConfig, DirectoryWriter, StreamSlotWriter, WorkerBlock};
