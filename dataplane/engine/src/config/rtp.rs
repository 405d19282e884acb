//! RTP input.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use rtp::probation::WAITING_MAX;
use rtp::session::{LEGS_MAX, Room, SessionConfig, Terms};
use serde_json::Value;
use uring::socket::Membership;

use super::Error;
use super::options::OverBandwidth;
use super::srt::Access;

/// `ingestion.rtp`.
#[derive(Debug, Clone)]
pub struct RtpConfig {
    /// Where senders may come that nobody announced.
    pub shared: SharedPort,
    /// Who may come there.
    pub access: Access,
    /// Everybody may be meant by that.
    pub open: bool,
    /// The ids of some of them.
    pub rules: Vec<SenderRule>,
    /// The id of any other: a template.
    pub derived_id: String,
    /// Sessions at one time, over all workers.
    pub sessions_max: u16,
    /// Bytes asked for each socket's receive buffer.
    pub receive_buffer_bytes: usize,
    /// Highest media rate of a session, bits per second.
    pub max_bandwidth_bps: u64,
    /// What happens above it.
    pub over_bandwidth: OverBandwidth,
    /// What every session is granted.
    pub session: SessionConfig,
    /// What every session's memory is made for.
    pub room: Room,
    /// Those whose sockets and formats are given.
    pub sessions: Vec<SessionSetup>,
    /// Those that may be added while the dataplane runs.
    pub added: AddedSessions,
}

/// What is kept for sessions that are added at run time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddedSessions {
    /// Of them at one time.
    pub max: u16,
    /// Tracks of each.
    pub tracks: u8,
}

impl AddedSessions {
    /// Sockets of one: RTP and RTCP on two paths for each track, columns and rows of error correction.
    pub(crate) const fn sockets_each(self) -> u16 {
        self.tracks as u16 * 4 + 2
    }
}

/// One of `ingestion.rtp.sessions`.
#[derive(Debug, Clone)]
pub struct SessionSetup {
    /// The public id of its stream.
    pub id: String,
    /// Where its packets come.
    pub sockets: Vec<SocketSetup>,
    /// What it is granted.
    pub config: SessionConfig,
    /// Its socket takes a transport stream without RTP.
    pub is_ts: bool,
    /// Who may send.
    pub access: Access,
    /// Highest media rate, bits per second.
    pub max_bandwidth_bps: u64,
    /// What happens above it.
    pub over_bandwidth: OverBandwidth,
    /// Media of its description that are not received, and why.
    pub left_out: Vec<String>,
}

impl SessionSetup {
    /// How many tracks it has; a transport stream without RTP is one.
    pub(crate) fn tracks(&self) -> usize {
        self.config.tracks.iter().flatten().count().max(1)
    }

    /// An address of a session that is the other's too.
    pub(crate) fn shared_address(&self, other: &Self) -> Option<SocketAddr> {
        let mut own = self.sockets.iter().map(|socket| socket.listen);
        own.find(|listen| other.sockets.iter().any(|socket| socket.listen == *listen))
    }
}

/// What of a stream can be changed while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpTerms {
    /// Highest media rate, bits per second.
    pub max_bandwidth_bps: u64,
    /// What happens above it.
    pub over_bandwidth: OverBandwidth,
    /// The rest, which is the session's.
    pub session: Terms,
}

/// One socket of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketSetup {
    /// Where it is bound.
    pub listen: SocketAddr,
    /// The group that it hears.
    pub membership: Option<Membership>,
    /// What comes there.
    pub purpose: Purpose,
}

/// What comes at a session's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// RTP of a track, and its RTCP where both are multiplexed.
    Rtp {
        /// The track.
        track: u8,
        /// 1 for the second path of SMPTE ST 2022-7.
        leg: u8,
    },
    /// RTCP of a track's leg.
    Rtcp {
        /// The track.
        track: u8,
        /// 1 for the second path.
        leg: u8,
    },
    /// Error correction of SMPTE ST 2022-1 for the first track.
    Fec,
    /// A transport stream without RTP.
    TransportStream,
}

/// The ports that all workers share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedPort {
    /// Of RTP.
    pub rtp: SocketAddr,
    /// Of RTCP.
    pub rtcp: SocketAddr,
}

/// One of `ingestion.rtp.streams`: the id of the senders that it fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderRule {
    /// The public id of the stream.
    pub id: String,
    /// Where the sender is.
    pub source: Option<IpNet>,
    /// The port it sends from.
    pub source_port: Option<u16>,
    /// Its SSRC.
    pub ssrc: Option<u32>,
    /// The payload type of its packets.
    pub payload_type: Option<u8>,
}

impl SenderRule {
    fn fits(&self, ssrc: u32, payload_type: u8, peer: SocketAddr) -> bool {
        self.source.is_none_or(|source| source.contains(&peer.ip().to_canonical()))
            && self.source_port.is_none_or(|port| port == peer.port())
            && self.ssrc.is_none_or(|named| named == ssrc)
            && self.payload_type.is_none_or(|named| named == payload_type)
    }
}

impl RtpConfig {
    /// The id that the configuration gives a sender: that of the first rule that fits.
    pub fn id_of(&self, ssrc: u32, payload_type: u8, peer: SocketAddr) -> Option<&str> {
        let rule = self.rules.iter().find(|rule| rule.fits(ssrc, payload_type, peer));
        rule.map(|rule| rule.id.as_str())
    }

    /// A session from an object with the keys of `ingestion.rtp.sessions`.
    pub fn read(&self, value: Value) -> Result<SessionSetup, Error> {
        let keys = serde_path_to_error::deserialize(value).map_err(|error| {
            let (key, problem) = (error.path().to_string(), error.into_inner().to_string());
            let key = if key == "." { "session".to_owned() } else { format!("session.{key}") };
            Error::Key { key, problem }
        })?;
        super::check::added_session("session", &keys, self)
    }

    /// Packet slots that a session of so many tracks may hold: its windows', and for each track
    /// those of one unit whose length or order is not known yet and of who may come next.
    pub(crate) fn slots(&self, tracks: usize) -> u32 {
        let pieces = u32::try_from(self.room.pieces).unwrap_or(u32::MAX);
        let tracks = u32::try_from(tracks).unwrap_or(u32::MAX);
        let probation = u32::try_from(LEGS_MAX).unwrap_or(u32::MAX).saturating_mul(WAITING_MAX);
        let of_track = self.session.slots_max.saturating_add(pieces).saturating_add(probation);
        of_track.saturating_mul(tracks)
    }

    /// Packet slots that sessions of several tracks may hold beside those of their places.
    pub(crate) fn further_slots(&self) -> u32 {
        let further = |tracks: usize| self.slots(tracks.saturating_sub(1));
        let given = self.sessions.iter().map(|session| further(session.tracks()));
        let added = further(self.added.tracks.into()).saturating_mul(self.added.max.into());
        given.fold(added, u32::saturating_add)
    }

    /// Places of one worker. Which worker a sender comes to is its SSRC's matter: there is room for
    /// an uneven spread. One that is added goes where there is a place.
    pub(crate) fn places(&self, workers: u16) -> u16 {
        const UNEVEN: u16 = 8;
        let workers = workers.max(1);
        let even = self.sessions_max.div_ceil(workers);
        let shared = even.saturating_add(UNEVEN).min(self.sessions_max);
        shared.saturating_add(self.added.max.div_ceil(workers))
    }
}

/// Packets that hold `rate_bps` for so long, by a payload that most senders keep to.
pub(super) fn packets(rate_bps: u64, span: Duration) -> u32 {
    const PAYLOAD_BYTES: u64 = 1_200;
    let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let bytes = (rate_bps / 8).saturating_mul(span_ms) / 1_000;
    u32::try_from(bytes.div_ceil(PAYLOAD_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_in_all_it_says_gives_the_id() {
        let any = |id: &str| SenderRule {
            id: id.into(),
            source: None,
            source_port: None,
            ssrc: None,
            payload_type: None,
        };
        let near = "10.0.0.0/8".parse().ok();
        let rules = [
            SenderRule { ssrc: Some(7), payload_type: Some(96), ..any("a") },
            SenderRule { source: near, source_port: Some(9), ..any("b") },
            SenderRule { payload_type: Some(33), ..any("c") },
        ];
        let id = |ssrc, payload_type, peer: ([u8; 4], u16)| {
            let peer = SocketAddr::from(peer);
            let rule = rules.iter().find(|rule| rule.fits(ssrc, payload_type, peer));
            rule.map(|rule| rule.id.as_str())
        };
        assert_eq!(id(7, 96, ([10, 0, 0, 1], 9)), Some("a"));
        assert_eq!(id(7, 97, ([10, 0, 0, 1], 9)), Some("b"));
        assert_eq!(id(8, 33, ([10, 0, 0, 1], 8)), Some("c"));
        assert_eq!(id(7, 97, ([11, 0, 0, 1], 9)), None);
    }

    #[test]
    fn packets_follow_rate_and_time() {
        assert_eq!(packets(9_600_000, Duration::from_millis(100)), 100);
        assert_eq!(packets(0, Duration::from_secs(1)), 0);
    }
}
