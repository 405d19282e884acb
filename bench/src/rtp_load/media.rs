//! What the packets carry: a loop of prepared packets, or a looped transport stream.

use anyhow::Result;

use super::{h264, jpegxs};
use crate::clip::{Clip, Cursor};
use crate::tag::Tag;
use crate::ts::PACKET;

/// Payload of a packet that is full: seven transport packets.
pub(crate) const PAYLOAD_MAX: usize = 7 * PACKET;
/// Of H.264 and JPEG XS.
const DYNAMIC: u8 = 96;
/// MP2T (RFC 3551, 6).
const MP2T: u8 = 33;
/// Of every timestamp here.
pub(crate) const CLOCK_HZ: u64 = 90_000;

/// One packet of a loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    /// Its payload in [`Packets::bytes`].
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// In loop 0.
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    /// Where in its payload the digits of a frame's tag are; `frame` counts from 0 in loop 0.
    pub(crate) tag: Option<(usize, Tag)>,
}

/// A loop of packets whose frames carry tags.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    pub(crate) bytes: Vec<u8>,
    pub(crate) planned: Vec<Planned>,
    pub(crate) frames: u32,
    /// Of one loop, in ticks.
    pub(crate) period: u32,
}

impl Packets {
    /// Adds a packet.
    pub(crate) fn push(&mut self, payload: &[u8], timestamp: u32, marker: bool, tag: Option<Tag>) {
        let tag = tag.and_then(|tag| Some((crate::tag::find(payload)?, tag)));
        let (start, len) = (self.bytes.len(), payload.len());
        self.bytes.extend_from_slice(payload);
        self.planned.push(Planned { start, len, timestamp, marker, tag });
    }
}

/// What all sessions send.
#[derive(Debug)]
pub(crate) enum Media {
    /// H.264 or JPEG XS.
    Packets(Packets),
    /// MPEG transport stream.
    Transport(Clip),
}

impl Media {
    /// H.264 out of a transport stream.
    pub(crate) fn h264(ts: &[u8]) -> Result<Self> {
        Ok(Self::Packets(h264::packets(ts)?))
    }

    /// The transport stream itself.
    pub(crate) fn transport(ts: &[u8]) -> Result<Self> {
        Ok(Self::Transport(Clip::prepare(ts)?))
    }

    /// JPEG XS, made up, of so many bytes a picture.
    pub(crate) fn jpegxs(frame_bytes: usize, frames_per_s: u32) -> Result<Self> {
        Ok(Self::Packets(jpegxs::packets(frame_bytes, frames_per_s)?))
    }

    /// Payload of a packet, on average.
    #[expect(clippy::cast_precision_loss, reason = "clips are far smaller than 2^53 bytes")]
    pub(crate) fn mean_bytes(&self) -> f64 {
        match self {
            Self::Packets(packets) => packets.bytes.len() as f64 / packets.planned.len() as f64,
            Self::Transport(_) => PAYLOAD_MAX as f64,
        }
    }

    const fn payload_type(&self) -> u8 {
        match self {
            Self::Packets(_) => DYNAMIC,
            Self::Transport(_) => MP2T,
        }
    }
}

/// One source of packets and its place in the endless stream.
#[derive(Debug)]
pub(crate) struct Source {
    number: u32,
    ssrc: u32,
    sequence: u16,
    /// What the first timestamp is not: zero.
    timestamp: u32,
    packet: usize,
    loops: u32,
    frames_begun: u64,
    cursor: Cursor,
}

impl Source {
    /// Source `number` at its beginning.
    pub(crate) const fn new(number: u32, ssrc: u32) -> Self {
        let spread = ssrc.wrapping_mul(0x9e37_79b9);
        let [a, b, ..] = spread.to_be_bytes();
        Self {
            number,
            ssrc,
            sequence: u16::from_be_bytes([a, b]),
            timestamp: spread,
            packet: 0,
            loops: 0,
            frames_begun: 0,
            cursor: Cursor::new(number),
        }
    }

    /// Writes the next packet behind what is in `out`; its length.
    pub(crate) fn next(&mut self, media: &Media, now_ticks: u32, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&[0; rtp::packet::HEADER_BYTES]);
        let (marker, ticks) = match media {
            Media::Packets(packets) => self.next_planned(packets, out),
            Media::Transport(clip) => {
                let body = out.len();
                out.resize(body + PAYLOAD_MAX, 0);
                self.cursor.fill(clip, &mut out[body..]);
                // RFC 2250, 2: when the packet is sent.
                (false, now_ticks)
            }
        };
        let header = rtp::packet::Header {
            marker,
            payload_type: media.payload_type(),
            sequence: self.sequence,
            timestamp: self.timestamp.wrapping_add(ticks),
            ssrc: self.ssrc,
            ..rtp::packet::Header::default()
        };
        out[start..start + rtp::packet::HEADER_BYTES].copy_from_slice(&header.encode());
        self.sequence = self.sequence.wrapping_add(1);
        out.len() - start
    }

    fn next_planned(&mut self, packets: &Packets, out: &mut Vec<u8>) -> (bool, u32) {
        let planned = &packets.planned[self.packet];
        let body = out.len();
        out.extend_from_slice(&packets.bytes[planned.start..planned.start + planned.len]);
        if let Some((offset, tag)) = planned.tag {
            let frame = tag.frame.wrapping_add(self.loops.wrapping_mul(packets.frames));
            Tag { stream: self.number, frame, ..tag }.write(&mut out[body + offset..]);
            self.frames_begun += 1;
        }
        let ticks = planned.timestamp.wrapping_add(self.loops.wrapping_mul(packets.period));
        self.packet += 1;
        if self.packet == packets.planned.len() {
            self.packet = 0;
            self.loops = self.loops.wrapping_add(1);
        }
        (planned.marker, ticks)
    }

    /// Frames whose first packet has been written.
    pub(crate) fn frames_begun(&self, media: &Media) -> u64 {
        match media {
            Media::Packets(_) => self.frames_begun,
            Media::Transport(clip) => self.cursor.frames_started(clip),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use codec::sink::{Sink, Timestamps, TrackConfig};
    use memory::{Datagram, Slab, Time};
    use rtp::Output;
    use rtp::session::{Room, Session, SessionConfig, TRACKS_MAX, TrackSetup};

    use super::*;

    /// What a receiver makes of packets.
    #[derive(Default)]
    struct Gathered {
        units: Vec<(u64, Vec<u8>)>,
        holes: u32,
        ts: Vec<u8>,
    }

    impl Sink for Gathered {
        fn tracks(&mut self, _: &[TrackConfig]) {}
        fn unit_start(&mut self, _: usize, stamps: Timestamps) {
            self.units.push((stamps.pts.unwrap_or(0), Vec::new()));
        }
        fn unit_data(&mut self, _: usize, bytes: &[u8]) {
            self.units.last_mut().unwrap().1.extend_from_slice(bytes);
        }
        fn unit_end(&mut self, _: usize) {}
        fn gap(&mut self, _: usize) {
            self.holes += 1;
        }
    }

    impl Output for Gathered {
        fn transmit(&mut self, _: (usize, usize), _: SocketAddr, _: &[u8]) {}
        fn input(&mut self, _: Time, _: Time) {}
        fn deliver_ts(&mut self, bytes: &[u8], _: Time, _: Time) {
            self.ts.extend_from_slice(bytes);
        }
        fn ts_lost(&mut self, _: u32) {
            self.holes += 1;
        }
    }

    /// Sends `packets` packets as source 7 into a session of this format.
    fn received(media: &Media, map: &str, packets: usize) -> Gathered {
        let format = rtp::sdp::format(media.payload_type(), map, "").unwrap();
        let mut tracks = [None; TRACKS_MAX];
        tracks[0] = Some(TrackSetup { format: Some(format), ..TrackSetup::default() });
        let mut session = Session::new(&Room::default());
        let mut now = Time::from_micros(1_000_000);
        session.open(&SessionConfig { tracks, ..SessionConfig::default() }, now);
        let slab = Slab::new(64).unwrap();
        let sender = SocketAddr::from((Ipv4Addr::LOCALHOST, 5_000));
        let (mut source, mut packet) = (Source::new(7, 1_000_007), Vec::new());
        let mut gathered = Gathered::default();
        for _ in 0..packets {
            packet.clear();
            source.next(media, 0, &mut packet);
            assert!(packet.len() <= rtp::packet::HEADER_BYTES + PAYLOAD_MAX);
            let datagram = Datagram::copy_from(&slab, &packet).unwrap();
            session.handle_rtp(now, now, 0, sender, datagram, &mut gathered);
            now = now + Duration::from_micros(500);
        }
        assert_eq!(session.stats().packets_delivered, packets as u64);
        assert_eq!(gathered.holes, 0);
        gathered
    }

    fn prove(units: &[(u64, Vec<u8>)]) {
        for (number, (_, unit)) in units.iter().enumerate() {
            let tag = Tag::verify(unit, true).unwrap();
            assert_eq!((tag.stream, tag.frame as usize), (7, number));
        }
    }

    #[test]
    fn every_access_unit_of_h264_proves_itself_loop_after_loop() {
        let media = Media::h264(&crate::clip::tests::source()).unwrap();
        let Media::Packets(packets) = &media else { panic!("packets") };
        assert!(packets.planned.iter().any(|it| packets.bytes[it.start] & 0x1f == 24));
        assert!(packets.planned.iter().any(|it| packets.bytes[it.start] & 0x1f == 28));
        let gathered = received(&media, "H264/90000", 3 * packets.planned.len());
        assert_eq!(gathered.units.len(), 3 * 60);
        prove(&gathered.units);
        let mut stamps: Vec<u64> = gathered.units.iter().map(|(pts, _)| *pts).collect();
        stamps.sort_unstable();
        assert!(stamps.windows(2).all(|pair| pair[1] - pair[0] == 3_000), "{stamps:?}");
    }

    #[test]
    fn every_picture_of_jpeg_xs_proves_itself() {
        let media = Media::jpegxs(3_000_000, 60).unwrap();
        let gathered = received(&media, "jxsv/90000", 5 * 3_000_000usize.div_ceil(PAYLOAD_MAX - 4));
        assert_eq!(gathered.units.len(), 5);
        prove(&gathered.units);
        assert!(gathered.units.windows(2).all(|pair| pair[1].0 - pair[0].0 == 1_500));
    }

    #[test]
    fn the_transport_stream_arrives_as_it_is() {
        let media = Media::transport(&crate::clip::tests::source()).unwrap();
        let Media::Transport(clip) = &media else { panic!("a clip") };
        let mut sent = vec![0; 100 * PAYLOAD_MAX];
        Cursor::new(7).fill(clip, &mut sent);
        assert!(received(&media, "MP2T/90000", 100).ts == sent);
    }
}
