//! The open unit of a track, and what it may not exceed.

use codec::sink::Timestamps;

use crate::bytes::count;
use crate::output::Output;
use crate::payload::{Counters, Limits};

/// Where a depacketizer writes, and for which packet.
pub(crate) struct Outlet<'a, O> {
    pub(crate) out: &'a mut O,
    pub(crate) track: usize,
    pub(crate) limits: &'a Limits,
    pub(crate) counters: &'a mut Counters,
    /// Of the packet that is being read.
    pub(crate) stamps: Timestamps,
    /// Of the packet's timestamp.
    pub(crate) clock_hz: u32,
}

impl<O: Output> Outlet<'_, O> {
    /// The stamps of what lies `ticks` of the track's clock behind the packet's timestamp.
    pub(crate) fn stamps_after(&self, ticks: u64) -> Timestamps {
        let hz = u64::from(self.clock_hz.max(1));
        let later = (ticks.saturating_mul(90_000) + hz / 2) / hz;
        Timestamps { pts: self.stamps.pts.map(|pts| pts.saturating_add(later)), dts: None }
    }
}

/// The open unit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unit {
    open: bool,
    bytes: usize,
    nals: u32,
    damaged: bool,
    /// It exceeded a limit: nothing more of it is written.
    over: bool,
}

impl Unit {
    pub(crate) const CLOSED: Self =
        Self { open: false, bytes: 0, nals: 0, damaged: false, over: false };

    pub(crate) const fn is_open(&self) -> bool {
        self.open
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }

    /// How many bytes may still be written, if any may.
    pub(crate) fn room(&self, limits: &Limits) -> Option<usize> {
        (self.open && !self.over).then(|| limits.frame_bytes_max.saturating_sub(self.bytes))
    }

    /// So many bytes of it were written by other means than [`write`](Self::write).
    pub(crate) const fn went_on(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Begins a unit; one that is open ends first.
    pub(crate) fn start<O: Output>(&mut self, to: &mut Outlet<'_, O>, stamps: Timestamps) {
        self.end(to);
        *self = Self { open: true, ..Self::default() };
        to.counters.units += 1;
        to.out.unit_start(to.track, stamps);
    }

    /// Writes bytes of the open unit, unless they exceed the limit.
    pub(crate) fn write<O: Output>(&mut self, to: &mut Outlet<'_, O>, bytes: &[u8]) {
        if !bytes.is_empty() && self.takes(to, bytes.len()) {
            to.out.unit_data(to.track, bytes);
        }
    }

    /// The same where a NAL unit begins: a start code and what of its header is not among `bytes`, and
    /// the first of its bytes.
    pub(crate) fn write_nal<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        code_and_header: &[u8],
        bytes: &[u8],
    ) {
        if bytes.is_empty() {
            return self.write(to, code_and_header);
        }
        if self.takes(to, code_and_header.len() + bytes.len()) {
            to.out.nal_unit(to.track, code_and_header, bytes);
        }
    }

    /// Whether so many bytes may be written.
    fn takes<O: Output>(&mut self, to: &mut Outlet<'_, O>, bytes: usize) -> bool {
        if self.over || !self.open {
            return false;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > to.limits.frame_bytes_max {
            to.counters.frames_oversize += 1;
            self.exceed(to);
            return false;
        }
        to.counters.bytes_delivered += count(bytes);
        true
    }

    /// Counts a NAL unit or OBU of the open unit.
    pub(crate) fn element<O: Output>(&mut self, to: &mut Outlet<'_, O>) {
        self.nals += 1;
        if self.nals > to.limits.elements_max && !self.over {
            to.counters.frames_too_many_elements += 1;
            self.exceed(to);
        }
    }

    /// The sender said that an access unit ended, but the unit goes on: limits count anew.
    pub(crate) const fn rest(&mut self) {
        if !self.over {
            self.bytes = 0;
            self.nals = 0;
        }
    }

    /// Bytes of the open unit are missing.
    pub(crate) fn damage<O: Output>(&mut self, to: &mut Outlet<'_, O>) {
        if !self.open {
            return;
        }
        if !self.damaged {
            to.counters.units_damaged += 1;
        }
        self.damaged = true;
        to.out.gap(to.track);
    }

    /// The open unit is over.
    pub(crate) fn end<O: Output>(&mut self, to: &mut Outlet<'_, O>) {
        if std::mem::take(&mut self.open) {
            to.out.unit_end(to.track);
        }
    }

    fn exceed<O: Output>(&mut self, to: &mut Outlet<'_, O>) {
        self.damage(to);
        self.over = true;
    }
}
