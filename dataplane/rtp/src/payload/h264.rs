//! H.264 (RFC 6184): single NAL units, aggregates, fragments.
//!
//! ```text
//!  | F NRI type |                         type  5.2
//!    1–23  NAL unit                       single   5.6
//!    24    size NAL size NAL …            STAP-A   5.7.1
//!    25    DON size NAL …                 STAP-B
//!    26/27 DONB (size DOND offset NAL) …  MTAP16/24  5.7.2
//!    28/29 S E R type, [DON], part        FU-A/B   5.8
//! ```
//!
//! All kinds are read whatever packetization-mode was announced: senders without one use FU-A and
//! STAP-A. NAL units are put in decoding order where the description says how deep they are
//! interleaved (sprop-interleaving-depth); else one that comes out of it is counted and damages its
//! access unit.

use std::mem::offset_of;

use super::interleave::{Finds, Found, Order, give};
use super::nal::{Expected, NalUnits, Role, starts_with_code};
use super::unit::Outlet;
use super::{Held, Limits, ParameterSets, Shape};
use crate::bytes::{u8_at, u16_at, u24_at};
use crate::output::Output;
use crate::packet::Packet;

const STAP_A: u8 = 24;
const STAP_B: u8 = 25;
const MTAP16: u8 = 26;
const MTAP24: u8 = 27;
const FU_A: u8 = 28;
const FU_B: u8 = 29;

/// Depacketizes one track.
#[derive(Debug, Clone)]
#[repr(C)]
pub struct H264 {
    units: NalUnits,
    /// The timestamp whose unit got the description's parameter sets.
    injected: Option<u32>,
    /// Decoding order number of the last NAL unit that had one.
    order: Option<u16>,
    /// NAL units are interleaved.
    interleaved: Option<Order>,
    sets: ParameterSets,
}

impl H264 {
    /// What changes with each packet comes before the parameter sets.
    pub(super) const STATE_BYTES: usize = offset_of!(Self, sets);

    /// With the parameter sets of the stream's description and the depth of its interleaving (8.1,
    /// sprop-parameter-sets, sprop-interleaving-depth).
    pub(crate) fn new(sets: ParameterSets, depth: u8) -> Self {
        Self {
            units: NalUnits::new(!sets.as_bytes().is_empty()),
            sets,
            injected: None,
            order: None,
            interleaved: Order::new(depth),
        }
    }

    /// The next packet, where NAL units may be interleaved.
    pub(crate) fn push_packet<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        packet: Packet,
        held: &mut Held,
    ) {
        let Some(order) = &mut self.interleaved else {
            let (timestamp, marker) = (packet.header.timestamp, packet.header.marker);
            return self.push(to, timestamp, marker, packet.payload());
        };
        let mut finds = Finds::new();
        let whole = find(packet.payload(), &mut finds).is_some();
        order.put(to, packet, finds.as_slice(), &mut held.waiting);
        if !whole {
            to.counters.elements_invalid += 1;
            order.lose(&held.waiting);
        }
        self.release(to, held, false);
    }

    /// Takes the NAL units whose turn it is.
    fn release<O: Output>(&mut self, to: &mut Outlet<'_, O>, held: &mut Held, all: bool) {
        let Some(order) = &mut self.interleaved else { return };
        let (sets, injected) = (&self.sets, &mut self.injected);
        order.release(to, &mut self.units, &mut held.waiting, all, |to, units, part, bytes| {
            let role = match part.head() {
                [] => role(bytes),
                [header, ..] => role(&[*header, u8_at(bytes, 0).unwrap_or(0)]),
            };
            if part.first {
                inject(to, units, sets, injected, part.timestamp, role);
            }
            give(to, units, part, bytes, role);
        });
    }

    /// Packets are missing, where NAL units may be interleaved.
    pub(crate) fn lost_packets<O: Output>(&mut self, to: &mut Outlet<'_, O>, held: &Held) {
        match &mut self.interleaved {
            Some(order) => {
                order.lose(&held.waiting);
                self.units.disorder(to);
            }
            None => self.lost(to),
        }
    }

    /// Nothing more comes, where NAL units may be interleaved.
    pub(crate) fn finish_packets<O: Output>(&mut self, to: &mut Outlet<'_, O>, held: &mut Held) {
        self.release(to, held, true);
        self.finish(to);
    }

    pub(crate) fn push<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
    ) {
        self.units.packet(to, timestamp);
        match payload.first().map(|first| first & 0x1f) {
            _ if starts_with_code(payload) => self.annex_b(to, timestamp, payload),
            Some(1..=23) => self.nal(to, timestamp, payload),
            Some(STAP_A) => self.aggregate(to, timestamp, payload, 1),
            Some(STAP_B) => {
                self.order(to, u16_at(payload, 1));
                self.aggregate(to, timestamp, payload, 3);
            }
            Some(MTAP16) => self.times(to, timestamp, payload, 2),
            Some(MTAP24) => self.times(to, timestamp, payload, 3),
            Some(FU_A) => self.fragment(to, timestamp, payload, 2),
            Some(FU_B) => {
                self.order(to, u16_at(payload, 2));
                self.fragment(to, timestamp, payload, 4);
            }
            Some(_) => to.counters.elements_unsupported += 1,
            None => {}
        }
        self.units.packet_end(to, marker);
    }

    /// What comes if the open NAL unit goes on with the next packet, as FU-A (5.8).
    pub(crate) fn expects(&self, limits: &Limits) -> Option<Expected> {
        let fu = |[header, _]: [u8; 2]| ([header & 0xe0 | FU_A, header & 0x1f, 0], 2);
        self.units.expects(limits, fu).filter(|_| self.interleaved.is_none())
    }

    /// So many packets came that were as expected.
    pub(crate) const fn went_on(&mut self, packets: u32, bytes: usize) {
        self.units.went_on(packets, bytes);
    }

    pub(crate) fn lost<O: Output>(&mut self, to: &mut Outlet<'_, O>) {
        self.units.lost(to);
    }

    pub(crate) fn finish<O: Output>(&mut self, to: &mut Outlet<'_, O>) {
        self.units.finish(to);
    }

    fn nal<O: Output>(&mut self, to: &mut Outlet<'_, O>, timestamp: u32, nal: &[u8]) {
        let role = role(nal);
        self.inject(to, timestamp, role);
        self.units.nal(to, timestamp, nal, role);
    }

    /// A payload with its start codes left in.
    fn annex_b<O: Output>(&mut self, to: &mut Outlet<'_, O>, timestamp: u32, payload: &[u8]) {
        for nal in codec::annexb::nal_units(payload) {
            self.nal(to, timestamp, nal);
        }
    }

    /// STAP: what is complete counts, and up to three spare bytes at the end are none.
    fn aggregate<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        timestamp: u32,
        payload: &[u8],
        from: usize,
    ) {
        let mut rest = payload.get(from..).unwrap_or_default();
        if rest.len() < 3 {
            self.units.invalid(to, timestamp);
        }
        while let Some(size) = u16_at(rest, 0) {
            let size = usize::from(size);
            let Some(nal) = rest.get(2..2 + size) else {
                return self.units.invalid(to, timestamp);
            };
            rest = rest.get(2 + size..).unwrap_or_default();
            if nal.is_empty() {
                to.counters.elements_invalid += 1;
            } else {
                self.nal(to, timestamp, nal);
            }
        }
    }

    /// MTAP: NAL units with times of their own, an offset of `offset_bytes` bytes.
    fn times<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        timestamp: u32,
        payload: &[u8],
        offset_bytes: usize,
    ) {
        let Some(base) = u16_at(payload, 1) else {
            return self.units.invalid(to, timestamp);
        };
        let mut rest = payload.get(3..).unwrap_or_default();
        let head = 3 + offset_bytes;
        let packet_stamps = to.stamps;
        while rest.len() > head {
            let size = usize::from(u16_at(rest, 0).unwrap_or(0));
            let step = u16::from(u8_at(rest, 2).unwrap_or(0));
            let offset = match offset_bytes {
                2 => u16_at(rest, 3).map(u32::from),
                _ => u24_at(rest, 3),
            };
            // The size counts the NAL unit only.
            let nal = rest.get(head..head + size).filter(|nal| !nal.is_empty());
            let (Some(nal), Some(offset)) = (nal, offset) else {
                to.stamps = packet_stamps;
                return self.units.invalid(to, timestamp);
            };
            self.order(to, Some(base.wrapping_add(step)));
            let time = timestamp.wrapping_add(offset);
            to.stamps = packet_stamps;
            to.stamps = to.stamps_after(offset.into());
            self.units.packet(to, time);
            self.nal(to, time, nal);
            rest = rest.get(head + size..).unwrap_or_default();
        }
        to.stamps = packet_stamps;
    }

    /// FU: a part of a NAL unit behind the indicator and its own header.
    fn fragment<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        timestamp: u32,
        payload: &[u8],
        from: usize,
    ) {
        let (Some(indicator), Some(head)) = (u8_at(payload, 0), u8_at(payload, 1)) else {
            return self.units.invalid(to, timestamp);
        };
        let body = payload.get(from..).unwrap_or_default();
        let (start, end, kind) = (head & 0x80 != 0, head & 0x40 != 0, head & 0x1f);
        if body.is_empty() {
            to.counters.payloads_empty += 1;
        }
        if !matches!(kind, 1..=23) {
            return self.units.invalid(to, timestamp);
        }
        let header = indicator & 0xe0 | kind;
        if !start {
            return self.units.fragment(to, timestamp, header, body, end);
        }
        let role = role(&[header, u8_at(body, 0).unwrap_or(0)]);
        self.inject(to, timestamp, role);
        self.units.fragment_start(to, timestamp, &[header], body, role);
        if end {
            // Not allowed, but seen for small NAL units: it is a whole one.
            self.units.fragment(to, timestamp, header, &[], true);
        }
    }

    /// A stream whose parameter sets come only in its description gets them before key pictures.
    fn inject<O: Output>(&mut self, to: &mut Outlet<'_, O>, timestamp: u32, role: Role) {
        inject(to, &mut self.units, &self.sets, &mut self.injected, timestamp, role);
    }

    /// Interleaved mode: the decoding order must not go back (5.5).
    fn order<O: Output>(&mut self, to: &mut Outlet<'_, O>, number: Option<u16>) {
        let Some(number) = number else { return };
        let back = self.order.is_some_and(|last| number.wrapping_sub(last).cast_signed() < 0);
        if back {
            to.counters.elements_out_of_order += 1;
            self.units.disorder(to);
        }
        self.order = Some(number);
    }
}

/// Writes the description's parameter sets before a key picture of `timestamp`, once, unless the
/// stream has its own.
pub(super) fn inject<O: Output>(
    to: &mut Outlet<'_, O>,
    units: &mut NalUnits,
    sets: &ParameterSets,
    injected: &mut Option<u32>,
    timestamp: u32,
    role: Role,
) {
    let key = matches!(role, Role::Slice { key: true, .. });
    if !key || units.has_in_band_sets() || *injected == Some(timestamp) {
        return;
    }
    *injected = Some(timestamp);
    if !sets.as_bytes().is_empty() {
        units.inject(to, timestamp, sets.as_bytes());
    }
}

/// The NAL units of an interleaved payload (table 4): `None` when it breaks off or is of a kind
/// that has no numbers.
fn find(payload: &[u8], finds: &mut Finds) -> Option<()> {
    match payload.first()? & 0x1f {
        STAP_B => {
            let mut number = u16_at(payload, 1)?;
            let mut at = 3;
            while at < payload.len() {
                let len = usize::from(u16_at(payload, at)?);
                find_whole(payload, Found::whole(at + 2, len, number), finds)?;
                at += 2 + len;
                number = number.wrapping_add(1);
            }
        }
        kind @ (MTAP16 | MTAP24) => {
            let base = u16_at(payload, 1)?;
            let mut at = 3;
            while at < payload.len() {
                let len = usize::from(u16_at(payload, at)?);
                let number = base.wrapping_add(u8_at(payload, at + 2)?.into());
                let (offset, head) = match kind {
                    MTAP16 => (u16_at(payload, at + 3)?.into(), 5),
                    _ => (u24_at(payload, at + 3)?, 6),
                };
                let found = Found { offset, ..Found::whole(at + head, len, number) };
                find_whole(payload, found, finds)?;
                at += head + len;
            }
        }
        kind @ (FU_A | FU_B) => {
            let (indicator, head) = (u8_at(payload, 0)?, u8_at(payload, 1)?);
            let (number, start) = match kind {
                FU_A => (None, 2),
                _ => (Some(u16_at(payload, 2)?), 4),
            };
            let nal_type = head & 0x1f;
            if !matches!(nal_type, 1..=23) {
                return None;
            }
            let found = Found {
                start,
                len: payload.len().saturating_sub(start),
                number,
                head: [indicator & 0xe0 | nal_type, 0],
                head_len: 1,
                first: head & 0x80 != 0,
                last: head & 0x40 != 0,
                offset: 0,
            };
            finds.push(found).then_some(())?;
        }
        _ => return None,
    }
    Some(())
}

/// One that lies in the payload to its end.
fn find_whole(payload: &[u8], found: Found, finds: &mut Finds) -> Option<()> {
    payload.get(found.start..found.start + found.len).filter(|nal| !nal.is_empty())?;
    finds.push(found).then_some(())
}

/// What a NAL unit is (H.264, table 7-1).
fn role(nal: &[u8]) -> Role {
    let Some(first) = nal.first() else { return Role::Invalid };
    if first & 0x80 != 0 {
        return Role::Invalid;
    }
    // first_mb_in_slice is 0 when its code is the single bit 1.
    let begins = u8_at(nal, 1).map(|byte| byte & 0x80 != 0);
    match (first & 0x1f, begins) {
        (1 | 5, None) => Role::Invalid,
        (1, Some(first)) => Role::Slice { first, key: false },
        (5, Some(first)) => Role::Slice { first, key: true },
        // Data partitions.
        (2..=4, _) => Role::Unsupported,
        (6 | 16..=18, _) => Role::Message,
        (7, _) => Role::ParameterSet(0),
        (8 | 13, _) => Role::ParameterSet(1),
        (9, _) => Role::Delimiter,
        (10 | 11 | 19 | 22 | 23, _) => Role::Suffix,
        // Filler, and what belongs to scalable and multiview coding.
        (12 | 14 | 15 | 20 | 21, _) => Role::Ignored,
        _ => Role::Invalid,
    }
}

/// Whether a payload could be H.264, for detection: its structure holds as far as one packet shows.
pub(crate) fn looks_right(payload: &[u8]) -> Option<Shape> {
    let first = u8_at(payload, 0)?;
    if first & 0x80 != 0 {
        return None;
    }
    let importance = first & 0x60;
    match first & 0x1f {
        kind @ (1 | 5..=9) => single_shape(kind, importance, payload),
        STAP_A => {
            let mut rest = payload.get(1..).filter(|rest| !rest.is_empty())?;
            let mut strong = false;
            while !rest.is_empty() {
                let size = usize::from(u16_at(rest, 0)?);
                let nal = rest.get(2..2 + size)?;
                let head = nal.first()?;
                if head & 0x80 != 0 || !matches!(head & 0x1f, 1..=12) {
                    return None;
                }
                strong |= matches!(head & 0x1f, 7 | 8);
                rest = rest.get(2 + size..)?;
            }
            Some(if strong { Shape::Proof } else { Shape::Likely })
        }
        FU_A => {
            let head = u8_at(payload, 1)?;
            let kind = head & 0x1f;
            let sane = head & 0x20 == 0 && head & 0xc0 != 0xc0 && matches!(kind, 1 | 5..=8);
            let referenced = kind != 5 || importance != 0;
            (sane && referenced && payload.len() > 2).then_some(Shape::Likely)
        }
        _ => None,
    }
}

fn single_shape(kind: u8, importance: u8, payload: &[u8]) -> Option<Shape> {
    match kind {
        7 => {
            let profile = u8_at(payload, 1)?;
            let known = matches!(profile, 66 | 77 | 88 | 100 | 110 | 122 | 244 | 44);
            let level = u8_at(payload, 3)?;
            (importance != 0 && known && (9..=62).contains(&level)).then_some(Shape::Proof)
        }
        8 => (importance != 0 && payload.len() < 200).then_some(Shape::Weak),
        9 => {
            // primary_pic_type and the stop bit.
            let ends = u8_at(payload, 1)? & 0x1f == 0x10;
            (importance == 0 && payload.len() <= 3 && ends).then_some(Shape::Likely)
        }
        6 => (importance == 0 && payload.len() > 2).then_some(Shape::Weak),
        5 if importance == 0 => None,
        1 | 5 if slice_starts(payload) => Some(Shape::Likely),
        _ => Some(Shape::Weak),
    }
}

/// The first slice of a picture, as far as its header tells.
fn slice_starts(nal: &[u8]) -> bool {
    use codec::rbsp::BitReader;
    let mut bits = BitReader::prefix(nal.get(1..).unwrap_or_default());
    let first = bits.ue_max(0, "first_mb_in_slice").is_ok();
    let kind = bits.ue_max(9, "slice_type").is_ok();
    let set = bits.ue_max(31, "pic_parameter_set_id").is_ok();
    nal.len() > 8 && first && kind && set
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, Gathered};
    use super::*;

    const SPS: &[u8] = &[0x67, 0x42, 0, 0x1f, 0xda];
    const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
    const IDR: &[u8] = &[0x65, 0x88, 1, 2, 3];
    const P: &[u8] = &[0x41, 0x9a, 4, 5];
    /// Continues a picture: first_mb_in_slice is not 0.
    const P_MORE: &[u8] = &[0x41, 0x46, 6, 7];

    fn bench() -> Bench<H264> {
        Bench::new(H264::new(ParameterSets::EMPTY, 0))
    }

    impl Bench<H264> {
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

    fn annex_b(nals: &[&[u8]]) -> Vec<u8> {
        nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect()
    }

    fn clean(timestamp: u64, nals: &[&[u8]]) -> Gathered {
        Gathered { pts: timestamp, bytes: annex_b(nals), damaged: false, ended: true }
    }

    fn damaged(timestamp: u64, nals: &[&[u8]]) -> Gathered {
        Gathered { damaged: true, ..clean(timestamp, nals) }
    }

    fn stap(nals: &[&[u8]]) -> Vec<u8> {
        let mut payload = vec![0x78];
        for nal in nals {
            payload.extend(u16::try_from(nal.len()).unwrap().to_be_bytes());
            payload.extend_from_slice(nal);
        }
        payload
    }

    /// A stream whose markers have proved right.
    fn proven() -> Bench<H264> {
        let mut bench = bench();
        bench.packet(0, false, &stap(&[SPS, PPS])).packet(0, true, IDR);
        bench.packet(1, true, P).packet(2, true, P).packet(3, true, P);
        bench.take();
        bench
    }

    #[test]
    fn units_end_at_timestamps_first_and_at_markers_once_these_proved_right() {
        let mut bench = bench();
        bench.packet(0, false, SPS).packet(0, false, PPS).packet(0, true, IDR);
        assert!(!bench.take()[0].ended, "nothing is known of the marker");
        let mut bench = proven();
        bench.packet(9, true, P);
        assert_eq!(bench.take(), [clean(9, &[P])], "ends with its marker");
    }

    #[test]
    fn aggregates_are_taken_apart() {
        let out = bench().packet(5, true, &stap(&[SPS, PPS, IDR])).done();
        assert_eq!(out, [clean(5, &[SPS, PPS, IDR])]);
    }

    #[test]
    fn aggregates_with_wrong_sizes_keep_what_was_complete() {
        let whole = stap(&[SPS, IDR]);
        for (payload, nals, is_damaged) in [
            ([&whole[..], &[0, 9, 1]].concat(), &[SPS, IDR][..], true),
            ([&whole[..], &[0]].concat(), &[SPS, IDR], false),
            ([&whole[..], &[0, 0]].concat(), &[SPS, IDR], false),
            (whole[..whole.len() - 1].to_vec(), &[SPS], true),
        ] {
            let out = bench().packet(5, true, &payload).done();
            let expected = if is_damaged { damaged(5, nals) } else { clean(5, nals) };
            assert_eq!(out, [expected], "{payload:?}");
        }
        for payload in [&[0x78u8][..], &[0x78, 0], &[0x78, 0xff, 0xff, 1]] {
            let mut bench = bench();
            assert!(bench.packet(5, true, payload).done().iter().all(|unit| unit.damaged));
            assert_eq!(bench.counters.elements_invalid, 1, "{payload:?}");
        }
    }

    #[test]
    fn nothing_nests_in_an_aggregate() {
        let mut bench = bench();
        bench.packet(5, true, &stap(&[SPS, &[0x7c, 0x85, 1], IDR]));
        assert_eq!(bench.counters.elements_invalid, 1);
        assert_eq!(bench.done(), [damaged(5, &[SPS, IDR])]);
    }

    #[test]
    fn stap_b_and_mtap_have_order_and_time() {
        let stap_b = [&[0x79, 0, 7], &stap(&[SPS, IDR])[1..]].concat();
        assert_eq!(bench().packet(5, true, &stap_b).done(), [clean(5, &[SPS, IDR])]);
        let mtap = |kind: u8, width: usize| {
            let mut payload = vec![kind, 0, 7];
            for (order, offset, nal) in [(0u8, 0u32, P), (1, 3_000, P)] {
                payload.extend(u16::try_from(nal.len()).unwrap().to_be_bytes());
                payload.push(order);
                payload.extend(&offset.to_be_bytes()[4 - width..]);
                payload.extend_from_slice(nal);
            }
            payload
        };
        for payload in [mtap(0x7a, 2), mtap(0x7b, 3)] {
            let mut bench = bench();
            let out = bench.packet(5, false, &payload).done();
            assert_eq!(out, [clean(5, &[P]), clean(3_005, &[P])]);
            for len in 0..payload.len() {
                self::bench().packet(5, true, &payload[..len]).done();
            }
        }
    }

    #[test]
    fn decoding_order_that_goes_back_damages() {
        let stap_b = |order: u8, nal| [&[0x79, 0, order], &stap(&[nal])[1..]].concat();
        let mut bench = bench();
        bench.packet(5, true, &stap_b(7, P)).packet(6, true, &stap_b(6, P));
        assert_eq!(bench.counters.elements_out_of_order, 1);
        assert_eq!(bench.done(), [clean(5, &[P]), damaged(6, &[P])]);
    }

    #[test]
    fn fragments_are_joined_behind_the_rebuilt_header() {
        let mut bench = bench();
        bench.packet(5, false, &[0x7c, 0x81, 0x88, 1]).packet(5, false, &[0x7c, 0x01, 0, 0]);
        bench.packet(5, true, &[0x7c, 0x41, 3, 0]);
        assert_eq!(bench.done(), [clean(5, &[&[0x61, 0x88, 1, 0, 0, 3]])]);
    }

    #[test]
    fn fu_b_carries_an_order_number() {
        let mut bench = bench();
        bench.packet(5, false, &[0x7d, 0x81, 0, 9, 0x88, 1]).packet(5, true, &[0x7c, 0x41, 3]);
        assert_eq!(bench.done(), [clean(5, &[&[0x61, 0x88, 1, 3]])]);
    }

    #[test]
    fn start_and_end_in_one_is_a_whole_nal_unit() {
        let out = bench().packet(5, true, &[0x7c, 0xc1, 0x88, 1]).done();
        assert_eq!(out, [clean(5, &[&[0x61, 0x88, 1]])]);
    }

    #[test]
    fn fragments_without_start_damage_and_are_dropped() {
        let mut bench = proven();
        bench.packet(9, false, &[0x5c, 0x01, 1]).packet(9, true, &[0x5c, 0x41, 2]);
        bench.packet(10, true, P);
        assert_eq!(bench.counters.fragments_without_start, 2);
        assert_eq!(bench.done(), [damaged(9, &[]), clean(10, &[P])]);
    }

    #[test]
    fn a_new_start_before_the_end_drops_the_old_one() {
        let mut bench = proven();
        bench.packet(9, false, &[0x5c, 0x81, 0x9a, 1]).packet(9, false, &[0x5c, 0x81, 0x46, 2]);
        bench.packet(9, true, &[0x5c, 0x41, 3]);
        assert_eq!(bench.counters.fragments_unfinished, 1);
        assert_eq!(bench.done(), [damaged(9, &[&[0x41, 0x9a, 1], &[0x41, 0x46, 2, 3]])]);
    }

    #[test]
    fn a_fragment_never_goes_on_over_a_gap() {
        let mut bench = proven();
        bench.packet(9, false, &[0x5c, 0x81, 0x9a, 1]).lose();
        bench.packet(9, true, &[0x5c, 0x41, 3]).packet(10, true, P);
        assert_eq!(bench.done(), [damaged(9, &[&[0x41, 0x9a, 1]]), clean(10, &[P])]);
    }

    #[test]
    fn a_header_that_changes_within_a_nal_unit_is_counted() {
        let mut bench = proven();
        bench.packet(9, false, &[0x5c, 0x81, 0x9a, 1]).packet(9, true, &[0x3c, 0x41, 3]);
        assert_eq!(bench.counters.fragments_inconsistent, 1);
        assert_eq!(bench.done(), [clean(9, &[&[0x41, 0x9a, 1, 3]])]);
    }

    #[test]
    fn a_whole_lost_picture_leaves_its_neighbours_clean() {
        let mut bench = proven();
        bench.packet(9, true, P).lose().packet(11, true, P);
        assert_eq!(bench.done(), [clean(9, &[P]), clean(11, &[P])]);
        assert_eq!(bench.skipped, 1);
    }

    #[test]
    fn a_unit_whose_start_may_be_lost_is_damaged() {
        let mut bench = proven();
        // The key pictures of this stream start with SPS.
        bench.lose().packet(9, false, PPS).packet(9, true, IDR);
        bench.lose().packet(10, true, IDR);
        bench.lose().packet(11, false, SPS).packet(11, false, PPS).packet(11, true, IDR);
        bench.lose().packet(12, true, P_MORE);
        let out = bench.done();
        assert_eq!(
            out.iter().map(|unit| unit.damaged).collect::<Vec<_>>(),
            [true, true, false, true]
        );
    }

    #[test]
    fn of_two_messages_at_the_start_one_may_be_lost() {
        const SEI: &[u8] = &[6, 5, 1, 0, 0x80];
        let mut bench = proven();
        for timestamp in 10..13 {
            bench.packet(timestamp, false, SEI).packet(timestamp, false, SEI);
            bench.packet(timestamp, true, P);
        }
        bench.lose().packet(20, false, SEI).packet(20, true, P);
        bench.lose().packet(21, false, SEI).packet(21, false, SEI).packet(21, true, P);
        let damaged: Vec<bool> = bench.done().iter().map(|unit| unit.damaged).collect();
        assert_eq!(damaged, [false, false, false, true, false]);
    }

    #[test]
    fn a_lost_end_damages_although_the_next_picture_is_whole() {
        let mut bench = proven();
        bench.packet(9, false, P).lose().packet(10, true, P);
        assert_eq!(bench.done(), [damaged(9, &[P]), clean(10, &[P])]);
    }

    #[test]
    fn the_picture_behind_one_with_a_hole_is_clean() {
        let mut bench = proven();
        bench.packet(9, false, P).lose().packet(9, false, P_MORE);
        bench.packet(10, false, &[6, 1, 1, 0x80]).packet(10, true, P);
        let out = bench.done();
        assert_eq!(out[0], damaged(9, &[P, P_MORE]));
        assert!(!out[1].damaged, "it came right behind");
    }

    #[test]
    fn markers_on_each_slice_lose_all_trust() {
        let mut bench = bench();
        bench.packet(0, true, SPS).packet(0, true, PPS).packet(0, true, IDR);
        for timestamp in 1..6 {
            bench.packet(timestamp, true, P).packet(timestamp, true, P_MORE);
        }
        let out = bench.done();
        assert_eq!(out.len(), 6);
        assert_eq!(out[3], clean(3, &[P, P_MORE]));
        assert!(bench.counters.markers_wrong >= 6);
    }

    #[test]
    fn without_markers_timestamps_do() {
        let mut bench = bench();
        bench.packet(0, false, IDR);
        for timestamp in 1..4 {
            bench.packet(timestamp, false, P).packet(timestamp, false, P_MORE);
        }
        assert_eq!(bench.done()[1..], (1..4).map(|at| clean(at, &[P, P_MORE])).collect::<Vec<_>>());
    }

    #[test]
    fn two_fields_may_share_a_timestamp() {
        let mut bench = proven();
        bench.packet(9, true, P).packet(9, true, P).packet(10, true, P);
        assert_eq!(bench.done(), [clean(9, &[P]), clean(9, &[P]), clean(10, &[P])]);
        assert_eq!(bench.counters.markers_wrong, 0);
    }

    #[test]
    fn start_codes_left_in_are_taken_out() {
        let payload = annex_b(&[SPS, PPS, IDR]);
        assert_eq!(bench().packet(5, true, &payload).done(), [clean(5, &[SPS, PPS, IDR])]);
    }

    #[test]
    fn zeros_behind_a_nal_unit_are_no_part_of_it() {
        let payload = [P, &[0, 0, 0]].concat();
        assert_eq!(bench().packet(5, true, &payload).done(), [clean(5, &[P])]);
        let mut bench = bench();
        bench.packet(5, false, &[0x7c, 0x81, 0x88, 1, 0]).packet(5, true, &[0x7c, 0x41, 0, 0]);
        assert_eq!(bench.done(), [clean(5, &[&[0x61, 0x88, 1]])]);
    }

    #[test]
    fn described_parameter_sets_stand_before_key_pictures_until_the_stream_has_its_own() {
        let mut sets = ParameterSets::EMPTY;
        assert!(sets.push(SPS) && sets.push(PPS));
        let mut bench = Bench::new(H264::new(sets, 0));
        bench.packet(0, true, IDR).packet(1, true, P).packet(2, false, IDR).packet(2, true, IDR);
        bench.packet(3, false, SPS).packet(3, true, IDR).packet(4, true, IDR);
        let out = bench.done();
        assert_eq!(out[0], clean(0, &[SPS, PPS, IDR]));
        assert_eq!(out[2], clean(2, &[SPS, PPS, IDR, IDR]));
        assert_eq!(out[4], clean(4, &[IDR]));
    }

    #[test]
    fn a_described_stream_is_joined_whole_at_a_key_picture_that_a_message_leads() {
        const SEI: &[u8] = &[6, 5, 1, 0x80];
        let mut sets = ParameterSets::EMPTY;
        assert!(sets.push(SPS) && sets.push(PPS));
        let mut bench = Bench::new(H264::new(sets, 0));
        bench.packet(0, false, SEI).packet(0, true, IDR).packet(1, true, P);
        assert_eq!(bench.done()[0], clean(0, &[SEI, SPS, PPS, IDR]));
        let mut bench = Bench::new(H264::new(ParameterSets::EMPTY, 0));
        bench.packet(0, false, SEI).packet(0, true, IDR).packet(1, true, P);
        assert_eq!(bench.done()[0], damaged(0, &[SEI, IDR]), "its sets may be what is missing");
    }

    #[test]
    fn a_stream_joined_within_a_picture_takes_no_start_behind_a_loss_for_granted() {
        let mut bench = bench();
        bench.packet(0, false, &[0x7c, 0x05, 1, 2]).packet(0, true, &[0x7c, 0x45, 3]).lose();
        // What was lost may be the delimiter of this one.
        bench.packet(1, true, P).packet(2, true, P);
        let damaged: Vec<bool> = bench.done().iter().map(|unit| unit.damaged).collect();
        assert_eq!(damaged, [true, true, false]);
    }

    #[test]
    fn reserved_types_filler_and_layers_are_counted_and_dropped() {
        let mut bench = proven();
        for kind in [0x1e, 0x1f, 0x60] {
            bench.packet(9, false, &[kind, 1, 2]);
        }
        for kind in [12, 14, 20] {
            bench.packet(9, false, &[kind, 1, 2]);
        }
        bench.packet(9, true, P);
        assert_eq!(bench.counters.elements_ignored, 3);
        assert_eq!(bench.counters.elements_unsupported, 3);
        assert_eq!(bench.done(), [clean(9, &[P])]);
    }

    #[test]
    fn the_forbidden_bit_damages() {
        let mut bench = proven();
        bench.packet(9, false, &[0xc1, 0x9a]).packet(9, true, P);
        assert_eq!(bench.done(), [damaged(9, &[P])]);
    }

    #[test]
    fn limits_cut_and_the_next_picture_is_whole() {
        let mut bench = proven();
        bench.limits.frame_bytes_max = 100;
        bench.packet(9, false, &[0x5c, 0x81, 0x9a]);
        for _ in 0..1_000 {
            bench.packet(9, false, &[&[0x5c, 0x01][..], &[1; 60]].concat());
        }
        bench.packet(10, true, P);
        let out = bench.take();
        assert!(out[0].damaged && out[0].bytes.len() <= 100);
        assert_eq!((&out[1], bench.counters.frames_oversize), (&clean(10, &[P]), 1));
        bench.limits.elements_max = 10;
        for _ in 0..100 {
            bench.packet(11, false, P);
        }
        bench.packet(11, true, P).packet(12, true, P);
        let out = bench.done();
        assert_eq!((out[0].bytes.len(), out[0].damaged), (80, true));
        assert_eq!(bench.counters.frames_too_many_elements, 1);
        assert!(!out[1].damaged);
    }

    #[test]
    fn a_nal_unit_without_end_is_cut_at_the_most_fragments() {
        let mut bench = proven();
        bench.limits.fragments_max = 5;
        bench.packet(9, false, &[0x5c, 0x81, 0x9a]);
        for _ in 0..10 {
            bench.packet(9, false, &[0x5c, 0x01, 7]);
        }
        assert_eq!(bench.counters.elements_too_fragmented, 1);
        assert_eq!(bench.done(), [damaged(9, &[&[0x41, 0x9a, 7, 7, 7, 7]])]);
    }

    #[test]
    fn a_stream_that_is_never_marked_and_never_moves_stays_bounded() {
        let mut bench = bench();
        bench.limits.frame_bytes_max = 1_000;
        for _ in 0..10_000 {
            bench.packet(9, false, P);
        }
        let out = bench.done();
        assert_eq!(out.len(), 1);
        assert!(out[0].damaged && out[0].bytes.len() <= 1_000);
    }
}
