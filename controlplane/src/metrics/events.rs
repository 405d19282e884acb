//! Series of what the dataplane says unasked.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use shm::link::EventKind;

use super::families::{Families, Labels};
use crate::authorization::Authorizer;
use crate::events::Events;

#[derive(Debug)]
pub(super) struct Attended {
    pub(super) events: Arc<Events>,
    pub(super) authorizer: Option<Authorizer>,
}

impl Collector for Attended {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families::new(encoder);
        let totals = self.events.totals();
        families.gauges(
            "penstock_dataplane_attended",
            "Whether events and questions of the dataplane are heard",
            [(Labels::new(), i64::from(totals.attending))],
        )?;
        let kinds = EventKind::ALL.iter().zip(&totals.by_kind);
        families.counters(
            "penstock_events",
            "Events of the dataplane heard",
            kinds.map(|(kind, count)| (vec![("kind", kind.label().to_owned())], *count)),
        )?;
        families.counters(
            "penstock_events_missed",
            "Events that the dataplane numbered and nobody heard",
            [(Labels::new(), totals.missed)],
        )?;
        let Some(authorizer) = &self.authorizer else { return Ok(()) };
        families.counters(
            "penstock_authorizations",
            "Decisions about publishers by the authorization service",
            authorizer
                .outcomes()
                .counts()
                .map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], count)),
        )
    }
}
