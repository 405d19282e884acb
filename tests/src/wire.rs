//! What passed through a relay, read from the packets themselves: the truth of the wire, whatever
//! either side says of itself.

use std::sync::{Mutex, PoisonError};

/// Of the SRT packets that a relay was given, lost ones too, both directions together.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Data packets in clear text.
    pub clear: u64,
    /// Data packets under the even key.
    pub even: u64,
    /// Data packets under the odd key.
    pub odd: u64,
    /// Data packets sent again.
    pub retransmitted: u64,
    /// Key messages after the handshake: requests, repeated ones too.
    pub key_messages: u64,
    /// Handshakes in the order they came; `true` from the side that the relay listens for.
    pub handshakes: Vec<(bool, Vec<u8>)>,
}

/// Handshakes kept of a relay's whole life.
const HANDSHAKES_MAX: usize = 256;
/// Where the handshake's own fields begin.
const HEADER_BYTES: usize = 16;
/// Where its extensions begin.
const EXTENSIONS_AT: usize = 64;
/// `KMREQ` among them.
const KEY_REQUEST: u16 = 3;

impl Seen {
    fn note(&mut self, forth: bool, datagram: &[u8]) {
        let Some(header) = datagram.first_chunk::<HEADER_BYTES>() else { return };
        if header[0] & 0x80 == 0 {
            let keys = (header[4] >> 3) & 3;
            let count = [&mut self.clear, &mut self.even, &mut self.odd];
            if let Some(count) = count.into_iter().nth(keys.into()) {
                *count += 1;
            }
            self.retransmitted += u64::from(header[4] >> 2 & 1);
            return;
        }
        match (u16::from_be_bytes([header[0], header[1]]) & 0x7fff, header[3]) {
            (0, _) if self.handshakes.len() < HANDSHAKES_MAX => {
                self.handshakes.push((forth, datagram.to_vec()));
            }
            (0x7fff, 3) => self.key_messages += 1,
            _ => {}
        }
    }

    /// Conclusions (handshake type -1) of one direction.
    pub fn conclusions(&self, forth: bool) -> impl Iterator<Item = &[u8]> {
        let is_conclusion = |datagram: &&[u8]| {
            datagram.get(HEADER_BYTES + 20..HEADER_BYTES + 24) == Some(&[0xff; 4])
        };
        let of_direction = self.handshakes.iter().filter(move |(way, _)| *way == forth);
        of_direction.map(|(_, datagram)| datagram.as_slice()).filter(is_conclusion)
    }

    /// The cipher (2 is CTR, 4 GCM) and the bytes of a key, as the handshake agreed on them.
    pub fn key_material(&self) -> Option<(u8, usize)> {
        self.handshakes
            .iter()
            .find_map(|(_, datagram)| key_material(datagram.get(EXTENSIONS_AT..)?))
    }
}

fn key_material(mut extensions: &[u8]) -> Option<(u8, usize)> {
    while let [kind_high, kind_low, high, low, rest @ ..] = extensions {
        let bytes = usize::from(u16::from_be_bytes([*high, *low])) * 4;
        let content = rest.get(..bytes)?;
        if u16::from_be_bytes([*kind_high, *kind_low]) == KEY_REQUEST {
            return Some((*content.get(8)?, usize::from(*content.get(15)?) * 4));
        }
        extensions = &rest[bytes..];
    }
    None
}

/// A [`Seen`] that a relay's thread writes.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Seen>);

impl Watch {
    /// Looks at one datagram.
    pub fn note(&self, forth: bool, datagram: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).note(forth, datagram);
    }

    /// What was seen until now.
    pub fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_connection_is_read_right() {
        let recorded = include_str!("../vectors/srt-push-gcm-192.txt");
        let mut seen = Seen::default();
        for line in recorded.lines().filter(|line| !line.starts_with('#')) {
            let (way, text) = line.split_once(' ').unwrap();
            let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
            let datagram: Vec<u8> = (0..text.len()).step_by(2).map(byte).collect();
            seen.note(way != "<", &datagram);
        }
        assert_eq!(seen.key_material(), Some((4, 24)));
        assert_eq!((seen.clear, seen.even + seen.odd, seen.retransmitted), (0, 41, 1));
        assert!(seen.even > 0 && seen.odd > 0, "{seen:?}");
        assert_eq!(seen.key_messages, 2);
        assert_eq!((seen.conclusions(true).count(), seen.conclusions(false).count()), (1, 1));
    }
}
