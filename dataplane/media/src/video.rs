//! The framer of a video track, whichever its coding.
//!
//! H.264, HEVC and MPEG video are stored as they come: their bytes go to the ring first and are cut
//! where pictures begin. AV1 and JPEG XS are stored without their carriage, so that their framers
//! hand on what is to be stored.

use std::mem::offset_of;

use codec::VideoFormat;
use codec::sink::{Carriage, Codec, Field, Timestamps};
use memory::prefetch_start;

use crate::access_unit::{AccessUnits, Coding};
use crate::av1::TemporalUnits;
use crate::frames::Frames;
use crate::jpeg_xs::Pictures;
use crate::mpeg_video::MpegVideo;

/// How a video track is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Splitter {
    AnnexB(Coding),
    Mpeg,
    Av1,
    JpegXs,
}

impl Splitter {
    /// For a coding, if it can be split.
    pub(crate) const fn of(codec: Codec) -> Option<Self> {
        match codec {
            Codec::H264 => Some(Self::AnnexB(Coding::H264)),
            Codec::Hevc => Some(Self::AnnexB(Coding::Hevc)),
            Codec::Mpeg1Video | Codec::Mpeg2Video => Some(Self::Mpeg),
            Codec::Av1 => Some(Self::Av1),
            Codec::JpegXs => Some(Self::JpegXs),
            _ => None,
        }
    }
}

/// One framer of each kind, made once; one at a time is at work.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Video {
    splitter: Splitter,
    annexb: AccessUnits,
    mpeg: MpegVideo,
    av1: TemporalUnits,
    jpeg_xs: Pictures,
}

impl Video {
    pub(crate) fn new() -> Self {
        Self {
            splitter: Splitter::AnnexB(Coding::H264),
            annexb: AccessUnits::new(),
            mpeg: MpegVideo::new(),
            av1: TemporalUnits::new(),
            jpeg_xs: Pictures::new(),
        }
    }

    /// Forgets everything, for a track that is split so and whose units are such.
    pub(crate) fn reset(&mut self, splitter: Splitter, carriage: Carriage) {
        self.splitter = splitter;
        match splitter {
            Splitter::AnnexB(coding) => self.annexb.reset(coding, carriage),
            Splitter::Mpeg => self.mpeg.reset(),
            Splitter::Av1 => self.av1.reset(carriage),
            Splitter::JpegXs => self.jpeg_xs.reset(),
        }
    }

    /// Asks for the memory that the next bytes will need, if they are Annex B: to look whether they
    /// are would be to wait for some of it.
    pub(crate) fn prefetch(&self) {
        prefetch_start(self, offset_of!(Self, annexb) + AccessUnits::STATE_BYTES);
    }

    /// The same for what that points to, once it is near.
    pub(crate) fn prefetch_behind(&self) {
        self.annexb.prefetch_sets();
    }

    pub(crate) fn unit_start(&mut self, stamps: Timestamps, frames: &mut Frames) {
        match self.splitter {
            Splitter::AnnexB(_) => self.annexb.unit_start(stamps, frames),
            Splitter::Mpeg => self.mpeg.unit_start(stamps),
            Splitter::Av1 => self.av1.unit_start(stamps, frames),
            Splitter::JpegXs => self.jpeg_xs.unit_start(stamps, frames),
        }
    }

    /// The open unit is one field of a frame.
    pub(crate) const fn field(&mut self, field: Field) {
        if let Splitter::JpegXs = self.splitter {
            self.jpeg_xs.field(field);
        }
    }

    /// The next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8], frames: &mut Frames) {
        match self.splitter {
            Splitter::AnnexB(_) => self.push_annexb(&[], bytes, frames),
            Splitter::Mpeg => {
                let mpeg = &mut self.mpeg;
                let (position, in_unit) = (mpeg.position(), mpeg.is_open());
                frames.append_video([bytes, &[]], position, in_unit, || mpeg.undecided_from());
                mpeg.push(bytes, frames);
            }
            Splitter::Av1 => self.av1.push(bytes, frames),
            Splitter::JpegXs => self.jpeg_xs.push(bytes, frames),
        }
    }

    /// The next bytes, of which the first are a start code of four bytes and perhaps some of its NAL
    /// unit's header.
    pub(crate) fn push_nal(&mut self, code: &[u8], bytes: &[u8], frames: &mut Frames) {
        if let Splitter::AnnexB(_) = self.splitter {
            return self.push_annexb(code, bytes, frames);
        }
        self.push(code, frames);
        self.push(bytes, frames);
    }

    fn push_annexb(&mut self, code: &[u8], bytes: &[u8], frames: &mut Frames) {
        let units = &mut self.annexb;
        let (position, in_unit) = (units.position(), units.is_open());
        frames.append_video([code, bytes], position, in_unit, || units.undecided_from());
        if !code.is_empty() {
            units.push_code(code, frames);
        }
        units.push(bytes, frames);
    }

    /// Position of the next byte, if what comes is most likely the midst of a slice.
    pub(crate) fn inside_slice(&self) -> Option<u64> {
        let is_annexb = matches!(self.splitter, Splitter::AnnexB(_));
        (is_annexb && self.annexb.is_inside_slice()).then(|| self.annexb.position())
    }

    /// Position of the next byte of Annex B.
    pub(crate) const fn position(&self) -> u64 {
        self.annexb.position()
    }

    /// So many bytes of the midst of a slice came.
    pub(crate) const fn pass(&mut self, len: u64) {
        self.annexb.pass(len);
    }

    pub(crate) fn unit_end(&mut self, frames: &mut Frames) {
        match self.splitter {
            Splitter::AnnexB(_) => self.annexb.unit_end(frames),
            Splitter::Mpeg => self.mpeg.unit_end(),
            Splitter::Av1 => self.av1.unit_end(frames),
            Splitter::JpegXs => self.jpeg_xs.unit_end(frames),
        }
    }

    /// Bytes are missing here.
    pub(crate) fn gap(&mut self, frames: &mut Frames) {
        match self.splitter {
            Splitter::AnnexB(_) => self.annexb.gap(frames),
            Splitter::Mpeg => self.mpeg.gap(),
            Splitter::Av1 => self.av1.gap(frames),
            Splitter::JpegXs => self.jpeg_xs.gap(),
        }
    }

    /// Whole units may be missing here.
    pub(crate) fn skipped(&mut self, frames: &mut Frames) {
        match self.splitter {
            Splitter::AnnexB(_) => self.annexb.skipped(frames),
            Splitter::Mpeg => self.mpeg.gap(),
            Splitter::Av1 => self.av1.skipped(frames),
            Splitter::JpegXs => {}
        }
        frames.pictures_skipped();
    }

    /// No more bytes come.
    pub(crate) fn finish(&mut self, frames: &mut Frames) {
        match self.splitter {
            Splitter::AnnexB(_) => self.annexb.finish(frames),
            Splitter::Mpeg => self.mpeg.finish(frames),
            Splitter::Av1 => self.av1.finish(frames),
            Splitter::JpegXs => self.jpeg_xs.finish(frames),
        }
    }

    /// A frame is begun.
    pub(crate) const fn is_open(&self) -> bool {
        match self.splitter {
            Splitter::AnnexB(_) => self.annexb.is_open(),
            Splitter::Mpeg => self.mpeg.is_open(),
            Splitter::Av1 => self.av1.is_open(),
            Splitter::JpegXs => self.jpeg_xs.is_open(),
        }
    }

    /// What the pictures look like, once it is known.
    pub(crate) fn format(&self) -> Option<&VideoFormat> {
        match self.splitter {
            Splitter::AnnexB(_) => self.annexb.format(),
            Splitter::Mpeg => self.mpeg.format(),
            Splitter::Av1 => self.av1.format(),
            Splitter::JpegXs => self.jpeg_xs.format(),
        }
    }

    /// The track is followed by a new list of tracks: its unit ended without a word.
    pub(crate) const fn unit_lost(&mut self) -> bool {
        match self.splitter {
            Splitter::AnnexB(_) => self.annexb.unit_lost(),
            Splitter::Mpeg => self.mpeg.unit_lost(),
            Splitter::Av1 => self.av1.unit_lost(),
            Splitter::JpegXs => self.jpeg_xs.unit_lost(),
        }
    }
}
