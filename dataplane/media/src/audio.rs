//! Sound: access units out of a byte stream that comes in pieces of any size.
//!
//! ```text
//!  ADTS, LATM      raw AAC access units, without their headers
//!  Opus            packets, without their control headers
//!  AC-3            syncframes
//!  E-AC-3          a syncframe and those that belong to the same time behind it
//!  MPEG audio      frames
//! ```
//!
//! A frame's length is in its header, so it is complete with its own last byte; where others may
//! belong to it (E-AC-3), with the header of the next one. A header found by searching counts only
//! when the next one confirms it; in step, the header where the last frame ended is enough.

mod units;

use codec::audio::{Header, Sync, Syntax, find};
use codec::sink::{Codec, Timestamps, TrackConfig};
use codec::{AudioFormat, Error, adts, latm};

use self::units::{Unit, Units as WholeUnits};
use crate::counters::DropReason;
use crate::ratio::Ratio;
use crate::timeline::Stamps;
use crate::units::Units;

/// The longest frame and the header that confirms it fit.
pub(crate) const GATHER_BYTES: usize = 8192 + 64;

/// Most access units of a LATM element: numSubFrames has six bits.
const LATM_UNITS_MAX: usize = 64;

/// How a track of sound is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Its frames announce themselves.
    Syntax(Syntax),
    /// Its units are frames ([`Carriage::AccessUnits`]).
    Units(WholeUnits),
}

impl Way {
    /// For a track, if it can be split.
    pub(crate) fn of(track: &TrackConfig) -> Option<Self> {
        if let Some(units) = WholeUnits::of(track) {
            return Some(Self::Units(units));
        }
        match track.codec {
            Codec::Aac => Some(Self::Syntax(Syntax::Adts)),
            Codec::AacLatm => Some(Self::Syntax(Syntax::Loas)),
            Codec::Ac3 | Codec::Eac3 => Some(Self::Syntax(Syntax::Ac3)),
            Codec::MpegAudio => Some(Self::Syntax(Syntax::MpegAudio)),
            Codec::Opus => Some(Self::Syntax(Syntax::OpusControl)),
            _ => None,
        }
    }
}

/// One access unit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AudioFrame<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) stamps: Stamps,
    pub(crate) damaged: bool,
}

/// Takes what is found.
pub(crate) trait AudioOutput {
    /// A frame is complete, or broke off.
    fn audio_frame(&mut self, frame: &AudioFrame<'_>);
    /// Bytes that belong to no frame.
    fn skipped_bytes(&mut self, bytes: u64);
    /// A frame is not kept.
    fn dropped(&mut self, reason: DropReason);
}

/// Frames one audio track.
#[derive(Debug)]
pub(crate) struct AudioFrames {
    syntax: Syntax,
    /// Its units are frames: what is known of them, and the open one.
    whole: Option<WholeUnits>,
    unit: Option<Unit>,
    gathered: Box<[u8; GATHER_BYTES]>,
    len: usize,
    /// Position of the first gathered byte.
    start: u64,
    /// The first gathered byte starts a frame.
    in_step: bool,
    /// The first gathered bytes are a whole frame that may go on, and its header.
    joined: Option<(usize, Header)>,
    units: Units,
    previous_start: Option<u64>,
    clock: Clock,
    format: Option<AudioFormat>,
    latm: Option<latm::MuxConfig>,
}

/// Stamps of frames that start behind another in their unit.
#[derive(Debug, Clone, Copy, Default)]
struct Clock {
    next: Option<u64>,
}

impl Clock {
    /// Stamps the next frame, which lasts `duration` ticks.
    fn stamp(&mut self, own: Timestamps, duration: Ratio) -> Stamps {
        let pts = own.pts.or(self.next);
        self.next = pts.map(|pts| add_stable(pts, duration));
        Stamps {
            pts,
            dts: if own.pts.is_some() { own.dts.or(pts) } else { pts },
            derived: own.pts.is_none(),
        }
    }
}

/// `ticks` and one `duration` later, so that many in a row neither drift nor depend on where they
/// began: the whole durations in `ticks` plus one, and what `ticks` was off (FFmpeg's
/// `av_add_stable`).
fn add_stable(ticks: u64, duration: Ratio) -> u64 {
    let ticks = ticks.cast_signed();
    let whole = duration.invert().times(ticks);
    let exact = duration.times(whole);
    let next = duration.times(whole.saturating_add(1)).saturating_add(ticks - exact);
    next.max(0).cast_unsigned()
}

/// Ticks that so many samples of this sound last.
fn duration(samples: u16, format: &AudioFormat) -> Ratio {
    Ratio::new(u64::from(samples) * 90_000, u64::from(format.sample_rate))
}

impl AudioFrames {
    pub(crate) fn new() -> Self {
        Self {
            syntax: Syntax::Adts,
            whole: None,
            unit: None,
            gathered: Box::new([0; GATHER_BYTES]),
            len: 0,
            start: 0,
            in_step: false,
            joined: None,
            units: Units::default(),
            previous_start: None,
            clock: Clock::default(),
            format: None,
            latm: None,
        }
    }

    /// Forgets everything; positions count from 0 again.
    pub(crate) fn reset(&mut self, way: Way) {
        (self.syntax, self.whole) = match way {
            Way::Syntax(syntax) => (syntax, None),
            Way::Units(units) => (Syntax::Adts, Some(units)),
        };
        self.unit = None;
        self.len = 0;
        self.start = 0;
        self.in_step = false;
        self.joined = None;
        self.units = Units::default();
        self.previous_start = None;
        self.clock = Clock::default();
        self.format = None;
        self.latm = None;
    }

    /// What the last frame header said.
    pub(crate) const fn format(&self) -> Option<&AudioFormat> {
        self.format.as_ref()
    }

    /// Bytes pushed so far.
    pub(crate) fn position(&self) -> u64 {
        self.start + length(self.len)
    }

    /// A frame is begun and not complete.
    pub(crate) const fn is_open(&self) -> bool {
        self.unit.is_some() || self.in_step && self.len > 0
    }

    /// A unit begins with the next byte.
    pub(crate) fn unit_start(&mut self, stamps: Timestamps, output: &mut impl AudioOutput) {
        match self.whole {
            Some(_) => self.begin_unit(stamps, output),
            None => self.units.start(self.position(), stamps),
        }
    }

    /// The open unit is complete.
    pub(crate) fn unit_end(&mut self, output: &mut impl AudioOutput) {
        if self.whole.is_some() {
            self.end_unit(output);
        }
    }

    /// Whole units may be missing here.
    pub(crate) fn skipped(&mut self) {
        self.clock = Clock::default();
    }

    /// The next bytes.
    pub(crate) fn push(&mut self, mut piece: &[u8], output: &mut impl AudioOutput) {
        if self.whole.is_some() {
            return self.add_to_unit(piece, output);
        }
        while !piece.is_empty() {
            let room = self.gathered.get_mut(self.len..).unwrap_or_default();
            let (now, later) = piece.split_at(room.len().min(piece.len()));
            for (to, byte) in room.iter_mut().zip(now) {
                *to = *byte;
            }
            self.len += now.len();
            piece = later;
            self.drain(false, output);
            if now.is_empty() {
                // Cannot be: a full buffer holds a frame or nothing. Never loop on it.
                self.skip(self.len, output);
            }
        }
    }

    /// Bytes are missing here: a frame that is begun breaks off.
    pub(crate) fn gap(&mut self, output: &mut impl AudioOutput) {
        if self.whole.is_some() {
            return self.damage_unit();
        }
        self.break_off(output);
        self.units.lost();
        self.clock = Clock::default();
        // Elements to come may refer to a configuration that was lost.
        self.latm = None;
    }

    /// No more bytes come.
    pub(crate) fn finish(&mut self, output: &mut impl AudioOutput) {
        if self.whole.is_some() {
            self.damage_unit();
            return self.end_unit(output);
        }
        self.drain(true, output);
        self.end_joined(false, output);
        self.break_off(output);
    }

    /// Ends what is gathered: a frame that is known to be one is given as damaged.
    fn break_off(&mut self, output: &mut impl AudioOutput) {
        // What may have belonged to it is missing.
        self.end_joined(true, output);
        let bytes = self.gathered.get(..self.len).unwrap_or_default();
        match self.syntax.parse(bytes).ok().filter(|_| self.in_step) {
            Some(header) => self.frame(&header, self.len, true, output),
            None => self.skip(self.len, output),
        }
        self.in_step = false;
    }

    fn drain(&mut self, last: bool, output: &mut impl AudioOutput) {
        loop {
            if !self.in_step && !self.search(last, output) {
                return;
            }
            let behind = self.joined.map_or(0, |(len, _)| len);
            let bytes = self.gathered.get(behind..self.len).unwrap_or_default();
            if bytes.len() < self.syntax.header_bytes() {
                return;
            }
            match self.syntax.parse(bytes) {
                Err(Error::Truncated) if behind + bytes.len() < GATHER_BYTES => return,
                Err(_) => {
                    self.end_joined(false, output);
                    self.in_step = false;
                }
                Ok(header) if self.joined.is_some() && !continues(&header) => {
                    self.end_joined(false, output);
                }
                Ok(header) if behind + header.frame_bytes() > GATHER_BYTES => {
                    // More substreams than any programme has: what is there is a frame.
                    self.end_joined(true, output);
                }
                Ok(header) if bytes.len() < header.frame_bytes() => return,
                Ok(header) => self.whole(&header, behind, output),
            }
        }
    }

    /// Looks for the first frame; whether it is there.
    fn search(&mut self, last: bool, output: &mut impl AudioOutput) -> bool {
        let bytes = self.gathered.get(..self.len).unwrap_or_default();
        match find(self.syntax, bytes) {
            Sync::Confirmed { offset, .. } => {
                self.skip(offset, output);
                self.in_step = true;
            }
            Sync::Unconfirmed { offset, header } => {
                self.skip(offset, output);
                // Nothing will confirm the last frame.
                self.in_step = last && self.len >= header.frame_bytes();
            }
            Sync::None { skip } => self.skip(skip, output),
        }
        self.in_step
    }

    /// A frame is whole that begins `behind` the joined ones.
    fn whole(&mut self, header: &Header, behind: usize, output: &mut impl AudioOutput) {
        let len = behind + header.frame_bytes();
        if matches!(header, Header::Ac3(header) if header.format.codec == Codec::Eac3) {
            let first = self.joined.map_or(*header, |(_, first)| first);
            self.joined = Some((len, first));
        } else {
            // AC-3 is complete by itself.
            self.frame(header, len, false, output);
        }
    }

    /// Nothing more belongs to the joined frame.
    fn end_joined(&mut self, damaged: bool, output: &mut impl AudioOutput) {
        if let Some((len, header)) = self.joined.take() {
            self.frame(&header, len, damaged, output);
        }
    }

    /// The first `len` gathered bytes are a frame.
    fn frame(&mut self, header: &Header, len: usize, broken: bool, output: &mut impl AudioOutput) {
        let own = self.units.stamps(self.start, self.previous_start);
        self.previous_start = Some(self.start);
        match header {
            Header::Adts(header) => self.adts(header, len, own, broken, output),
            Header::Loas(header) => self.loas(*header, len, own, output),
            Header::Ac3(header) => self.plain(&header.format, 0, len, own, broken, output),
            Header::MpegAudio(header) => self.plain(&header.format, 0, len, own, broken, output),
            Header::OpusControl(header) => {
                let header_bytes = header.header_bytes.into();
                self.plain(&header.format, header_bytes, len, own, broken, output);
            }
        }
        self.consume(len);
    }

    /// One access unit behind `header_bytes`.
    fn plain(
        &mut self,
        format: &AudioFormat,
        header_bytes: usize,
        len: usize,
        own: Timestamps,
        broken: bool,
        output: &mut impl AudioOutput,
    ) {
        self.format = Some(*format);
        let stamps = self.clock.stamp(own, duration(format.samples_per_frame, format));
        match self.gathered.get(header_bytes..len) {
            Some(bytes) if !bytes.is_empty() => {
                output.audio_frame(&AudioFrame { bytes, stamps, damaged: broken });
            }
            _ => output.skipped_bytes(length(len)),
        }
    }

    fn adts(
        &mut self,
        header: &adts::Header,
        len: usize,
        mut own: Timestamps,
        broken: bool,
        output: &mut impl AudioOutput,
    ) {
        if len <= usize::from(header.header_bytes) && broken {
            return output.skipped_bytes(length(len));
        }
        self.format = Some(header.format);
        let bytes = self.gathered.get(..len).unwrap_or_default();
        let apart = header.protected && header.blocks > 1;
        let samples = if apart { header.format.samples_per_frame } else { header.samples() };
        for unit in header.access_units(bytes) {
            let stamps = self.clock.stamp(own, duration(samples, &header.format));
            own = Timestamps::default();
            output.audio_frame(&AudioFrame { bytes: unit, stamps, damaged: broken });
        }
    }

    /// The access units of an element, moved to whole bytes in place. One that broke off, or whose
    /// multiplex is not read, gives none.
    fn loas(
        &mut self,
        header: latm::Header,
        len: usize,
        mut own: Timestamps,
        output: &mut impl AudioOutput,
    ) {
        let whole = self.gathered.get_mut(latm::HEADER_BYTES..len).unwrap_or_default();
        if len < usize::from(header.frame_bytes) {
            return output.skipped_bytes(length(len));
        }
        // All are found before the first is moved: a move writes over bits that tell lengths.
        let mut found = [None; LATM_UNITS_MAX];
        let mut given = 0;
        if let Ok(units) = latm::units(whole, &mut self.latm) {
            for (place, unit) in found.iter_mut().zip(units.map_while(Result::ok)) {
                *place = Some(unit);
            }
        }
        let Some(config) = self.latm else { return output.skipped_bytes(length(len)) };
        self.format = Some(config.format);
        for unit in found.into_iter().flatten() {
            let samples = config.format.samples_per_frame;
            let stamps = self.clock.stamp(own, duration(samples, &config.format));
            own = Timestamps::default();
            let place = latm::align(whole, unit);
            let bytes = whole.get(place).unwrap_or_default();
            output.audio_frame(&AudioFrame { bytes, stamps, damaged: false });
            given += 1;
        }
        if given == 0 {
            output.skipped_bytes(length(len));
        }
    }

    fn skip(&mut self, bytes: usize, output: &mut impl AudioOutput) {
        if bytes > 0 {
            output.skipped_bytes(length(bytes));
            self.consume(bytes);
        }
    }

    fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(self.len);
        self.gathered.copy_within(bytes..self.len, 0);
        self.len -= bytes;
        self.start += length(bytes);
    }
}

/// It belongs to the frame before it.
const fn continues(header: &Header) -> bool {
    matches!(header, Header::Ac3(header) if header.continues)
}

fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
