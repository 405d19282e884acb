//! `ingestion`: how many may publish, and how long a lost publisher's place is kept.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::schema::Ingestion;
use super::{Error, SECOND, lasting, optional, refuse, within};

/// How long a place may be kept.
const KEPT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3_600);

/// Of all publishers, and of those of SRT.
pub(super) fn most(ingestion: &Ingestion) -> Result<(u16, u16), Error> {
    let all: u16 = within("ingestion.max_connections", ingestion.max_connections, 25, 1..=4_096)?;
    let srt: u16 = within(
        "ingestion.srt.max_connections",
        ingestion.srt.max_connections,
        u64::from(all),
        1..=4_096,
    )?;
    Ok((all, all.min(srt)))
}

pub(super) fn per_worker_max(ingestion: &Ingestion) -> Result<Option<u16>, Error> {
    let key = "ingestion.max_connections_per_worker";
    optional(key, ingestion.max_connections_per_worker, 1..=4_096)
}

pub(super) fn per_source_max(ingestion: &Ingestion) -> Result<Option<u16>, Error> {
    let key = "ingestion.max_streams_per_source";
    let (own, registry) =
        (ingestion.max_streams_per_source, ingestion.registry.max_streams_per_source);
    if let (Some(own), Some(registry)) = (own, registry)
        && own != registry
    {
        return refuse(
            key,
            format!(
                "{own} contradicts ingestion.registry.max_streams_per_source {registry}; give one of them"
            ),
        );
    }
    optional(key, own.or(registry), 1..=4_096)
}

pub(super) fn reconnect_grace(ingestion: &Ingestion) -> Result<Duration, Error> {
    lasting("ingestion.reconnect_grace", ingestion.reconnect_grace, 10 * SECOND, KEPT)
}

pub(super) fn take_over_hold(ingestion: &Ingestion) -> Result<Duration, Error> {
    lasting("ingestion.take_over_hold", ingestion.take_over_hold, 10 * SECOND, KEPT)
}
