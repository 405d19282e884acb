//! `ingestion.rtp`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use rtp::payload::Limits;
use rtp::reorder::Window;
use rtp::session::{Room, SessionConfig, TRACKS_MAX};

use super::options::BANDWIDTH_BPS;
use super::srt::{address, derived_id, must_be_meant, network, networks};
use super::{Error, SECOND, lasting, optional, refuse, rtp_sessions, streams, within};
use crate::config::rtp::{
    AddedSessions, Purpose, RtpConfig, SenderRule, SessionSetup, SharedPort, packets,
};
use crate::config::schema::{Ingestion, Rtp, RtpSender, RtpSession, Span};
use crate::config::srt::Access;

const RTP: &str = "ingestion.rtp";
const DERIVED_ID_DEFAULT: &str = "rtp_{date}_{time}_{number}";
pub(super) const SESSION_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(3_600);
pub(super) const RELATCH_AFTER: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3_600);
/// Slots that even the slowest session may hold: a stream's first packets wait until what they
/// carry is found out.
const SLOTS_LEAST: u32 = 256;
/// A unit whose length is not known before its end is spread over the packets of so long.
const UNIT_SPAN: Duration = Duration::from_millis(100);
const PIECES_LEAST: u32 = 512;

pub(super) fn rtp(
    ingestion: &Ingestion,
    bandwidth_default_bps: u64,
    frame_bytes_max: u32,
) -> Result<Option<RtpConfig>, Error> {
    let rtp = &ingestion.rtp;
    // Without a word about it the port stays closed.
    if !rtp.enabled.unwrap_or_else(|| rtp.is_given()) {
        return Ok(None);
    }
    let max_bandwidth_bps =
        within(&key("max_bandwidth"), rtp.max_bandwidth, bandwidth_default_bps, BANDWIDTH_BPS)?;
    let window = latency(rtp)?;
    let slots = slots(max_bandwidth_bps, window);
    let access = access(rtp)?;
    let (shared, open) = (shared(rtp)?, rtp.open.unwrap_or(false));
    must_be_meant(RTP, shared.rtp.ip(), &access, open)?;
    let template = rtp.derived_id.as_deref().unwrap_or(DERIVED_ID_DEFAULT);
    let config = RtpConfig {
        shared,
        access,
        open,
        rules: rules(rtp.streams.as_deref().unwrap_or_default())?,
        derived_id: derived_id(RTP, template)?,
        sessions_max: within(&key("max_sessions"), rtp.max_sessions, 30, 1..=4_096)?,
        receive_buffer_bytes: receive_buffer_bytes(rtp)?,
        max_bandwidth_bps,
        over_bandwidth: rtp.over_bandwidth.unwrap_or_default(),
        session: SessionConfig {
            window,
            first_wait: true,
            slots_max: slots,
            limits: Limits { frame_bytes_max: frame_bytes_max as usize, ..Limits::default() },
            timeout: timeout(rtp, ingestion.stream_timeout)?,
            relatch_after: relatch_after(rtp)?,
            rate_limit_bps: optional(&key("rate_limit"), rtp.rate_limit, BANDWIDTH_BPS)?,
            ..SessionConfig::default()
        },
        room: room(max_bandwidth_bps, slots),
        sessions: Vec::new(),
        added: added(rtp)?,
    };
    with_sessions(config, rtp.sessions.as_deref().unwrap_or_default()).map(Some)
}

fn latency(rtp: &Rtp) -> Result<Window, Error> {
    window(RTP, (rtp.latency, rtp.latency_max, rtp.reorder_packets), Window::default())
}

/// Slots that one session may hold: half again as many as come in while the window waits.
fn slots(max_bandwidth_bps: u64, window: Window) -> u32 {
    packets(max_bandwidth_bps, window.time * 3 / 2).max(SLOTS_LEAST)
}

fn access(rtp: &Rtp) -> Result<Access, Error> {
    Ok(Access {
        allow: networks(&key("allow"), rtp.allow.as_deref().unwrap_or_default())?,
        deny: networks(&key("deny"), rtp.deny.as_deref().unwrap_or_default())?,
    })
}

fn receive_buffer_bytes(rtp: &Rtp) -> Result<usize, Error> {
    within(&key("buffer_size"), rtp.buffer_size, 8 << 20, 64 << 10..=1 << 30)
}

fn timeout(rtp: &Rtp, of_streams: Option<Span>) -> Result<Duration, Error> {
    let span = rtp.session_timeout.or(of_streams);
    lasting(&key("session_timeout"), span, 30 * SECOND, SESSION_TIMEOUT)
}

fn relatch_after(rtp: &Rtp) -> Result<Duration, Error> {
    lasting(&key("relatch_after"), rtp.relatch_after, 5 * SECOND, RELATCH_AFTER)
}

/// What a session of one track needs; those that are given may need more.
fn room(max_bandwidth_bps: u64, slots: u32) -> Room {
    Room {
        tracks: 1,
        window_packets: slots.next_power_of_two().max(1_024),
        pieces: packets(max_bandwidth_bps, UNIT_SPAN).max(PIECES_LEAST) as usize,
        fec: false,
    }
}

fn added(rtp: &Rtp) -> Result<AddedSessions, Error> {
    let tracks = 1..=TRACKS_MAX as u64;
    Ok(AddedSessions {
        max: within(&key("max_added_sessions"), rtp.max_added_sessions, 4, 0..=256)?,
        tracks: within(&key("max_added_tracks"), rtp.max_added_tracks, 2, tracks)?,
    })
}

/// Adds the sessions that are given, and makes every place fit for the largest of them.
fn with_sessions(mut config: RtpConfig, keys: &[RtpSession]) -> Result<RtpConfig, Error> {
    if keys.len() > usize::from(config.sessions_max) {
        return refuse(
            &key("sessions"),
            format!(
                "{} sessions; {} allows {}",
                keys.len(),
                key("max_sessions"),
                config.sessions_max
            ),
        );
    }
    let mut sessions: Vec<SessionSetup> = Vec::new();
    for (place, keys) in keys.iter().enumerate() {
        let at = format!("{RTP}.sessions[{place}]");
        let session = rtp_sessions::session(&at, keys, &config)?;
        if sessions.iter().any(|other| other.id == session.id) {
            return refuse(&format!("{at}.id"), format!("`{}` is used twice", session.id));
        }
        let twice = sessions.iter().find_map(|other| session.shared_address(other));
        if let Some(address) = twice {
            return refuse(&format!("{at}.port"), format!("{address} is used twice"));
        }
        sessions.push(session);
    }
    let added = if config.added.max > 0 { usize::from(config.added.tracks) } else { 1 };
    config.room.tracks = sessions.iter().map(SessionSetup::tracks).fold(added, usize::max);
    let mut sockets = sessions.iter().flat_map(|session| &session.sockets);
    config.room.fec = sockets.any(|socket| socket.purpose == Purpose::Fec);
    config.sessions = sessions;
    Ok(config)
}

fn key(name: &str) -> String {
    format!("{RTP}.{name}")
}

fn shared(rtp: &Rtp) -> Result<SharedPort, Error> {
    let ip = address(RTP, rtp.listen_addr.as_deref().unwrap_or("127.0.0.1"))?;
    let port: u16 = within(&key("port"), rtp.port, 5_004, 1..=65_535)?;
    let next = u64::from(port) + 1;
    let rtcp_port = within(&key("rtcp_port"), rtp.rtcp_port, next, 1..=65_535)?;
    if port == rtcp_port {
        return refuse(
            &key("rtcp_port"),
            format!(
                "{port} is the port of RTP; RTCP has one of its own, and is taken on that of RTP too"
            ),
        );
    }
    Ok(SharedPort { rtp: SocketAddr::new(ip, port), rtcp: SocketAddr::new(ip, rtcp_port) })
}

/// `latency`, `latency_max` and `reorder_packets` of the section `at`.
pub(super) fn window(
    at: &str,
    (latency, latency_max, packets): (Option<Span>, Option<Span>, Option<u64>),
    standard: Window,
) -> Result<Window, Error> {
    let key = |name: &str| format!("{at}.{name}");
    let time = lasting(&key("latency"), latency, standard.time, Duration::ZERO..=10 * SECOND)?;
    let time_max =
        lasting(&key("latency_max"), latency_max, standard.time_max.max(time), time..=20 * SECOND)?;
    let default = u64::from(standard.packets);
    let packets = within(&key("reorder_packets"), packets, default, 0..=4_096)?;
    Ok(Window { packets, time, time_max })
}

fn rules(keys: &[RtpSender]) -> Result<Vec<SenderRule>, Error> {
    let rules = keys.iter().enumerate().map(|(place, keys)| rule(place, keys));
    rules.collect()
}

fn rule(place: usize, keys: &RtpSender) -> Result<SenderRule, Error> {
    let at = format!("{RTP}.streams[{place}]");
    let key = |name: &str| format!("{at}.{name}");
    let Some(id) = keys.id.as_deref() else {
        return refuse(&key("id"), "missing; it is the id of the stream");
    };
    let source = keys.source.as_deref().map(|text| network(&key("source"), text)).transpose()?;
    let rule = SenderRule {
        id: streams::text(&key("id"), id)?,
        source,
        source_port: optional(&key("source_port"), keys.source_port, 1..=65_535)?,
        ssrc: optional(&key("ssrc"), keys.ssrc, 0..=u32::MAX.into())?,
        payload_type: optional(&key("payload_type"), keys.payload_type, 0..=127)?,
    };
    let says_nothing = rule.source.is_none()
        && rule.source_port.is_none()
        && rule.ssrc.is_none()
        && rule.payload_type.is_none();
    if says_nothing {
        return refuse(
            &at,
            "names no sender; give source, source_port, ssrc or payload_type, or several of them",
        );
    }
    Ok(rule)
}
