//! The ABI between the dataplane and everybody else: counters, the stream table and the frames of
//! every stream, in memory that other processes map read-only.
//!
//! Three parts:
//! - the **directory**, one segment for each run of a dataplane: who it is, counters of conductor
//!   and workers, latency, the stream table ([`DirectoryWriter`], [`Directory`]);
//! - **GOP rings**, one for each stream: the last groups of pictures, frame by frame ([`GopRing`],
//!   [`GopWriter`], [`GopReader`]);
//! - the **link**, a unix socket where readers are handed both and send their few commands
//!   ([`link::LinkServer`], [`link::Link`]).
//!
//! What it is not: it knows no protocol and no codec, parses no media, decides nothing about what
//! is kept beyond the limits it is given, and starts no thread.
//!
//! What holds:
//! - Writers never wait. A reader that lags is overrun and told how much it missed.
//! - A writer reads nothing that another process can write, and allocates nothing once it is made.
//! - A reader takes every byte for hostile: it gets whole published frames, consistent records and
//!   valid text, or an error that says what is wrong; it neither panics nor loops for ever. It works
//!   while the dataplane runs and after it died, at whatever moment.
//! - Shared bytes are touched as 64-bit atomics only, or in runs by stores that do the same
//!   (`store.rs`), never through a `&[u8]`.
//! - Memory is allocated whole when a segment is made; running out is an error there, no signal
//!   later. Segments are sealed: whoever holds one can neither write nor resize it.
//!
//! The drawing of the bytes is in `layout.rs`, of the order of stores and loads in `ring/index.rs`
//! and `seqlock.rs`. `RUSTFLAGS="--cfg loom" cargo test -p penstock-shm --lib` checks those two
//! orders over all interleavings; `cargo +nightly miri test -p penstock-shm` the rest on the
//! heap.
//!
//! ```
//! use penstock_shm::{FrameClass, FrameFlags, FrameMeta, GopRing, Next, RingId, RingSpec};
//!
//! let (video_bytes, side_bytes) = (1 << 20, 1 << 16);
//! let (descriptors, pending_frames) = (256, 32);
//! let spec =
//!     RingSpec { ring: RingId(0), video_bytes, side_bytes, descriptors, pending_frames };
//! let (mut writer, mut reader) = GopRing::in_process(&spec)?;
//! writer.start_generation();
//! reader.attach();
//!
//! // The writer builds a picture in place; it is visible once it is due.
//! writer.append(b"\0\0\0\x01\x65")?;
//! writer.append(b"slice")?;
//! let flags = FrameFlags::KEY | FrameFlags::GOP_START;
//! let class = FrameClass::Idr;
//! writer.finish(&FrameMeta { class, flags, ..FrameMeta::default() }, 120_000_000)?;
//! let mut bytes = Vec::new();
//! assert_eq!(reader.next(&mut bytes)?, Next::Empty);
//! writer.publish_due(120_000_000, 120_000_500, |frame| assert_eq!(frame.length, 10));
//!
//! let Next::Frame(frame) = reader.next(&mut bytes)? else { panic!("it is published") };
//! assert_eq!((frame.class, &bytes[..]), (FrameClass::Idr, &b"\0\0\0\x01\x65slice"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(loom, allow(dead_code, unused_imports, reason = "only the models run"))]

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
mod spreads;
mod store;
mod text;

pub use directory::{
    ConductorBlock, ConductorSnapshot, Directory, DirectoryConfig, DirectoryWriter, Header,
    Liveness, StreamSlotWriter, StreamSnapshot, WorkerBlock, WorkerSnapshot,
};
pub use error::Error;
pub use histogram::{Histogram, HistogramSnapshot};
pub use info::{
    AudioInfo, Chroma, Cipher, Codec, EndReason, Format, FrameClass, NoMediaReason, RingId,
    STREAM_ID_BYTES_MAX, StreamId, StreamInfo, StreamKind, StreamState, TRACKS_MAX, TrackInfo,
    TrackKind, Tracks, VideoInfo,
};
pub use layout::{ABI_VERSION, LAYOUT_HASH, PORT_NAME_BYTES, PORTS_MAX};
pub use ring::{
    Frame, FrameFlags, FrameMeta, Full, GopLimits, GopReader, GopRing, GopWriter, Next, OpenFrame,
    Published, RingSpec, RingTotals, SeekFrom,
};
pub use spreads::{Measured, Spread, StreamSpread};
pub use text::Text;
