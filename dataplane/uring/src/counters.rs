//! What a ring counts. The owner copies the figures into shared memory; here they are plain.

/// Counters of one ring since it was made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct RingCounters {
    /// Datagrams received, empty and truncated ones included.
    pub datagrams: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Datagrams larger than a slot: cut, and marked so.
    pub truncated: u64,
    /// Datagrams whose message header made no sense. Must stay 0.
    pub invalid: u64,
    /// Receives that ended because of an empty datagram; anyone can send one.
    pub rearms_empty: u64,
    /// Receives that ended because the buffer ring ran dry. Must stay 0.
    pub rearms_no_buffers: u64,
    /// Receives that ended for another cause, an error for instance. Must stay 0.
    pub rearms_other: u64,
    /// Buffer ids that had no slot when they were due for refill: the slab was exhausted.
    pub slots_starved: u64,
    /// Datagrams the kernel dropped because a socket's queue was full, as far as is known: it tells
    /// with the next datagram, or when [`Ring::ask_kernel_drops`](crate::Ring::ask_kernel_drops) is
    /// called.
    pub kernel_drops: u64,
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Datagrams that the kernel refused.
    pub send_errors: u64,
    /// Datagrams not sent: no send slot was free, or they did not fit one.
    pub sends_dropped: u64,
    /// Times the waker was heard.
    pub wakes: u64,
    /// Calls of `io_uring_enter`.
    pub enters: u64,
}
