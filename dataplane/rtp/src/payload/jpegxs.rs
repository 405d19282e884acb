//! JPEG XS (RFC 9134).
//!
//! ```text
//!  | T K L I(2) F(5) SEP(11) P(11) |  4.3
//!    T  packets come in order        K  slice mode, else codestream mode
//!    L  last packet of its unit      I  0 progressive, 2 and 3 first and second field
//!    codestream mode: index of the packet = SEP × 2048 + P
//!    slice mode:      SEP slice, all ones for the header segment; P packet within it
//! ```
//!
//! A picture, or a field of an interlaced one, is what shares a timestamp and an I. (The text reads
//! as if both fields had one F; real senders count fields: F is not relied on.) Packets of a stream
//! that is not in order wait as slots until the picture is complete.

use codec::sink::Field;

use super::Shape;
use super::held::Held;
use super::unit::{Outlet, Unit};
use crate::bytes::{count, u32_at};
use crate::output::Output;
use crate::packet::Packet;

const HEADER_BYTES: usize = 4;
/// SEP of the header segment.
const HEADER_SEGMENT: u32 = 0x7ff;
/// Slice numbers are modulo this.
const SLICES: u32 = 2_047;

/// The payload header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    in_order: bool,
    slices: bool,
    last: bool,
    interlace: u8,
    frame: u8,
    sep: u32,
    packet: u32,
}

impl Header {
    fn parse(payload: &[u8]) -> Option<Self> {
        let word = u32_at(payload, 0)?;
        let interlace = u8::try_from(word >> 27 & 3).unwrap_or(0);
        let slices = word >> 30 & 1 == 1;
        let in_order = word >> 31 == 1;
        // 4.3: I 1 is reserved; another order only in slice mode.
        let valid = interlace != 1 && (in_order || slices);
        valid.then_some(Self {
            in_order,
            slices,
            last: word >> 29 & 1 == 1,
            interlace,
            frame: u8::try_from(word >> 22 & 0x1f).unwrap_or(0),
            sep: word >> 11 & 0x7ff,
            packet: word & 0x7ff,
        })
    }

    /// Its place in the picture: grows by 1 from packet to packet of a unit.
    const fn place(&self) -> u32 {
        if !self.slices {
            return self.sep << 11 | self.packet;
        }
        let unit = if self.sep == HEADER_SEGMENT { 0 } else { self.sep + 1 };
        unit << 11 | self.packet
    }
}

/// What is known of an out-of-order picture's completeness.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// Packets that the units have by their last packets.
    packets: u64,
    /// Units whose last packet came.
    units: u64,
    /// Units by the marked packet.
    units_in_all: Option<u64>,
}

/// Depacketizes one track.
#[derive(Debug, Clone, Copy, Default)]
pub struct JpegXs {
    unit: Unit,
    timestamp: u32,
    interlace: u8,
    /// The place that comes next, in order.
    next: u32,
    /// The unit before is complete: the next one starts with packet 0.
    unit_done: bool,
    tally: Tally,
}

impl JpegXs {
    pub(crate) fn push<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        packet: Packet,
        held: &mut Held,
    ) {
        let (timestamp, marker) = (packet.header.timestamp, packet.header.marker);
        let Some(header) = Header::parse(packet.payload()) else {
            to.counters.payloads_invalid += 1;
            return self.unit.damage(to);
        };
        let same = timestamp == self.timestamp && header.interlace == self.interlace;
        if self.unit.is_open() && !same {
            self.close(to, held, false);
        }
        if !self.unit.is_open() {
            self.unit.start(to, to.stamps);
            match header.interlace {
                2 => to.out.field(to.track, Field::First),
                3 => to.out.field(to.track, Field::Second),
                _ => {}
            }
            self.timestamp = timestamp;
            self.interlace = header.interlace;
            self.next = 0;
            self.unit_done = false;
            self.tally = Tally::default();
        }
        if header.in_order && held.len() == 0 {
            let body = packet.payload().get(HEADER_BYTES..).unwrap_or_default();
            self.in_order(to, &header, body);
            if marker {
                self.close(to, held, true);
            }
        } else {
            self.out_of_order(to, &header, packet, marker, held);
        }
    }

    pub(crate) fn lost<O: Output>(&mut self, to: &mut Outlet<'_, O>) {
        if self.unit.is_open() {
            self.unit.damage(to);
        } else {
            to.out.skipped(to.track);
        }
    }

    pub(crate) fn finish<O: Output>(&mut self, to: &mut Outlet<'_, O>, held: &mut Held) {
        if self.unit.is_open() {
            self.close(to, held, false);
        }
    }

    fn in_order<O: Output>(&mut self, to: &mut Outlet<'_, O>, header: &Header, body: &[u8]) {
        let place = header.place();
        if !self.follows(header, place) {
            self.unit.damage(to);
        }
        self.next = place.wrapping_add(1);
        self.unit_done = header.slices && header.last;
        if body.is_empty() {
            to.counters.payloads_empty += 1;
        }
        self.unit.write(to, body);
    }

    const fn follows(&self, header: &Header, place: u32) -> bool {
        if !self.unit_done {
            return place == self.next;
        }
        // The slice after the one before, from its first packet.
        let before = (self.next - 1) >> 11;
        header.packet == 0 && header.sep == before % SLICES
    }

    fn out_of_order<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        header: &Header,
        packet: Packet,
        marker: bool,
        held: &mut Held,
    ) {
        let len = packet.payload().len().saturating_sub(HEADER_BYTES);
        let fits = held.bytes() + len <= to.limits.frame_bytes_max;
        if !fits || !held.push(packet, HEADER_BYTES, len, header.place()) {
            to.counters.elements_too_fragmented += 1;
            return self.unit.damage(to);
        }
        if header.last {
            self.tally.units += 1;
            self.tally.packets += u64::from(header.packet) + 1;
        }
        if marker {
            self.tally.units_in_all = Some(u64::from(header.place() >> 11) + 1);
        }
        let complete = self.tally.units_in_all == Some(self.tally.units)
            && self.tally.packets == count(held.len());
        if complete {
            self.close(to, held, true);
        }
    }

    /// The picture is over; `complete` says that its last packet came.
    fn close<O: Output>(&mut self, to: &mut Outlet<'_, O>, held: &mut Held, complete: bool) {
        let mut whole = complete;
        if held.len() > 0 {
            held.sort();
            let mut next = 0;
            for piece in held.iter() {
                whole &= piece.order == next || (piece.order == ((next >> 11) + 1) << 11);
                next = piece.order + 1;
            }
            for piece in held.iter() {
                self.unit.write(to, piece.bytes());
            }
            held.clear();
        }
        if !whole {
            self.unit.damage(to);
        }
        self.unit.end(to);
    }
}

/// What of a packet of JPEG XS its successor is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    frame: u8,
    interlace: u8,
    place: u32,
    last: bool,
    marker: bool,
    mode: (bool, bool),
}

impl Trace {
    const fn new(header: &Header, marker: bool) -> Self {
        Self {
            frame: header.frame,
            interlace: header.interlace,
            place: header.place(),
            last: header.last,
            marker,
            mode: (header.in_order, header.slices),
        }
    }

    /// Whether this is the packet behind `before` in order: of the same picture, or the first of the
    /// next.
    const fn follows(&self, before: &Self) -> bool {
        if !before.marker {
            let next =
                if before.last { ((before.place >> 11) + 1) << 11 } else { before.place + 1 };
            return self.frame == before.frame && self.place == next;
        }
        // A frame's second field may have its number (4.3), or one of its own.
        let second = self.frame == before.frame && self.interlace != before.interlace;
        self.place == 0 && (second || self.frame == (before.frame + 1) & 0x1f)
    }
}

/// Whether a payload could be JPEG XS, for detection, given the packet before it.
pub(crate) fn looks_right(
    payload: &[u8],
    marker: bool,
    before: Option<Trace>,
) -> Option<(Shape, Trace)> {
    let header = Header::parse(payload)?;
    // L is set where M is (4.3).
    if marker && !header.last {
        return None;
    }
    let body = payload.get(HEADER_BYTES..)?;
    let trace = Trace::new(&header, marker);
    if before.is_some_and(|before| before.mode != trace.mode) {
        return None;
    }
    let follows = before.map(|before| trace.follows(&before));
    let starts = begins_picture(&header, body) || begins_slice(&header, body);
    let shape = match follows {
        // Packets are missing.
        Some(false) if header.in_order => return None,
        _ if starts => Shape::Proof,
        Some(true) if header.in_order => Shape::Likely,
        _ => Shape::Weak,
    };
    Some((shape, trace))
}

/// A picture begins with SOC, or with the boxes before it.
fn begins_picture(header: &Header, body: &[u8]) -> bool {
    header.place() == 0 && (body.starts_with(&[0xff, 0x10]) || body.get(4..8) == Some(b"jpvs"))
}

/// A slice begins with SLH, which has its number (ISO/IEC 21122-1, A.4.12).
fn begins_slice(header: &Header, body: &[u8]) -> bool {
    let number = body.strip_prefix(&[0xff, 0x20, 0, 4]).and_then(|rest| rest.first_chunk());
    let number = number.map(|number| u32::from(u16::from_be_bytes(*number)));
    header.slices
        && header.packet == 0
        && header.sep != HEADER_SEGMENT
        && number.is_some_and(|number| number % SLICES == header.sep)
}

#[cfg(test)]
mod tests {
    use memory::{Datagram, Slab, Time};

    use super::super::testing::{Bench, Gathered};
    use super::*;
    use crate::packet::Header as RtpHeader;

    struct XsBench {
        bench: Bench<JpegXs>,
        held: Held,
        slab: Slab,
    }

    /// T, K, L, I, SEP, P.
    type Fields = (u32, u32, u32, u32, u32, u32);

    fn payload((t, k, l, i, sep, p): Fields, body: &[u8]) -> Vec<u8> {
        let word = t << 31 | k << 30 | l << 29 | i << 27 | 5 << 22 | sep << 11 | p;
        [&word.to_be_bytes()[..], body].concat()
    }

    impl XsBench {
        fn new() -> Self {
            let held = Held::new(8);
            Self { bench: Bench::new(JpegXs::default()), held, slab: Slab::new(16).unwrap() }
        }

        fn raw(&mut self, timestamp: u32, marker: bool, payload: &[u8]) -> &mut Self {
            let header = RtpHeader { timestamp, marker, ..RtpHeader::default() }.encode();
            let datagram = Datagram::copy_from(&self.slab, &[&header, payload].concat()).unwrap();
            let packet = Packet::new(datagram, Time::ZERO).unwrap();
            let (format, mut to) = self.bench.parts(timestamp);
            format.push(&mut to, packet, &mut self.held);
            self
        }

        fn packet(&mut self, at: u32, marker: bool, fields: Fields, body: &[u8]) -> &mut Self {
            self.raw(at, marker, &payload(fields, body))
        }

        fn lose(&mut self) -> &mut Self {
            let (format, mut to) = self.bench.parts(0);
            format.lost(&mut to);
            self
        }

        fn done(&mut self) -> Vec<Gathered> {
            let (format, mut to) = self.bench.parts(0);
            format.finish(&mut to, &mut self.held);
            assert_eq!(self.slab.free(), 16, "every slot came back");
            self.bench.take()
        }
    }

    fn unit(pts: u64, bytes: &[u8]) -> Gathered {
        Gathered { pts, bytes: bytes.to_vec(), damaged: false, ended: true }
    }

    fn damaged(pts: u64, bytes: &[u8]) -> Gathered {
        Gathered { damaged: true, ..unit(pts, bytes) }
    }

    #[test]
    fn codestream_mode_counts_packets_over_both_fields() {
        let mut bench = XsBench::new();
        bench.packet(5, false, (1, 0, 0, 0, 0, 0), b"ab").packet(5, true, (1, 0, 1, 0, 0, 1), b"c");
        assert_eq!(bench.done(), [unit(5, b"abc")]);
        let mut bench = XsBench::new();
        for index in 0..2_050 {
            let (sep, p) = (index / 2_048, index % 2_048);
            let last = index == 2_049;
            bench.packet(5, last, (1, 0, last.into(), 0, sep, p), b"x");
        }
        assert_eq!(bench.done(), [unit(5, &[b'x'; 2_050])]);
    }

    #[test]
    fn slice_mode_starts_with_the_header_segment() {
        let mut bench = XsBench::new();
        bench.packet(5, false, (1, 1, 0, 0, 0x7ff, 0), b"h").packet(
            5,
            false,
            (1, 1, 1, 0, 0x7ff, 1),
            b"H",
        );
        bench.packet(5, false, (1, 1, 1, 0, 0, 0), b"0").packet(5, false, (1, 1, 0, 0, 1, 0), b"1");
        bench.packet(5, true, (1, 1, 1, 0, 1, 1), b"2");
        assert_eq!(bench.done(), [unit(5, b"hH012")]);
    }

    #[test]
    fn fields_are_units_of_their_own() {
        let mut bench = XsBench::new();
        for (at, interlace) in [(5, 2), (1_506, 3), (3_008, 2), (3_008, 3)] {
            bench.packet(at, false, (1, 0, 0, interlace, 0, 0), b"a");
            bench.packet(at, true, (1, 0, 1, interlace, 0, 1), b"b");
        }
        let out = bench.done();
        assert_eq!(out, [5, 1_506, 3_008, 3_008].map(|at| unit(at, b"ab")));
        let (_, to) = bench.bench.parts(0);
        let pair = [Field::First, Field::Second];
        assert_eq!(to.out.fields, [pair, pair].concat());
    }

    #[test]
    fn a_hole_damages_its_picture_only() {
        let mut bench = XsBench::new();
        bench.packet(5, false, (1, 0, 0, 0, 0, 0), b"a").lose();
        bench.packet(5, true, (1, 0, 1, 0, 0, 2), b"c");
        bench.packet(6, true, (1, 0, 1, 0, 0, 0), b"a").lose();
        bench.packet(8, true, (1, 0, 1, 0, 0, 0), b"a").lose();
        bench.packet(9, true, (1, 0, 1, 0, 0, 1), b"b");
        bench.packet(10, false, (1, 0, 0, 0, 0, 0), b"a").lose();
        bench.packet(11, true, (1, 0, 1, 0, 0, 0), b"a");
        let expected = [
            damaged(5, b"ac"),
            unit(6, b"a"),
            unit(8, b"a"),
            damaged(9, b"b"),
            damaged(10, b"a"),
            unit(11, b"a"),
        ];
        assert_eq!(bench.done(), expected);
    }

    #[test]
    fn missing_slices_damage_and_the_others_are_kept() {
        let mut bench = XsBench::new();
        bench.packet(5, false, (1, 1, 1, 0, 0x7ff, 0), b"h");
        bench.packet(5, true, (1, 1, 1, 0, 1, 0), b"1");
        assert_eq!(bench.done(), [damaged(5, b"h1")]);
        let mut bench = XsBench::new();
        bench.packet(5, false, (1, 1, 0, 0, 0x7ff, 0), b"h");
        bench.packet(5, true, (1, 1, 1, 0, 0, 0), b"0");
        assert_eq!(bench.done(), [damaged(5, b"h0")], "the header's last packet is missing");
    }

    #[test]
    fn slices_in_any_order_are_sorted() {
        let mut bench = XsBench::new();
        bench.packet(5, true, (0, 1, 1, 0, 1, 0), b"1").packet(5, false, (0, 1, 1, 0, 0, 1), b"b");
        bench.packet(5, false, (0, 1, 1, 0, 0x7ff, 0), b"h");
        bench.packet(5, false, (0, 1, 0, 0, 0, 0), b"a");
        assert_eq!(bench.held.len(), 0, "complete, whichever packet came last");
        assert_eq!(bench.done(), [unit(5, b"hab1")]);
        let mut bench = XsBench::new();
        bench.packet(5, true, (0, 1, 1, 0, 1, 0), b"1").packet(
            5,
            false,
            (0, 1, 1, 0, 0x7ff, 0),
            b"h",
        );
        bench.packet(6, true, (0, 1, 1, 0, 0x7ff, 0), b"h");
        assert_eq!(bench.done(), [damaged(5, b"h1"), unit(6, b"h")]);
    }

    #[test]
    fn more_packets_out_of_order_than_there_is_room_for_damage() {
        let mut bench = XsBench::new();
        for slice in 0..20 {
            bench.packet(5, false, (0, 1, 1, 0, slice, 0), b"x");
        }
        assert_eq!(bench.bench.counters.elements_too_fragmented, 12);
        assert!(bench.done()[0].damaged);
    }

    /// Whether each of these looks right, given the one before it.
    fn shapes(payloads: &[(bool, Vec<u8>)]) -> Vec<Option<Shape>> {
        let mut before = None;
        let look = |(marker, payload): &(bool, Vec<u8>)| {
            let look = looks_right(payload, *marker, before);
            before = look.map(|(_, trace)| trace);
            look.map(|(shape, _)| shape)
        };
        payloads.iter().map(look).collect()
    }

    #[test]
    fn slices_in_any_order_are_told_by_their_numbers() {
        let slice = |number: u8| [0xff, 0x20, 0, 4, 0, number, 7];
        let packets = [
            (false, payload((0, 1, 0, 0, 3, 0), &slice(3))),
            (false, payload((0, 1, 1, 0, 2, 1), b"rest")),
            (false, payload((0, 1, 0, 0, 2, 0), &slice(2))),
            (true, payload((0, 1, 1, 0, 9, 0), &slice(8))),
        ];
        let expected = [Shape::Proof, Shape::Weak, Shape::Proof, Shape::Weak].map(Some);
        assert_eq!(shapes(&packets), expected);
    }

    #[test]
    fn the_second_field_of_a_frame_may_have_its_number() {
        let packets = [
            (true, payload((1, 0, 1, 2, 0, 0), &[0xff, 0x10])),
            (true, payload((1, 0, 1, 3, 0, 0), &[0xff, 0x10])),
            (true, payload((1, 0, 1, 3, 0, 0), &[0xff, 0x10])),
        ];
        assert_eq!(shapes(&packets), [Some(Shape::Proof), Some(Shape::Proof), None]);
    }

    #[test]
    fn impossible_headers_are_counted() {
        let mut bench = XsBench::new();
        bench.raw(5, true, &[0x80, 0, 0]).packet(5, true, (1, 0, 1, 1, 0, 0), b"x");
        bench.packet(5, true, (0, 0, 1, 0, 0, 0), b"x").raw(5, true, &[]);
        assert_eq!(bench.bench.counters.payloads_invalid, 4);
        assert_eq!(bench.done(), []);
    }
}
