//! One publisher's path, both ways.

use std::time::Duration;

use memory::Time;

use crate::random::Random;
use crate::scenario::{Corruption, LinkPlan, Loss};

/// What one direction of a path does to a datagram: where and when its copies come out.
#[derive(Debug)]
pub(crate) struct Link {
    plan: LinkPlan,
    random: Random,
    /// In a burst of losses.
    bad: bool,
    clogged_until: Time,
    /// A tag covers data packets: no bit of them is spared.
    authenticated: bool,
    /// Payloads with bits flipped that nobody found.
    pub(crate) changed: u64,
}

impl Link {
    pub(crate) const fn new(plan: LinkPlan, random: Random) -> Self {
        let (bad, authenticated) = (false, false);
        Self { plan, random, bad, clogged_until: Time::ZERO, authenticated, changed: 0 }
    }

    /// What passes is authenticated.
    pub(crate) const fn authenticated(mut self, authenticated: bool) -> Self {
        self.authenticated = authenticated;
        self
    }

    /// From now on the path is faultless.
    pub(crate) const fn heal(&mut self) {
        self.plan = LinkPlan::clean(self.plan.rtt);
        self.clogged_until = Time::ZERO;
    }

    pub(crate) const fn clog(&mut self, until: Time) {
        self.clogged_until = until;
    }

    /// Sends a datagram; `arrives` gets each copy that comes out, with its time.
    pub(crate) fn send(&mut self, now: Time, bytes: &[u8], mut arrives: impl FnMut(Time, Vec<u8>)) {
        if now < self.clogged_until || self.loses() {
            return;
        }
        let copies = if self.random.chance(self.plan.duplicate_ppm) { 2 } else { 1 };
        for _ in 0..copies {
            let mut delay = self.plan.rtt / 2;
            if self.random.chance(self.plan.reorder_ppm) {
                delay += self.random.micros_below(self.plan.reorder_delay);
            }
            let mut copy = bytes.to_vec();
            match self.plan.corruption {
                Corruption::Caught { ppm } if self.random.chance(ppm) => continue,
                Corruption::Unseen { ppm } if self.random.chance(ppm) => self.flip(&mut copy),
                _ => {}
            }
            arrives(now + delay.max(Duration::from_micros(20)), copy);
        }
    }

    fn loses(&mut self) -> bool {
        match self.plan.loss {
            Loss::None => false,
            Loss::Uniform { ppm } => self.random.chance(ppm),
            Loss::Bursts { ppm, mean_packets } => {
                // Stationary share of the bad state = enter / (enter + leave) = ppm.
                let leave = 1_000_000 / mean_packets;
                let enter = u64::from(leave) * u64::from(ppm) / u64::from(1_000_000 - ppm);
                let turn = if self.bad { leave } else { u32::try_from(enter).unwrap_or(0) };
                if self.random.chance(turn) {
                    self.bad = !self.bad;
                }
                self.bad
            }
        }
    }

    fn flip(&mut self, bytes: &mut [u8]) {
        // Believed for longer than the time to recover, here as by libsrt: a false drop request or
        // sequence number costs up to a window of packets, a false stamp of a conclusion shifts
        // all delivery times until enough drift was measured.
        if bytes.starts_with(&[0x80, 7]) || bytes.starts_with(&[0x80, 0]) {
            return;
        }
        let is_data = bytes.first().is_some_and(|byte| byte & 0x80 == 0);
        let spared = if is_data && !self.authenticated { 4 } else { 0 };
        let Some(bytes) = bytes.get_mut(spared..) else { return };
        self.changed += 1;
        // Half of the time where it hurts most: in the headers.
        let span = if self.random.chance(500_000) { bytes.len().min(24) } else { bytes.len() };
        for _ in 0..self.random.between(1, 3) {
            let at = usize::try_from(self.random.below(span.max(1) as u64)).unwrap_or(0);
            // The top bit would make a control packet of data, and those have no tag.
            let bits = if is_data && spared + at == 0 { 7 } else { 8 };
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << self.random.below(bits);
            }
        }
    }
}

/// Moves the message number of a data packet on, so that it starts near its wrap (3.1: 26 bits).
pub(crate) fn renumber(bytes: &mut [u8], offset: u32) {
    const MASK: u32 = (1 << 26) - 1;
    let is_data = bytes.first().is_some_and(|byte| byte & 0x80 == 0);
    let word = bytes.get_mut(4..8).and_then(|word| word.first_chunk_mut::<4>());
    if let Some(word) = word.filter(|_| is_data) {
        let value = u32::from_be_bytes(*word);
        let number = (value & MASK).wrapping_add(offset) & MASK;
        *word = ((value & !MASK) | number.max(1)).to_be_bytes();
    }
}
