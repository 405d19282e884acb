//! Series of the sources: the streams that are fetched.

use std::fmt;

use shm::link::SourceReport;

use super::families::{Families, Labels};
use crate::source::Snapshot;

const STATES: [&str; 4] = ["idle", "waiting", "connecting", "connected"];
const BREAKER_STATES: [&str; 3] = ["closed", "half_open", "open"];

fn labels(source: &SourceReport) -> Labels {
    vec![("source", source.id.clone())]
}

/// One series a state; that of the present one is 1.
fn states<'a>(
    sources: &'a [SourceReport],
    states: &'a [&'static str],
    present: impl Fn(&SourceReport) -> &str + Copy + 'a,
) -> impl Iterator<Item = (Labels, i64)> + 'a {
    sources.iter().flat_map(move |source| {
        states.iter().map(move |state| {
            let mut labels = labels(source);
            labels.push(("state", (*state).to_owned()));
            (labels, i64::from(present(source) == *state))
        })
    })
}

pub(super) fn encode(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    let sources = &snapshot.sources.sources;
    families.gauges(
        "penstock_source_state",
        "1 for the state the source is in, 0 for the others",
        states(sources, &STATES, |source| &source.state),
    )?;
    families.gauges(
        "penstock_source_breaker",
        "1 for the state its circuit breaker is in, 0 for the others",
        states(sources, &BREAKER_STATES, |source| &source.breaker),
    )?;
    families.counters(
        "penstock_source_connect_attempts",
        "Tries to connect",
        sources.iter().map(|source| (labels(source), source.attempts)),
    )?;
    families.counters(
        "penstock_source_connections",
        "Tries that came to a connection",
        sources.iter().map(|source| (labels(source), source.connections)),
    )?;
    families.counters(
        "penstock_source_connect_failures",
        "Tries that came to nothing, by what was the matter",
        sources.iter().flat_map(|source| {
            source.failures.labelled().map(|(reason, failures)| {
                let mut labels = labels(source);
                labels.push(("reason", reason.to_owned()));
                (labels, failures)
            })
        }),
    )
}
