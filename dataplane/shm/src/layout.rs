//! The bytes of the ABI. Each table below is the drawing, the type and the proof in one: it gives
//! every field's byte offset, the compiler refuses the build when the type disagrees, and the
//! names, offsets and types go into [`LAYOUT_HASH`] together with the labels of all counters, so
//! that two builds which differ anywhere refuse each other.
//!
//! Everything is little-endian, 8-aligned and read and written as 64-bit words.
//!
//! ```text
//! directory segment                       GOP ring segment
//! ┌──────────────────────┐ 0              ┌──────────────────────┐ 0
//! │ DirectoryHeader      │                │ RingHeader           │
//! ├──────────────────────┤ conductor      ├──────────────────────┤ 512
//! │ conductor's counters,│
//! │   names of the ports │                │ cursors (6 words)    │
//! ├──────────────────────┤ workers        ├──────────────────────┤ 1024
//! │ worker 0: identity,  │                │ descriptors,         │
//! │   counters, latency, │
//! │   drops by port      │                │   128 bytes each     │
//! │ worker 1: …          │                ├──────────────────────┤ side
//! ├──────────────────────┤ streams        │ lane 1: audio, data  │
//! │ slot 0: sequence,    │                ├──────────────────────┤ video, 2 MiB-aligned when
//! │   record, counters,  │                │ lane 0: video        │ its size is a multiple
//! │   spreads            │                │                      │
//! │ slot 1: …            │                │                      │
//! └──────────────────────┘                └──────────────────────┘
//! ```

use std::mem::{offset_of, size_of};

use bytemuck::{Pod, Zeroable};

use crate::Error;
use crate::counters::{ConductorCounter, StreamCounter, WorkerCounter};
use crate::histogram;
use crate::info::{STREAM_ID_BYTES_MAX, TRACKS_MAX};
use crate::spreads::{self, StreamSpread};

/// Version of the ABI. It goes up with every change of meaning; a change of shape alone is caught
/// by [`LAYOUT_HASH`].
pub const ABI_VERSION: u32 = 2;

/// First word of a directory segment, stored last: "PNSTKDIR".
pub(crate) const DIRECTORY_MAGIC: u64 = u64::from_le_bytes(*b"PNSTKDIR");
/// First word of a GOP ring segment, stored last: "PNSTKGOP".
pub(crate) const RING_MAGIC: u64 = u64::from_le_bytes(*b"PNSTKGOP");

/// Bytes of a word, the unit of every access to shared memory.
pub(crate) const WORD: usize = size_of::<u64>();
/// Blocks with different writers start on different pairs of cache lines (the unit x86 prefetches).
pub(crate) const BLOCK_ALIGN: usize = 128;
/// Where the cursors of a ring lie.
pub(crate) const CURSORS_OFFSET: usize = 512;
/// Where the descriptors of a ring lie.
pub(crate) const DESCRIPTORS_OFFSET: usize = 1024;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

const fn hash_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(FNV_PRIME);
        i += 1;
    }
    // The end mark keeps "ab","c" apart from "a","bc".
    (hash ^ 0xff).wrapping_mul(FNV_PRIME)
}

const fn hash_number(hash: u64, number: usize) -> u64 {
    hash_bytes(hash, &(number as u64).to_le_bytes())
}

macro_rules! layout {
    ($(#[$meta:meta])* $name:ident: $size:literal bytes {
        $($(#[doc = $doc:literal])* $offset:literal => $field:ident: $type:ty,)+
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Pod, Zeroable)]
        #[repr(C)]
        pub(crate) struct $name { $($(#[doc = $doc])* pub(crate) $field: $type,)+ }

        const _: () = {
            assert!(size_of::<$name>() == $size, "size differs from the drawing");
            assert!($size % WORD == 0, "size is not whole words");
            $(assert!(offset_of!($name, $field) == $offset, "offset differs from the drawing");)+
        };

        #[allow(dead_code, reason = "a record inside another is not copied by itself")]
        impl $name {
            /// Its size in words.
            pub(crate) const WORDS: usize = $size / WORD;

            const fn hash(mut hash: u64) -> u64 {
                hash = hash_bytes(hash, stringify!($name).as_bytes());
                $(
                    hash = hash_bytes(hash, stringify!($field).as_bytes());
                    hash = hash_bytes(hash, stringify!($type).as_bytes());
                    hash = hash_number(hash, $offset);
                )+
                hash_number(hash, $size)
            }

            /// From words copied out of shared memory. Every bit pattern is a value.
            pub(crate) fn from_words(words: [u64; $size / WORD]) -> Self {
                bytemuck::cast(words)
            }

            /// As words to be copied into shared memory.
            pub(crate) fn to_words(self) -> [u64; $size / WORD] {
                bytemuck::cast(self)
            }
        }
    };
}

layout! {
    /// Start of a directory segment. `magic` is stored last, with release.
    DirectoryHeader: 256 bytes {
        0   => magic: u64,
        8   => abi_version: u64,
        16  => layout_hash: u64,
        24  => file_bytes: u64,
        /// Random, so that a restarted dataplane is told from its predecessor.
        32  => epoch: u64,
        40  => pid: u64,
        /// Field 22 of /proc/PID/stat: a reused pid has another.
        48  => pid_start_time: u64,
        /// Inode of the pid namespace in which `pid` has its meaning.
        56  => pid_namespace: u64,
        64  => started_unix_ns: u64,
        72  => started_monotonic_ns: u64,
        80  => workers: u64,
        88  => stream_slots: u64,
        96  => conductor_offset: u64,
        104 => workers_offset: u64,
        112 => worker_stride: u64,
        120 => streams_offset: u64,
        128 => stream_stride: u64,
        136 => memory_budget_bytes: u64,
        /// Name and version of the software, UTF-8, zero-padded.
        144 => software: [u8; 64],
        208 => reserved: [u64; 6],
    }
}

impl DirectoryHeader {
    pub(crate) const fn head(&self) -> Head {
        let Self { magic, abi_version, layout_hash, file_bytes, .. } = *self;
        Head { magic, abi_version, layout_hash, file_bytes }
    }
}

layout! {
    /// Start of a GOP ring segment. `magic` is stored last, with release.
    RingHeader: 128 bytes {
        0   => magic: u64,
        8   => abi_version: u64,
        16  => layout_hash: u64,
        24  => file_bytes: u64,
        32  => ring: u64,
        40  => descriptors: u64,
        48  => side_offset: u64,
        56  => side_bytes: u64,
        64  => video_offset: u64,
        72  => video_bytes: u64,
        80  => reserved: [u64; 6],
    }
}

impl RingHeader {
    pub(crate) const fn head(&self) -> Head {
        let Self { magic, abi_version, layout_hash, file_bytes, .. } = *self;
        Head { magic, abi_version, layout_hash, file_bytes }
    }
}

/// What both headers start with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) magic: u64,
    pub(crate) abi_version: u64,
    pub(crate) layout_hash: u64,
    pub(crate) file_bytes: u64,
}

/// Whether a segment of `real` bytes is what this build can read; says what differs.
pub(crate) fn check_head(
    what: &'static str,
    magic: u64,
    head: &Head,
    real: u64,
) -> Result<(), Error> {
    if head.magic != magic {
        return Err(Error::Magic { what, got: head.magic, expected: magic });
    }
    let expected = u64::from(ABI_VERSION);
    if head.abi_version != expected {
        return Err(Error::Version { what, got: head.abi_version, expected });
    }
    if head.layout_hash != LAYOUT_HASH {
        return Err(Error::Layout { what, got: head.layout_hash, expected: LAYOUT_HASH });
    }
    if head.file_bytes != real {
        return Err(Error::Length { what, said: head.file_bytes, real });
    }
    Ok(())
}

layout! {
    /// One published frame. Times are `CLOCK_MONOTONIC` nanoseconds, stamps 90 kHz ticks with
    /// `u64::MAX` for none.
    Descriptor: 128 bytes {
        /// Place in the order of all frames that ever went through this ring.
        0   => position: u64,
        /// Place in the order of this stream's frames.
        8   => sequence: u64,
        16  => gop: u64,
        /// Where its bytes start, counted over the whole life of the lane; modulo the lane's size
        /// it is the place in the lane. Multiple of 8.
        24  => offset: u64,
        32  => length: u32,
        36  => lane: u8,
        37  => track: u8,
        38  => class: u8,
        39  => reserved_a: u8,
        40  => flags: u32,
        44  => reserved_b: u32,
        48  => pts: u64,
        56  => dts: u64,
        64  => arrival_ns: u64,
        72  => due_ns: u64,
        80  => published_ns: u64,
        88  => generation: u64,
        96  => reserved_c: [u64; 4],
    }
}

impl Descriptor {
    /// As [`to_words`](Self::to_words), but put together in registers: what is read back as whole words
    /// after it was stored piece by piece is waited for until all stores before it are done.
    #[inline(always)]
    pub(crate) fn pack(&self) -> [u64; Self::WORDS] {
        let kinds = [self.lane, self.track, self.class, self.reserved_a];
        let length = u64::from(self.length) | u64::from(u32::from_le_bytes(kinds)) << 32;
        let flags = u64::from(self.flags) | u64::from(self.reserved_b) << 32;
        let [a, b, c, d] = self.reserved_c;
        [
            self.position,
            self.sequence,
            self.gop,
            self.offset,
            length,
            flags,
            self.pts,
            self.dts,
            self.arrival_ns,
            self.due_ns,
            self.published_ns,
            self.generation,
            a,
            b,
            c,
            d,
        ]
    }
}

layout! {
    /// One track of a stream record.
    TrackRecord: 128 bytes {
        0   => codec: u8,
        /// 0 unknown, 1 video, 2 audio.
        1   => format: u8,
        2   => stream_type: u8,
        3   => bit_depth: u8,
        4   => pid: u16,
        6   => program: u16,
        8   => language: [u8; 3],
        11  => chroma: u8,
        12  => channels: u8,
        13  => config_len: u8,
        14  => interlaced: u8,
        15  => has_language: u8,
        16  => width: u32,
        20  => height: u32,
        24  => coded_width: u32,
        28  => coded_height: u32,
        32  => frame_rate_num: u32,
        /// 0: none declared.
        36  => frame_rate_den: u32,
        40  => frame_rate_measured_mhz: u32,
        44  => sample_rate: u32,
        48  => samples_per_frame: u32,
        52  => sample_aspect_width: u16,
        54  => sample_aspect_height: u16,
        56  => config: [u8; 16],
        72  => profile: [u8; 24],
        96  => level: [u8; 8],
        104 => reserved: [u64; 3],
    }
}

layout! {
    /// The part of a stream slot behind its sequence lock.
    StreamRecord: 2688 bytes {
        /// 0: the slot is free and nothing else in it counts.
        0   => occupied: u8,
        1   => kind: u8,
        2   => state: u8,
        3   => no_media: u8,
        4   => end: u8,
        /// 0 none, 4 or 6.
        5   => source_family: u8,
        6   => source_port: u16,
        /// IPv6 address, or the IPv4 address in the first four bytes.
        8   => source_address: [u8; 16],
        24  => source_scope: u32,
        28  => worker: u16,
        30  => latency_ms: u16,
        32  => created_unix_ns: u64,
        40  => connected_unix_ns: u64,
        48  => ended_unix_ns: u64,
        56  => ring_generation: u64,
        /// `u32::MAX`: none.
        64  => ring: u32,
        68  => peer_version: u32,
        72  => id_len: u16,
        74  => tracks_len: u16,
        76  => cipher: u8,
        77  => reserved_a: u8,
        78  => key_bits: u16,
        80  => reserved: [u32; 12],
        128 => id: [u8; 512],
        640 => tracks: [TrackRecord; 16],
    }
}

const _: () = assert!(STREAM_ID_BYTES_MAX == 512 && TRACKS_MAX == 16, "as drawn in StreamRecord");
const _: () = assert!(CURSORS_OFFSET >= size_of::<RingHeader>());

/// A block of a directory as a sum of its parts, in words.
const fn block(words: usize) -> usize {
    (words * WORD).next_multiple_of(BLOCK_ALIGN)
}

/// Listening ports that are told apart.
pub const PORTS_MAX: usize = 64;
/// Bytes of a port's name.
pub const PORT_NAME_BYTES: usize = 32;

/// Words of the conductor's block: its counters, then the names of the ports.
pub(crate) const CONDUCTOR_PORTS: usize = block(ConductorCounter::COUNT) / WORD;
/// Words of a port's name.
pub(crate) const PORT_NAME_WORDS: usize = PORT_NAME_BYTES / WORD;
/// Bytes of the conductor's block.
pub(crate) const CONDUCTOR_BYTES: usize =
    CONDUCTOR_PORTS * WORD + block(PORTS_MAX * PORT_NAME_WORDS);

/// Words of a worker block: processor, thread id, then the counters, then the latency histogram,
/// then what the kernel dropped at each port.
pub(crate) const WORKER_CPU: usize = 0;
pub(crate) const WORKER_THREAD: usize = 1;
pub(crate) const WORKER_COUNTERS: usize = BLOCK_ALIGN / WORD;
pub(crate) const WORKER_LATENCY: usize = WORKER_COUNTERS + block(WorkerCounter::COUNT) / WORD;
pub(crate) const WORKER_PORTS: usize = WORKER_LATENCY + block(histogram::WORDS) / WORD;
/// Bytes of a worker's block.
pub(crate) const WORKER_BYTES: usize = WORKER_PORTS * WORD + block(PORTS_MAX);

/// Words of a stream slot: the sequence, the record, then the counters and the spreads.
pub(crate) const SLOT_SEQUENCE: usize = 0;
pub(crate) const SLOT_RECORD: usize = 1;
pub(crate) const SLOT_COUNTERS: usize = block(SLOT_RECORD + StreamRecord::WORDS) / WORD;
pub(crate) const SLOT_SPREADS: usize = SLOT_COUNTERS + block(StreamCounter::COUNT) / WORD;
/// Bytes of a stream slot.
pub(crate) const SLOT_BYTES: usize = SLOT_SPREADS * WORD + block(spreads::WORDS);

/// Tells builds apart whose segments differ in shape although they carry the same version.
pub const LAYOUT_HASH: u64 = layout_hash();

const fn layout_hash() -> u64 {
    let mut hash = hash_number(FNV_OFFSET, ABI_VERSION as usize);
    hash = DirectoryHeader::hash(hash);
    hash = RingHeader::hash(hash);
    hash = Descriptor::hash(hash);
    hash = TrackRecord::hash(hash);
    hash = StreamRecord::hash(hash);
    hash = hash_number(hash, CURSORS_OFFSET);
    hash = hash_number(hash, DESCRIPTORS_OFFSET);
    hash = hash_number(hash, CONDUCTOR_PORTS);
    hash = hash_number(hash, CONDUCTOR_BYTES);
    hash = hash_number(hash, WORKER_LATENCY);
    hash = hash_number(hash, WORKER_PORTS);
    hash = hash_number(hash, WORKER_BYTES);
    hash = hash_number(hash, SLOT_COUNTERS);
    hash = hash_number(hash, SLOT_SPREADS);
    hash = hash_number(hash, SLOT_BYTES);
    hash = hash_number(hash, histogram::WORDS);
    let mut i = 0;
    while i < ConductorCounter::COUNT {
        hash = hash_bytes(hash, ConductorCounter::ALL[i].label().as_bytes());
        i += 1;
    }
    i = 0;
    while i < WorkerCounter::COUNT {
        hash = hash_bytes(hash, WorkerCounter::ALL[i].label().as_bytes());
        i += 1;
    }
    i = 0;
    while i < StreamCounter::COUNT {
        hash = hash_bytes(hash, StreamCounter::ALL[i].label().as_bytes());
        i += 1;
    }
    i = 0;
    while i < StreamSpread::COUNT {
        hash = hash_bytes(hash, StreamSpread::ALL[i].label().as_bytes());
        i += 1;
    }
    hash
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_put_together_as_it_lies_in_memory() {
        let words =
            std::array::from_fn(|at| 0x0101_0101_0101_0101 * at as u64 + 0x0807_0605_0403_0201);
        assert_eq!(Descriptor::from_words(words).pack(), words);
    }
}
