//! A publisher's own clock: it runs a little faster or slower than ours.

use memory::Time;

#[derive(Debug, Clone, Copy)]
pub(crate) struct DriftingClock {
    from: Time,
    ppm: i32,
}

impl DriftingClock {
    /// Both clocks agree at `from`.
    pub(crate) const fn new(from: Time, ppm: i32) -> Self {
        Self { from, ppm }
    }

    /// What it shows when ours shows `now`.
    pub(crate) fn local(self, now: Time) -> Time {
        let passed = i128::from(now.nanos()) - i128::from(self.from.nanos());
        shifted(now, passed * i128::from(self.ppm) / 1_000_000)
    }

    /// The first time of ours at which it shows `local` or later.
    pub(crate) fn ours(self, local: Time) -> Time {
        if local == Time::NEVER {
            return Time::NEVER;
        }
        let passed = i128::from(local.nanos()) - i128::from(self.from.nanos());
        let mut now =
            shifted(local, -passed * i128::from(self.ppm) / (1_000_000 + i128::from(self.ppm)));
        while self.local(now) < local {
            now = Time::from_nanos(now.nanos() + 1);
        }
        now
    }
}

fn shifted(time: Time, by: i128) -> Time {
    let nanos = i128::from(time.nanos()) + by;
    Time::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[test]
fn a_deadline_on_a_drifting_clock_is_met_and_not_missed() {
    for ppm in [-500, -1, 0, 3, 500] {
        let clock = DriftingClock::new(Time::from_nanos(1_000_000_007), ppm);
        for local in [1_000_000_007, 1_234_567_891, 9_876_543_210_123] {
            let now = clock.ours(Time::from_nanos(local));
            assert!(clock.local(now).nanos() >= local);
            assert!(clock.local(now).nanos() - local <= 2, "{ppm} {local}");
        }
    }
}
