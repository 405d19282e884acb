//! What the control plane adds up itself, because it must outlive a stream's slot: totals over
//! all streams and how long connections lasted. It counts from the control plane's own start.

use std::collections::HashMap;

use shm::StreamSnapshot;
use shm::counters::StreamCounter;

use super::{frames_dropped, is_live};

/// Upper bounds of the connection-duration histogram in seconds: 2^n.
pub const DURATION_BOUNDS_S: [u64; 15] =
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384];

/// Totals over all streams, those of former ones included.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// Frames published.
    pub frames_assembled: u64,
    /// Frames dropped.
    pub frames_dropped: u64,
    /// Connections that ended, by duration: the last one counts what is above every bound.
    pub durations: [u64; DURATION_BOUNDS_S.len() + 1],
    /// Sum of their durations in seconds.
    pub durations_sum_s: f64,
    /// By slot, what was counted of the stream in it.
    seen: HashMap<u32, Seen>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Seen {
    created_unix_ns: u64,
    assembled: u64,
    dropped: u64,
    live: bool,
}

impl History {
    /// Adds what the streams did since the last reading.
    pub(super) fn follow(&mut self, streams: &[StreamSnapshot]) {
        let former = std::mem::take(&mut self.seen);
        for stream in streams {
            let created_unix_ns = stream.info.created_unix_ns;
            let before = former
                .get(&stream.slot)
                .filter(|seen| seen.created_unix_ns == created_unix_ns)
                .copied();
            let now = Seen {
                created_unix_ns,
                assembled: stream.counter(StreamCounter::FramesPublished),
                dropped: frames_dropped(stream),
                live: is_live(stream),
            };
            let counted = before.map_or((0, 0), |seen| (seen.assembled, seen.dropped));
            self.frames_assembled += now.assembled.saturating_sub(counted.0);
            self.frames_dropped += now.dropped.saturating_sub(counted.1);
            if before.is_some_and(|seen| seen.live) && !now.live {
                self.end(stream);
            }
            self.seen.insert(stream.slot, now);
        }
    }

    /// Another dataplane: its slots have nothing to do with the former ones.
    pub(super) fn restart(&mut self) {
        self.seen.clear();
    }

    fn end(&mut self, stream: &StreamSnapshot) {
        let nanoseconds = stream.info.ended_unix_ns.saturating_sub(stream.info.connected_unix_ns);
        let seconds = std::time::Duration::from_nanos(nanoseconds).as_secs_f64();
        let whole = nanoseconds.div_ceil(1_000_000_000);
        let place = DURATION_BOUNDS_S.partition_point(|bound| *bound < whole);
        self.durations[place] += 1;
        self.durations_sum_s += seconds;
    }
}
