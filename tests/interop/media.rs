//! What a publisher sends that is no program.

use anyhow::Result;
use penstock_tests::process::eventually;
use penstock_tests::publisher::{PAYLOAD_BYTES, Publisher};
use penstock_tests::relay::Random;
use penstock_tests::system::{Options, PATIENCE, Penstock, stream_path};

/// Sends payloads until REST shows the stream without media; the reason it gives.
fn reason(name: &str, payload: impl Fn(&mut Random) -> Vec<u8>) -> Result<String> {
    let system = Penstock::start(&Options::default())?;
    let mut publisher = Publisher::connect(system.srt_address(), name, 4)?;
    let mut random = Random::new(4);
    let stream = eventually("no media", PATIENCE, || {
        publisher.send(&payload(&mut random))?;
        let stream = system.request("GET", &stream_path(name))?.1;
        Ok((stream["status"] == "connected, no media").then_some(stream))
    })?;
    assert_eq!(stream["stats"]["frame_buffer_stats"]["frames_assembled"], 0, "{stream}");
    publisher.close()?;
    system.stop()?;
    Ok(stream["status_reason"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_payload_that_is_no_transport_stream_shows_as_connected_without_media() -> Result<()> {
    let noise = |random: &mut Random| {
        (0..PAYLOAD_BYTES).map(|_| random.draw().to_be_bytes()[0] & 0x3f).collect()
    };
    assert_eq!(reason("noise", noise)?, "not_transport_stream");
    Ok(())
}

#[test]
fn a_transport_stream_without_tables_shows_as_connected_without_media() -> Result<()> {
    let padding = |_: &mut Random| {
        let mut packet = [0xff; 188];
        packet[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
        packet.repeat(7)
    };
    assert_eq!(reason("padding", padding)?, "no_pat");
    Ok(())
}
