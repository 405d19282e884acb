//! Somebody who sends what he likes to the listener, from addresses that are nobody's.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use memory::Time;
use srt::caller::{Caller, CallerConfig};
use srt::control::{DropRequest, encode_ackack, encode_keepalive, encode_shutdown};
use srt::packet::DataHeader;
use srt::sequence::{Sequence, SequenceRange};

use crate::random::Random;

/// His network: TEST-NET-3 belongs to no publisher.
const NETWORK: [u8; 3] = [203, 0, 113];

#[derive(Debug)]
pub(crate) struct Hostile {
    interval: Duration,
    next: Time,
    random: Random,
    /// The last datagram that a publisher sent: he listens.
    pub(crate) overheard: Vec<u8>,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_answered: u64,
}

impl Hostile {
    pub(crate) fn new(per_second: u32, start: Time, random: Random) -> Self {
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or(Duration::ZERO);
        let next = if per_second > 0 { start } else { Time::NEVER };
        let overheard = Vec::new();
        Self { interval, next, random, overheard, bytes_sent: 0, bytes_answered: 0 }
    }

    pub(crate) const fn next_time(&self) -> Time {
        self.next
    }

    /// He gives up.
    pub(crate) const fn stop(&mut self) {
        self.next = Time::NEVER;
    }

    /// Whether an address is one of his.
    pub(crate) fn is_at(address: SocketAddr) -> bool {
        matches!(address, SocketAddr::V4(v4) if v4.ip().octets().starts_with(&NETWORK))
    }

    /// What he sends now, and from where.
    pub(crate) fn turn(&mut self, now: Time) -> (SocketAddr, Vec<u8>) {
        self.next = now + self.interval;
        let datagram = self.datagram(now);
        self.bytes_sent += datagram.len() as u64;
        let [a, b, c] = NETWORK;
        let host = Ipv4Addr::new(a, b, c, u8::try_from(self.random.below(256)).unwrap_or(0));
        let port = u16::try_from(self.random.between(1, 65_535)).unwrap_or(1);
        (SocketAddr::from((host, port)), datagram)
    }

    fn datagram(&mut self, now: Time) -> Vec<u8> {
        let word = |at: usize, bytes: &[u8]| {
            let word = bytes.get(at..at + 4).and_then(|word| word.first_chunk::<4>());
            word.map_or(0, |word| u32::from_be_bytes(*word))
        };
        let (sequence, to) = (word(0, &self.overheard), word(12, &self.overheard));
        let sequence = Sequence::new(sequence & Sequence::MASK);
        match self.random.below(9) {
            0 => Vec::new(),
            1 => self.noise(),
            2 => self.overheard.clone(),
            3 => self.mutation(),
            4 => self.handshake(now),
            5 => encode_shutdown(self.random.below_u32(u32::MAX), to).to_vec(),
            6 => {
                let last = sequence.add(self.random.below_u32(1 << 30));
                let range = SequenceRange::new(sequence, last);
                let range = range.unwrap_or_else(|| SequenceRange::single(sequence));
                DropRequest { message: 0, range }.encode(0, to).to_vec()
            }
            7 => {
                let ahead = self.random.below_u32(1 << 31);
                let header = DataHeader::live(sequence.add(ahead), 1, 0, to).encode();
                [&header[..], &[0x47; 1_316]].concat()
            }
            _ if self.random.chance(500_000) => encode_keepalive(0, to).to_vec(),
            _ => encode_ackack(self.random.below_u32(1_000), 0, to).to_vec(),
        }
    }

    fn noise(&mut self) -> Vec<u8> {
        let len = self.random.below(1_500);
        let mut bytes: Vec<u8> =
            (0..len).map(|_| u8::try_from(self.random.below(256)).unwrap_or(0)).collect();
        // Half of it to the listener.
        if let Some(id) = bytes.get_mut(12..16).filter(|_| self.random.chance(500_000)) {
            id.fill(0);
        }
        bytes
    }

    fn mutation(&mut self) -> Vec<u8> {
        let mut bytes = self.overheard.clone();
        for _ in 0..self.random.between(1, 8) {
            let at = usize::try_from(self.random.below(bytes.len().max(1) as u64)).unwrap_or(0);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u8::try_from(self.random.below(256)).unwrap_or(0);
            }
        }
        let len = usize::try_from(self.random.below(bytes.len() as u64 + 1)).unwrap_or(0);
        if self.random.chance(300_000) {
            bytes.truncate(len);
        }
        bytes
    }

    /// An induction, or a conclusion with a cookie that is guessed.
    fn handshake(&mut self, now: Time) -> Vec<u8> {
        let first = Sequence::new(self.random.below_u32(1 << 31));
        let config =
            CallerConfig::live(1 + self.random.below_u32(1 << 29), first, [1, 2, 3, 4].into());
        let mut caller = Caller::new(config, now);
        let mut sent = Vec::new();
        caller.handle_timeout(now, &mut |bytes: &[u8]| sent = bytes.to_vec());
        if self.random.chance(500_000) {
            return sent;
        }
        // Version 5, conclusion, any cookie.
        for (at, value) in [(16, 5), (36, u32::MAX), (44, self.random.below_u32(u32::MAX))] {
            if let Some(place) = sent.get_mut(at..at + 4) {
                place.copy_from_slice(&value.to_be_bytes());
            }
        }
        sent
    }
}
