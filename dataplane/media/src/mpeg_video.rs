//! Pictures of MPEG-1 and MPEG-2 video in a byte stream that comes in pieces of any size.
//!
//! A frame is what FFmpeg's parser makes a packet of: the headers before a picture, the picture,
//! and its second field when it is one of a pair. It ends before the first start code behind its
//! slices that is none of a slice, or behind a sequence end code.
//!
//! A unit's stamps belong to the picture whose start code lies in it (H.222.0, 2.4.3.7): headers
//! before it may lie in the unit before.

use codec::annexb::{Scanner, Start};
use codec::mpeg_video::{
    HEADER_BYTES, PictureHeader, StartCode, is_closed_group, is_field, sequence_extension,
    sequence_header,
};
use codec::sink::Timestamps;
use codec::{SliceType, VideoFormat};

use crate::access_unit::{AccessUnit, Output};
use crate::frame_rate::field_ticks;
use crate::timeline::OrderCounter;
use crate::units::Units;

/// How far the open frame has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Headers before its picture.
    Headers,
    /// Its picture header came; the extension behind it may say that it is a field.
    Picture { field: bool },
    /// The second field of it.
    Second,
}

/// Splits one video track.
#[derive(Debug)]
pub(crate) struct MpegVideo {
    scanner: Scanner,
    pictures: Pictures,
}

#[derive(Debug)]
struct Pictures {
    units: Units,
    unit_open: bool,
    /// Start code whose header is being gathered.
    start: Option<Start>,
    header: [u8; HEADER_BYTES],
    len: usize,
    open: Option<AccessUnit>,
    stage: Stage,
    temporal_reference: u16,
    /// A group header that closes its group came since the last picture.
    closed: bool,
    /// A group header came since the last picture.
    group: bool,
    previous_picture: Option<u64>,
    /// A slice came since the last loss: the next start that is none is where a frame begins.
    in_step: bool,
    /// Units begin at other places than frames.
    unaligned: bool,
    order: OrderCounter,
    /// By the last sequence header, before its extension.
    sequence: Option<VideoFormat>,
    format: Option<VideoFormat>,
}

impl MpegVideo {
    pub(crate) fn new() -> Self {
        Self {
            scanner: Scanner::new(),
            pictures: Pictures {
                units: Units::default(),
                unit_open: false,
                start: None,
                header: [0; HEADER_BYTES],
                len: 0,
                open: None,
                stage: Stage::Headers,
                temporal_reference: 0,
                closed: false,
                group: false,
                previous_picture: None,
                in_step: false,
                unaligned: false,
                order: OrderCounter::NEW,
                sequence: None,
                format: None,
            },
        }
    }

    /// Forgets everything; positions count from 0 again.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Bytes pushed so far.
    pub(crate) const fn position(&self) -> u64 {
        self.scanner.position()
    }

    pub(crate) fn unit_start(&mut self, stamps: Timestamps) {
        self.pictures.units.start(self.scanner.position(), stamps);
        self.pictures.unit_open = true;
    }

    pub(crate) const fn unit_end(&mut self) {
        self.pictures.unit_open = false;
    }

    pub(crate) const fn unit_lost(&mut self) -> bool {
        std::mem::replace(&mut self.pictures.unit_open, false)
    }

    /// Bytes are missing here.
    pub(crate) fn gap(&mut self) {
        self.scanner.interrupt();
        let pictures = &mut self.pictures;
        pictures.start = None;
        pictures.units.lost();
        pictures.in_step = false;
        pictures.order.interrupt();
        if let Some(open) = &mut pictures.open {
            open.damaged = true;
            open.torn = true;
        }
    }

    /// The next bytes.
    pub(crate) fn push(&mut self, piece: &[u8], output: &mut impl Output) {
        let Self { scanner, pictures } = self;
        let base = scanner.position();
        scanner.scan(piece, |start| pictures.start(start, piece, base, output));
        pictures.read(piece, base, scanner.position(), output);
    }

    /// No more bytes come.
    pub(crate) fn finish(&mut self, output: &mut impl Output) {
        let end = self.scanner.position();
        let pictures = &mut self.pictures;
        pictures.look(output);
        match pictures.open.is_some() {
            true => pictures.end(end, output),
            false => output.skipped(end),
        }
        pictures.previous_picture = None;
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.pictures.open.is_some()
    }

    /// Earliest byte at which a frame may yet turn out to begin.
    pub(crate) fn undecided_from(&self) -> u64 {
        let zeros = self.scanner.position().saturating_sub(3);
        self.pictures.start.map_or(zeros, |start| zeros.min(start.nal.saturating_sub(3)))
    }

    pub(crate) const fn format(&self) -> Option<&VideoFormat> {
        self.pictures.format.as_ref()
    }
}

impl Pictures {
    fn start(&mut self, start: Start, piece: &[u8], base: u64, output: &mut impl Output) {
        self.read(piece, base, start.nal.saturating_sub(3), output);
        self.look(output);
        self.start = Some(start);
        self.len = 0;
    }

    /// Keeps the bytes up to `end` of the open header, and looks at it when it is whole.
    fn read(&mut self, piece: &[u8], base: u64, end: u64, output: &mut impl Output) {
        let Some(start) = self.start else { return };
        let next = start.nal + length(self.len);
        let from = usize::try_from(next.saturating_sub(base)).unwrap_or(usize::MAX);
        let until = usize::try_from(end.saturating_sub(base)).unwrap_or(usize::MAX);
        let until = until.min(piece.len()).min(from.saturating_add(HEADER_BYTES - self.len));
        if let (Some(bytes), Some(room)) = (piece.get(from..until), self.header.get_mut(self.len..))
        {
            for (to, byte) in room.iter_mut().zip(bytes) {
                *to = *byte;
            }
            self.len += bytes.len();
        }
        // A slice or an end says all by its name.
        let name = self.header.first().copied().map(StartCode::of).filter(|_| self.len > 0);
        let short = matches!(name, Some(StartCode::Slice | StartCode::SequenceEnd));
        if self.len == HEADER_BYTES || short {
            self.look(output);
        }
    }

    /// Looks at the gathered header: all there is of it.
    fn look(&mut self, output: &mut impl Output) {
        let Some(start) = self.start.take().filter(|_| self.len > 0) else { return };
        let bytes = self.header;
        let header = bytes.get(..self.len).unwrap_or_default();
        let at = start.nal.saturating_sub(3);
        let Some(name) = header.first().copied().map(StartCode::of) else { return };
        match name {
            StartCode::Slice => self.slice(at),
            StartCode::SequenceEnd => {
                if self.open.is_some_and(|open| open.has_slices) {
                    self.end(start.nal + 1, output);
                }
            }
            StartCode::Picture => self.picture(header, at, output),
            StartCode::Sequence | StartCode::Group => {
                self.before_picture(at, output);
                self.headers(name, header);
            }
            StartCode::Extension => self.extension(header),
            StartCode::Other => self.before_other(at, output),
        }
    }

    fn slice(&mut self, at: u64) {
        self.in_step = true;
        // A unit that begins with a slice begins inside a frame.
        self.unaligned |= self.starts_unit(at);
        if let Some(open) = self.open.as_mut().filter(|_| self.stage != Stage::Headers) {
            open.has_slices = true;
        }
    }

    fn starts_unit(&self, at: u64) -> bool {
        self.units.open() == Some(at)
    }

    /// Sequence and group headers end whatever is open behind its slices, a lone field too.
    fn before_picture(&mut self, at: u64, output: &mut impl Output) {
        if self.open.is_none_or(|open| open.has_slices || open.torn) {
            self.begin(at, output);
        }
    }

    /// User data and the like end a whole picture only.
    fn before_other(&mut self, at: u64, output: &mut impl Output) {
        let waits = self.stage == Stage::Picture { field: true };
        if self.open.is_some_and(|open| open.has_slices) && !waits {
            self.begin(at, output);
        }
    }

    fn headers(&mut self, name: StartCode, header: &[u8]) {
        if name == StartCode::Group {
            self.group = true;
            self.closed = is_closed_group(header);
            return;
        }
        if let Ok(sequence) = sequence_header(header) {
            self.sequence = Some(sequence);
            // What the extension added stays until it comes again: it follows every header.
            let extended = self.format.filter(|format| format.codec != sequence.codec);
            self.format = extended.or(Some(sequence));
        }
    }

    fn extension(&mut self, header: &[u8]) {
        if let Some(sequence) = &self.sequence
            && let Ok(format) = sequence_extension(header, sequence)
        {
            self.format = Some(format);
        } else if let Some(is_field) = is_field(header)
            && let Stage::Picture { field } = &mut self.stage
            && self.open.is_some_and(|open| !open.has_slices)
        {
            *field = is_field;
        }
    }

    fn picture(&mut self, header: &[u8], at: u64, output: &mut impl Output) {
        let parsed = PictureHeader::parse(header).ok();
        let waits = self.stage == Stage::Picture { field: true };
        let same = parsed.is_some_and(|it| it.temporal_reference == self.temporal_reference);
        if waits && same && self.open.is_some_and(|open| open.has_slices || open.torn) {
            self.stage = Stage::Second;
            return;
        }
        let headers = self.stage == Stage::Headers;
        if self.open.is_none_or(|open| open.has_slices || open.torn && !headers) {
            self.begin(at, output);
        }
        self.stage = Stage::Picture { field: false };
        let stamps = self.units.stamps(at, self.previous_picture);
        self.previous_picture = Some(at);
        let starts = self.group;
        let closed = std::mem::take(&mut self.group) && std::mem::take(&mut self.closed);
        let Some(open) = &mut self.open else { return };
        open.stamps = stamps;
        open.field_ticks = self.format.and_then(|format| format.frame_rate).map(field_ticks);
        let Some(picture) = parsed else {
            open.damaged = true;
            return;
        };
        self.temporal_reference = picture.temporal_reference;
        open.worst = Some(picture.slice_type);
        // As FFmpeg: every intra picture. Without a sequence header nothing can be decoded.
        open.key = picture.slice_type == SliceType::I && self.format.is_some();
        open.idr = open.key && closed;
        let reference = picture.slice_type != SliceType::B;
        let count = self.order.picture(starts, picture.temporal_reference, 10, reference);
        open.order = Some(self.order.order(2 * count));
    }

    /// A frame begins at `at`.
    fn begin(&mut self, at: u64, output: &mut impl Output) {
        match self.open.is_some() {
            true => self.end(at, output),
            false => output.skipped(at),
        }
        let aligned = self.starts_unit(at);
        self.unaligned |= !aligned && self.in_step && self.units.open().is_some();
        let whole = self.in_step || (aligned && !self.unaligned);
        self.open = Some(AccessUnit { damaged: !whole, ..AccessUnit::default() });
        self.stage = Stage::Headers;
    }

    /// The open frame ends before `end`.
    fn end(&mut self, end: u64, output: &mut impl Output) {
        let Some(mut open) = self.open.take() else { return };
        // A field without its other one.
        open.damaged |= self.stage == Stage::Picture { field: true };
        output.access_unit(&open, end);
        self.stage = Stage::Headers;
    }
}

fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
