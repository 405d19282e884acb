//! `ingestion.gop`, and what `ingestion.stream_handling` says of groups of pictures.

use std::time::Duration;

use super::super::schema::Ingestion;
use super::{Error, MS, SECOND, lasting, refuse, within};

pub(super) fn count_max(ingestion: &Ingestion) -> Result<u32, Error> {
    let (gop, handling) = (ingestion.gop.buffer_count, ingestion.stream_handling.gop_buffer_size);
    if let (Some(gop), Some(handling)) = (gop, handling)
        && gop != handling
    {
        return refuse(
            "ingestion.gop.buffer_count",
            format!(
                "{gop} contradicts ingestion.stream_handling.gop_buffer_size {handling}; give one of them"
            ),
        );
    }
    within("ingestion.gop.buffer_count", gop.or(handling), 3, 1..=1_000)
}

pub(super) fn frames_max(ingestion: &Ingestion) -> Result<u32, Error> {
    within("ingestion.gop.max_gop_size", ingestion.gop.max_gop_size, 300, 1..=100_000)
}

pub(super) fn duration(ingestion: &Ingestion) -> Result<Duration, Error> {
    lasting("ingestion.gop.duration", ingestion.gop.duration, SECOND, 100 * MS..=60 * SECOND)
}

pub(super) fn age_max(ingestion: &Ingestion) -> Result<Duration, Error> {
    lasting(
        "ingestion.stream_handling.max_gop_age",
        ingestion.stream_handling.max_gop_age,
        30 * SECOND,
        100 * MS..=3_600 * SECOND,
    )
}
