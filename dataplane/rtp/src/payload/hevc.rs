//! HEVC (RFC 7798): single NAL units, aggregates, fragments, PACI.
//!
//! ```text
//!  | F type(6) layer(6) TID(3) |          type  4.4
//!    0–47  [DONL] NAL unit                single  4.4.1
//!    48    [DONL] size NAL ([DOND] size NAL) …    AP  4.4.2
//!    49    S E type(6) [DONL in the first] part   FU  4.4.3
//!    50    A cType PHSsize F0–2 Y, extension, payload of cType   PACI  4.4.4
//! ```
//!
//! DONL and DOND are there when the description says sprop-max-don-diff above 0. NAL units are put in
//! decoding order where it says how many wait (sprop-depack-buf-nalus). NAL units of other layers than
//! 0 are not handed on.

use std::mem::offset_of;

use super::h264::inject;
use super::interleave::{Finds, Found, Order, give};
use super::nal::{Expected, NalUnits, Role, starts_with_code};
use super::unit::Outlet;
use super::{Held, Limits, ParameterSets, Shape};
use crate::bytes::{u8_at, u16_at};
use crate::output::Output;
use crate::packet::Packet;

const AGGREGATE: u8 = 48;
const FRAGMENT: u8 = 49;
const PACI: u8 = 50;

/// Depacketizes one track.
#[derive(Debug, Clone)]
#[repr(C)]
pub struct Hevc {
    units: NalUnits,
    /// Decoding order numbers are there.
    has_order: bool,
    injected: Option<u32>,
    order: Option<u16>,
    /// NAL units are interleaved.
    interleaved: Option<Order>,
    sets: ParameterSets,
}

/// The header of a NAL unit or payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header([u8; 2]);

impl Header {
    fn of(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().copied().map(Self)
    }

    const fn kind(self) -> u8 {
        self.0[0] >> 1 & 0x3f
    }

    const fn layer(self) -> u8 {
        (self.0[0] & 1) << 5 | self.0[1] >> 3
    }

    /// The forbidden bit is not set and the temporal id is there.
    const fn is_valid(self) -> bool {
        self.0[0] & 0x80 == 0 && self.0[1] & 7 != 0
    }

    const fn with_kind(self, kind: u8) -> Self {
        Self([self.0[0] & 0x81 | kind << 1, self.0[1]])
    }
}

impl Hevc {
    /// What changes with each packet comes before the parameter sets.
    pub(super) const STATE_BYTES: usize = offset_of!(Self, sets);

    /// With the parameter sets of the description, whether decoding order numbers are there, and how
    /// many NAL units wait for their order (7.1, sprop-vps, -sps, -pps, sprop-max-don-diff,
    /// sprop-depack-buf-nalus).
    pub(crate) fn new(sets: ParameterSets, has_order: bool, depth: u8) -> Self {
        Self {
            units: NalUnits::new(!sets.as_bytes().is_empty()),
            sets,
            has_order,
            injected: None,
            order: None,
            interleaved: Order::new(depth).filter(|_| has_order),
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
                [first, second] => role(&[*first, *second, u8_at(bytes, 0).unwrap_or(0)]),
                _ => role(bytes),
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
        if starts_with_code(payload) {
            for nal in codec::annexb::nal_units(payload) {
                self.nal(to, timestamp, nal);
            }
        } else if let Some((header, body)) = payload.split_first_chunk() {
            self.payload(to, timestamp, Header(*header), body, payload);
        } else if !payload.is_empty() {
            self.units.invalid(to, timestamp);
        }
        self.units.packet_end(to, marker);
    }

    /// What comes if the open NAL unit goes on with the next packet (4.4.3).
    pub(crate) fn expects(&self, limits: &Limits) -> Option<Expected> {
        let fu = |header: [u8; 2]| {
            let Header([first, second]) = Header(header).with_kind(FRAGMENT);
            ([first, second, Header(header).kind()], 3)
        };
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

    /// What stands behind a payload header; `whole` is both where they lie together.
    fn payload<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        timestamp: u32,
        header: Header,
        body: &[u8],
        whole: &[u8],
    ) {
        match header.kind() {
            _ if !header.is_valid() => self.units.invalid(to, timestamp),
            AGGREGATE => self.aggregate(to, timestamp, body),
            FRAGMENT => self.fragment(to, timestamp, header, body),
            PACI => self.paci(to, timestamp, header, body),
            51..=63 => to.counters.elements_unsupported += 1,
            _ if self.has_order || whole.is_empty() => {
                let (order, body) = self.split_order(body);
                self.order(to, order);
                self.pieces(to, timestamp, header, body);
            }
            _ => self.nal(to, timestamp, whole),
        }
    }

    fn nal<O: Output>(&mut self, to: &mut Outlet<'_, O>, timestamp: u32, nal: &[u8]) {
        let role = role(nal);
        self.inject(to, timestamp, role);
        self.units.nal(to, timestamp, nal, role);
    }

    /// A whole NAL unit whose header does not stand before its body.
    fn pieces<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        timestamp: u32,
        header: Header,
        body: &[u8],
    ) {
        let [first, second] = header.0;
        let role = role(&[first, second, u8_at(body, 0).unwrap_or(0)]);
        self.inject(to, timestamp, role);
        self.units.fragment_start(to, timestamp, &header.0, body, role);
        if !matches!(role, Role::Ignored | Role::Invalid) {
            self.units.fragment(to, timestamp, first, &[], true);
        }
    }

    fn aggregate<O: Output>(&mut self, to: &mut Outlet<'_, O>, timestamp: u32, body: &[u8]) {
        let mut rest = body;
        if self.has_order {
            self.order(to, u16_at(rest, 0));
            rest = rest.get(2..).unwrap_or_default();
        }
        if rest.len() < 3 {
            return self.units.invalid(to, timestamp);
        }
        while let Some(size) = u16_at(rest, 0) {
            let size = usize::from(size);
            let Some(nal) = rest.get(2..2 + size) else {
                return self.units.invalid(to, timestamp);
            };
            rest = rest.get(2 + size..).unwrap_or_default();
            match Header::of(nal).map(Header::kind) {
                Some(0..AGGREGATE) => self.nal(to, timestamp, nal),
                // Nothing nests in an aggregate.
                _ if !nal.is_empty() => self.units.invalid(to, timestamp),
                _ => to.counters.elements_invalid += 1,
            }
            if self.has_order && !rest.is_empty() {
                let step = u16::from(u8_at(rest, 0).unwrap_or(0));
                let number = self.order.map(|order| order.wrapping_add(step).wrapping_add(1));
                self.order(to, number);
                rest = rest.get(1..).unwrap_or_default();
            }
        }
    }

    fn fragment<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        timestamp: u32,
        header: Header,
        body: &[u8],
    ) {
        let Some((head, body)) = body.split_first() else {
            return self.units.invalid(to, timestamp);
        };
        let (start, end, kind) = (head & 0x80 != 0, head & 0x40 != 0, head & 0x3f);
        if kind >= AGGREGATE {
            return self.units.invalid(to, timestamp);
        }
        let header = header.with_kind(kind);
        let [first, second] = header.0;
        if !start {
            if header.layer() == 0 {
                self.units.fragment(to, timestamp, first, body, end);
            }
            return;
        }
        let (order, body) = self.split_order(body);
        self.order(to, order);
        if body.is_empty() {
            to.counters.payloads_empty += 1;
        }
        let role = role(&[first, second, u8_at(body, 0).unwrap_or(0)]);
        self.inject(to, timestamp, role);
        self.units.fragment_start(to, timestamp, &header.0, body, role);
        if end && !matches!(role, Role::Ignored | Role::Invalid) {
            self.units.fragment(to, timestamp, first, &[], true);
        }
    }

    /// The extension is skipped; behind it stands a payload whose header is spread over this one's.
    fn paci<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        timestamp: u32,
        header: Header,
        body: &[u8],
    ) {
        let fields = u16_at(body, 0).unwrap_or(0);
        let kind = u8::try_from(fields >> 9 & 0x3f).unwrap_or(0);
        let extension = usize::from(fields >> 4 & 0x1f);
        let inner = body.get(2 + extension..).filter(|inner| !inner.is_empty());
        match inner {
            // A PACI in a PACI is forbidden.
            Some(inner) if kind != PACI => {
                self.payload(to, timestamp, header.with_kind(kind), inner, &[]);
            }
            _ => self.units.invalid(to, timestamp),
        }
    }

    fn split_order<'a>(&self, body: &'a [u8]) -> (Option<u16>, &'a [u8]) {
        if self.has_order {
            (u16_at(body, 0), body.get(2..).unwrap_or_default())
        } else {
            (None, body)
        }
    }

    fn inject<O: Output>(&mut self, to: &mut Outlet<'_, O>, timestamp: u32, role: Role) {
        inject(to, &mut self.units, &self.sets, &mut self.injected, timestamp, role);
    }

    /// The decoding order must not go back: NAL units are taken as they come.
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

/// The NAL units of an interleaved payload: `None` when it breaks off or is of a kind that is not
/// taken interleaved. Those of other layers are left out.
fn find(payload: &[u8], finds: &mut Finds) -> Option<()> {
    let header = Header::of(payload).filter(|header| header.is_valid())?;
    let base = header.layer() == 0;
    match header.kind() {
        AGGREGATE => {
            let mut number = u16_at(payload, 2)?;
            let mut at = 4;
            loop {
                let len = usize::from(u16_at(payload, at)?);
                let nal = payload.get(at + 2..at + 2 + len)?;
                let inner = Header::of(nal).filter(|inner| inner.kind() < AGGREGATE)?;
                if inner.layer() == 0 {
                    finds.push(Found::whole(at + 2, len, number)).then_some(())?;
                }
                at += 2 + len;
                if at >= payload.len() {
                    return Some(());
                }
                number = number.wrapping_add(u16::from(u8_at(payload, at)?) + 1);
                at += 1;
            }
        }
        FRAGMENT => {
            let head = u8_at(payload, 2)?;
            let first = head & 0x80 != 0;
            let kind = Some(head & 0x3f).filter(|kind| *kind < AGGREGATE)?;
            let start = if first { 5 } else { 3 };
            let found = Found {
                head: header.with_kind(kind).0,
                head_len: 2,
                first,
                last: head & 0x40 != 0,
                number: if first { Some(u16_at(payload, 3)?) } else { None },
                ..Found::whole(start, payload.len().checked_sub(start)?, 0)
            };
            (!base || finds.push(found)).then_some(())
        }
        0..AGGREGATE => {
            let (len, number) = (payload.len().checked_sub(4)?, u16_at(payload, 2)?);
            let found = Found { head: header.0, head_len: 2, ..Found::whole(4, len, number) };
            (!base || finds.push(found)).then_some(())
        }
        _ => None,
    }
}

/// What a NAL unit is (H.265, table 7-1).
fn role(nal: &[u8]) -> Role {
    let Some(header) = Header::of(nal) else { return Role::Invalid };
    if !header.is_valid() {
        return Role::Invalid;
    }
    if header.layer() > 0 {
        return Role::Ignored;
    }
    let Some(third) = u8_at(nal, 2) else {
        return if matches!(header.kind(), 35..=38) {
            kind_role(header.kind())
        } else {
            Role::Invalid
        };
    };
    match header.kind() {
        // first_slice_segment_in_pic_flag is the first bit.
        kind @ 0..=31 => Role::Slice { first: third & 0x80 != 0, key: matches!(kind, 16..=23) },
        kind => kind_role(kind),
    }
}

const fn kind_role(kind: u8) -> Role {
    match kind {
        32 => Role::ParameterSet(0),
        33 | 34 => Role::ParameterSet(1),
        35 => Role::Delimiter,
        39 | 41..=44 => Role::Message,
        36 | 37 | 40 | 45..=47 => Role::Suffix,
        // Filler.
        38 => Role::Ignored,
        _ => Role::Invalid,
    }
}

/// Whether a payload could be HEVC, for detection.
pub(crate) fn looks_right(payload: &[u8]) -> Option<Shape> {
    let header = Header::of(payload)?;
    if !header.is_valid() || header.layer() != 0 {
        return None;
    }
    let base = header.0[1] == 1;
    match header.kind() {
        0..=9 | 16..=21 if payload.len() > 3 => {
            Some(if base { Shape::Likely } else { Shape::Weak })
        }
        32 if base => {
            // vps_reserved_0xffff_16bits.
            (u16_at(payload, 4)? == 0xffff).then_some(Shape::Proof)
        }
        33 | 34 if base && payload.len() > 3 => Some(Shape::Likely),
        35 => (payload.len() <= 4 && u8_at(payload, 2)? & 0x1f == 0x10).then_some(Shape::Likely),
        39 | 40 if base && payload.len() > 3 => Some(Shape::Likely),
        AGGREGATE => aggregate_shape(payload),
        FRAGMENT => {
            let head = u8_at(payload, 2)?;
            let sane = head & 0xc0 != 0xc0 && matches!(head & 0x3f, 0..=9 | 16..=21 | 32..=34 | 39);
            (sane && payload.len() > 3).then_some(Shape::Likely)
        }
        _ => None,
    }
}

fn aggregate_shape(payload: &[u8]) -> Option<Shape> {
    let mut rest = payload.get(2..)?;
    let (mut nals, mut sets) = (0, false);
    while !rest.is_empty() {
        let size = usize::from(u16_at(rest, 0)?);
        let nal = rest.get(2..2 + size)?;
        let header = Header::of(nal).filter(|header| header.is_valid())?;
        if header.kind() >= AGGREGATE || header.layer() != 0 {
            return None;
        }
        sets |= matches!(header.kind(), 32..=34);
        nals += 1;
        rest = rest.get(2 + size..)?;
    }
    match (nals, sets) {
        (0 | 1, _) => None,
        (_, true) => Some(Shape::Proof),
        _ => Some(Shape::Likely),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Bench, Gathered};
    use super::*;

    const VPS: &[u8] = &[0x40, 1, 0x0c, 1];
    const SPS: &[u8] = &[0x42, 1, 1, 2];
    const PPS: &[u8] = &[0x44, 1, 0xc1, 0x73];
    const IDR: &[u8] = &[0x26, 1, 0xaf, 1, 2];
    const P: &[u8] = &[2, 1, 0xd0, 3, 4];
    const P_MORE: &[u8] = &[2, 1, 0x50, 5, 6];

    fn bench(has_order: bool) -> Bench<Hevc> {
        Bench::new(Hevc::new(ParameterSets::EMPTY, has_order, 0))
    }

    impl Bench<Hevc> {
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

    fn clean(timestamp: u64, nals: &[&[u8]]) -> Gathered {
        let bytes = nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect();
        Gathered { pts: timestamp, bytes, damaged: false, ended: true }
    }

    fn damaged(timestamp: u64, nals: &[&[u8]]) -> Gathered {
        Gathered { damaged: true, ..clean(timestamp, nals) }
    }

    fn aggregate(nals: &[&[u8]], has_order: bool) -> Vec<u8> {
        let mut payload = vec![0x60, 1];
        for (step, nal) in nals.iter().enumerate() {
            match (has_order, step) {
                (true, 0) => payload.extend([0, 9]),
                (true, _) => payload.push(0),
                _ => {}
            }
            payload.extend(u16::try_from(nal.len()).unwrap().to_be_bytes());
            payload.extend_from_slice(nal);
        }
        payload
    }

    #[test]
    fn single_units_aggregates_and_fragments_make_one_access_unit() {
        let mut bench = bench(false);
        bench.packet(5, false, &aggregate(&[VPS, SPS, PPS], false));
        bench.packet(5, false, &[0x62, 1, 0x93, 0xaf, 1]).packet(5, false, &[0x62, 1, 0x13, 2]);
        bench.packet(5, true, &[0x62, 1, 0x53, 3]).packet(6, true, P);
        let idr: &[u8] = &[0x26, 1, 0xaf, 1, 2, 3];
        assert_eq!(bench.done(), [clean(5, &[VPS, SPS, PPS, idr]), clean(6, &[P])]);
    }

    #[test]
    fn order_numbers_stand_where_the_description_says() {
        let mut bench = bench(true);
        bench.packet(5, false, &aggregate(&[VPS, SPS, PPS], true));
        bench.packet(5, true, &[&[0x26, 1, 0, 20][..], &IDR[2..]].concat());
        bench.packet(6, false, &[0x62, 1, 0x81, 0, 21, 0xd0, 3]).packet(
            6,
            true,
            &[0x62, 1, 0x41, 4],
        );
        assert_eq!(bench.done(), [clean(5, &[VPS, SPS, PPS, IDR]), clean(6, &[P])]);
        assert_eq!(bench.counters.elements_out_of_order, 0);
    }

    #[test]
    fn decoding_order_that_goes_back_damages() {
        let mut bench = bench(true);
        bench.packet(5, true, &[&[2, 1, 0, 20][..], &P[2..]].concat());
        bench.packet(6, true, &[&[2, 1, 0, 19][..], &P[2..]].concat());
        assert_eq!(bench.done(), [clean(5, &[P]), damaged(6, &[P])]);
    }

    #[test]
    fn the_extension_of_a_paci_is_skipped() {
        // cType 1, three bytes of extension.
        let single = [&[0x64, 1, 0x02, 0x30, 7, 7, 7][..], &P[2..]].concat();
        assert_eq!(bench(false).packet(5, true, &single).done(), [clean(5, &[P])]);
        // cType 49, none.
        let mut fragmented = bench(false);
        fragmented.packet(5, false, &[0x64, 1, 0x62, 0, 0x81, 0xd0, 3]);
        fragmented.packet(5, true, &[0x64, 1, 0x62, 0, 0x41, 4]);
        assert_eq!(fragmented.done(), [clean(5, &[P])]);
        let nested = [0x64, 1, 0x64, 0, 1, 1];
        let mut bench = bench(false);
        assert!(bench.packet(5, true, &nested).done().iter().all(|unit| unit.damaged));
        assert_eq!(bench.counters.elements_invalid, 1);
    }

    #[test]
    fn malformed_headers_and_nesting_damage() {
        for payload in [
            &[2u8, 0, 0xd0, 1][..],
            &[0x82, 1, 0xd0, 1],
            &[0x60, 1, 0],
            &[0x60, 1, 0, 9, 1],
            &aggregate(&[P, &[0x62, 1, 0x81, 0xd0]], false),
            &[0x62, 1],
            &[0x62, 1, 0xb0, 1],
            &[0x64, 1, 2],
            &[2],
        ] {
            let mut bench = bench(false);
            let out = bench.packet(5, true, payload).done();
            assert!(out[0].damaged, "{payload:?}");
            assert_eq!(bench.counters.elements_invalid, 1, "{payload:?}");
        }
    }

    #[test]
    fn other_layers_and_filler_are_counted_and_dropped() {
        let mut bench = bench(false);
        bench.packet(5, false, P).packet(5, false, &[0x26, 9, 0xaf, 1]);
        bench.packet(5, false, &[0x62, 9, 0x93, 0xaf]).packet(5, false, &[0x62, 9, 0x53, 1]);
        bench.packet(5, true, &[0x4c, 1, 0xff, 0x80]);
        assert_eq!(bench.counters.elements_ignored, 3);
        assert_eq!(bench.done(), [clean(5, &[P])]);
    }

    #[test]
    fn losses_damage_what_they_touch_only() {
        let mut bench = bench(false);
        bench.packet(0, false, &aggregate(&[VPS, SPS, PPS], false)).packet(0, true, IDR);
        for timestamp in 1..4 {
            bench.packet(timestamp, false, P).packet(timestamp, true, P_MORE);
        }
        bench.lose().packet(5, false, P).packet(5, true, P_MORE);
        bench.packet(6, false, &[0x62, 1, 0x81, 0xd0, 1]).lose().packet(
            6,
            true,
            &[0x62, 1, 0x41, 2],
        );
        bench.packet(7, false, P).packet(7, true, P_MORE);
        bench.lose().packet(8, true, P_MORE).packet(9, false, P).packet(9, true, P_MORE);
        let damaged: Vec<bool> = bench.done().iter().map(|unit| unit.damaged).collect();
        assert_eq!(damaged, [false, false, false, false, false, true, false, true, false]);
    }

    #[test]
    fn described_parameter_sets_stand_before_key_pictures() {
        let mut sets = ParameterSets::EMPTY;
        assert!([VPS, SPS, PPS].into_iter().all(|set| sets.push(set)));
        let mut bench = Bench::new(Hevc::new(sets, false, 0));
        bench.packet(0, false, &[0x46, 1, 0x50]).packet(0, true, IDR).packet(1, true, P);
        let aud: &[u8] = &[0x46, 1, 0x50];
        assert_eq!(bench.done(), [clean(0, &[aud, VPS, SPS, PPS, IDR]), clean(1, &[P])]);
    }

    #[test]
    fn every_truncation_is_survived() {
        let packets = [
            aggregate(&[VPS, SPS, PPS, IDR], false),
            aggregate(&[VPS, SPS], true),
            [&[0x64, 1, 0x02, 0x30, 7, 7, 7][..], &P[2..]].concat(),
            vec![0x62, 1, 0x93, 0xaf, 1],
        ];
        for packet in packets {
            for len in 0..=packet.len() {
                for has_order in [false, true] {
                    bench(has_order).packet(1, true, &packet[..len]).lose().done();
                }
            }
        }
    }
}
