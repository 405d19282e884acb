//! How large a ring is.

use crate::Error;
use crate::sends;

/// The sizes of one worker's ring. All memory is taken in [`Ring::new`](crate::Ring::new).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingConfig {
    /// Buffer ids, each with a slot of the slab behind it: at least twice the burst of the whole
    /// worker. Rounded up to a power of two, at most 32,768.
    pub buffer_entries: u16,
    /// Completions the kernel can queue. Raised to what buffers, sends and sockets can complete
    /// before anyone looks: an overflow would end a multishot receive.
    pub completion_entries: u32,
    /// Datagrams on their way out at once, 2 KiB each.
    pub send_slots: u16,
    /// Sockets at most.
    pub sockets_max: u16,
    /// Slots that were freed last are filled next, while they are in the cache. Without it each
    /// waits its turn, as the plain recipe of a buffer ring has it.
    pub warm_first: bool,
}

impl Default for RingConfig {
    /// 4,096 buffers hold a burst of 4 ms at a million packets a second.
    fn default() -> Self {
        Self {
            buffer_entries: 4096,
            completion_entries: 32_768,
            send_slots: 1024,
            sockets_max: 64,
            warm_first: true,
        }
    }
}

/// The kernel's limit on a buffer ring, which also keeps the tail's distance within 16 bits.
const BUFFER_ENTRIES_MAX: u16 = 1 << 15;
/// The kernel's limits (IORING_MAX_ENTRIES, IORING_MAX_CQ_ENTRIES).
const SUBMISSION_ENTRIES_MAX: u32 = 1 << 15;
const COMPLETION_ENTRIES_MAX: u32 = 1 << 16;
/// What is neither a receive nor a send: the waker's read, and the cancellation at the end.
const OTHER_REQUESTS: u32 = 2;
/// Bytes of a submission and a completion queue entry and of the submission queue's index.
const SUBMISSION_BYTES: usize = 64 + 4;
const COMPLETION_BYTES: usize = 16;
const BUFFER_ENTRY_BYTES: usize = 16;

/// A checked [`RingConfig`], with the sizes the kernel is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) buffers: u16,
    pub(crate) submissions: u32,
    pub(crate) completions: u32,
    pub(crate) sends: u16,
    pub(crate) sockets: u16,
    pub(crate) warm_first: bool,
}

impl RingConfig {
    /// Bytes a ring of these sizes takes besides the slab, for the memory sum.
    ///
    /// # Errors
    /// When a size is out of bounds.
    pub fn bytes(&self) -> Result<usize, Error> {
        let sizes = self.sizes()?;
        let queues = sizes.submissions as usize * SUBMISSION_BYTES
            + sizes.completions as usize * COMPLETION_BYTES
            + usize::from(sizes.buffers) * BUFFER_ENTRY_BYTES;
        Ok(queues + sends::bytes(sizes.sends))
    }

    pub(crate) fn sizes(&self) -> Result<Sizes, Error> {
        let within = |field, value: u32, min: u32, max: u32| {
            let fits = (min..=max).contains(&value);
            fits.then_some(()).ok_or(Error::Config { field, value, min, max })
        };
        within("buffer_entries", self.buffer_entries.into(), 1, BUFFER_ENTRIES_MAX.into())?;
        within("send_slots", self.send_slots.into(), 1, SUBMISSION_ENTRIES_MAX / 2)?;
        within("sockets_max", self.sockets_max.into(), 1, SUBMISSION_ENTRIES_MAX / 8)?;
        within("completion_entries", self.completion_entries, 1, COMPLETION_ENTRIES_MAX)?;
        let buffers = self.buffer_entries.next_power_of_two();
        // Every request fits the submission queue at once, so a push never finds it full.
        // A socket's receive and its cancellation.
        let receives = 2 * u32::from(self.sockets_max);
        let requests = u32::from(self.send_slots) + receives + OTHER_REQUESTS;
        let completions = self.completion_entries.max(u32::from(buffers) + requests);
        Ok(Sizes {
            buffers,
            submissions: requests.next_power_of_two(),
            completions: completions.next_power_of_two(),
            sends: self.send_slots,
            sockets: self.sockets_max,
            warm_first: self.warm_first,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queues_hold_everything_that_can_be_in_flight() {
        for buffer_entries in [1, 100, 4096, BUFFER_ENTRIES_MAX] {
            for (send_slots, sockets_max) in [(1, 1), (1000, 64), (16_384, 4096)] {
                let config = RingConfig {
                    buffer_entries,
                    completion_entries: 1,
                    send_slots,
                    sockets_max,
                    ..RingConfig::default()
                };
                let sizes = config.sizes().unwrap();
                let requests = u32::from(send_slots) + u32::from(sockets_max) + OTHER_REQUESTS;
                assert!(sizes.submissions >= requests);
                assert!(sizes.submissions <= SUBMISSION_ENTRIES_MAX);
                assert!(sizes.completions >= u32::from(buffer_entries) + requests);
                assert!(sizes.completions <= COMPLETION_ENTRIES_MAX);
            }
        }
    }

    #[test]
    fn a_size_out_of_bounds_is_named() {
        let config = RingConfig { buffer_entries: BUFFER_ENTRIES_MAX + 1, ..RingConfig::default() };
        let error = config.sizes().unwrap_err();
        assert!(matches!(error, Error::Config { field: "buffer_entries", .. }), "{error}");
        let config = RingConfig { send_slots: 0, ..RingConfig::default() };
        assert!(matches!(config.sizes(), Err(Error::Config { field: "send_slots", .. })));
    }
}
