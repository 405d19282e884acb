//! `ingestion.memory`, and the largest frame, which it must have room for.

use super::super::schema::{Frame, Memory};
use super::{Error, refuse, within};

pub(super) fn frame_bytes_max(frame: &Frame) -> Result<u32, Error> {
    let key = "ingestion.frame.max_frame_size";
    within(key, frame.max_frame_size, 10 << 20, 64 << 10..=256 << 20)
}

pub(super) fn total_max(memory: &Memory) -> Result<u64, Error> {
    let key = "ingestion.memory.max_total";
    within(key, memory.max_total, 2_684_354_560, 64 << 20..=1 << 46)
}

pub(super) fn per_stream_max(memory: &Memory, frame_bytes_max: u32) -> Result<u64, Error> {
    let key = "ingestion.memory.max_per_stream";
    let bytes: u64 = within(key, memory.max_per_stream, 209_715_200, 1 << 20..=1 << 40)?;
    let least = 2 * u64::from(frame_bytes_max);
    if bytes < least {
        return refuse(
            key,
            format!(
                "{bytes} holds less than two frames of ingestion.frame.max_frame_size; at least {least}"
            ),
        );
    }
    Ok(bytes)
}
