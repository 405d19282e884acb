//! Sessions of RTP as the link tells them: those whose sockets are given, by the configuration or at
//! run time.

use serde::{Deserialize, Serialize};

use super::page::Page;

/// Sessions in the order of their ids, as many as fit a message.
pub type RtpSessionsPage = Page<RtpSessionReport>;

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtpSessionReport {
    /// Its id and that of its stream.
    pub id: String,
    /// It stands in the configuration file.
    pub configured: bool,
    /// `rtp` or `ts`.
    pub transport: String,
    /// `waiting`: it could not be opened yet; `listening`: for its sender; `receiving`; `closing`: it
    /// was removed, and its sockets are about to be free.
    pub state: String,
    /// Why it is not open.
    pub trouble: Option<String>,
    /// Where its sender is.
    pub source: Option<String>,
    /// Where its packets come.
    pub sockets: Vec<RtpSocketReport>,
    /// What they carry.
    pub tracks: Vec<RtpTrackReport>,
    /// Media of its description that are not received.
    pub left_out: Vec<String>,
}

/// One socket of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtpSocketReport {
    /// `rtp`, `rtcp`, `fec` or `ts`.
    pub purpose: String,
    /// The address it is bound to; a group's where it hears one.
    pub address: String,
    /// Of RTP: the track.
    pub track: Option<u8>,
    /// Of RTP: the path, 0 or 1.
    pub leg: Option<u8>,
    /// The only source of the group that is heard.
    pub source: Option<String>,
    /// The interface at which the group is heard.
    pub interface: Option<String>,
}

/// One track of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtpTrackReport {
    /// Its payload type; `None`: that and the format are found out.
    pub payload_type: Option<u8>,
    /// The encoding's name in a description.
    pub encoding: Option<String>,
    /// Ticks of its timestamps a second.
    pub clock_hz: Option<u32>,
    /// Channels of sound.
    pub channels: Option<u8>,
    /// Its only SSRC.
    pub ssrc: Option<u32>,
    /// The payload type of retransmissions.
    pub rtx_payload_type: Option<u8>,
}

#[cfg(test)]
pub(super) fn example(id: &str) -> RtpSessionReport {
    let socket = |purpose: &str, port: u16, track| RtpSocketReport {
        purpose: purpose.into(),
        address: format!("127.0.0.1:{port}"),
        track,
        leg: track,
        source: None,
        interface: None,
    };
    RtpSessionReport {
        id: id.to_owned(),
        configured: false,
        transport: "rtp".into(),
        state: "listening".into(),
        trouble: None,
        source: None,
        sockets: vec![socket("rtp", 6_000, Some(0)), socket("rtcp", 6_001, None)],
        tracks: vec![RtpTrackReport {
            payload_type: Some(96),
            encoding: Some("H264".into()),
            clock_hz: Some(90_000),
            channels: None,
            ssrc: None,
            rtx_payload_type: None,
        }],
        left_out: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_with_as_much_as_it_may_have_fits_a_page() {
        // Four tracks of two sockets and two legs each, error correction; ids double in JSON at most.
        let mut session = example(&"\"".repeat(512));
        session.trouble = Some("x".repeat(256));
        let mut socket = session.sockets[0].clone();
        let ip = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        socket.address = format!("[{ip}]:65535");
        (socket.source, socket.interface) = (Some(ip.into()), Some("\u{1}".repeat(15)));
        session.sockets = vec![socket; 14];
        session.tracks = vec![session.tracks[0].clone(); 4];
        session.left_out = vec!["\"".repeat(100); 4];
        assert!(RtpSessionsPage::default().push(session));
    }
}
