//! The line that `tap --format frames` writes for a frame.

use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest, Sha256};
use shm::{Frame, FrameFlags, TrackInfo};

/// One frame; the order of the fields is that of the line.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    seq: u64,
    track: u8,
    kind: &'a str,
    codec: &'a str,
    pts: Option<u64>,
    dts: Option<u64>,
    class: &'a str,
    key: bool,
    damaged: bool,
    size: u32,
    sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    discontinuity: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    times: Option<Times>,
}

#[derive(Debug, Serialize)]
struct Times {
    arrival_ns: u64,
    due_ns: u64,
    published_ns: u64,
}

impl<'a> Line<'a> {
    pub(super) fn new(frame: &Frame, track: &TrackInfo, bytes: &[u8], times: bool) -> Self {
        Self {
            seq: frame.sequence,
            track: frame.track,
            kind: track.codec.kind().label(),
            codec: track.codec.label(),
            pts: frame.pts,
            dts: frame.dts,
            class: frame.class.label(),
            key: frame.is_key(),
            damaged: frame.is_damaged(),
            size: frame.size,
            sha256: hexadecimal(&Sha256::digest(bytes)),
            field: field(frame.flags),
            discontinuity: frame.flags.contains(FrameFlags::DISCONTINUITY),
            times: times.then_some(Times {
                arrival_ns: frame.arrival_ns,
                due_ns: frame.due_ns,
                published_ns: frame.published_ns,
            }),
        }
    }
}

fn field(flags: FrameFlags) -> Option<&'static str> {
    if flags.contains(FrameFlags::FIELD_FIRST) {
        Some("first")
    } else if flags.contains(FrameFlags::FIELD_SECOND) {
        Some("second")
    } else {
        None
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use shm::{Codec, FrameClass};

    use super::*;

    fn frame(flags: FrameFlags) -> Frame {
        Frame {
            sequence: 7,
            gop: 1,
            track: 0,
            class: FrameClass::Idr,
            flags,
            pts: Some(8_589_934_600),
            dts: None,
            size: 3,
            arrival_ns: 1,
            due_ns: 2,
            published_ns: 3,
        }
    }

    #[test]
    fn a_line_has_exactly_the_documented_fields_in_their_order() {
        let track = TrackInfo { codec: Codec::H264, ..TrackInfo::default() };
        let line = Line::new(&frame(FrameFlags::KEY), &track, b"abc", false);
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            "{\"seq\":7,\"track\":0,\"kind\":\"video\",\"codec\":\"h264\",\"pts\":8589934600,\
             \"dts\":null,\"class\":\"idr\",\"key\":true,\"damaged\":false,\"size\":3,\"sha256\":\
             \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}"
        );
    }

    #[test]
    fn further_facts_stand_at_the_end() {
        let flags = FrameFlags::FIELD_SECOND | FrameFlags::DAMAGED | FrameFlags::DISCONTINUITY;
        let line = Line::new(&frame(flags), &TrackInfo::default(), b"", true);
        let text = serde_json::to_string(&line).unwrap();
        assert!(
            text.ends_with(
                "\",\"field\":\"second\",\"discontinuity\":true,\
                 \"arrival_ns\":1,\"due_ns\":2,\"published_ns\":3}"
            ),
            "{text}"
        );
        assert!(text.contains("\"damaged\":true"));
    }
}
