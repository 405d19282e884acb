//! Session descriptions (RFC 8866) of the payload formats here: off the packet path.
//!
//! A parameter that would change how packets are read and is not supported refuses the description,
//! by its name; formats that are not supported are left out, as long as another one of their medium is
//! left.

use std::net::IpAddr;

use codec::latm::MuxConfig;

use crate::format::{CONFIGURATION_BYTES_MAX, Encoding, Format};
use crate::payload::aac::AacParameters;
use crate::payload::{DEPTH_MAX, ParameterSets};
use crate::rtx::Association;
use crate::session::{Feedback, TrackSetup};

/// The names of the formats that are supported, as errors tell them.
const NAMES: &str =
    "H264, H265, AV1, jxsv, MP2T, mpeg4-generic, MP4A-LATM, opus, L16, L24, PCMU, PCMA";

/// What is wrong with a description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// It does not parse.
    #[error("not a session description: {0}")]
    Syntax(String),
    /// It has no medium that is supported; what is wrong with each.
    #[error("no medium can be received ({0}); supported are {NAMES}")]
    NothingSupported(String),
    /// A medium is not used (RFC 8866, 5.14).
    #[error("port 0: it is not sent")]
    NotSent,
    /// A medium is not carried as is supported.
    #[error("{0} is not supported; allowed are RTP/AVP and RTP/AVPF, which are not encrypted")]
    Profile(String),
    /// What is wrong with a line.
    #[error("{line}: {error}")]
    Line {
        /// How it begins.
        line: String,
        /// What is wrong.
        error: Box<Self>,
    },
    /// A payload type is not below 128.
    #[error("payload type {0:?} is not a number from 0 to 127")]
    PayloadType(String),
    /// A dynamic payload type has no rtpmap.
    #[error("payload type {0} is dynamic and has no rtpmap")]
    NoMap(u8),
    /// An encoding is not supported.
    #[error("{0:?} is not supported; supported are {NAMES}")]
    Encoding(String),
    /// A parameter has a value that is not supported.
    #[error("{encoding}: {key}={value} is not supported; allowed: {allowed}")]
    Parameter {
        /// Encoding name.
        encoding: &'static str,
        /// Parameter.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
}

impl SdpError {
    /// Whether a description is refused for it: leaving the medium out is not what was meant.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Parameter { .. } | Self::Profile(_) => true,
            Self::Line { error, .. } => error.is_refusal(),
            _ => false,
        }
    }

    fn in_line(self, line: String) -> Self {
        Self::Line { line, error: Box::new(self) }
    }
}

/// One medium.
#[derive(Debug, Clone, PartialEq)]
pub struct Medium {
    /// Port of RTP.
    pub port: u16,
    /// Port of RTCP: the next one unless said otherwise, the same when multiplexed.
    pub rtcp_port: u16,
    /// Connection address, when there is one.
    pub address: Option<IpAddr>,
    /// Source that a source filter allows (RFC 4570).
    pub source: Option<IpAddr>,
    /// What the session makes of it.
    pub setup: TrackSetup,
    /// What the sender lets itself be asked for.
    pub feedback: Feedback,
    /// Frames a second.
    pub frame_rate: Option<f64>,
    /// Width and height.
    pub frame_size: Option<(u32, u32)>,
    /// Index of the medium whose second leg this is (RFC 7104, DUP).
    pub leg_of: Option<usize>,
}

/// A description.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// The media that can be received.
    pub media: Vec<Medium>,
    /// What was left out, for the log.
    pub left_out: Vec<String>,
}

impl Description {
    /// Reads a description.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        let session = sdp_types::Session::parse(text.as_bytes())
            .map_err(|error| SdpError::Syntax(error.to_string()))?;
        let mut description = Self { media: Vec::new(), left_out: Vec::new() };
        let mut mids = Vec::new();
        for media in &session.medias {
            let read = medium(&session, media);
            match read.map_err(|error| error.in_line(format!("m={} {}", media.media, media.port))) {
                Ok(medium) => {
                    description.media.push(medium);
                    mids.push(value(&media.attributes, "mid").unwrap_or("").to_owned());
                }
                Err(error) if error.is_refusal() => return Err(error),
                Err(error) => description.left_out.push(error.to_string()),
            }
        }
        if description.media.is_empty() {
            let mut why = description.left_out.join("; ");
            if why.is_empty() {
                why.push_str("it has no m= line");
            }
            return Err(SdpError::NothingSupported(why));
        }
        for group in values(&session.attributes, "group") {
            let mut names = group.split_whitespace();
            if names.next() == Some("DUP") {
                let legs = names.filter_map(|name| mids.iter().position(|mid| mid == name));
                description.join(legs.collect());
            }
        }
        Ok(description)
    }

    fn join(&mut self, legs: Vec<usize>) {
        if let [first, second] = legs[..]
            && let Some(medium) = self.media.get_mut(second)
        {
            medium.leg_of = Some(first);
        }
    }
}

/// The format of a payload type that is given by name, as in a custom mapping: `name/clock[/channels]`
/// and parameters as of `a=fmtp`.
pub fn format(payload_type: u8, map: &str, parameters: &str) -> Result<Format, SdpError> {
    let mut parts = map.trim().split('/');
    let name = parts.next().unwrap_or_default();
    let clock_hz = parts.next().and_then(|clock| clock.trim().parse().ok());
    let channels = parts.next().and_then(|channels| channels.trim().parse().ok());
    let parameters = Parameters::parse(parameters);
    let encoding = encoding(name, &parameters)?;
    let standard = match encoding {
        Encoding::Opus | Encoding::L24 => 48_000,
        Encoding::Pcma | Encoding::Pcmu => 8_000,
        Encoding::L16 | Encoding::Aac { .. } | Encoding::Latm { .. } => 44_100,
        _ => 90_000,
    };
    let clock_hz: u32 = clock_hz.unwrap_or(standard);
    if clock_hz == 0 {
        let (key, allowed) = ("clock rate", "1 or more");
        return Err(SdpError::Parameter { encoding: "rtpmap", key, value: "0".into(), allowed });
    }
    let silent = standard == 90_000;
    let channels = if silent { 0 } else { channels.unwrap_or(1) };
    Ok(Format { payload_type, clock_hz, channels, encoding })
}

fn medium(session: &sdp_types::Session, media: &sdp_types::Media) -> Result<Medium, SdpError> {
    let (mut found, mut first_error) = (None, None);
    let is_rtp = ["RTP/AVP", "RTP/AVPF"].iter().any(|name| media.proto.eq_ignore_ascii_case(name));
    if media.port == 0 {
        return Err(SdpError::NotSent);
    }
    if !is_rtp && matches!(media.media.as_str(), "video" | "audio") {
        return Err(SdpError::Profile(media.proto.clone()));
    }
    for text in media.fmt.split_whitespace() {
        match format_of(text, media) {
            Ok(format) => {
                found = Some(format);
                break;
            }
            Err(error) if error.is_refusal() => return Err(error),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    let format = found
        .ok_or_else(|| first_error.unwrap_or_else(|| SdpError::PayloadType(media.fmt.clone())))?;
    let attributes = &media.attributes;
    let connection = media.connections.first().or(session.connection.as_ref());
    let address = connection.and_then(|c| c.connection_address.split('/').next()?.parse().ok());
    let muxed = attributes.iter().any(|attribute| attribute.attribute == "rtcp-mux");
    let rtcp = value(attributes, "rtcp").and_then(|v| v.split_whitespace().next()?.parse().ok());
    let next = media.port.saturating_add(1);
    Ok(Medium {
        port: media.port,
        rtcp_port: if muxed { media.port } else { rtcp.unwrap_or(next) },
        address,
        source: source_filter(attributes).or_else(|| source_filter(&session.attributes)),
        setup: TrackSetup {
            format: Some(format),
            ssrc: value(attributes, "ssrc")
                .and_then(|v| v.split_whitespace().next()?.trim().parse().ok()),
            rtx: retransmission(attributes, format.payload_type),
            rist: false,
        },
        feedback: feedback(attributes, format.payload_type),
        frame_rate: value(attributes, "framerate").and_then(|v| v.trim().parse().ok()),
        frame_size: frame_size(attributes, format.payload_type),
        leg_of: None,
    })
}

fn format_of(text: &str, media: &sdp_types::Media) -> Result<Format, SdpError> {
    let payload_type: u8 = text
        .parse()
        .ok()
        .filter(|payload_type| *payload_type < 128)
        .ok_or_else(|| SdpError::PayloadType(text.to_owned()))?;
    let parameters = of_type(&media.attributes, "fmtp", payload_type).unwrap_or_default();
    match of_type(&media.attributes, "rtpmap", payload_type) {
        Some(map) => format(payload_type, map, parameters).map_err(|error| {
            let line = if error.is_refusal() { "fmtp" } else { "rtpmap" };
            error.in_line(format!("a={line}:{payload_type}"))
        }),
        None if payload_type >= 96 => Err(SdpError::NoMap(payload_type)),
        None => Format::of_static(payload_type)
            .ok_or_else(|| SdpError::Encoding(format!("payload type {payload_type}"))),
    }
}

/// What follows `name:` in the attribute of this name.
fn value<'a>(attributes: &'a [sdp_types::Attribute], name: &'a str) -> Option<&'a str> {
    values(attributes, name).next()
}

fn values<'a>(
    attributes: &'a [sdp_types::Attribute],
    name: &'a str,
) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |attribute| attribute.attribute == name)
        .filter_map(|attribute| attribute.value.as_deref())
}

/// The rest of the attribute that begins with the payload type.
fn of_type<'a>(
    attributes: &'a [sdp_types::Attribute],
    name: &'a str,
    payload_type: u8,
) -> Option<&'a str> {
    values(attributes, name).find_map(|text| {
        let (kind, rest) = text.trim().split_once(char::is_whitespace)?;
        (kind.parse() == Ok(payload_type)).then_some(rest.trim())
    })
}

fn retransmission(attributes: &[sdp_types::Attribute], original: u8) -> Option<Association> {
    let map = values(attributes, "rtpmap").find_map(|text| {
        let (kind, name) = text.trim().split_once(char::is_whitespace)?;
        let kind = kind.parse().ok()?;
        let is_rtx = name.trim().split('/').next()?.eq_ignore_ascii_case("rtx");
        let parameters = Parameters::parse(of_type(attributes, "fmtp", kind)?);
        (is_rtx && parameters.number("apt") == Some(original.into())).then_some(kind)
    });
    map.map(|payload_type| Association { payload_type, original })
}

fn feedback(attributes: &[sdp_types::Attribute], payload_type: u8) -> Feedback {
    let mut feedback = Feedback::default();
    for text in values(attributes, "rtcp-fb") {
        let mut words = text.split_whitespace();
        let kind = words.next().unwrap_or_default();
        if kind != "*" && kind.parse() != Ok(payload_type) {
            continue;
        }
        match (words.next(), words.next()) {
            (Some("nack"), None) => feedback.nack = true,
            (Some("nack"), Some("pli")) => feedback.pli = true,
            (Some("ccm"), Some("fir")) => feedback.fir = true,
            _ => {}
        }
    }
    feedback
}

/// `a=framesize:96 1920-1080`, or `a=x-dimensions:1920,1080`.
fn frame_size(attributes: &[sdp_types::Attribute], payload_type: u8) -> Option<(u32, u32)> {
    let size = of_type(attributes, "framesize", payload_type).and_then(|v| v.split_once('-'));
    let size = size.or_else(|| value(attributes, "x-dimensions")?.split_once(','));
    let (width, height) = size?;
    Some((width.trim().parse().ok()?, height.trim().parse().ok()?))
}

/// `a=source-filter: incl IN IP4 232.1.1.1 192.0.2.7`.
fn source_filter(attributes: &[sdp_types::Attribute]) -> Option<IpAddr> {
    let mut words = value(attributes, "source-filter")?.split_whitespace();
    (words.next() == Some("incl")).then(|| words.nth(3)?.parse().ok())?
}

/// `key=value; key=value`, keys in any case.
struct Parameters<'a> {
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Parameters<'a> {
    fn parse(text: &'a str) -> Self {
        let pairs = text.split(';').map(|pair| match pair.split_once('=') {
            Some((key, value)) => (key.trim(), value.trim().trim_matches('"')),
            None => (pair.trim(), ""),
        });
        Self { pairs: pairs.filter(|(key, _)| !key.is_empty()).collect() }
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| *value)
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.text(key)?.parse().ok()
    }

    /// A number in a range, or `default` when it is not there.
    fn within(
        &self,
        encoding: &'static str,
        key: &'static str,
        max: u32,
        default: u32,
        allowed: &'static str,
    ) -> Result<u32, SdpError> {
        let Some(text) = self.text(key) else { return Ok(default) };
        text.parse().ok().filter(|value| *value <= max).ok_or_else(|| SdpError::Parameter {
            encoding,
            key,
            value: text.to_owned(),
            allowed,
        })
    }
}

fn encoding(name: &str, parameters: &Parameters<'_>) -> Result<Encoding, SdpError> {
    Ok(match name.to_ascii_uppercase().as_str() {
        "H264" | "AVC" => h264(parameters)?,
        "H265" | "HEVC" => hevc(parameters)?,
        "AV1" => Encoding::Av1,
        "JXSV" | "JPEG-XS" | "JXS" => {
            parameters.within("jxsv", "packetmode", 1, 0, "0 or 1")?;
            parameters.within("jxsv", "transmode", 1, 1, "0 or 1")?;
            Encoding::JpegXs
        }
        "MP2T" => Encoding::MpegTs,
        "MPEG4-GENERIC" | "AAC" => aac(parameters)?,
        "MP4A-LATM" => latm(parameters)?,
        "OPUS" => Encoding::Opus,
        "L16" => Encoding::L16,
        "L24" => Encoding::L24,
        "PCMA" => Encoding::Pcma,
        "PCMU" => Encoding::Pcmu,
        _ => return Err(SdpError::Encoding(name.to_owned())),
    })
}

/// Depths of interleaving that are taken, up to [`DEPTH_MAX`].
const DEPTHS: &str = "0 to 64";
const _: () = assert!(DEPTH_MAX == 64, "the text says so");

fn h264(parameters: &Parameters<'_>) -> Result<Encoding, SdpError> {
    parameters.within("H264", "packetization-mode", 2, 0, "0, 1 or 2")?;
    let depth =
        parameters.within("H264", "sprop-interleaving-depth", DEPTH_MAX.into(), 0, DEPTHS)?;
    let mut sets = ParameterSets::EMPTY;
    for text in parameters.text("sprop-parameter-sets").unwrap_or_default().split(',') {
        add_sets(&mut sets, text, |nal| matches!(nal.first().map(|byte| byte & 0x9f), Some(7 | 8)));
    }
    Ok(Encoding::H264 { sets, depth: u8::try_from(depth).unwrap_or(0) })
}

fn hevc(parameters: &Parameters<'_>) -> Result<Encoding, SdpError> {
    if let Some(mode) = parameters.text("tx-mode").filter(|mode| *mode != "SRST") {
        return Err(SdpError::Parameter {
            encoding: "H265",
            key: "tx-mode",
            value: mode.to_owned(),
            allowed: "SRST: one stream",
        });
    }
    let depth = parameters.within("H265", "sprop-depack-buf-nalus", DEPTH_MAX.into(), 0, DEPTHS)?;
    let don_diff = parameters.within("H265", "sprop-max-don-diff", 32_767, 0, "0 to 32767")?;
    let mut sets = ParameterSets::EMPTY;
    for key in ["sprop-vps", "sprop-sps", "sprop-pps"] {
        for text in parameters.text(key).unwrap_or_default().split(',') {
            let kind = |nal: &[u8]| nal.first().map(|byte| byte >> 1);
            add_sets(&mut sets, text, |nal| matches!(kind(nal), Some(32..=34)));
        }
    }
    let depth = u8::try_from(depth).unwrap_or(0);
    Ok(Encoding::Hevc { sets, has_order: don_diff > 0, depth })
}

/// Adds the parameter set of a base64 text. Some cameras leave start codes in, put several behind one
/// another, or add junk: what is no parameter set is left out.
fn add_sets(sets: &mut ParameterSets, text: &str, is_set: impl Fn(&[u8]) -> bool) {
    let bytes = base64(text);
    let first_code = bytes.windows(3).position(|window| window == [0, 0, 1]);
    let head = bytes.get(..first_code.unwrap_or(bytes.len())).unwrap_or_default();
    let head_end = head.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let head = head.get(..head_end).unwrap_or_default();
    for nal in std::iter::once(head).chain(codec::annexb::nal_units(&bytes)) {
        if nal.len() > 3 && is_set(nal) {
            sets.push(nal);
        }
    }
}

fn aac(parameters: &Parameters<'_>) -> Result<Encoding, SdpError> {
    const NAME: &str = "mpeg4-generic";
    let mode = parameters.text("mode").unwrap_or("AAC-hbr");
    let base = match mode.to_ascii_lowercase().as_str() {
        "aac-hbr" => AacParameters::HBR,
        "aac-lbr" => AacParameters::LBR,
        "generic" => {
            AacParameters { size_bits: 0, index_bits: 0, index_delta_bits: 0, ..AacParameters::HBR }
        }
        _ => {
            let (key, allowed) = ("mode", "AAC-hbr, AAC-lbr or generic");
            return Err(SdpError::Parameter { encoding: NAME, key, value: mode.into(), allowed });
        }
    };
    let allowed = "0: access units are taken in the order they come";
    parameters.within(NAME, "maxDisplacement", 0, 0, allowed)?;
    let bits = |key, default: u8| {
        let value = parameters.within(NAME, key, 32, default.into(), "0 to 32")?;
        Ok::<u8, SdpError>(u8::try_from(value).unwrap_or(0))
    };
    let constant_size = parameters.number("constantSize").unwrap_or(0);
    let default_size = if constant_size > 0 { 0 } else { base.size_bits };
    let config = hex(parameters.text("config").unwrap_or_default());
    let samples = parameters
        .number("constantDuration")
        .and_then(|duration| u16::try_from(duration).ok())
        .filter(|duration| *duration > 0);
    let parameters = AacParameters {
        size_bits: bits("sizeLength", default_size)?,
        index_bits: bits("indexLength", base.index_bits)?,
        index_delta_bits: bits("indexDeltaLength", base.index_delta_bits)?,
        cts_delta_bits: bits("CTSDeltaLength", 0)?,
        dts_delta_bits: bits("DTSDeltaLength", 0)?,
        random_access: parameters.number("randomAccessIndication") == Some(1),
        stream_state_bits: bits("streamStateIndication", 0)?,
        auxiliary_size_bits: bits("auxiliaryDataSizeLength", 0)?,
        constant_size,
        samples: samples.unwrap_or_else(|| frame_samples(&config)),
    };
    Ok(Encoding::Aac { parameters, configuration: configuration(&config) })
}

fn latm(parameters: &Parameters<'_>) -> Result<Encoding, SdpError> {
    const NAME: &str = "MP4A-LATM";
    let present = parameters.within(NAME, "cpresent", 1, 1, "0 or 1")?;
    if present == 1 {
        return Ok(Encoding::Latm { config: None });
    }
    let text = parameters.text("config").unwrap_or_default();
    let config = mux_config(&hex(text)).ok_or_else(|| SdpError::Parameter {
        encoding: NAME,
        key: "config",
        value: text.to_owned(),
        allowed: "a StreamMuxConfig of one programme and one layer of AAC",
    })?;
    Ok(Encoding::Latm { config: Some(config) })
}

/// A StreamMuxConfig that stands alone: read as that of an element with an empty access unit. Fields
/// behind its AudioSpecificConfig that are cut off are taken as 0.
pub(crate) fn mux_config(bytes: &[u8]) -> Option<MuxConfig> {
    const CUT_BYTES: usize = 2; // frameLengthType, latmBufferFullness, two flags
    let mut element = vec![0; bytes.len() + 2 + CUT_BYTES];
    // useSameStreamMux is 0, and shifts the rest by a bit.
    for (at, byte) in bytes.iter().enumerate() {
        *element.get_mut(at)? |= byte >> 1;
        *element.get_mut(at + 1)? |= byte << 7;
    }
    let mut config = None;
    codec::latm::units(&element, &mut config).ok()?;
    config
}

fn configuration(config: &[u8]) -> ([u8; CONFIGURATION_BYTES_MAX], u8) {
    let mut bytes = [0; CONFIGURATION_BYTES_MAX];
    let len = config.len().min(CONFIGURATION_BYTES_MAX);
    for (to, byte) in bytes.iter_mut().zip(config) {
        *to = *byte;
    }
    (bytes, u8::try_from(len).unwrap_or(0))
}

/// Samples of an access unit by the AudioSpecificConfig's frameLengthFlag (ISO/IEC 14496-3, 4.4.1);
/// 1,024 where that does not say.
fn frame_samples(config: &[u8]) -> u16 {
    let mut bits = crate::bytes::Bits::new(config);
    let rate = |bits: &mut crate::bytes::Bits<'_>| {
        (bits.take(4)? == 15).then(|| bits.take(24));
        Some(())
    };
    let mut short = || {
        let mut kind = bits.take(5)?;
        rate(&mut bits)?;
        bits.take(4)?;
        if matches!(kind, 5 | 29) {
            rate(&mut bits)?;
            kind = bits.take(5)?;
        }
        (1..=4).contains(&kind).then(|| bits.flag())?
    };
    if short() == Some(true) { 960 } else { 1_024 }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).filter_map(|d| u8::try_from(d).ok()).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

/// Base64 as far as it goes; other characters are skipped.
fn base64(text: &str) -> Vec<u8> {
    let (mut word, mut bits, mut bytes) = (0u32, 0, Vec::new());
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => break,
            _ => continue,
        };
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(word >> bits & 0xff).unwrap_or(0));
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
