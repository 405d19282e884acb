//! AAC as mpeg4-generic (RFC 3640): AAC-hbr, AAC-lbr, and whatever lengths the description gives.
//!
//! ```text
//!  | AU-headers-length in bits (16) | (AU-size, AU-Index or AU-Index-delta, …) … | auxiliary | AU … |
//! ```
//!
//! Several access units share a packet, their times a frame's length apart; or one is spread over
//! packets of one timestamp up to the marker. Access units are handed on in the order they come.

use super::unit::{Outlet, Unit};
use crate::bytes::{Bits, u16_at};
use crate::output::Output;

/// Most access units of a packet.
const UNITS_MAX: usize = 64;

/// The parameters of the description (RFC 3640, 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AacParameters {
    /// Bits of AU-size.
    pub size_bits: u8,
    /// Bits of AU-Index.
    pub index_bits: u8,
    /// Bits of AU-Index-delta.
    pub index_delta_bits: u8,
    /// Bits of CTS-delta, 0 without.
    pub cts_delta_bits: u8,
    /// Bits of DTS-delta, 0 without.
    pub dts_delta_bits: u8,
    /// Whether headers have the RAP flag.
    pub random_access: bool,
    /// Bits of Stream-state.
    pub stream_state_bits: u8,
    /// Bits of the auxiliary section's size, 0 without one.
    pub auxiliary_size_bits: u8,
    /// AU-size of all access units where headers have none.
    pub constant_size: u32,
    /// Samples of an access unit.
    pub samples: u16,
}

impl AacParameters {
    /// High bit-rate AAC (3.3.6).
    pub const HBR: Self = Self {
        size_bits: 13,
        index_bits: 3,
        index_delta_bits: 3,
        cts_delta_bits: 0,
        dts_delta_bits: 0,
        random_access: false,
        stream_state_bits: 0,
        auxiliary_size_bits: 0,
        constant_size: 0,
        samples: 1_024,
    };
    /// Low bit-rate AAC (3.3.5).
    pub const LBR: Self = Self { size_bits: 6, index_bits: 2, index_delta_bits: 2, ..Self::HBR };

    /// Whether packets have AU headers at all (3.2.1).
    const fn has_headers(&self) -> bool {
        self.size_bits > 0
            || self.index_bits > 0
            || self.index_delta_bits > 0
            || self.cts_delta_bits > 0
            || self.dts_delta_bits > 0
            || self.random_access
            || self.stream_state_bits > 0
    }
}

/// Depacketizes one track.
#[derive(Debug, Clone, Copy)]
pub struct Aac {
    parameters: AacParameters,
    unit: Unit,
    timestamp: u32,
    /// Bytes of the open access unit that have not come.
    missing: usize,
}

/// An access unit as its header says.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    size: usize,
    /// Its number in the packet's row of times.
    index: u64,
}

impl Aac {
    pub(crate) const fn new(parameters: AacParameters) -> Self {
        Self { parameters, unit: Unit::CLOSED, timestamp: 0, missing: 0 }
    }

    pub(crate) fn push<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
    ) {
        if self.unit.is_open() && timestamp != self.timestamp {
            self.break_off(to);
        }
        let mut places = [Place::default(); UNITS_MAX];
        let Some((count, mut rest)) = self.headers(to, payload, &mut places) else {
            to.counters.payloads_invalid += 1;
            return self.break_off(to);
        };
        if self.unit.is_open() {
            return self.go_on(to, rest, marker);
        }
        for (number, place) in places.iter().take(count).enumerate() {
            let stamps = to.stamps_after(place.index * u64::from(self.parameters.samples));
            if place.size == 0 {
                continue;
            }
            let (bytes, after) = rest.split_at(place.size.min(rest.len()));
            rest = after;
            if bytes.is_empty() {
                to.counters.elements_invalid += 1;
                continue;
            }
            self.unit.start(to, stamps);
            self.timestamp = timestamp;
            self.unit.write(to, bytes);
            self.missing = place.size - bytes.len();
            if self.missing == 0 {
                self.unit.end(to);
            } else if count > 1 || marker || number > 0 {
                // Only a single access unit may be spread over packets (3.2.3).
                to.counters.elements_invalid += 1;
                self.break_off(to);
            }
        }
    }

    pub(crate) fn lost<O: Output>(&mut self, to: &mut Outlet<'_, O>) {
        if self.unit.is_open() {
            self.break_off(to);
        } else {
            to.out.skipped(to.track);
        }
    }

    pub(crate) fn finish<O: Output>(&mut self, to: &mut Outlet<'_, O>) {
        self.break_off(to);
    }

    /// A further part of the open access unit.
    fn go_on<O: Output>(&mut self, to: &mut Outlet<'_, O>, bytes: &[u8], marker: bool) {
        let part = bytes.get(..self.missing).unwrap_or(bytes);
        self.unit.write(to, part);
        self.missing -= part.len();
        if self.missing == 0 {
            self.unit.end(to);
        } else if marker {
            self.break_off(to);
        }
    }

    fn break_off<O: Output>(&mut self, to: &mut Outlet<'_, O>) {
        if self.unit.is_open() {
            to.counters.fragments_unfinished += 1;
            self.unit.damage(to);
            self.unit.end(to);
        }
        self.missing = 0;
    }

    /// Reads the AU headers; returns how many there are, and the access units behind them.
    fn headers<'a, O: Output>(
        &self,
        to: &mut Outlet<'_, O>,
        payload: &'a [u8],
        places: &mut [Place; UNITS_MAX],
    ) -> Option<(usize, &'a [u8])> {
        let parameters = &self.parameters;
        let (count, rest) = if parameters.has_headers() {
            let bits = usize::from(u16_at(payload, 0)?);
            let section = payload.get(2..2 + bits.div_ceil(8))?;
            let count = self.sizes(to, section, bits, places)?;
            (count, payload.get(2 + bits.div_ceil(8)..)?)
        } else {
            let size = usize::try_from(parameters.constant_size).ok()?;
            (constant(size, payload.len(), places), payload)
        };
        if parameters.auxiliary_size_bits == 0 {
            return Some((count, rest));
        }
        let mut bits = Bits::new(rest);
        let size = bits.take(parameters.auxiliary_size_bits)?;
        let auxiliary = u32::from(parameters.auxiliary_size_bits).saturating_add(size);
        Some((count, rest.get(usize::try_from(auxiliary.div_ceil(8)).ok()?..)?))
    }

    fn sizes<O: Output>(
        &self,
        to: &mut Outlet<'_, O>,
        section: &[u8],
        bits_in_all: usize,
        places: &mut [Place; UNITS_MAX],
    ) -> Option<usize> {
        let parameters = &self.parameters;
        let mut bits = Bits::new(section);
        let spare = section.len() * 8 - bits_in_all;
        let (mut count, mut index) = (0, 0);
        while bits.rest() > spare {
            let before = bits.rest();
            let mut size = bits.take(parameters.size_bits)?;
            if parameters.size_bits == 0 {
                size = parameters.constant_size;
            }
            let index_bits =
                if count == 0 { parameters.index_bits } else { parameters.index_delta_bits };
            let value = u64::from(bits.take(index_bits)?);
            if count > 0 {
                index += value + 1;
                to.counters.elements_out_of_order += u64::from(value > 0);
            }
            for delta_bits in [parameters.cts_delta_bits, parameters.dts_delta_bits] {
                if delta_bits > 0 && bits.flag()? {
                    bits.take(delta_bits)?;
                }
            }
            bits.take(u8::from(parameters.random_access))?;
            bits.take(parameters.stream_state_bits)?;
            *places.get_mut(count)? = Place { size: usize::try_from(size).ok()?, index };
            count += 1;
            if bits.rest() == before {
                return None;
            }
        }
        (bits.rest() == spare).then_some(count)
    }
}

/// Access units of one size, without headers; 0 is the whole payload.
fn constant(size: usize, len: usize, places: &mut [Place; UNITS_MAX]) -> usize {
    let size = if size == 0 { len } else { size };
    let count = if size == 0 { 0 } else { len.div_ceil(size).min(UNITS_MAX) };
    for (place, index) in places.iter_mut().zip(0..).take(count) {
        *place = Place { size, index };
    }
    count
}

/// Whether a payload could be AAC-hbr, for detection: sizes add up to the payload.
pub(crate) fn looks_right(payload: &[u8], marker: bool) -> bool {
    let Some(bits) = u16_at(payload, 0).map(usize::from) else { return false };
    if bits == 0 || !bits.is_multiple_of(16) || bits > 16 * UNITS_MAX {
        return false;
    }
    let mut sum = 0;
    for number in 0..bits / 16 {
        let Some(header) = u16_at(payload, 2 + 2 * number) else { return false };
        if header & 7 != 0 {
            return false;
        }
        sum += usize::from(header >> 3);
    }
    let rest = payload.len().saturating_sub(2 + bits / 8);
    marker && sum == rest && sum > 0
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, Gathered};
    use super::*;

    impl Bench<Aac> {
        fn packet(&mut self, timestamp: u32, marker: bool, payload: &[u8]) -> &mut Self {
            let (format, mut to) = self.parts(timestamp);
            format.push(&mut to, timestamp, marker, payload);
            self
        }

        fn lose(&mut self) -> &mut Self {
            let (format, mut to) = self.parts(0);
            format.lost(&mut to);
            self
        }

        fn done(&mut self) -> Vec<Gathered> {
            let (format, mut to) = self.parts(0);
            format.finish(&mut to);
            self.take()
        }
    }

    fn hbr() -> Bench<Aac> {
        let mut bench = Bench::new(Aac::new(AacParameters::HBR));
        bench.clock_hz = 48_000;
        bench
    }

    fn unit(pts: u64, bytes: &[u8]) -> Gathered {
        Gathered { pts, bytes: bytes.to_vec(), damaged: false, ended: true }
    }

    fn damaged(pts: u64, bytes: &[u8]) -> Gathered {
        Gathered { damaged: true, ..unit(pts, bytes) }
    }

    #[test]
    fn access_units_of_a_packet_follow_each_other_in_time() {
        let mut bench = hbr();
        bench.packet(100, true, &[0, 48, 0, 16, 0, 24, 0, 8, 1, 2, 3, 4, 5, 6]);
        let expected = [unit(100, &[1, 2]), unit(2_020, &[3, 4, 5]), unit(3_940, &[6])];
        assert_eq!(bench.done(), expected);
    }

    #[test]
    fn one_access_unit_over_packets() {
        let mut bench = hbr();
        bench.packet(9, false, &[0, 16, 0, 40, 1, 2]).packet(9, false, &[0, 16, 0, 40, 3, 4]);
        bench.packet(9, true, &[0, 16, 0, 40, 5]).packet(10, true, &[0, 16, 0, 8, 7]);
        assert_eq!(bench.done(), [unit(9, &[1, 2, 3, 4, 5]), unit(10, &[7])]);
    }

    #[test]
    fn an_access_unit_with_a_hole_is_damaged() {
        let mut bench = hbr();
        bench.packet(9, false, &[0, 16, 0, 40, 1, 2]).lose().packet(9, true, &[0, 16, 0, 40, 5]);
        bench.packet(10, false, &[0, 16, 0, 40, 1]).packet(11, true, &[0, 16, 0, 8, 7]).lose();
        let out = bench.done();
        assert_eq!(out, [damaged(9, &[1, 2]), damaged(9, &[5]), damaged(10, &[1]), unit(11, &[7])]);
        assert_eq!(bench.skipped, 1);
    }

    #[test]
    fn low_bit_rate_headers_are_a_byte_each() {
        let mut bench = Bench::new(Aac::new(AacParameters::LBR));
        bench.packet(1, true, &[0, 16, 2 << 2, 1 << 2, 1, 2, 3]);
        assert_eq!(bench.done(), [unit(1, &[1, 2]), unit(1_025, &[3])]);
    }

    #[test]
    fn optional_fields_and_the_auxiliary_section_are_skipped() {
        let parameters = AacParameters {
            cts_delta_bits: 4,
            random_access: true,
            auxiliary_size_bits: 8,
            ..AacParameters::HBR
        };
        let mut bench = Bench::new(Aac::new(parameters));
        // 13 + 3 + flag, 4 + RAP: 22 bits; 8 bits auxiliary.
        bench.packet(1, true, &[0, 22, 0, 16, 0b1101_0100, 8, 0xee, 1, 2]);
        assert_eq!(bench.done(), [unit(1, &[1, 2])]);
    }

    #[test]
    fn constant_sizes_need_no_headers() {
        let none = AacParameters {
            size_bits: 0,
            index_bits: 0,
            index_delta_bits: 0,
            ..AacParameters::HBR
        };
        let mut bench = Bench::new(Aac::new(AacParameters { constant_size: 2, ..none }));
        bench.packet(1, true, &[1, 2, 3, 4]);
        assert_eq!(bench.done(), [unit(1, &[1, 2]), unit(1_025, &[3, 4])]);
        let mut bench = Bench::new(Aac::new(none));
        bench.packet(1, true, &[1, 2, 3]);
        assert_eq!(bench.done(), [unit(1, &[1, 2, 3])]);
    }

    #[test]
    fn interleaved_access_units_keep_their_times_and_are_counted() {
        let mut bench = hbr();
        bench.packet(0, true, &[0, 32, 0, 8, 0, 8 | 1, 1, 3]);
        assert_eq!(bench.counters.elements_out_of_order, 1);
        assert_eq!(bench.done(), [unit(0, &[1]), unit(3_840, &[3])]);
    }

    #[test]
    fn headers_that_lie_are_counted() {
        for payload in [&[0u8][..], &[0, 16], &[0, 16, 0], &[0, 15, 0, 16, 1, 2], &[0xff, 0xff, 1]]
        {
            let mut bench = hbr();
            assert_eq!(bench.packet(1, true, payload).done(), [], "{payload:?}");
            assert_eq!(bench.counters.payloads_invalid, 1, "{payload:?}");
        }
        let mut bench = hbr();
        bench.packet(1, true, &[0, 32, 0, 8, 0, 40, 1, 2]);
        assert_eq!(bench.done(), [unit(1, &[1]), damaged(1_921, &[2])]);
        let many = [&[0x08, 0x10][..], &[0, 8].repeat(129), &[1; 129]].concat();
        let mut bench = hbr();
        assert_eq!(bench.packet(1, true, &many).done(), []);
    }
}
