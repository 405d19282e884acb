//! What can go wrong between the two sides of shared memory.

use std::io;
use std::path::PathBuf;

/// Every failure of this crate. A reader's errors name what differs from what it expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A step of creating a segment failed.
    #[error("shared memory of {bytes} bytes for {what}: {step} failed: {source}")]
    Create {
        /// What it was for.
        what: &'static str,
        /// Size asked for.
        bytes: u64,
        /// The system call.
        step: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// A size in a specification cannot be served.
    #[error("{what} of {got}: must be between {min} and {max}")]
    Size {
        /// Which one.
        what: &'static str,
        /// What was asked for.
        got: u64,
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// Mapping a segment that somebody handed over failed.
    #[error("mapping {what}: {step} failed: {source}")]
    Map {
        /// Which segment.
        what: &'static str,
        /// The system call.
        step: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// The segment can still shrink, and reading it could then kill the reader.
    #[error("{what} is not sealed against shrinking")]
    NotSealed {
        /// Which segment.
        what: &'static str,
    },
    /// The first word is not that of such a segment.
    #[error(
        "{what} starts with {got:#018x}, expected {expected:#018x}: not such a segment, or not finished"
    )]
    Magic {
        /// Which segment.
        what: &'static str,
        /// Found.
        got: u64,
        /// Expected.
        expected: u64,
    },
    /// Written by another version of the ABI.
    #[error("{what} has ABI version {got}, this reader has {expected}")]
    Version {
        /// Which segment.
        what: &'static str,
        /// Found.
        got: u64,
        /// This reader's.
        expected: u64,
    },
    /// Same version, but another shape: a build from other sources.
    #[error(
        "{what} has layout {got:#018x}, this reader has {expected:#018x}: build both from the same sources"
    )]
    Layout {
        /// Which segment.
        what: &'static str,
        /// Found.
        got: u64,
        /// This reader's.
        expected: u64,
    },
    /// The segment is not as long as it says.
    #[error("{what} says it has {said} bytes but has {real}")]
    Length {
        /// Which segment.
        what: &'static str,
        /// What its header says.
        said: u64,
        /// What the system says.
        real: u64,
    },
    /// A field holds a value that no writer stores.
    #[error("{what}: {field} is {got}, which no writer stores")]
    Corrupt {
        /// Which segment.
        what: &'static str,
        /// Which field.
        field: &'static str,
        /// Found.
        got: u64,
    },
    /// A record was being written each of the many times it was read: its writer probably died.
    #[error("stream slot {slot} was torn in every of {tries} readings")]
    Torn {
        /// Which slot.
        slot: u32,
        /// How often it was read.
        tries: u32,
    },
    /// The directory has no such slot.
    #[error("stream slot {slot}: the directory has {slots}")]
    NoSlot {
        /// Asked for.
        slot: u32,
        /// How many there are.
        slots: u32,
    },
    /// The ring belongs to another stream by now.
    #[error("the ring is at generation {got}, the stream asked for was generation {expected}")]
    Generation {
        /// Found.
        got: u64,
        /// Expected.
        expected: u64,
    },
    /// A system call on the link's socket failed.
    #[error("link at {path}: {step} failed: {source}")]
    Link {
        /// The socket's path.
        path: PathBuf,
        /// The system call.
        step: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// Another dataplane answers at the link's path.
    #[error("another dataplane answers at {path}")]
    AlreadyRunning {
        /// The socket's path.
        path: PathBuf,
    },
    /// Something that is not a socket lies at the link's path.
    #[error("{path} exists and is not a socket: not touched")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The other side closed the link.
    #[error("the dataplane closed the link")]
    LinkClosed,
    /// The other side did not answer in time.
    #[error("the dataplane did not answer within {waited_ms} ms")]
    LinkTimeout {
        /// How long the wait was.
        waited_ms: u64,
    },
    /// A message that does not follow the link's grammar.
    #[error("message on the link: {reason}")]
    LinkMessage {
        /// What is wrong with it.
        reason: String,
    },
    /// The dataplane refused a request.
    #[cfg(not(loom))]
    #[error(transparent)]
    Refused(#[from] crate::link::CommandError),
}
