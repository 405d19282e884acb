//! The directory segment: counters, latency, stream table.
mod reader;
mod writer;
pub use reader::{ConductorSnapshot, Directory, Header, Liveness, StreamSnapshot, WorkerSnapshot};
pub use writer::{ConductorBlock, DirectoryConfig, DirectoryWriter, StreamSlotWriter, WorkerBlock};
