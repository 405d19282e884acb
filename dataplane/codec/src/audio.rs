//! Sound whose frames announce themselves: each begins with a header that says how long it is.
//!
//! | syntax | codings | header |
//! |---|---|---|
//! | [`Adts`](Syntax::Adts) | AAC | [`adts`] |
//! | [`Ac3`](Syntax::Ac3) | AC-3, E-AC-3 | [`ac3`] |
//! | [`MpegAudio`](Syntax::MpegAudio) | MPEG-1 and MPEG-2 audio, layers I to III | [`mpeg_audio`] |
//! | [`Loas`](Syntax::Loas) | AAC in LATM | [`latm`] |
//! | [`OpusControl`](Syntax::OpusControl) | Opus in MPEG-TS | [`opus`] |
//!
//! **Resync.** Syncwords occur in coded sound, so a header found by searching counts only when the
//! next frame, `frame_bytes` further, starts with a header that can follow it ([`find`]). In step,
//! a header that parses where the last frame ended is enough.

use crate::{Error, ac3, adts, latm, mpeg_audio, opus};

/// How the frames of a track of sound begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Syntax {
    /// AAC in ADTS.
    Adts,
    /// AC-3 and E-AC-3 syncframes.
    Ac3,
    /// MPEG audio frames.
    MpegAudio,
    /// AAC in LATM, in LOAS's AudioSyncStream.
    Loas,
    /// Opus behind the control headers of its carriage in MPEG-TS.
    OpusControl,
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Of AAC in ADTS.
    Adts(adts::Header),
    /// Of a syncframe.
    Ac3(ac3::Header),
    /// Of an MPEG audio frame.
    MpegAudio(mpeg_audio::Header),
    /// Of an AudioSyncStream frame.
    Loas(latm::Header),
    /// Of an Opus access unit.
    OpusControl(opus::ControlHeader),
}

impl Syntax {
    /// Bytes without which no header can be told. Some need more:
    /// [`parse`](Self::parse) says [`Error::Truncated`] then.
    pub const fn header_bytes(self) -> usize {
        match self {
            Self::Adts => adts::HEADER_BYTES,
            Self::Ac3 => ac3::HEADER_BYTES,
            Self::MpegAudio => mpeg_audio::HEADER_BYTES,
            Self::Loas => latm::HEADER_BYTES,
            Self::OpusControl => opus::CONTROL_HEADER_BYTES_MIN,
        }
    }

    /// Parses the header at the start of `bytes`.
    pub fn parse(self, bytes: &[u8]) -> Result<Header, Error> {
        match self {
            Self::Adts => adts::Header::parse(bytes).map(Header::Adts),
            Self::Ac3 => ac3::Header::parse(bytes).map(Header::Ac3),
            Self::MpegAudio => mpeg_audio::Header::parse(bytes).map(Header::MpegAudio),
            Self::Loas => latm::Header::parse(bytes).map(Header::Loas),
            Self::OpusControl => opus::ControlHeader::parse(bytes).map(Header::OpusControl),
        }
    }
}

impl Header {
    /// Bytes of the whole frame with its header.
    pub fn frame_bytes(&self) -> usize {
        match self {
            Self::Adts(header) => header.frame_bytes.into(),
            Self::Ac3(header) => header.frame_bytes.into(),
            Self::MpegAudio(header) => header.frame_bytes.into(),
            Self::Loas(header) => header.frame_bytes.into(),
            Self::OpusControl(header) => header.frame_bytes(),
        }
    }

    /// `next` can follow in the same stream.
    pub fn is_followed_by(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Adts(this), Self::Adts(next)) => this.is_followed_by(next),
            (Self::Ac3(this), Self::Ac3(next)) => this.is_followed_by(next),
            (Self::MpegAudio(this), Self::MpegAudio(next)) => this.is_followed_by(next),
            (Self::Loas(_), Self::Loas(_)) | (Self::OpusControl(_), Self::OpusControl(_)) => true,
            _ => false,
        }
    }
}

/// Result of looking for a frame in bytes of unknown alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// A frame starts at `offset` and another that can follow it comes behind it.
    Confirmed {
        /// Bytes before it.
        offset: usize,
        /// Its header.
        header: Header,
    },
    /// A header stands at `offset`, but its successor is not among the bytes: to confirm it,
    /// the bytes of the frame and the next header are needed.
    Unconfirmed {
        /// Bytes before it.
        offset: usize,
        /// Its header.
        header: Header,
    },
    /// No header starts in the first `skip` bytes; the rest is too short to tell.
    None {
        /// Bytes that hold no start of a frame.
        skip: usize,
    },
}

/// Looks for the first frame in `bytes`.
pub fn find(syntax: Syntax, bytes: &[u8]) -> Sync {
    let mut offset = 0;
    while let Some(rest) = bytes.get(offset..).filter(|rest| rest.len() >= syntax.header_bytes()) {
        match syntax.parse(rest) {
            Err(Error::Truncated) => return Sync::None { skip: offset },
            Err(_) => {}
            Ok(header) => match rest.get(header.frame_bytes()..) {
                Some(next) if next.len() >= syntax.header_bytes() => match syntax.parse(next) {
                    Ok(next) if header.is_followed_by(&next) => {
                        return Sync::Confirmed { offset, header };
                    }
                    Err(Error::Truncated) => return Sync::Unconfirmed { offset, header },
                    _ => {}
                },
                _ => return Sync::Unconfirmed { offset, header },
            },
        }
        offset += 1;
    }
    Sync::None { skip: offset }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of AAC-LC, 10 bytes.
    const AAC: [u8; 10] = [0xff, 0xf1, 0x4c, 0x80, 0x01, 0x5f, 0xfc, 1, 2, 3];

    #[test]
    fn a_sync_word_inside_data_is_no_frame() {
        let fake = [0xff, 0xf1, 0x4c, 0x80, 0x01, 0x7f, 0xfc];
        let stream = [&fake[..], &AAC, &AAC].concat();
        let header = Syntax::Adts.parse(&AAC).unwrap();
        assert_eq!(find(Syntax::Adts, &stream), Sync::Confirmed { offset: 7, header });
        assert_eq!(find(Syntax::Adts, &AAC), Sync::Unconfirmed { offset: 0, header });
        assert_eq!(find(Syntax::Adts, &[7; 20]), Sync::None { skip: 14 });
        assert_eq!(find(Syntax::Adts, &[]), Sync::None { skip: 0 });
    }

    #[test]
    fn a_header_of_unknown_length_waits_for_more() {
        let unit = [0x7f, 0xe0, 1, 0xfc];
        let stream = [&[9, 9][..], &unit, &unit].concat();
        let header = Syntax::OpusControl.parse(&unit).unwrap();
        assert_eq!(find(Syntax::OpusControl, &stream), Sync::Confirmed { offset: 2, header });
        let long = [9, 9, 0x7f, 0xf0, 255, 1, 0];
        assert_eq!(find(Syntax::OpusControl, &long), Sync::None { skip: 2 });
    }

    #[test]
    fn each_syntax_finds_its_own() {
        let ac3 = [&[0x0b, 0x77, 0, 0, 0, 0x40, 0x40, 0][..], &[0; 120]].concat();
        let mpeg = [&[0xff, 0xfd, 0x14, 0][..], &[0; 92]].concat();
        let loas = [0x56, 0xe0, 1, 0];
        for (syntax, frame) in
            [(Syntax::Ac3, &ac3[..]), (Syntax::MpegAudio, &mpeg), (Syntax::Loas, &loas)]
        {
            let header = syntax.parse(frame).unwrap();
            assert_eq!(header.frame_bytes(), frame.len(), "{syntax:?}");
            let stream = [&[1, 2, 3][..], frame, frame].concat();
            assert_eq!(find(syntax, &stream), Sync::Confirmed { offset: 3, header });
        }
    }
}
