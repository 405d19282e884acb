//! Temporal units of AV1 out of units that come in pieces of any size.
//!
//! ```text
//!  in    low overhead   | header size payload | header size payload | …       FFmpeg, GStreamer
//!        start codes    | 00 00 01 header [size] payload, 03 behind 00 00 | … AOM's carriage
//!  out                  | header size payload | header size payload | …
//! ```
//!
//! Which of the two a track has, its first three bytes tell: no OBU begins with 00. What is stored
//! are low-overhead OBUs with sizes, without temporal delimiters, padding and tile lists. In the
//! start code form a size may be missing; it is put in when the OBU's end is seen.
//!
//! **Where a temporal unit ends.** At the next delimiter. Where the sender takes the delimiters out
//! (AOM's carriage allows it), with the first OBU of a unit behind a frame that is shown: a
//! temporal unit shows one frame, what is not shown before it may have come in units of its own.
//!
//! **Whole units** ([`Carriage::AccessUnits`]) are temporal units in the low overhead form: what is
//! open ends with its unit. OBUs behind a hole go on with it, and it is damaged.
//!
//! **Stamps.** The presentation time is that of the unit in which the shown frame begins, the
//! decoding time that of the one in which the temporal unit begins.

use codec::av1::{FrameHeader, FrameType, HAS_SIZE, ObuHeader, ObuType, SequenceHeader, to_leb128};
use codec::sink::{Carriage, Timestamps};
use codec::{Error, FrameClass, VideoFormat};

use crate::access_unit::{AccessUnit, Output};
use crate::frame_rate::field_ticks;
use crate::frames::Frames;
use crate::timeline::OrderCounter;
use crate::units::Units;

/// Longest sequence header that is looked at; 32 operating points with all they may say fit.
const SEQUENCE_BYTES: usize = 512;

/// Bytes of an OBU's header that are gathered.
const HEADER_BYTES: usize = codec::av1::HEADER_BYTES_MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Its first bytes have not come: so many of a start code were seen.
    Unknown(u8),
    LowOverhead,
    StartCodes,
}

/// Where the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Nothing is known until the next unit or start code.
    Lost,
    /// Between OBUs, or in the header of one.
    Header,
    /// In the payload: what has come of it.
    Payload(Obu),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Obu {
    obu_type: ObuType,
    /// As its size field says.
    size: Option<u32>,
    /// Payload bytes so far.
    len: u32,
    /// Place of its first byte in the input.
    start: u64,
    /// Where its size goes in the output, when it has none.
    size_at: u64,
}

/// Splits one video track.
#[derive(Debug)]
pub(crate) struct TemporalUnits {
    units: Units,
    unit_open: bool,
    /// Units end with temporal units.
    whole_units: bool,
    /// Of whole units: bytes of the open one are missing.
    unit_torn: bool,
    /// A unit began and none of its OBUs yet.
    unit_begins: bool,
    form: Form,
    reading: Reading,
    /// Input and output bytes so far.
    position: u64,
    written: u64,
    header: [u8; HEADER_BYTES],
    header_len: usize,
    /// Where the header that is gathered begins.
    header_start: u64,
    /// Zeros that may belong to a start code.
    zeros: u8,
    sequence_bytes: [u8; SEQUENCE_BYTES],
    sequence: Option<SequenceHeader>,
    open: Option<AccessUnit>,
    /// Stamps of the unit in which the open temporal unit begins.
    first_stamps: Timestamps,
    /// Its last OBU is one behind which its frame is whole.
    whole_frame: bool,
    previous_shown: Option<u64>,
    /// The sender sends temporal delimiters.
    delimiters: bool,
    /// Nothing can be missing before the next OBU of a new temporal unit.
    in_step: bool,
    order: OrderCounter,
}

impl TemporalUnits {
    pub(crate) fn new() -> Self {
        Self {
            units: Units::default(),
            unit_open: false,
            whole_units: false,
            unit_torn: false,
            unit_begins: false,
            form: Form::Unknown(0),
            reading: Reading::Lost,
            position: 0,
            written: 0,
            header: [0; HEADER_BYTES],
            header_len: 0,
            header_start: 0,
            zeros: 0,
            sequence_bytes: [0; SEQUENCE_BYTES],
            sequence: None,
            open: None,
            first_stamps: Timestamps { pts: None, dts: None },
            whole_frame: false,
            previous_shown: None,
            delimiters: false,
            in_step: false,
            order: OrderCounter::NEW,
        }
    }

    /// Forgets everything; positions count from 0 again.
    pub(crate) fn reset(&mut self, carriage: Carriage) {
        *self = Self::new();
        if carriage == Carriage::AccessUnits {
            self.whole_units = true;
            self.form = Form::LowOverhead;
        }
    }

    pub(crate) fn format(&self) -> Option<&VideoFormat> {
        self.sequence.as_ref().map(|sequence| &sequence.format)
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(crate) const fn unit_lost(&mut self) -> bool {
        std::mem::replace(&mut self.unit_open, false)
    }

    /// A unit begins with the next byte.
    pub(crate) fn unit_start(&mut self, stamps: Timestamps, frames: &mut Frames) {
        if self.whole_units {
            self.end_unit(frames);
            self.in_step = true;
        }
        if let Reading::Payload(Obu { size: None, .. }) = self.reading
            && self.form == Form::LowOverhead
        {
            // Without a size it is the last of its unit.
            self.end_obu(frames);
        }
        self.units.start(self.position, stamps);
        self.unit_open = true;
        self.unit_begins = true;
        if let Form::Unknown(zeros) = &mut self.form {
            *zeros = 0;
        }
        if self.reading == Reading::Lost && self.form != Form::StartCodes {
            self.reading = Reading::Header;
            self.header_len = 0;
        }
    }

    /// The open unit is complete: so is a frame whose last OBU ends with it.
    pub(crate) fn unit_end(&mut self, frames: &mut Frames) {
        self.unit_open = false;
        if self.whole_units {
            return self.end_unit(frames);
        }
        if self.form == Form::StartCodes
            || matches!(self.reading, Reading::Payload(Obu { size: None, .. }))
        {
            self.zeros = 0;
            self.end_obu(frames);
        }
        let between = self.header_len == 0 && !matches!(self.reading, Reading::Payload(_));
        if between && self.whole_frame && self.open.is_some_and(|open| open.has_slices) {
            self.end(frames);
        }
    }

    /// The unit of whole temporal units is over.
    fn end_unit(&mut self, frames: &mut Frames) {
        self.end_obu(frames);
        self.reading = Reading::Lost;
        let torn = std::mem::take(&mut self.unit_torn);
        match self.open {
            // What is not shown goes with the frame that is.
            Some(open) if !open.has_slices && !open.damaged => {}
            Some(_) => self.end(frames),
            None if torn => {
                let nothing = AccessUnit { damaged: true, ..AccessUnit::default() };
                frames.access_unit(&nothing, self.written);
            }
            None => {}
        }
    }

    /// Whole units may be missing here.
    pub(crate) fn skipped(&mut self, frames: &mut Frames) {
        self.order.interrupt();
        if self.open.is_some() {
            self.end(frames);
        }
    }

    /// Bytes are missing here.
    pub(crate) fn gap(&mut self, frames: &mut Frames) {
        self.end_obu(frames);
        if self.whole_units {
            // What follows begins with an OBU.
            self.reading = if self.unit_open { Reading::Header } else { Reading::Lost };
            self.header_len = 0;
            self.unit_torn = self.unit_open;
        } else {
            self.reading = Reading::Lost;
            self.units.lost();
        }
        self.zeros = 0;
        self.in_step = false;
        self.whole_frame = false;
        self.order.interrupt();
        if let Some(open) = &mut self.open {
            open.damaged = true;
            open.torn = true;
        }
    }

    /// The next bytes.
    pub(crate) fn push(&mut self, mut piece: &[u8], frames: &mut Frames) {
        while let Form::Unknown(zeros) = self.form {
            if self.reading == Reading::Lost {
                // Only the first bytes of a unit tell.
                return self.skip(piece.len(), frames);
            }
            let Some((byte, rest)) = piece.split_first() else { return };
            match (zeros, byte) {
                (0 | 1, 0) => self.form = Form::Unknown(zeros + 1),
                (2, 1) => {
                    self.form = Form::StartCodes;
                    self.reading = Reading::Header;
                    self.header_start = self.position + 1;
                }
                _ => {
                    self.form = Form::LowOverhead;
                    // It is none, and will be found to be none.
                    self.position -= u64::from(zeros);
                    let zeros = [0, 0].get(..zeros.into()).unwrap_or_default();
                    self.low_overhead(zeros, frames);
                    break;
                }
            }
            self.position += 1;
            piece = rest;
        }
        match self.form {
            Form::StartCodes => self.start_codes(piece, frames),
            _ => self.low_overhead(piece, frames),
        }
    }

    /// No more bytes come.
    pub(crate) fn finish(&mut self, frames: &mut Frames) {
        self.end_obu(frames);
        if self.open.is_some() {
            self.end(frames);
        }
        self.previous_shown = None;
        self.reading = Reading::Lost;
    }

    fn low_overhead(&mut self, mut piece: &[u8], frames: &mut Frames) {
        while !piece.is_empty() && self.reading != Reading::Lost {
            let taken = self.take(piece, frames);
            piece = piece.get(taken..).unwrap_or_default();
            self.position += length(taken);
        }
        self.skip(piece.len(), frames);
    }

    fn skip(&mut self, bytes: usize, frames: &mut Frames) {
        frames.counters.bytes_skipped += length(bytes);
        self.position += length(bytes);
    }

    /// Takes the emulation prevention bytes out, and finds the start codes.
    fn start_codes(&mut self, mut piece: &[u8], frames: &mut Frames) {
        while let Some(first) = piece.first() {
            let taken = match (self.zeros, first) {
                (0..=1, 0) => {
                    self.zeros += 1;
                    1
                }
                (2.., 0) => {
                    // Three in a row end an OBU: the first of them is its last byte.
                    self.unescaped(&[0], frames);
                    1
                }
                (2.., 1) => {
                    self.zeros = 0;
                    self.end_obu(frames);
                    self.reading = Reading::Header;
                    self.header_len = 0;
                    self.header_start = self.position;
                    1
                }
                (2.., 3) => {
                    self.zeros = 0;
                    self.unescaped(&[0, 0], frames);
                    1
                }
                (_, _) => {
                    let zeros = usize::from(std::mem::take(&mut self.zeros));
                    debug_assert!(zeros <= 2, "more are counted as two");
                    self.unescaped([0, 0].get(..zeros).unwrap_or_default(), frames);
                    let run = piece.iter().position(|byte| *byte == 0).unwrap_or(piece.len());
                    self.unescaped(piece.get(..run).unwrap_or_default(), frames);
                    run
                }
            };
            piece = piece.get(taken..).unwrap_or_default();
            self.position += length(taken);
        }
    }

    /// Bytes of an OBU without what carried it. More than its size says are none of it.
    fn unescaped(&mut self, mut bytes: &[u8], frames: &mut Frames) {
        while !bytes.is_empty() && self.reading != Reading::Lost {
            let taken = self.take(bytes, frames);
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        // A zero behind a whole OBU may be there to fill up.
        let more = bytes.iter().filter(|byte| **byte != 0).count();
        frames.counters.bytes_skipped += length(more);
    }

    /// Takes some of these bytes: those of a header, or of a payload.
    fn take(&mut self, bytes: &[u8], frames: &mut Frames) -> usize {
        match self.reading {
            Reading::Lost => bytes.len(),
            Reading::Header => {
                self.header_byte(bytes, frames);
                1
            }
            Reading::Payload(obu) => {
                let left = obu.size.map_or(u32::MAX, |size| size.saturating_sub(obu.len));
                let left = usize::try_from(left).unwrap_or(usize::MAX);
                let bytes = bytes.get(..left).unwrap_or(bytes);
                self.payload(obu, bytes, frames);
                bytes.len()
            }
        }
    }

    fn header_byte(&mut self, bytes: &[u8], frames: &mut Frames) {
        if self.header_len == 0 && self.form == Form::LowOverhead {
            self.header_start = self.position;
        }
        if let (Some(place), Some(byte)) = (self.header.get_mut(self.header_len), bytes.first()) {
            *place = *byte;
            self.header_len += 1;
        }
        match ObuHeader::parse(self.header.get(..self.header_len).unwrap_or_default()) {
            Err(Error::Truncated) => {}
            // After a loss the first byte of a unit is the first of an OBU, or of no use.
            Ok(header) if !self.in_step && header.obu_type.is_reserved() => self.lose(frames),
            Ok(header) => self.begin_obu(&header, frames),
            Err(_) => self.lose(frames),
        }
    }

    /// What comes is no OBU.
    fn lose(&mut self, frames: &mut Frames) {
        frames.counters.bytes_skipped += length(self.header_len);
        self.reading = Reading::Lost;
        self.header_len = 0;
        self.in_step = false;
        if let Some(open) = &mut self.open {
            open.damaged = true;
            open.torn = true;
        }
    }

    fn begin_obu(&mut self, header: &ObuHeader, frames: &mut Frames) {
        let obu_type = header.obu_type;
        let at_unit = std::mem::take(&mut self.unit_begins);
        let shown = self.open.is_some_and(|open| open.has_slices || open.torn);
        let delimiter = obu_type == ObuType::TEMPORAL_DELIMITER;
        self.delimiters |= delimiter;
        if self.open.is_some() && (delimiter || at_unit && shown && !self.delimiters) {
            self.end(frames);
        }
        let sequence = obu_type == ObuType::SEQUENCE_HEADER && self.open.is_none();
        self.in_step |= delimiter || sequence && !self.whole_units;
        if obu_type.is_stored() {
            self.store_header(header, frames);
        }
        let (start, size_at) = (self.header_start, self.written);
        self.header_len = 0;
        let obu = Obu { obu_type, size: header.size, len: 0, start, size_at };
        self.reading = Reading::Payload(obu);
        if header.size == Some(0) {
            self.end_obu(frames);
        }
    }

    /// Opens a temporal unit where none is, and stores the header with a size field.
    fn store_header(&mut self, header: &ObuHeader, frames: &mut Frames) {
        if self.open.is_none() {
            let damaged = !self.in_step;
            self.open = Some(AccessUnit { damaged, ..AccessUnit::default() });
            self.first_stamps = self.units.stamps(self.header_start, self.previous_shown);
            self.whole_frame = false;
        }
        if let Some(open) = &mut self.open {
            open.nals += 1;
        }
        if let Some(first) = self.header.first_mut().filter(|_| header.size.is_none()) {
            *first |= HAS_SIZE;
        }
        let bytes = self.header;
        self.write(bytes.get(..header.header_bytes.into()).unwrap_or_default(), frames);
    }

    fn write(&mut self, bytes: &[u8], frames: &mut Frames) {
        let at = self.written;
        frames.append_video([bytes, &[]], at, true, || at);
        self.written += length(bytes.len());
    }

    fn payload(&mut self, mut obu: Obu, bytes: &[u8], frames: &mut Frames) {
        if obu.len == 0 {
            self.first_byte(&obu, bytes);
        }
        if obu.obu_type == ObuType::SEQUENCE_HEADER {
            let from = usize::try_from(obu.len).unwrap_or(usize::MAX);
            let room = self.sequence_bytes.get_mut(from..).unwrap_or_default();
            for (to, byte) in room.iter_mut().zip(bytes) {
                *to = *byte;
            }
        }
        if obu.obu_type.is_stored() {
            self.write(bytes, frames);
        }
        obu.len = obu.len.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.reading = Reading::Payload(obu);
        if obu.size == Some(obu.len) {
            self.end_obu(frames);
        }
    }

    /// Frame headers tell with their first bits what the temporal unit is.
    fn first_byte(&mut self, obu: &Obu, bytes: &[u8]) {
        if !matches!(obu.obu_type, ObuType::FRAME | ObuType::FRAME_HEADER) {
            return;
        }
        let reduced = self.sequence.is_some_and(|sequence| sequence.reduced_still_picture);
        let Ok(header) = FrameHeader::parse(bytes, reduced) else { return };
        // Of several layers the first decides; what is not shown says nothing of what is.
        let Some(open) = self.open.as_mut().filter(|open| !open.has_slices) else { return };
        if !header.shows() {
            return;
        }
        open.has_slices = true;
        open.class = Some(match header {
            FrameHeader::Coded { frame_type: FrameType::Key, .. } => FrameClass::Idr,
            FrameHeader::Coded { frame_type: FrameType::IntraOnly, .. } => FrameClass::I,
            _ => FrameClass::Inter,
        });
        open.key = header.is_random_access_point() && self.sequence.is_some();
        open.field_ticks =
            self.sequence.and_then(|sequence| sequence.format.frame_rate).map(field_ticks);
        let own = self.units.stamps(obu.start, self.previous_shown);
        self.previous_shown = Some(obu.start);
        let first = self.first_stamps;
        open.stamps = if own == first {
            own
        } else {
            Timestamps { pts: own.pts, dts: first.dts.or(first.pts) }
        };
        // Frames are shown in the order of their temporal units.
        let count = self.order.picture_in_order(open.key, 2);
        open.order = Some(self.order.order(count));
        open.reorder = Some(0);
    }

    /// The open OBU ends here, whole or not.
    fn end_obu(&mut self, frames: &mut Frames) {
        let reading = match self.form {
            // What follows before the next start code is none.
            Form::StartCodes => Reading::Lost,
            _ => Reading::Header,
        };
        let Reading::Payload(obu) = std::mem::replace(&mut self.reading, reading) else {
            // A header that broke off.
            if self.header_len > 0 {
                self.lose(frames);
            }
            return;
        };
        let whole = obu.size.is_none_or(|size| size == obu.len);
        if obu.size.is_none() && obu.obu_type.is_stored() {
            let (bytes, len) = to_leb128(obu.len);
            let bytes = bytes.get(..len).unwrap_or_default();
            if frames.insert_video(obu.size_at, bytes) {
                self.written += length(len);
            }
        }
        if let Some(open) = &mut self.open {
            open.damaged |= !whole;
        }
        let len = usize::try_from(obu.len).unwrap_or(usize::MAX);
        match obu.obu_type {
            ObuType::SEQUENCE_HEADER if whole => {
                let bytes = self.sequence_bytes.get(..len).unwrap_or_default();
                if let Ok(sequence) = SequenceHeader::parse(bytes) {
                    self.sequence = Some(sequence);
                }
            }
            // Tile groups: whether there are more is not looked at.
            ObuType::FRAME_HEADER | ObuType::TILE_GROUP => self.whole_frame = false,
            ObuType::FRAME => self.whole_frame = whole,
            _ => {}
        }
    }

    /// The open temporal unit ends.
    fn end(&mut self, frames: &mut Frames) {
        let Some(open) = self.open.take() else { return };
        // A unit that begins behind one that ended begins a temporal unit.
        self.in_step = true;
        self.whole_frame = false;
        frames.access_unit(&open, self.written);
    }
}

fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
