//! A unit a packet: Opus (RFC 7587), L16 (RFC 3551, 4.5.11), L24 (RFC 3190), G.711 (RFC 3551, 4.5.14).

use super::unit::{Outlet, Unit};
use crate::output::Output;

/// Depacketizes one track.
#[derive(Debug, Clone, Copy)]
pub struct Plain {
    /// Bytes of a sample of all channels; payloads are multiples of it.
    block: usize,
}

impl Plain {
    /// With so many bytes to a sample of all channels: 1 where any length is right.
    pub(crate) const fn new(block: usize) -> Self {
        Self { block: if block == 0 { 1 } else { block } }
    }

    pub(crate) fn push<O: Output>(&self, to: &mut Outlet<'_, O>, payload: &[u8]) {
        let whole = payload.len() - payload.len() % self.block;
        if whole != payload.len() {
            to.counters.payloads_invalid += 1;
        }
        let Some(samples) = payload.get(..whole).filter(|samples| !samples.is_empty()) else {
            return;
        };
        let mut unit = Unit::default();
        unit.start(to, to.stamps);
        unit.write(to, samples);
        if whole != payload.len() {
            unit.damage(to);
        }
        unit.end(to);
    }

    pub(crate) fn lost<O: Output>(&self, to: &mut Outlet<'_, O>) {
        to.out.skipped(to.track);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn each_packet_is_a_unit_of_whole_samples() {
        let mut bench = Bench::new(Plain::new(6));
        for payload in [&[1u8; 12][..], &[2; 8], &[3; 5], &[]] {
            let (format, mut to) = bench.parts(7);
            format.push(&mut to, payload);
        }
        let (format, mut to) = bench.parts(0);
        format.lost(&mut to);
        let units = bench.take();
        let got: Vec<_> = units.iter().map(|unit| (unit.bytes.len(), unit.damaged)).collect();
        assert_eq!(got, [(12, false), (6, true)]);
        assert_eq!((bench.counters.payloads_invalid, bench.skipped), (2, 1));
        assert!(units.iter().all(|unit| unit.ended && unit.pts == 7));
    }
}
