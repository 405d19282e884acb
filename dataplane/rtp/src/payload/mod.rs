//! Payload formats: from packets in order to units of the elementary stream.
//!
//! | file | format |
//! |---|---|
//! | [`h264`] | RFC 6184 |
//! | [`hevc`] | RFC 7798 |
//! | [`av1`] | AOM's RTP payload format 1.0 |
//! | [`jpegxs`] | RFC 9134 |
//! | [`aac`] | RFC 3640 |
//! | [`latm`] | RFC 6416 |
//! | [`plain`] | a unit a packet: Opus (RFC 7587), L16, L24 (RFC 3190), G.711 (RFC 3551) |
//!
//! Bytes go straight to the sink. A unit that may miss bytes is told so with
//! [`Sink::gap`](codec::sink::Sink::gap), also when it is only its start or end that may be missing.

pub mod aac;
pub mod av1;
mod depacketizer;
pub mod h264;
mod held;
pub mod hevc;
mod interleave;
pub mod jpegxs;
pub mod latm;
mod nal;
pub mod plain;
#[cfg(any(test, fuzzing, feature = "fuzz"))]
#[allow(
    dead_code,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "assertions are the purpose"
)]
pub(crate) mod testing;
mod unit;

pub(crate) use depacketizer::Depacketizer;
pub(crate) use held::Held;
pub(crate) use interleave::DEPTH_MAX;
pub(crate) use nal::Expected;
pub(crate) use unit::Outlet;

/// What a unit may not exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of an access unit.
    pub frame_bytes_max: usize,
    /// NAL units or OBUs of an access unit.
    pub elements_max: u32,
    /// Packets that one NAL unit or OBU is spread over.
    pub fragments_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frame_bytes_max: 10 << 20, elements_max: 1_000, fragments_max: 16_384 }
    }
}

/// What depacketizers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Units begun.
    pub units: u64,
    /// Slices or sequences with which decoding can start.
    pub keys: u64,
    /// Units that miss bytes or may miss some.
    pub units_damaged: u64,
    /// Bytes handed on.
    pub bytes_delivered: u64,
    /// Packets whose payload does not parse.
    pub payloads_invalid: u64,
    /// Packets without payload.
    pub payloads_empty: u64,
    /// NAL units or OBUs that do not parse: no header, a size beyond the packet, the forbidden bit.
    pub elements_invalid: u64,
    /// NAL units or OBUs that are not handed on: filler, layers, temporal delimiters.
    pub elements_ignored: u64,
    /// Elements of kinds that are not supported.
    pub elements_unsupported: u64,
    /// Elements that came in another order than that of decoding.
    pub elements_out_of_order: u64,
    /// Fragments of an element whose first one did not come.
    pub fragments_without_start: u64,
    /// Elements that broke off.
    pub fragments_unfinished: u64,
    /// Fragments that contradict the first one of their element.
    pub fragments_inconsistent: u64,
    /// Markers where no access unit ended.
    pub markers_wrong: u64,
    /// Units cut at the most bytes.
    pub frames_oversize: u64,
    /// Units cut at the most elements.
    pub frames_too_many_elements: u64,
    /// Elements cut at the most fragments.
    pub elements_too_fragmented: u64,
}

/// Bytes of the parameter sets that a description may carry.
const SETS_BYTES_MAX: usize = 1_024;

/// Parameter sets of a stream's description, as Annex B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterSets {
    bytes: [u8; SETS_BYTES_MAX],
    len: u16,
}

impl Default for ParameterSets {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl ParameterSets {
    /// None.
    pub const EMPTY: Self = Self { bytes: [0; SETS_BYTES_MAX], len: 0 };

    /// Adds one. False when it does not fit.
    pub fn push(&mut self, nal: &[u8]) -> bool {
        let at = usize::from(self.len);
        let end = at + 4 + nal.len();
        let (Some(room), Ok(len)) = (self.bytes.get_mut(at..end), u16::try_from(end)) else {
            return false;
        };
        for (to, byte) in room.iter_mut().zip([0, 0, 0, 1].iter().chain(nal)) {
            *to = *byte;
        }
        self.len = len;
        true
    }

    /// All of them, each behind a start code.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// How much one payload speaks for a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// It could be; so could many.
    Weak,
    /// Its structure holds in several places.
    Likely,
    /// Hardly anything else looks like this.
    Proof,
}
