//! What is told to the control plane: events, kept for a while when nobody listens.

use std::collections::VecDeque;
use std::time::Duration;

use memory::Time;
use shm::ConductorBlock;
use shm::counters::ConductorCounter;
use shm::link::{Event, EventKind};

use super::Conductor;
use crate::clock;

/// Events kept until they are told; the oldest gives way.
const BACKLOG_MAX: usize = 1_024;
/// Refusals told in a second: callers can cause them at will, and must not drown the rest.
const REFUSALS_PER_SECOND: u32 = 100;

/// Events that wait to be told.
#[derive(Debug, Default)]
pub(super) struct Events {
    backlog: VecDeque<Event>,
    last: u64,
    second_ends: Time,
    refusals: u32,
}

impl Events {
    /// Numbers and dates an event and keeps it until it is told.
    fn add(&mut self, mut event: Event, now: Time, block: &mut ConductorBlock) {
        if event.kind == EventKind::Refused && !self.has_room_for_a_refusal(now) {
            return block.add(ConductorCounter::EventsSuppressed, 1);
        }
        self.last += 1;
        event.sequence = self.last;
        event.unix_ns = clock::unix_nanos();
        if self.backlog.len() >= BACKLOG_MAX {
            self.backlog.pop_front();
            block.add(ConductorCounter::EventsLost, 1);
        }
        self.backlog.push_back(event);
    }

    fn has_room_for_a_refusal(&mut self, now: Time) -> bool {
        if now >= self.second_ends {
            (self.second_ends, self.refusals) = (now + Duration::from_secs(1), 0);
        }
        self.refusals += 1;
        self.refusals <= REFUSALS_PER_SECOND
    }
}

impl Conductor {
    /// Tells of an event, at the end of the turn.
    pub(super) fn tell(&mut self, event: Event, now: Time) {
        self.events.add(event, now, &mut self.parts.block);
    }

    /// Tells what waits, as far as the attendant reads.
    pub(super) fn tell_waiting(&mut self) {
        while let Some(event) = self.events.backlog.front() {
            if !self.parts.link.tell(event) {
                return;
            }
            self.events.backlog.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use shm::{DirectoryConfig, DirectoryWriter};

    use super::*;

    fn block() -> (DirectoryWriter, ConductorBlock) {
        let (workers, stream_slots, memory_budget_bytes, software) = (1, 1, 0, "test");
        let config = DirectoryConfig { workers, stream_slots, memory_budget_bytes, software };
        let mut writer = DirectoryWriter::create(&config).expect("a directory");
        let block = writer.conductor();
        (writer, block)
    }

    #[test]
    fn what_nobody_hears_is_kept_up_to_a_bound_and_counted_beyond() {
        let (_writer, mut block) = block();
        let mut events = Events::default();
        for _ in 0..BACKLOG_MAX + 3 {
            events.add(Event::new(EventKind::Ended), Time::ZERO, &mut block);
        }
        assert_eq!(events.backlog.len(), BACKLOG_MAX);
        assert_eq!(block.value(ConductorCounter::EventsLost), 3);
        assert_eq!(events.backlog.front().map(|event| event.sequence), Some(4));
    }

    #[test]
    fn a_flood_of_refusals_leaves_room_for_the_rest() {
        let (_writer, mut block) = block();
        let mut events = Events::default();
        for ms in 0..2_000 {
            let now = Time::from_micros(ms * 1_000);
            events.add(Event::new(EventKind::Refused), now, &mut block);
        }
        events.add(Event::new(EventKind::Accepted), Time::ZERO, &mut block);
        assert_eq!(events.backlog.len(), 201);
        assert_eq!(block.value(ConductorCounter::EventsSuppressed), 1_800);
    }
}
