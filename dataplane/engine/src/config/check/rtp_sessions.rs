//! `ingestion.rtp.sessions`: streams whose sockets and formats are given.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use rtp::format::Format;
use rtp::rtx::Association;
use rtp::sdp::{Description, Medium};
use rtp::session::{Feedback, SessionConfig, TRACKS_MAX, TrackSetup};
use uring::socket::Membership;

use super::options::BANDWIDTH_BPS;
use super::rtp::{SESSION_TIMEOUT, window};
use super::rtp_options::within_latency;
use super::srt::{address, must_be_meant, networks};
use super::{Error, lasting, optional, refuse, streams, within};
use crate::config::rtp::{Purpose, RtpConfig, SessionSetup, SocketSetup};
use crate::config::schema::{FeedbackKey, RtpLeg, RtpSession, RtpTrack, RtpTransport};
use crate::config::srt::Access;

/// How a session is described.
const ALTERNATIVES: &str = "give one of sdp, tracks, and port; transport: ts goes with port";
/// Longest name of an interface (IFNAMSIZ, with a zero).
const INTERFACE_BYTES_MAX: usize = 15;
/// Ports of SMPTE ST 2022-1 behind that of the media: columns and rows.
const FEC_OFFSETS: [u16; 2] = [2, 4];

/// One session of the section `at`.
pub(super) fn session(at: &str, keys: &RtpSession, rtp: &RtpConfig) -> Result<SessionSetup, Error> {
    let key = |name: &str| format!("{at}.{name}");
    let Some(id) = keys.id.as_deref() else {
        return refuse(&key("id"), "missing; it is the id of the stream");
    };
    let networks_or = |name: &str, own: Option<&[String]>, inherited: &[IpNet]| match own {
        Some(own) => networks(&key(name), own),
        None => Ok(inherited.to_vec()),
    };
    let access = Access {
        allow: networks_or("allow", keys.allow.as_deref(), &rtp.access.allow)?,
        deny: networks_or("deny", keys.deny.as_deref(), &rtp.access.deny)?,
    };
    let is_ts = keys.transport == Some(RtpTransport::Ts);
    without_meaning(at, keys)?;
    let mut plan = Plan { sockets: Vec::new(), config: rtp.session, left_out: Vec::new() };
    plan.config.tracks = [None; TRACKS_MAX];
    plan.config.patient = true;
    let is_placed = keys.port.is_some();
    match (keys.sdp.as_deref(), keys.tracks.as_deref(), is_ts) {
        (Some(_), _, _) | (_, Some(_), _) if is_placed => {
            return refuse(&key("port"), ALTERNATIVES);
        }
        (Some(text), None, false) => plan.describe(at, text, keys, rtp)?,
        (None, Some(tracks), false) => plan.list(at, tracks, keys, rtp)?,
        (None, None, false) => plan.list(at, &[alone(keys)], keys, rtp)?,
        (None, None, true) => {
            plan.push(at, &Place::of_track(&alone(keys)), keys, rtp, Purpose::TransportStream)?;
        }
        _ => {
            return refuse(at, ALTERNATIVES);
        }
    }
    for socket in plan.sockets.iter().filter(|socket| socket.membership.is_none()) {
        must_be_meant(at, socket.listen.ip(), &access, keys.open.unwrap_or(rtp.open))?;
    }
    plan.terms(at, keys, rtp)?;
    let max_bandwidth_bps =
        within(&key("max_bandwidth"), keys.max_bandwidth, rtp.max_bandwidth_bps, BANDWIDTH_BPS)?;
    if max_bandwidth_bps > rtp.max_bandwidth_bps {
        return refuse(
            &key("max_bandwidth"),
            format!(
                "{max_bandwidth_bps} is above ingestion.rtp.max_bandwidth {}, by which memory is taken",
                rtp.max_bandwidth_bps
            ),
        );
    }
    Ok(SessionSetup {
        id: streams::text(&key("id"), id)?,
        sockets: plan.sockets,
        config: plan.config,
        is_ts,
        access,
        max_bandwidth_bps,
        over_bandwidth: keys.over_bandwidth.unwrap_or(rtp.over_bandwidth),
        left_out: plan.left_out,
    })
}

/// The same for one that is added at run time: within what was taken for such at the start.
pub(in crate::config) fn added_session(
    at: &str,
    keys: &RtpSession,
    rtp: &RtpConfig,
) -> Result<SessionSetup, Error> {
    let session = session(at, keys, rtp)?;
    let (tracks, most) = (session.tracks(), usize::from(rtp.added.tracks));
    if tracks > most {
        let key = if keys.sdp.is_some() { "sdp" } else { "tracks" };
        return refuse(
            &format!("{at}.{key}"),
            format!("{tracks} tracks; ingestion.rtp.max_added_tracks takes memory for {most}"),
        );
    }
    if keys.fec == Some(true) && !rtp.room.fec {
        return refuse(
            &format!("{at}.fec"),
            "no memory is taken for it; that is done at the start, when one of \
             ingestion.rtp.sessions has fec: true",
        );
    }
    Ok(session)
}

/// Keys of a session's only track where it is described otherwise, and those of RTP without RTP.
fn without_meaning(at: &str, keys: &RtpSession) -> Result<(), Error> {
    let of_track = [
        ("rtcp_port", keys.rtcp_port.is_some()),
        ("payload_type", keys.payload_type.is_some()),
        ("codec", keys.codec.is_some()),
        ("fmtp", keys.fmtp.is_some()),
        ("ssrc", keys.ssrc.is_some()),
        ("rtx_payload_type", keys.rtx_payload_type.is_some()),
    ];
    let of_rtp = [
        ("second_leg", keys.second_leg.is_some()),
        ("fec", keys.fec.is_some()),
        ("feedback", keys.feedback.is_some()),
        ("latency", keys.latency.is_some()),
        ("latency_max", keys.latency_max.is_some()),
        ("reorder_packets", keys.reorder_packets.is_some()),
        ("rate_limit", keys.rate_limit.is_some()),
    ];
    let is_ts = keys.transport == Some(RtpTransport::Ts);
    let (refused, why) = match (&keys.sdp, &keys.tracks) {
        (Some(_), _) => (&of_track[..], "has no meaning beside sdp, which says it"),
        (_, Some(_)) => {
            (&of_track[..], "has no meaning beside tracks; it stands with each of them")
        }
        _ if is_ts => (&of_track[..], "has no meaning without RTP"),
        _ => (&[][..], ""),
    };
    let of_rtp = of_rtp.iter().filter(|_| is_ts).map(|key| (key, "has no meaning without RTP"));
    for ((name, given), why) in refused.iter().map(|key| (key, why)).chain(of_rtp) {
        if *given {
            return refuse(&format!("{at}.{name}"), why);
        }
    }
    Ok(())
}

/// The keys of a session's only track, which stand with the session.
fn alone(keys: &RtpSession) -> RtpTrack {
    RtpTrack {
        listen_addr: keys.listen_addr.clone(),
        port: keys.port,
        rtcp_port: keys.rtcp_port,
        payload_type: keys.payload_type,
        codec: keys.codec.clone(),
        fmtp: keys.fmtp.clone(),
        ssrc: keys.ssrc,
        rtx_payload_type: keys.rtx_payload_type,
        group: keys.group.clone(),
        source: keys.source.clone(),
        interface: keys.interface.clone(),
    }
}

/// Where packets come.
#[derive(Debug, Clone, Default)]
struct Place {
    listen_addr: Option<String>,
    port: Option<u64>,
    group: Option<String>,
    source: Option<String>,
    interface: Option<String>,
}

impl Place {
    fn of_track(keys: &RtpTrack) -> Self {
        Self {
            listen_addr: keys.listen_addr.clone(),
            port: keys.port,
            group: keys.group.clone(),
            source: keys.source.clone(),
            interface: keys.interface.clone(),
        }
    }

    fn of_leg(keys: &RtpLeg) -> Self {
        Self {
            listen_addr: keys.listen_addr.clone(),
            port: keys.port,
            group: keys.group.clone(),
            source: keys.source.clone(),
            interface: keys.interface.clone(),
        }
    }

    fn of_medium(medium: &Medium, keys: &RtpSession) -> Self {
        let group = medium.address.filter(IpAddr::is_multicast);
        Self {
            listen_addr: keys.listen_addr.clone(),
            port: Some(medium.port.into()),
            group: group.map(|group| group.to_string()),
            source: medium.source.filter(|_| group.is_some()).map(|source| source.to_string()),
            interface: keys.interface.clone(),
        }
    }

    fn with_port(&self, port: u16) -> Self {
        Self { port: Some(port.into()), ..self.clone() }
    }
}

/// What a session comes to be.
struct Plan {
    sockets: Vec<SocketSetup>,
    config: SessionConfig,
    left_out: Vec<String>,
}

impl Plan {
    /// A socket at a place, and the port it has.
    fn push(
        &mut self,
        at: &str,
        place: &Place,
        session: &RtpSession,
        rtp: &RtpConfig,
        purpose: Purpose,
    ) -> Result<u16, Error> {
        let key = |name: &str| format!("{at}.{name}");
        let Some(port) = place.port else {
            return refuse(&key("port"), "missing; where the packets come");
        };
        let port: u16 = within(&key("port"), Some(port), port, 1..=65_535)?;
        let membership = membership(at, place, session)?;
        let ip = match (&membership, place.listen_addr.as_ref().or(session.listen_addr.as_ref())) {
            (Some(membership), _) => membership.group,
            (None, Some(text)) => address(at, text)?,
            (None, None) => rtp.shared.rtp.ip(),
        };
        let listen = SocketAddr::new(ip, port);
        let is_leg = matches!(purpose, Purpose::Rtp { .. });
        if is_leg && self.sockets.iter().any(|socket| socket.purpose == purpose) {
            return refuse(at, "more than two paths of one track; SMPTE ST 2022-7 has two");
        }
        let shared = [rtp.shared.rtp, rtp.shared.rtcp].contains(&listen);
        if shared || self.sockets.iter().any(|socket| socket.listen == listen) {
            return refuse(&key("port"), format!("{listen} is used twice"));
        }
        self.config.redundant |= matches!(purpose, Purpose::Rtp { leg: 1.., .. });
        self.sockets.push(SocketSetup { listen, membership, purpose });
        Ok(port)
    }

    fn list(
        &mut self,
        at: &str,
        tracks: &[RtpTrack],
        session: &RtpSession,
        rtp: &RtpConfig,
    ) -> Result<(), Error> {
        if tracks.is_empty() || tracks.len() > TRACKS_MAX {
            return refuse(
                &format!("{at}.tracks"),
                format!("{} tracks; allowed are 1 to {TRACKS_MAX}", tracks.len()),
            );
        }
        for (index, keys) in tracks.iter().enumerate() {
            let at = match session.tracks {
                Some(_) => format!("{at}.tracks[{index}]"),
                None => at.to_owned(),
            };
            let setup = setup(&at, keys, tracks.len() == 1)?;
            self.config.tracks[index] = Some(setup);
            let track = u8::try_from(index).expect("tracks are few");
            let place = Place::of_track(keys);
            let port = self.push(&at, &place, session, rtp, Purpose::Rtp { track, leg: 0 })?;
            let of = Purpose::Rtcp { track, leg: 0 };
            self.rtcp(&at, (&place, port), keys.rtcp_port, session, rtp, of)?;
        }
        self.redundancy(at, session, rtp)
    }

    /// The socket of RTCP beside one of RTP at that place and port: at the port above unless another is
    /// given (RFC 3550, 11).
    fn rtcp(
        &mut self,
        at: &str,
        (place, port): (&Place, u16),
        given: Option<u64>,
        session: &RtpSession,
        rtp: &RtpConfig,
        purpose: Purpose,
    ) -> Result<(), Error> {
        let key = format!("{at}.rtcp_port");
        let rtcp_port: u16 = within(&key, given, u64::from(port) + 1, 1..=65_535)?;
        // On the same port it is told apart by its packet type.
        if rtcp_port != port {
            self.push(at, &place.with_port(rtcp_port), session, rtp, purpose)?;
        }
        Ok(())
    }

    fn describe(
        &mut self,
        at: &str,
        text: &str,
        session: &RtpSession,
        rtp: &RtpConfig,
    ) -> Result<(), Error> {
        let key = format!("{at}.sdp");
        let description = match Description::parse(text) {
            Ok(description) => description,
            Err(error) => return refuse(&key, error.to_string()),
        };
        self.left_out.clone_from(&description.left_out);
        let mut track_of = Vec::new();
        for medium in &description.media {
            if let Some(track) = medium.leg_of.and_then(|first| track_of.get(first).copied()) {
                track_of.push(track);
                self.medium(&key, medium, session, rtp, (track, 1))?;
                continue;
            }
            let index = track_of.iter().map(|track| track + 1).max().unwrap_or(0);
            let Some(free) = self.config.tracks.get_mut(usize::from(index)) else {
                return refuse(&key, format!("more than {TRACKS_MAX} media"));
            };
            *free = Some(medium.setup);
            track_of.push(index);
            self.medium(&key, medium, session, rtp, (index, 0))?;
            let Feedback { nack, pli, fir } = &mut self.config.feedback;
            *nack |= medium.feedback.nack;
            *pli |= medium.feedback.pli;
            *fir |= medium.feedback.fir;
        }
        self.redundancy(at, session, rtp)
    }

    /// The sockets of a medium that is described: RTP, and RTCP unless it comes there too.
    fn medium(
        &mut self,
        key: &str,
        medium: &Medium,
        session: &RtpSession,
        rtp: &RtpConfig,
        (track, leg): (u8, u8),
    ) -> Result<(), Error> {
        let place = Place::of_medium(medium, session);
        let port = self.push(key, &place, session, rtp, Purpose::Rtp { track, leg })?;
        let (of, given) = (Purpose::Rtcp { track, leg }, Some(medium.rtcp_port.into()));
        self.rtcp(key, (&place, port), given, session, rtp, of)
    }

    /// The second path of SMPTE ST 2022-7 and the error correction of ST 2022-1, of the first track.
    fn redundancy(&mut self, at: &str, session: &RtpSession, rtp: &RtpConfig) -> Result<(), Error> {
        let first = self.sockets.first().map(|socket| socket.listen.port()).unwrap_or_default();
        if let Some(leg) = &session.second_leg {
            let at = format!("{at}.second_leg");
            let purpose = Purpose::Rtp { track: 0, leg: 1 };
            let place = Place::of_leg(leg);
            let port = self.push(&at, &place, session, rtp, purpose)?;
            let of = Purpose::Rtcp { track: 0, leg: 1 };
            self.rtcp(&at, (&place, port), leg.rtcp_port, session, rtp, of)?;
        }
        if session.fec.unwrap_or(false) {
            let place = Place { port: Some(first.into()), ..Place::of_track(&alone(session)) };
            for offset in FEC_OFFSETS {
                let port = first.saturating_add(offset);
                self.push(
                    &format!("{at}.fec"),
                    &place.with_port(port),
                    session,
                    rtp,
                    Purpose::Fec,
                )?;
            }
        }
        Ok(())
    }

    /// What the session says of itself beside its sockets.
    fn terms(&mut self, at: &str, keys: &RtpSession, rtp: &RtpConfig) -> Result<(), Error> {
        let key = |name: &str| format!("{at}.{name}");
        for feedback in keys.feedback.iter().flatten() {
            match feedback {
                FeedbackKey::Nack => self.config.feedback.nack = true,
                FeedbackKey::Pli => self.config.feedback.pli = true,
                FeedbackKey::Fir => self.config.feedback.fir = true,
            }
        }
        let standard = rtp.session.window;
        self.config.window =
            window(at, (keys.latency, keys.latency_max, keys.reorder_packets), standard)?;
        within_latency(&key("latency"), self.config.window.time, rtp)?;
        self.config.timeout = lasting(
            &key("session_timeout"),
            keys.session_timeout,
            rtp.session.timeout,
            SESSION_TIMEOUT,
        )?;
        let limit = optional(&key("rate_limit"), keys.rate_limit, BANDWIDTH_BPS)?;
        self.config.rate_limit_bps = limit.or(rtp.session.rate_limit_bps);
        Ok(())
    }
}

fn membership(at: &str, place: &Place, session: &RtpSession) -> Result<Option<Membership>, Error> {
    let key = |name: &str| format!("{at}.{name}");
    let Some(text) = place.group.as_ref().or(session.group.as_ref()) else {
        for (name, given) in [("source", &place.source), ("interface", &place.interface)] {
            if given.is_some() {
                return refuse(&key(name), "goes with group: it is about multicast");
            }
        }
        return Ok(None);
    };
    let ip = |name: &str, text: &str| match text.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => Ok(ip),
        Err(_) => refuse(&key(name), format!("`{text}` is not an IP address")),
    };
    let group = ip("group", text)?;
    if !group.is_multicast() {
        return refuse(&key("group"), format!("{group} is no multicast address"));
    }
    let source = place.source.as_ref().or(session.source.as_ref());
    let source = source.map(|text| ip("source", text)).transpose()?;
    if source.is_some_and(|source| source.is_ipv4() != group.is_ipv4()) {
        return refuse(&key("source"), format!("is not of the family of {group}"));
    }
    let interface = place.interface.clone().or_else(|| session.interface.clone());
    if let Some(name) =
        interface.as_ref().filter(|name| !(1..=INTERFACE_BYTES_MAX).contains(&name.len()))
    {
        return refuse(
            &key("interface"),
            format!(
                "{} bytes; the name of an interface has 1 to {INTERFACE_BYTES_MAX}",
                name.len()
            ),
        );
    }
    Ok(Some(Membership { group, source, interface }))
}

/// A track as the keys describe it; the only one of a session may be found out instead.
fn setup(at: &str, keys: &RtpTrack, alone: bool) -> Result<TrackSetup, Error> {
    let key = |name: &str| format!("{at}.{name}");
    let payload_type: Option<u8> = optional(&key("payload_type"), keys.payload_type, 0..=127)?;
    let format = match (payload_type, keys.codec.as_deref()) {
        (Some(payload_type), Some(codec)) => {
            match rtp::sdp::format(payload_type, codec, keys.fmtp.as_deref().unwrap_or_default()) {
                Ok(format) => Some(format),
                Err(error) => return refuse(&key("codec"), error.to_string()),
            }
        }
        (Some(payload_type), None) => match Format::of_static(payload_type) {
            Some(format) => Some(format),
            None => {
                return refuse(
                    &key("codec"),
                    "missing; the payload type does not say it by itself",
                );
            }
        },
        (None, Some(_)) => return refuse(&key("payload_type"), "missing; it goes with codec"),
        (None, None) => None,
    };
    if format.is_none() && !alone {
        return refuse(
            &key("codec"),
            "missing; only of a session's single track it is found out from its packets",
        );
    }
    let rtx: Option<u8> = optional(&key("rtx_payload_type"), keys.rtx_payload_type, 0..=127)?;
    let rtx = match (rtx, format) {
        (Some(payload_type), Some(format)) if payload_type != format.payload_type => {
            Some(Association { payload_type, original: format.payload_type })
        }
        (Some(_), _) => {
            return refuse(&key("rtx_payload_type"), "goes with payload_type, and is another one");
        }
        (None, _) => None,
    };
    let ssrc = optional(&key("ssrc"), keys.ssrc, 0..=u32::MAX.into())?;
    Ok(TrackSetup { format, ssrc, rtx, rist: false })
}
