//! Continuity of one PID (H.222.0 2.4.3.3): what the four-bit counter proves and what it cannot.
//!
//! The counter goes up by one with each payload, so it sees every loss but one of a multiple of
//! sixteen packets. Where the transport or the synchronizer knows of missing bytes, it vouches
//! only while fewer than sixteen packets can be missing since this PID's last one.

use crate::packet::{PACKET_BYTES, Packet};

const COUNTER_MODULUS: u8 = 16;

/// What a packet is to those before it on its PID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is missing in between.
    Continuous,
    /// A repetition of the packet before; its payload is known already.
    Duplicate,
    /// The counter proves that packets are missing.
    Missing,
    /// The counter fits, but so many packets are missing that it proves nothing.
    Unproven,
}

#[derive(Debug, Clone)]
pub(crate) struct Continuity {
    last: Option<u8>,
    repeated: bool,
    /// The stream's count of missing packets at the last packet.
    missing: u64,
    packet: [u8; PACKET_BYTES],
}

impl Continuity {
    pub(crate) const fn new() -> Self {
        Self { last: None, repeated: false, missing: 0, packet: [0; PACKET_BYTES] }
    }

    pub(crate) const fn reset(&mut self) {
        self.last = None;
    }

    /// Fewer packets than a full turn of the counter are missing since the last one.
    pub(crate) const fn can_vouch(&self, missing: u64) -> bool {
        missing.wrapping_sub(self.missing) < COUNTER_MODULUS as u64
    }

    /// Nothing is known to be missing since the last packet.
    pub(crate) const fn is_untouched(&self, missing: u64) -> bool {
        self.missing == missing
    }

    /// The loss up to here has been told.
    pub(crate) const fn settle(&mut self, missing: u64) {
        self.missing = missing;
    }

    /// Judges a packet and remembers it. `missing` is the stream's running count of packets known
    /// to be missing, whatever their PID.
    #[inline]
    pub(crate) fn judge(
        &mut self,
        packet: &Packet<'_>,
        bytes: &[u8; PACKET_BYTES],
        missing: u64,
    ) -> Verdict {
        let counter = packet.header.continuity();
        let has_payload = packet.header.has_payload();
        let Some(last) = self.last else {
            self.remember(counter, bytes, missing);
            return Verdict::Continuous;
        };
        let vouches = self.can_vouch(missing);
        if vouches && has_payload && counter == last && self.repeats(packet) {
            self.missing = missing;
            self.repeated = true;
            return Verdict::Duplicate;
        }
        let expected = (last + u8::from(has_payload)) % COUNTER_MODULUS;
        if has_payload {
            self.remember(counter, bytes, missing);
        } else {
            self.last = Some(counter);
            self.missing = missing;
        }
        if !vouches {
            Verdict::Unproven
        } else if counter == expected || packet.adaptation.discontinuity {
            Verdict::Continuous
        } else {
            Verdict::Missing
        }
    }

    /// One repetition is allowed, identical but for its PCR.
    fn repeats(&self, packet: &Packet<'_>) -> bool {
        !self.repeated
            && Packet::parse(&self.packet).is_ok_and(|before| {
                before.payload == packet.payload
                    && before.header.unit_start() == packet.header.unit_start()
            })
    }

    fn remember(&mut self, counter: u8, bytes: &[u8; PACKET_BYTES], missing: u64) {
        self.last = Some(counter);
        self.repeated = false;
        self.missing = missing;
        self.packet = *bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(counter: u8, fill: u8) -> [u8; PACKET_BYTES] {
        let mut bytes = [fill; PACKET_BYTES];
        bytes[..4].copy_from_slice(&[0x47, 0, 0x64, 0x10 | counter]);
        bytes
    }

    fn with_adaptation(counter: u8, control: u8, adaptation: &[u8]) -> [u8; PACKET_BYTES] {
        let mut bytes = packet(counter, 0);
        bytes[3] = control | counter;
        bytes[4..4 + adaptation.len()].copy_from_slice(adaptation);
        bytes
    }

    fn judge(continuity: &mut Continuity, bytes: &[u8; PACKET_BYTES], missing: u64) -> Verdict {
        continuity.judge(&Packet::parse(bytes).unwrap(), bytes, missing)
    }

    #[test]
    fn counts_modulo_sixteen_from_any_start() {
        let mut continuity = Continuity::new();
        for counter in (9..16).chain(0..16).chain(0..3) {
            let verdict = judge(&mut continuity, &packet(counter, counter), 0);
            assert_eq!(verdict, Verdict::Continuous, "{counter}");
        }
        assert_eq!(judge(&mut continuity, &packet(4, 9), 0), Verdict::Missing);
        assert_eq!(judge(&mut continuity, &packet(5, 9), 0), Verdict::Continuous);
    }

    #[test]
    fn identical_repeat_is_a_duplicate_once() {
        let mut continuity = Continuity::new();
        judge(&mut continuity, &packet(3, 1), 0);
        assert_eq!(judge(&mut continuity, &packet(3, 1), 0), Verdict::Duplicate);
        assert_eq!(judge(&mut continuity, &packet(3, 1), 0), Verdict::Missing);
        assert_eq!(judge(&mut continuity, &packet(4, 2), 0), Verdict::Continuous);
    }

    #[test]
    fn repeat_with_another_pcr_is_a_duplicate() {
        let mut continuity = Continuity::new();
        let pcr = |byte| with_adaptation(3, 0x30, &[7, 0x10, 1, 2, 3, byte, 0x7E, 0]);
        judge(&mut continuity, &pcr(1), 0);
        assert_eq!(judge(&mut continuity, &pcr(2), 0), Verdict::Duplicate);
    }

    #[test]
    fn same_counter_with_other_bytes_is_loss() {
        let mut continuity = Continuity::new();
        judge(&mut continuity, &packet(3, 1), 0);
        assert_eq!(judge(&mut continuity, &packet(3, 2), 0), Verdict::Missing);
    }

    #[test]
    fn counter_stands_still_without_payload() {
        let mut continuity = Continuity::new();
        let empty = |counter| with_adaptation(counter, 0x20, &[183, 0]);
        judge(&mut continuity, &packet(3, 1), 0);
        assert_eq!(judge(&mut continuity, &empty(3), 0), Verdict::Continuous);
        assert_eq!(judge(&mut continuity, &packet(4, 1), 0), Verdict::Continuous);
        assert_eq!(judge(&mut continuity, &empty(5), 0), Verdict::Missing);
        assert_eq!(judge(&mut continuity, &packet(6, 1), 0), Verdict::Continuous);
    }

    #[test]
    fn discontinuity_indicator_forgives() {
        let mut continuity = Continuity::new();
        judge(&mut continuity, &packet(3, 1), 0);
        let flagged = with_adaptation(9, 0x30, &[1, 0x80]);
        assert_eq!(judge(&mut continuity, &flagged, 0), Verdict::Continuous);
        assert_eq!(judge(&mut continuity, &packet(10, 1), 0), Verdict::Continuous);
    }

    #[test]
    fn vouches_while_fewer_than_sixteen_packets_are_missing() {
        let mut continuity = Continuity::new();
        judge(&mut continuity, &packet(3, 1), 100);
        assert_eq!(judge(&mut continuity, &packet(4, 1), 115), Verdict::Continuous);
        assert_eq!(judge(&mut continuity, &packet(5, 1), 131), Verdict::Unproven);
        assert_eq!(judge(&mut continuity, &packet(6, 1), 131), Verdict::Continuous);
    }
}
