//! AAC in ADTS: raw access units out of a byte stream that comes in pieces of any size.
//!
//! A frame's length is in its header, so it is complete with its own last byte. A header found by
//! searching counts only when the next one confirms it; in step, the header where the last frame
//! ended is enough.

use codec::AudioFormat;
use codec::adts::{HEADER_BYTES, Header, Sync, find};
use codec::sink::Timestamps;

use crate::ratio::Ratio;
use crate::timeline::Stamps;
use crate::units::Units;

/// The longest frame and the header that confirms it fit.
pub(crate) const GATHER_BYTES: usize = 8192 + 64;

/// One raw access unit.
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
}

/// Frames one audio track.
#[derive(Debug)]
pub(crate) struct AdtsFrames {
    gathered: Box<[u8; GATHER_BYTES]>,
    len: usize,
    /// Position of the first gathered byte.
    start: u64,
    /// The first gathered byte starts a frame.
    in_step: bool,
    units: Units,
    previous_start: Option<u64>,
    clock: Clock,
    format: Option<AudioFormat>,
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

impl AdtsFrames {
    pub(crate) fn new() -> Self {
        Self {
            gathered: Box::new([0; GATHER_BYTES]),
            len: 0,
            start: 0,
            in_step: false,
            units: Units::default(),
            previous_start: None,
            clock: Clock::default(),
            format: None,
        }
    }

    /// Forgets everything; positions count from 0 again.
    pub(crate) fn reset(&mut self) {
        self.len = 0;
        self.start = 0;
        self.in_step = false;
        self.units = Units::default();
        self.previous_start = None;
        self.clock = Clock::default();
        self.format = None;
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
        self.in_step && self.len > 0
    }

    /// A unit begins with the next byte.
    pub(crate) fn unit_start(&mut self, stamps: Timestamps) {
        self.units.start(self.position(), stamps);
    }

    /// The next bytes.
    pub(crate) fn push(&mut self, mut piece: &[u8], output: &mut impl AudioOutput) {
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
        self.break_off(output);
        self.units.lost();
        self.clock = Clock::default();
    }

    /// No more bytes come.
    pub(crate) fn finish(&mut self, output: &mut impl AudioOutput) {
        self.drain(true, output);
        self.break_off(output);
    }

    /// Ends what is gathered: a frame that is known to be one is given as damaged.
    fn break_off(&mut self, output: &mut impl AudioOutput) {
        let bytes = self.gathered.get(..self.len).unwrap_or_default();
        let header = Header::parse(bytes).ok().filter(|_| self.in_step);
        match header {
            Some(header) if self.len > usize::from(header.header_bytes) => {
                self.frame(&header, self.len, true, output);
            }
            _ => self.skip(self.len, output),
        }
        self.in_step = false;
    }

    fn drain(&mut self, last: bool, output: &mut impl AudioOutput) {
        loop {
            let bytes = self.gathered.get(..self.len).unwrap_or_default();
            if !self.in_step {
                match find(bytes) {
                    Sync::Confirmed { offset, .. } => {
                        self.skip(offset, output);
                        self.in_step = true;
                    }
                    Sync::Unconfirmed { offset, header } => {
                        self.skip(offset, output);
                        // Nothing will confirm the last frame.
                        self.in_step = last && self.len >= usize::from(header.frame_bytes);
                        if !self.in_step {
                            return;
                        }
                    }
                    Sync::None { skip } => {
                        self.skip(skip, output);
                        return;
                    }
                }
                continue;
            }
            if bytes.len() < HEADER_BYTES {
                return;
            }
            let Ok(header) = Header::parse(bytes) else {
                self.in_step = false;
                continue;
            };
            let frame_bytes = usize::from(header.frame_bytes);
            if bytes.len() < frame_bytes {
                return;
            }
            self.frame(&header, frame_bytes, false, output);
        }
    }

    /// The first `len` gathered bytes are a frame.
    fn frame(&mut self, header: &Header, len: usize, broken: bool, output: &mut impl AudioOutput) {
        let mut own = self.units.stamps(self.start, self.previous_start);
        self.previous_start = Some(self.start);
        self.format = Some(header.format);
        let bytes = self.gathered.get(..len).unwrap_or_default();
        let apart = header.protected && header.blocks > 1;
        let samples = if apart { header.format.samples_per_frame } else { header.samples() };
        let ticks = u64::from(samples) * 90_000;
        let duration = Ratio::new(ticks, u64::from(header.format.sample_rate));
        for unit in header.access_units(bytes) {
            let stamps = self.clock.stamp(own, duration);
            own = Timestamps::default();
            output.audio_frame(&AudioFrame { bytes: unit, stamps, damaged: broken });
        }
        self.consume(len);
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

fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
