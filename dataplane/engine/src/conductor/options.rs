//! Options of single streams that an operator changes while the dataplane runs.
//!
//! ```text
//!  listener ◀─ the stream's rule ◀─ the hook's answer ◀─ the operator        later wins
//! ```
//!
//! They belong to the stream id and live as long as it is listed: over reconnects, until its grace
//! period ends. SRT agrees on latency, payload size, flow window and receive buffer once, in the
//! handshake: those act at the next connection. The others act at once.

use std::collections::HashMap;

use memory::Time;
use serde_json::{Map, Value, json};
use shm::link::{CommandError, Event, EventKind, OptionsSet};

use super::Conductor;
use crate::config::{RuntimeOptions, StreamOptions, StreamOverrides};
use crate::messages::Terms;

impl Conductor {
    /// A session has been above its bandwidth for a second.
    pub(super) fn above_bandwidth(
        &mut self,
        worker: usize,
        socket_id: u32,
        rate_bps: u64,
        now: Time,
    ) {
        let Some(id) = self.streams.with_session(socket_id) else { return };
        let id = id.to_owned();
        let of_rtp = self.rtp_settings.max_bandwidth_bps(&id);
        let max_bps = of_rtp.unwrap_or_else(|| self.settings.max_bandwidth_bps(&id));
        tracing::warn!(stream = id, worker, rate_bps, max_bps, "above its bandwidth");
        let event = Event::new(EventKind::OverBandwidth).stream(&id);
        let event = event.attribute("rate_bps", rate_bps).attribute("max_bandwidth", max_bps);
        self.tell(event, now);
    }
}

/// What acts at once.
const LIVE: [&str; 5] =
    ["max_bandwidth", "over_bandwidth", "peer_idle_timeout", "loss_reorder_tolerance", "priority"];

/// Options by stream id.
#[derive(Debug, Default)]
pub(super) struct Settings {
    by_id: HashMap<String, Setting>,
}

#[derive(Debug)]
struct Setting {
    /// Those of the present connection, or of the last one.
    options: StreamOptions,
    /// What the operator changed.
    over: StreamOverrides,
}

impl Settings {
    /// The options of a new connection with those of the operator on top.
    pub(super) fn overlay(&self, id: &str, options: &StreamOptions) -> StreamOptions {
        let setting = self.by_id.get(id);
        setting.map_or_else(|| options.clone(), |setting| options.with(&setting.over))
    }

    /// A connection was made with these options.
    pub(super) fn connected(&mut self, id: &str, options: &StreamOptions) {
        let over = self.by_id.remove(id).map(|setting| setting.over).unwrap_or_default();
        self.by_id.insert(id.to_owned(), Setting { options: options.clone(), over });
    }

    /// The stream is listed no more.
    pub(super) fn forget(&mut self, id: &str) {
        self.by_id.remove(id);
    }

    fn max_bandwidth_bps(&self, id: &str) -> u64 {
        self.by_id.get(id).map_or(0, |setting| setting.options.max_bandwidth_bps)
    }

    /// Changes what is given; all of it, or nothing and why.
    pub(super) fn change(
        &mut self,
        id: &str,
        given: Value,
        next_connection: bool,
    ) -> Result<(OptionsSet, Terms), CommandError> {
        let Some(setting) = self.by_id.get_mut(id) else {
            return Err(CommandError::new(CommandError::NOT_FOUND, format!("no stream `{id}`")));
        };
        let runtime = RuntimeOptions::read(given)
            .map_err(|error| CommandError::new(CommandError::INVALID_OPTION, error.to_string()))?;
        let mut set = OptionsSet::default();
        for key in &runtime.keys {
            let list = if LIVE.contains(key) { &mut set.applied } else { &mut set.next_connection };
            list.push((*key).to_owned());
        }
        if !next_connection && let Some(key) = set.next_connection.first() {
            let message = format!(
                "options.{key}: agreed in the handshake; that of a source is set with the source"
            );
            return Err(CommandError::new(CommandError::INVALID_OPTION, message));
        }
        setting.over = setting.over.merged(&runtime.over);
        setting.options = setting.options.with(&setting.over.live());
        let StreamOptions {
            max_bandwidth_bps,
            over_bandwidth,
            peer_idle_timeout,
            reorder_tolerance_packets,
            priority,
            ..
        } = setting.options;
        let terms = Terms {
            max_bandwidth_bps,
            over_bandwidth,
            peer_idle_timeout,
            reorder_tolerance_packets,
            priority,
        };
        Ok((set, terms))
    }

    /// The options in effect, and those that wait for the next connection, as the configuration
    /// names them.
    pub(super) fn show(&self, id: &str) -> Option<Value> {
        let setting = self.by_id.get(id)?;
        let effective = described(&setting.options);
        let next = described(&setting.options.with(&setting.over));
        let changed: Map<String, Value> =
            next.into_iter().filter(|(key, value)| effective.get(key) != Some(value)).collect();
        Some(json!({"options": effective, "next_connection": changed, "applied_at_once": LIVE}))
    }
}

fn described(options: &StreamOptions) -> Map<String, Value> {
    let time = |value: std::time::Duration| humantime::format_duration(value).to_string();
    let value = json!({
        "latency": time(options.latency),
        "latency_max": time(options.latency_max),
        "max_bandwidth": options.max_bandwidth_bps,
        "over_bandwidth": options.over_bandwidth,
        "payload_size": options.payload_bytes,
        "fc_window": options.flow_window,
        "receive_buffer": options.receive_buffer_bytes,
        "peer_idle_timeout": time(options.peer_idle_timeout),
        "loss_reorder_tolerance": options.reorder_tolerance_packets,
        "priority": options.priority,
        "second_publisher": options.second_publisher,
        "encrypted": options.passphrase.is_some(),
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::OverBandwidth;

    fn settings() -> Settings {
        let mut settings = Settings::default();
        settings.connected("a", &StreamOptions::default());
        settings
    }

    fn refusal(given: Value) -> String {
        settings().change("a", given, true).expect_err("refused").message
    }

    #[test]
    fn what_can_change_at_once_does_and_the_rest_waits_for_the_next_connection() {
        let mut settings = settings();
        let given = json!({
            "peer_idle_timeout": "2s", "over_bandwidth": "drop", "latency": "1s", "priority": 3
        });
        let (set, terms) = settings.change("a", given, true).expect("changed");
        assert_eq!(set.applied, ["over_bandwidth", "peer_idle_timeout", "priority"]);
        assert_eq!(terms.priority, 3);
        assert_eq!(set.next_connection, ["latency"]);
        assert_eq!(terms.peer_idle_timeout, Duration::from_secs(2));
        assert_eq!(terms.over_bandwidth, OverBandwidth::Drop);
        let shown = settings.show("a").expect("shown");
        assert_eq!(shown["options"]["peer_idle_timeout"], "2s");
        assert_eq!(shown["options"]["latency"], "120ms", "of this connection");
        assert_eq!(shown["next_connection"], json!({"latency": "1s"}));
        let next = settings.overlay("a", &StreamOptions::default());
        assert_eq!(next.latency, Duration::from_secs(1));
        settings.connected("a", &next);
        assert_eq!(settings.show("a").expect("shown")["next_connection"], json!({}));
    }

    #[test]
    fn changes_add_up_and_end_with_the_stream() {
        let mut settings = settings();
        settings.change("a", json!({"fc_window": 100}), true).expect("changed");
        settings.change("a", json!({"max_bandwidth": 1_000_000}), true).expect("changed");
        let next = settings.overlay("a", &StreamOptions::default());
        assert_eq!((next.flow_window, next.max_bandwidth_bps), (100, 1_000_000));
        settings.forget("a");
        assert_eq!(settings.overlay("a", &StreamOptions::default()), StreamOptions::default());
        let unknown = settings.change("a", json!({}), true).expect_err("gone");
        assert_eq!(unknown.code, CommandError::NOT_FOUND);
    }

    #[test]
    fn what_a_source_agrees_in_its_handshake_is_refused() {
        let refused = settings().change("a", json!({"latency": "1s"}), false);
        let text = refused.expect_err("refused").message;
        assert!(text.contains("options.latency"), "{text}");
        settings().change("a", json!({"peer_idle_timeout": "2s"}), false).expect("acts at once");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed_and_changes_nothing() {
        for (given, named) in [
            (json!({"latencyy": "1s"}), "latencyy"),
            (json!({"peer_idle_timeout": "2h"}), "options.peer_idle_timeout"),
            (json!({"loss_reorder_tolerance": 2_000}), "allowed are 0 to 1024"),
            (json!({"passphrase": "correct horse"}), "options.passphrase"),
            (json!({"publish_key": "sesame"}), "options.publish_key"),
            (json!({"priority": 256}), "allowed are 0 to 255"),
            (json!([]), "options"),
        ] {
            let text = refusal(given);
            assert!(text.contains(named), "{text}");
        }
        let mut settings = settings();
        let half = json!({"peer_idle_timeout": "2s", "fc_window": 1});
        settings.change("a", half, true).expect_err("one is wrong");
        let shown = settings.show("a").expect("shown");
        assert_eq!(shown["options"]["peer_idle_timeout"], "5s");
    }
}
