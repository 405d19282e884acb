//! What can be changed of a stream of RTP while it runs.

use std::time::Duration;

use super::options::BANDWIDTH_BPS;
use super::rtp::{RELATCH_AFTER, SESSION_TIMEOUT, window};
use super::{Error, lasting, refuse, within};
use crate::config::rtp::{RtpConfig, RtpTerms};
use crate::config::schema::RtpOptions;

/// The terms of a stream that had those of `base`, within what memory was taken for.
pub(in crate::config) fn rtp_options(
    at: &str,
    keys: &RtpOptions,
    base: &RtpTerms,
    (rtp, is_ts): (&RtpConfig, bool),
) -> Result<RtpTerms, Error> {
    let key = |name: &str| format!("{at}.{name}");
    let of_rtp = [
        ("latency", keys.latency.is_some()),
        ("latency_max", keys.latency_max.is_some()),
        ("reorder_packets", keys.reorder_packets.is_some()),
        ("rate_limit", keys.rate_limit.is_some()),
    ];
    if let Some((name, _)) = of_rtp.iter().find(|(_, given)| *given && is_ts) {
        return refuse(&key(name), "has no meaning for a transport stream without RTP");
    }
    let mut terms = *base;
    let most = rtp.max_bandwidth_bps;
    let allowed = *BANDWIDTH_BPS.start()..=most;
    terms.max_bandwidth_bps =
        within(&key("max_bandwidth"), keys.max_bandwidth, base.max_bandwidth_bps, allowed)?;
    terms.over_bandwidth = keys.over_bandwidth.unwrap_or(base.over_bandwidth);
    let session = &mut terms.session;
    let times = (keys.latency, keys.latency_max, keys.reorder_packets);
    session.window = window(at, times, base.session.window)?;
    within_latency(&key("latency"), session.window.time, rtp)?;
    session.timeout =
        lasting(&key("session_timeout"), keys.session_timeout, session.timeout, SESSION_TIMEOUT)?;
    session.relatch_after =
        lasting(&key("relatch_after"), keys.relatch_after, session.relatch_after, RELATCH_AFTER)?;
    session.rate_limit_bps = match keys.rate_limit {
        None => session.rate_limit_bps,
        // None any more.
        Some(0) => None,
        given => Some(within(&key("rate_limit"), given, 0, BANDWIDTH_BPS)?),
    };
    Ok(terms)
}

/// Whether packet slots were taken for so long a wait.
pub(super) fn within_latency(key: &str, time: Duration, rtp: &RtpConfig) -> Result<(), Error> {
    let most = rtp.session.window.time;
    if time > most {
        return refuse(
            key,
            format!("{time:?} is above ingestion.rtp.latency {most:?}, by which memory is taken"),
        );
    }
    Ok(())
}
