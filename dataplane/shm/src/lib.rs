//! The shared-memory ABI.
pub mod counters;
mod directory;
mod error;
#[cfg(all(any(test, fuzzing, feature = "fuzz"), not(loom)))]
pub mod fuzz;
mod histogram;
mod info;
mod layout;
#[cfg(not(loom))]
pub mod link;
mod primitive;
mod record;
mod ring;
mod segment;
mod seqlock;
mod text;

pub use directory::{
    ConductorBlock, ConductorSnapshot, Directory, DirectoryConfig, DirectoryWriter, Header,
    Liveness, StreamSlotWriter, StreamSnapshot, WorkerBlock, WorkerSnapshot,
};
pub use error::Error;
pub use histogram::{Histogram, HistogramSnapshot};
pub use info::{
    AudioInfo, Chroma, Codec, EndReason, Format, FrameClass, NoMediaReason, RingId,
    STREAM_ID_BYTES_MAX, StreamId, StreamInfo, StreamKind, StreamState, TRACKS_MAX, TrackInfo,
    TrackKind, Tracks, VideoInfo,
};
pub use layout::{ABI_VERSION, LAYOUT_HASH};
pub use ring::{
    Frame, FrameFlags, FrameMeta, Full, GopLimits, GopReader, GopRing, GopWriter, Next, Published,
    RingSpec, RingTotals, SeekFrom,
};
pub use text::Text;
