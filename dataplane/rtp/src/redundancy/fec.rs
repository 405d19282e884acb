//! Forward error correction of SMPTE ST 2022-1: packets that are the XOR of a row or a column.
//!
//! ```text
//!  media    0  1  2  3  4 → row FEC (D bit 1: every packet)
//!           5  6  7  8  9 → row FEC
//!           ↓  ↓  ↓  ↓  ↓
//!           column FEC: every L-th packet
//!
//!  FEC header behind the RTP header
//!  | SNBase low (16) | length recovery (16) | E PT recovery (7) | mask (24) |
//!  | TS recovery (32) | N D type(3) index(3) | offset (8) | NA (8) | SNBase high (8) |
//! ```
//!
//! The XOR of a FEC packet and of all its media packets but one is that one. Copies of the last
//! `MEDIA` media packets are kept, and the last `PENDING` FEC packets that miss more than one.

use crate::bytes::{u8_at, u16_at, u32_at};
use crate::packet::Header;

/// Media packets that are kept: the largest matrix is 100 (8.1), columns come after one more.
const MEDIA: usize = 256;
/// FEC packets that are kept: rows and columns of two matrices.
const PENDING: usize = 64;
/// Longest packet that can be restored.
const PACKET_BYTES: usize = 1_500;
const FEC_HEADER_BYTES: usize = 16;
/// Packets that one FEC packet may protect (offset and NA of 1 to 20 in use, up to 50 allowed).
const PROTECTED_MAX: u8 = 50;

#[derive(Debug, Clone)]
struct Copy {
    /// `u64::MAX` when empty.
    number: u64,
    len: u16,
    bytes: [u8; PACKET_BYTES],
}

/// A FEC packet's claims and its payload.
#[derive(Debug, Clone)]
struct Parity {
    /// Number of the first packet; `u64::MAX` when empty.
    base: u64,
    offset: u8,
    count: u8,
    length: u16,
    payload_type: u8,
    timestamp: u32,
    payload_len: u16,
    payload: [u8; PACKET_BYTES],
}

/// A restored packet.
#[derive(Debug)]
pub struct Restored {
    bytes: [u8; PACKET_BYTES],
    len: usize,
}

impl Restored {
    /// The whole RTP packet.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Restores the packets of one track. Nothing is allocated after [`new`](Self::new).
#[derive(Debug)]
pub struct Fec {
    media: Box<[Copy]>,
    pending: Box<[Parity]>,
    next: usize,
    ssrc: u32,
}

impl Default for Fec {
    fn default() -> Self {
        Self::new()
    }
}

impl Fec {
    /// Takes its memory at once.
    pub fn new() -> Self {
        let copy = Copy { number: u64::MAX, len: 0, bytes: [0; PACKET_BYTES] };
        let parity = Parity {
            base: u64::MAX,
            offset: 0,
            count: 0,
            length: 0,
            payload_type: 0,
            timestamp: 0,
            payload_len: 0,
            payload: [0; PACKET_BYTES],
        };
        Self {
            media: vec![copy; MEDIA].into_boxed_slice(),
            pending: vec![parity; PENDING].into_boxed_slice(),
            next: 0,
            ssrc: 0,
        }
    }

    /// Bytes that it takes.
    pub const fn bytes() -> usize {
        MEDIA * size_of::<Copy>() + PENDING * size_of::<Parity>()
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        for copy in &mut self.media {
            copy.number = u64::MAX;
        }
        for parity in &mut self.pending {
            parity.base = u64::MAX;
        }
    }

    /// The media packet of this number came, or was restored.
    pub fn media(&mut self, number: u64, packet: &[u8]) {
        let Some(copy) = self.media.get_mut(place(number)) else { return };
        let (Some(room), Ok(len)) =
            (copy.bytes.get_mut(..packet.len()), u16::try_from(packet.len()))
        else {
            return;
        };
        room.copy_from_slice(packet);
        copy.len = len;
        copy.number = number;
        self.ssrc = u32_at(packet, 8).unwrap_or(self.ssrc);
    }

    /// A FEC packet came; `highest` is the highest media number. False when it is none, or is of a
    /// form that is not supported.
    pub fn parity(&mut self, datagram: &[u8], highest: u64) -> bool {
        self.read(datagram, highest).is_some()
    }

    fn read(&mut self, datagram: &[u8], highest: u64) -> Option<()> {
        let header = Header::parse(datagram).ok()?;
        let fec = header.payload(datagram);
        let recovery = u32_at(fec, 4)?;
        let flags = u8_at(fec, 12)?;
        let (offset, count) = (u8_at(fec, 13)?, u8_at(fec, 14)?);
        // Type 0 is XOR; the extended header is there always (7.2).
        let valid = flags >> 3 & 7 == 0
            && (1..=PROTECTED_MAX).contains(&offset)
            && (1..=PROTECTED_MAX).contains(&count);
        let payload = fec.get(FEC_HEADER_BYTES..).filter(|p| valid && p.len() <= PACKET_BYTES)?;
        let low = u16_at(fec, 0)?;
        let distance = low.wrapping_sub(u16::try_from(highest & 0xffff).ok()?).cast_signed();
        let slot = self.next;
        self.next = (self.next + 1) % PENDING;
        let parity = self.pending.get_mut(slot)?;
        parity.base = highest.saturating_add_signed(distance.into());
        parity.offset = offset;
        parity.count = count;
        parity.length = u16_at(fec, 2)?;
        parity.payload_type = u8::try_from(recovery >> 24 & 0x7f).ok()?;
        parity.timestamp = u32_at(fec, 8)?;
        parity.payload_len = u16::try_from(payload.len()).ok()?;
        parity.payload.get_mut(..payload.len())?.copy_from_slice(payload);
        Some(())
    }

    /// A packet that can be restored now, and its number. To be called until there is none. What is
    /// newer than `highest` may still come by itself: its correction comes right behind it, on another
    /// port, and is kept until a later packet shows that it is missing.
    pub fn restore(&mut self, highest: u64) -> Option<(u64, Restored)> {
        for at in 0..PENDING {
            let Some((first, restored)) =
                self.pending.get(at).and_then(|parity| self.try_one(parity, highest))
            else {
                continue;
            };
            if let Some(parity) = self.pending.get_mut(at) {
                parity.base = u64::MAX;
            }
            if let (Some(number), Some(restored)) = (first, restored) {
                self.media(number, restored.as_bytes());
                return Some((number, restored));
            }
        }
        None
    }

    /// What a FEC packet lacks, and gives: `None` when it is empty, or lacks more than one or what
    /// is newer than `highest`.
    fn try_one(&self, parity: &Parity, highest: u64) -> Option<(Option<u64>, Option<Restored>)> {
        if parity.base == u64::MAX {
            return None;
        }
        let mut missing = parity.numbers().filter(|number| self.copy(*number).is_none());
        let (first, second) = (missing.next(), missing.next());
        if first.is_some_and(|number| number > highest) {
            return None;
        }
        let restored = || first.and_then(|number| self.xor(parity, number));
        second.is_none().then(|| (first, restored()))
    }

    fn copy(&self, number: u64) -> Option<&Copy> {
        self.media.get(place(number)).filter(|copy| copy.number == number)
    }

    /// The XOR of what came is what did not (8.3).
    fn xor(&self, parity: &Parity, missing: u64) -> Option<Restored> {
        let mut length = parity.length;
        let mut timestamp = parity.timestamp;
        let mut payload_type = parity.payload_type;
        let mut bytes = [0; PACKET_BYTES];
        let payload_len = usize::from(parity.payload_len);
        let room = bytes.get_mut(12..)?;
        for (to, byte) in room.iter_mut().zip(parity.payload.get(..payload_len)?) {
            *to = *byte;
        }
        for number in parity.numbers().filter(|number| *number != missing) {
            let copy = self.copy(number)?;
            let packet = copy.bytes.get(..usize::from(copy.len))?;
            length ^= copy.len.checked_sub(12)?;
            timestamp ^= u32_at(packet, 4)?;
            payload_type ^= u8_at(packet, 1)? & 0x7f;
            for (to, byte) in room.iter_mut().zip(packet.get(12..)?) {
                *to ^= *byte;
            }
        }
        let len = usize::from(length);
        let header = Header {
            payload_type,
            sequence: u16::try_from(missing & 0xffff).ok()?,
            timestamp,
            ssrc: self.ssrc,
            ..Header::default()
        };
        bytes.get_mut(..12)?.copy_from_slice(&header.encode());
        // What is longer than the FEC packet protects cannot be right.
        (len <= payload_len && 12 + len <= PACKET_BYTES)
            .then_some(Restored { bytes, len: 12 + len })
    }
}

impl Parity {
    fn numbers(&self) -> impl Iterator<Item = u64> {
        let (base, offset) = (self.base, u64::from(self.offset));
        (0..u64::from(self.count)).map(move |step| base.saturating_add(step * offset))
    }
}

fn place(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0) % MEDIA
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(number: u64) -> Vec<u8> {
        let header = Header {
            payload_type: 33,
            sequence: (number & 0xffff) as u16,
            timestamp: (number * 900) as u32,
            ssrc: 77,
            ..Header::default()
        };
        let len = 100 + number as usize % 7;
        [&header.encode()[..], &vec![(number * 37) as u8; len]].concat()
    }

    /// The FEC packet over `count` packets from `base`, `offset` apart.
    fn parity(base: u64, offset: u64, count: u64) -> Vec<u8> {
        let (mut length, mut timestamp, mut kind, mut payload) = (0u16, 0u32, 0u8, vec![]);
        for step in 0..count {
            let packet = media(base + step * offset);
            length ^= (packet.len() - 12) as u16;
            timestamp ^= u32_at(&packet, 4).unwrap();
            kind ^= packet[1] & 0x7f;
            payload.resize(payload.len().max(packet.len() - 12), 0);
            for (to, byte) in payload.iter_mut().zip(&packet[12..]) {
                *to ^= byte;
            }
        }
        let mut bytes = Header { payload_type: 96, ..Header::default() }.encode().to_vec();
        bytes.extend(((base & 0xffff) as u16).to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend([0x80 | kind, 0, 0, 0]);
        bytes.extend(timestamp.to_be_bytes());
        bytes.extend([if offset == 1 { 0x40 } else { 0 }, offset as u8, count as u8, 0]);
        bytes.extend(payload);
        bytes
    }

    /// A 5 × 5 matrix over the wrap without the packets of `lost`; what is restored.
    fn run(lost: &[u64], columns: bool, rows: bool) -> Vec<u64> {
        let base = 0x1_0000 - 7;
        let mut fec = Fec::new();
        for step in (0..25).filter(|step| !lost.contains(step)) {
            fec.media(base + step, &media(base + step));
        }
        let highest = base + 24;
        for step in 0..5 {
            if rows {
                assert!(fec.parity(&parity(base + 5 * step, 1, 5), highest));
            }
            if columns {
                assert!(fec.parity(&parity(base + step, 5, 5), highest));
            }
        }
        let mut restored = Vec::new();
        while let Some((number, packet)) = fec.restore(highest) {
            assert_eq!(packet.as_bytes(), media(number));
            restored.push(number - base);
        }
        restored.sort_unstable();
        restored
    }

    #[test]
    fn every_single_loss_of_a_row_or_column_is_restored() {
        for lost in 0..25 {
            assert_eq!(run(&[lost], true, false), [lost]);
            assert_eq!(run(&[lost], false, true), [lost]);
            assert_eq!(run(&[lost], true, true), [lost]);
        }
    }

    #[test]
    fn rows_and_columns_help_each_other() {
        assert_eq!(run(&[0, 1, 2, 5, 10], true, true), [0, 1, 2, 5, 10]);
        assert_eq!(run(&[0, 1, 2, 3, 4], true, false), [0, 1, 2, 3, 4], "a whole row");
        assert_eq!(run(&[0, 1], false, true), [0u64; 0], "two of one row");
        assert_eq!(run(&[0, 1, 5, 6], true, true), [0u64; 0], "a square");
    }

    #[test]
    fn forms_that_are_not_supported_and_short_packets_are_refused() {
        let good = parity(10, 5, 5);
        let mut fec = Fec::new();
        for (at, value) in [(24, 0x08), (25, 0), (26, 0), (25, 51), (26, 255), (0, 0)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            assert!(!fec.parity(&bytes, 20), "{at}");
        }
        for len in 0..28 {
            assert!(!fec.parity(&good[..len], 20));
        }
    }

    #[test]
    fn lies_restore_nothing_longer_than_they_are() {
        let mut bytes = parity(10, 1, 2);
        bytes[14] = 0xff;
        let mut fec = Fec::new();
        fec.media(10, &media(10));
        assert!(fec.parity(&bytes, 20));
        assert!(fec.restore(20).is_none());
    }
}
