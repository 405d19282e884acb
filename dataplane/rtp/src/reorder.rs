//! The reorder window: packets behind a hole wait as slot handles, by extended sequence number.
//!
//! ```text
//!  history (bits)         base                          base + capacity
//!  ..#.####.#########...|  ?  #  #  ?  ?  #  .  .  .  |
//!  delivered, given up     hole: given up when more than `packets` lie behind it
//!                          and `time` has passed, or `time_max` has, or the window is full
//! ```
//!
//! A packet in order passes straight through. Everything before `base` has been delivered or given
//! up; what comes for it is a duplicate or late. The window is thus the larger of a number of packets
//! and a time, bounded by its capacity and by `time_max`, so that a slow stream does not wait for
//! ever.

use std::time::Duration;

use memory::Time;

use crate::packet::Packet;

/// Places that are remembered behind `base`, for telling duplicates from late packets.
const HISTORY: u64 = 4_096;
const WORD: u64 = 64;

/// How long a missing packet is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// At least until so many later packets came.
    pub packets: u32,
    /// And at least so long.
    pub time: Duration,
    /// But never longer.
    pub time_max: Duration,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            packets: 100,
            time: Duration::from_millis(100),
            time_max: Duration::from_millis(500),
        }
    }
}

/// Where a packet was put.
#[derive(Debug)]
pub enum Inserted {
    /// It is the next one in order: nothing waits for it, take it.
    Next(Packet),
    /// It waits. So many before it were found missing by it.
    Held {
        /// Sequence numbers found missing.
        missing: u64,
        /// It filled a hole.
        recovered: bool,
    },
    /// Nowhere: it was here before.
    Duplicate,
    /// Before all others, of which none has left: found missing are so many, of which this is one.
    First {
        /// From its number to that of the first so far.
        missing: u64,
    },
    /// Nowhere: its place was given up.
    Late,
}

/// What comes next in order.
#[derive(Debug)]
pub enum Ready {
    /// A packet.
    Packet(Packet),
    /// So many packets that are given up.
    Lost(u64),
}

/// A window of fixed capacity; nothing is allocated after [`new`](Self::new). What a packet in order
/// needs comes first.
#[derive(Debug)]
#[repr(C)]
pub struct Reorder {
    base: u64,
    /// One above the highest number that came.
    end: u64,
    held: u32,
    /// Nothing leaves: its payload format is not known yet.
    stopped: bool,
    /// So many packets, and nothing has left so far: what was sent before them may still come.
    opening: Option<u32>,
    /// The word of the history that `base` lies in, as far as `base`; the others are far away.
    recent: u64,
    places: Box<[Option<Packet>]>,
    /// When the hole at `base` was found.
    hole_since: Option<Time>,
    /// When what waits leaves that is [`opening`](Self::opening).
    opens_at: Time,
    window: Window,
    /// A bit a place: held.
    held_bits: Box<[u64]>,
    /// A bit a number before `base`: delivered. The word of `recent` is still that of 4,096 numbers
    /// before.
    history: Box<[u64]>,
}

impl Reorder {
    /// Room for at least `packets` packets, rounded up to a power of two.
    pub fn new(packets: u32, window: Window) -> Self {
        let places = places(packets);
        Self {
            window,
            places: (0..places).map(|_| None).collect(),
            held_bits: (0..places / 64).map(|_| 0).collect(),
            history: (0..HISTORY / WORD).map(|_| 0).collect(),
            base: 0,
            end: 0,
            held: 0,
            hole_since: None,
            opens_at: Time::NEVER,
            opening: None,
            stopped: false,
            recent: 0,
        }
    }

    /// Bytes that a window of `packets` takes.
    pub fn bytes(packets: u32) -> usize {
        places(packets) * size_of::<Option<Packet>>() + places(packets) / 8 + 512
    }

    /// Starts over at `base`, empty. Returns how many held packets that discards.
    pub fn reset(&mut self, base: u64, window: Window) -> u32 {
        let discarded = self.held;
        for place in &mut self.places {
            *place = None;
        }
        self.held_bits.fill(0);
        self.forget(0);
        self.window = window;
        self.base = base;
        self.end = base;
        self.held = 0;
        self.hole_since = None;
        self.opening = None;
        discarded
    }

    /// What comes from now on waits until `opens_at` for such as was sent before it, or until there are
    /// half as many as `slots_max` or the window.
    pub fn open(&mut self, opens_at: Time, slots_max: u32) {
        let capacity = u32::try_from(self.capacity()).unwrap_or(u32::MAX);
        self.opening = Some(slots_max.min(capacity) / 2);
        self.opens_at = opens_at;
    }

    /// Packets that wait.
    pub const fn held(&self) -> u32 {
        self.held
    }

    /// The next number to be delivered.
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// One above the highest number that came.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// The number that would pass straight through, if one would: nothing waits or is awaited.
    pub const fn next_in_order(&self) -> Option<u64> {
        let idle = self.held == 0 && self.is_flowing() && self.end == self.base;
        if idle { Some(self.base) } else { None }
    }

    /// So many packets passed straight through, from `base` on.
    pub fn went_on(&mut self, packets: u32) {
        let packets = u64::from(packets);
        if packets < HISTORY {
            for _ in 0..packets {
                self.advance(true);
            }
        } else {
            self.base += packets;
            self.forget(u64::MAX);
        }
        self.end = self.end.max(self.base);
    }

    /// How long a hole is waited for.
    pub const fn window(&self) -> Window {
        self.window
    }

    /// Waits otherwise from now on, for what is missing already too.
    pub const fn set_window(&mut self, window: Window) {
        self.window = window;
    }

    /// How many numbers before the highest have not come and may still.
    pub const fn awaited(&self) -> u64 {
        self.end.saturating_sub(self.base).saturating_sub(self.held as u64)
    }

    /// The packet that waits at a place.
    pub fn at(&self, number: u64) -> Option<&Packet> {
        self.places.get(self.place(number))?.as_ref()
    }

    /// Stops or starts the delivery: what is not known yet how to read waits, as long as there is
    /// room.
    pub const fn stop(&mut self, stopped: bool) {
        self.stopped = stopped;
    }

    /// The packets that wait, in order, from `base` on: for a look at a stream of unknown format.
    pub fn waiting(&self) -> impl Iterator<Item = &Packet> {
        let base = self.base;
        (0..self.capacity())
            .filter_map(move |step| self.places.get(self.place(base + step))?.as_ref())
    }

    /// Puts in the packet of extended number `number`.
    pub fn insert(&mut self, number: u64, packet: Packet, now: Time) -> Inserted {
        if number < self.base {
            return self.insert_before(number, packet);
        }
        if number == self.base && self.held == 0 && self.is_flowing() {
            self.advance(true);
            self.end = self.end.max(self.base);
            return Inserted::Next(packet);
        }
        // Beyond the capacity: `next` makes room before anything else happens.
        if number >= self.base.saturating_add(self.capacity()) {
            return self.insert_beyond(number, packet, now);
        }
        let place = self.place(number);
        let Some(slot) = self.places.get_mut(place) else { return Inserted::Late };
        if slot.is_some() {
            return Inserted::Duplicate;
        }
        *slot = Some(packet);
        self.now_held(place);
        let missing = number.saturating_sub(self.end);
        let recovered = number < self.end;
        self.end = self.end.max(number + 1);
        if self.hole_since.is_none() {
            self.hole_since = Some(now);
        }
        Inserted::Held { missing, recovered }
    }

    /// True when `number` would lie beyond the window: call [`make_room`](Self::make_room) first.
    pub fn is_beyond(&self, number: u64) -> bool {
        number >= self.base.saturating_add(self.capacity())
    }

    /// What has to leave so that `number` finds a place, oldest first; `None` when it does.
    pub fn make_room(&mut self, number: u64) -> Option<Ready> {
        if !self.is_beyond(number) {
            return None;
        }
        if self.held > 0 {
            return self.leave();
        }
        let lost = number - self.base;
        self.skip(lost);
        self.end = self.end.max(self.base);
        Some(Ready::Lost(lost))
    }

    /// What comes next in order, if it is here, or given up by `now`.
    pub fn next(&mut self, now: Time) -> Option<Ready> {
        if self.held == 0 || self.stopped || self.opening.is_some() && now < self.opens_at {
            return None;
        }
        if self.is_held(self.place(self.base)) || self.gives_up(now) {
            return self.leave();
        }
        None
    }

    /// Everything that waits, whether due or not.
    pub fn drain(&mut self) -> Option<Ready> {
        if self.held == 0 { None } else { self.leave() }
    }

    /// When [`next`](Self::next) has to be called again.
    pub fn next_timeout(&self) -> Time {
        if self.held == 0 || self.stopped {
            return Time::NEVER;
        }
        match self.hole_since {
            _ if self.opening.is_some() => self.opens_at,
            Some(since) if self.behind() > u64::from(self.window.packets) => {
                since + self.window.time.min(self.window.time_max)
            }
            Some(since) => since + self.window.time_max,
            None => Time::NEVER,
        }
    }

    /// The numbers missing between `base` and the highest, oldest first.
    pub fn missing(&self) -> impl Iterator<Item = u64> {
        (self.base..self.end).filter(|number| !self.is_held(self.place(*number)))
    }

    /// Nothing keeps a packet in order from passing through.
    const fn is_flowing(&self) -> bool {
        !self.stopped && self.opening.is_none()
    }

    /// A packet from before `base`: too late, unless nothing has left.
    fn insert_before(&mut self, number: u64, packet: Packet) -> Inserted {
        if self.was_delivered(number) {
            return Inserted::Duplicate;
        }
        if self.opening.is_none() || self.end - number > self.capacity() {
            return Inserted::Late;
        }
        let place = self.place(number);
        if let Some(slot) = self.places.get_mut(place) {
            *slot = Some(packet);
        }
        self.now_held(place);
        let missing = self.base - number;
        self.base = number;
        Inserted::First { missing }
    }

    fn now_held(&mut self, place: usize) {
        self.set_held(place, true);
        self.held += 1;
        if self.opening.is_some_and(|most| self.held >= most) {
            self.opening = None;
        }
    }

    fn insert_beyond(&mut self, number: u64, packet: Packet, now: Time) -> Inserted {
        // The caller made room before; not having done so must not break the window.
        while self.make_room(number).is_some() {}
        self.insert(number, packet, now)
    }

    fn gives_up(&self, now: Time) -> bool {
        self.next_timeout() <= now
    }

    /// Numbers from the hole's to the highest.
    const fn behind(&self) -> u64 {
        self.end.saturating_sub(self.base)
    }

    fn is_at_hole(&self) -> bool {
        self.held > 0 && !self.is_held(self.place(self.base))
    }

    fn first_held_arrival(&self) -> Option<Time> {
        let steps = self.steps_to_held()?;
        let place = self.places.get(self.place(self.base + steps))?;
        place.as_ref().map(|packet| packet.arrival)
    }

    /// The packet at `base`, or else the hole there.
    fn leave(&mut self) -> Option<Ready> {
        self.opening = None;
        let place = self.place(self.base);
        if let Some(packet) = self.places.get_mut(place).and_then(Option::take) {
            self.set_held(place, false);
            self.held -= 1;
            self.advance(true);
            if self.held == 0 {
                self.hole_since = None;
            } else if self.is_at_hole() {
                // The next hole is as old as the packet behind it.
                self.hole_since = self.first_held_arrival();
            }
            return Some(Ready::Packet(packet));
        }
        let lost = self.steps_to_held()?;
        self.skip(lost);
        Some(Ready::Lost(lost))
    }

    fn advance(&mut self, delivered: bool) {
        self.recent |= u64::from(delivered) << (self.base % WORD);
        self.base += 1;
        if self.base.is_multiple_of(WORD) {
            if let Some(word) = word_mut(&mut self.history, (self.base - 1) % HISTORY) {
                *word = self.recent;
            }
            self.recent = 0;
        }
    }

    /// Of all numbers before `base` is remembered what `word` says of 64.
    fn forget(&mut self, word: u64) {
        self.history.fill(word);
        self.recent = word & ((1 << (self.base % WORD)) - 1);
    }

    /// Moves past `numbers` missing ones, in time bounded by the history.
    fn skip(&mut self, numbers: u64) {
        if numbers >= HISTORY {
            self.base += numbers;
            return self.forget(0);
        }
        for _ in 0..numbers {
            self.advance(false);
        }
    }

    fn was_delivered(&self, number: u64) -> bool {
        let bit = number % HISTORY;
        let near = self.base - number <= HISTORY;
        let is_recent = number / WORD == self.base / WORD;
        let word = if is_recent { self.recent } else { word(&self.history, bit) };
        near && word >> (bit % WORD) & 1 == 1
    }

    /// Numbers from `base` to the first held packet; a word of places at a time.
    fn steps_to_held(&self) -> Option<u64> {
        if self.held == 0 {
            return None;
        }
        let mut steps = 0;
        while steps < self.capacity() {
            let place = (self.base + steps) % self.capacity();
            let rest = word(&self.held_bits, place) >> (place % WORD);
            if rest != 0 {
                return Some(steps + u64::from(rest.trailing_zeros()));
            }
            steps += WORD - place % WORD;
        }
        None
    }

    fn capacity(&self) -> u64 {
        crate::bytes::count(self.places.len())
    }

    fn place(&self, number: u64) -> usize {
        usize::try_from(number % self.capacity()).unwrap_or(0)
    }

    fn is_held(&self, place: usize) -> bool {
        let bit = crate::bytes::count(place);
        word(&self.held_bits, bit) >> (bit % WORD) & 1 == 1
    }

    fn set_held(&mut self, place: usize, held: bool) {
        let bit = crate::bytes::count(place);
        if let Some(word) = word_mut(&mut self.held_bits, bit) {
            let mask = 1 << (bit % WORD);
            *word = if held { *word | mask } else { *word & !mask };
        }
    }
}

/// At least one word of places, a power of two.
fn places(packets: u32) -> usize {
    usize::try_from(packets.clamp(64, 1 << 15).next_power_of_two()).unwrap_or(64)
}

fn word(words: &[u64], bit: u64) -> u64 {
    usize::try_from(bit / WORD).ok().and_then(|at| words.get(at)).copied().unwrap_or(0)
}

fn word_mut(words: &mut [u64], bit: u64) -> Option<&mut u64> {
    words.get_mut(usize::try_from(bit / WORD).ok()?)
}

#[cfg(test)]
mod tests {
    use memory::{Datagram, Slab};

    use super::*;
    use crate::packet::Header;

    struct Bench {
        slab: Slab,
        reorder: Reorder,
        now: Time,
        out: Vec<Result<u16, u64>>,
    }

    fn ms(ms: u64) -> Time {
        Time::from_micros(ms * 1_000)
    }

    impl Bench {
        fn new(packets: u32) -> Self {
            let window = Window {
                packets,
                time: Duration::from_millis(100),
                time_max: Duration::from_millis(500),
            };
            let mut reorder = Reorder::new(64, window);
            reorder.reset(0x1_0000 - 2, window);
            Self { slab: Slab::new(100).unwrap(), reorder, now: Time::ZERO, out: Vec::new() }
        }

        fn packet(&self, number: u64) -> Packet {
            let sequence = (number & 0xffff) as u16;
            let header = Header { sequence, ..Header::default() }.encode();
            Packet::new(Datagram::copy_from(&self.slab, &header).unwrap(), self.now).unwrap()
        }

        /// Puts in the packet `offset` after the start and takes out what is ready.
        fn put(&mut self, offset: u64) -> &'static str {
            let number = 0x1_0000 - 2 + offset;
            let packet = self.packet(number);
            while let Some(ready) = self.reorder.make_room(number) {
                self.note(ready);
            }
            let result = match self.reorder.insert(number, packet, self.now) {
                Inserted::Next(packet) => {
                    self.note(Ready::Packet(packet));
                    "next"
                }
                Inserted::Held { missing: 0, recovered: true } => "recovered",
                Inserted::Held { missing: 0, .. } => "held",
                Inserted::Held { .. } => "gap",
                Inserted::First { missing } => {
                    assert!(missing > 0);
                    "first"
                }
                Inserted::Duplicate => "duplicate",
                Inserted::Late => "late",
            };
            self.run();
            result
        }

        fn run(&mut self) {
            while let Some(ready) = self.reorder.next(self.now) {
                self.note(ready);
            }
        }

        fn note(&mut self, ready: Ready) {
            self.out.push(match ready {
                Ready::Packet(packet) => Ok(packet.header.sequence.wrapping_add(2)),
                Ready::Lost(lost) => Err(lost),
            });
        }

        fn out(&mut self) -> Vec<Result<u16, u64>> {
            std::mem::take(&mut self.out)
        }
    }

    #[test]
    fn the_last_4096_numbers_are_remembered_one_by_one() {
        let mut reorder = Reorder::new(64, Window::default());
        reorder.reset(70_001, Window::default());
        let mut model = vec![false; 5_000];
        for step in 0..4_000_u32 {
            let packets = match step % 500 {
                499 => 5_000 + step % 7,
                _ => 1 + step * 7 % 97,
            };
            let delivered = step % 3 != 0;
            match delivered {
                true => reorder.went_on(packets),
                false => reorder.skip(packets.into()),
            }
            model.extend((0..packets).map(|_| delivered));
            for back in [1, 2, 63, 64, 65, 128, 1_000, 4_031, 4_032, 4_033, 4_095, 4_096, 4_097] {
                let known = back <= 4_096 && model[model.len() - back];
                assert_eq!(reorder.was_delivered(reorder.base() - back as u64), known, "{back}");
            }
        }
    }

    #[test]
    fn packets_in_order_pass_over_the_wrap() {
        let mut bench = Bench::new(4);
        for offset in 0..5 {
            assert_eq!(bench.put(offset), "next");
        }
        assert_eq!(bench.out(), [Ok(0), Ok(1), Ok(2), Ok(3), Ok(4)]);
        assert_eq!(bench.slab.free(), 100);
    }

    #[test]
    fn a_swapped_packet_is_put_right() {
        let mut bench = Bench::new(4);
        assert_eq!(bench.put(1), "gap");
        assert_eq!(bench.put(3), "gap");
        assert_eq!(bench.put(0), "recovered");
        assert_eq!(bench.out(), [Ok(0), Ok(1)]);
        assert_eq!(bench.put(2), "recovered");
        assert_eq!(bench.out(), [Ok(2), Ok(3)]);
        assert_eq!(bench.reorder.next_timeout(), Time::NEVER);
    }

    #[test]
    fn what_was_sent_before_the_first_packet_is_waited_for() {
        let mut bench = Bench::new(4);
        bench.reorder.reset(0x1_0000, bench.reorder.window());
        bench.reorder.open(ms(100), 64);
        let order = [2, 3, 0, 1, 5, 2, 0];
        let is = ["held", "held", "first", "recovered", "gap", "duplicate", "duplicate"];
        assert_eq!(order.map(|offset| bench.put(offset)), is);
        assert_eq!((bench.out(), bench.reorder.next_in_order()), (vec![], None));
        assert_eq!(bench.reorder.next_timeout(), ms(100));
        bench.now = ms(100);
        bench.run();
        assert_eq!(bench.out(), [Ok(0), Ok(1), Ok(2), Ok(3)]);
        assert_eq!((bench.put(4), bench.out()), ("recovered", vec![Ok(4), Ok(5)]));
        assert_eq!(bench.put(6), "next");
    }

    #[test]
    fn once_one_has_left_what_was_sent_before_is_late() {
        let mut bench = Bench::new(4);
        bench.reorder.reset(0x1_0000, bench.reorder.window());
        bench.reorder.open(ms(100), 6);
        assert_eq!([2, 4].map(|offset| bench.put(offset)), ["held", "gap"]);
        assert_eq!(bench.out(), []);
        assert_eq!(bench.put(1), "first", "half as many as may wait");
        assert_eq!(bench.out(), [Ok(1), Ok(2)]);
        assert_eq!(bench.put(0), "late");
    }

    #[test]
    fn what_was_sent_a_window_before_the_last_is_late() {
        let mut bench = Bench::new(4);
        bench.reorder.reset(0x1_0000 + 60, bench.reorder.window());
        bench.reorder.open(ms(100), 64);
        assert_eq!([62, 63, 0].map(|offset| bench.put(offset)), ["held", "held", "first"]);
        bench.reorder.reset(0x1_0000 + 60, bench.reorder.window());
        bench.reorder.open(ms(100), 64);
        assert_eq!([62, 64, 0].map(|offset| bench.put(offset)), ["held", "gap", "late"]);
    }

    #[test]
    fn a_hole_waits_for_packets_and_for_time() {
        let mut bench = Bench::new(4);
        bench.put(0);
        for offset in 2..6 {
            bench.put(offset);
        }
        bench.now = ms(99);
        bench.run();
        assert_eq!(bench.out(), [Ok(0)], "enough packets, too early");
        bench.now = ms(100);
        assert_eq!(bench.reorder.next_timeout(), ms(100));
        bench.run();
        assert_eq!(bench.out(), [Err(1), Ok(2), Ok(3), Ok(4), Ok(5)]);
    }

    #[test]
    fn a_slow_stream_waits_no_longer_than_the_most() {
        let mut bench = Bench::new(4);
        bench.put(0);
        bench.put(2);
        bench.now = ms(499);
        bench.run();
        assert_eq!(bench.out(), [Ok(0)]);
        assert_eq!(bench.reorder.next_timeout(), ms(500));
        bench.now = ms(500);
        bench.run();
        assert_eq!(bench.out(), [Err(1), Ok(2)]);
    }

    #[test]
    fn late_and_duplicate_are_told_apart() {
        let mut bench = Bench::new(0);
        bench.put(0);
        bench.put(2);
        assert_eq!(bench.put(2), "duplicate");
        bench.now = ms(500);
        bench.run();
        assert_eq!(bench.put(1), "late");
        assert_eq!(bench.put(0), "duplicate");
        assert_eq!(bench.put(2), "duplicate");
        assert_eq!(bench.out(), [Ok(0), Err(1), Ok(2)]);
    }

    #[test]
    fn the_second_hole_counts_from_its_own_finding() {
        let mut bench = Bench::new(0);
        bench.put(0);
        bench.put(2);
        bench.now = ms(60);
        bench.put(4);
        bench.now = ms(100);
        bench.run();
        assert_eq!(bench.out(), [Ok(0), Err(1), Ok(2)]);
        assert_eq!(bench.reorder.next_timeout(), ms(160));
        bench.now = ms(160);
        bench.run();
        assert_eq!(bench.out(), [Err(1), Ok(4)]);
    }

    #[test]
    fn a_packet_beyond_the_window_moves_it() {
        let mut bench = Bench::new(4);
        bench.put(0);
        bench.put(2);
        assert_eq!(bench.put(65), "gap");
        assert_eq!(bench.out(), [Ok(0), Err(1), Ok(2)]);
        assert_eq!(bench.put(2_500), "next");
        assert_eq!(bench.out(), [Err(62), Ok(65), Err(2_434), Ok(2_500)]);
        assert_eq!(bench.slab.free(), 100);
    }

    #[test]
    fn what_is_missing_is_listed() {
        let mut bench = Bench::new(10);
        bench.put(1);
        bench.put(4);
        let base = 0x1_0000 - 2;
        assert_eq!(bench.reorder.missing().collect::<Vec<_>>(), [base, base + 2, base + 3]);
    }

    #[test]
    fn nothing_leaves_while_stopped() {
        let mut bench = Bench::new(4);
        bench.reorder.stop(true);
        for offset in [0, 1, 3] {
            bench.put(offset);
        }
        bench.now = ms(10_000);
        bench.run();
        assert_eq!(bench.reorder.next_timeout(), Time::NEVER);
        assert_eq!((bench.out(), bench.reorder.waiting().count()), (vec![], 3));
        bench.reorder.stop(false);
        bench.run();
        assert_eq!(bench.out(), [Ok(0), Ok(1), Err(1), Ok(3)]);
    }

    #[test]
    fn a_reset_frees_what_waits() {
        let mut bench = Bench::new(4);
        bench.put(3);
        assert_eq!(bench.reorder.reset(9, Window::default()), 1);
        assert_eq!((bench.slab.free(), bench.reorder.held()), (100, 0));
    }

    #[test]
    fn random_orders_deliver_every_number_once() {
        let mut seed = 1u64;
        for _ in 0..200 {
            let mut bench = Bench::new(8);
            for step in 0..300u64 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                bench.now = ms(step * (seed >> 62));
                bench.put(step.saturating_sub(seed >> 40 & 15) + (seed >> 50 & 3));
            }
            while let Some(ready) = bench.reorder.drain() {
                bench.note(ready);
            }
            let mut next = 0;
            for out in bench.out() {
                match out {
                    Ok(at) => {
                        assert_eq!(u64::from(at), next);
                        next += 1;
                    }
                    Err(lost) => next += lost,
                }
            }
            assert_eq!(bench.slab.free(), 100);
        }
    }
}
