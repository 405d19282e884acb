//! AAC in LATM (ISO/IEC 14496-3, 1.7), in LOAS's AudioSyncStream: syncword 11 bits (0x2b7), length
//! 13 bits, AudioMuxElement.
//!
//! Raw access units lie in the element at any bit. One programme with one layer is read, in frames
//! of variable length: what broadcast uses (ETSI TS 101 154, annex). Other multiplexes are refused
//! with the name of the field.

use core::ops::Range;

use crate::adts::{ConfigBits, SAMPLE_RATES};
use crate::rbsp::BitReader;
use crate::sink::Codec;
use crate::{AudioFormat, Error};

/// Bytes that [`Header::parse`] needs, and of the header: where the element starts.
pub const HEADER_BYTES: usize = 3;

/// The header of an AudioSyncStream frame (1.7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole frame with its header.
    pub frame_bytes: u16,
}

impl Header {
    /// Parses the header at the start of `bytes` ([`HEADER_BYTES`] suffice).
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let Some(&[sync, high, low]) = bytes.first_chunk() else { return Err(Error::Truncated) };
        if sync != 0x56 || high & 0xe0 != 0xe0 {
            return Err(Error::NoSync);
        }
        // An element has at least a byte.
        match u16::from_be_bytes([high & 0x1f, low]) {
            0 => Err(Error::OutOfRange("audioMuxLengthBytes")),
            length => Ok(Self { frame_bytes: length + 3 }),
        }
    }
}

/// What a StreamMuxConfig says (1.7.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MuxConfig {
    /// Of the one layer.
    pub format: AudioFormat,
    /// Access units of an element.
    pub units: u8,
}

impl MuxConfig {
    fn parse(bits: &mut BitReader<'_>) -> Result<Self, Error> {
        let version = bits.flag()?;
        if version && bits.flag()? {
            return Err(Error::OutOfRange("audioMuxVersionA"));
        }
        if version {
            let _tara_buffer_fullness = latm_value(bits)?;
        }
        if !bits.flag()? {
            return Err(Error::OutOfRange("allStreamsSameTimeFraming"));
        }
        let units = bits.bits8(6)? + 1;
        if bits.bits(4)? != 0 {
            return Err(Error::OutOfRange("numProgram"));
        }
        if bits.bits(3)? != 0 {
            return Err(Error::OutOfRange("numLayer"));
        }
        let format = if version {
            let length = latm_value(bits)?;
            let before = bits.rest_bits();
            let format = audio_specific_config(bits)?;
            // What it has beyond what is read: extensions, fill bits.
            let read = u32::try_from(before - bits.rest_bits()).unwrap_or(u32::MAX);
            bits.skip(length.checked_sub(read).ok_or(Error::OutOfRange("ascLen"))?)?;
            format
        } else {
            let format = audio_specific_config(bits)?;
            skip_sync_extension(bits)?;
            format
        };
        if bits.bits(3)? != 0 {
            return Err(Error::OutOfRange("frameLengthType"));
        }
        let _latm_buffer_fullness = bits.bits(8)?;
        Self::skip_other_data(bits, version)?;
        if bits.flag()? {
            bits.skip(8)?; // crcCheckSum
        }
        Ok(Self { format, units })
    }

    fn skip_other_data(bits: &mut BitReader<'_>, version: bool) -> Result<(), Error> {
        if !bits.flag()? {
            return Ok(());
        }
        if version {
            let _length = latm_value(bits)?;
            return Ok(());
        }
        // otherDataLenEsc: at most four bytes of length make sense.
        for _ in 0..4 {
            let more = bits.flag()?;
            bits.skip(8)?;
            if !more {
                return Ok(());
            }
        }
        Err(Error::OutOfRange("otherDataLenBits"))
    }
}

/// LatmGetValue() (1.7.3.1).
fn latm_value(bits: &mut BitReader<'_>) -> Result<u32, Error> {
    let bytes = bits.bits8(2)? + 1;
    bits.bits(8 * bytes)
}

/// The backward-compatible signalling of extensions (1.6.2.1) behind an AudioSpecificConfig. Without
/// a length before it, it should not be there (1.7.3.1); GStreamer's payloader leaves it in. Nothing
/// else begins like it: its first three bits are a reserved frameLengthType.
fn skip_sync_extension(bits: &mut BitReader<'_>) -> Result<(), Error> {
    const REPLICATION: u32 = 0x2b7;
    const PARAMETRIC_STEREO: u32 = 0x548;
    let follows = |bits: &BitReader<'_>, sync: u32| {
        let mut ahead = *bits;
        ahead.bits(11) == Ok(sync)
    };
    if !follows(bits, REPLICATION) {
        return Ok(());
    }
    bits.skip(11)?;
    if bits.bits(5)? != 5 {
        return Err(Error::OutOfRange("extensionAudioObjectType"));
    }
    if bits.flag()? {
        sampling_frequency(&mut |count| bits.bits(count))?;
        if follows(bits, PARAMETRIC_STEREO) {
            bits.skip(12)?; // with psPresentFlag
        }
    }
    Ok(())
}

/// What an AudioSpecificConfig of general audio says. Its bytes in the format are those that were
/// read: extensions behind them are left out.
pub fn describe(config: &[u8]) -> Result<AudioFormat, Error> {
    audio_specific_config(&mut BitReader::plain(config))
}

/// AudioSpecificConfig() of general audio (1.6.2.1, 4.4.1), copied as it is read.
fn audio_specific_config(bits: &mut BitReader<'_>) -> Result<AudioFormat, Error> {
    let mut config = ConfigBits::default();
    let mut copy = |count: u8| {
        let value = bits.bits(count)?;
        config.put(count, value);
        Ok::<u32, Error>(value)
    };
    let coded_type = copy(5)?;
    let sample_rate = sampling_frequency(&mut copy)?;
    let channels = match copy(4)? {
        channels @ 1..=6 => channels,
        7 => 8,
        _ => return Err(Error::OutOfRange("channelConfiguration")),
    };
    let mut object_type = coded_type;
    // Spectral band replication, told explicitly: the core coder's type comes behind it.
    if matches!(object_type, 5 | 29) {
        sampling_frequency(&mut copy)?;
        object_type = copy(5)?;
    }
    if !(1..=4).contains(&object_type) {
        return Err(Error::OutOfRange("audioObjectType"));
    }
    let short = copy(1)? == 1;
    if copy(1)? == 1 {
        copy(14)?; // coreCoderDelay
    }
    copy(1)?; // extensionFlag: nothing follows for these types
    Ok(AudioFormat {
        codec: Codec::Aac,
        object_type: low_byte(coded_type),
        profile: match coded_type {
            1 => "Main",
            2 => "LC",
            3 => "SSR",
            4 => "LTP",
            5 => "HE-AAC",
            _ => "HE-AACv2",
        },
        sample_rate,
        channels: low_byte(channels),
        samples_per_frame: if short { 960 } else { 1024 },
        config: config.bytes(),
    })
}

fn sampling_frequency(copy: &mut impl FnMut(u8) -> Result<u32, Error>) -> Result<u32, Error> {
    let rate = match copy(4)? {
        15 => copy(24)?,
        index => usize::try_from(index)
            .ok()
            .and_then(|index| SAMPLE_RATES.get(index).copied())
            .ok_or(Error::OutOfRange("samplingFrequencyIndex"))?,
    };
    if rate == 0 { Err(Error::OutOfRange("samplingFrequency")) } else { Ok(rate) }
}

const fn low_byte(value: u32) -> u8 {
    value.to_le_bytes()[0]
}

/// Where an access unit lies in its element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// First bit.
    pub bit: usize,
    /// Bytes.
    pub len: usize,
}

/// The access units of an AudioMuxElement. `config` is that of the element before, and is replaced
/// where this one carries its own; an element that refers to one that never came is refused.
pub fn units<'a>(element: &'a [u8], config: &mut Option<MuxConfig>) -> Result<Units<'a>, Error> {
    let mut bits = BitReader::plain(element);
    let use_same = bits.flag()?;
    if !use_same {
        *config = None;
        *config = Some(MuxConfig::parse(&mut bits)?);
    }
    let left = config.as_ref().ok_or(Error::OutOfRange("useSameStreamMux"))?.units;
    Ok(Units { bits, bits_in_all: 8 * element.len(), left })
}

/// Walks the access units of an element. One that does not fit ends it with an error.
#[derive(Debug, Clone)]
pub struct Units<'a> {
    bits: BitReader<'a>,
    bits_in_all: usize,
    left: u8,
}

impl Iterator for Units<'_> {
    type Item = Result<Unit, Error>;

    fn next(&mut self) -> Option<Result<Unit, Error>> {
        self.left = self.left.checked_sub(1)?;
        let unit = self.unit();
        if unit.is_err() {
            self.left = 0;
        }
        Some(unit)
    }
}

impl Units<'_> {
    /// PayloadLengthInfo() and PayloadMux().
    fn unit(&mut self) -> Result<Unit, Error> {
        let mut len = 0;
        loop {
            let part = self.bits.bits8(8)?;
            len += usize::from(part);
            if part < 255 {
                break;
            }
        }
        let bit = self.bits_in_all - self.bits.rest_bits();
        let mut rest = len;
        while rest > 0 {
            // At most 8191 bytes, the element's length: a few steps.
            let step = u32::try_from(rest.min(1 << 20)).unwrap_or(0);
            self.bits.skip(8 * step)?;
            rest -= rest.min(1 << 20);
        }
        Ok(Unit { bit, len })
    }
}

/// Moves an access unit to where its first byte begins, in place. What lies before and behind it
/// stays as it is. Gives its place.
pub fn align(element: &mut [u8], unit: Unit) -> Range<usize> {
    let (start, shift) = (unit.bit / 8, unit.bit % 8);
    let end = start + unit.len;
    if shift > 0 {
        for at in start..end {
            let next = element.get(at + 1).copied().unwrap_or(0);
            if let Some(byte) = element.get_mut(at) {
                *byte = *byte << shift | next >> (8 - shift);
            }
        }
    }
    start..end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::BitWriter;

    /// AAC-LC at 48 kHz in two channels, `units` access units an element.
    fn config(bits: &mut BitWriter, units: u32) {
        bits.u(1, 0).u(1, 1).u(6, units - 1).u(4, 0).u(3, 0);
        bits.u(5, 2).u(4, 3).u(4, 2).u(3, 0);
        bits.u(3, 0).u(8, 0xff).u(1, 0).u(1, 0);
    }

    fn payload(bits: &mut BitWriter, bytes: &[u8]) {
        let mut len = bytes.len();
        while len >= 255 {
            bits.u(8, 255);
            len -= 255;
        }
        bits.u(8, u32::try_from(len).unwrap());
        for byte in bytes {
            bits.u(8, (*byte).into());
        }
    }

    /// Without emulation prevention: the stop bit is the padding.
    fn element(bits: &BitWriter) -> Vec<u8> {
        bits.raw()
    }

    fn read(element: &[u8], known: &mut Option<MuxConfig>) -> Result<Vec<Vec<u8>>, Error> {
        let mut bytes = element.to_vec();
        let found: Vec<Unit> = units(element, known)?.collect::<Result<_, _>>()?;
        let mut aligned = |unit| align(&mut bytes, unit);
        let places: Vec<Range<usize>> = found.into_iter().map(&mut aligned).collect();
        Ok(places.into_iter().map(|place| bytes[place].to_vec()).collect())
    }

    fn long_unit() -> Vec<u8> {
        (0..700u32).map(|byte| low_byte(byte * 7)).collect()
    }

    #[test]
    fn units_are_found_at_their_bits() {
        let mut bits = BitWriter::default();
        bits.u(1, 0);
        config(&mut bits, 2);
        payload(&mut bits, &[1, 2, 0xff]);
        payload(&mut bits, &long_unit());
        let mut known = None;
        let found = read(&element(&bits), &mut known).unwrap();
        assert_eq!(found, [vec![1, 2, 0xff], long_unit()]);
        let format = known.unwrap().format;
        assert_eq!((format.sample_rate, format.channels, format.profile), (48_000, 2, "LC"));
        assert_eq!(format.audio_specific_config(), [0x11, 0x90]);
        // The next element refers to that configuration.
        let mut bits = BitWriter::default();
        bits.u(1, 1);
        payload(&mut bits, &[7]);
        payload(&mut bits, &[]);
        assert_eq!(read(&element(&bits), &mut known).unwrap(), [vec![7], vec![]]);
    }

    #[test]
    fn without_a_configuration_there_are_none() {
        let same = [0x80, 0, 0];
        assert_eq!(read(&same, &mut None), Err(Error::OutOfRange("useSameStreamMux")));
        // One that is refused voids the one before.
        let mut bits = BitWriter::default();
        bits.u(1, 0);
        config(&mut bits, 1);
        payload(&mut bits, &[1]);
        let mut known = None;
        read(&element(&bits), &mut known).unwrap();
        assert_eq!(read(&[0x60, 0, 0], &mut known), Err(Error::OutOfRange("audioMuxVersionA")));
        assert_eq!(known, None);
    }

    #[test]
    fn band_replication_has_the_core_coders_rate() {
        let mut bits = BitWriter::default();
        bits.u(1, 0).u(1, 0).u(1, 1).u(6, 0).u(4, 0).u(3, 0);
        bits.u(5, 5).u(4, 6).u(4, 2).u(4, 3).u(5, 2).u(3, 0);
        bits.u(3, 0).u(8, 0).u(1, 1).u(1, 1).u(8, 0).u(1, 0).u(8, 9).u(1, 1).u(8, 0x55);
        payload(&mut bits, &[3]);
        let mut known = None;
        assert_eq!(read(&element(&bits), &mut known).unwrap(), [[3]]);
        let format = known.unwrap().format;
        assert_eq!((format.sample_rate, format.profile), (24_000, "HE-AAC"));
        assert_eq!(format.audio_specific_config(), [0x2b, 0x11, 0x88, 0]);
    }

    #[test]
    fn a_configuration_of_version_1_tells_its_length() {
        let mut bits = BitWriter::default();
        bits.u(1, 0).u(1, 1).u(1, 0).u(2, 0).u(8, 0).u(1, 1).u(6, 0).u(4, 0).u(3, 0);
        bits.u(2, 0).u(8, 23).u(5, 2).u(4, 3).u(4, 6).u(3, 0).u(7, 0x55);
        bits.u(3, 0).u(8, 0).u(1, 0).u(1, 0);
        payload(&mut bits, &[9, 9]);
        let mut known = None;
        assert_eq!(read(&element(&bits), &mut known).unwrap(), [[9, 9]]);
        assert_eq!(known.unwrap().format.channels, 6);
    }

    #[test]
    fn extensions_told_behind_the_configuration_are_skipped() {
        for (replicated, stereo) in [(false, false), (true, false), (true, true)] {
            let mut bits = BitWriter::default();
            bits.u(1, 0).u(1, 0).u(1, 1).u(6, 0).u(4, 0).u(3, 0);
            bits.u(5, 2).u(4, 6).u(4, 2).u(3, 0);
            bits.u(11, 0x2b7).u(5, 5).u(1, replicated.into());
            if replicated {
                bits.u(4, 3);
            }
            if stereo {
                bits.u(11, 0x548).u(1, 1);
            }
            bits.u(3, 0).u(8, 0xff).u(1, 0).u(1, 0);
            payload(&mut bits, &[3, 4]);
            let mut known = None;
            assert_eq!(read(&element(&bits), &mut known).unwrap(), [[3, 4]]);
            let format = known.unwrap().format;
            assert_eq!((format.sample_rate, format.profile), (24_000, "LC"));
            assert_eq!(format.audio_specific_config(), [0x13, 0x10]);
        }
        let mut bits = BitWriter::default();
        bits.u(1, 0).u(1, 0).u(1, 1).u(6, 0).u(4, 0).u(3, 0);
        bits.u(5, 2).u(4, 6).u(4, 2).u(3, 0).u(11, 0x2b7).u(5, 7).u(30, 0);
        let refused = read(&element(&bits), &mut None);
        assert_eq!(refused, Err(Error::OutOfRange("extensionAudioObjectType")));
    }

    #[test]
    fn every_truncation_is_refused() {
        let mut bits = BitWriter::default();
        bits.u(1, 0);
        config(&mut bits, 2);
        payload(&mut bits, &[1, 2, 3]);
        payload(&mut bits, &[4; 300]);
        let whole = element(&bits);
        for len in 0..whole.len() - 1 {
            assert_eq!(read(&whole[..len], &mut None), Err(Error::Truncated), "{len}");
        }
    }

    #[test]
    fn frames_of_the_sync_stream() {
        assert_eq!(Header::parse(&[0x56, 0xe1, 0x02]), Ok(Header { frame_bytes: 0x105 }));
        let empty = Header::parse(&[0x56, 0xe0, 0]);
        assert_eq!(empty, Err(Error::OutOfRange("audioMuxLengthBytes")));
        assert_eq!(Header::parse(&[0x56, 0xc0, 9]), Err(Error::NoSync));
        assert_eq!(Header::parse(&[0x56, 0xe0]), Err(Error::Truncated));
    }
}
