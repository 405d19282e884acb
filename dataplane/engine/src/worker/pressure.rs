//! Backpressure on the wire: what is done when memory is short.
//!
//! A receiver has one thing to say to an SRT sender, the free buffer in its acknowledgements. A
//! smaller one makes the sender hold back; what it holds back for too long (a second, or its latency
//! if that is more) it drops. So this *sheds load*: it does not slow an encoder, which goes on
//! feeding its sender. It is for the hour in which memory is short, not for rate control.
//!
//! *Pressure* is how short memory is, in thousandths, by whatever is nearest its limit: the worker's
//! free slots, the stream's share of them, its frames that wait for their delivery time. Nothing is
//! done below `medium_watermark`; from there a quarter of the stream's load is shed, from
//! `high_watermark` half of it, from `critical_watermark` all that can be. It acts at once, and lets
//! go once the pressure has been below `low_watermark` for `response_window`; then the sender hears of
//! its whole window at once.
//!
//! A sender must be able to hear of that. libsrt's passes over acknowledgements from before what it
//! has dropped, and the window in them, and while it holds back it drops at the pace at which it is
//! fed: an acknowledgement that takes a round trip to come must cover what was dropped in that time.
//! A libsrt sender of 8 Mbit/s at 20 ms that was told 2 never sent more than 2 again. So the window
//! is never less than the packets of a round trip at the stream's highest pace so far, and two in any
//! case. What is shed by it is what could be sent while an acknowledgement is put off: nearly all on
//! a short path, about a fifth at 20 ms, next to nothing from 100 ms on. There the slots that a stream may hold
//! are its only bound: what is above that is dropped here and counted.
//!
//! A worker's slots are shared. When they are short, the streams of the lowest priority among the
//! worker's feel it as it is, and for each priority that lies below its own a stream feels one
//! watermark less: the first to be thinned are the least important, and a stream above three others
//! is not thinned for the worker's sake at all. What a stream has made short itself, its share and
//! its frames that wait, it feels whatever its priority.
//!
//! An operator's value takes the place of the measured one until it is reset, and acts and lets go
//! at once.
//!
//! Cost: one division a duty cycle for the worker; a handful of compares each 10 ms for a stream
//! that has traffic; nothing for the others, which hear of it when they are next looked at.

use std::time::Duration;

use memory::Time;

use crate::config::BackpressureConfig;

/// The largest pressure.
pub(crate) const PRESSURE_MAX: u16 = 1_000;
/// Full acknowledgements, each of which lets a window's worth of packets go, are so far apart on a
/// path without delay.
const ACK_INTERVAL_US: u64 = 10_000;
/// Span that a stream's pace is measured over.
const PACE_SPAN: Duration = Duration::from_secs(1);

/// `used / whole` in thousandths.
pub(crate) fn permille(used: u64, whole: u64) -> u16 {
    let permille = used.saturating_mul(PRESSURE_MAX.into()) / whole.max(1);
    u16::try_from(permille).unwrap_or(PRESSURE_MAX).min(PRESSURE_MAX)
}

/// How much of a stream's load is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Level {
    #[default]
    Free,
    ThreeQuarters,
    Half,
    Least,
}

impl Level {
    fn of(pressure: u16, config: &BackpressureConfig) -> Self {
        match pressure {
            p if p >= config.critical_permille => Self::Least,
            p if p >= config.high_permille => Self::Half,
            p if p >= config.medium_permille => Self::ThreeQuarters,
            _ => Self::Free,
        }
    }

    /// The window that lets so much through of what would be in flight.
    const fn window(self, in_flight: u64) -> u64 {
        match self {
            Self::Free => u64::MAX,
            Self::ThreeQuarters => in_flight * 3 / 4,
            Self::Half => in_flight / 2,
            Self::Least => 0,
        }
    }
}

/// What a stream's connection is like at this moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    /// The measured pressure.
    pub(crate) pressure: u16,
    pub(crate) packets_received: u64,
    pub(crate) rtt_us: u64,
    /// Packets that may be in flight when nothing is short.
    pub(crate) window_packets: u32,
}

/// The backpressure of one stream.
#[derive(Debug)]
pub(crate) struct Throttle {
    config: BackpressureConfig,
    /// An operator's value.
    set: Option<u16>,
    /// It was reset since the last look: nothing is waited for.
    reset: bool,
    measured: u16,
    level: Level,
    /// Since when the measured pressure is below the low watermark.
    low_since: Option<Time>,
    limit: Option<u32>,
    pace_from: (Time, u64),
    /// Packets a second while nothing was limited, last and at most.
    pace_pps: u64,
    pace_max_pps: u64,
    /// It was let go since the pace was last looked at: what comes is what was held back.
    catching_up: bool,
    changes: u64,
    changed: Time,
}

impl Throttle {
    pub(crate) const fn new(config: BackpressureConfig) -> Self {
        Self {
            config,
            set: None,
            reset: false,
            measured: 0,
            level: Level::Free,
            low_since: None,
            limit: None,
            pace_from: (Time::ZERO, 0),
            pace_pps: 0,
            pace_max_pps: 0,
            catching_up: false,
            changes: 0,
            changed: Time::ZERO,
        }
    }

    /// A session begins, with the value that an operator set for its stream.
    pub(crate) const fn open(&mut self, set: Option<u16>, now: Time) {
        *self = Self { set, pace_from: (now, 0), ..Self::new(self.config) };
    }

    /// Sets or resets the operator's value; it acts with the next [`Self::update`].
    pub(crate) const fn set(&mut self, pressure: Option<u16>) {
        self.reset = self.set.is_some() && pressure.is_none();
        self.set = pressure;
    }

    /// What a stream with so many lower priorities beside it feels of its worker's pressure.
    pub(crate) fn felt(&self, pressure: u16, rank: u8) -> u16 {
        let BackpressureConfig { medium_permille, high_permille, critical_permille, .. } =
            self.config;
        let marks = [medium_permille, high_permille, critical_permille];
        let passed = marks.iter().filter(|mark| pressure >= **mark).count();
        if rank == 0 || passed == 0 {
            return pressure;
        }
        let felt = passed.checked_sub(usize::from(rank) + 1).and_then(|mark| marks.get(mark));
        felt.copied().unwrap_or_else(|| pressure.min(medium_permille.saturating_sub(1)))
    }

    /// What it is measured by has changed: the next [`Self::update`] waits for nothing.
    pub(crate) const fn judge_anew(&mut self) {
        self.reset = true;
    }

    /// The window to advertise at most, when that has changed; `u32::MAX` is no limit.
    pub(crate) fn update(&mut self, now: Time, flow: &Flow) -> Option<u32> {
        self.measured = flow.pressure;
        self.follow_pace(now, flow.packets_received);
        let level = self.wanted(now);
        let least = u32::try_from(self.round_trip(flow)).unwrap_or(u32::MAX);
        if level != self.level {
            self.catching_up |= level == Level::Free;
            self.level = level;
            let window = u32::try_from(level.window(self.in_flight(flow))).unwrap_or(u32::MAX);
            self.limit = (level != Level::Free).then(|| window.max(least));
        } else if self.limit.is_some_and(|limit| limit < least) {
            // The path has become longer.
            self.limit = Some(least);
        } else {
            return None;
        }
        self.changes += 1;
        self.changed = now;
        Some(self.limit.unwrap_or(u32::MAX))
    }

    /// Packets in flight at the stream's pace; all that may be while the pace is not known.
    fn in_flight(&self, flow: &Flow) -> u64 {
        let most = u64::from(flow.window_packets);
        if self.pace_pps == 0 {
            return most;
        }
        let cycle_us = flow.rtt_us + ACK_INTERVAL_US;
        self.pace_pps.saturating_mul(cycle_us).div_ceil(1_000_000).min(most)
    }

    /// Packets of a round trip at the highest pace so far, and an eighth more: a sender that may have
    /// fewer in flight never hears that it may have more. Half of all while no pace is known.
    fn round_trip(&self, flow: &Flow) -> u64 {
        let most = u64::from(flow.window_packets);
        if self.pace_max_pps == 0 {
            return (most / 2).max(2);
        }
        let rtt_us = flow.rtt_us.saturating_mul(9) / 8;
        self.pace_max_pps.saturating_mul(rtt_us).div_ceil(1_000_000).min(most).max(2)
    }

    fn wanted(&mut self, now: Time) -> Level {
        let reset = std::mem::replace(&mut self.reset, false);
        if let Some(set) = self.set {
            self.low_since = None;
            return Level::of(set, &self.config);
        }
        if !self.config.enabled {
            return Level::Free;
        }
        let level = Level::of(self.measured, &self.config);
        if level >= self.level || reset {
            self.low_since = None;
            return level;
        }
        if self.measured >= self.config.low_permille {
            self.low_since = None;
            return self.level;
        }
        let since = *self.low_since.get_or_insert(now);
        let over = now.since(since) >= self.config.response_window;
        if over { Level::Free } else { self.level }
    }

    /// Measures how fast packets come while the sender is free to send.
    fn follow_pace(&mut self, now: Time, packets: u64) {
        let (from, before) = self.pace_from;
        let span = now.since(from);
        if span < PACE_SPAN {
            return;
        }
        self.pace_from = (now, packets);
        if self.level == Level::Free && !std::mem::take(&mut self.catching_up) {
            let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
            self.pace_pps = packets.saturating_sub(before).saturating_mul(1_000) / millis;
            self.pace_max_pps = self.pace_max_pps.max(self.pace_pps);
        }
    }

    /// The pressure that is acted on.
    pub(crate) fn pressure(&self) -> u16 {
        self.set.unwrap_or(self.measured)
    }

    pub(crate) const fn measured(&self) -> u16 {
        self.measured
    }

    pub(crate) const fn is_set(&self) -> bool {
        self.set.is_some()
    }

    pub(crate) const fn limit(&self) -> Option<u32> {
        self.limit
    }

    /// How often the limit changed in this session, and when last.
    pub(crate) const fn changes(&self) -> (u64, Time) {
        (self.changes, self.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: BackpressureConfig = BackpressureConfig {
        enabled: true,
        low_permille: 600,
        medium_permille: 700,
        high_permille: 800,
        critical_permille: 900,
        response_window: Duration::from_millis(500),
    };
    const START: Time = Time::from_micros(1_000_000);

    fn ms(ms: u64) -> Time {
        START + Duration::from_millis(ms)
    }

    /// A stream of 1,000 packets a second on a short path: 10 or 11 in flight.
    struct Stream {
        throttle: Throttle,
        rtt_us: u64,
        now: u64,
    }

    impl Stream {
        fn new(config: BackpressureConfig) -> Self {
            let mut throttle = Throttle::new(config);
            throttle.open(None, START);
            let mut stream = Self { throttle, rtt_us: 400, now: 0 };
            assert_eq!(stream.run(1_000, 0), [0_u32; 0]);
            stream
        }

        fn at(&mut self, pressure: u16) -> Option<u32> {
            let flow = Flow {
                pressure,
                packets_received: self.now,
                rtt_us: self.rtt_us,
                window_packets: 1_000,
            };
            self.throttle.update(ms(self.now), &flow)
        }

        /// What changed within the next `span` ms.
        fn run(&mut self, span: u64, pressure: u16) -> Vec<u32> {
            let until = self.now + span;
            let mut changes = Vec::new();
            while self.now < until {
                self.now += 10;
                changes.extend(self.at(pressure));
            }
            changes
        }
    }

    #[test]
    fn each_watermark_sheds_more_and_the_last_leaves_two_packets() {
        let mut stream = Stream::new(CONFIG);
        for (pressure, change) in
            [(699, None), (700, Some(8)), (799, None), (800, Some(5)), (900, Some(2))]
        {
            assert_eq!(stream.at(pressure), change, "at {pressure}");
        }
        assert_eq!((stream.throttle.pressure(), stream.throttle.limit()), (900, Some(2)));
    }

    #[test]
    fn a_window_is_never_less_than_a_round_trip_at_the_highest_pace() {
        let mut stream = Stream::new(CONFIG);
        stream.rtt_us = 20_000;
        // 1,000 a second for 20 ms, and an eighth more.
        for pressure in [700, 800, 900] {
            assert!(stream.at(pressure).is_none_or(|window| window == 23), "at {pressure}");
            assert_eq!(stream.throttle.limit(), Some(23));
        }
        stream.rtt_us = 40_000;
        assert_eq!(stream.at(900), Some(45), "the path has become longer");
        stream.rtt_us = 20_000;
        assert_eq!(stream.at(900), None);
    }

    #[test]
    fn what_was_held_back_is_no_pace() {
        let mut stream = Stream::new(CONFIG);
        stream.throttle.set(Some(1_000));
        assert_eq!(stream.at(0), Some(2));
        stream.throttle.set(None);
        assert_eq!(stream.at(0), Some(u32::MAX));
        let mut update = |now: u64, packets_received| {
            let flow =
                Flow { pressure: 0, packets_received, rtt_us: 20_000, window_packets: 1_000 };
            stream.throttle.update(ms(now), &flow)
        };
        // The second after it was let go brings five thousand, those after it a thousand each.
        assert_eq!([update(2_010, 6_000), update(3_020, 7_010), update(4_030, 8_020)], [None; 3]);
        stream.throttle.set(Some(1_000));
        let flow =
            Flow { pressure: 0, packets_received: 8_020, rtt_us: 20_000, window_packets: 1_000 };
        assert_eq!(stream.throttle.update(ms(4_040), &flow), Some(23));
    }

    #[test]
    fn it_lets_go_after_the_response_window_below_the_low_watermark() {
        let mut stream = Stream::new(CONFIG);
        assert_eq!(stream.at(950), Some(2));
        assert_eq!(stream.run(5_000, 600), [0_u32; 0], "not yet below the low watermark");
        assert_eq!(stream.run(400, 599), [0_u32; 0]);
        assert_eq!(stream.run(10, 650), [0_u32; 0], "the wait begins anew");
        assert_eq!(stream.run(500, 0), [0_u32; 0]);
        assert_eq!(stream.run(10, 0), [u32::MAX]);
        assert_eq!(stream.throttle.changes().0, 2);
    }

    #[test]
    fn an_operators_value_acts_and_lets_go_at_once_and_stays_until_reset() {
        let mut stream = Stream::new(CONFIG);
        stream.throttle.set(Some(1_000));
        assert_eq!(stream.at(0), Some(2));
        assert_eq!(stream.run(60_000, 0), [0_u32; 0], "it stays");
        assert_eq!(stream.throttle.pressure(), 1_000);
        stream.throttle.set(Some(0));
        assert_eq!(stream.at(990), Some(u32::MAX), "it takes the place of what is measured");
        stream.throttle.set(None);
        assert_eq!(stream.at(990), Some(2));
    }

    #[test]
    fn a_reset_goes_by_the_measured_pressure_at_once() {
        let mut stream = Stream::new(CONFIG);
        for (measured, change) in [(0, Some(u32::MAX)), (850, Some(5))] {
            stream.throttle.set(Some(1_000));
            assert_eq!(stream.at(0), Some(2));
            stream.throttle.set(None);
            assert_eq!(stream.at(measured), change);
        }
    }

    #[test]
    fn each_lower_priority_beside_it_spares_a_stream_one_watermark() {
        let throttle = Throttle::new(CONFIG);
        for (pressure, felt) in [
            (699, [699, 699, 699, 699]),
            (700, [700, 699, 699, 699]),
            (850, [850, 700, 699, 699]),
            (1_000, [1_000, 800, 700, 699]),
        ] {
            assert_eq!([0, 1, 2, 3].map(|rank| throttle.felt(pressure, rank)), felt, "{pressure}");
        }
        assert_eq!(throttle.felt(1_000, 255), 699);
    }

    #[test]
    fn what_is_judged_anew_lets_go_at_once() {
        let mut stream = Stream::new(CONFIG);
        assert_eq!(stream.at(950), Some(2));
        stream.throttle.judge_anew();
        assert_eq!(stream.at(699), Some(u32::MAX), "without it, not before it is below the lowest");
    }

    #[test]
    fn the_pace_is_that_of_the_time_before() {
        let mut stream = Stream::new(CONFIG);
        assert_eq!(stream.at(900), Some(2));
        // Ten seconds in which hardly anything came through.
        for now in (0..10_000).step_by(10) {
            let flow =
                Flow { pressure: 900, packets_received: 1_001, rtt_us: 400, window_packets: 1_000 };
            assert_eq!(stream.throttle.update(ms(1_000 + now), &flow), None);
        }
        stream.throttle.set(Some(700));
        let flow =
            Flow { pressure: 900, packets_received: 1_001, rtt_us: 400, window_packets: 1_000 };
        assert_eq!(stream.throttle.update(ms(11_000), &flow), Some(8));
    }

    #[test]
    fn a_stream_of_unknown_pace_is_judged_by_all_that_it_may_send() {
        let mut throttle = Throttle::new(CONFIG);
        throttle.open(Some(700), START);
        let flow = Flow { pressure: 0, packets_received: 3, rtt_us: 30_000, window_packets: 1_000 };
        assert_eq!(throttle.update(ms(10), &flow), Some(750));
        throttle.set(Some(1_000));
        assert_eq!(throttle.update(ms(20), &flow), Some(500), "it may be anything but none");
    }

    #[test]
    fn switched_off_it_measures_and_obeys_an_operator_only() {
        let mut stream = Stream::new(BackpressureConfig { enabled: false, ..CONFIG });
        assert_eq!(stream.run(1_000, 1_000), [0_u32; 0]);
        assert_eq!(stream.throttle.measured(), 1_000);
        stream.throttle.set(Some(1_000));
        assert_eq!(stream.at(0), Some(2));
        stream.throttle.set(None);
        assert_eq!(stream.at(0), Some(u32::MAX));
    }

    #[test]
    fn a_share_of_nothing_and_more_than_all_are_bounded() {
        assert_eq!(permille(0, 0), 0);
        assert_eq!(permille(5, 0), 1_000);
        assert_eq!(permille(1, 4), 250);
        assert_eq!(permille(u64::MAX, 2), 1_000);
    }
}
