//! What happened in the dataplane, as far back as it is kept, and the news of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shm::link::{Event, EventKind};
use tokio::sync::watch;

use crate::clock;

/// Events kept; the oldest gives way.
const KEPT_MAX: usize = 4_096;

/// One event that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// Where to go on from: it only grows, over restarts of either process too.
    pub(crate) cursor: u64,
    /// The event as it was told.
    pub(crate) event: Arc<Event>,
}

/// The events of all followers and requests.
#[derive(Debug)]
pub(crate) struct Events {
    kept: Mutex<Log>,
    /// The newest cursor, or the end of the process.
    news: watch::Sender<News>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Newest(u64),
    Closed,
}

#[derive(Debug)]
struct Log {
    events: VecDeque<Kept>,
    newest: u64,
    by_kind: Vec<u64>,
    /// The dataplane's number of the last event; 0 when none is known.
    sequence: u64,
    missed: u64,
    attending: bool,
}

/// What the metrics show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Events heard, in the order of [`EventKind::ALL`].
    pub(crate) by_kind: Vec<u64>,
    /// Events that the dataplane numbered and nobody heard.
    pub(crate) missed: u64,
    /// Whether the dataplane is attended.
    pub(crate) attending: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

impl Events {
    pub(crate) fn new() -> Self {
        // Events per microsecond are not to be expected, so a successor begins above its
        // predecessor.
        let newest = clock::unix_ns() / 1_000;
        let log = Log {
            events: VecDeque::new(),
            newest,
            by_kind: vec![0; EventKind::ALL.len()],
            sequence: 0,
            missed: 0,
            attending: false,
        };
        Self { kept: Mutex::new(log), news: watch::Sender::new(News::Newest(newest)) }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A dataplane is attended from now on, or no longer. Its count may begin anew.
    pub(crate) fn set_attending(&self, attending: bool) {
        let mut log = self.log();
        (log.attending, log.sequence) = (attending, 0);
    }

    /// Keeps an event and tells everybody who follows.
    pub(crate) fn add(&self, event: Event) {
        let newest = {
            let mut log = self.log();
            if log.sequence > 0 {
                log.missed += event.sequence.saturating_sub(log.sequence + 1);
            }
            log.sequence = event.sequence;
            let place = EventKind::ALL.iter().position(|kind| *kind == event.kind);
            if let Some(count) = place.and_then(|place| log.by_kind.get_mut(place)) {
                *count += 1;
            }
            log.newest += 1;
            let cursor = log.newest;
            if log.events.len() >= KEPT_MAX {
                log.events.pop_front();
            }
            log.events.push_back(Kept { cursor, event: Arc::new(event) });
            cursor
        };
        self.news.send_if_modified(|news| match news {
            News::Newest(known) => std::mem::replace(known, newest) != newest,
            News::Closed => false,
        });
    }

    /// At most `limit` events behind a cursor, the oldest first, that pass the test, and where to
    /// go on.
    pub(crate) fn after(
        &self,
        cursor: u64,
        limit: usize,
        test: impl Fn(&Event) -> bool,
    ) -> (Vec<Kept>, u64) {
        let log = self.log();
        let from = log.events.partition_point(|kept| kept.cursor <= cursor);
        let passing = log.events.range(from..).filter(|kept| test(&kept.event));
        let events: Vec<Kept> = passing.take(limit).cloned().collect();
        let full = events.len() == limit;
        let next = events
            .last()
            .filter(|_| full)
            .map_or_else(|| log.newest.max(cursor), |kept| kept.cursor);
        (events, next)
    }

    /// The cursor behind which the last `count` events stand.
    pub(crate) fn cursor_of_last(&self, count: usize, test: impl Fn(&Event) -> bool) -> u64 {
        let log = self.log();
        let passing = log.events.iter().rev().filter(|kept| test(&kept.event));
        let first = passing.take(count).last();
        first.map_or(log.newest, |kept| kept.cursor - 1)
    }

    /// The newest cursor.
    pub(crate) fn newest(&self) -> u64 {
        self.log().newest
    }

    pub(crate) fn totals(&self) -> Totals {
        let log = self.log();
        let by_kind = log.by_kind.clone();
        Totals { by_kind, missed: log.missed, attending: log.attending }
    }

    /// For waiting.
    pub(crate) fn news(&self) -> Waiter {
        Waiter(self.news.subscribe())
    }

    /// Ends every follower.
    pub(crate) fn close(&self) {
        self.news.send_replace(News::Closed);
    }
}

/// Waits for what is new.
#[derive(Debug)]
pub(crate) struct Waiter(watch::Receiver<News>);

impl Waiter {
    /// Returns once something is newer than the cursor; false at the end of the process.
    pub(crate) async fn wait(&mut self, cursor: u64) -> bool {
        let newer = |news: &News| match news {
            News::Newest(newest) => *newest > cursor,
            News::Closed => true,
        };
        self.0.wait_for(newer).await.is_ok_and(|news| *news != News::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sequence: u64, kind: EventKind) -> Event {
        Event { sequence, ..Event::new(kind) }
    }

    fn all(_: &Event) -> bool {
        true
    }

    #[test]
    fn events_are_paged_by_cursor() {
        let events = Events::new();
        let start = events.newest();
        (1..=5).for_each(|sequence| events.add(event(sequence, EventKind::Accepted)));
        let (page, next) = events.after(start, 2, all);
        assert_eq!(page.iter().map(|kept| kept.event.sequence).collect::<Vec<_>>(), [1, 2]);
        let (page, next) = events.after(next, 10, all);
        assert_eq!(page.iter().map(|kept| kept.event.sequence).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(events.after(next, 10, all).0.len(), 0);
        assert_eq!(events.cursor_of_last(2, all), start + 3);
    }

    #[test]
    fn a_filter_does_not_hold_the_cursor_back() {
        let events = Events::new();
        let start = events.newest();
        events.add(event(1, EventKind::Refused));
        events.add(event(2, EventKind::Ended));
        let ended = |event: &Event| event.kind == EventKind::Ended;
        let (page, next) = events.after(start, 10, ended);
        assert_eq!((page.len(), next), (1, events.newest()));
        let (page, _) = events.after(start, 1, ended);
        assert_eq!(page[0].event.sequence, 2);
    }

    #[test]
    fn the_oldest_gives_way_and_kinds_are_counted() {
        let events = Events::new();
        let start = events.newest();
        let count = KEPT_MAX as u64 + 3;
        (1..=count).for_each(|sequence| events.add(event(sequence, EventKind::Accepted)));
        let (page, _) = events.after(start, usize::MAX, all);
        assert_eq!((page.len(), page[0].event.sequence), (KEPT_MAX, 4));
        assert_eq!(events.totals().by_kind[0], count);
    }

    #[test]
    fn gaps_in_the_dataplanes_count_are_missed_events() {
        let events = Events::new();
        events.set_attending(true);
        events.add(event(7, EventKind::Accepted));
        events.add(event(10, EventKind::Accepted));
        assert_eq!(events.totals().missed, 2);
        events.set_attending(false);
        events.add(event(1, EventKind::Accepted));
        assert_eq!(events.totals().missed, 2, "another dataplane counts anew");
    }

    #[tokio::test]
    async fn followers_wake_for_news_and_end_with_the_process() {
        let events = Events::new();
        let mut waiter = events.news();
        let start = events.newest();
        events.add(event(1, EventKind::Accepted));
        assert!(waiter.wait(start).await);
        events.close();
        assert!(!waiter.wait(start).await);
    }
}
