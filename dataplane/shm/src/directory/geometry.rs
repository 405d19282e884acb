//! Where the blocks of a directory lie.

use crate::Error;
use crate::layout::{
    ABI_VERSION, BLOCK_ALIGN, CONDUCTOR_BYTES, DIRECTORY_MAGIC, DirectoryHeader, LAYOUT_HASH,
    SLOT_BYTES, WORD, WORKER_BYTES, check_head,
};
use crate::primitive::{Ordering, fence};
use crate::segment::{HUGE_PAGE, Words};

/// Name of such a segment in errors and in /proc/PID/maps.
pub(crate) const WHAT: &str = "penstock-directory";

/// More stream slots than any machine has bandwidth for; 4 KB each.
pub(crate) const STREAM_SLOTS_MAX: u32 = 1 << 16;

const _: () = assert!(size_of::<DirectoryHeader>().is_multiple_of(BLOCK_ALIGN));

/// How many blocks of each kind there are. All offsets follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) workers: u16,
    pub(crate) stream_slots: u32,
}

impl Geometry {
    pub(crate) fn new(workers: u16, stream_slots: u32) -> Result<Self, Error> {
        let within = |what, got: u32, min: u32, max: u32| {
            let [got_wide, min_wide, max_wide] = [got, min, max].map(u64::from);
            let error = Error::Size { what, got: got_wide, min: min_wide, max: max_wide };
            if (min..=max).contains(&got) { Ok(()) } else { Err(error) }
        };
        within("workers of a directory", workers.into(), 1, u16::MAX.into())?;
        within("stream slots of a directory", stream_slots, 1, STREAM_SLOTS_MAX)?;
        Ok(Self { workers, stream_slots })
    }

    const fn conductor_offset() -> usize {
        size_of::<DirectoryHeader>()
    }

    const fn workers_offset() -> usize {
        Self::conductor_offset() + CONDUCTOR_BYTES
    }

    pub(super) fn streams_offset(self) -> usize {
        Self::workers_offset() + usize::from(self.workers) * WORKER_BYTES
    }

    /// Bytes of the whole segment, in whole pages: huge ones for many streams.
    pub(crate) fn file_bytes(self, page: usize) -> usize {
        let bytes = self.bytes();
        bytes.next_multiple_of(if bytes < HUGE_PAGE { page } else { HUGE_PAGE })
    }

    fn bytes(self) -> usize {
        self.streams_offset() + self.slots() * SLOT_BYTES
    }

    fn slots(self) -> usize {
        usize::try_from(self.stream_slots).expect("the ABI is for 64-bit machines")
    }

    pub(crate) fn conductor(self, all: &Words) -> Words {
        all.part(Self::conductor_offset() / WORD, CONDUCTOR_BYTES / WORD)
    }

    /// Panics when there is no such worker.
    pub(crate) fn worker(self, all: &Words, worker: u16) -> Words {
        assert!(worker < self.workers, "worker {worker} of {}", self.workers);
        let offset = Self::workers_offset() + usize::from(worker) * WORKER_BYTES;
        all.part(offset / WORD, WORKER_BYTES / WORD)
    }

    /// Panics when there is no such slot.
    pub(crate) fn stream(self, all: &Words, slot: u32) -> Words {
        assert!(slot < self.stream_slots, "stream slot {slot} of {}", self.stream_slots);
        let slot = usize::try_from(slot).expect("the ABI is for 64-bit machines");
        all.part((self.streams_offset() + slot * SLOT_BYTES) / WORD, SLOT_BYTES / WORD)
    }

    /// Completes the header with what follows from the geometry and stores it, the magic last, so
    /// that whoever sees it sees all.
    pub(crate) fn announce(self, all: &Words, facts: &DirectoryHeader) {
        let header = DirectoryHeader {
            magic: 0,
            abi_version: u64::from(ABI_VERSION),
            layout_hash: LAYOUT_HASH,
            file_bytes: (all.len() * WORD) as u64,
            workers: self.workers.into(),
            stream_slots: self.stream_slots.into(),
            conductor_offset: Self::conductor_offset() as u64,
            workers_offset: Self::workers_offset() as u64,
            worker_stride: WORKER_BYTES as u64,
            streams_offset: self.streams_offset() as u64,
            stream_stride: SLOT_BYTES as u64,
            ..*facts
        };
        all.store_array(0, &header.to_words());
        all.word(0).store(DIRECTORY_MAGIC, Ordering::Release);
    }

    /// From a segment that anybody may have written.
    pub(crate) fn check(all: &Words) -> Result<(DirectoryHeader, Self), Error> {
        let real = (all.len() * WORD) as u64;
        if all.len() < DirectoryHeader::WORDS {
            let said = size_of::<DirectoryHeader>() as u64;
            return Err(Error::Length { what: WHAT, said, real });
        }
        let magic = all.load(0);
        fence(Ordering::Acquire);
        let mut header = DirectoryHeader::from_words(all.load_array(0));
        header.magic = magic;
        check_head(WHAT, DIRECTORY_MAGIC, &header.head(), real)?;
        Ok((header, Self::from_header(&header, all.len() * WORD)?))
    }

    fn from_header(header: &DirectoryHeader, real: usize) -> Result<Self, Error> {
        let corrupt = |field, got| Error::Corrupt { what: WHAT, field, got };
        let workers = u16::try_from(header.workers)
            .map_err(|_| corrupt("number of workers", header.workers))?;
        let stream_slots = u32::try_from(header.stream_slots)
            .map_err(|_| corrupt("number of stream slots", header.stream_slots))?;
        let geometry = Self::new(workers, stream_slots)?;
        let places = [
            ("place of the conductor", header.conductor_offset, Self::conductor_offset()),
            ("place of the workers", header.workers_offset, Self::workers_offset()),
            ("size of a worker", header.worker_stride, WORKER_BYTES),
            ("place of the streams", header.streams_offset, geometry.streams_offset()),
            ("size of a stream slot", header.stream_stride, SLOT_BYTES),
        ];
        for (field, got, expected) in places {
            if got != expected as u64 {
                return Err(corrupt(field, got));
            }
        }
        let said = geometry.bytes();
        if said > real {
            return Err(Error::Length { what: WHAT, said: said as u64, real: real as u64 });
        }
        Ok(geometry)
    }
}
