//! The GOP ring.
mod frame;
mod reader;
mod writer;
pub use frame::{Frame, FrameFlags, FrameMeta, Full, GopLimits, Published, RingSpec, RingTotals};
pub use reader::{GopReader, Next, SeekFrom};
pub use writer::{GopRing, GopWriter};
