//! Pictures of JPEG XS: one a unit, without what carried them.
//!
//! ```text
//!  in   MPEG-TS   | jxes box | codestream [ codestream ] |     a frame, or its two fields
//!       RTP       | [ jpvs box ] [ colr box ] codestream |     a frame, or one field of it
//!  out            | codestream … |
//! ```
//!
//! Every picture is a key picture: groups of pictures are cut by time. A unit that does not begin
//! with a codestream or with boxes before one is none of a picture, and its bytes are skipped; where
//! it begins with a hole, nothing in it can be decoded.

use codec::jpeg_xs::{
    BOX_HEADER_BYTES, BOX_PREFIX_BYTES, Description, HEADER_BYTES, START, box_length, format,
};
use codec::sink::{Field, Timestamps};
use codec::{FrameClass, VideoFormat};

use crate::access_unit::{AccessUnit, Output, Structure};
use crate::frame_rate::field_ticks;
use crate::frames::Frames;
use crate::timeline::OrderCounter;

/// Where the reader stands in its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Outside of units, or in one that is none of a picture.
    Nothing,
    /// Before the codestream, in a box or at the start of one.
    Boxes,
    /// In a box of which so many bytes are to come.
    Box(usize),
    Codestream,
}

/// Splits one video track.
#[derive(Debug)]
pub(crate) struct Pictures {
    unit_open: bool,
    /// Bytes of the open unit are missing.
    torn: bool,
    reading: Reading,
    /// First bytes of the box, or of the codestream.
    prefix: [u8; HEADER_BYTES],
    len: usize,
    /// Bytes handed on so far.
    written: u64,
    open: Option<AccessUnit>,
    stamps: Timestamps,
    structure: Structure,
    order: OrderCounter,
    description: Description,
    format: Option<VideoFormat>,
}

impl Pictures {
    pub(crate) fn new() -> Self {
        Self {
            unit_open: false,
            torn: false,
            reading: Reading::Nothing,
            prefix: [0; HEADER_BYTES],
            len: 0,
            written: 0,
            open: None,
            stamps: Timestamps::default(),
            structure: Structure::Frame,
            order: OrderCounter::NEW,
            description: Description::default(),
            format: None,
        }
    }

    /// Forgets everything; positions count from 0 again.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }

    pub(crate) const fn format(&self) -> Option<&VideoFormat> {
        self.format.as_ref()
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(crate) const fn unit_lost(&mut self) -> bool {
        std::mem::replace(&mut self.unit_open, false)
    }

    pub(crate) fn unit_start(&mut self, stamps: Timestamps, frames: &mut Frames) {
        self.unit_end(frames);
        self.unit_open = true;
        self.reading = Reading::Boxes;
        self.len = 0;
        self.stamps = stamps;
        self.structure = Structure::Frame;
    }

    /// The open unit is one field.
    pub(crate) const fn field(&mut self, field: Field) {
        self.structure = match field {
            Field::First => Structure::FirstField,
            Field::Second => Structure::SecondField,
        };
        self.description.interlaced = true;
        if let Some(open) = &mut self.open {
            open.structure = self.structure;
        }
    }

    pub(crate) fn unit_end(&mut self, frames: &mut Frames) {
        self.unit_open = false;
        self.reading = Reading::Nothing;
        self.look();
        let torn = std::mem::take(&mut self.torn);
        match self.open.take() {
            Some(open) => frames.access_unit(&open, self.written),
            // Its start is missing: what came cannot be decoded.
            None if torn => {
                let nothing = AccessUnit { damaged: true, ..AccessUnit::default() };
                frames.access_unit(&nothing, self.written);
            }
            None => {}
        }
    }

    /// Bytes are missing here.
    pub(crate) fn gap(&mut self) {
        self.look();
        match &mut self.open {
            Some(open) => open.damaged = true,
            None => self.reading = Reading::Nothing,
        }
        self.torn |= self.unit_open;
    }

    /// No more bytes come.
    pub(crate) fn finish(&mut self, frames: &mut Frames) {
        self.unit_end(frames);
    }

    /// The next bytes.
    pub(crate) fn push(&mut self, mut piece: &[u8], frames: &mut Frames) {
        while !piece.is_empty() {
            let taken = match self.reading {
                Reading::Nothing => {
                    frames.counters.bytes_skipped += length(piece.len());
                    return;
                }
                Reading::Codestream => return self.codestream(piece, frames),
                Reading::Box(left) => self.in_box(piece, left),
                Reading::Boxes => self.at_box(piece, frames),
            };
            piece = piece.get(taken..).unwrap_or_default();
        }
    }

    /// A byte more of what a box or a codestream begins with.
    fn at_box(&mut self, piece: &[u8], frames: &mut Frames) -> usize {
        let taken = self.keep(piece, 1);
        let header = self.prefix.get(..self.len).unwrap_or_default();
        if header == START {
            self.begin(frames);
        } else if self.len == BOX_HEADER_BYTES {
            match self.prefix.first_chunk().and_then(box_length) {
                Some(length) => self.next_in_box(length - BOX_HEADER_BYTES),
                None => {
                    frames.counters.bytes_skipped += length(self.len);
                    self.reading = Reading::Nothing;
                }
            }
        }
        taken
    }

    fn in_box(&mut self, piece: &[u8], left: usize) -> usize {
        let part = piece.get(..left).unwrap_or(piece);
        let room = BOX_PREFIX_BYTES.saturating_sub(self.len);
        self.keep(part, room);
        self.next_in_box(left - part.len());
        part.len()
    }

    /// So many bytes of the box are to come.
    fn next_in_box(&mut self, left: usize) {
        self.reading = Reading::Box(left);
        if left == 0 {
            let bytes = self.prefix.get(..self.len).unwrap_or_default();
            let fields = self.structure != Structure::Frame;
            self.description.read(bytes);
            self.description.interlaced |= fields;
            self.reading = Reading::Boxes;
            self.len = 0;
        }
    }

    /// Keeps up to `most` of these bytes; how many there were.
    fn keep(&mut self, bytes: &[u8], most: usize) -> usize {
        let bytes = bytes.get(..most).unwrap_or(bytes);
        let room = self.prefix.get_mut(self.len..).unwrap_or_default();
        for (to, byte) in room.iter_mut().zip(bytes) {
            *to = *byte;
        }
        self.len = (self.len + bytes.len()).min(HEADER_BYTES);
        bytes.len()
    }

    /// The codestream begins with what is kept.
    fn begin(&mut self, frames: &mut Frames) {
        self.reading = Reading::Codestream;
        let count = self.order.picture_in_order(true, self.structure.fields());
        self.open = Some(AccessUnit {
            stamps: self.stamps,
            damaged: self.torn,
            idr: true,
            key: true,
            all_key: true,
            structure: self.structure,
            has_slices: true,
            order: Some(self.order.order(count)),
            class: Some(FrameClass::Idr),
            reorder: Some(0),
            field_ticks: self.format.and_then(|format| format.frame_rate).map(field_ticks),
            ..AccessUnit::default()
        });
        self.write(&START, frames);
    }

    fn codestream(&mut self, piece: &[u8], frames: &mut Frames) {
        if self.len < HEADER_BYTES {
            self.keep(piece, HEADER_BYTES - self.len);
            if self.len == HEADER_BYTES {
                self.look();
            }
        }
        self.write(piece, frames);
    }

    fn write(&mut self, bytes: &[u8], frames: &mut Frames) {
        let at = self.written;
        frames.append_video([bytes, &[]], at, true, || at);
        self.written += length(bytes.len());
    }

    /// Looks at the header of the codestream: all there is of it before a hole, once.
    fn look(&mut self) {
        let Some(open) = self.open.as_mut().filter(|_| self.len > 0) else { return };
        let header = self.prefix.get(..self.len).unwrap_or_default();
        if let Ok(format) = format(header, &self.description) {
            open.field_ticks = format.frame_rate.map(field_ticks);
            self.format = Some(format);
        }
        self.len = 0;
        // What comes is no part of it.
        self.prefix = [0; HEADER_BYTES];
    }
}

fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
