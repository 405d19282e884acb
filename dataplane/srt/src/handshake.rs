//! Handshake bodies and their extensions (draft-sharabayko-srt-01, 3.2.1).
//!
//! ```text
//!  0                      16                     32
//!  |                 version 4 or 5               |
//!  |    encryption field   |   extension field    |
//!  |           initial sequence number            |
//!  |                     MTU                      |
//!  |                  flow window                 |
//!  |                     type                     |
//!  |                sender's socket id            |
//!  |                    cookie                    |
//!  |        peer address, 4 words, each reversed  |
//!  |  extension type       | words of content     |  repeated, version 5 conclusions only
//!  |                  content ...                 |
//! ```

use std::fmt;
use std::net::IpAddr;

use crate::Error;
use crate::bytes::{Writer, halves, join, word};
use crate::sequence::Sequence;

/// Bytes of a handshake body without extensions.
pub const HANDSHAKE_BYTES: usize = 48;
/// Magic of the extension field in a listener's induction answer.
pub const INDUCTION_MAGIC: u16 = 0x4a17;
/// Extension field of an induction request: what UDT called a datagram socket.
pub const INDUCTION_REQUEST_FIELD: u16 = 2;
/// Longest StreamID (3.2.1.3).
pub const STREAM_ID_BYTES_MAX: usize = 512;
/// Version announced in HSREQ and HSRSP: the libsrt release whose behaviour is followed. A libsrt
/// sender with AES-GCM reads from it which layout the peer knows: below 1.5.4 it uses an older one.
pub const SRT_VERSION: u32 = 0x0001_0504;

/// Bits of the extension field of a conclusion (3.2.1, table 3).
pub mod field {
    /// HSREQ or HSRSP follows.
    pub const HSREQ: u16 = 1;
    /// KMREQ or KMRSP follows.
    pub const KMREQ: u16 = 2;
    /// StreamID, congestion control, filter or group follows.
    pub const CONFIG: u16 = 4;
}

/// Extension types (3.2.1, table 4).
pub mod extension {
    /// Handshake request.
    pub const HSREQ: u16 = 1;
    /// Handshake response.
    pub const HSRSP: u16 = 2;
    /// Key material request.
    pub const KMREQ: u16 = 3;
    /// Key material response.
    pub const KMRSP: u16 = 4;
    /// StreamID.
    pub const STREAM_ID: u16 = 5;
    /// Name of the congestion control.
    pub const CONGESTION: u16 = 6;
    /// Packet filter.
    pub const FILTER: u16 = 7;
    /// Bonding group.
    pub const GROUP: u16 = 8;
}

/// Flags of HSREQ and HSRSP (3.2.1.1.1).
pub mod flag {
    /// Sends with timestamps meant for timed delivery.
    pub const TSBPDSND: u32 = 0x01;
    /// Delivers by timestamp.
    pub const TSBPDRCV: u32 = 0x02;
    /// Understands encryption.
    pub const CRYPT: u32 = 0x04;
    /// Drops packets that are too late.
    pub const TLPKTDROP: u32 = 0x08;
    /// Sends loss reports periodically.
    pub const PERIODICNAK: u32 = 0x10;
    /// Uses the retransmitted bit.
    pub const REXMITFLG: u32 = 0x20;
    /// Stream instead of message mode.
    pub const STREAM: u32 = 0x40;
    /// Understands packet filters.
    pub const FILTER: u32 = 0x80;
}

/// Type of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// First message and its answer.
    Induction,
    /// Second message and its answer.
    Conclusion,
    /// First message of a rendezvous.
    WaveAHand,
    /// Last message of a rendezvous.
    Agreement,
    /// Rejection.
    Rejected(RejectReason),
    /// Nothing known.
    Other(u32),
}

impl Kind {
    const fn code(self) -> u32 {
        match self {
            Self::Induction => 1,
            Self::Conclusion => 0xffff_ffff,
            Self::WaveAHand => 0,
            Self::Agreement => 0xffff_fffe,
            Self::Rejected(reason) => reason.0,
            Self::Other(code) => code,
        }
    }

    const fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Induction,
            0xffff_ffff => Self::Conclusion,
            0 => Self::WaveAHand,
            0xffff_fffe => Self::Agreement,
            1_000..=0x7fff_ffff => Self::Rejected(RejectReason(code)),
            _ => Self::Other(code),
        }
    }
}

/// Why a connection is refused, as the number on the wire: 1000 up for the protocol's own
/// reasons, 2000 up for access control in the manner of HTTP, 3000 up for private ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RejectReason(u32);

impl RejectReason {
    /// Unknown reason.
    pub const UNKNOWN: Self = Self(1_000);
    /// A system function failed.
    pub const SYSTEM: Self = Self(1_001);
    /// The peer refused.
    pub const PEER: Self = Self(1_002);
    /// No resources left.
    pub const RESOURCE: Self = Self(1_003);
    /// Wrong data in the handshake.
    pub const ROGUE: Self = Self(1_004);
    /// Listener's queue is full.
    pub const BACKLOG: Self = Self(1_005);
    /// Internal fault.
    pub const INTERNAL: Self = Self(1_006);
    /// The listener is closing.
    pub const CLOSE: Self = Self(1_007);
    /// Version too old.
    pub const VERSION: Self = Self(1_008);
    /// Rendezvous cookies collide.
    pub const RENDEZVOUS_COOKIE: Self = Self(1_009);
    /// Wrong passphrase.
    pub const BAD_SECRET: Self = Self(1_010);
    /// A passphrase is needed, or was not expected.
    pub const UNSECURE: Self = Self(1_011);
    /// Stream and message mode do not go together.
    pub const MESSAGE_API: Self = Self(1_012);
    /// Congestion control differs.
    pub const CONGESTION: Self = Self(1_013);
    /// Packet filter differs.
    pub const FILTER: Self = Self(1_014);
    /// Groups are not supported.
    pub const GROUP: Self = Self(1_015);
    /// Timed out.
    pub const TIMEOUT: Self = Self(1_016);
    /// Cryptographic mode differs.
    pub const CRYPTO: Self = Self(1_017);
    /// The StreamID cannot be read.
    pub const BAD_REQUEST: Self = Self(2_400);
    /// Authentication is needed.
    pub const UNAUTHORIZED: Self = Self(2_401);
    /// Too many connections, or a limit of the operator's.
    pub const OVERLOAD: Self = Self(2_402);
    /// Not allowed.
    pub const FORBIDDEN: Self = Self(2_403);
    /// No such resource.
    pub const NOT_FOUND: Self = Self(2_404);
    /// Publish and request modes do not go together.
    pub const BAD_MODE: Self = Self(2_405);
    /// What the StreamID asks cannot be served.
    pub const UNACCEPTABLE: Self = Self(2_406);
    /// The name is being published already.
    pub const CONFLICT: Self = Self(2_409);
    /// The kind of media is not supported.
    pub const NO_SUPPORT: Self = Self(2_415);
    /// Locked for now.
    pub const LOCKED: Self = Self(2_423);
    /// The service is not available.
    pub const UNAVAILABLE: Self = Self(2_503);

    /// Any code from 1000 up; `None` below, where codes mean something else.
    pub const fn new(code: u32) -> Option<Self> {
        if code >= 1_000 && code <= 0x7fff_ffff { Some(Self(code)) } else { None }
    }

    /// The number on the wire.
    pub const fn code(self) -> u32 {
        self.0
    }

    /// What it says, for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::SYSTEM => "a system function failed",
            Self::PEER => "the peer refused",
            Self::RESOURCE => "no resources left",
            Self::ROGUE => "wrong data in the handshake",
            Self::BACKLOG => "the listener's queue is full",
            Self::INTERNAL => "internal fault",
            Self::CLOSE => "the listener is closing",
            Self::VERSION => "version too old",
            Self::RENDEZVOUS_COOKIE => "rendezvous cookies collide",
            Self::BAD_SECRET => "wrong passphrase",
            Self::UNSECURE => "a passphrase is needed, or was not expected",
            Self::MESSAGE_API => "stream mode is not supported",
            Self::CONGESTION => "congestion control differs",
            Self::FILTER => "packet filter differs",
            Self::GROUP => "groups are not supported",
            Self::TIMEOUT => "timed out",
            Self::CRYPTO => "cryptographic mode differs",
            Self::BAD_REQUEST => "the StreamID cannot be read",
            Self::UNAUTHORIZED => "authentication is needed",
            Self::OVERLOAD => "too many connections",
            Self::FORBIDDEN => "not allowed",
            Self::NOT_FOUND => "no such resource",
            Self::BAD_MODE => "publish and request modes do not go together",
            Self::UNACCEPTABLE => "what the StreamID asks cannot be served",
            Self::CONFLICT => "the name is being published already",
            Self::NO_SUPPORT => "the kind of media is not supported",
            Self::LOCKED => "locked for now",
            Self::UNAVAILABLE => "the service is not available",
            _ => "unknown reason",
        }
    }
}

impl fmt::Debug for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RejectReason({})", self.0)
    }
}

/// A handshake body without extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// 4 or 5.
    pub version: u32,
    /// Key size in units of 8 bytes: 0 none, 2, 3 or 4.
    pub encryption: u16,
    /// Extension bits, magic or UDT socket type, by message.
    pub extension: u16,
    /// First sequence number the caller will send, shared by both directions.
    pub initial_sequence: Sequence,
    /// Largest packet with IP and UDP headers.
    pub mtu: u32,
    /// Packets that may be in flight to the sender of this handshake.
    pub flow_window: u32,
    /// Message.
    pub kind: Kind,
    /// Socket id of the sender of this handshake.
    pub socket_id: u32,
    /// Cookie.
    pub cookie: u32,
    /// Address the message goes to.
    pub peer: IpAddr,
}

impl Handshake {
    /// Splits a control body into the handshake and its extensions.
    ///
    /// A `peer` that is not an IPv4-style address (three zero words) reads as IPv6.
    pub fn parse(body: &[u8]) -> Result<(Self, Extensions<'_>), Error> {
        let (fixed, rest) = body.split_first_chunk::<HANDSHAKE_BYTES>().ok_or(Error::Truncated)?;
        let at = |index: usize| word(fixed, index * 4).unwrap_or_default();
        let (encryption, extension) = halves(at(1));
        if at(2) > Sequence::MASK {
            return Err(Error::BadInitialSequence);
        }
        let handshake = Self {
            version: at(0),
            encryption,
            extension,
            initial_sequence: Sequence::new(at(2)),
            mtu: at(3),
            flow_window: at(4),
            kind: Kind::from_code(at(5)),
            socket_id: at(6),
            cookie: at(7),
            peer: address([at(8), at(9), at(10), at(11)]),
        };
        Ok((handshake, Extensions { rest }))
    }

    /// Its wire form.
    pub fn encode(&self) -> [u8; HANDSHAKE_BYTES] {
        let mut out = [0; HANDSHAKE_BYTES];
        let mut writer = Writer::new(&mut out);
        for word in [
            self.version,
            join(self.encryption, self.extension),
            self.initial_sequence.value(),
            self.mtu,
            self.flow_window,
            self.kind.code(),
            self.socket_id,
            self.cookie,
        ] {
            writer.put_word(word);
        }
        for word in address_words(self.peer) {
            writer.put_word(word);
        }
        out
    }
}

/// libsrt copies the address as it lies in memory on a little-endian machine into words and then
/// swaps each to network order, so 127.0.0.1 travels as 01 00 00 7f.
fn address_words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(v4) => [u32::from_le_bytes(v4.octets()), 0, 0, 0],
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = v6.octets();
            [
                u32::from_le_bytes([a, b, c, d]),
                u32::from_le_bytes([e, f, g, h]),
                u32::from_le_bytes([i, j, k, l]),
                u32::from_le_bytes([m, n, o, p]),
            ]
        }
    }
}

fn address(words: [u32; 4]) -> IpAddr {
    let [first, second, third, fourth] = words;
    if second == 0 && third == 0 && fourth == 0 {
        return IpAddr::from(first.to_le_bytes());
    }
    let [a, b, c, d] = first.to_le_bytes();
    let [e, f, g, h] = second.to_le_bytes();
    let [i, j, k, l] = third.to_le_bytes();
    let [m, n, o, p] = fourth.to_le_bytes();
    IpAddr::from([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
}

/// One extension block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Its type, one of [`extension`].
    pub kind: u16,
    /// Its content, whole words.
    pub content: &'a [u8],
}

/// The extension blocks behind a handshake, walked by their lengths. A block that runs past the
/// end is an error and ends the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions<'a> {
    rest: &'a [u8],
}

impl<'a> Extensions<'a> {
    /// Over the bytes behind a handshake body.
    pub const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Result<Extension<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let block = (|| {
            let (head, rest) = self.rest.split_first_chunk::<4>()?;
            let (kind, words) = halves(u32::from_be_bytes(*head));
            let (content, rest) = rest.split_at_checked(usize::from(words) * 4)?;
            self.rest = rest;
            Some(Extension { kind, content })
        })();
        if block.is_none() {
            self.rest = &[];
        }
        Some(block.ok_or(Error::BadExtension))
    }
}

/// Content of HSREQ and HSRSP (3.2.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// `0x00MMmmpp`.
    pub version: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Delay this side wants to receive with.
    pub receiver_latency_ms: u16,
    /// Least delay this side wants its peer to receive with.
    pub sender_latency_ms: u16,
}

impl Capabilities {
    /// From the content of an HSREQ or HSRSP block.
    pub fn parse(content: &[u8]) -> Result<Self, Error> {
        let at = |offset| word(content, offset).ok_or(Error::BadExtension);
        let (receiver_latency_ms, sender_latency_ms) = halves(at(8)?);
        Ok(Self { version: at(0)?, flags: at(4)?, receiver_latency_ms, sender_latency_ms })
    }
}

/// A StreamID as it was sent: any bytes, at most 512.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StreamId {
    bytes: [u8; STREAM_ID_BYTES_MAX],
    len: u16,
}

impl StreamId {
    /// No StreamID.
    pub const EMPTY: Self = Self { bytes: [0; STREAM_ID_BYTES_MAX], len: 0 };

    /// From bytes; `None` when there are more than 512.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut id = Self::EMPTY;
        id.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        id.len = u16::try_from(bytes.len()).ok()?;
        Some(id)
    }

    /// From the content of an extension: each word reversed, padded with zeros.
    pub fn parse(content: &[u8]) -> Result<Self, Error> {
        let mut id = Self::EMPTY;
        let place = id.bytes.get_mut(..content.len()).ok_or(Error::StreamIdTooLong)?;
        place.copy_from_slice(content);
        reverse_words(place);
        let padding = place.iter().rev().take_while(|byte| **byte == 0).count();
        id.len = u16::try_from(content.len() - padding).map_err(|_| Error::StreamIdTooLong)?;
        Ok(id)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// True when the caller sent none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId(\"{}\")", self.as_bytes().escape_ascii())
    }
}

fn reverse_words(bytes: &mut [u8]) {
    for word in bytes.chunks_exact_mut(4) {
        word.reverse();
    }
}

/// True when the content of a string extension (congestion control, filter) is `text`.
pub fn is_text(content: &[u8], text: &[u8]) -> bool {
    let sent = content.chunks(4).flat_map(|word| word.iter().rev());
    let padded = text.iter().chain(std::iter::repeat(&0));
    text.len() <= content.len() && sent.zip(padded).all(|(a, b)| a == b)
}

/// Writes extension blocks behind a handshake into a caller-owned buffer.
pub struct ExtensionWriter<'a> {
    writer: Writer<'a>,
}

impl<'a> ExtensionWriter<'a> {
    /// Starts at the front of `out`.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { writer: Writer::new(out) }
    }

    /// HSREQ ([`extension::HSREQ`]) or HSRSP ([`extension::HSRSP`]).
    pub fn capabilities(&mut self, kind: u16, capabilities: &Capabilities) {
        self.writer.put_word(join(kind, 3));
        self.writer.put_word(capabilities.version);
        self.writer.put_word(capabilities.flags);
        self.writer
            .put_word(join(capabilities.receiver_latency_ms, capabilities.sender_latency_ms));
    }

    /// StreamID, congestion control or filter: at most 512 bytes of text, words reversed.
    pub fn text(&mut self, kind: u16, text: &StreamId) {
        let words = text.len.div_ceil(4);
        self.writer.put_word(join(kind, words));
        let mut bytes = text.bytes;
        reverse_words(&mut bytes);
        self.writer.put(bytes.get(..usize::from(words) * 4).unwrap_or_default());
    }

    /// Any block of whole words.
    pub fn raw(&mut self, kind: u16, words: &[u32]) {
        let count = u16::try_from(words.len()).unwrap_or(u16::MAX);
        self.writer.put_word(join(kind, count));
        for word in words {
            self.writer.put_word(*word);
        }
    }

    /// Any block of bytes as they are, padded to a whole word.
    pub fn bytes(&mut self, kind: u16, content: &[u8]) {
        let words = u16::try_from(content.len().div_ceil(4)).unwrap_or(u16::MAX);
        self.writer.put_word(join(kind, words));
        self.writer.put(content);
        let padding = usize::from(words) * 4 - content.len();
        self.writer.put([0; 3].get(..padding).unwrap_or_default());
    }

    /// Bytes written, or `None` when they did not fit.
    pub fn finish(self) -> Option<usize> {
        self.writer.finish()
    }
}

impl fmt::Debug for ExtensionWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExtensionWriter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(peer: &str) -> Handshake {
        Handshake {
            version: 5,
            encryption: 2,
            extension: field::HSREQ | field::CONFIG,
            initial_sequence: Sequence::new(0x7fff_fff0),
            mtu: 1_500,
            flow_window: 8_192,
            kind: Kind::Conclusion,
            socket_id: 0x1234,
            cookie: 0xdead_beef,
            peer: peer.parse().unwrap(),
        }
    }

    #[test]
    fn bodies_round_trip_with_both_kinds_of_address() {
        for peer in ["127.0.0.1", "2001:db8::1"] {
            let sent = example(peer);
            let body = sent.encode();
            let (read, mut extensions) = Handshake::parse(&body).unwrap();
            assert_eq!(read, sent);
            assert_eq!(extensions.next(), None);
        }
    }

    #[test]
    fn an_address_travels_with_its_words_reversed() {
        assert_eq!(example("127.0.0.1").encode()[32..36], [1, 0, 0, 127]);
        assert_eq!(example("2001:db8::1").encode()[32..36], [0xb8, 0x0d, 0x01, 0x20]);
    }

    #[test]
    fn every_kind_has_its_code() {
        let table = [
            (Kind::WaveAHand, 0),
            (Kind::Induction, 1),
            (Kind::Conclusion, 0xffff_ffff),
            (Kind::Agreement, 0xffff_fffe),
            (Kind::Rejected(RejectReason::UNSECURE), 1_011),
            (Kind::Other(2), 2),
            (Kind::Other(0xffff_fffd), 0xffff_fffd),
        ];
        for (kind, code) in table {
            assert_eq!(kind.code(), code);
            assert_eq!(Kind::from_code(code), kind);
        }
        assert_eq!(RejectReason::new(999), None);
        assert_eq!(RejectReason::new(3_000).map(RejectReason::code), Some(3_000));
    }

    #[test]
    fn a_sequence_number_of_32_bits_is_refused() {
        let mut body = example("::1").encode();
        body[8] = 0x80;
        assert_eq!(Handshake::parse(&body).map(|_| ()), Err(Error::BadInitialSequence));
    }

    #[test]
    fn a_stream_id_travels_with_its_words_reversed_and_padded() {
        let id = StreamId::new(b"#!::r=cam1").unwrap();
        let mut out = [0; 64];
        let mut writer = ExtensionWriter::new(&mut out);
        writer.text(extension::STREAM_ID, &id);
        let len = writer.finish().unwrap();
        assert_eq!(&out[..len], b"\x00\x05\x00\x03::!#ac=r\x00\x001m");
        assert_eq!(StreamId::parse(&out[4..len]), Ok(id));
    }

    #[test]
    fn stream_ids_of_every_length_come_back_as_sent() {
        for len in 0..=STREAM_ID_BYTES_MAX {
            let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 255 + 1).unwrap()).collect();
            let id = StreamId::new(&bytes).unwrap();
            let mut out = [0; 4 + STREAM_ID_BYTES_MAX];
            let mut writer = ExtensionWriter::new(&mut out);
            writer.text(extension::STREAM_ID, &id);
            let end = writer.finish().unwrap();
            assert_eq!(StreamId::parse(&out[4..end]).unwrap().as_bytes(), bytes);
        }
        assert_eq!(StreamId::new(&[b'a'; STREAM_ID_BYTES_MAX + 1]), None);
    }

    #[test]
    fn a_stream_id_beyond_512_bytes_is_refused_at_every_length() {
        let content = vec![b'a'; usize::from(u16::MAX) * 4];
        for words in 129..=usize::from(u16::MAX) {
            assert_eq!(StreamId::parse(&content[..words * 4]), Err(Error::StreamIdTooLong));
        }
    }

    #[test]
    fn bytes_of_a_stream_id_are_kept_whatever_they_are() {
        let bytes = b"\xff/../\0x\x1b%zz";
        let id = StreamId::new(bytes).unwrap();
        assert_eq!(id.as_bytes(), bytes);
        assert_eq!(format!("{id:?}"), r#"StreamId("\xff/../\x00x\x1b%zz")"#);
    }

    #[test]
    fn text_extensions_compare_over_their_padding() {
        assert!(is_text(b"evil", b"live"));
        assert!(!is_text(b"elif", b"live"));
        assert!(is_text(b"dcba\0\0\0e", b"abcde"));
        assert!(!is_text(b"dcba\0\0fe", b"abcde"));
        assert!(!is_text(b"", b"live"));
    }

    #[test]
    fn extensions_are_walked_by_their_lengths_and_end_at_one_that_is_cut_off() {
        let mut out = [0; 64];
        let mut writer = ExtensionWriter::new(&mut out);
        writer.raw(9, &[]);
        writer.raw(10, &[1, 2]);
        let len = writer.finish().unwrap();
        let walk = |len| Extensions { rest: &out[..len] }.collect::<Vec<_>>();
        let blocks = walk(len);
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks[1].unwrap().content, [0, 0, 0, 1, 0, 0, 0, 2]);
        for len in 1..len {
            let last = walk(len).pop().unwrap();
            assert_eq!(last.is_err(), len != 4, "{len}");
        }
    }

    #[test]
    fn capabilities_need_three_words() {
        let mut out = [0; 16];
        let mut writer = ExtensionWriter::new(&mut out);
        let sent = Capabilities {
            version: SRT_VERSION,
            flags: flag::TSBPDSND,
            receiver_latency_ms: 120,
            sender_latency_ms: 80,
        };
        writer.capabilities(extension::HSREQ, &sent);
        assert_eq!(writer.finish(), Some(16));
        assert_eq!(Capabilities::parse(&out[4..]), Ok(sent));
        for len in 4..16 {
            assert_eq!(Capabilities::parse(&out[4..len]), Err(Error::BadExtension));
        }
    }
}
