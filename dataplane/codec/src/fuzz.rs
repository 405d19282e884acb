//! Bodies of the fuzz targets: each takes any bytes and checks what must hold for them.

use crate::annexb::{Scanner, nal_units};
use crate::audio::{self, Header, Sync, Syntax};
use crate::{
    Error, SetChange, VideoFormat, ac3, adts, av1, data, h264, hevc, jpeg_xs, latm, mpeg_audio,
    mpeg_video, opus,
};

/// The first byte says how the rest is cut into pieces; the starts found must be those that the
/// definition gives for the whole.
pub fn annexb(data: &[u8]) {
    let Some((seed, stream)) = data.split_first() else { return };
    let mut scanner = Scanner::new();
    let mut found = Vec::new();
    let mut rest = stream;
    let mut length = usize::from(*seed);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        scanner.scan(piece, |start| found.push(start));
        rest = after;
        length = length * 5 % 389 + 1;
    }
    assert_eq!(scanner.position(), stream.len() as u64);
    let codes: Vec<usize> =
        (0..stream.len()).filter(|at| stream[*at..].starts_with(&[0, 0, 1])).collect();
    assert_eq!(found.len(), codes.len());
    for (start, code) in found.iter().zip(codes) {
        let long = code > 0 && stream[code - 1] == 0;
        assert_eq!(start.nal, code as u64 + 3);
        assert_eq!(start.code, code as u64 - u64::from(long));
    }
    assert_eq!(nal_units(stream).count(), found.len());
    for nal in nal_units(stream) {
        assert_ne!(nal.last(), Some(&0));
        assert!(!nal.windows(3).any(|window| window == [0, 0, 1]));
    }
}

/// An H.264 sequence parameter set.
pub fn h264_sps(data: &[u8]) {
    let Ok(sps) = h264::Sps::parse(data) else { return };
    check_format(&sps.format);
    assert!((4..=16).contains(&sps.frame_num_bits));
    let mut sets = h264::ParameterSets::new();
    check_repeat(data, |nal| sets.insert(nal));
    assert_eq!(sets.sps(sps.id), Some(&sps));
}

/// An H.264 picture parameter set.
pub fn h264_pps(data: &[u8]) {
    let Ok(pps) = h264::Pps::parse(data) else { return };
    let mut sets = h264::ParameterSets::new();
    check_repeat(data, |nal| sets.insert(nal));
    assert_eq!(sets.pps(pps.id), Some(&pps));
}

/// An H.264 stream in Annex B form: parameter sets and slices in any order.
pub fn h264_slice(data: &[u8]) {
    let mut sets = h264::ParameterSets::new();
    let mut previous: Option<h264::SliceHeader> = None;
    for nal in nal_units(data) {
        let _is_a_set = sets.insert(nal);
        let start = h264::SliceStart::parse(nal);
        let Ok(slice) = h264::SliceHeader::parse(nal, &sets) else { continue };
        let prefix = &nal[..nal.len().min(h264::SLICE_PREFIX_BYTES)];
        assert_eq!(h264::SliceHeader::parse(prefix, &sets), Ok(slice));
        let fields = |start: h264::SliceStart| (start.first_mb, start.pps_id);
        assert_eq!(start.map(fields), Ok((slice.first_mb, slice.pps_id)));
        assert!(sets.format(slice.pps_id).is_some() && sets.content_hash(slice.pps_id).is_some());
        assert!(!slice.is_second_field_of(&slice));
        if let Some(previous) = previous
            && slice.is_second_field_of(&previous)
            && slice.redundant_pic_cnt == 0
        {
            assert!(slice.starts_new_picture(&previous));
        }
        previous = Some(slice);
    }
}

/// An H.264 or HEVC SEI NAL unit.
pub fn sei(data: &[u8]) {
    if let Some(frames) = h264::recovery_point(data) {
        assert!(frames < 1 << 16);
    }
    if let Some(pictures) = hevc::recovery_point(data) {
        assert!((-(1 << 15)..1 << 15).contains(&pictures));
    }
}

/// An HEVC sequence parameter set.
pub fn hevc_sps(data: &[u8]) {
    let Ok(sps) = hevc::Sps::parse(data) else { return };
    check_format(&sps.format);
    assert!(sps.segment_address_bits < 32);
    let mut sets = hevc::ParameterSets::new();
    check_repeat(data, |nal| sets.insert(nal));
    assert_eq!(sets.sps(sps.id), Some(&sps));
}

/// An HEVC video or picture parameter set.
pub fn hevc_pps(data: &[u8]) {
    let mut sets = hevc::ParameterSets::new();
    if let Ok(vps) = hevc::Vps::parse(data) {
        check_repeat(data, |nal| sets.insert(nal));
        assert_eq!(sets.vps(vps.id), Some(&vps));
    }
    if let Ok(pps) = hevc::Pps::parse(data) {
        check_repeat(data, |nal| sets.insert(nal));
        assert_eq!(sets.pps(pps.id), Some(&pps));
    }
}

/// An HEVC stream in Annex B form: parameter sets and slices in any order.
pub fn hevc_slice(data: &[u8]) {
    let mut sets = hevc::ParameterSets::new();
    for nal in nal_units(data) {
        let _is_a_set = sets.insert(nal);
        let Ok(slice) = hevc::SliceHeader::parse(nal, &sets) else { continue };
        let prefix = &nal[..nal.len().min(hevc::SLICE_PREFIX_BYTES)];
        assert_eq!(hevc::SliceHeader::parse(prefix, &sets), Ok(slice));
        assert_eq!(hevc::SliceHeader::is_first_in_picture(nal), Some(slice.first_in_picture));
        assert_eq!(slice.dependent, slice.slice_type.is_none());
        assert!(!(slice.dependent && slice.first_in_picture));
        assert!(sets.format(slice.pps_id).is_some() && sets.content_hash(slice.pps_id).is_some());
    }
}

/// AAC frames behind junk.
pub fn adts(data: &[u8]) {
    let Some((frame, header)) = first_frame(Syntax::Adts, data) else { return };
    let Header::Adts(header) = header else { panic!("another header") };
    assert_eq!(adts::Header::parse(frame), Ok(header));
    assert!(u16::from(header.header_bytes) <= header.frame_bytes);
    assert!((1..=4).contains(&header.blocks));
    let bytes: usize = header.access_units(frame).map(<[u8]>::len).sum();
    assert!(bytes <= usize::from(header.frame_bytes) * usize::from(header.blocks));
    for unit in header.access_units(frame) {
        if let Some(format) = adts::with_program_config(&header.format, unit) {
            assert_eq!(format.sample_rate, header.format.sample_rate);
            assert!(format.audio_specific_config().len() <= 16);
        }
    }
}

/// AC-3 and E-AC-3 syncframes behind junk.
pub fn ac3(data: &[u8]) {
    let Some((frame, header)) = first_frame(Syntax::Ac3, data) else { return };
    let Header::Ac3(header) = header else { panic!("another header") };
    assert_eq!(ac3::Header::parse(&frame[..ac3::HEADER_BYTES]), Ok(header));
    assert!((8..=4096).contains(&header.frame_bytes));
    assert!((1..=6).contains(&header.format.channels));
    assert!((256..=1536).contains(&header.format.samples_per_frame));
}

/// MPEG audio frames behind junk.
pub fn mpeg_audio(data: &[u8]) {
    let Some((frame, header)) = first_frame(Syntax::MpegAudio, data) else { return };
    let Header::MpegAudio(header) = header else { panic!("another header") };
    assert_eq!(mpeg_audio::Header::parse(&frame[..mpeg_audio::HEADER_BYTES]), Ok(header));
    assert!((24..=2881).contains(&header.frame_bytes), "{}", header.frame_bytes);
    assert!((8_000..=48_000).contains(&header.format.sample_rate));
}

/// LATM elements one after the other, each behind its length: access units lie in them.
pub fn latm(data: &[u8]) {
    let mut known = None;
    let mut rest = data;
    while let Some((length, behind)) = rest.split_first() {
        let (element, behind) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = behind;
        let mut element = element.to_vec();
        let bits = 8 * element.len();
        let Ok(units) = latm::units(&element, &mut known) else { continue };
        let units: Vec<latm::Unit> = units.map_while(Result::ok).collect();
        let mut end = 0;
        for unit in units {
            assert!(end < unit.bit && unit.bit + 8 * unit.len <= bits);
            end = unit.bit + 8 * unit.len;
            let first = bits_at(&element, unit);
            let place = latm::align(&mut element, unit);
            assert_eq!(place.len(), unit.len);
            assert_eq!(element[place].first().copied(), first);
        }
        assert!(known.is_some_and(|known| known.format.sample_rate > 0));
    }
}

/// The first byte of a unit, which begins at any bit.
fn bits_at(element: &[u8], unit: latm::Unit) -> Option<u8> {
    let mut bits = crate::rbsp::BitReader::plain(element);
    bits.skip(u32::try_from(unit.bit).ok()?).ok()?;
    (unit.len > 0).then(|| bits.bits8(8).ok())?
}

/// Opus control headers behind junk, and the input itself as a packet.
pub fn opus(data: &[u8]) {
    if let Ok(samples) = opus::samples(data, data.len()) {
        assert!((120..=5_760).contains(&samples));
    }
    let Some((frame, header)) = first_frame(Syntax::OpusControl, data) else { return };
    let Header::OpusControl(header) = header else { panic!("another header") };
    assert_eq!(opus::ControlHeader::parse(frame), Ok(header));
    assert!(header.unit_bytes > 0 && usize::from(header.unit_bytes) <= opus::ACCESS_UNIT_BYTES_MAX);
    assert!(usize::from(header.header_bytes) <= frame.len());
}

/// A payload of data: cells and segments lie in it.
pub fn data(payload: &[u8]) {
    let mut at = 0;
    while let Some(Ok(cell)) = data::metadata_cell(payload, at) {
        assert!(cell.start == at + 5 && cell.range().end <= payload.len());
        at = cell.range().end;
    }
    if let Ok(segments) = data::subtitling_segments(payload) {
        assert!(segments.len() >= 6 && payload[2..].starts_with(segments));
    }
}

/// Headers of MPEG video behind start codes: what they add up to.
pub fn mpeg_video(data: &[u8]) {
    let mut sequence = None;
    for header in mpeg_video::headers(data) {
        let prefix = &header[..header.len().min(mpeg_video::HEADER_BYTES)];
        if let Ok(format) = mpeg_video::sequence_header(header) {
            assert_eq!(mpeg_video::sequence_header(prefix), Ok(format));
            check_format(&format);
            sequence = Some(format);
        }
        if let Some(before) = &sequence
            && let Ok(format) = mpeg_video::sequence_extension(header, before)
        {
            assert_eq!(mpeg_video::sequence_extension(prefix, before), Ok(format));
            check_format(&format);
        }
        if let Ok(picture) = mpeg_video::PictureHeader::parse(header) {
            assert!(picture.temporal_reference < 1024);
        }
        let _of_any = (mpeg_video::is_field(header), mpeg_video::is_closed_group(header));
    }
}

/// Boxes one after the other and a codestream behind them: a longer input says the same of what is
/// whole in a shorter one, and what is said is of sense.
pub fn jpeg_xs(data: &[u8]) {
    let mut description = jpeg_xs::Description::default();
    let mut rest = data;
    while let Some(header) = rest.first_chunk()
        && let Some(length) = jpeg_xs::box_length(header)
    {
        description.read(&rest[..length.min(rest.len()).min(jpeg_xs::BOX_PREFIX_BYTES)]);
        rest = &rest[length.min(rest.len())..];
    }
    if let Some((numerator, denominator)) = description.frame_rate {
        assert!(numerator > 0 && denominator > 0);
    }
    let prefix = &rest[..rest.len().min(jpeg_xs::HEADER_BYTES)];
    if let Ok(format) = jpeg_xs::format(prefix, &description) {
        assert_eq!(jpeg_xs::format(rest, &description), Ok(format));
        check_format(&format);
    }
}

/// OBUs one after the other: they lie behind each other, and what they say is of sense.
pub fn av1(data: &[u8]) {
    let mut bytes = 0;
    let mut sequence: Option<av1::SequenceHeader> = None;
    for obu in av1::obus(data).map_while(Result::ok) {
        assert_eq!(obu.bytes.as_ptr(), data[bytes..].as_ptr());
        assert_eq!(obu.bytes.len(), usize::from(obu.header.header_bytes) + obu.payload.len());
        bytes += obu.bytes.len();
        let reduced = sequence.is_some_and(|sequence| sequence.reduced_still_picture);
        match obu.header.obu_type {
            av1::ObuType::SEQUENCE_HEADER => {
                sequence = av1::SequenceHeader::parse(obu.payload).ok().or(sequence);
            }
            av1::ObuType::FRAME | av1::ObuType::FRAME_HEADER => {
                if let Ok(header) = av1::FrameHeader::parse(obu.payload, reduced) {
                    assert!(header.shows() || !header.is_random_access_point());
                }
            }
            _ => {}
        }
    }
    assert!(bytes <= data.len());
    if let Some(sequence) = sequence {
        check_format(&sequence.format);
    }
    if let Ok((value, len)) = av1::leb128(data) {
        let (short, short_len) = av1::to_leb128(value);
        assert!(short_len <= len);
        assert_eq!(av1::leb128(&short[..short_len]), Ok((value, short_len)));
    }
}

/// Where the first frame of the syntax begins, and its header.
fn first_frame(syntax: Syntax, data: &[u8]) -> Option<(&[u8], Header)> {
    match audio::find(syntax, data) {
        Sync::Confirmed { offset, header } => {
            let next = &data[offset + header.frame_bytes()..];
            assert!(syntax.parse(next).is_ok_and(|next| header.is_followed_by(&next)));
            Some((&data[offset..], header))
        }
        Sync::Unconfirmed { offset, header } => Some((&data[offset..], header)),
        Sync::None { skip } => {
            let rest = &data[skip..];
            let short = rest.len() < syntax.header_bytes();
            assert!(short || syntax.parse(rest) == Err(Error::Truncated));
            None
        }
    }
}

fn check_format(format: &VideoFormat) {
    assert!((1..=format.coded_width).contains(&format.width));
    assert!((1..=format.coded_height).contains(&format.height));
    assert!((8..=16).contains(&format.bit_depth_luma));
    assert!((8..=16).contains(&format.bit_depth_chroma));
    if let Some((numerator, denominator)) = format.frame_rate {
        assert!(numerator > 0 && denominator > 0);
    }
}

/// A set is new once; its repeat, with or without trailing zeros, is no change.
fn check_repeat(nal: &[u8], mut insert: impl FnMut(&[u8]) -> Result<SetChange, Error>) {
    assert_eq!(insert(nal), Ok(SetChange::New));
    let mut padded = nal.to_vec();
    padded.push(0);
    assert_eq!(insert(&padded), Ok(SetChange::Unchanged));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Every file, every truncation of its first bytes and every flip of one of their bits: no
    /// panic, and the body's checks hold.
    fn replay(name: &str, body: fn(&[u8])) {
        const DAMAGED_BYTES: usize = 200;
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus");
        let folder = corpora.join(format!("codec_{name}"));
        let mut files = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            let mut bytes = std::fs::read(entry.unwrap().path()).unwrap();
            body(&bytes);
            let damaged = bytes.len().min(DAMAGED_BYTES);
            for len in 0..damaged {
                body(&bytes[..len]);
            }
            for bit in 0..damaged * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                body(&bytes);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            files += 1;
        }
        assert!(files >= 8, "{} is nearly empty", folder.display());
    }

    #[test]
    fn corpus_annexb() {
        replay("annexb", super::annexb);
    }

    #[test]
    fn corpus_h264_sps() {
        replay("h264_sps", super::h264_sps);
    }

    #[test]
    fn corpus_h264_pps() {
        replay("h264_pps", super::h264_pps);
    }

    #[test]
    fn corpus_h264_slice() {
        replay("h264_slice", super::h264_slice);
    }

    #[test]
    fn corpus_sei() {
        replay("sei", super::sei);
    }

    #[test]
    fn corpus_hevc_sps() {
        replay("hevc_sps", super::hevc_sps);
    }

    #[test]
    fn corpus_hevc_pps() {
        replay("hevc_pps", super::hevc_pps);
    }

    #[test]
    fn corpus_hevc_slice() {
        replay("hevc_slice", super::hevc_slice);
    }

    #[test]
    fn corpus_adts() {
        replay("adts", super::adts);
    }
    #[test]
    fn corpus_ac3() {
        replay("ac3", super::ac3);
    }

    #[test]
    fn corpus_mpeg_audio() {
        replay("mpeg_audio", super::mpeg_audio);
    }

    #[test]
    fn corpus_latm() {
        replay("latm", super::latm);
    }

    #[test]
    fn corpus_opus() {
        replay("opus", super::opus);
    }
    #[test]
    fn corpus_mpeg_video() {
        replay("mpeg_video", super::mpeg_video);
    }

    #[test]
    fn corpus_data() {
        replay("data", super::data);
    }

    #[test]
    fn corpus_av1() {
        replay("av1", super::av1);
    }

    #[test]
    fn corpus_jpeg_xs() {
        replay("jpeg_xs", super::jpeg_xs);
    }
}
