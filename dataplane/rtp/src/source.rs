//! One synchronisation source: is what comes a sequence (RFC 3550, A.1), how much of it is missing
//! (A.3), how unevenly does it come (A.8).
//!
//! ```text
//!                             a step of up to DROPOUT_MAX
//!  proven (see `probation`) ──▶ sequence ◀───────────────┐
//!                                 │ │ └──────────────────┘
//!                                 │ └─ back by up to MISORDER_MAX: late, perhaps twice
//!                                 └─ elsewhere: refused, unless the next one follows it: restart
//! ```
//!
//! Sequence numbers are extended to 64 bits here. After a restart they go on above all earlier ones,
//! so that what waits behind can be told apart.

use memory::Time;

/// A larger step forward is no gap (MAX_DROPOUT).
const DROPOUT_MAX: u16 = 3_000;
/// A larger step back is no late packet (MAX_MISORDER).
pub(crate) const MISORDER_MAX: u16 = 100;
/// First extended number: packets may come late from before the first.
const ORIGIN: u64 = 1 << 16;

/// What a sequence number is to its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs to the sequence: its extended number.
    Valid(u64),
    /// As `Valid`, and everything before it is another sequence: the sender started over.
    Restarted(u64),
    /// Far off; a restart if the next one follows it.
    Jump,
}

/// What a receiver report says of a source (RFC 3550, 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reception {
    /// 256ths of the packets lost since the last report.
    pub fraction_lost: u8,
    /// Packets lost in all, within 24 bits; negative when repeats outnumber losses.
    pub cumulative_lost: i32,
    /// Cycles and highest sequence number.
    pub extended_highest: u32,
    /// Interarrival jitter in ticks.
    pub jitter: u32,
}

/// How unevenly the packets of a source come (A.8).
#[derive(Debug, Clone, Copy, Default)]
pub struct Jitter {
    transit: Option<u32>,
    /// In 16ths of a tick.
    sixteenths: u32,
}

impl Jitter {
    /// A packet with timestamp `timestamp` came at `arrival`, both in ticks of `clock_hz`.
    pub fn arrived(&mut self, timestamp: u32, arrival: Time, clock_hz: u32) {
        const NANOS: u64 = 1_000_000_000;
        let (seconds, rest) = (arrival.nanos() / NANOS, arrival.nanos() % NANOS);
        let ticks =
            seconds.wrapping_mul(clock_hz.into()).wrapping_add(rest * u64::from(clock_hz) / NANOS);
        // Modulo 2^32 as the timestamp.
        let ticks = u32::try_from(ticks & u64::from(u32::MAX)).unwrap_or(0);
        let transit = ticks.wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let difference = transit.wrapping_sub(before).cast_signed().unsigned_abs();
            let decay = self.sixteenths.saturating_add(8) >> 4;
            self.sixteenths = self.sixteenths.saturating_add(difference).saturating_sub(decay);
        }
    }

    /// In ticks.
    pub const fn ticks(&self) -> u32 {
        self.sixteenths >> 4
    }
}

/// A synchronisation source.
#[derive(Debug, Clone, Copy, Default)]
pub struct Source {
    /// Extended number of the highest; the low 16 bits are those of the wire.
    highest: u64,
    /// Extended number of the first since the last restart, by their order.
    base: u64,
    jump_next: Option<u16>,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    jitter: Jitter,
}

impl Source {
    /// A source whose first packet is `sequence`. That, too, is for [`update`](Self::update).
    pub const fn new(sequence: u16) -> Self {
        Self {
            highest: ORIGIN + sequence as u64 - 1,
            base: ORIGIN + sequence as u64,
            jump_next: None,
            received: 0,
            expected_prior: 0,
            received_prior: 0,
            jitter: Jitter { transit: None, sixteenths: 0 },
        }
    }

    /// Highest extended sequence number.
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    /// Packets that came since the last restart.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// The packet `sequence` has come.
    pub fn update(&mut self, sequence: u16) -> Verdict {
        let step = sequence.wrapping_sub(self.wire());
        if step < DROPOUT_MAX {
            // In order, with a gap perhaps. A repeat of the highest is a step of 0.
            self.highest += u64::from(step);
        } else if step <= u16::MAX - MISORDER_MAX {
            return self.jump(sequence);
        }
        self.jump_next = None;
        self.received += 1;
        let number = self.extend(sequence);
        // It was sent before the first that came.
        self.base = self.base.min(number);
        Verdict::Valid(number)
    }

    /// The extended number of `sequence`: the one nearest to the highest.
    pub fn extend(&self, sequence: u16) -> u64 {
        let distance = sequence.wrapping_sub(self.wire()).cast_signed();
        self.highest.saturating_add_signed(i64::from(distance))
    }

    /// A packet with timestamp `timestamp` came at `arrival`, both in ticks of `clock_hz` (A.8).
    pub fn arrived(&mut self, timestamp: u32, arrival: Time, clock_hz: u32) {
        self.jitter.arrived(timestamp, arrival, clock_hz);
    }

    /// How unevenly its packets come.
    pub const fn jitter(&self) -> Jitter {
        self.jitter
    }

    /// So many packets have come in a row behind the highest, as unevenly as that.
    pub const fn went_on(&mut self, packets: u32, jitter: Jitter) {
        self.highest += packets as u64;
        self.received += packets as u64;
        self.jump_next = None;
        self.jitter = jitter;
    }

    /// Packets lost since the last restart; negative when repeats outnumber losses.
    pub const fn lost(&self) -> i64 {
        self.expected().cast_signed() - self.received.cast_signed()
    }

    /// What the next receiver report says; the interval begins anew (A.3).
    pub fn report(&mut self) -> Reception {
        let expected = self.expected();
        let expected_interval = expected.saturating_sub(self.expected_prior);
        let received_interval = self.received.saturating_sub(self.received_prior);
        self.expected_prior = expected;
        self.received_prior = self.received;
        let lost = expected_interval.saturating_sub(received_interval);
        let fraction = (lost << 8).checked_div(expected_interval).unwrap_or(0);
        let cumulative = self.lost().clamp(-0x80_0000, 0x7f_ffff);
        Reception {
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: i32::try_from(cumulative).unwrap_or(0),
            // Cycles count from the first packet on.
            extended_highest: u32::try_from(self.highest.wrapping_sub(ORIGIN) & 0xffff_ffff)
                .unwrap_or(0),
            jitter: self.jitter.ticks(),
        }
    }

    fn jump(&mut self, sequence: u16) -> Verdict {
        if self.jump_next != Some(sequence) {
            self.jump_next = Some(sequence.wrapping_add(1));
            return Verdict::Jump;
        }
        // Two in a row: the other side restarted without telling (A.1). Above all earlier numbers.
        let cycles = (self.highest | 0xffff) + 1;
        self.highest = cycles + u64::from(sequence);
        self.base = self.highest;
        self.received = 1;
        self.expected_prior = 0;
        self.received_prior = 0;
        self.jump_next = None;
        self.jitter.transit = None;
        Verdict::Restarted(self.highest)
    }

    const fn wire(&self) -> u16 {
        (self.highest & 0xffff) as u16
    }

    const fn expected(&self) -> u64 {
        (self.highest + 1).saturating_sub(self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proven_at(sequence: u16) -> Source {
        let mut source = Source::new(sequence);
        valid(&mut source, sequence);
        valid(&mut source, sequence.wrapping_add(1));
        source
    }

    fn valid(source: &mut Source, sequence: u16) -> u64 {
        match source.update(sequence) {
            Verdict::Valid(extended) => extended,
            other => panic!("{sequence} is {other:?}"),
        }
    }

    #[test]
    fn what_was_sent_before_the_first_that_came_is_of_the_sequence() {
        let mut source = proven_at(7);
        let at = source.highest();
        assert_eq!(valid(&mut source, 4), at - 4);
        assert_eq!(source.lost(), 2, "5 and 6");
    }

    #[test]
    fn numbers_go_on_over_the_wrap() {
        let mut source = proven_at(0xfffe);
        let before = source.highest();
        assert_eq!(valid(&mut source, 0), before + 1);
        assert_eq!(valid(&mut source, 0xfffc), before - 3, "late, from before the wrap");
        assert_eq!(valid(&mut source, 2), before + 3);
        assert_eq!(source.report().extended_highest, 0x1_0002);
    }

    #[test]
    fn a_step_of_less_than_3000_is_a_gap_and_a_larger_one_a_jump() {
        let mut source = proven_at(10);
        let at = source.highest();
        assert_eq!(valid(&mut source, 11 + 2_999), at + 2_999);
        assert_eq!(source.update(3_010 + 3_000), Verdict::Jump);
        assert_eq!(valid(&mut source, 3_011), at + 3_000, "the sequence goes on");
    }

    #[test]
    fn a_hundred_back_is_late_and_more_is_a_jump() {
        let mut source = proven_at(1_000);
        let at = source.highest();
        assert_eq!(valid(&mut source, 1_001 - 99), at - 99);
        assert_eq!(source.update(1_001 - 101), Verdict::Jump);
    }

    #[test]
    fn two_in_a_row_elsewhere_are_a_restart_above_all_before() {
        let mut source = proven_at(40_000);
        let before = source.highest();
        assert_eq!(source.update(9), Verdict::Jump);
        assert_eq!(source.update(9), Verdict::Jump, "not the next one");
        let Verdict::Restarted(at) = source.update(10) else { panic!() };
        assert!(at > before && at & 0xffff == 10);
        assert_eq!(source.lost(), 0);
        assert_eq!(valid(&mut source, 12), at + 2);
        assert_eq!(source.lost(), 1);
    }

    #[test]
    fn reports_count_losses_by_interval_and_in_all() {
        let mut source = proven_at(0);
        for sequence in [3, 4, 7] {
            valid(&mut source, sequence);
        }
        let report = source.report();
        // 0 1 . 3 4 . . 7: three of eight.
        assert_eq!((report.fraction_lost, report.cumulative_lost), (96, 3));
        for sequence in [7, 7, 7, 7] {
            valid(&mut source, sequence);
        }
        let report = source.report();
        assert_eq!((report.fraction_lost, report.cumulative_lost), (0, -1));
        assert_eq!(source.report().fraction_lost, 0, "an interval without packets");
    }

    #[test]
    fn jitter_is_a_sixteenth_of_each_difference() {
        let mut source = proven_at(0);
        let at = |ticks: u64| Time::from_nanos(ticks * 1_000_000_000 / 8_000 + 1);
        source.arrived(1_000, at(5_000), 8_000);
        assert_eq!(source.jitter().ticks(), 0);
        source.arrived(1_160, at(5_160), 8_000);
        assert_eq!(source.jitter().ticks(), 0, "an even pace");
        source.arrived(1_320, at(5_320 + 160), 8_000);
        assert_eq!(source.jitter().ticks(), 10);
        source.arrived(1_480, at(5_480 + 160), 8_000);
        assert_eq!(source.jitter().ticks(), 9, "decays by a sixteenth");
    }

    #[test]
    fn jitter_survives_the_wrap_of_timestamp_and_arrival() {
        let mut source = proven_at(0);
        for step in 0..50u32 {
            let timestamp = (u32::MAX - 70_000).wrapping_add(step * 3_000);
            let nanos = 47_721_858_844_444 + u64::from(step) * 33_333_333;
            source.arrived(timestamp, Time::from_nanos(nanos), 90_000);
        }
        assert!(source.jitter().ticks() <= 1, "{}", source.jitter().ticks());
    }
}
