//! Sections: put together from packets, then checked.
//!
//! ```text
//!  0          1          3              5         6          7       8
//! +----------+----------+--------------+---------+----------+-------+- - - -+--------+
//! | table_id | S.. len  | id extension | V.. C   | section  | last  | body  | CRC-32 |
//! +----------+----------+--------------+---------+----------+-------+- - - -+--------+
//!  S section_syntax_indicator, len 12 bits: bytes behind it     V version (5)  C current_next
//! ```

use crate::{Error, crc::crc32};

/// Longest section of a program association or map table: 3 bytes and a length of 1,021.
pub const SECTION_BYTES_MAX: usize = 1024;

const HEADER_BYTES: usize = 8;
const CRC_BYTES: usize = 4;

/// A section in the long syntax whose length and CRC are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// `table_id`.
    pub table_id: u8,
    /// `table_id_extension`: transport stream id or program number.
    pub extension: u16,
    /// `version_number`.
    pub version: u8,
    /// `current_next_indicator`: applies now, not later.
    pub current: bool,
    /// `section_number`.
    pub number: u8,
    /// `last_section_number`.
    pub last: u8,
    /// What lies between the header and the CRC.
    pub body: &'a [u8],
    /// The CRC, which tells one content from another.
    pub crc: u32,
}

impl<'a> Section<'a> {
    /// Checks and views a whole section.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(Error::SectionLength)?;
        let (body, crc) = rest.split_last_chunk::<CRC_BYTES>().ok_or(Error::SectionLength)?;
        let [table_id, length_high, length_low, id_high, id_low, version, number, last] = *head;
        let length = u16::from_be_bytes([length_high & 0x0F, length_low]);
        if usize::from(length) + 3 != bytes.len() || bytes.len() > SECTION_BYTES_MAX {
            return Err(Error::SectionLength);
        }
        if length_high & 0x80 == 0 || number > last {
            return Err(Error::SectionSyntax);
        }
        if crc32(bytes) != 0 {
            return Err(Error::SectionCrc);
        }
        Ok(Self {
            table_id,
            extension: u16::from_be_bytes([id_high, id_low]),
            version: version >> 1 & 0x1F,
            current: version & 1 != 0,
            number,
            last,
            body,
            crc: u32::from_be_bytes(*crc),
        })
    }
}

/// What the assembler has to say about a packet's payload.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Assembled<'a> {
    /// A whole section, not yet checked.
    Section(&'a [u8]),
    /// A section was cut short, or the `pointer_field` points beyond the packet.
    Malformed,
}

/// Puts the sections of one PID together; longer ones than `BYTES` are of no use here.
#[derive(Debug)]
pub(crate) struct Assembler<const BYTES: usize = SECTION_BYTES_MAX> {
    bytes: [u8; BYTES],
    /// Bytes of the open section so far; those beyond the buffer are counted, not kept.
    have: usize,
    open: bool,
}

impl<const BYTES: usize> Assembler<BYTES> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; BYTES], have: 0, open: false }
    }

    /// Drops the open section: bytes of it are missing.
    pub(crate) const fn drop_open(&mut self) {
        self.open = false;
    }

    /// Takes one packet's payload. Calls back for each section that it completes.
    pub(crate) fn push(
        &mut self,
        unit_start: bool,
        payload: &[u8],
        done: &mut impl FnMut(Assembled<'_>),
    ) {
        if !unit_start {
            if self.open {
                // What follows the section here is stuffing: a new one would need a pointer.
                self.extend(payload, done);
            }
            return;
        }
        let Some((tail, mut rest)) = payload
            .split_first()
            .and_then(|(&pointer, rest)| rest.split_at_checked(usize::from(pointer)))
        else {
            self.open = false;
            done(Assembled::Malformed);
            return;
        };
        if self.open {
            self.extend(tail, done);
            if self.open {
                done(Assembled::Malformed); // the next section starts before this one's end
            }
        }
        self.open = false;
        while rest.first().is_some_and(|&byte| byte != 0xFF) {
            self.open = true;
            self.have = 0;
            rest = self.extend(rest, done);
        }
    }

    /// Appends to the open section; returns what lies behind it once it is whole.
    fn extend<'a>(
        &mut self,
        mut bytes: &'a [u8],
        done: &mut impl FnMut(Assembled<'_>),
    ) -> &'a [u8] {
        loop {
            let wanted = self.length();
            let taken = wanted.saturating_sub(self.have).min(bytes.len());
            let (now, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
            self.keep(now);
            self.have += taken;
            bytes = rest;
            if self.have < wanted {
                return bytes; // empty: more comes with the next packet
            }
            if self.length() == wanted {
                break;
            }
        }
        self.open = false;
        // A longer one is of a private table, or malformed for the tables read here.
        match self.bytes.get(..self.have) {
            Some(section) => done(Assembled::Section(section)),
            None if matches!(self.bytes.first(), Some(0 | 2)) => done(Assembled::Malformed),
            None => {}
        }
        bytes
    }

    /// The section's length as far as it is known: its first three bytes tell the whole.
    fn length(&self) -> usize {
        let (high, low) = match self.bytes.first_chunk() {
            Some(&[_, high, low]) => (high, low),
            None => (0, 0),
        };
        if self.have < 3 { 3 } else { 3 + usize::from(u16::from_be_bytes([high & 0x0F, low])) }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.bytes.get_mut(self.have..).unwrap_or(&mut []);
        for (to, &from) in room.iter_mut().zip(bytes) {
            *to = from;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Builds a section with its length and CRC.
    pub(crate) fn section(
        table_id: u8,
        extension: u16,
        version: u8,
        (number, last): (u8, u8),
        body: &[u8],
    ) -> Vec<u8> {
        let length = u16::try_from(body.len() + 9).unwrap();
        let mut bytes = vec![table_id];
        bytes.extend((0xB000 | length).to_be_bytes());
        bytes.extend(extension.to_be_bytes());
        bytes.extend([0xC1 | version << 1, number, last]);
        bytes.extend(body);
        bytes.extend(crc32(&bytes).to_be_bytes());
        bytes
    }

    fn assemble(payloads: &[(bool, Vec<u8>)]) -> Vec<Option<Vec<u8>>> {
        let mut assembler = <Assembler>::new();
        let mut seen = Vec::new();
        for (start, payload) in payloads {
            assembler.push(*start, payload, &mut |done| {
                seen.push(match done {
                    Assembled::Section(bytes) => Some(bytes.to_vec()),
                    Assembled::Malformed => None,
                });
            });
        }
        seen
    }

    #[test]
    fn header_fields() {
        let bytes = section(2, 0x1234, 21, (3, 7), b"body");
        let parsed = Section::parse(&bytes).unwrap();
        assert_eq!((parsed.table_id, parsed.extension), (2, 0x1234));
        assert_eq!((parsed.version, parsed.current), (21, true));
        assert_eq!((parsed.number, parsed.last, parsed.body), (3, 7, &b"body"[..]));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = section(0, 1, 0, (0, 0), &[0, 1, 0xE1, 0]);
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(Section::parse(&broken).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = section(0, 1, 0, (0, 0), &[0, 1, 0xE1, 0]);
        for length in 0..bytes.len() {
            assert!(Section::parse(&bytes[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn section_number_above_the_last_is_refused() {
        let bytes = section(0, 1, 0, (2, 1), &[]);
        assert_eq!(Section::parse(&bytes), Err(Error::SectionSyntax));
    }

    #[test]
    fn several_sections_in_one_packet() {
        let (a, b) = (section(2, 1, 0, (0, 0), b"one"), section(2, 2, 0, (0, 0), b"two"));
        let payload = [&[0][..], &a, &b, &[0xFF; 20]].concat();
        assert_eq!(assemble(&[(true, payload)]), [Some(a), Some(b)]);
    }

    #[test]
    fn section_over_packets_split_at_every_byte() {
        let a = section(2, 1, 0, (0, 0), &[7; 300]);
        let b = section(2, 2, 0, (0, 0), &[8; 9]);
        for at in 1..a.len() {
            let first = [&[0][..], &a[..at]].concat();
            let left = &a[at..];
            let whole = if let Ok(pointer) = u8::try_from(left.len()) {
                let second = [&[pointer][..], left, &b, &[0xFF; 3]].concat();
                assemble(&[(true, first), (true, second)])
            } else {
                let second = [left, &[0xFF; 3]].concat();
                let third = [&[0][..], &b].concat();
                assemble(&[(true, first), (false, second), (true, third)])
            };
            assert_eq!(whole, [Some(a.clone()), Some(b.clone())], "split at {at}");
        }
    }

    #[test]
    fn pointer_beyond_the_packet_is_malformed() {
        assert_eq!(assemble(&[(true, vec![3, 0, 0])]), [None]);
        assert_eq!(assemble(&[(true, vec![])]), [None]);
    }

    #[test]
    fn section_cut_by_the_next_start_is_malformed() {
        let a = section(2, 1, 0, (0, 0), &[7; 300]);
        let b = section(2, 2, 0, (0, 0), &[8; 9]);
        let seen =
            assemble(&[(true, [&[0][..], &a[..100]].concat()), (true, [&[0][..], &b].concat())]);
        assert_eq!(seen, [None, Some(b)]);
    }

    #[test]
    fn oversized_private_section_is_passed_over() {
        let mut long = vec![0xC0, 0xBF, 0xF0];
        long.resize(3 + 0xFF0, 1);
        let b = section(2, 2, 0, (0, 0), &[8; 9]);
        let mut payloads = vec![(true, [&[0][..], &long[..183]].concat())];
        for chunk in long[183..4000].chunks(184) {
            payloads.push((false, chunk.to_vec()));
        }
        let tail = &long[4000..];
        let pointer = u8::try_from(tail.len()).unwrap();
        payloads.push((true, [&[pointer][..], tail, &b].concat()));
        assert_eq!(assemble(&payloads), [Some(b)]);
    }

    #[test]
    fn nothing_is_read_before_the_first_start() {
        assert_eq!(assemble(&[(false, section(2, 1, 0, (0, 0), b"x"))]), []);
    }
}
