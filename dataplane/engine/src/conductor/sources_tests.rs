//! The life of a source under a virtual clock.

use srt::handshake::RejectReason;

use super::super::backoff::BackoffConfig;
use super::super::breaker::BreakerConfig;
use super::*;

const POLICY: SourcePolicy = SourcePolicy {
    backoff: BackoffConfig {
        first: Duration::from_millis(500),
        multiplier_percent: 200,
        cap: Duration::from_secs(4),
        tries_max: None,
    },
    breaker: BreakerConfig { threshold: 3, open: Duration::from_secs(60) },
};
/// The jitter that leaves a wait as it is.
const PLAIN: u32 = 20;
const TIMEOUT: Trouble = Trouble::Handshake(Failure::Timeout);
const REJECTED: Trouble = Trouble::Handshake(Failure::Rejected(RejectReason::BAD_SECRET));

fn at_ms(ms: u64) -> Time {
    Time::from_micros(1_000_000 + ms * 1_000)
}

fn source(policy: SourcePolicy) -> Source {
    Source::new(SourceConfig::example("cam"), policy, true, at_ms(0))
}

fn attempt() -> Attempt {
    Attempt {
        place: Place { worker: 0, session: 1, slots: 64 },
        socket_id: 77,
        socket: Some(SocketIndex::new(3)),
        peer: ([127, 0, 0, 1], 9).into(),
        slot: 0,
        kept_until: None,
    }
}

/// Tries it when it is due; when that was and how long the next wait is.
fn try_once(source: &mut Source, trouble: Trouble) -> (Time, Option<Duration>) {
    let at = source.next_try().expect("it waits");
    assert!(source.begin(at));
    source.calling(attempt());
    source.over(trouble, at, 0, PLAIN);
    (at, source.next_try().map(|next| next.since(at)))
}

#[test]
fn a_silent_peer_is_tried_for_ever_at_most_four_seconds_apart() {
    let mut source = source(POLICY);
    let mut longest = Duration::ZERO;
    for _ in 0..100 {
        let (_, wait) = try_once(&mut source, TIMEOUT);
        longest = longest.max(wait.expect("tries without end"));
    }
    assert_eq!(longest, Duration::from_secs(4));
    assert_eq!(source.breaker, Breaker::NEW, "silence opens no breaker");
    assert_eq!((source.attempts, source.failures.timeout), (100, 100));
}

#[test]
fn a_peer_that_says_no_three_times_is_left_alone_for_a_minute_and_then_probed() {
    let mut source = source(POLICY);
    for _ in 0..2 {
        try_once(&mut source, REJECTED);
    }
    let (at, wait) = try_once(&mut source, REJECTED);
    assert_eq!(wait, Some(Duration::from_secs(60)));
    assert!(!source.begin(at + Duration::from_secs(59)));
    let (_, wait) = try_once(&mut source, REJECTED);
    assert_eq!(wait, Some(Duration::from_secs(60)), "the probe was refused");
    let at = source.next_try().expect("it waits");
    assert!(source.begin(at));
    assert_eq!(source.breaker, Breaker::HalfOpen);
    source.calling(attempt());
    source.connected(at, 5);
    assert_eq!((source.breaker, source.state()), (Breaker::NEW, "connected"));
    assert_eq!(source.failures.rejected, 4);
    let last = source.last.expect("what it said is kept");
    assert_eq!((last.trouble.code(), last.trouble.label()), (Some(1_010), "rejected"));
}

#[test]
fn the_same_trouble_is_told_once_and_the_breaker_when_it_opens() {
    let mut source = source(POLICY);
    let mut told = Vec::new();
    for trouble in [TIMEOUT, TIMEOUT, REJECTED, REJECTED, REJECTED] {
        let at = source.next_try().expect("it waits");
        assert!(source.begin(at));
        source.calling(attempt());
        let News { fresh, opened } = source.over(trouble, at, 0, PLAIN);
        told.push((fresh, opened));
    }
    let quiet = (false, false);
    assert_eq!(told, [(true, false), quiet, (true, false), quiet, (false, true)]);
}

#[test]
fn a_probe_that_meets_silence_is_repeated_soon() {
    let mut source = source(POLICY);
    for _ in 0..3 {
        try_once(&mut source, REJECTED);
    }
    let (_, wait) = try_once(&mut source, TIMEOUT);
    assert_eq!(wait, Some(Duration::from_secs(4)));
    assert_eq!(source.breaker, Breaker::HalfOpen);
}

#[test]
fn a_connection_that_lasted_starts_the_waits_over_and_a_short_one_does_not() {
    let mut source = source(POLICY);
    for _ in 0..5 {
        try_once(&mut source, TIMEOUT);
    }
    for (lasted_s, wait_ms) in [(1, 4_000), (10, 500)] {
        let at = source.next_try().expect("it waits");
        assert!(source.begin(at));
        source.calling(attempt());
        source.connected(at, 5);
        let end = at + Duration::from_secs(lasted_s);
        source.over(Trouble::Ended(EndReason::Shutdown), end, 0, PLAIN);
        assert_eq!(source.next_try(), Some(end + Duration::from_millis(wait_ms)));
    }
    assert_eq!(source.connections, 2);
    assert_eq!(source.failures, Failures { timeout: 5, ..Failures::default() });
}

#[test]
fn used_up_tries_leave_it_idle_until_a_restart() {
    let backoff = BackoffConfig { tries_max: Some(2), ..POLICY.backoff };
    let mut source = source(SourcePolicy { backoff, ..POLICY });
    for _ in 0..2 {
        assert!(try_once(&mut source, TIMEOUT).1.is_some());
    }
    assert_eq!(try_once(&mut source, TIMEOUT).1, None);
    assert_eq!(source.state(), "idle");
    assert!(!source.begin(at_ms(1_000_000)));
    source.restart(at_ms(1_000_000));
    assert!(source.begin(at_ms(1_000_000)));
}

#[test]
fn a_restart_closes_the_breaker_and_tries_at_once_or_after_what_is_under_way() {
    let mut source = source(POLICY);
    for _ in 0..3 {
        try_once(&mut source, REJECTED);
    }
    source.restart(at_ms(5_000));
    assert_eq!((source.breaker, source.next_try()), (Breaker::NEW, Some(at_ms(5_000))));
    assert!(source.begin(at_ms(5_000)));
    source.calling(attempt());
    source.restart(at_ms(6_000));
    assert_eq!(source.next_try(), None);
    source.over(Trouble::Ended(EndReason::Stopped), at_ms(7_000), 0, PLAIN);
    assert_eq!((source.next_try(), source.wish), (Some(at_ms(7_000)), Wish::None));
}

#[test]
fn a_try_put_off_does_not_count() {
    let mut source = source(POLICY);
    assert!(source.begin(at_ms(0)));
    source.put_off(at_ms(100));
    assert_eq!((source.attempts, source.next_try()), (0, Some(at_ms(100))));
}

#[test]
fn sources_are_found_by_what_belongs_to_them_and_listed_in_order() {
    let mut sources = Sources::default();
    for id in ["b", "c", "a"] {
        let config = SourceConfig::example(id);
        sources.insert(Source::new(config, POLICY, false, at_ms(0)));
    }
    assert!(sources.owns("a") && !sources.owns("d"));
    let ids = |after| {
        let ids = sources.after(after).map(|source| source.config.id.as_str());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(None), ["a", "b", "c"]);
    assert_eq!(ids(Some("a")), ["b", "c"]);
    assert_eq!(sources.begin_due(at_ms(0)), ["a", "b", "c"]);
    sources.get_mut("b").expect("it is there").calling(attempt());
    assert_eq!(sources.by_socket_id(77).map(|source| source.config.id.clone()), Some("b".into()));
    assert!(sources.by_socket(0, SocketIndex::new(3)).is_some());
    assert!(sources.by_socket(1, SocketIndex::new(3)).is_none());
}
