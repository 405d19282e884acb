//! What is neither pictures nor sound: frames out of whole units.
//!
//! ```text
//!  teletext, KLV, SCTE-35   the unit: a PES packet's payload, a splice information section
//!  DVB subtitles            its segments, as FFmpeg gives them
//!  KLV in metadata cells    each access unit
//! ```
//!
//! A unit is gathered in one of a few buffers that the tracks share, because few are open at a time:
//! units of data have a length.

use codec::data::{metadata_cell, subtitling_segments};
use codec::sink::{Codec, TRACKS_MAX, Timestamps, TrackConfig};

use crate::counters::DropReason;
use crate::timeline::Stamps;

/// The longest PES packet.
const UNIT_BYTES: usize = 1 << 16;
/// Units that may be open at a time.
const UNITS_OPEN: usize = 4;
/// stream_type of metadata in access unit cells.
const METADATA_CELLS: u8 = 0x15;

/// What is taken off a track's units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carriage {
    /// Nothing.
    Whole,
    Subtitles,
    Cells,
}

/// Whether tracks of this coding become frames of data.
pub(crate) const fn is_framed(codec: Codec) -> bool {
    matches!(codec, Codec::Scte35 | Codec::Klv | Codec::Teletext | Codec::DvbSubtitle)
}

const fn carriage(config: &TrackConfig) -> Carriage {
    match config.codec {
        Codec::DvbSubtitle => Carriage::Subtitles,
        Codec::Klv if config.stream_type == METADATA_CELLS => Carriage::Cells,
        _ => Carriage::Whole,
    }
}

/// One frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DataFrame<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) stamps: Stamps,
    pub(crate) damaged: bool,
}

/// Takes what is found.
pub(crate) trait DataOutput {
    /// A frame is complete, or misses bytes.
    fn data_frame(&mut self, frame: &DataFrame<'_>);
    /// One is not.
    fn dropped(&mut self, reason: DropReason);
}

/// A unit that is open.
#[derive(Debug, Clone, Copy)]
struct Unit {
    stamps: Timestamps,
    damaged: bool,
    /// Which buffer, and bytes in it; without one the unit is lost.
    buffer: Option<usize>,
    len: usize,
    oversize: bool,
}

/// The data tracks of a stream.
#[derive(Debug)]
pub(crate) struct DataUnits {
    buffers: Box<[[u8; UNIT_BYTES]]>,
    open: [Option<Unit>; TRACKS_MAX],
}

impl DataUnits {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![[0; UNIT_BYTES]; UNITS_OPEN].into_boxed_slice(),
            open: [None; TRACKS_MAX],
        }
    }

    /// Forgets what is open.
    pub(crate) const fn reset(&mut self) {
        self.open = [None; TRACKS_MAX];
    }

    /// Tracks with an open unit.
    pub(crate) fn open(&self) -> usize {
        self.open.iter().flatten().count()
    }

    /// A unit begins.
    pub(crate) fn unit_start(&mut self, track: usize, stamps: Timestamps) {
        let taken =
            |buffer: &usize| self.open.iter().flatten().any(|unit| unit.buffer == Some(*buffer));
        let buffer = (0..UNITS_OPEN).find(|buffer| !taken(buffer));
        if let Some(open) = self.open.get_mut(track) {
            *open = Some(Unit { stamps, damaged: false, buffer, len: 0, oversize: false });
        }
    }

    /// The next bytes of the open unit.
    pub(crate) fn push(&mut self, track: usize, bytes: &[u8]) {
        let Some(Some(unit)) = self.open.get_mut(track) else { return };
        let buffer = unit.buffer.and_then(|buffer| self.buffers.get_mut(buffer));
        let Some(buffer) = buffer else { return };
        match buffer.get_mut(unit.len..unit.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                unit.len += bytes.len();
            }
            None => unit.oversize = true,
        }
    }

    /// Bytes of the open unit are missing.
    pub(crate) fn gap(&mut self, track: usize) {
        if let Some(Some(unit)) = self.open.get_mut(track) {
            unit.damaged = true;
        }
    }

    /// The open unit is over.
    pub(crate) fn end(&mut self, track: usize, config: &TrackConfig, output: &mut impl DataOutput) {
        let Some(unit) = self.open.get_mut(track).and_then(Option::take) else { return };
        let buffer = unit.buffer.and_then(|buffer| self.buffers.get_mut(buffer));
        let bytes = match buffer {
            _ if unit.oversize => return output.dropped(DropReason::Oversize),
            None => return output.dropped(DropReason::Pending),
            Some(buffer) => buffer.get_mut(..unit.len).unwrap_or_default(),
        };
        let (pts, dts) = (unit.stamps.pts, unit.stamps.dts.or(unit.stamps.pts));
        let stamps = Stamps { pts, dts, derived: pts.is_none() };
        match carriage(config) {
            _ if bytes.is_empty() => {}
            Carriage::Cells => cells(bytes, stamps, unit.damaged, output),
            Carriage::Subtitles => match subtitling_segments(bytes) {
                Ok(bytes) => {
                    output.data_frame(&DataFrame { bytes, stamps, damaged: unit.damaged });
                }
                // Without any of them there is nothing to show.
                Err(_) => output.dropped(DropReason::Invalid),
            },
            Carriage::Whole => {
                output.data_frame(&DataFrame { bytes, stamps, damaged: unit.damaged });
            }
        }
    }
}

/// Gives each access unit; the fragments of one are moved together in place. One that begins or
/// ends in another PES packet is damaged.
fn cells(bytes: &mut [u8], mut stamps: Stamps, damaged: bool, output: &mut impl DataOutput) {
    let (mut at, mut start, mut len, mut whole) = (0, 0, 0, true);
    while let Some(cell) = metadata_cell(bytes, at) {
        let Ok(cell) = cell else { return output.dropped(DropReason::Invalid) };
        if cell.first || len == 0 {
            (start, len, whole) = (cell.start, 0, cell.first);
        }
        bytes.copy_within(cell.range(), start + len);
        len += cell.len;
        at = cell.range().end;
        let ends = at >= bytes.len();
        if cell.last || ends {
            let damaged = damaged || !whole || !cell.last;
            if let Some(bytes) = bytes.get(start..start + len).filter(|bytes| !bytes.is_empty()) {
                output.data_frame(&DataFrame { bytes, stamps, damaged });
            }
            len = 0;
            // The others of the packet have its time too.
            stamps.derived = true;
        }
    }
}
