//! Interleaved NAL units of H.264 and HEVC in their decoding order (RFC 6184, 7.2; RFC 7798, 6).
//!
//! ```text
//!  sent     3   5   4   7   6 …      depth 1: at most one comes before a NAL unit that it follows
//!  held     3   3 5 4 5 5 7 …
//!  given            3   4   5 …      the first in order, once more than `depth` are held
//! ```
//!
//! Packets wait as slots, as many as there is room for. Markers tell nothing here: a picture ends
//! where the time changes. Numbers may leave some out, so that they do not show a lost NAL unit:
//! after a loss, and where the stream is joined, everything that could be its neighbour is damaged.

use codec::sink::Timestamps;

use crate::output::Output;
use crate::packet::Packet;
use crate::payload::Outlet;
use crate::payload::nal::{NalUnits, Role};

/// Greatest depth that is taken.
pub(crate) const DEPTH_MAX: u8 = 64;
/// Packets, and parts of NAL units, that wait at most.
const PARTS_MAX: usize = 256;
/// NAL units of one packet.
const FOUND_MAX: usize = 64;

/// A NAL unit or a fragment of one, in a packet that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// Which of the packets.
    packet: usize,
    start: usize,
    len: usize,
    /// Decoding order, unwrapped.
    order: i64,
    /// Bytes that stand before it: the header as rebuilt, of fragments.
    head: [u8; 2],
    head_len: usize,
    pub(crate) first: bool,
    pub(crate) last: bool,
    pub(crate) timestamp: u32,
    stamps: Timestamps,
}

impl Part {
    /// The rebuilt header of a fragment.
    pub(crate) fn head(&self) -> &[u8] {
        self.head.get(..self.head_len).unwrap_or_default()
    }
}

/// What a depacketizer says of a part that it found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// Where in the payload.
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// Its number; `None` for a fragment that goes on.
    pub(crate) number: Option<u16>,
    pub(crate) head: [u8; 2],
    pub(crate) head_len: usize,
    pub(crate) first: bool,
    pub(crate) last: bool,
    /// Ticks of the track's clock behind the packet's timestamp.
    pub(crate) offset: u32,
}

impl Found {
    /// A whole NAL unit.
    pub(crate) const fn whole(start: usize, len: usize, number: u16) -> Self {
        Self {
            start,
            len,
            number: Some(number),
            head: [0; 2],
            head_len: 0,
            first: true,
            last: true,
            offset: 0,
        }
    }
}

/// What is found in one packet.
#[derive(Debug)]
pub(crate) struct Finds {
    found: [Found; FOUND_MAX],
    len: usize,
}

impl Finds {
    pub(crate) const fn new() -> Self {
        Self { found: [Found::whole(0, 0, 0); FOUND_MAX], len: 0 }
    }

    /// False when there are too many.
    pub(crate) fn push(&mut self, found: Found) -> bool {
        let Some(place) = self.found.get_mut(self.len) else { return false };
        *place = found;
        self.len += 1;
        true
    }

    pub(crate) fn as_slice(&self) -> &[Found] {
        self.found.get(..self.len).unwrap_or_default()
    }
}

/// Hands a part to the access unit, at its turn.
pub(crate) fn give<O: Output>(
    to: &mut Outlet<'_, O>,
    units: &mut NalUnits,
    part: &Part,
    bytes: &[u8],
    role: Role,
) {
    let timestamp = part.timestamp;
    let Some(kind) = part.head().first().copied() else {
        return units.nal(to, timestamp, bytes, role);
    };
    if !part.first {
        return units.fragment(to, timestamp, kind, bytes, part.last);
    }
    units.fragment_start(to, timestamp, part.head(), bytes, role);
    if part.last && !matches!(role, Role::Ignored | Role::Invalid) {
        units.fragment(to, timestamp, kind, &[], true);
    }
}

/// Packets that wait with their NAL units in them, in room made once.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// With how many parts wait in each.
    packets: Vec<Option<(Packet, u16)>>,
    /// In the order they came.
    parts: Vec<Part>,
}

impl Waiting {
    /// Bytes that it takes where so many pieces may wait.
    pub(crate) const fn room(pieces_max: usize) -> usize {
        let room = if pieces_max < PARTS_MAX { pieces_max } else { PARTS_MAX };
        room * (size_of::<Option<(Packet, u16)>>() + size_of::<Part>())
    }

    /// Room for interleaved streams, or none.
    pub(crate) fn new(pieces_max: usize) -> Self {
        let room = pieces_max.min(PARTS_MAX);
        let packets = (0..room).map(|_| None).collect();
        Self { packets, parts: Vec::with_capacity(room) }
    }

    pub(crate) fn clear(&mut self) {
        self.parts.clear();
        self.packets.iter_mut().for_each(|packet| *packet = None);
    }

    /// NAL units that are there to their last part, or cut.
    fn units(&self, open: Option<i64>) -> usize {
        self.parts.iter().filter(|part| part.first && Some(part.order) != open).count()
    }

    /// The first in decoding order.
    fn first(&self) -> Option<i64> {
        self.parts.iter().map(|part| part.order).min()
    }

    fn bytes(&self, part: &Part) -> &[u8] {
        let packet = self.packets.get(part.packet).and_then(Option::as_ref);
        let payload = packet.map_or(&[][..], |(packet, _)| packet.payload());
        payload.get(part.start..part.start + part.len).unwrap_or_default()
    }

    /// The parts of a NAL unit and their bytes.
    fn parts_of(&self, order: i64) -> impl Iterator<Item = (&Part, &[u8])> {
        let parts = self.parts.iter().filter(move |part| part.order == order);
        parts.map(|part| (part, self.bytes(part)))
    }

    fn remove(&mut self, order: i64) {
        let packets = &mut self.packets;
        self.parts.retain(|part| {
            let stays = part.order != order;
            let place = packets.get_mut(part.packet).filter(|_| !stays);
            if let Some(place) = place
                && let Some((_, uses)) = place
            {
                *uses -= 1;
                if *uses == 0 {
                    *place = None;
                }
            }
            stays
        });
    }

    /// Keeps a packet with the parts found in it. False when there is no room.
    fn keep(&mut self, packet: Packet, parts: impl Iterator<Item = Part>) -> bool {
        let Some(place) = self.packets.iter().position(Option::is_none) else { return false };
        let before = self.parts.len();
        let room = self.parts.capacity() - before;
        let mut parts = parts.map(|part| Part { packet: place, ..part });
        self.parts.extend(parts.by_ref().take(room));
        let uses = u16::try_from(self.parts.len() - before).unwrap_or(u16::MAX);
        if uses > 0
            && let Some(slot) = self.packets.get_mut(place)
        {
            *slot = Some((packet, uses));
        }
        parts.next().is_none()
    }
}

/// The order of one track.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    depth: usize,
    /// The highest number so far, unwrapped.
    highest: Option<i64>,
    /// The NAL unit whose fragments are coming.
    open: Option<i64>,
    /// The last one that was given.
    given: Option<i64>,
    /// Of so many to come a lost one may be the neighbour.
    uncertain: usize,
}

impl Order {
    /// `None` where NAL units come in order.
    pub(crate) fn new(depth: u8) -> Option<Self> {
        let depth = usize::from(depth.min(DEPTH_MAX));
        // Where the stream is joined, what is missing came before.
        let uncertain = depth + 1;
        (depth > 0).then_some(Self { depth, highest: None, open: None, given: None, uncertain })
    }

    fn unwrap(&mut self, number: u16) -> i64 {
        let Some(highest) = self.highest else {
            self.highest = Some(number.into());
            return number.into();
        };
        let low = u16::try_from(highest & 0xffff).unwrap_or(0);
        let order = highest + i64::from(number.wrapping_sub(low).cast_signed());
        self.highest = Some(highest.max(order));
        order
    }

    /// Keeps what was found in a packet.
    pub(crate) fn put<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        packet: Packet,
        found: &[Found],
        waiting: &mut Waiting,
    ) {
        let timestamp = packet.header.timestamp;
        let mut dropped = 0;
        let mut open = self.open;
        let parts = found.iter().filter_map(|found| {
            let order = match found.number {
                Some(number) => self.unwrap(number),
                None if open.is_none() => {
                    dropped += 1;
                    return None;
                }
                None => open?,
            };
            open = (!found.last).then_some(order);
            Some(Part {
                packet: 0,
                start: found.start,
                len: found.len,
                order,
                head: found.head,
                head_len: found.head_len,
                first: found.first,
                last: found.last,
                timestamp: timestamp.wrapping_add(found.offset),
                stamps: to.stamps_after(found.offset.into()),
            })
        });
        let kept = waiting.keep(packet, parts);
        self.open = open;
        to.counters.fragments_without_start += dropped;
        if !kept || dropped > 0 {
            to.counters.elements_too_fragmented += u64::from(!kept);
            self.lose(waiting);
        }
    }

    /// Packets are missing: no one knows whose neighbours they were.
    pub(crate) fn lose(&mut self, waiting: &Waiting) {
        self.open = None;
        self.uncertain = waiting.units(None) + self.depth + 1;
    }

    /// Gives `each` NAL unit whose turn it is, with its parts; all of them at the end.
    pub(crate) fn release<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        units: &mut NalUnits,
        waiting: &mut Waiting,
        all: bool,
        mut each: impl FnMut(&mut Outlet<'_, O>, &mut NalUnits, &Part, &[u8]),
    ) {
        while let Some(order) = waiting.first() {
            if !all && (waiting.units(self.open) <= self.depth || Some(order) == self.open) {
                return;
            }
            let late = self.given.is_some_and(|given| order <= given);
            to.counters.elements_out_of_order += u64::from(late);
            if late || self.uncertain > 0 {
                self.uncertain = self.uncertain.saturating_sub(1);
                units.disorder(to);
            }
            self.given = Some(order);
            let stamps = to.stamps;
            for (part, bytes) in waiting.parts_of(order) {
                to.stamps = part.stamps;
                units.packet(to, part.timestamp);
                each(to, units, part, bytes);
            }
            to.stamps = stamps;
            waiting.remove(order);
        }
    }
}

#[cfg(test)]
mod tests {
    use memory::{Datagram, Slab, Time};

    use super::super::depacketizer::Depacketizer;
    use super::super::testing::{Bench, Gathered};
    use super::super::{Held, ParameterSets};
    use crate::format::{Encoding, Format};
    use crate::packet::{Header, Packet};

    const SETS: ParameterSets = ParameterSets::EMPTY;

    struct Interleaved {
        bench: Bench<Depacketizer>,
        held: Held,
        slab: Slab,
    }

    impl Interleaved {
        fn new(encoding: Encoding) -> Self {
            let format = Depacketizer::new(&Format::video(96, encoding));
            let (held, slab) = (Held::new(32), Slab::new(64).unwrap());
            Self { bench: Bench::new(format), held, slab }
        }

        fn h264(depth: u8) -> Self {
            Self::new(Encoding::H264 { sets: SETS, depth })
        }

        fn packet(&mut self, timestamp: u32, payload: &[u8]) -> &mut Self {
            let header = Header { timestamp, marker: true, ..Header::default() }.encode();
            let datagram = Datagram::copy_from(&self.slab, &[&header, payload].concat()).unwrap();
            let packet = Packet::new(datagram, Time::ZERO).unwrap();
            let (format, mut to) = self.bench.parts(timestamp);
            format.push(&mut to, packet, Time::ZERO, &mut self.held);
            self
        }

        fn lose(&mut self) -> &mut Self {
            let (format, mut to) = self.bench.parts(0);
            format.lost(&mut to, 1, &mut self.held);
            self
        }

        fn done(&mut self) -> Vec<Gathered> {
            let (format, mut to) = self.bench.parts(0);
            format.finish(&mut to, &mut self.held);
            assert_eq!(self.slab.free(), 64, "every slot came back");
            self.bench.take()
        }
    }

    /// A slice of H.264 that starts a picture and is told by its last byte.
    fn slice(number: u8) -> Vec<u8> {
        vec![0x41, 0x9a, number]
    }

    fn stap_b(order: u16, nals: &[Vec<u8>]) -> Vec<u8> {
        let mut payload = [&[0x79][..], &order.to_be_bytes()].concat();
        for nal in nals {
            payload.extend(u16::try_from(nal.len()).unwrap().to_be_bytes());
            payload.extend_from_slice(nal);
        }
        payload
    }

    /// What came out: time and last byte of each, and whether it is damaged.
    fn told(units: &[Gathered]) -> Vec<(u64, u8, bool)> {
        units.iter().map(|unit| (unit.pts, *unit.bytes.last().unwrap(), unit.damaged)).collect()
    }

    /// Where a stream is joined, its first pictures may miss what came before.
    fn joined(depth: u8) -> Interleaved {
        let mut stream = Interleaved::h264(depth);
        for number in 0..4 * u16::from(depth) {
            let order = number.wrapping_sub(4 * u16::from(depth));
            stream.packet(u32::from(number) + 1, &stap_b(order, &[slice(0xee)]));
        }
        stream
    }

    #[test]
    fn nal_units_are_put_in_decoding_order_over_the_wrap() {
        let mut stream = Interleaved::h264(2);
        for order in [65_532u16, 65_533, 65_534, 65_535] {
            stream.packet(u32::from(order - 65_531), &stap_b(order, &[slice(1)]));
        }
        for order in [1u16, 0, 4, 3, 2, 5] {
            let number = u8::try_from(order).unwrap();
            stream.packet(100 + u32::from(order), &stap_b(order, &[slice(0x10 + number)]));
        }
        let out = stream.done();
        let last: Vec<_> = told(&out).into_iter().skip(4).collect();
        let expected: Vec<_> = (0..6).map(|n| (100 + u64::from(n), 0x10 + n, false)).collect();
        assert_eq!(last, expected);
        assert_eq!(stream.bench.counters.elements_out_of_order, 0);
    }

    #[test]
    fn aggregates_with_times_and_fragments_take_their_places() {
        let mut stream = joined(2);
        // MTAP16: orders 2 and 1, the second a tick of 5 earlier than the first's 105.
        let mut mtap = vec![0x7a, 0, 1];
        for (step, offset, number) in [(1u8, 5u16, 0x12), (0, 0, 0x11)] {
            mtap.extend([0, 3, step]);
            mtap.extend(offset.to_be_bytes());
            mtap.extend(slice(number));
        }
        // FU-B and FU-A: order 0.
        stream.packet(100, &mtap).packet(90, &[0x5d, 0x81, 0, 0, 0x9a, 1]);
        stream.packet(90, &[0x5c, 0x41, 0x10]);
        let out = stream.done();
        let last = &told(&out)[8..];
        assert_eq!(last, [(90, 0x10, false), (100, 0x11, false), (105, 0x12, false)]);
        assert_eq!(out[8].bytes, [0, 0, 0, 1, 0x41, 0x9a, 1, 0x10]);
    }

    #[test]
    fn one_picture_of_several_nal_units_is_one_unit() {
        let mut stream = joined(1);
        let more = |number| vec![0x41, 0x46, number];
        stream.packet(50, &stap_b(1, &[more(2)])).packet(50, &stap_b(0, &[slice(1)]));
        stream.packet(60, &stap_b(2, &[slice(3)]));
        let out = stream.done();
        assert_eq!(told(&out)[4..], [(50, 2, false), (60, 3, false)]);
        assert_eq!(out[4].bytes, [0, 0, 0, 1, 0x41, 0x9a, 1, 0, 0, 0, 1, 0x41, 0x46, 2]);
    }

    #[test]
    fn around_a_loss_nothing_is_told_as_whole() {
        let mut stream = joined(2);
        for order in 0..4u16 {
            stream.packet(100 + u32::from(order), &stap_b(order, &[slice(0)]));
        }
        stream.lose();
        for order in 5..20u16 {
            stream.packet(100 + u32::from(order), &stap_b(order, &[slice(0)]));
        }
        let damaged: Vec<u64> =
            stream.done().iter().filter(|unit| unit.damaged).map(|unit| unit.pts).collect();
        let around: Vec<u64> = damaged.into_iter().filter(|pts| *pts >= 100).collect();
        // The open one, the two that waited, and as many as may have gone before the lost one.
        assert_eq!(around, [101, 102, 103, 105, 106, 107]);
    }

    #[test]
    fn what_comes_too_late_for_its_place_damages() {
        let mut stream = joined(1);
        for order in [0u16, 1, 2, 3, 1, 4, 5] {
            stream.packet(100 + u32::from(order), &stap_b(order, &[slice(0)]));
        }
        let out = stream.done();
        assert_eq!(stream.bench.counters.elements_out_of_order, 1);
        assert!(out.iter().any(|unit| unit.pts == 101 && unit.damaged));
    }

    #[test]
    fn payloads_that_break_off_or_have_no_number_are_counted() {
        for payload in [
            &[0x79][..],
            &[0x79, 0, 1, 0, 9, 1],
            &[0x79, 0, 1, 0, 0],
            &[0x7a, 0, 1, 0, 1, 0, 0],
            &[0x7d, 0x81, 0],
            &[0x41, 0x9a, 1],
            &[0x78, 0, 1, 0x41],
        ] {
            let mut stream = joined(1);
            stream.packet(50, payload);
            assert_eq!(stream.bench.counters.elements_invalid, 1, "{payload:?}");
            stream.done();
        }
        let mut stream = joined(1);
        stream.packet(50, &[0x5c, 0x41, 1]);
        assert_eq!(stream.bench.counters.fragments_without_start, 1);
        stream.done();
    }

    #[test]
    fn a_nal_unit_without_end_and_one_number_for_all_stay_bounded() {
        let mut stream = joined(2);
        stream.packet(50, &[0x5d, 0x81, 0, 0, 0x9a, 1]);
        for _ in 0..200 {
            stream.packet(50, &[0x5c, 0x01, 1]);
        }
        for _ in 0..200 {
            stream.packet(60, &stap_b(9, &[slice(1)]));
        }
        assert!(stream.bench.counters.elements_too_fragmented > 0);
        assert!(stream.slab.free() >= 32);
        stream.done();
    }

    #[test]
    fn hevc_is_put_in_order_by_its_numbers() {
        let mut stream = Interleaved::new(Encoding::Hevc { sets: SETS, has_order: true, depth: 2 });
        let slice = |number: u8| vec![0x02, 0x01, 0x80, number];
        let single = |order: u16, number: u8| {
            [&[0x02, 0x01][..], &order.to_be_bytes(), &[0x80, number]].concat()
        };
        for order in 0..8u8 {
            stream.packet(order.into(), &single(order.into(), order));
        }
        // 10 and 12 in an aggregate, 9 alone, 11 in fragments.
        let mut aggregate = vec![0x60, 0x01, 0, 10, 0, 4];
        aggregate.extend(slice(10));
        aggregate.extend([1, 0, 4]);
        aggregate.extend(slice(12));
        stream.packet(110, &aggregate).packet(109, &single(9, 9));
        stream.packet(111, &[0x62, 0x01, 0x81, 0, 11, 0x80, 7]);
        stream.packet(111, &[0x62, 0x01, 0x41, 11]);
        let out = stream.done();
        let last: Vec<_> = told(&out).into_iter().skip(8).collect();
        // Both of the aggregate have its time; between them lies another: three pictures.
        assert_eq!(last, [(109, 9, false), (110, 10, false), (111, 11, false), (110, 12, false)]);
        assert_eq!(out[10].bytes, [0, 0, 0, 1, 0x02, 0x01, 0x80, 7, 11]);
    }
}
