//! One path of a track's packets, and who may come to be at its other end.

use std::net::SocketAddr;
use std::time::Duration;

use memory::Time;

use super::stats::LegStats;
use crate::probation::Probation;
use crate::source::Source;

/// Legs of a track: two with SMPTE 2022-7.
pub const LEGS_MAX: usize = 2;

/// One path of the track's packets.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Leg {
    pub(super) address: Option<SocketAddr>,
    pub(super) heard_at: Time,
    pub(super) source: Option<Source>,
    pub(super) stats: LegStats,
    /// Where RTCP of its sender came from.
    pub(super) rtcp: Option<SocketAddr>,
}

impl Leg {
    /// Whether another address may have it.
    pub(super) fn is_free(&self, now: Time, relatch_after: Duration) -> bool {
        self.address.is_none() || now.since(self.heard_at) >= relatch_after
    }

    /// A sender that proved itself has it from now on. Whether it had another before.
    pub(super) fn begin(&mut self, address: SocketAddr, source: Source, now: Time) -> bool {
        let moved = self.address.is_some_and(|before| before != address);
        self.rtcp = self.rtcp.filter(|_| !moved);
        (self.address, self.heard_at) = (Some(address), now);
        self.source = Some(source);
        self.stats.packets_received += source.received();
        moved
    }
}

/// A source that has not proven itself.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) ssrc: u32,
    pub(super) address: SocketAddr,
    pub(super) packets: Probation,
}

impl Candidate {
    /// Its packets.
    pub(super) fn waiting(&self) -> u64 {
        crate::bytes::count(self.packets.waiting())
    }
}
