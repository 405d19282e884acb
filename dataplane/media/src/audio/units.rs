//! Sound whose units are its frames: RTP says where each begins and ends, and nothing in the bytes
//! does.
//!
//! ```text
//!  AAC           a raw access unit; described by its AudioSpecificConfig (RFC 3640, RFC 6416)
//!  Opus          a packet, whose first byte says how long it lasts
//!  L16, L24      samples, big-endian, by turns of the channels
//!  G.711         samples of a byte
//! ```

use codec::sink::{Carriage, Codec, Timestamps, TrackConfig};
use codec::{AudioFormat, latm, opus};

use super::{AudioFrame, AudioFrames, AudioOutput, GATHER_BYTES, duration, length};
use crate::counters::DropReason;

/// Samples of an AAC access unit where no configuration says otherwise.
const AAC_SAMPLES: u16 = 1024;

/// What the transport says of a track whose units are frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Units {
    codec: Codec,
    clock_hz: u32,
    channels: u8,
}

impl Units {
    /// For a track, if its units are frames and its bytes do not announce them.
    pub(super) fn of(track: &TrackConfig) -> Option<Self> {
        let whole = track.carriage == Carriage::AccessUnits;
        let bare = matches!(
            track.codec,
            Codec::Aac | Codec::Opus | Codec::L16 | Codec::L24 | Codec::Pcma | Codec::Pcmu
        );
        let (codec, clock_hz, channels) = (track.codec, track.clock_hz.max(1), track.channels);
        (whole && bare).then_some(Self { codec, clock_hz, channels })
    }

    /// Bytes of one sample of all channels, where all have as many.
    fn sample_bytes(&self) -> Option<usize> {
        let channels = usize::from(self.channels.max(1));
        match self.codec {
            Codec::L16 => Some(2 * channels),
            Codec::L24 => Some(3 * channels),
            Codec::Pcma | Codec::Pcmu => Some(channels),
            _ => None,
        }
    }

    /// What holds where nothing else is said.
    fn format(&self, samples: u16) -> AudioFormat {
        AudioFormat {
            codec: self.codec,
            object_type: 0,
            profile: "unknown",
            sample_rate: self.clock_hz,
            channels: self.channels,
            samples_per_frame: samples,
            config: Default::default(),
        }
    }

    /// The format of AAC by its AudioSpecificConfig, which is kept as it came: readers may know
    /// more of it.
    fn described(&self, config: &[u8]) -> AudioFormat {
        let parsed = latm::describe(config);
        let format = parsed.unwrap_or_else(|_| self.format(AAC_SAMPLES));
        let mut kept = [0; 16];
        let Some(room) = kept.get_mut(..config.len()) else { return format };
        room.copy_from_slice(config);
        let len = u8::try_from(config.len()).unwrap_or_default();
        AudioFormat { config: (kept, len), ..format }
    }
}

/// The open unit; its bytes are what is gathered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit {
    stamps: Timestamps,
    damaged: bool,
    oversize: bool,
}

impl AudioFrames {
    /// What describes the track apart from its bytes.
    pub(crate) fn describe(&mut self, config: &[u8]) {
        if let Some(units) = self.whole.filter(|units| units.codec == Codec::Aac) {
            self.format = Some(units.described(config));
        }
    }

    pub(super) fn begin_unit(&mut self, stamps: Timestamps, output: &mut impl AudioOutput) {
        self.end_unit(output);
        self.unit = Some(Unit { stamps, damaged: false, oversize: false });
    }

    pub(super) fn add_to_unit(&mut self, bytes: &[u8], output: &mut impl AudioOutput) {
        let Some(unit) = &mut self.unit else { return output.skipped_bytes(length(bytes.len())) };
        match self.gathered.get_mut(self.len..self.len + bytes.len()) {
            Some(room) if !unit.oversize => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            _ => unit.oversize = true,
        }
    }

    pub(super) const fn damage_unit(&mut self) {
        if let Some(unit) = &mut self.unit {
            unit.damaged = true;
        }
    }

    pub(super) fn end_unit(&mut self, output: &mut impl AudioOutput) {
        let (Some(units), Some(unit)) = (self.whole, self.unit.take()) else { return };
        let len = std::mem::take(&mut self.len);
        if unit.oversize {
            return output.dropped(DropReason::Oversize);
        }
        let bytes = self.gathered.get(..len).unwrap_or_default();
        let Some((format, samples)) = read(&units, self.format, bytes) else {
            return output.dropped(DropReason::Invalid);
        };
        self.format = Some(format);
        let stamps = self.clock.stamp(unit.stamps, duration(samples, &format));
        output.audio_frame(&AudioFrame { bytes, stamps, damaged: unit.damaged });
    }
}

/// The format of the unit and its samples; `None` when it is no frame of its coding.
fn read(units: &Units, known: Option<AudioFormat>, bytes: &[u8]) -> Option<(AudioFormat, u16)> {
    if bytes.is_empty() {
        return None;
    }
    if units.codec == Codec::Opus {
        let format = opus::format(bytes, bytes.len()).ok()?;
        return Some((format, format.samples_per_frame));
    }
    let samples = match units.sample_bytes() {
        Some(sample) => u16::try_from(bytes.len() / sample).unwrap_or(u16::MAX),
        None => known.map_or(AAC_SAMPLES, |format| format.samples_per_frame),
    };
    // Packets of samples may differ in length: the first says what is usual.
    Some((known.unwrap_or_else(|| units.format(samples)), samples))
}

const _: () = assert!(GATHER_BYTES > opus::ACCESS_UNIT_BYTES_MAX, "an access unit fits");
