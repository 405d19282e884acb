//! The program map table (H.222.0 2.4.4.8): the elementary streams of one program.

use super::Section;
use crate::Error;

const TABLE_ID: u8 = 2;

/// A parsed map table; borrows its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pmt<'a> {
    /// `program_number`.
    pub program: u16,
    /// The PID that carries the program's clock; 0x1FFF for none.
    pub pcr_pid: u16,
    /// Descriptors of the program.
    pub descriptors: &'a [u8],
    streams: &'a [u8],
}

/// One elementary stream of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elementary<'a> {
    /// `stream_type`.
    pub stream_type: u8,
    /// Its PID.
    pub pid: u16,
    /// Its descriptors.
    pub descriptors: &'a [u8],
}

impl<'a> Pmt<'a> {
    /// Parses a section of table 2. Every length in it is checked here.
    pub fn parse(section: &Section<'a>) -> Result<Self, Error> {
        // The table is one section (2.4.4.9).
        if section.table_id != TABLE_ID || section.number != 0 {
            return Err(Error::SectionSyntax);
        }
        let ([pcr_high, pcr_low, length_high, length_low], rest) =
            section.body.split_first_chunk::<4>().ok_or(Error::SectionLength)?;
        let length = u16::from_be_bytes([length_high & 0x0F, *length_low]);
        let (descriptors, streams) =
            rest.split_at_checked(usize::from(length)).ok_or(Error::SectionLength)?;
        let pmt = Self {
            program: section.extension,
            pcr_pid: u16::from_be_bytes([pcr_high & 0x1F, *pcr_low]),
            descriptors,
            streams,
        };
        let mut walk = pmt.streams();
        walk.by_ref().for_each(drop);
        if walk.rest.is_empty() { Ok(pmt) } else { Err(Error::SectionLength) }
    }

    /// The streams, in the table's order.
    pub const fn streams(&self) -> ElementaryIter<'a> {
        ElementaryIter { rest: self.streams }
    }
}

/// Walks the streams of a [`Pmt`].
#[derive(Debug, Clone)]
pub struct ElementaryIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for ElementaryIter<'a> {
    type Item = Elementary<'a>;

    fn next(&mut self) -> Option<Elementary<'a>> {
        let ([stream_type, pid_high, pid_low, length_high, length_low], rest) =
            self.rest.split_first_chunk::<5>()?;
        let length = u16::from_be_bytes([length_high & 0x0F, *length_low]);
        let (descriptors, rest) = rest.split_at_checked(usize::from(length))?;
        self.rest = rest;
        Some(Elementary {
            stream_type: *stream_type,
            pid: u16::from_be_bytes([pid_high & 0x1F, *pid_low]),
            descriptors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::psi::section::tests::section;

    const BODY: [u8; 22] = [
        0xE1, 0x00, 0xF0, 0x02, 0x05, 0x00, // PCR PID, one empty program descriptor
        0x1B, 0xE1, 0x00, 0xF0, 0x00, // H.264
        0x0F, 0xE1, 0x01, 0xF0, 0x06, 0x0A, 0x04, b'd', b'e', b'u', 0, // AAC with language
    ];

    #[test]
    fn lists_streams_with_descriptors() {
        let bytes = section(2, 9, 0, (0, 0), &BODY);
        let section = Section::parse(&bytes).unwrap();
        let pmt = Pmt::parse(&section).unwrap();
        assert_eq!((pmt.program, pmt.pcr_pid), (9, 0x100));
        assert_eq!(pmt.descriptors, [5, 0]);
        let streams: Vec<_> = pmt.streams().collect();
        assert_eq!(streams.len(), 2);
        assert_eq!((streams[0].stream_type, streams[0].pid), (0x1B, 0x100));
        assert_eq!((streams[1].stream_type, streams[1].pid), (0x0F, 0x101));
        assert_eq!(streams[1].descriptors, [0x0A, 4, b'd', b'e', b'u', 0]);
    }

    #[test]
    fn every_truncation_is_refused_or_shorter() {
        for length in 0..BODY.len() {
            let bytes = section(2, 9, 0, (0, 0), &BODY[..length]);
            let section = Section::parse(&bytes).unwrap();
            let whole = length == 6 || length == 11;
            assert_eq!(Pmt::parse(&section).is_ok(), whole, "length {length}");
        }
    }

    #[test]
    fn other_table_or_second_section_is_refused() {
        for bytes in [section(3, 9, 0, (0, 0), &BODY), section(2, 9, 0, (1, 1), &BODY)] {
            let section = Section::parse(&bytes).unwrap();
            assert_eq!(Pmt::parse(&section), Err(Error::SectionSyntax));
        }
    }
}
