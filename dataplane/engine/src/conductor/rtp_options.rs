//! Options of single streams of RTP that an operator changes while the dataplane runs. All of them
//! act at once, and stay with the stream id as long as it is listed: over senders that come and go.

use std::collections::HashMap;

use rtp::session::SessionConfig;
use serde_json::{Map, Value, json};
use shm::link::{CommandError, OptionsSet};

use super::Conductor;
use super::desk::{Desk, changing, unknown};
use super::streams::State;
use crate::config::{OverBandwidth, RtpConfig, RtpOptions, RtpTerms};
use crate::messages::Control;

/// Options by stream id.
#[derive(Debug, Default)]
pub(super) struct RtpSettings {
    by_id: HashMap<String, Setting>,
}

#[derive(Debug)]
struct Setting {
    /// As configured.
    base: RtpTerms,
    /// What the operator changed.
    over: RtpOptions,
    /// In effect.
    terms: RtpTerms,
    /// It is a transport stream without RTP.
    is_ts: bool,
}

impl RtpSettings {
    /// A session is opened with these terms; those it gets, with the operator's changes.
    pub(super) fn opened(
        &mut self,
        id: &str,
        base: RtpTerms,
        (rtp, is_ts): (&RtpConfig, bool),
    ) -> RtpTerms {
        let former = self.by_id.remove(id);
        let over = former.map(|setting| setting.over).unwrap_or_default();
        // What does not go together with another configuration any more is let go.
        let (terms, over) = match over.applied(&base, (rtp, is_ts)) {
            Ok(terms) => (terms, over),
            Err(_) => (base, RtpOptions::default()),
        };
        self.by_id.insert(id.to_owned(), Setting { base, over, terms, is_ts });
        terms
    }

    /// The stream is listed no more.
    pub(super) fn forget(&mut self, id: &str) {
        self.by_id.remove(id);
    }

    /// The bandwidth of a stream of RTP.
    pub(super) fn max_bandwidth_bps(&self, id: &str) -> Option<u64> {
        self.by_id.get(id).map(|setting| setting.terms.max_bandwidth_bps)
    }

    /// Changes what is given; all of it, or nothing and why.
    fn change(
        &mut self,
        id: &str,
        given: Value,
        rtp: &RtpConfig,
    ) -> Result<(OptionsSet, RtpTerms), CommandError> {
        let setting = self.by_id.get_mut(id).ok_or_else(|| unknown(id))?;
        let wrong = |error: crate::config::Error| {
            CommandError::new(CommandError::INVALID_OPTION, error.to_string())
        };
        let later = RtpOptions::read(given).map_err(wrong)?;
        let over = setting.over.merged(&later);
        setting.terms = over.applied(&setting.base, (rtp, setting.is_ts)).map_err(wrong)?;
        setting.over = over;
        let applied = later.keys();
        Ok((OptionsSet { applied, ..OptionsSet::default() }, setting.terms))
    }

    fn show(&self, id: &str) -> Option<Value> {
        let setting = self.by_id.get(id)?;
        let RtpTerms { max_bandwidth_bps, over_bandwidth, session } = setting.terms;
        let time = |value: std::time::Duration| humantime::format_duration(value).to_string();
        let mut options = described(max_bandwidth_bps, over_bandwidth);
        options.insert("session_timeout".into(), time(session.timeout).into());
        options.insert("relatch_after".into(), time(session.relatch_after).into());
        if !setting.is_ts {
            options.insert("latency".into(), time(session.window.time).into());
            options.insert("latency_max".into(), time(session.window.time_max).into());
            options.insert("reorder_packets".into(), session.window.packets.into());
            options.insert("rate_limit".into(), session.rate_limit_bps.unwrap_or(0).into());
        }
        let live: Vec<&String> = options.keys().collect();
        Some(json!({"options": options, "next_connection": {}, "applied_at_once": live}))
    }
}

fn described(max_bandwidth_bps: u64, over_bandwidth: OverBandwidth) -> Map<String, Value> {
    let mut options = Map::new();
    options.insert("max_bandwidth".into(), max_bandwidth_bps.into());
    options.insert("over_bandwidth".into(), json!(over_bandwidth));
    options
}

/// The terms of a session as it is configured.
const fn configured(
    config: &SessionConfig,
    (max_bandwidth_bps, over_bandwidth): (u64, OverBandwidth),
) -> RtpTerms {
    RtpTerms { max_bandwidth_bps, over_bandwidth, session: config.terms() }
}

impl Conductor {
    /// The terms of a session that is about to be opened.
    pub(super) fn rtp_terms(
        &mut self,
        id: &str,
        config: &SessionConfig,
        bandwidth: (u64, OverBandwidth),
        is_ts: bool,
    ) -> RtpTerms {
        let terms = configured(config, bandwidth);
        match &self.parts.rtp {
            Some(rtp) => self.rtp_settings.opened(id, terms, (rtp, is_ts)),
            None => terms,
        }
    }
}

impl Desk<'_> {
    pub(super) fn rtp_options(&self, id: &str) -> Result<Value, CommandError> {
        self.rtp_settings.show(id).ok_or_else(|| unknown(id))
    }

    pub(super) fn set_rtp_options(
        &mut self,
        id: &str,
        options: Value,
    ) -> Result<OptionsSet, CommandError> {
        let (Some(stream), Some(rtp)) = (self.streams.get(id), self.rtp) else {
            return Err(unknown(id));
        };
        let live = match stream.state {
            State::Live { place, socket_id, .. } if self.control_room > 0 => {
                Some((place, socket_id))
            }
            State::Lost { .. } => None,
            _ => return Err(changing(id)),
        };
        let (set, terms) = self.rtp_settings.change(id, options, rtp)?;
        if let Some((place, socket_id)) = live {
            self.control_room -= 1;
            self.controls.push((place, socket_id, Control::RtpTerms(terms)));
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;

    fn rtp() -> RtpConfig {
        let text = "ingestion: {rtp: {port: 5004, max_bandwidth: 20000000, latency: 200ms}}";
        Config::from_yaml(text).expect("valid").rtp.expect("on")
    }

    fn settings(rtp: &RtpConfig, is_ts: bool) -> RtpSettings {
        let mut settings = RtpSettings::default();
        let bandwidth = (rtp.max_bandwidth_bps, rtp.over_bandwidth);
        settings.opened("a", configured(&rtp.session, bandwidth), (rtp, is_ts));
        settings
    }

    #[test]
    fn changes_act_at_once_add_up_and_outlive_the_sender() {
        let rtp = rtp();
        let mut settings = settings(&rtp, false);
        let given = json!({"max_bandwidth": 5_000_000, "latency": "50ms", "rate_limit": 6_000_000});
        let (set, terms) = settings.change("a", given, &rtp).expect("changed");
        assert_eq!(set.applied, ["latency", "max_bandwidth", "rate_limit"]);
        assert!(set.next_connection.is_empty());
        assert_eq!(terms.session.window.time, Duration::from_millis(50));
        let (_, terms) =
            settings.change("a", json!({"session_timeout": "2s"}), &rtp).expect("changed");
        assert_eq!(
            (terms.max_bandwidth_bps, terms.session.rate_limit_bps),
            (5_000_000, Some(6_000_000))
        );
        let base = configured(&rtp.session, (rtp.max_bandwidth_bps, rtp.over_bandwidth));
        assert_eq!(settings.opened("a", base, (&rtp, false)), terms, "the next sender's");
        let shown = settings.show("a").expect("shown");
        assert_eq!(shown["options"]["session_timeout"], "2s");
        let (_, terms) = settings.change("a", json!({"rate_limit": 0}), &rtp).expect("changed");
        assert_eq!(terms.session.rate_limit_bps, None);
        settings.forget("a");
        assert_eq!(settings.opened("a", base, (&rtp, false)), base);
    }

    #[test]
    fn what_cannot_be_changed_is_named_with_what_is_allowed_and_changes_nothing() {
        let rtp = rtp();
        for (is_ts, given, named) in [
            (false, json!({"fc_window": 100}), "fc_window"),
            (false, json!({"peer_idle_timeout": "2s"}), "expected one of `max_bandwidth`"),
            (false, json!({"max_bandwidth": 20_000_001}), "allowed are 64000 to 20000000"),
            (false, json!({"latency": "201ms"}), "options.latency: 201ms is above"),
            (false, json!({"session_timeout": "2h"}), "options.session_timeout"),
            (false, json!({"rate_limit": 1}), "options.rate_limit"),
            (true, json!({"latency": "1ms"}), "options.latency: has no meaning"),
            (false, json!([]), "options"),
        ] {
            let mut settings = settings(&rtp, is_ts);
            let before = settings.show("a");
            let refused = settings.change("a", given, &rtp).expect_err("refused").message;
            assert!(refused.contains(named), "{refused}");
            assert_eq!(settings.show("a"), before);
        }
    }
}
