//! AAC in LATM (RFC 6416, 6): an AudioMuxElement a packet, or one over packets up to the marker.
//!
//! With `cpresent=1` the StreamMuxConfig stands in the stream; with 0 in the description, and
//! elements begin with their lengths. Access units are handed on without the multiplex.

use codec::latm::{self, MuxConfig};

use super::held::Held;
use super::unit::{Outlet, Unit};
use crate::output::Output;
use crate::packet::Packet;

/// Longest element: access units are of at most 768 bytes a channel.
const ELEMENT_BYTES: usize = 8_192;

/// Depacketizes one track.
#[derive(Debug, Clone, Copy)]
pub struct Latm {
    /// The multiplex: that of the description, or the last one of the stream.
    config: Option<MuxConfig>,
    in_band: bool,
    timestamp: u32,
    /// The element that comes next may miss its start.
    uncertain: bool,
    /// Elements are spread over packets.
    fragments: bool,
}

impl Latm {
    /// With the description's multiplex, or `None` when it is in the stream.
    pub(crate) const fn new(config: Option<MuxConfig>) -> Self {
        let in_band = config.is_none();
        Self { config, in_band, timestamp: 0, uncertain: false, fragments: false }
    }

    pub(crate) fn push<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        packet: Packet,
        held: &mut Held,
    ) {
        let (timestamp, marker) = (packet.header.timestamp, packet.header.marker);
        if held.len() > 0 && timestamp != self.timestamp {
            self.break_off(to, held);
        }
        self.timestamp = timestamp;
        self.fragments |= !marker;
        let len = packet.payload().len();
        if held.bytes() + len > ELEMENT_BYTES || !held.push(packet, 0, len, 0) {
            to.counters.frames_oversize += 1;
            self.uncertain = !marker;
            return held.clear();
        }
        if marker {
            if std::mem::take(&mut self.uncertain) && self.fragments {
                return self.break_off(to, held);
            }
            self.element(to, held);
        }
    }

    pub(crate) fn lost<O: Output>(&mut self, to: &mut Outlet<'_, O>, held: &mut Held) {
        self.break_off(to, held);
        self.uncertain = true;
    }

    pub(crate) fn finish<O: Output>(&self, to: &mut Outlet<'_, O>, held: &mut Held) {
        if held.len() > 0 {
            self.break_off(to, held);
        }
    }

    /// An element without its end or start: where its access units lie is not known.
    fn break_off<O: Output>(&self, to: &mut Outlet<'_, O>, held: &mut Held) {
        to.counters.fragments_unfinished += u64::from(held.len() > 0);
        held.clear();
        to.out.skipped(to.track);
    }

    fn element<O: Output>(&mut self, to: &mut Outlet<'_, O>, held: &mut Held) {
        let mut bytes = [0; ELEMENT_BYTES];
        let mut len = 0;
        for byte in held.iter().flat_map(super::held::Piece::bytes) {
            if let Some(place) = bytes.get_mut(len) {
                *place = *byte;
                len += 1;
            }
        }
        held.clear();
        let Some(element) = bytes.get_mut(..len) else { return };
        if self.in_band { self.in_band(to, element) } else { self.described(to, element) }
    }

    fn in_band<O: Output>(&mut self, to: &mut Outlet<'_, O>, element: &mut [u8]) {
        let before = self.config;
        let Ok(units) = latm::units(element, &mut self.config) else {
            to.counters.payloads_invalid += 1;
            return;
        };
        let mut places = [latm::Unit { bit: 0, len: 0 }; 64];
        let mut count = 0;
        for (place, unit) in places.iter_mut().zip(units) {
            let Ok(unit) = unit else {
                to.counters.elements_invalid += 1;
                break;
            };
            *place = unit;
            count += 1;
        }
        let Some(config) = self.config else { return };
        if before != self.config {
            to.out.configuration(to.track, config.format.audio_specific_config());
        }
        for (number, unit) in (0..).zip(places.iter().take(count)) {
            let range = latm::align(element, *unit);
            write(to, &config, number, element.get(range).unwrap_or_default());
        }
    }

    /// The lengths, in bytes that are added while they are 255, each before its access unit.
    fn described<O: Output>(&self, to: &mut Outlet<'_, O>, element: &[u8]) {
        let Some(config) = self.config else { return };
        let mut rest = element;
        for number in 0..u64::from(config.units) {
            let mut len = 0;
            loop {
                let Some((part, after)) = rest.split_first() else {
                    to.counters.elements_invalid += 1;
                    return;
                };
                rest = after;
                len += usize::from(*part);
                if *part < 255 {
                    break;
                }
            }
            let Some((unit, after)) = rest.split_at_checked(len) else {
                to.counters.elements_invalid += 1;
                return;
            };
            rest = after;
            write(to, &config, number, unit);
        }
    }
}

fn write<O: Output>(to: &mut Outlet<'_, O>, config: &MuxConfig, number: u64, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let mut unit = Unit::default();
    let stamps = to.stamps_after(number * u64::from(config.format.samples_per_frame));
    unit.start(to, stamps);
    unit.write(to, bytes);
    unit.end(to);
}

#[cfg(test)]
mod tests {
    use memory::{Datagram, Slab, Time};

    use super::super::testing::{Bench, Gathered};
    use super::*;
    use crate::packet::Header;
    use crate::sdp::mux_config;

    struct LatmBench {
        bench: Bench<Latm>,
        held: Held,
        slab: Slab,
    }

    impl LatmBench {
        fn new(config: Option<MuxConfig>) -> Self {
            let mut bench = Bench::new(Latm::new(config));
            bench.clock_hz = 48_000;
            Self { bench, held: Held::new(8), slab: Slab::new(16).unwrap() }
        }

        fn packet(&mut self, timestamp: u32, marker: bool, payload: &[u8]) -> &mut Self {
            let header = Header { timestamp, marker, ..Header::default() }.encode();
            let bytes = [&header, payload].concat();
            let datagram = Datagram::copy_from(&self.slab, &bytes).unwrap();
            let packet = Packet::new(datagram, Time::ZERO).unwrap();
            let (format, mut to) = self.bench.parts(timestamp);
            format.push(&mut to, packet, &mut self.held);
            self
        }

        fn lose(&mut self) -> &mut Self {
            let (format, mut to) = self.bench.parts(0);
            format.lost(&mut to, &mut self.held);
            self
        }

        fn done(&mut self) -> Vec<Gathered> {
            let (format, mut to) = self.bench.parts(0);
            format.finish(&mut to, &mut self.held);
            assert_eq!(self.slab.free(), 16);
            self.bench.take()
        }
    }

    fn unit(pts: u64, bytes: &[u8]) -> Gathered {
        Gathered { pts, bytes: bytes.to_vec(), damaged: false, ended: true }
    }

    /// AAC-LC, 48 kHz, two channels; one access unit an element.
    fn config() -> Option<MuxConfig> {
        mux_config(&[0x40, 0, 0x23, 0x20, 0x3f, 0xc0])
    }

    #[test]
    fn a_described_element_is_a_length_and_an_access_unit() {
        let mut bench = LatmBench::new(config());
        bench.packet(5, true, &[3, 1, 2, 3]);
        let long = [&[255, 1][..], &[7; 256]].concat();
        bench.packet(6, false, &long[..100]).packet(6, true, &long[100..]);
        assert_eq!(bench.done(), [unit(5, &[1, 2, 3]), unit(6, &[7; 256])]);
    }

    #[test]
    fn the_description_of_gstreamer_is_understood() {
        // The configuration of an AAC-LC coder that says what it is not, in 40 bits, and nothing
        // behind it.
        let config = mux_config(&[0x40, 0, 0x23, 0x20, 0xad, 0xca, 0]).unwrap();
        assert_eq!(config.format.audio_specific_config(), [0x11, 0x90]);
        assert_eq!((config.format.sample_rate, config.units), (48_000, 1));
        assert_eq!(mux_config(&[0x40, 0, 0x23]), None);
    }

    #[test]
    fn an_element_with_its_configuration_is_taken_at_any_bit() {
        // useSameStreamMux 0, the configuration, length 2, two bytes: shifted by a bit.
        let bits: Vec<u8> = [0x40, 0, 0x23, 0x20, 0x3f, 0xc0, 2, 0xab, 0xcd].to_vec();
        let mut shifted = vec![0];
        let mut carry = 0;
        shifted.clear();
        // 44 bits of configuration, then bytes at bit 45.
        let mut all: Vec<bool> = vec![false];
        all.extend((0..44).map(|bit| bits[bit / 8] >> (7 - bit % 8) & 1 == 1));
        for byte in [2u8, 0xab, 0xcd] {
            all.extend((0..8).map(|bit| byte >> (7 - bit) & 1 == 1));
        }
        for chunk in all.chunks(8) {
            carry =
                chunk.iter().enumerate().fold(0, |sum, (at, bit)| sum | u8::from(*bit) << (7 - at));
            shifted.push(carry);
        }
        let _ = carry;
        let mut bench = LatmBench::new(None);
        bench.packet(5, true, &[0x80, 1]).packet(6, true, &shifted);
        assert_eq!(bench.done(), [unit(6, &[0xab, 0xcd])]);
        assert_eq!(bench.bench.counters.payloads_invalid, 1, "no configuration yet");
    }

    #[test]
    fn elements_with_holes_are_not_read() {
        let mut bench = LatmBench::new(config());
        bench.packet(5, false, &[4, 1, 2]).lose().packet(5, true, &[3, 4]);
        bench.packet(6, false, &[4, 1]).packet(7, true, &[1, 9]).packet(8, true, &[2, 1]);
        assert_eq!(bench.done(), [unit(7, &[9])]);
        let counters = bench.bench.counters;
        assert_eq!((counters.fragments_unfinished, counters.elements_invalid), (3, 1));
    }
}
