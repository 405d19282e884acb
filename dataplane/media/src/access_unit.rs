//! Access units of an Annex B byte stream that comes in pieces of any size.
//!
//! ```text
//!  bytes     … slice data ] 00 00 00 01 09 f0 00 00 01 67 …
//!                         ^ end of one access unit, start of the next
//!                           (H.264: before the zero byte; HEVC: behind it)
//! ```
//!
//! Bytes are neither changed nor held here: positions are reported, and the owner of the bytes
//! cuts them there. Where the zero byte of a four-byte start code goes differs between the two
//! codings; so does FFmpeg's parser, whose packets are the measure of a frame's bytes.
//!
//! A boundary is known some bytes after it, at worst when the header of a slice is complete.
//!
//! **Whole units** ([`Carriage::AccessUnits`]) say where access units end: what is open ends with
//! its unit, at once. A unit may hold two (fields of one time, pictures whose end was not marked):
//! they are told apart as in a stream. Parameter sets that have a unit to themselves go with the
//! picture behind them. A hole stays in its unit: whatever comes behind it there goes on with the
//! same access unit, unless it shows by its header that it is another.

use std::mem::offset_of;

use codec::annexb::{Scanner, Start};
use codec::sink::{Carriage, Timestamps};
use codec::{FrameClass, SliceType, VideoFormat, h264};

use crate::h264::H264;
use crate::hevc::Hevc;
use crate::ratio::Ratio;
use crate::timeline::PictureOrder;
use crate::units::Units;

/// Longest NAL unit of which all bytes are looked at (parameter sets, SEI).
pub(crate) const NAL_PREFIX_BYTES: usize = 4096;
/// Zeros before a unit's first start code that go with its first access unit.
pub(crate) const LEADING_ZEROS_MAX: u64 = 64;
/// More NAL units than this in one access unit: it is dropped.
pub(crate) const NALS_MAX: u32 = 1000;

/// What a picture codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Structure {
    #[default]
    Frame,
    FirstField,
    SecondField,
}

impl Structure {
    /// Fields of a frame that it codes.
    pub(crate) const fn fields(self) -> u8 {
        match self {
            Self::Frame => 2,
            Self::FirstField | Self::SecondField => 1,
        }
    }
}

/// What is known of an access unit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AccessUnit {
    /// What its unit carried for it.
    pub(crate) stamps: Timestamps,
    /// Its start lies over the border of two units, so its stamps may be those of the next.
    pub(crate) doubtful_stamps: bool,
    /// Bytes of it are or may be missing, or are marked as wrong.
    pub(crate) damaged: bool,
    /// IDR picture.
    pub(crate) idr: bool,
    /// Decoding can start here.
    pub(crate) key: bool,
    /// The most dependent of its slices.
    pub(crate) worst: Option<SliceType>,
    pub(crate) structure: Structure,
    pub(crate) order: Option<PictureOrder>,
    /// Ticks of 90 kHz a field, as the stream declares.
    pub(crate) field_ticks: Option<Ratio>,
    /// Slices were seen.
    pub(crate) has_slices: bool,
    /// Bytes are missing behind its start, its slices perhaps.
    pub(crate) torn: bool,
    /// Its class where slices do not tell it.
    pub(crate) class: Option<FrameClass>,
    /// All pictures of the coding are key pictures: they make no groups by themselves.
    pub(crate) all_key: bool,
    /// Most frames that are decoded before one and shown after it, as the stream declares.
    pub(crate) reorder: Option<u8>,
    /// Pictures of the stream may be fields.
    pub(crate) field_coded: bool,
    pub(crate) nals: u32,
}

impl AccessUnit {
    /// Its class.
    pub(crate) fn class(&self) -> FrameClass {
        let by_slices = FrameClass::of_picture(self.idr, self.worst.unwrap_or(SliceType::P));
        self.class.unwrap_or(by_slices)
    }

    /// The next start ends it. A start before its first slice would be part of it.
    const fn can_end(&self) -> bool {
        self.has_slices || self.torn
    }

    /// It can be a frame.
    pub(crate) const fn is_valid(&self) -> bool {
        self.has_slices && self.nals <= NALS_MAX
    }
}

/// Takes what is found.
pub(crate) trait Output {
    /// An access unit ends before `end`.
    fn access_unit(&mut self, unit: &AccessUnit, end: u64);
    /// What lies before `end` belongs to no access unit.
    fn skipped(&mut self, end: u64);
}

/// What a coding makes of a NAL unit's first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A slice; so many of its first bytes are needed to tell whether it starts a picture.
    Slice { prefix: usize },
    /// Starts an access unit if it comes after a slice.
    Starter { delimiter: bool, contents: Contents },
    /// Starts an access unit if the slice after it does (prefix NAL unit).
    Tentative,
    /// Belongs to the access unit before.
    Follower,
}

/// What is in a NAL unit beside slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    ParameterSet,
    Sei,
    Other,
}

/// What a coding makes of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    /// It is the first of a picture.
    pub(crate) starts: bool,
    /// Its type; `None` when its header does not parse.
    pub(crate) slice_type: Option<SliceType>,
}

/// The two codings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    H264,
    Hevc,
}

impl Coding {
    /// Bytes of a NAL unit's header.
    const fn header_bytes(self) -> usize {
        match self {
            Self::H264 => 1,
            Self::Hevc => 2,
        }
    }

    /// Where an access unit begins whose first NAL unit begins at `start`.
    const fn boundary(self, start: Start) -> u64 {
        match self {
            Self::H264 => start.code,
            Self::Hevc => start.nal.saturating_sub(3),
        }
    }

    /// The byte by which FFmpeg's parser knows a NAL unit as the first of an access unit.
    const fn decisive(self, start: Start, is_slice: bool) -> u64 {
        match (self, is_slice) {
            (Self::H264, false) => start.nal,
            (Self::H264, true) => start.nal + 1,
            (Self::Hevc, _) => start.nal + 2,
        }
    }
}

/// The NAL unit that is being read.
#[derive(Debug, Clone, Copy)]
struct Nal {
    start: Start,
    /// The unit with whose first byte its start code begins.
    at_unit: Option<u64>,
    /// `None` until its header is complete.
    kind: Option<Kind>,
    /// Bytes of it that are kept, and that shall be.
    len: usize,
    want: usize,
    /// Nothing more is to be learned from it.
    done: bool,
}

impl Nal {
    /// Where an access unit may begin if it begins with this.
    fn earliest(&self) -> u64 {
        self.at_unit.unwrap_or(self.start.code)
    }
}

/// Splits one video track. What each piece of bytes needs comes first.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct AccessUnits {
    scanner: Scanner,
    nals: Nals,
}

#[derive(Debug)]
#[repr(C)]
struct Nals {
    coding: Coding,
    /// Units end with access units.
    whole_units: bool,
    /// Of whole units: bytes of the open one are missing; one of its pictures took its stamps.
    unit_torn: bool,
    unit_stamped: bool,
    unit_open: bool,
    /// A slice came since the last loss. Only then a start that is found is known to be the first
    /// byte of its access unit: before, parameter sets or messages of it may be missing.
    in_step: bool,
    /// Access unit delimiters are in use.
    delimiters: bool,
    /// Units begin at other places than access units: after a loss, the first byte of one says
    /// nothing.
    unaligned: bool,
    /// First byte of the open unit that is not zero, once it came.
    unit_nonzero: Option<u64>,
    nal: Option<Nal>,
    /// A prefix NAL unit: a start if the slice behind it is one.
    tentative: Option<Nal>,
    previous_start: Option<u64>,
    open: Option<AccessUnit>,
    units: Units,
    h264: H264,
    hevc: Hevc,
    prefix: [u8; NAL_PREFIX_BYTES],
}

impl AccessUnits {
    pub(crate) fn new() -> Self {
        Self {
            scanner: Scanner::new(),
            nals: Nals {
                coding: Coding::H264,
                whole_units: false,
                unit_torn: false,
                unit_stamped: false,
                h264: H264::new(),
                hevc: Hevc::new(),
                units: Units::default(),
                unit_nonzero: None,
                unit_open: false,
                nal: None,
                prefix: [0; NAL_PREFIX_BYTES],
                tentative: None,
                open: None,
                previous_start: None,
                in_step: false,
                delimiters: false,
                unaligned: false,
            },
        }
    }

    /// Forgets everything; positions count from 0 again.
    pub(crate) fn reset(&mut self, coding: Coding, carriage: Carriage) {
        self.scanner = Scanner::new();
        let nals = &mut self.nals;
        nals.coding = coding;
        nals.whole_units = carriage == Carriage::AccessUnits;
        nals.unit_torn = false;
        nals.unit_stamped = false;
        nals.h264.clear();
        nals.hevc.clear();
        nals.units = Units::default();
        nals.unit_nonzero = None;
        nals.unit_open = false;
        nals.nal = None;
        nals.tentative = None;
        nals.open = None;
        nals.previous_start = None;
        nals.in_step = false;
        nals.delimiters = false;
        nals.unaligned = false;
    }

    /// What each piece and each slice need lies within so many of the first bytes.
    pub(crate) const STATE_BYTES: usize =
        offset_of!(Self, nals) + offset_of!(Nals, prefix) + h264::SLICE_PREFIX_BYTES;

    /// Asks for the memory of the parameter sets, once the state is near.
    pub(crate) fn prefetch_sets(&self) {
        match self.nals.coding {
            Coding::H264 => self.nals.h264.prefetch_sets(),
            Coding::Hevc => self.nals.hevc.prefetch_sets(),
        }
    }

    /// Bytes pushed so far.
    pub(crate) const fn position(&self) -> u64 {
        self.scanner.position()
    }

    /// A unit begins with the next byte.
    pub(crate) fn unit_start(&mut self, stamps: Timestamps, output: &mut impl Output) {
        self.unit_end(output);
        let nals = &mut self.nals;
        nals.units.start(self.scanner.position(), stamps);
        nals.unit_nonzero = None;
        nals.unit_open = true;
        nals.unit_stamped = false;
        nals.in_step |= nals.whole_units;
    }

    /// The open unit is complete.
    pub(crate) fn unit_end(&mut self, output: &mut impl Output) {
        self.nals.unit_open = false;
        if self.nals.whole_units {
            self.scanner.interrupt();
            self.nals.end_unit(self.scanner.position(), output);
        }
    }

    /// Whole units may be missing here.
    pub(crate) fn skipped(&mut self, output: &mut impl Output) {
        let nals = &mut self.nals;
        nals.h264.gap();
        nals.hevc.gap();
        // Parameter sets whose picture may be among them.
        if let Some(open) = nals.open.take() {
            output.access_unit(&open, self.scanner.position());
        }
    }

    /// Bytes are missing here.
    pub(crate) fn gap(&mut self, output: &mut impl Output) {
        self.scanner.interrupt();
        let nals = &mut self.nals;
        if nals.whole_units {
            nals.end_slice(self.scanner.position(), output);
        } else {
            nals.units.lost();
        }
        nals.nal = None;
        nals.tentative = None;
        nals.in_step = false;
        nals.unit_torn = nals.unit_open;
        nals.h264.gap();
        nals.hevc.gap();
        // Nothing that follows can start with the first byte of the unit.
        nals.unit_nonzero.get_or_insert(u64::MAX);
        if let Some(open) = &mut nals.open {
            open.damaged = true;
            open.torn = !nals.whole_units;
        }
    }

    /// The next bytes.
    pub(crate) fn push(&mut self, piece: &[u8], output: &mut impl Output) {
        let Self { scanner, nals } = self;
        let base = scanner.position();
        nals.find_nonzero(piece, base);
        scanner.scan(piece, |start| nals.start(start, piece, base, output));
        nals.read(piece, base, scanner.position(), output);
    }

    /// The next bytes are a start code of four bytes, and perhaps some of its NAL unit's header.
    pub(crate) fn push_code(&mut self, code: &[u8], output: &mut impl Output) {
        let Self { scanner, nals } = self;
        if !scanner.is_calm() {
            return self.push(code, output);
        }
        let base = scanner.position();
        nals.find_nonzero(code, base);
        let start = scanner.pass_code(code);
        nals.start(start, code, base, output);
        nals.read(code, base, scanner.position(), output);
    }

    /// Whether further bytes tell nothing unless a start code is among them: a slice is open whose
    /// header is known.
    pub(crate) fn is_inside_slice(&self) -> bool {
        let is_slice = |nal: &Nal| nal.done && matches!(nal.kind, Some(Kind::Slice { .. }));
        let in_slice = self.nals.nal.as_ref().is_some_and(is_slice);
        in_slice && self.is_open() && self.nals.unit_nonzero.is_some() && self.scanner.is_calm()
    }

    /// So many bytes came [inside a slice](Self::is_inside_slice), and none of a start code.
    pub(crate) const fn pass(&mut self, len: u64) {
        self.scanner.pass(len);
    }

    /// No more bytes come: the open access unit ends here.
    pub(crate) fn finish(&mut self, output: &mut impl Output) {
        let end = self.scanner.position();
        let nals = &mut self.nals;
        nals.end_nal(end, output);
        match nals.open.take() {
            Some(open) => output.access_unit(&open, end),
            None => output.skipped(end),
        }
        nals.previous_start = None;
        nals.tentative = None;
    }

    /// An access unit is open.
    pub(crate) const fn is_open(&self) -> bool {
        self.nals.open.is_some()
    }

    /// Earliest byte at which an access unit may yet turn out to begin.
    pub(crate) fn undecided_from(&self) -> u64 {
        let nals = &self.nals;
        let zeros = self.scanner.position().saturating_sub(3);
        let nal = nals.nal.filter(|nal| !nal.done).map(|nal| nal.earliest());
        let tentative = nals.tentative.map(|nal| nal.earliest());
        let undecided = tentative.into_iter().chain(nal).min().unwrap_or(zeros).min(zeros);
        // A unit's leading zeros go with its first access unit.
        let leading = nals.units.open().filter(|_| nals.unit_nonzero.is_none());
        let zeros_max = LEADING_ZEROS_MAX + 3;
        match leading.filter(|unit| self.scanner.position() - unit <= zeros_max) {
            Some(unit) => undecided.min(unit),
            None => undecided,
        }
    }

    /// The picture's format, once parameter sets and a slice came.
    pub(crate) const fn format(&self) -> Option<&VideoFormat> {
        match self.nals.coding {
            Coding::H264 => self.nals.h264.format(),
            Coding::Hevc => self.nals.hevc.format(),
        }
    }

    /// The track is followed by a new list of tracks: its unit ended without a word.
    pub(crate) const fn unit_lost(&mut self) -> bool {
        std::mem::replace(&mut self.nals.unit_open, false)
    }
}

impl Nals {
    fn find_nonzero(&mut self, piece: &[u8], base: u64) {
        if self.unit_nonzero.is_none() {
            let zeros = piece.iter().position(|byte| *byte != 0);
            self.unit_nonzero = zeros.map(|zeros| base + length(zeros));
        }
    }

    /// The unit of whole access units ends before `end`.
    fn end_unit(&mut self, end: u64, output: &mut impl Output) {
        self.end_nal(end, output);
        self.tentative = None;
        let torn = std::mem::take(&mut self.unit_torn);
        match self.open {
            // Parameter sets of the picture that follows.
            Some(open) if !open.has_slices && !open.damaged => {}
            Some(open) => {
                self.open = None;
                output.access_unit(&open, end);
            }
            // Nothing of it came.
            None if torn => {
                output.access_unit(&AccessUnit { damaged: true, ..AccessUnit::default() }, end);
            }
            None => output.skipped(end),
        }
    }

    /// A slice that breaks off at `end` tells what there is of its header. Other NAL units do not:
    /// cut short, they could say something else.
    fn end_slice(&mut self, end: u64, output: &mut impl Output) {
        if self.nal.is_some_and(|nal| matches!(nal.kind, Some(Kind::Slice { .. }))) {
            self.end_nal(end, output);
        }
    }

    /// Where an access unit begins whose first NAL unit begins at `start`. Start codes of whole
    /// units have four bytes.
    const fn boundary(&self, start: Start) -> u64 {
        if self.whole_units { start.code } else { self.coding.boundary(start) }
    }

    fn start(&mut self, start: Start, piece: &[u8], base: u64, output: &mut impl Output) {
        self.read(piece, base, start.code, output);
        self.end_nal(start.code, output);
        let at = self.boundary(start);
        let leads = self.unit_nonzero.is_some_and(|nonzero| nonzero == start.nal - 1);
        let near = |unit: &u64| *unit <= at && at - *unit <= LEADING_ZEROS_MAX;
        let at_unit = self.units.open().filter(|unit| leads && near(unit));
        let want = self.coding.header_bytes();
        self.nal = Some(Nal { start, at_unit, kind: None, len: 0, want, done: false });
        if let Some(open) = &mut self.open {
            open.nals += 1;
        }
    }

    /// Keeps the bytes up to `end` that the open NAL unit wants, and looks at them.
    fn read(&mut self, piece: &[u8], base: u64, end: u64, output: &mut impl Output) {
        while let Some(nal) = &mut self.nal {
            if nal.done {
                return;
            }
            let next = nal.start.nal + length(nal.len);
            let missing = nal.want.saturating_sub(nal.len);
            let from = usize::try_from(next.saturating_sub(base)).unwrap_or(usize::MAX);
            let until = usize::try_from(end.saturating_sub(base)).unwrap_or(usize::MAX);
            let until = until.min(from.saturating_add(missing));
            let room = self.prefix.get_mut(nal.len..);
            if let (Some(bytes), Some(room)) = (piece.get(from..until), room) {
                for (to, byte) in room.iter_mut().zip(bytes) {
                    *to = *byte;
                }
                nal.len += bytes.len();
            }
            if nal.len < nal.want {
                return;
            }
            self.look(output);
        }
    }

    /// The open NAL unit ends before `end`; what is kept of it must do.
    fn end_nal(&mut self, end: u64, output: &mut impl Output) {
        let Some(nal) = &mut self.nal else { return };
        let length = usize::try_from(end.saturating_sub(nal.start.nal)).unwrap_or(usize::MAX);
        nal.len = nal.len.min(length);
        while self.nal.is_some_and(|nal| !nal.done) {
            self.look(output);
        }
        self.nal = None;
    }

    /// Looks at the kept bytes of the open NAL unit: as many as it wants, or all it has.
    fn look(&mut self, output: &mut impl Output) {
        let Some(mut nal) = self.nal else { return };
        match nal.kind {
            None => self.look_at_header(&mut nal, output),
            Some(Kind::Slice { .. }) => {
                self.look_at_slice(&nal, output);
                nal.done = true;
            }
            Some(Kind::Starter { contents, .. }) => {
                self.look_at_contents(&nal, contents);
                nal.done = true;
            }
            Some(Kind::Tentative | Kind::Follower) => nal.done = true,
        }
        self.nal = Some(nal);
    }

    fn look_at_header(&mut self, nal: &mut Nal, output: &mut impl Output) {
        let bytes = self.prefix.get(..nal.len).unwrap_or_default();
        let (kind, forbidden) = match self.coding {
            Coding::H264 => H264::classify(bytes),
            Coding::Hevc => Hevc::classify(bytes),
        };
        nal.kind = Some(kind);
        if self.whole_units && self.open.is_none() && kind != Kind::Follower {
            // Whatever comes first in its unit, the first slice or not.
            self.begin(nal, false, output);
        }
        match kind {
            Kind::Slice { prefix } => nal.want = prefix,
            Kind::Starter { delimiter, contents } => {
                self.delimiters |= delimiter;
                if self.open.is_none_or(|open| open.can_end()) {
                    self.begin(nal, delimiter, output);
                }
                nal.want = NAL_PREFIX_BYTES;
                nal.done = contents == Contents::Other;
            }
            Kind::Tentative if self.open.is_none_or(|open| open.can_end()) => {
                self.tentative.get_or_insert(*nal);
                nal.done = true;
            }
            Kind::Tentative | Kind::Follower => nal.done = true,
        }
        if let Some(open) = self.open.as_mut().filter(|_| forbidden) {
            open.damaged = true;
        }
    }

    fn look_at_slice(&mut self, nal: &Nal, output: &mut impl Output) {
        let bytes = self.prefix.get(..nal.len).unwrap_or_default();
        let in_picture = self.open.is_some_and(|open| open.has_slices);
        let slice = match self.coding {
            Coding::H264 => self.h264.slice(bytes, in_picture),
            Coding::Hevc => self.hevc.slice(bytes),
        };
        if slice.starts && self.open.is_none_or(|open| open.can_end()) {
            self.begin(nal, false, output);
        }
        self.unaligned |= nal.at_unit.is_some() && !slice.starts;
        self.tentative = None;
        self.in_step = true;
        let stamps = self.unit_stamps();
        let Some(open) = &mut self.open else { return };
        if !open.has_slices {
            open.has_slices = true;
            if self.whole_units {
                self.unit_stamped = true;
                open.stamps = stamps;
            }
            match self.coding {
                Coding::H264 => self.h264.begin_picture(open),
                Coding::Hevc => self.hevc.begin_picture(open),
            }
        }
        open.worst = open.worst.max(slice.slice_type);
        open.damaged |= slice.slice_type.is_none();
    }

    /// What the open unit of whole access units has for a picture that begins in it: they share
    /// its stamps, but only one can have them.
    fn unit_stamps(&self) -> Timestamps {
        if self.unit_stamped { Timestamps::default() } else { self.units.open_stamps() }
    }

    fn look_at_contents(&mut self, nal: &Nal, contents: Contents) {
        // One that is cut here would parse as something else.
        let bytes = self.prefix.get(..nal.len).unwrap_or_default();
        let whole = nal.len < NAL_PREFIX_BYTES;
        match (contents, self.coding) {
            (Contents::ParameterSet, Coding::H264) if whole => self.h264.parameter_set(bytes),
            (Contents::ParameterSet, Coding::Hevc) if whole => self.hevc.parameter_set(bytes),
            (Contents::Sei, Coding::H264) if h264::recovery_point(bytes).is_some() => {
                if let Some(open) = &mut self.open {
                    open.key = true;
                }
            }
            _ => {}
        }
    }

    /// An access unit begins with `nal`, or with what only this NAL unit confirms as its start.
    fn begin(&mut self, nal: &Nal, delimiter: bool, output: &mut impl Output) {
        let first = self.tentative.take().unwrap_or(*nal);
        let mut at = self.boundary(first.start);
        let is_slice = matches!(first.kind, Some(Kind::Slice { .. }));
        let decisive = self.coding.decisive(first.start, is_slice);
        match self.open.take() {
            Some(open) => output.access_unit(&open, at),
            None => {
                // With nothing before it, it takes all leading zeros of its unit, as in FFmpeg.
                at = first.at_unit.unwrap_or(at);
                output.skipped(at);
            }
        }
        let stamps = self.units.stamps(decisive, self.previous_start);
        let leads = self.units.is_first(decisive, self.previous_start);
        self.unaligned |= leads && first.at_unit.is_none() && self.in_step;
        // Where units begin with access units, a unit since the loss is as good as a slice.
        let tells = delimiter || !(self.delimiters || self.unaligned);
        let tells = tells && first.at_unit.is_some() && !self.whole_units;
        let whole = self.in_step || tells;
        let doubtful_stamps = !self.whole_units && self.units.is_between(at, decisive);
        self.previous_start = Some(at);
        self.open =
            Some(AccessUnit { stamps, doubtful_stamps, damaged: !whole, ..AccessUnit::default() });
    }
}

fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
