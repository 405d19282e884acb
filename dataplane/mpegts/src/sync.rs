//! Finding packets in a byte stream: lock, loss of lock, packets across pushes.
//!
//! The decision at a position looks only at the bytes from there on, and waits where they have not
//! come yet. So how the stream was cut into pushes cannot change what is found.
//!
//! ```text
//!            five 0x47 in a row at 188, 192 or 204
//!  hunting ─────────────────────────────────────────▶ locked
//!     ▲                                                  │ three places in a row without 0x47
//!     └──────────────────────────────────────────────────┘ (hunt on behind the first of them)
//! ```
//!
//! 192 bytes is a 4-byte time stamp before each packet, 204 a 16-byte parity behind it; both are a
//! packet and then bytes to pass over.

use crate::packet::{PACKET_BYTES, SYNC_BYTE};

const STRIDES: [usize; 3] = [188, 192, 204];
const LOCK_SYNCS: usize = 5;
const LOSE_MISSES: usize = 3;
/// Room for the longest look ahead: the five places of a lock at stride 204.
const CARRY_BYTES: usize = (LOCK_SYNCS - 1) * 204 + 1;

/// Bytes without a lock after which the stream is not called a transport stream...
const FOREIGN_BYTES: u64 = 64 * 1024;
/// ...or so many pushes with at least [`FOREIGN_BYTES_LEAST`] in them.
const FOREIGN_PUSHES: u32 = 20;
const FOREIGN_BYTES_LEAST: u64 = 4096;

/// What is found in the stream, in order.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A packet that begins with its sync byte.
    Packet(&'a [u8; PACKET_BYTES]),
    /// Bytes passed over that belong to no packet.
    Skipped(usize),
    /// The lock was lost.
    SyncLost,
}

/// Cuts pushes of any size into packets.
#[derive(Debug)]
pub(crate) struct Synchronizer {
    lock: Lock,
    /// The bytes of an unfinished decision.
    carry: [u8; CARRY_BYTES],
    carried: usize,
    /// How many bytes the decision about the carried ones needs.
    needed: usize,
    pushes_without_lock: u32,
    bytes_without_lock: u64,
    largest_push: usize,
}

impl Synchronizer {
    pub(crate) const fn new() -> Self {
        Self {
            lock: Lock { stride: 0, debt: 0 },
            carry: [0; CARRY_BYTES],
            carried: 0,
            needed: 0,
            pushes_without_lock: 0,
            bytes_without_lock: 0,
            largest_push: 0,
        }
    }

    pub(crate) const fn reset(&mut self) {
        self.lock = Lock { stride: 0, debt: 0 };
        self.carried = 0;
        self.needed = 0;
        self.pushes_without_lock = 0;
        self.bytes_without_lock = 0;
        self.largest_push = 0;
    }

    pub(crate) const fn is_locked(&self) -> bool {
        self.lock.stride != 0
    }

    /// So much has come without a lock that this is no transport stream.
    pub(crate) const fn is_foreign(&self) -> bool {
        !self.is_locked()
            && (self.bytes_without_lock >= FOREIGN_BYTES
                || (self.pushes_without_lock >= FOREIGN_PUSHES
                    && self.bytes_without_lock >= FOREIGN_BYTES_LEAST))
    }

    /// The most packets that a lost datagram can have touched, judged by those seen.
    pub(crate) fn packets_per_push(&self) -> usize {
        let stride = self.lock.stride.max(PACKET_BYTES);
        match self.largest_push {
            0 => 8, // 1,456 bytes, the most that SRT carries, not aligned
            bytes if self.is_aligned() => bytes.div_ceil(stride),
            bytes => (bytes - 1) / stride + 2,
        }
    }

    const fn is_aligned(&self) -> bool {
        self.is_locked() && self.carried == 0 && self.lock.debt == 0
    }

    /// Bytes are missing here. A stream in whole packets goes on at the next push; otherwise
    /// where packets begin is unknown, and halves from both sides must not become one packet.
    pub(crate) fn break_here(&mut self, found: &mut impl FnMut(Found<'_>)) {
        if !self.is_aligned() {
            if self.carried > 0 {
                found(Found::Skipped(self.carried));
            }
            self.lock = Lock { stride: 0, debt: 0 };
            self.carried = 0;
        }
    }

    pub(crate) fn push(&mut self, payload: &[u8], found: &mut impl FnMut(Found<'_>)) {
        self.largest_push = self.largest_push.max(payload.len());
        let mut rest = payload;
        while self.carried > 0 && !rest.is_empty() {
            rest = self.push_behind_carry(rest, found);
        }
        if self.carried == 0 {
            let (consumed, needed) = self.lock.consume(rest, found);
            self.keep(rest.get(consumed..).unwrap_or(&[]), needed);
        }
        self.judge(payload.len());
    }

    /// Completes the carried decision with as many bytes as it needs; returns what is left of
    /// the push. Carried bytes that came with this push are given back, so that the rest of it is
    /// read in place.
    fn push_behind_carry<'a>(
        &mut self,
        payload: &'a [u8],
        found: &mut impl FnMut(Found<'_>),
    ) -> &'a [u8] {
        let wanted = self.needed.saturating_sub(self.carried).max(1);
        let taken = wanted.min(payload.len()).min(CARRY_BYTES.saturating_sub(self.carried));
        let filled = self.carried + taken;
        if let (Some(room), Some(bytes)) =
            (self.carry.get_mut(self.carried..filled), payload.get(..taken))
        {
            room.copy_from_slice(bytes);
        }
        let window = self.carry.get(..filled).unwrap_or(&[]);
        let (consumed, needed) = self.lock.consume(window, found);
        let left = filled.saturating_sub(consumed);
        if left <= taken {
            self.carried = 0;
            return payload.get(taken - left..).unwrap_or(&[]);
        }
        self.carry.copy_within(consumed..filled, 0);
        self.carried = left;
        self.needed = needed;
        payload.get(taken..).unwrap_or(&[])
    }

    fn keep(&mut self, left: &[u8], needed: usize) {
        if let Some(room) = self.carry.get_mut(..left.len()) {
            room.copy_from_slice(left);
            self.carried = left.len();
            self.needed = needed;
        }
    }

    fn judge(&mut self, pushed: usize) {
        if self.is_locked() {
            self.pushes_without_lock = 0;
            self.bytes_without_lock = 0;
        } else {
            self.pushes_without_lock = self.pushes_without_lock.saturating_add(1);
            self.bytes_without_lock =
                self.bytes_without_lock.saturating_add(u64::try_from(pushed).unwrap_or(u64::MAX));
        }
    }
}

#[derive(Debug)]
struct Lock {
    /// Distance of packets; 0 while hunting.
    stride: usize,
    /// Bytes between packets still to pass over.
    debt: usize,
}

enum Hunt {
    Locked(usize),
    Skip(usize),
    Need(usize),
}

impl Lock {
    /// Finds what can be found in `window`. Returns how many bytes are done with, and how many
    /// the next decision needs from there.
    fn consume(&mut self, window: &[u8], found: &mut impl FnMut(Found<'_>)) -> (usize, usize) {
        let mut rest = window;
        loop {
            if self.debt > 0 {
                let passed = self.debt.min(rest.len());
                self.debt -= passed;
                rest = rest.get(passed..).unwrap_or(&[]);
            }
            let Some(&first) = rest.first() else {
                return (window.len(), 1);
            };
            let step = if self.stride == 0 {
                self.hunt(rest, found)
            } else if first == SYNC_BYTE {
                match rest.split_first_chunk::<PACKET_BYTES>() {
                    Some((packet, behind)) => {
                        found(Found::Packet(packet));
                        self.debt = self.stride - PACKET_BYTES;
                        rest = behind;
                        continue;
                    }
                    None => Err(PACKET_BYTES),
                }
            } else {
                self.doubt(rest, found)
            };
            match step {
                Ok(skipped) => rest = rest.get(skipped..).unwrap_or(&[]),
                Err(needed) => return (window.len() - rest.len(), needed),
            }
        }
    }

    /// No sync byte where one should be: a damaged packet, or the lock is lost.
    /// `Ok` is how many bytes to pass over, `Err` how many are needed to decide.
    fn doubt(&mut self, rest: &[u8], found: &mut impl FnMut(Found<'_>)) -> Result<usize, usize> {
        for miss in 1..LOSE_MISSES {
            match rest.get(miss * self.stride) {
                None => return Err(miss * self.stride + 1),
                Some(&SYNC_BYTE) => {
                    found(Found::Skipped(self.stride));
                    return Ok(self.stride);
                }
                Some(_) => {}
            }
        }
        self.stride = 0;
        found(Found::SyncLost);
        found(Found::Skipped(1));
        Ok(1)
    }

    fn hunt(&mut self, rest: &[u8], found: &mut impl FnMut(Found<'_>)) -> Result<usize, usize> {
        match hunt(rest) {
            Hunt::Locked(stride) => {
                self.stride = stride;
                Ok(0)
            }
            Hunt::Skip(bytes) => {
                found(Found::Skipped(bytes));
                Ok(bytes)
            }
            Hunt::Need(bytes) => Err(bytes),
        }
    }
}

fn hunt(rest: &[u8]) -> Hunt {
    match rest.iter().position(|&byte| byte == SYNC_BYTE) {
        None => return Hunt::Skip(rest.len()),
        Some(0) => {}
        Some(bytes) => return Hunt::Skip(bytes),
    }
    'strides: for stride in STRIDES {
        for place in 1..LOCK_SYNCS {
            match rest.get(place * stride) {
                Some(&SYNC_BYTE) => {}
                Some(_) => continue 'strides,
                None => return Hunt::Need(place * stride + 1),
            }
        }
        return Hunt::Locked(stride);
    }
    Hunt::Skip(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stream looks like through the synchronizer; runs of skipped bytes joined.
    #[derive(Debug, PartialEq, Clone)]
    enum Seen {
        Packet(u8),
        Skipped(usize),
        Lost,
    }

    fn observe(pushes: &[&[u8]]) -> (Vec<Seen>, Synchronizer) {
        let mut sync = Synchronizer::new();
        let mut seen = Vec::new();
        for push in pushes {
            sync.push(push, &mut |found| note(&mut seen, &found));
        }
        (seen, sync)
    }

    fn note(seen: &mut Vec<Seen>, found: &Found<'_>) {
        match found {
            Found::Packet(packet) => seen.push(Seen::Packet(packet[1])),
            Found::SyncLost => seen.push(Seen::Lost),
            Found::Skipped(bytes) => match seen.last_mut() {
                Some(Seen::Skipped(total)) => *total += bytes,
                _ => seen.push(Seen::Skipped(*bytes)),
            },
        }
    }

    fn stream(count: u8, stride: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in 0..count {
            let at = bytes.len();
            bytes.resize(at + stride, 0);
            bytes[at] = SYNC_BYTE;
            bytes[at + 1] = number;
        }
        bytes
    }

    fn packets(range: std::ops::Range<u8>) -> Vec<Seen> {
        range.map(Seen::Packet).collect()
    }

    #[test]
    fn locks_at_each_stride() {
        for stride in STRIDES {
            let (seen, sync) = observe(&[&stream(7, stride)]);
            assert_eq!(seen, packets(0..7), "stride {stride}");
            assert!(sync.is_aligned());
        }
    }

    #[test]
    fn four_syncs_do_not_lock_the_fifth_does() {
        let bytes = stream(5, 188);
        let (seen, sync) = observe(&[&bytes[..4 * 188]]);
        assert!(seen.is_empty() && !sync.is_locked());
        let (seen, _) = observe(&[&bytes[..4 * 188], &bytes[4 * 188..]]);
        assert_eq!(seen, packets(0..5));
    }

    #[test]
    fn hunts_past_bytes_before_the_first_packet() {
        for ahead in [1, 12, 101, 187, 189, 500] {
            let mut bytes = vec![SYNC_BYTE ^ 0xFF; ahead];
            bytes[0] = SYNC_BYTE;
            bytes.extend(stream(6, 188));
            let (seen, _) = observe(&[&bytes]);
            let mut wanted = vec![Seen::Skipped(ahead)];
            wanted.extend(packets(0..6));
            assert_eq!(seen, wanted, "{ahead} bytes ahead");
        }
    }

    #[test]
    fn two_misses_keep_the_lock() {
        let mut bytes = stream(9, 188);
        bytes[5 * 188] = 0;
        bytes[6 * 188] = 0;
        let (seen, _) = observe(&[&bytes]);
        let wanted = [packets(0..5), vec![Seen::Skipped(376)], packets(7..9)].concat();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn three_misses_lose_the_lock_and_nothing_behind_the_damage() {
        let mut bytes = stream(12, 188);
        bytes.drain(5 * 188..5 * 188 + 7); // packet 5 lost its beginning
        let (seen, _) = observe(&[&bytes]);
        let wanted = [packets(0..5), vec![Seen::Lost, Seen::Skipped(181)], packets(6..12)].concat();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn every_split_gives_the_same_packets() {
        let mut bytes = vec![1, SYNC_BYTE, 3];
        bytes.extend(stream(8, 204));
        bytes.drain(900..1300);
        bytes.extend(stream(8, 192));
        let (whole, _) = observe(&[&bytes]);
        for at in 0..bytes.len() {
            let (seen, _) = observe(&[&bytes[..at], &bytes[at..]]);
            assert_eq!(seen, whole, "split at {at}");
        }
        for size in [1, 2, 3, 7, 47, 187, 189, 1316] {
            let pushes: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(observe(&pushes).0, whole, "pushes of {size}");
        }
    }

    #[test]
    fn break_keeps_an_aligned_lock_and_drops_a_half_packet() {
        let bytes = stream(14, 188);
        let (_, mut sync) = observe(&[&bytes[..7 * 188]]);
        sync.break_here(&mut |found| panic!("{found:?}"));
        assert!(sync.is_locked());

        let (_, mut sync) = observe(&[&bytes[..6 * 188 + 100]]);
        let mut seen = Vec::new();
        sync.break_here(&mut |found| note(&mut seen, &found));
        // The next push begins in the same phase, as when whole datagrams of 1,316 are lost.
        sync.push(&bytes[6 * 188 + 100..], &mut |found| {
            note(&mut seen, &found);
        });
        let wanted = [vec![Seen::Skipped(100 + 88)], packets(7..14)].concat();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn foreign_bytes_are_called_so_until_packets_come() {
        let noise = [0u8; 1316];
        let (_, mut sync) = observe(&[&noise[..]; 19]);
        assert!(!sync.is_foreign());
        sync.push(&noise, &mut |_| {});
        assert!(sync.is_foreign());
        sync.push(&stream(5, 188), &mut |_| {});
        assert!(!sync.is_foreign() && sync.is_locked());
        let (_, sync) = observe(&[&[0u8; 64 * 1024][..]]);
        assert!(sync.is_foreign());
        let (_, sync) = observe(&[&[0u8; 10][..]; 100]);
        assert!(!sync.is_foreign(), "too few bytes to tell");
    }

    #[test]
    fn packets_of_a_lost_push_follow_from_those_seen() {
        assert_eq!(Synchronizer::new().packets_per_push(), 8);
        let bytes = stream(12, 188);
        assert_eq!(observe(&[&bytes[..1316]]).1.packets_per_push(), 7);
        assert_eq!(observe(&[&bytes[..1300]]).1.packets_per_push(), 8);
        assert_eq!(observe(&[&bytes[..188]; 5]).1.packets_per_push(), 1);
    }
}
