//! The heap's memory on huge pages.
//!
//! What thousands of sessions need of their state for each packet lies on as many small pages, and
//! finding a page whose place the processor does not have at hand costs more than fetching the bytes:
//! on huge pages a look at memory that is far away takes half the time.

use std::ffi::c_void;
use std::ops::Range;

use crate::mapping::{HUGE_PAGE_BYTES, PAGE_BYTES};

/// A block of which so many thousandths are in memory is worth a huge page: what was never touched
/// is taken with it.
const RESIDENT_PERMILLE_MIN: usize = 800;

/// Moves what the process has taken of its own memory to huge pages: each block of which nearly all is
/// in use, and where the system has one. Returns how many bytes that are. Worth it once, when
/// everything has been allocated: it takes up to a millisecond for each MiB. Contents and addresses
/// stay, and other threads may go on.
pub fn gather_heap() -> usize {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return 0 };
    let blocks = maps.lines().filter_map(own_memory).flat_map(blocks);
    blocks.filter(|block| is_in_use(*block) && collapse(*block)).count() * HUGE_PAGE_BYTES
}

/// The range of a line of `maps`, if it is memory of the process's own that may be written.
fn own_memory(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let (rights, inode, name) = (fields.next()?, fields.nth(2)?, fields.next());
    let own = rights == "rw-p" && inode == "0" && matches!(name, None | Some("[heap]"));
    let address = |digits| usize::from_str_radix(digits, 16).ok().filter(|_| own);
    Some(address(start)?..address(end)?)
}

/// The whole huge pages in a range.
fn blocks(range: Range<usize>) -> impl Iterator<Item = usize> {
    let first = range.start.checked_next_multiple_of(HUGE_PAGE_BYTES).unwrap_or(usize::MAX);
    (first..range.end).step_by(HUGE_PAGE_BYTES).filter(move |at| range.end - at >= HUGE_PAGE_BYTES)
}

fn is_in_use(block: usize) -> bool {
    let mut resident = [0_u8; HUGE_PAGE_BYTES / PAGE_BYTES];
    let at = std::ptr::without_provenance_mut::<c_void>(block);
    // JUSTIFICATION: there is no safe way to ask.
    // SAFETY: one byte is written for each page, of which a huge page has no more than this where no
    // page is smaller; the range is only asked about, and when it is no longer mapped the call says so.
    let asked = unsafe { libc::mincore(at, HUGE_PAGE_BYTES, resident.as_mut_ptr()) };
    let pages = resident.iter().filter(|page| **page & 1 == 1).count();
    asked == 0 && pages * 1_000 >= resident.len() * RESIDENT_PERMILLE_MIN
}

fn collapse(block: usize) -> bool {
    let at = std::ptr::without_provenance_mut::<c_void>(block);
    // JUSTIFICATION: there is no safe way to say it.
    // SAFETY: the advice changes neither contents nor addresses nor rights, whoever's the range is.
    unsafe { libc::madvise(at, HUGE_PAGE_BYTES, libc::MADV_COLLAPSE) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_of_the_processs_own_is_taken() {
        let own = "7f0000200000-7f0000a00000 rw-p 00000000 00:00 0 ";
        assert_eq!(own_memory(own), Some(0x7f00_0020_0000..0x7f00_00a0_0000));
        let heap = "55d0c0000000-55d0c4000000 rw-p 00000000 00:00 0    [heap]";
        assert_eq!(own_memory(heap), Some(0x55d0_c000_0000..0x55d0_c400_0000));
        for other in [
            "7f0000200000-7f0000a00000 rw-s 00000000 00:01 2049   /memfd:penstock ring (deleted)",
            "7f0000200000-7f0000a00000 r--p 00000000 fe:00 77     /usr/lib/libc.so.6",
            "7f0000200000-7f0000a00000 rw-p 00000000 fe:00 77     /usr/lib/libc.so.6",
            "7f0000200000-7f0000a00000 ---p 00000000 00:00 0 ",
            "7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0      [stack]",
            "7f00 rw-p 00000000 00:00 0",
            "",
        ] {
            assert_eq!(own_memory(other), None, "{other}");
        }
    }

    #[test]
    fn a_block_is_a_whole_huge_page_of_the_range() {
        let found = |range| blocks(range).collect::<Vec<_>>();
        assert_eq!(found(0x20_0000..0x60_0000), [0x20_0000, 0x40_0000]);
        assert_eq!(found(0x20_1000..0x80_0000 - 1), [0x40_0000]);
        assert_eq!(found(0x20_1000..0x40_0000), []);
        assert_eq!(found(usize::MAX - 0x1000..usize::MAX), []);
    }

    #[cfg(not(miri))]
    #[test]
    fn what_is_in_memory_stays_as_it_is() {
        let bytes: Vec<u32> = (0..4 << 20).collect();
        gather_heap();
        assert!(bytes.iter().zip(0..).all(|(byte, at)| *byte == at));
    }
}
