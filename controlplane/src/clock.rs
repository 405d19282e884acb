//! Wall-clock and monotonic time as the REST API prints them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Nanoseconds since the Unix epoch.
pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// `CLOCK_MONOTONIC`, the clock of every time in shared memory that is not a label.
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000) + u64::try_from(now.tv_nsec).unwrap_or_default()
}

/// RFC 3339 with milliseconds, UTC; a time before 1970 or beyond year 9999 prints as 1970.
pub(crate) fn rfc3339(unix_ns: u64) -> String {
    let milliseconds = unix_ns / 1_000_000 * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds))
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| "1970-01-01T00:00:00Z".to_owned())
}

/// [`rfc3339`] of this moment.
pub(crate) fn rfc3339_now() -> String {
    rfc3339(unix_ns())
}

/// An uptime in words: `1 hour 2 minutes`, the two largest units that are not zero.
pub(crate) fn in_words(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    let units = [
        (seconds / 86_400, "day"),
        (seconds / 3_600 % 24, "hour"),
        (seconds / 60 % 60, "minute"),
        (seconds % 60, "second"),
    ];
    let words: Vec<String> = units
        .iter()
        .filter(|(count, _)| *count > 0)
        .take(2)
        .map(|(count, unit)| format!("{count} {unit}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    if words.is_empty() { "0 seconds".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert!(rfc3339(u64::MAX).starts_with("2554-"));
    }

    #[test]
    fn uptimes_read_as_the_two_largest_units() {
        let words = |seconds| in_words(Duration::from_secs(seconds));
        assert_eq!(words(0), "0 seconds");
        assert_eq!(words(1), "1 second");
        assert_eq!(words(3_720), "1 hour 2 minutes");
        assert_eq!(words(2 * 86_400 + 5), "2 days 5 seconds");
    }
}
