//! What memory a process holds, told without regard to others that map the same pages.
//!
//! A proportional set size is not that: it jumps when another process that runs the same program
//! ends, or when a reader lets go of a ring.

use std::collections::HashMap;

use anyhow::{Context, Result};

/// Bytes of a process that are resident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Heap, stacks, slots, rings, shared memory: a page that is mapped twice counts once, and it
    /// counts whole whoever else maps it.
    pub own: u64,
    /// Pages of program and libraries as they are on disk.
    pub program: u64,
}

impl Memory {
    /// Of the process `id`.
    pub fn of(id: u32) -> Result<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{id}/smaps"))?)
    }

    /// Everything.
    pub const fn all(&self) -> u64 {
        self.own + self.program
    }

    fn parse(smaps: &str) -> Result<Self> {
        let mut memory = Self::default();
        let mut files: HashMap<[&str; 3], u64> = HashMap::new();
        let mut mapping = Mapping::default();
        for line in smaps.lines() {
            let mut fields = line.split_ascii_whitespace();
            match fields.next().context("an empty line")? {
                "Rss:" => mapping.resident = bytes(fields.next())?,
                "Anonymous:" => {
                    let anonymous = bytes(fields.next())?;
                    let others = mapping.resident.saturating_sub(anonymous);
                    memory.own += anonymous;
                    match mapping.kind {
                        Kind::Memory => memory.own += others,
                        Kind::File => memory.program += others,
                        Kind::MemoryFile => {
                            let most = files.entry(mapping.place).or_default();
                            *most = others.max(*most);
                        }
                    }
                }
                field if !field.ends_with(':') => mapping = Mapping::parse(line)?,
                _ => {}
            }
        }
        memory.own += files.values().sum::<u64>();
        Ok(memory)
    }
}

/// What is mapped.
#[derive(Debug, Clone, Copy, Default)]
enum Kind {
    /// Shared pages without a name.
    #[default]
    Memory,
    /// A memfd, which may be mapped several times.
    MemoryFile,
    /// A file on disk.
    File,
}

#[derive(Debug, Default)]
struct Mapping<'a> {
    kind: Kind,
    /// Device, inode and offset.
    place: [&'a str; 3],
    resident: u64,
}

impl<'a> Mapping<'a> {
    /// From `from-to permissions offset device inode [name]`.
    fn parse(line: &'a str) -> Result<Self> {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, permissions, offset, device, inode, name @ ..] = &fields[..] else {
            anyhow::bail!("not a mapping: {line}");
        };
        let kind = match name.first() {
            Some(name) if name.starts_with("/memfd:") => Kind::MemoryFile,
            Some(name) if name.starts_with('/') && !permissions.ends_with('s') => Kind::File,
            _ => Kind::Memory,
        };
        Ok(Self { kind, place: [device, inode, offset], resident: 0 })
    }
}

fn bytes(kib: Option<&str>) -> Result<u64> {
    let kib: u64 = kib.context("no figure")?.parse()?;
    Ok(kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(line: &str, resident: u64, anonymous: u64) -> String {
        format!("{line}\nSize: 999 kB\nRss: {resident} kB\nPss: 1 kB\nAnonymous: {anonymous} kB\n")
    }

    #[test]
    fn a_file_of_memory_that_is_mapped_twice_counts_once_and_whole() {
        let text = [
            mapping("1000-2000 r-xp 00000000 fe:00 24 /usr/bin/cat", 40, 0),
            mapping("2000-3000 rw-p 00002000 fe:00 24 /usr/bin/cat", 12, 8),
            mapping("3000-4000 rw-p 00000000 00:00 0 [heap]", 100, 100),
            mapping("4000-5000 rw-s 00000000 00:01 7 /memfd:ring (deleted)", 64, 0),
            mapping("5000-6000 rw-s 00000000 00:01 7 /memfd:ring (deleted)", 60, 0),
            mapping("6000-7000 rw-s 00004000 00:01 7 /memfd:ring (deleted)", 4, 0),
            mapping("7000-8000 rw-s 00000000 00:0f 9 anon_inode:[io_uring]", 16, 0),
        ];
        let memory = Memory::parse(&text.concat()).unwrap();
        assert_eq!(memory, Memory { own: (8 + 100 + 64 + 4 + 16) << 10, program: 44 << 10 });
    }

    #[test]
    fn this_process_has_memory() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.own > 0 && memory.program > 0, "{memory:?}");
    }
}
