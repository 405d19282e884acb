//! The depacketizer of one track, whatever its format.

use memory::Time;

use super::Limits;
use super::aac::Aac;
use super::av1::Av1;
use super::h264::H264;
use super::held::Held;
use super::hevc::Hevc;
use super::jpegxs::JpegXs;
use super::latm::Latm;
use super::nal::Expected;
use super::plain::Plain;
use super::unit::Outlet;
use crate::format::{Encoding, Format};
use crate::output::Output;
use crate::packet::Packet;

/// Bytes of a transport stream's packet.
const TS_PACKET_BYTES: usize = 188;

#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "one a track, and it must not allocate")]
pub(crate) enum Depacketizer {
    H264(H264),
    Hevc(Hevc),
    Av1(Av1),
    JpegXs(JpegXs),
    TransportStream,
    Aac(Aac),
    Latm(Latm),
    Plain(Plain),
}

impl Depacketizer {
    pub(crate) fn new(format: &Format) -> Self {
        match format.encoding {
            Encoding::H264 { sets, depth } => Self::H264(H264::new(sets, depth)),
            Encoding::Hevc { sets, has_order, depth } => {
                Self::Hevc(Hevc::new(sets, has_order, depth))
            }
            Encoding::Av1 => Self::Av1(Av1::new()),
            Encoding::JpegXs => Self::JpegXs(JpegXs::default()),
            Encoding::MpegTs => Self::TransportStream,
            Encoding::Aac { parameters, .. } => Self::Aac(Aac::new(parameters)),
            Encoding::Latm { config } => Self::Latm(Latm::new(config)),
            Encoding::Opus | Encoding::L16 | Encoding::L24 | Encoding::Pcma | Encoding::Pcmu => {
                Self::Plain(Plain::new(format.block_bytes()))
            }
        }
    }

    /// What changes with each packet lies within so many of the first bytes, behind which one it is.
    pub(crate) const STATE_BYTES: usize = {
        let (h264, hevc) = (H264::STATE_BYTES, Hevc::STATE_BYTES);
        size_of::<usize>() + if h264 > hevc { h264 } else { hevc }
    };

    /// The next packet in order, due at `due`. It has a payload.
    pub(crate) fn push<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        packet: Packet,
        due: Time,
        held: &mut Held,
    ) {
        let (timestamp, marker) = (packet.header.timestamp, packet.header.marker);
        match self {
            Self::H264(format) => format.push_packet(to, packet, held),
            Self::Hevc(format) => format.push_packet(to, packet, held),
            Self::Av1(format) => format.push(to, packet, held),
            Self::JpegXs(format) => format.push(to, packet, held),
            Self::TransportStream => transport_stream(to, &packet, due),
            Self::Aac(format) => format.push(to, timestamp, marker, packet.payload()),
            Self::Latm(format) => format.push(to, packet, held),
            Self::Plain(format) => format.push(to, packet.payload()),
        }
    }

    /// What comes if the next packet does no more than bring further bytes of the open unit; `None`
    /// where that cannot be told by how it begins.
    pub(crate) fn expects(&self, limits: &Limits) -> Option<Expected> {
        match self {
            Self::H264(format) => format.expects(limits),
            Self::Hevc(format) => format.expects(limits),
            _ => None,
        }
    }

    /// So many packets came that were as expected.
    pub(crate) const fn went_on(&mut self, packets: u32, bytes: usize) {
        match self {
            Self::H264(format) => format.went_on(packets, bytes),
            Self::Hevc(format) => format.went_on(packets, bytes),
            _ => {}
        }
    }

    /// So many packets are missing here; 0 when nobody knows how many.
    pub(crate) fn lost<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        packets: u64,
        held: &mut Held,
    ) {
        match self {
            Self::H264(format) => format.lost_packets(to, held),
            Self::Hevc(format) => format.lost_packets(to, held),
            Self::Av1(format) => format.lost(to, packets, held),
            Self::JpegXs(format) => format.lost(to),
            Self::TransportStream => to.out.ts_lost(u32::try_from(packets).unwrap_or(u32::MAX)),
            Self::Aac(format) => format.lost(to),
            Self::Latm(format) => format.lost(to, held),
            Self::Plain(format) => format.lost(to),
        }
    }

    /// Nothing more comes.
    pub(crate) fn finish<O: Output>(&mut self, to: &mut Outlet<'_, O>, held: &mut Held) {
        match self {
            Self::H264(format) => format.finish_packets(to, held),
            Self::Hevc(format) => format.finish_packets(to, held),
            Self::Av1(format) => format.finish(to, held),
            Self::JpegXs(format) => format.finish(to, held),
            Self::Aac(format) => format.finish(to),
            Self::Latm(format) => format.finish(to, held),
            Self::TransportStream | Self::Plain(_) => {}
        }
        held.clear();
    }
}

/// An integral number of packets (RFC 2250, 2). Of a payload that begins with one and is not, what
/// is whole is used; anything else is left to the demultiplexer, which looks for its sync.
fn transport_stream<O: Output>(to: &mut Outlet<'_, O>, packet: &Packet, due: Time) {
    let payload = packet.payload();
    let spare = payload.len() % TS_PACKET_BYTES;
    let whole = if spare > 0 && payload.first() == Some(&0x47) {
        to.counters.payloads_invalid += 1;
        payload.get(..payload.len() - spare).unwrap_or_default()
    } else {
        payload
    };
    to.counters.bytes_delivered += crate::bytes::count(whole.len());
    to.out.deliver_ts(whole, packet.arrival, due);
}
