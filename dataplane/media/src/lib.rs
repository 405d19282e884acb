//! Elementary-stream pieces in; complete, timed and classified frames in the GOP ring out.
//!
//! ```text
//!  units and their bytes              access units                    frames
//!  ─────────────────────▶ AccessUnits ────────────▶ Frames ─────────▶ shm::GopWriter ──▶ readers
//!   codec::sink::Sink     H264, Hevc   positions    stamps, groups,   published when due
//!                       ▶ MpegVideo, TemporalUnits, Pictures
//!                       ▶ AudioFrames ───────────▶  limits, counters
//!                       ▶ DataUnits ─────────────▶
//! ```
//!
//! [`Stream`] is the [`Sink`](codec::sink::Sink) of one publisher. Video bytes are appended to the
//! ring's open frame as they come, and looked at once for what starts and ends pictures: that is
//! their only copy. In the midst of a slice they may go past the stream in a [`Run`], which tells it of
//! all of them at once. Sound is gathered to whole frames, so that a frame never waits for a picture.
//!
//! **What a frame is.** An H.264 or HEVC access unit with its bytes unchanged, start codes and
//! delimiters included, from the byte where FFmpeg's parser begins its packet; a field is a frame
//! of its own, marked with its place in the pair. A picture of MPEG-1 or MPEG-2 video with the headers
//! before it, a pair of fields together; every intra picture is a key frame, as for FFmpeg. An AV1
//! temporal unit as low-overhead OBUs with sizes, without its delimiter. The codestreams of a JPEG
//! XS picture without the boxes before them. A raw AAC access unit, whether ADTS or LATM
//! carried it; an AC-3 syncframe, E-AC-3 with its dependent substreams; an MPEG audio frame; an Opus
//! packet. A unit of teletext or KLV, a splice information section, the segments of DVB subtitles,
//! each metadata access unit. Other codings are listed, and their bytes counted. Two rules differ from FFmpeg's: an HEVC
//! end-of-sequence NAL unit ends the access unit before it (H.265, 7.4.2.4.4), and H.264 pictures
//! are told apart by 7.4.1.2.4 where the parameter sets are known.
//!
//! **Units.** Those of a PES are any part of the stream, and a frame ends where the next one begins.
//! Those of RTP ([`Carriage::AccessUnits`](codec::sink::Carriage)) are access units: a frame ends
//! with its unit, at once. A hole in one damages its frame alone. Units that were skipped damage
//! none: whether what refers to them can be decoded is for who decodes to know.
//!
//! **Stamps.** Those of a unit go to the first frame that starts in it; a frame without its own is
//! stamped from picture order and frame rate, or from samples, and marked
//! [`STAMPS_DERIVED`](shm::FrameFlags::STAMPS_DERIVED). Where units carry presentation times alone,
//! decoding times are found as FFmpeg finds them, and marked so too where pictures are reordered.
//!
//! **Invariants.** A frame that may miss bytes is never clean: not the one that was open at a loss,
//! and not one whose start after it could be a later part of it. Every frame that ends is
//! published, waits for its due time, or is counted under the reason it was dropped for. No input
//! panics, and nothing is allocated after [`Stream::new`].
//!
//! Not here: finding elementary streams in what a transport carries (`mpegts`, `rtp`), the syntax
//! of codings (`codec`), memory and its layout (`shm`), clocks and threads.
//!
//! ```
//! use codec::sink::{Codec, Sink, Timestamps, TrackConfig};
//! use memory::Time;
//! use penstock_media::{Limits, Stream};
//! use shm::{GopRing, Next, RingId, RingSpec};
//!
//! let spec = RingSpec {
//!     ring: RingId(1),
//!     video_bytes: 1 << 16,
//!     side_bytes: 1 << 16,
//!     descriptors: 64,
//!     pending_frames: 16,
//! };
//! let (mut ring, mut reader) = GopRing::in_process(&spec)?;
//! ring.start_generation();
//! reader.attach();
//!
//! let mut stream = Stream::new(Limits::default());
//! stream.open(ring);
//! Sink::tracks(&mut stream, &[TrackConfig { codec: Codec::Aac, ..TrackConfig::default() }]);
//!
//! let (arrival, due) = (Time::from_micros(10), Time::from_micros(120_010));
//! stream.input(arrival, due);
//! stream.unit_start(0, Timestamps { pts: Some(90_000), dts: None });
//! let adts = [0xff, 0xf1, 0x4c, 0x80, 0x01, 0x3f, 0xfc, 0x21, 0x10];
//! stream.unit_data(0, &[adts, adts].concat());
//!
//! assert_eq!(stream.publish_due(Time::from_micros(120_009)), Some(due));
//! stream.publish_due(due);
//! let mut bytes = Vec::new();
//! let Next::Frame(frame) = reader.next(&mut bytes)? else { panic!("a frame was due") };
//! assert_eq!((frame.pts, bytes.as_slice()), (Some(90_000), &adts[7..]));
//! # Ok::<(), shm::Error>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod access_unit;
mod audio;
mod av1;
mod counters;
mod data;
mod decoding_times;
mod frame_rate;
mod frames;
#[cfg(any(test, fuzzing, feature = "fuzz"))]
pub mod fuzz;
mod h264;
mod hevc;
mod jpeg_xs;
mod limiter;
mod limits;
mod mpeg_video;
mod ratio;
mod run;
mod stream;
mod timeline;
mod track;
mod units;
mod video;

pub use counters::Counters;
pub use limits::{DamagedFrames, Limits};
pub use run::Run;
pub use stream::Stream;
pub use track::{Framing, TrackState};

/// Ticks of the streams' clock in a second.
const STREAM_TICKS_A_SECOND: u64 = 90_000;
