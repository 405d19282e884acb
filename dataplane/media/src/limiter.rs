//! Holds a stream's frames to a rate by leaving out whole frames: once a picture has to go, so do
//! all that may lean on it, up to the next key picture that fits. What is left decodes.

use std::time::Duration;

use memory::Time;

/// What the bucket holds when it is full: so long at the rate.
const BURST: Duration = Duration::from_secs(1);

/// A bucket that fills at a rate and pays for frames.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// Bytes a second; `None`: no limit.
    rate: Option<u64>,
    tokens: i64,
    filled: Time,
    /// A picture was left out: others wait for a key picture.
    broken: bool,
}

impl Limiter {
    pub(crate) const fn new() -> Self {
        Self { rate: None, tokens: 0, filled: Time::ZERO, broken: false }
    }

    /// Limits from now on to so many bytes a second, or no more. Pictures that wait for a key
    /// picture go on waiting.
    pub(crate) const fn set_rate(&mut self, rate: Option<u64>, now: Time) {
        if rate.is_none() || self.rate.is_none() {
            // It starts empty: who is limited has had too much.
            self.tokens = 0;
            self.filled = now;
        }
        self.rate = rate;
    }

    /// Whether a picture may stay. A second field shares the fate of its first.
    pub(crate) fn takes_picture(&mut self, now: Time, bytes: u64, key: bool, second: bool) -> bool {
        if second || self.broken && !key {
            self.spend(now, if self.broken { 0 } else { bytes });
            return !self.broken;
        }
        let fits = self.has_room(now, bytes);
        self.broken = !fits;
        if fits {
            self.spend(now, bytes);
        }
        fits
    }

    /// Whether a frame of sound may stay; beside pictures it always may, and is paid for.
    pub(crate) fn takes_sound(&mut self, now: Time, bytes: u64, beside_pictures: bool) -> bool {
        let fits = beside_pictures || self.has_room(now, bytes);
        if fits {
            self.spend(now, bytes);
        }
        fits
    }

    fn spend(&mut self, now: Time, bytes: u64) {
        self.fill(now);
        if self.rate.is_some() {
            self.tokens = self.tokens.saturating_sub_unsigned(bytes);
        }
    }

    /// A frame larger than the whole bucket passes when that is full.
    fn has_room(&mut self, now: Time, bytes: u64) -> bool {
        self.fill(now);
        let Some(rate) = self.rate else { return true };
        self.tokens >= i64::try_from(bytes.min(rate)).unwrap_or(i64::MAX)
    }

    fn fill(&mut self, now: Time) {
        let Some(rate) = self.rate else { return };
        let passed = now.since(self.filled).min(BURST);
        let more = u128::from(rate) * passed.as_micros() / 1_000_000;
        if more > 0 {
            self.filled = self.filled.max(now);
            let full = i64::try_from(rate).unwrap_or(i64::MAX);
            let more = i64::try_from(more).unwrap_or(i64::MAX);
            self.tokens = self.tokens.saturating_add(more).min(full);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_micros(1_000_000);

    fn ms(ms: u64) -> Time {
        START + Duration::from_millis(ms)
    }

    fn limited(rate: u64) -> Limiter {
        let mut limiter = Limiter::new();
        limiter.set_rate(Some(rate), START);
        limiter
    }

    #[test]
    fn without_a_rate_everything_stays() {
        let mut limiter = Limiter::new();
        assert!(limiter.takes_picture(ms(0), u64::MAX, false, false));
        assert!(limiter.takes_sound(ms(0), u64::MAX, false));
    }

    #[test]
    fn a_picture_that_does_not_fit_takes_those_behind_it_along_up_to_a_key_picture() {
        let mut limiter = limited(1_000);
        assert!(limiter.takes_picture(ms(500), 400, true, false));
        assert!(!limiter.takes_picture(ms(500), 200, false, false));
        assert!(!limiter.takes_picture(ms(900), 10, false, false), "it may lean on the last one");
        assert!(limiter.takes_picture(ms(1_000), 500, true, false));
        assert!(limiter.takes_picture(ms(1_100), 100, false, false));
    }

    #[test]
    fn fields_stay_and_go_together() {
        let mut limiter = limited(1_000);
        assert!(limiter.takes_picture(ms(100), 100, true, false));
        assert!(limiter.takes_picture(ms(100), 100, false, true), "its first field has stayed");
        assert!(!limiter.takes_picture(ms(150), 200, true, false));
        assert!(!limiter.takes_picture(ms(900), 1, false, true));
    }

    #[test]
    fn over_time_no_more_than_the_rate_stays() {
        let mut limiter = limited(100_000);
        let mut kept = 0;
        // 200,000 bytes a second in groups of 25 pictures, for 20 s.
        for picture in 0..500 {
            if limiter.takes_picture(ms(picture * 40), 8_000, picture % 25 == 0, false) {
                kept += 8_000;
            }
        }
        assert!((1_200_000..=2_000_000).contains(&kept), "{kept}");
    }

    #[test]
    fn a_picture_larger_than_the_bucket_passes_when_that_is_full() {
        let mut limiter = limited(1_000);
        assert!(!limiter.takes_picture(ms(900), 5_000, true, false));
        assert!(limiter.takes_picture(ms(1_000), 5_000, true, false));
        assert!(!limiter.takes_picture(ms(4_900), 1_000, true, false), "it is paid off first");
    }

    #[test]
    fn sound_beside_pictures_stays_and_is_paid_for() {
        let mut limiter = limited(1_000);
        assert!(limiter.takes_sound(ms(100), 500, true));
        assert!(!limiter.takes_picture(ms(200), 100, true, false));
        let mut alone = limited(1_000);
        assert!(!alone.takes_sound(ms(100), 500, false));
        assert!(alone.takes_sound(ms(500), 500, false));
    }

    #[test]
    fn a_lifted_limit_waits_for_a_key_picture_where_one_was_left_out() {
        let mut limiter = limited(1_000);
        assert!(!limiter.takes_picture(ms(10), 500, true, false));
        limiter.set_rate(None, ms(20));
        assert!(!limiter.takes_picture(ms(30), 1, false, false));
        assert!(limiter.takes_picture(ms(40), u64::MAX, true, false));
        assert!(limiter.takes_picture(ms(50), u64::MAX, false, false));
    }
}
