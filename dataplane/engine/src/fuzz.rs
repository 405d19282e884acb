//! Bodies of the fuzz targets: each takes any bytes and checks what must hold for them.

use std::net::IpAddr;

use serde_json::Value;

use crate::config::{Config, Pattern, RtpOptions, RtpTerms, SocketSetup};
use crate::stream_id::{self, DERIVED_ID_DEFAULT, DerivedIds};

/// A caller's StreamID: what is read of it stands in it, is printable, and names a stream.
pub fn stream_id(data: &[u8]) {
    let Ok(wish) = stream_id::parse(data) else { return };
    let source = IpAddr::from([192, 0, 2, 1]);
    for part in [wish.resource, wish.user, wish.host, wish.session].into_iter().flatten() {
        assert!(!part.is_empty() && part.len() <= data.len());
        assert!(part.trim() == part && part.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        let inside = data.windows(part.len()).any(|window| window == part.as_bytes());
        assert!(inside, "a part is made up");
    }
    let id = wish.resource.map_or_else(
        || DerivedIds::default().next(DERIVED_ID_DEFAULT, "srt", source),
        str::to_owned,
    );
    shm::StreamId::new(&id).expect("an id fits its place");
    assert!(Pattern::new("*").matches(&id) && Pattern::new(&id.replace('*', "?")).matches(&id));
    let text = String::from_utf8_lossy(data);
    // Any text is a pattern, in bounded time.
    Pattern::new(&text).matches(&id);
}

/// A configuration: refused with a message, or accepted with values that are sized.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::from_yaml_with(text, |_| None) {
        Ok(config) => {
            assert!(config.connections_max > 0);
            let Some(srt) = config.srt else { return };
            assert!(!srt.listeners.is_empty());
            for listener in &srt.listeners {
                let options = &listener.options;
                assert!(options.latency <= options.latency_max);
                assert!(options.slots(options.latency_max) > 0);
                let reachable = !listener.listen.ip().is_loopback();
                let meant = !listener.access.allow.is_empty() || text.contains("open");
                assert!(!reachable || meant, "everybody would be let in by mistake");
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// What an operator asks for at run time: a session of RTP, or options of one. Nothing goes beyond
/// what was taken at the start, and nobody is let in by mistake.
pub fn rtp_request(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    let config = Config::from_yaml_with("ingestion: {rtp: {port: 5004}}", |_| None);
    let Some(rtp) = config.ok().and_then(|config| config.rtp) else { return };
    match rtp.read(value.clone()) {
        Ok(session) => {
            assert!(session.tracks() <= usize::from(rtp.added.tracks));
            let sockets = &session.sockets;
            assert!((1..=rtp.added.sockets_each().into()).contains(&sockets.len()));
            let reachable = |socket: &SocketSetup| {
                socket.membership.is_none() && !socket.listen.ip().is_loopback()
            };
            let meant = !session.access.allow.is_empty() || value["open"] == true;
            assert!(meant || !sockets.iter().any(reachable), "everybody would be let in");
            assert!(session.config.window.time <= rtp.session.window.time);
            assert!(session.max_bandwidth_bps <= rtp.max_bandwidth_bps);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let base = RtpTerms {
        max_bandwidth_bps: rtp.max_bandwidth_bps,
        over_bandwidth: rtp.over_bandwidth,
        session: rtp.session.terms(),
    };
    if let Ok(terms) = RtpOptions::read(value).and_then(|it| it.applied(&base, (&rtp, false))) {
        assert!(terms.max_bandwidth_bps <= rtp.max_bandwidth_bps);
        assert!(terms.session.window.time <= rtp.session.window.time);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Every file of a target's corpus, each of them cut to every length, and with single bits
    /// flipped.
    fn replay(target: &str, flip: bool, body: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus");
        let mut files = 0;
        for file in std::fs::read_dir(corpus.join(target)).expect("a corpus") {
            let bytes = std::fs::read(file.expect("an entry").path()).expect("a file");
            (0..=bytes.len()).for_each(|len| body(&bytes[..len]));
            let mut flipped = bytes.clone();
            for bit in 0..if flip { bytes.len() * 8 } else { 0 } {
                flipped[bit / 8] ^= 1 << (bit % 8);
                body(&flipped);
                flipped[bit / 8] ^= 1 << (bit % 8);
            }
            files += 1;
        }
        assert!(files >= 5, "{target} has a corpus");
    }

    #[test]
    fn corpus_stream_id() {
        replay("engine_stream_id", true, super::stream_id);
    }

    #[test]
    fn corpus_config() {
        replay("engine_config", false, super::config);
    }

    #[test]
    fn corpus_rtp_request() {
        replay("engine_rtp_request", false, super::rtp_request);
    }
}
