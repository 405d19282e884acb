//! Parts of packets that wait as slots: until the length of what they belong to is known (AV1), or
//! its order (JPEG XS out of order, interleaved NAL units).

use super::interleave::Waiting;
use crate::packet::Packet;

/// A part of a packet's payload.
#[derive(Debug)]
pub(crate) struct Piece {
    packet: Packet,
    start: usize,
    len: usize,
    pub(crate) order: u32,
}

impl Piece {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.packet.payload().get(self.start..self.start + self.len).unwrap_or_default()
    }
}

/// Pieces in the order they came; never more than their room.
#[derive(Debug)]
pub(crate) struct Held {
    pieces: Vec<Piece>,
    pieces_max: usize,
    bytes: usize,
    /// Of interleaved streams, which hold nothing else.
    pub(crate) waiting: Waiting,
}

impl Held {
    pub(crate) fn new(pieces_max: usize) -> Self {
        Self {
            pieces: Vec::with_capacity(pieces_max),
            pieces_max,
            bytes: 0,
            waiting: Waiting::new(pieces_max),
        }
    }

    /// Bytes that room for so many pieces takes.
    pub(crate) const fn room(pieces_max: usize) -> usize {
        pieces_max * size_of::<Piece>() + Waiting::room(pieces_max)
    }

    /// Keeps `len` bytes of the packet's payload from `start` on. False when there is no room.
    pub(crate) fn push(&mut self, packet: Packet, start: usize, len: usize, order: u32) -> bool {
        if self.pieces.len() >= self.pieces_max {
            return false;
        }
        self.bytes = self.bytes.saturating_add(len);
        self.pieces.push(Piece { packet, start, len, order });
        true
    }

    pub(crate) const fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Bytes of all pieces.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts the pieces in their order.
    pub(crate) fn sort(&mut self) {
        self.pieces.sort_unstable_by_key(|piece| piece.order);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter()
    }

    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
        self.bytes = 0;
        self.waiting.clear();
    }
}
