//! What the kernel writes into a slot for one received datagram.
//!
//! ```text
//!  0                16               44               108            16 + 28 + 64 + payload
//!  ┌────────────────┬────────────────┬────────────────┬───────────────────┐
//!  │ name length    │ peer's address │ control:       │ payload           │
//!  │ control length │ (28, padded)   │ arrival stamp, │                   │
//!  │ payload length │                │ drop count     │                   │
//!  │ flags          │                │ (64, padded)   │                   │
//!  └────────────────┴────────────────┴────────────────┴───────────────────┘
//! ```
//! The offsets are those asked for, whatever really came.

use std::net::SocketAddr;

use memory::{Datagram, Slot};

use crate::SocketIndex;
use crate::name::{self, NAME_BYTES};

/// Room for control messages: an arrival stamp takes 32 bytes, a drop count 24.
pub(crate) const CONTROL_BYTES: usize = 64;
/// `struct io_uring_recvmsg_out`.
const HEADER_BYTES: usize = 16;
const CONTROL_START: usize = HEADER_BYTES + NAME_BYTES;
/// Where the payload begins.
pub(crate) const PAYLOAD_START: u16 = 108;
const _: () = assert!(PAYLOAD_START as usize == CONTROL_START + CONTROL_BYTES);

/// `struct cmsghdr`: length, level, type.
const CONTROL_HEADER_BYTES: usize = 16;
/// `MSG_TRUNC`, as the header's flags have it.
const TRUNCATED: u32 = libc::MSG_TRUNC.cast_unsigned();

/// One received datagram.
#[derive(Debug)]
pub struct Received {
    /// The socket it came in on.
    pub socket: SocketIndex,
    /// Who sent it.
    pub peer: SocketAddr,
    /// Its payload. Empty ones are handed out too.
    pub datagram: Datagram,
    /// When the kernel took it in, `CLOCK_REALTIME` nanoseconds.
    pub arrival_realtime_ns: Option<u64>,
    /// The payload was larger than a slot and has been cut.
    pub truncated: bool,
}

/// The parts of a message as it lies in its slot.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) peer: SocketAddr,
    pub(crate) datagram: Datagram,
    pub(crate) control: Control,
    pub(crate) truncated: bool,
}

/// What the control messages said.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) arrival_realtime_ns: Option<u64>,
    /// Datagrams this socket has dropped since it was opened, modulo 2^32.
    pub(crate) drops: Option<u32>,
}

impl Message {
    /// Reads the message of `bytes` bytes in `slot`; `None` when it makes no sense.
    pub(crate) fn parse(slot: Slot, bytes: u16) -> Option<Self> {
        let payload_len = bytes.checked_sub(PAYLOAD_START)?;
        let (header, rest) = slot.split_first_chunk::<HEADER_BYTES>()?;
        let word = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| header[at + i]));
        let (name_len, control_len, flags) = (word(0) as usize, word(4) as usize, word(12));
        let (name, rest) = rest.split_first_chunk::<NAME_BYTES>()?;
        let peer = name::parse(name.get(..name_len)?)?;
        let control = Control::parse(rest.get(..control_len.min(CONTROL_BYTES))?);
        let datagram = Datagram::new(slot, PAYLOAD_START, payload_len)?;
        Some(Self { peer, datagram, control, truncated: flags & TRUNCATED != 0 })
    }
}

impl Control {
    pub(crate) fn parse(mut bytes: &[u8]) -> Self {
        let mut control = Self::default();
        while let Some((header, rest)) = bytes.split_first_chunk::<CONTROL_HEADER_BYTES>() {
            let [l0, l1, l2, l3, l4, l5, l6, l7, v0, v1, v2, v3, t0, t1, t2, t3] = *header;
            let len = usize::from_ne_bytes([l0, l1, l2, l3, l4, l5, l6, l7]);
            let level = i32::from_ne_bytes([v0, v1, v2, v3]);
            let kind = i32::from_ne_bytes([t0, t1, t2, t3]);
            let Some(data) = len.checked_sub(CONTROL_HEADER_BYTES).and_then(|len| rest.get(..len))
            else {
                break;
            };
            if level == libc::SOL_SOCKET {
                control.read(kind, data);
            }
            // The next message begins on a multiple of the word.
            let Some(next) = bytes.get(len.next_multiple_of(size_of::<usize>())..) else {
                break;
            };
            bytes = next;
        }
        control
    }

    fn read(&mut self, kind: i32, data: &[u8]) {
        match kind {
            libc::SCM_TIMESTAMPNS => {
                let mut words = data.chunks_exact(8);
                let mut word = || {
                    let bytes = words.next()?.first_chunk::<8>()?;
                    u64::try_from(i64::from_ne_bytes(*bytes)).ok()
                };
                if let (Some(seconds), Some(nanoseconds)) = (word(), word()) {
                    let nanos = seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds);
                    self.arrival_realtime_ns = Some(nanos);
                }
            }
            libc::SO_RXQ_OVFL => {
                self.drops = data.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memory::Slab;

    fn control_message(kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (CONTROL_HEADER_BYTES + data.len()).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn stamp(seconds: i64, nanoseconds: i64) -> Vec<u8> {
        let data = [seconds.to_ne_bytes(), nanoseconds.to_ne_bytes()].concat();
        control_message(libc::SCM_TIMESTAMPNS, &data)
    }

    #[test]
    fn stamp_and_drop_count_are_read_in_either_order() {
        let drops = control_message(libc::SO_RXQ_OVFL, &7u32.to_ne_bytes());
        let expected = Control { arrival_realtime_ns: Some(2_000_000_005), drops: Some(7) };
        assert_eq!(Control::parse(&[stamp(2, 5), drops.clone()].concat()), expected);
        assert_eq!(Control::parse(&[drops, stamp(2, 5)].concat()), expected);
    }

    #[test]
    fn control_messages_cut_anywhere_are_read_as_far_as_they_go() {
        let drops = control_message(libc::SO_RXQ_OVFL, &7u32.to_ne_bytes());
        let all = [stamp(2, 5), drops].concat();
        for len in 0..all.len() {
            let control = Control::parse(&all[..len]);
            assert_eq!(control.arrival_realtime_ns.is_some(), len >= 32);
            assert_eq!(control.drops.is_some(), len >= 32 + CONTROL_HEADER_BYTES + 4);
        }
    }

    #[test]
    fn a_control_message_shorter_than_its_header_ends_the_reading() {
        let mut bytes = stamp(1, 1);
        bytes[..8].copy_from_slice(&3usize.to_ne_bytes());
        assert_eq!(Control::parse(&bytes), Control::default());
        bytes[..8].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert_eq!(Control::parse(&bytes), Control::default());
    }

    #[test]
    fn a_message_without_peer_or_shorter_than_its_header_is_none() {
        let slab = Slab::new(1).unwrap();
        for bytes in [0, PAYLOAD_START - 1, PAYLOAD_START, 2048] {
            let mut slot = slab.take().unwrap();
            slot.fill(0);
            assert!(Message::parse(slot, bytes).is_none());
            assert_eq!(slab.free(), 1);
        }
    }
}
