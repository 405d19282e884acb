//! The engine's configuration in a scenario.

use std::time::Duration;

use anyhow::{Context, Result};
use penstock_engine::config::Config;
use srt::crypto::{Mode, Suite};
use tempfile::TempDir;

use crate::publisher;
use crate::scenario::{PublisherPlan, Scenario};
use crate::secret::Secret;

/// `ingestion.reconnect_grace` of all runs.
const GRACE: Duration = Duration::from_secs(3);

/// What the engine of a scenario is started with.
pub(crate) fn of(scenario: &Scenario, directory: &TempDir) -> Result<Config> {
    let workers: Vec<u16> = (0..scenario.workers).collect();
    let text = format!(
        "dataplane: {{workers: {workers:?}, socket: {socket}, buffer_entries: 256}}\n\
         ingestion:\n  max_connections: {connections}\n  reconnect_grace: {grace}s\n  \
         gop: {{buffer_count: 64, duration: 100ms, max_gop_size: 32}}\n  \
         frame: {{max_frame_size: 131072}}\n  memory: {{max_per_stream: 2097152}}\n  \
         srt: {{port: 30000, latency: {latency}ms, max_bandwidth: 4000000, \
         loss_reorder_tolerance: {tolerance}, fc_window: 8192, reconnect_cap: 1s, \
         max_sources: {called}, sources: [{sources}]}}\n  streams: [{rules}]\n",
        socket = directory.path().join("socket").display(),
        // Twice as many places as publishers: one that comes back finds its former self.
        connections = 2 * scenario.publishers.len(),
        grace = GRACE.as_secs(),
        latency = scenario.latency.as_millis(),
        tolerance = scenario.reorder_tolerance,
        called = scenario.publishers.iter().filter(|plan| plan.called).count(),
        sources = sources(scenario),
        rules = rules(scenario),
    );
    Config::from_yaml_with(&text, |_| None).with_context(|| text.clone())
}

/// The publishers that are called.
fn sources(scenario: &Scenario) -> String {
    let called = scenario.publishers.iter().enumerate().filter(|(_, plan)| plan.called);
    let source = |(index, plan): (usize, &PublisherPlan)| {
        let latency = scenario.negotiated(plan).as_millis();
        let keys = plan.secret.map_or_else(String::new, |secret| {
            let Suite { mode, size } = secret.suite;
            let mode = if mode == Mode::Gcm { "gcm" } else { "ctr" };
            let (passphrase, bits) = (secret.passphrase(), size.bits());
            format!(", passphrase: {passphrase}, key_length: {bits}, crypto_mode: {mode}")
        });
        let (id, address) = (publisher::id(index), publisher::address(index));
        format!("{{id: {id}, address: '{address}', latency: {latency}ms{keys}}}")
    };
    called.map(source).collect::<Vec<_>>().join(", ")
}

/// A rule for each publisher that encrypts and calls.
fn rules(scenario: &Scenario) -> String {
    let secured = scenario.publishers.iter().enumerate().filter(|(_, plan)| !plan.called);
    let secured = secured.filter_map(|(index, plan)| plan.secret.map(|secret| (index, secret)));
    let rule = |(index, secret): (usize, Secret)| {
        let (passphrase, bits) = (secret.passphrase(), secret.suite.size.bits());
        let id = publisher::id(index);
        format!("{{id: {id}, passphrase: {passphrase}, key_length: {bits}}}")
    };
    secured.map(rule).collect::<Vec<_>>().join(", ")
}
