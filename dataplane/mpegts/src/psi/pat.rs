//! The program association table (H.222.0 2.4.4.3): which programs there are, gathered over all
//! its sections.

use super::Section;
use crate::{
    Error,
    packet::{PID_NULL, PID_PAT},
};

/// Most programs that are listed.
const PROGRAMS_MAX: usize = 64;

const TABLE_ID: u8 = 0;
/// PIDs below are the standard's own.
const PID_FIRST_FREE: u16 = 0x10;

/// One program of the association table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Program {
    /// Its number.
    pub number: u16,
    /// The PID of its map table.
    pub pmt_pid: u16,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    program: Program,
    /// Sections may come in any order; the table's order is theirs.
    section: u8,
}

/// What a section did to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing new, or more sections are to come.
    None,
    /// The table is whole and differs from the one before.
    Complete,
}

/// Gathers the table.
#[derive(Debug)]
pub struct Pat {
    key: Option<Key>,
    crcs: [u32; 256],
    seen: [u64; 4],
    gathered: [Entry; PROGRAMS_MAX],
    gathered_len: usize,
    programs: [Program; PROGRAMS_MAX],
    programs_len: usize,
    complete: bool,
    unlisted: u64,
}

/// What the sections of one table have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    stream: u16,
    version: u8,
    last: u8,
}

impl Default for Pat {
    fn default() -> Self {
        Self::new()
    }
}

impl Pat {
    /// An empty table.
    pub const fn new() -> Self {
        const NONE: Program = Program { number: 0, pmt_pid: 0 };
        const EMPTY: Entry = Entry { program: NONE, section: 0 };
        Self {
            key: None,
            crcs: [0; 256],
            seen: [0; 4],
            gathered: [EMPTY; PROGRAMS_MAX],
            gathered_len: 0,
            programs: [NONE; PROGRAMS_MAX],
            programs_len: 0,
            complete: false,
            unlisted: 0,
        }
    }

    /// Forgets everything.
    pub const fn reset(&mut self) {
        self.key = None;
        self.programs_len = 0;
        self.complete = false;
        self.unlisted = 0;
    }

    /// A whole table has been seen.
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// The programs of the last whole table, in its order.
    pub fn programs(&self) -> &[Program] {
        self.programs.get(..self.programs_len).unwrap_or(&[])
    }

    /// Programs seen that did not fit the list.
    pub const fn unlisted(&self) -> u64 {
        self.unlisted
    }

    /// Takes a section. The program `wanted` finds a place even where the list is full.
    pub fn section(&mut self, section: &Section<'_>, wanted: Option<u16>) -> Result<Change, Error> {
        if section.table_id != TABLE_ID || !section.current {
            return Ok(Change::None);
        }
        if !section.body.len().is_multiple_of(4) {
            return Err(Error::SectionSyntax);
        }
        let key = Key { stream: section.extension, version: section.version, last: section.last };
        if self.key == Some(key) && self.has(section.number) {
            if self.crcs.get(usize::from(section.number)) == Some(&section.crc) {
                return Ok(Change::None);
            }
            self.key = None; // same version, other content: seen in the wild
        }
        if self.key != Some(key) {
            self.key = Some(key);
            self.seen = [0; 4];
            self.gathered_len = 0;
        }
        self.gather(section, wanted);
        Ok(self.finish(section.last))
    }

    fn has(&self, number: u8) -> bool {
        let word = self.seen.get(usize::from(number >> 6)).copied();
        word.unwrap_or(0) >> (number & 63) & 1 != 0
    }

    fn gather(&mut self, section: &Section<'_>, wanted: Option<u16>) {
        if let Some(word) = self.seen.get_mut(usize::from(section.number >> 6)) {
            *word |= 1 << (section.number & 63);
        }
        if let Some(crc) = self.crcs.get_mut(usize::from(section.number)) {
            *crc = section.crc;
        }
        let (entries, _) = section.body.as_chunks::<4>();
        for &[number_high, number_low, pid_high, pid_low] in entries {
            let program = Program {
                number: u16::from_be_bytes([number_high, number_low]),
                pmt_pid: u16::from_be_bytes([pid_high & 0x1F, pid_low]),
            };
            let usable = (PID_FIRST_FREE..PID_NULL).contains(&program.pmt_pid);
            // Number 0 is the network information table.
            if program.number != 0 && usable && program.pmt_pid != PID_PAT {
                self.list(program, section.number, wanted);
            }
        }
    }

    fn list(&mut self, program: Program, section: u8, wanted: Option<u16>) {
        let entry = Entry { program, section };
        if let Some(free) = self.gathered.get_mut(self.gathered_len) {
            *free = entry;
            self.gathered_len += 1;
            return;
        }
        self.unlisted += 1;
        if wanted == Some(program.number)
            && let Some(last) = self.gathered.last_mut()
        {
            *last = entry;
        }
    }

    fn finish(&mut self, last: u8) -> Change {
        if !(0..=last).all(|number| self.has(number)) {
            return Change::None;
        }
        let gathered = self.gathered.get_mut(..self.gathered_len).unwrap_or(&mut []);
        sort_by_section(gathered);
        let entries = gathered.iter().map(|entry| entry.program);
        let same = self.complete
            && self.programs_len == self.gathered_len
            && entries.clone().eq(self.programs.iter().copied().take(self.programs_len));
        if same {
            return Change::None;
        }
        for (to, from) in self.programs.iter_mut().zip(entries) {
            *to = from;
        }
        self.programs_len = self.gathered_len;
        self.complete = true;
        Change::Complete
    }
}

/// Stable and in place; the list is short and nearly always in order already.
fn sort_by_section(entries: &mut [Entry]) {
    for end in 1..entries.len() {
        for at in (1..=end).rev() {
            let Some([before, here]) = entries.get_mut(at - 1..=at) else {
                break;
            };
            if before.section <= here.section {
                break;
            }
            std::mem::swap(before, here);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::psi::section::tests::section;

    fn body(programs: &[(u16, u16)]) -> Vec<u8> {
        let entry =
            |&(number, pid): &(u16, u16)| [number.to_be_bytes(), (0xE000 | pid).to_be_bytes()];
        programs.iter().flat_map(entry).flatten().collect()
    }

    fn feed(pat: &mut Pat, version: u8, place: (u8, u8), programs: &[(u16, u16)]) -> Change {
        let bytes = section(0, 1, version, place, &body(programs));
        pat.section(&Section::parse(&bytes).unwrap(), None).unwrap()
    }

    fn listed(pat: &Pat) -> Vec<u16> {
        pat.programs().iter().map(|program| program.number).collect()
    }

    #[test]
    fn lists_programs_without_the_network_table() {
        let mut pat = Pat::new();
        let change = feed(&mut pat, 0, (0, 0), &[(0, 0x10), (7, 0x100), (3, 0x200)]);
        assert_eq!((change, listed(&pat)), (Change::Complete, vec![7, 3]));
    }

    #[test]
    fn is_complete_only_with_all_sections_in_their_order() {
        let mut pat = Pat::new();
        assert_eq!(feed(&mut pat, 0, (2, 2), &[(9, 0x300)]), Change::None);
        assert_eq!(feed(&mut pat, 0, (0, 2), &[(5, 0x100)]), Change::None);
        assert!(!pat.is_complete());
        assert_eq!(feed(&mut pat, 0, (1, 2), &[(7, 0x200)]), Change::Complete);
        assert_eq!(listed(&pat), [5, 7, 9]);
    }

    #[test]
    fn repetition_changes_nothing() {
        let mut pat = Pat::new();
        feed(&mut pat, 4, (0, 0), &[(5, 0x100)]);
        assert_eq!(feed(&mut pat, 4, (0, 0), &[(5, 0x100)]), Change::None);
        assert_eq!(feed(&mut pat, 5, (0, 0), &[(5, 0x100)]), Change::None);
    }

    #[test]
    fn new_version_waits_for_all_its_sections() {
        let mut pat = Pat::new();
        feed(&mut pat, 0, (0, 0), &[(5, 0x100)]);
        assert_eq!(feed(&mut pat, 1, (0, 1), &[(6, 0x100)]), Change::None);
        assert_eq!(listed(&pat), [5]);
        assert_eq!(feed(&mut pat, 1, (1, 1), &[(8, 0x110)]), Change::Complete);
        assert_eq!(listed(&pat), [6, 8]);
    }

    #[test]
    fn same_version_with_other_bytes_is_taken() {
        let mut pat = Pat::new();
        feed(&mut pat, 0, (0, 0), &[(5, 0x100)]);
        assert_eq!(feed(&mut pat, 0, (0, 0), &[(6, 0x100)]), Change::Complete);
        assert_eq!(listed(&pat), [6]);
    }

    #[test]
    fn next_table_does_not_apply_yet() {
        let mut bytes = section(0, 1, 0, (0, 0), &body(&[(5, 0x100)]));
        bytes[5] &= !1;
        let end = bytes.len() - 4;
        let crc = crate::crc::crc32(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.to_be_bytes());
        let mut pat = Pat::new();
        let change = pat.section(&Section::parse(&bytes).unwrap(), None);
        assert_eq!((change, pat.is_complete()), (Ok(Change::None), false));
    }

    #[test]
    fn a_thousand_programs_are_capped_and_the_wanted_one_kept() {
        let mut pat = Pat::new();
        let programs: Vec<(u16, u16)> = (1..=1000).map(|number| (number, 0x100)).collect();
        let sections: Vec<&[(u16, u16)]> = programs.chunks(250).collect();
        for (number, part) in (0..4).zip(sections) {
            let bytes = section(0, 1, 0, (number, 3), &body(part));
            let section = Section::parse(&bytes).unwrap();
            pat.section(&section, Some(900)).unwrap();
        }
        assert_eq!(pat.programs().len(), PROGRAMS_MAX);
        assert!(listed(&pat).contains(&900));
        assert_eq!(pat.unlisted(), 1000 - 64);
    }

    #[test]
    fn reserved_pids_are_not_map_tables() {
        let mut pat = Pat::new();
        feed(&mut pat, 0, (0, 0), &[(1, 0), (2, 1), (3, 0x1FFF), (4, 0x1FFE)]);
        assert_eq!(listed(&pat), [4]);
    }

    #[test]
    fn half_an_entry_is_malformed() {
        let bytes = section(0, 1, 0, (0, 0), &[0, 1, 0xE1]);
        let outcome = Pat::new().section(&Section::parse(&bytes).unwrap(), None);
        assert_eq!(outcome, Err(Error::SectionSyntax));
    }
}
