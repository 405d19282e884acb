//! AV1 (RTP Payload Format For AV1, version 1.0 of the Alliance for Open Media).
//!
//! ```text
//!  | Z Y W(2) N 0 0 0 |  ([leb128 length] OBU element) …     4.4
//!    Z  the first element goes on from the packet before
//!    Y  the last element goes on in the next packet
//!    W  elements, the last of them without length; 0: all have lengths
//!    N  first packet of a coded video sequence
//! ```
//!
//! A temporal unit is what shares a timestamp and ends at the marker. It is written as OBUs with
//! sizes (low-overhead format, AV1 5.2), so that the fragments of an OBU wait as slots until its
//! length is known. Temporal delimiters, tile lists and padding are not handed on; all layers are.
//!
//! **Behind a loss** nothing in a packet tells whether it is the first of its temporal unit, but N, a
//! delimiter or a sequence header. The packets before it tell as well:
//!
//! ```text
//!  … A A·  ?  X …    one packet missing in an open unit: it had A's marker, and X is whole
//!  … A A*  ?  X …    behind a marker, X a step later: it was X's first
//!  … A A*  ?  X …    X two steps later: it was all of the unit between, and X is whole
//! ```
//!
//! Steps are counted where units come at a steady pace. What is not settled so is damaged.

use super::Shape;
use super::held::Held;
use super::unit::{Outlet, Unit};
use crate::output::Output;
use crate::packet::Packet;

const Z: u8 = 0x80;
const Y: u8 = 0x40;
const N: u8 = 0x08;
/// OBU types (AV1, 6.2.2).
const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const TILE_GROUP: u8 = 4;
const TILE_LIST: u8 = 8;
const PADDING: u8 = 15;
const HAS_EXTENSION: u8 = 0x04;
const HAS_SIZE: u8 = 0x02;
/// Header, extension and size of an OBU.
const HEAD_BYTES: usize = 10;

/// Depacketizes one track.
#[derive(Debug, Clone, Copy, Default)]
pub struct Av1 {
    unit: Unit,
    timestamp: u32,
    /// An OBU is being put together of what is held.
    open: bool,
    loss: Option<Loss>,
    pace: Pace,
    /// The sender ends units without a marker.
    unmarked: bool,
}

/// What is missing before the next packet.
#[derive(Debug, Clone, Copy)]
struct Loss {
    /// 0 when nobody knows.
    packets: u64,
    /// A unit was open.
    inside: bool,
}

impl Av1 {
    pub(crate) fn new() -> Self {
        Self { loss: Some(Loss { packets: 0, inside: false }), ..Self::default() }
    }

    pub(crate) fn push<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        packet: Packet,
        held: &mut Held,
    ) {
        let (timestamp, marker) = (packet.header.timestamp, packet.header.marker);
        if self.unit.is_open() && timestamp != self.timestamp {
            self.unmarked |= self.loss.is_none();
            self.abandon(to, held);
            self.unit.end(to);
        }
        let Some((&head, elements)) = packet.payload().split_first() else { return };
        let starts_sequence = head & N != 0;
        self.begin(to, timestamp, head, elements);
        let continues = head & Z != 0;
        if elements.is_empty() || (starts_sequence && continues) {
            to.counters.payloads_invalid += 1;
            self.abandon(to, held);
            return self.unit.damage(to);
        }
        if self.open && !continues {
            self.abandon(to, held);
        }
        let rest = self.elements(to, head, elements, held);
        if let Some((start, len)) = rest {
            self.hold(to, packet, 1 + start, len, held);
        }
        if marker {
            self.abandon(to, held);
            self.unit.end(to);
        }
    }

    /// So many packets are missing here; 0 when nobody knows how many.
    pub(crate) fn lost<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        packets: u64,
        held: &mut Held,
    ) {
        self.abandon(to, held);
        let inside = self.unit.is_open();
        self.loss = Some(match self.loss {
            Some(before) if before.packets > 0 && packets > 0 => {
                Loss { packets: before.packets.saturating_add(packets), ..before }
            }
            Some(before) => Loss { packets: 0, ..before },
            None => Loss { packets, inside },
        });
        if inside {
            self.unit.damage(to);
        } else {
            to.out.skipped(to.track);
        }
    }

    pub(crate) fn finish<O: Output>(&mut self, to: &mut Outlet<'_, O>, held: &mut Held) {
        self.abandon(to, held);
        if !self.unmarked {
            // Its marker did not come.
            self.unit.damage(to);
        }
        self.unit.end(to);
    }

    fn begin<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        timestamp: u32,
        head: u8,
        elements: &[u8],
    ) {
        let loss = self.loss.take();
        if self.unit.is_open() {
            return;
        }
        let whole = loss.is_none_or(|loss| self.is_first(&loss, timestamp, head, elements));
        self.pace.note(timestamp, loss.is_none());
        self.unit.start(to, to.stamps);
        self.timestamp = timestamp;
        to.counters.keys += u64::from(head & N != 0);
        if !whole {
            self.unit.damage(to);
        }
    }

    /// Whether a packet behind a loss is surely the first of its unit.
    fn is_first(&self, loss: &Loss, timestamp: u32, head: u8, elements: &[u8]) -> bool {
        if head & Z != 0 {
            return false;
        }
        match first_kind(head, elements) {
            None | Some(TILE_GROUP) => return false,
            Some(TEMPORAL_DELIMITER | SEQUENCE_HEADER) => return true,
            Some(_) if head & N != 0 => return true,
            Some(_) => {}
        }
        if loss.packets == 0 || self.unmarked {
            return false;
        }
        let steps = self.pace.steps(timestamp);
        if loss.inside {
            // One at least had the open unit's marker, and each unit between has one at least.
            loss.packets == 1 || steps == Some(loss.packets)
        } else {
            steps == loss.packets.checked_add(1)
        }
    }

    /// Reads the elements of a packet. Returns the range of the last one when it goes on.
    fn elements<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        head: u8,
        bytes: &[u8],
        held: &mut Held,
    ) -> Option<(usize, usize)> {
        let count = usize::from(head >> 4 & 3);
        let (mut at, mut number) = (0, 0);
        while at < bytes.len() || (count > 0 && number < count) {
            number += 1;
            let rest = bytes.get(at..).unwrap_or_default();
            let (skip, len) = if number == count {
                (0, rest.len())
            } else {
                let Some((len, used)) = leb128(rest) else {
                    self.malformed(to, held);
                    return None;
                };
                (used, len)
            };
            let Some(element) = rest.get(skip..skip.saturating_add(len)).filter(|e| !e.is_empty())
            else {
                self.malformed(to, held);
                return None;
            };
            at += skip + len;
            let last = at >= bytes.len();
            if last && count > 0 && number < count {
                self.malformed(to, held);
                return None;
            }
            let goes_on = last && head & Y != 0;
            let first = number == 1 && head & Z != 0;
            if first && !self.open {
                to.counters.fragments_without_start += 1;
                self.unit.damage(to);
                if goes_on {
                    return None;
                }
                continue;
            }
            if goes_on {
                return Some((at - len, len));
            }
            self.obu(to, element, held);
        }
        None
    }

    /// Keeps a part of an OBU.
    fn hold<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        packet: Packet,
        start: usize,
        len: usize,
        held: &mut Held,
    ) {
        self.open = true;
        let room = held.bytes() + len <= to.limits.frame_bytes_max;
        if !room || !held.push(packet, start, len, 0) {
            to.counters.elements_too_fragmented += 1;
            self.drop_open(held);
            self.unit.damage(to);
        }
    }

    /// An OBU is complete: what is held and `tail`.
    fn obu<O: Output>(&mut self, to: &mut Outlet<'_, O>, tail: &[u8], held: &mut Held) {
        self.unit.element(to);
        self.open = false;
        let mut head = [0; HEAD_BYTES];
        let parts = held.iter().flat_map(|piece| piece.bytes()).chain(tail);
        for (to, byte) in head.iter_mut().zip(parts) {
            *to = *byte;
        }
        let len = held.bytes() + tail.len();
        match Obu::parse(&head, len) {
            Some(obu) if obu.is_ignored() => to.counters.elements_ignored += 1,
            Some(obu) => self.write(to, &obu, tail, held),
            None => {
                to.counters.elements_invalid += 1;
                self.unit.damage(to);
            }
        }
        held.clear();
    }

    fn write<O: Output>(&mut self, to: &mut Outlet<'_, O>, obu: &Obu, tail: &[u8], held: &Held) {
        let (head, len) = obu.head();
        self.unit.write(to, head.get(..len).unwrap_or_default());
        let mut skip = obu.skip;
        for part in held.iter().map(super::held::Piece::bytes).chain([tail]) {
            self.unit.write(to, part.get(skip..).unwrap_or_default());
            skip = skip.saturating_sub(part.len());
        }
    }

    fn malformed<O: Output>(&mut self, to: &mut Outlet<'_, O>, held: &mut Held) {
        to.counters.payloads_invalid += 1;
        self.drop_open(held);
        self.unit.damage(to);
    }

    /// What is being put together has not got its end.
    fn abandon<O: Output>(&mut self, to: &mut Outlet<'_, O>, held: &mut Held) {
        if self.open {
            to.counters.fragments_unfinished += 1;
            self.drop_open(held);
            self.unit.damage(to);
        }
    }

    fn drop_open(&mut self, held: &mut Held) {
        self.open = false;
        held.clear();
    }
}

/// The steps between the timestamps of temporal units.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    /// The last unit's timestamp.
    last: u32,
    step: u32,
    /// How often in a row a step was like the one before.
    alike: u8,
}

impl Pace {
    /// So often makes a pace.
    const STEADY: u8 = 2;

    /// A unit begins; nothing is missing before it where `follows`.
    const fn note(&mut self, timestamp: u32, follows: bool) {
        let step = timestamp.wrapping_sub(self.last);
        self.last = timestamp;
        if !follows {
            return;
        }
        // Clocks of milliseconds round.
        if step.abs_diff(self.step) <= self.step / 8 {
            self.alike = self.alike.saturating_add(1);
        } else {
            (self.step, self.alike) = (step, 0);
        }
    }

    /// How many steps a timestamp is behind the last unit's, if the pace is steady and it keeps to
    /// it.
    fn steps(&self, timestamp: u32) -> Option<u64> {
        let passed = timestamp.wrapping_sub(self.last);
        let steps = passed.checked_add(self.step / 2)?.checked_div(self.step)?;
        let off = passed.abs_diff(steps.checked_mul(self.step)?);
        (self.alike >= Self::STEADY && off <= self.step / 4).then_some(steps.into())
    }
}

/// The type of the OBU that a packet begins with, where it begins with one.
fn first_kind(head: u8, elements: &[u8]) -> Option<u8> {
    let skip = if head >> 4 & 3 == 1 { 0 } else { leb128(elements)?.1 };
    elements.get(skip).map(|first| first >> 3 & 0x0f)
}

/// The header of an OBU (AV1, 5.3.2).
#[derive(Debug, Clone, Copy)]
struct Obu {
    first: u8,
    extension: u8,
    /// Bytes of header and size field as they came.
    skip: usize,
    payload: usize,
}

impl Obu {
    /// From the first bytes of an OBU of `len` bytes. A size field has to agree.
    fn parse(head: &[u8; HEAD_BYTES], len: usize) -> Option<Self> {
        let [first, extension, ..] = *head;
        if first & 0x80 != 0 {
            return None;
        }
        let mut skip = if first & HAS_EXTENSION != 0 { 2 } else { 1 };
        if first & HAS_SIZE != 0 {
            let (size, used) = leb128(head.get(skip..)?)?;
            skip += used;
            if size != len.checked_sub(skip)? {
                return None;
            }
        }
        Some(Self { first, extension, skip, payload: len.checked_sub(skip)? })
    }

    const fn kind(&self) -> u8 {
        self.first >> 3 & 0x0f
    }

    const fn is_ignored(&self) -> bool {
        matches!(self.kind(), TEMPORAL_DELIMITER | TILE_LIST | PADDING)
    }

    /// Header with a size field.
    fn head(&self) -> ([u8; HEAD_BYTES], usize) {
        let mut bytes = [0; HEAD_BYTES];
        let mut len = 0;
        let mut put = |byte: u8| {
            if let Some(place) = bytes.get_mut(len) {
                *place = byte;
                len += 1;
            }
        };
        put(self.first | HAS_SIZE);
        if self.first & HAS_EXTENSION != 0 {
            put(self.extension);
        }
        let mut size = self.payload;
        loop {
            let low = u8::try_from(size & 0x7f).unwrap_or(0);
            size >>= 7;
            put(if size > 0 { low | 0x80 } else { low });
            if size == 0 {
                break;
            }
        }
        (bytes, len)
    }
}

/// A number of up to 8 bytes and below 2^32 (AV1, 4.10.5), and its bytes.
pub(crate) fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).ok()?;
            return Some((usize::try_from(value).ok()?, at + 1));
        }
    }
    None
}

/// What of a packet of AV1 its successor is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    timestamp: u32,
    marker: bool,
    goes_on: bool,
    /// What goes on began with a sequence.
    proven: bool,
}

/// Whether a payload could be AV1, for detection, given the packet before it.
pub(crate) fn looks_right(
    payload: &[u8],
    timestamp: u32,
    marker: bool,
    before: Option<Trace>,
) -> Option<(Shape, Trace)> {
    let (&head, elements) = payload.split_first()?;
    let (continues, goes_on) = (head & Z != 0, head & Y != 0);
    // Reserved bits are ignored by receivers, and zero from senders. Units end with the marker.
    if head & 7 != 0 || (continues && head & N != 0) || (goes_on && marker) {
        return None;
    }
    let torn =
        |before: Trace| before.goes_on != continues || (continues && before.timestamp != timestamp);
    if before.is_some_and(torn) {
        return None;
    }
    let starts = elements_look_right(head, elements)? && head & N != 0;
    let proven = starts || (continues && before.is_some_and(|before| before.proven));
    // The end of an OBU that the packet before began: both say so.
    let joined = before.is_some() && continues && !goes_on;
    // A unit in a packet of its own.
    let alone = before.is_some_and(|before| before.marker) && marker && !continues;
    let shape = if starts {
        Shape::Proof
    } else if joined || proven || alone {
        Shape::Likely
    } else {
        Shape::Weak
    };
    Some((shape, Trace { timestamp, marker, goes_on, proven: proven && goes_on }))
}

/// Whether these elements could be OBUs, or parts of some; true when there is a sequence header.
fn elements_look_right(head: u8, elements: &[u8]) -> Option<bool> {
    let continues = head & Z != 0;
    let count = usize::from(head >> 4 & 3);
    let (mut at, mut number, mut sequence) = (0, 0, false);
    // Only what stands at the start of a unit came so far.
    let mut at_start = !continues;
    while at < elements.len() || number == 0 {
        number += 1;
        let rest = elements.get(at..)?;
        let (skip, len) =
            if number == count { (0, rest.len()) } else { leb128(rest).map(|(l, u)| (u, l))? };
        let element = rest.get(skip..skip.checked_add(len)?).filter(|e| !e.is_empty())?;
        if number > 1 || !continues {
            let first = *element.first()?;
            let kind = first >> 3 & 0x0f;
            let fits = match kind {
                // Senders should take it out; some do not.
                TEMPORAL_DELIMITER => at_start && number == 1 && element.len() <= 2,
                SEQUENCE_HEADER => at_start,
                3..=6 => true,
                _ => false,
            };
            if first & 0x81 != 0 || !fits {
                return None;
            }
            at_start &= kind == TEMPORAL_DELIMITER;
            sequence |= kind == SEQUENCE_HEADER && element.len() > 5;
        }
        at += skip + len;
    }
    (count == 0 || number == count).then_some(sequence)
}

#[cfg(test)]
mod tests {
    use memory::{Datagram, Slab, Time};

    use super::super::testing::{Bench, Gathered};
    use super::*;
    use crate::packet::Header;

    struct Av1Bench {
        bench: Bench<Av1>,
        held: Held,
        slab: Slab,
    }

    impl Av1Bench {
        fn new() -> Self {
            Self { bench: Bench::new(Av1::new()), held: Held::new(8), slab: Slab::new(16).unwrap() }
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

        fn lose(&mut self, packets: u64) -> &mut Self {
            let (format, mut to) = self.bench.parts(0);
            format.lost(&mut to, packets, &mut self.held);
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

    /// Sequence header of two bytes, frame of three.
    const SEQUENCE: [u8; 3] = [0x08, 1, 2];
    const FRAME: [u8; 4] = [0x30, 3, 4, 5];
    const WRITTEN: [u8; 9] = [0x0a, 2, 1, 2, 0x32, 3, 3, 4, 5];

    #[test]
    fn elements_are_counted_or_all_have_lengths() {
        let counted = [&[0x28, 3][..], &SEQUENCE, &FRAME].concat();
        assert_eq!(Av1Bench::new().packet(5, true, &counted).done(), [unit(5, &WRITTEN)]);
        let lengths = [&[0x08, 3][..], &SEQUENCE, &[4], &FRAME].concat();
        assert_eq!(Av1Bench::new().packet(5, true, &lengths).done(), [unit(5, &WRITTEN)]);
        let padded = [&[0x08, 0x83, 0x80, 0][..], &SEQUENCE, &[4], &FRAME].concat();
        assert_eq!(Av1Bench::new().packet(5, true, &padded).done(), [unit(5, &WRITTEN)]);
    }

    #[test]
    fn an_obu_goes_over_packets_and_borders_may_align() {
        let mut bench = Av1Bench::new();
        bench.packet(5, false, &[&[0x68, 3][..], &SEQUENCE, &FRAME[..1]].concat());
        bench.packet(5, false, &[0xd0, 3, 4]).packet(5, true, &[0x90, 5]);
        assert_eq!(bench.done(), [unit(5, &WRITTEN)]);
        let mut bench = Av1Bench::new();
        bench.packet(5, false, &[&[0x18][..], &SEQUENCE].concat());
        bench.packet(5, true, &[&[0x10][..], &FRAME].concat());
        assert_eq!(bench.done(), [unit(5, &WRITTEN)]);
    }

    #[test]
    fn a_packet_may_end_one_obu_and_begin_the_next() {
        let mut bench = Av1Bench::new();
        bench.packet(5, false, &[0x58, 0x08, 1]);
        bench.packet(5, false, &[0xe0, 1, 2, 0x30, 3]).packet(5, true, &[0x90, 4, 5]);
        assert_eq!(bench.done(), [unit(5, &WRITTEN)]);
    }

    #[test]
    fn sizes_and_extensions_within_are_kept_or_checked() {
        let sized = [0x18, 0x0e, 0x28, 2, 1, 2];
        assert_eq!(Av1Bench::new().packet(5, true, &sized).done(), [unit(5, &sized[1..])]);
        let unsized_ = [0x18, 0x0c, 0x28, 1, 2];
        assert_eq!(Av1Bench::new().packet(5, true, &unsized_).done(), [unit(5, &sized[1..])]);
        let wrong = [0x18, 0x0e, 0x28, 3, 1, 2];
        assert_eq!(Av1Bench::new().packet(5, true, &wrong).done(), [damaged(5, &[])]);
        let big: Vec<u8> = [0x18, 0x08].into_iter().chain((0..200).map(|_| 7)).collect();
        let out = Av1Bench::new().packet(5, true, &big).done();
        assert_eq!((&out[0].bytes[..3], out[0].bytes.len()), (&[0x0a, 0xc8, 1][..], 203));
    }

    #[test]
    fn delimiters_tile_lists_and_padding_are_dropped() {
        let payload = [0x08, 1, 0x10, 1, 0x40, 1, 0x78, 4, 0x30, 3, 4, 5];
        assert_eq!(Av1Bench::new().packet(5, true, &payload).done(), [unit(5, &WRITTEN[4..])]);
    }

    #[test]
    fn a_temporal_unit_ends_at_its_marker_or_timestamp() {
        let frame = [&[0x18][..], &FRAME].concat();
        let plain = [&[0x10][..], &FRAME].concat();
        let mut bench = Av1Bench::new();
        bench.packet(5, true, &frame).packet(6, false, &plain).packet(7, true, &plain);
        let frames: Vec<_> = (5..8).map(|at| unit(at, &WRITTEN[4..])).collect();
        assert_eq!(bench.done(), frames);
    }

    #[test]
    fn a_last_unit_without_the_marker_that_others_had_is_damaged() {
        let frame = &WRITTEN[4..];
        let mut bench = Av1Bench::new();
        bench.packet(5, true, &[&[0x18][..], &FRAME].concat());
        assert_eq!(bench.packet(6, false, &plain()).done(), [unit(5, frame), damaged(6, frame)]);
        let mut bench = Av1Bench::new();
        bench.packet(5, false, &[&[0x18][..], &FRAME].concat());
        assert_eq!(bench.packet(6, false, &plain()).done(), [unit(5, frame), unit(6, frame)]);
    }

    #[test]
    fn losses_damage_and_are_never_joined_over() {
        let mut bench = Av1Bench::new();
        bench.packet(5, false, &[0x58, 0x30, 3]).lose(1).packet(5, true, &[0x90, 4, 5]);
        bench.packet(6, true, &[&[0x10][..], &FRAME].concat());
        bench.lose(1).packet(7, true, &[&[0x10][..], &FRAME].concat());
        bench.lose(1).packet(8, true, &[&[0x18][..], &FRAME].concat());
        let frame = &WRITTEN[4..];
        let expected = [damaged(5, &[]), unit(6, frame), damaged(7, frame), unit(8, frame)];
        assert_eq!(bench.done(), expected);
        assert_eq!(bench.bench.skipped, 2);
    }

    /// A frame in one packet.
    fn plain() -> Vec<u8> {
        [&[0x10][..], &FRAME].concat()
    }

    impl Av1Bench {
        /// Units at a steady pace, the last one at 300 and, where `open`, without its end.
        fn paced(open: bool) -> Self {
            let mut bench = Self::new();
            for at in [0, 100, 200] {
                bench.packet(at, true, &[&[0x18][..], &FRAME].concat());
            }
            bench.packet(300, false, &plain());
            if !open {
                bench.packet(300, true, &plain());
            }
            bench
        }

        /// Whether the unit behind so many missing packets is told as damaged.
        fn tears(mut self, missing: u64, at: u32, payload: &[u8]) -> bool {
            let out = self.lose(missing).packet(at, true, payload).done();
            out.last().unwrap().damaged
        }
    }

    #[test]
    fn a_unit_behind_another_one_whose_end_is_missing_is_whole() {
        assert!(!Av1Bench::paced(true).tears(1, 400, &plain()));
        assert!(!Av1Bench::paced(true).tears(1, 777, &plain()), "whatever its time");
        assert!(!Av1Bench::paced(true).tears(2, 500, &plain()), "its end, and the unit between");
        assert!(Av1Bench::paced(true).tears(2, 400, &plain()), "its end, or the next one's start");
        assert!(Av1Bench::paced(true).tears(0, 400, &plain()), "nobody knows");
        assert!(Av1Bench::paced(true).tears(1, 400, &[0x90, 1]), "it goes on with what is missing");
        assert!(Av1Bench::paced(true).tears(1, 400, &[0x10, 0x20, 1]), "tiles have a header");
    }

    #[test]
    fn a_unit_behind_others_that_are_missing_whole_is_whole() {
        assert!(!Av1Bench::paced(false).tears(1, 500, &plain()));
        assert!(!Av1Bench::paced(false).tears(2, 601, &plain()));
        assert!(Av1Bench::paced(false).tears(1, 400, &plain()), "its own start");
        assert!(
            Av1Bench::paced(false).tears(2, 500, &plain()),
            "that has two packets, or its start"
        );
        assert!(Av1Bench::paced(false).tears(1, 560, &plain()), "out of pace");
    }

    #[test]
    fn what_begins_a_unit_is_whole_behind_any_loss() {
        let sequence = [&[0x20, 3][..], &SEQUENCE, &FRAME].concat();
        let delimiter = [&[0x20, 1, 0x10][..], &FRAME].concat();
        for payload in [&sequence, &delimiter, &[&[0x18][..], &FRAME].concat()] {
            assert!(!Av1Bench::paced(false).tears(1, 400, payload));
            assert!(!Av1Bench::paced(true).tears(9, 400, payload));
        }
    }

    #[test]
    fn a_sender_without_markers_leaves_the_unit_behind_a_loss_in_doubt() {
        let mut bench = Av1Bench::new();
        bench.packet(0, false, &[&[0x18][..], &FRAME].concat());
        for at in [100, 200, 300] {
            bench.packet(at, false, &plain());
        }
        let out = bench.lose(1).packet(400, false, &plain()).done();
        assert_eq!(
            out.iter().map(|unit| unit.damaged).collect::<Vec<_>>(),
            [false, false, false, true, true]
        );
    }

    #[test]
    fn continuations_that_do_not_fit_each_other_damage() {
        let plain = [&[0x10][..], &FRAME].concat();
        let mut bench = Av1Bench::new();
        bench.packet(5, false, &[0x58, 0x30, 3]).packet(5, true, &plain);
        bench.packet(6, true, &[0x90, 4, 5]).packet(7, true, &[0x50, 0x30]).packet(8, true, &plain);
        let frame = &WRITTEN[4..];
        let out = bench.done();
        assert_eq!(out, [damaged(5, frame), damaged(6, &[]), damaged(7, &[]), unit(8, frame)]);
        let counters = bench.bench.counters;
        assert_eq!((counters.fragments_unfinished, counters.fragments_without_start), (2, 1));
    }

    #[test]
    fn malformed_packets_damage() {
        for payload in [
            &[0x18][..],
            &[0x98, 0x30, 1],
            &[0x08, 0],
            &[0x08, 9, 1],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x28, 2, 0x30, 1],
            &[0x38, 1, 0x30],
        ] {
            let mut bench = Av1Bench::new();
            let out = bench.packet(5, true, payload).done();
            assert!(out[0].damaged, "{payload:?}");
            assert_eq!(bench.bench.counters.payloads_invalid, 1, "{payload:?}");
        }
    }

    #[test]
    fn an_obu_without_end_holds_no_more_than_its_room() {
        let mut bench = Av1Bench::new();
        bench.packet(5, false, &[0x58, 0x30, 3]);
        for _ in 0..50 {
            bench.packet(5, false, &[0xd0, 3, 4]);
        }
        assert!(bench.held.len() <= 8);
        assert!(bench.bench.counters.elements_too_fragmented >= 1);
        assert!(bench.done()[0].damaged);
    }

    #[test]
    fn a_delimiter_in_front_says_nothing_against_the_format() {
        let sequence = [0x08, 0, 0, 0, 1, 2, 3];
        let first = [&[0x38, 1, 0x10, 7][..], &sequence, &FRAME].concat();
        let look = |payload: &[u8]| looks_right(payload, 0, true, None).map(|(shape, _)| shape);
        assert_eq!(look(&first), Some(Shape::Proof));
        assert_eq!(look(&[0x20, 1, 0x10, 0x30, 3]), Some(Shape::Weak));
        assert_eq!(look(&[0x20, 2, 0x30, 3, 0x10]), None, "behind a frame");
        assert_eq!(look(&[0x20, 3, 0x10, 1, 2, 0x30]), None, "with content");
    }

    #[test]
    fn leb128_borders() {
        for (bytes, value) in [
            (&[0x7f][..], Some((127, 1))),
            (&[0x80, 1], Some((128, 2))),
            (&[0xff, 0x7f], Some((16_383, 2))),
            (&[0x80, 0x80, 1], Some((16_384, 3))),
            (&[0x80, 0x80, 0x80, 1], Some((1 << 21, 4))),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], Some((0xffff_ffff, 5))),
            (&[0xff, 0xff, 0xff, 0xff, 0x1f], None),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0], Some((0, 8))),
            (&[0x80; 9], None),
            (&[0x80], None),
            (&[], None),
        ] {
            assert_eq!(leb128(bytes), value, "{bytes:?}");
        }
    }

    #[test]
    fn every_truncation_is_survived() {
        let packet = [&[0x28, 3][..], &SEQUENCE, &FRAME].concat();
        for len in 0..packet.len() {
            Av1Bench::new().packet(5, true, &packet[..len]).lose(1).done();
        }
    }
}
