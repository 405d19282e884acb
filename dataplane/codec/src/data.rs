//! What is neither pictures nor sound, as PES packets carry it: metadata access units (ISO/IEC
//! 13818-1, 2.12), DVB subtitles (ETSI EN 300 743).

use core::ops::Range;

use crate::Error;

/// Bytes of the header of a metadata access unit cell (table 2-97).
const CELL_HEADER_BYTES: usize = 5;

/// Where a metadata access unit lies, and what of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// First byte behind the header.
    pub start: usize,
    /// Bytes.
    pub len: usize,
    /// It begins an access unit.
    pub first: bool,
    /// It ends one.
    pub last: bool,
}

impl Cell {
    /// Its bytes in the payload.
    pub const fn range(&self) -> Range<usize> {
        self.start..self.start + self.len
    }
}

/// The cell that begins at `at`; `None` at the end of the payload.
///
/// ```text
///  service id 8 | sequence number 8 | fragment 2 | config 1 | random access 1 | reserved 4 |
///  length 16 | bytes
/// ```
pub fn metadata_cell(payload: &[u8], at: usize) -> Option<Result<Cell, Error>> {
    let rest = payload.get(at..).filter(|rest| !rest.is_empty())?;
    let Some(&[_, _, flags, high, low]) = rest.first_chunk::<CELL_HEADER_BYTES>() else {
        return Some(Err(Error::Truncated));
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if rest.len() < CELL_HEADER_BYTES + len {
        return Some(Err(Error::Truncated));
    }
    let (first, last) = (flags & 0x80 != 0, flags & 0x40 != 0);
    Some(Ok(Cell { start: at + CELL_HEADER_BYTES, len, first, last }))
}

/// The subtitling segments of a PES packet's payload, without what stands before and behind them
/// (EN 300 743, 7.1): data_identifier 0x20, subtitle_stream_id 0, segments, 0xff.
pub fn subtitling_segments(payload: &[u8]) -> Result<&[u8], Error> {
    let segments = payload.strip_prefix(&[0x20, 0x00]).ok_or(Error::NoSync)?;
    let mut at = 0;
    while let Some([0x0f, _, _, _, high, low]) = segments.get(at..).and_then(<[u8]>::first_chunk) {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        at += 6 + len;
        if at > segments.len() {
            return Err(Error::Truncated);
        }
    }
    match segments.get(..at) {
        Some(segments) if at > 0 => Ok(segments),
        _ => Err(Error::Truncated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_follow_each_other_with_their_place_in_a_unit() {
        let payload = [0, 1, 0xdf, 0, 2, 7, 8, 0, 2, 0x9f, 0, 1, 9, 0, 3, 0x5f, 0, 0];
        let mut at = 0;
        let mut found = Vec::new();
        while let Some(cell) = metadata_cell(&payload, at) {
            let cell = cell.unwrap();
            found.push((&payload[cell.range()], cell.first, cell.last));
            at = cell.range().end;
        }
        let wanted = [(&[7, 8][..], true, true), (&[9][..], true, false), (&[][..], false, true)];
        assert_eq!(found, wanted);
        for len in 1..7 {
            assert_eq!(metadata_cell(&payload[..len], 0), Some(Err(Error::Truncated)), "{len}");
        }
        assert_eq!(metadata_cell(&payload, 18), None);
        assert_eq!(metadata_cell(&payload, 99), None);
    }

    #[test]
    fn segments_are_without_what_frames_them() {
        let segment = [0x0f, 0x10, 0, 1, 0, 2, 0x0a, 0];
        let payload = [&[0x20, 0][..], &segment, &segment, &[0xff]].concat();
        assert_eq!(subtitling_segments(&payload), Ok(&payload[2..18]));
        assert_eq!(subtitling_segments(&payload[..18]), Ok(&payload[2..18]), "without an end");
        assert_eq!(subtitling_segments(&payload[..17]), Err(Error::Truncated));
        assert_eq!(subtitling_segments(&[0x20, 0, 0xff]), Err(Error::Truncated));
        assert_eq!(subtitling_segments(&payload[1..]), Err(Error::NoSync));
    }
}
