//! Encrypted streams: what senders of other makers encrypt arrives whole, keys change unnoticed,
//! and who has no passphrase, another one, or one too many is told so.

use std::path::Path;

use anyhow::{Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::process::{Process, eventually};
use penstock_tests::publisher::{Publisher, Refused, Secret};
use penstock_tests::senders::{self, SrtLiveTransmit};
use penstock_tests::system::{Options, PATIENCE, Penstock, free_udp_port};
use serde_json::Value;
use shm::counters::ConductorCounter;
use srt::crypto::{KeySize, Mode, Refresh, Suite};

const PASSPHRASE: &str = "a-secret-of-ours";
const CTR_256: Suite = Suite { mode: Mode::Ctr, size: KeySize::Aes256 };

/// A listener with the passphrase.
fn secured() -> Options {
    let srt = format!(
        "    max_bandwidth: 10000000\n    encryption: {{passphrase: {PASSPHRASE}}}\n    \
         max_connections: 30\n"
    );
    Options { srt, ..Options::default() }
}

fn is_active(stream: &Value) -> bool {
    stream["status"] == "active" && stream["video_codec"] == "h264"
}

fn count(stream: &Value, name: &str) -> u64 {
    stream["counters"][name].as_u64().unwrap_or(u64::MAX)
}

/// Nothing was lost to a key.
fn all_decrypted(stream: &Value) -> Result<()> {
    for name in ["packets_undecryptable", "packets_dropped_clear", "key_failures"] {
        ensure!(count(stream, name) == 0, "{name}: {stream}");
    }
    Ok(())
}

/// Feeds the clip and waits until all of it was delivered.
fn feed(system: &Penstock, id: &str, sender: &mut SrtLiveTransmit, clip: &Clip) -> Result<Value> {
    system.wait_stream(id, "connected", |_| true)?;
    sender.feed(clip)?;
    let packets = clip.bytes.chunks(1_316).count() as u64;
    system.wait_stream(id, "everything", |stream| {
        is_active(stream) && count(stream, "packets_delivered") >= packets
    })
}

#[test]
fn frames_of_srt_live_transmit_arrive_with_keys_of_every_length() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = Penstock::start(&secured())?;
    for bytes in [16, 24, 32] {
        let id = format!("live/{bytes}");
        let tap = system.frames_of(&id)?;
        let url = format!("{}&passphrase={PASSPHRASE}&pbkeylen={bytes}", system.srt_url(&id));
        let mut sender = SrtLiveTransmit::start(&url, &system.path("said"))?;
        let stream = feed(&system, &id, &mut sender, &clip)?;
        let encryption = &stream["encryption"];
        assert_eq!(
            (&encryption["state"], &encryption["cipher"]),
            (&"secured".into(), &"aes_ctr".into())
        );
        assert_eq!(encryption["key_bits"], bytes * 8);
        all_decrypted(&stream)?;
        sender.end()?;
        clip.is_whole(&tap.frames()?)?;
    }
    system.stop()
}

#[test]
fn frames_of_ffmpeg_arrive_encrypted() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = Penstock::start(&secured())?;
    for bytes in [16, 24, 32] {
        let id = format!("live/{bytes}");
        let tap = system.frames_of(&id)?;
        let url = format!(
            "{}&passphrase={PASSPHRASE}&pbkeylen={bytes}&linger=5&pkt_size=1316",
            system.srt_url(&id)
        );
        let mut sender = senders::ffmpeg(&system, &[], &clip.path, &url)?;
        let stream = system.wait_stream(&id, "active", is_active)?;
        assert_eq!(stream["encryption"]["key_bits"], bytes * 8);
        sender.succeed(PATIENCE)?;
        clip.is_whole(&tap.frames()?)?;
    }
    system.stop()
}

#[test]
fn keys_that_libsrt_changes_are_followed_without_a_loss() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = Penstock::start(&secured())?;
    let tap = system.frames_of("live/refresh")?;
    let url = format!(
        "{}&passphrase={PASSPHRASE}&pbkeylen=32&kmrefreshrate=100&kmpreannounce=40",
        system.srt_url("live/refresh")
    );
    let mut sender = SrtLiveTransmit::start(&url, &system.path("said"))?;
    let stream = feed(&system, "live/refresh", &mut sender, &clip)?;
    let changes = clip.bytes.len() as u64 / 1_316 / 100;
    let refreshes = stream["encryption"]["refreshes"].as_u64();
    ensure!(refreshes >= Some(changes - 1), "{changes} keys announced: {stream}");
    all_decrypted(&stream)?;
    sender.end()?;
    clip.is_whole(&tap.frames()?)?;
    let conductor = system.directory()?.conductor();
    assert_eq!(conductor.counter(ConductorCounter::KeysRefused), 0);
    system.stop()
}

#[test]
fn our_own_sender_encrypts_in_every_mode_and_changes_its_key() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = Penstock::start(&secured())?;
    for (seed, (mode, size)) in (1..).zip([
        (Mode::Ctr, KeySize::Aes256),
        (Mode::Gcm, KeySize::Aes128),
        (Mode::Gcm, KeySize::Aes256),
    ]) {
        let id = format!("live/{seed}");
        let tap = system.frames_of(&id)?;
        // A key outlasts what may have to be sent again under it.
        let refresh = Refresh { every_packets: 400, announce_packets: 60 };
        let secret = Secret { passphrase: PASSPHRASE, suite: Suite { mode, size }, refresh };
        let mut publisher =
            Publisher::connect_with(system.srt_address(), &id, seed, Some(&secret))?;
        publisher.send_stream(&clip.bytes, 2 * clip.bits_per_second())?;
        let stream = system.wait_stream(&id, "active", is_active)?;
        let cipher = if mode == Mode::Ctr { "aes_ctr" } else { "aes_gcm" };
        assert_eq!(stream["encryption"]["cipher"], cipher);
        assert_eq!(stream["encryption"]["key_bits"], size.bits());
        ensure!(publisher.stats().keys_confirmed >= 2, "{:?}", publisher.stats());
        all_decrypted(&stream)?;
        publisher.close()?;
        clip.is_whole(&tap.frames()?)?;
    }
    system.stop()
}

/// What `srt-live-transmit` says when the listener refuses it.
fn refusal(system: &Penstock, url: &str) -> Result<String> {
    let said = system.path("said");
    let mut sender = SrtLiveTransmit::start(url, &said)?;
    sender.process.wait(PATIENCE)?;
    Ok(std::fs::read_to_string(&said)?)
}

fn code(result: Result<Publisher>) -> Option<u32> {
    match result.err()?.downcast_ref::<Refused>()? {
        Refused::Rejected(reason) | Refused::Insecure(reason) => Some(reason.code()),
        Refused::Failed(_) => None,
    }
}

fn secret(passphrase: &str) -> Secret<'_> {
    Secret { passphrase, suite: CTR_256, refresh: Refresh::default() }
}

#[test]
fn a_passphrase_that_is_wrong_or_missing_is_refused_with_its_code() -> Result<()> {
    let system = Penstock::start(&secured())?;
    let to = system.srt_address();
    let live = Publisher::connect_with(to, "live", 1, Some(&secret(PASSPHRASE)))?;
    let wrong = format!("{}&passphrase=another-secret&pbkeylen=16", system.srt_url("x"));
    let said = refusal(&system, &wrong)?;
    ensure!(said.contains("Incorrect passphrase"), "libsrt says of a wrong one: {said}");
    let said = refusal(&system, &system.srt_url("x"))?;
    ensure!(said.contains("Password required or unexpected"), "of none: {said}");
    let other = secret("another-secret");
    assert_eq!(code(Publisher::connect_with(to, "x", 2, Some(&other))), Some(1_010));
    assert_eq!(code(Publisher::connect(to, "x", 3)), Some(1_011));
    let conductor = system.directory()?.conductor();
    assert_eq!(conductor.counter(ConductorCounter::RejectedPassphrase), 4);
    // Nor does it take the id of a live publisher over.
    assert_eq!(code(Publisher::connect_with(to, "live", 4, Some(&other))), Some(1_010));
    drop(live);
    system.stop()
}

#[test]
fn a_passphrase_that_nobody_asked_for_is_refused_and_the_next_caller_is_served() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = Penstock::start(&Options::default())?;
    for length in [16, 24, 32] {
        let url = format!("{}&passphrase={PASSPHRASE}&pbkeylen={length}", system.srt_url("x"));
        let said = refusal(&system, &url)?;
        ensure!(said.contains("Password required or unexpected"), "libsrt says: {said}");
    }
    let secret = secret(PASSPHRASE);
    let refused = Publisher::connect_with(system.srt_address(), "x", 2, Some(&secret));
    assert_eq!(code(refused), Some(1_011));
    let conductor = system.directory()?.conductor();
    assert_eq!(conductor.counter(ConductorCounter::RejectedPassphrase), 4);
    assert_eq!(conductor.counter(ConductorCounter::Accepted), 0);
    let mut sender = SrtLiveTransmit::start(&system.srt_url("clear"), &system.path("said"))?;
    let stream = feed(&system, "clear", &mut sender, &clip)?;
    assert_eq!(stream["encryption"]["state"], "clear");
    system.stop()
}

#[test]
fn a_stream_may_have_a_passphrase_of_its_own_and_a_length_of_key() -> Result<()> {
    let ingestion = "  frame: {max_frame_size: 1048576}\n  streams:\n    \
                     - {id: own, passphrase: its-own-secret}\n    \
                     - {id: long, passphrase: its-own-secret, key_length: 256}\n    \
                     - {id: open, passphrase: ''}\n";
    let system = Penstock::start(&Options { ingestion: ingestion.into(), ..secured() })?;
    let to = system.srt_address();
    let connect = |id: &str, seed: u32, secret: Option<(&str, KeySize)>| {
        let secret = secret.map(|(passphrase, size)| Secret {
            passphrase,
            suite: Suite { mode: Mode::Ctr, size },
            refresh: Refresh::default(),
        });
        code(Publisher::connect_with(to, id, seed, secret.as_ref()))
    };
    let own = "its-own-secret";
    assert_eq!(connect("own", 1, Some((PASSPHRASE, KeySize::Aes256))), Some(1_010));
    assert_eq!(connect("own", 2, Some((own, KeySize::Aes128))), None);
    assert_eq!(connect("long", 3, Some((own, KeySize::Aes192))), Some(1_017));
    assert_eq!(connect("long", 4, Some((own, KeySize::Aes256))), None);
    assert_eq!(connect("open", 5, Some((PASSPHRASE, KeySize::Aes256))), Some(1_011));
    assert_eq!(connect("open", 6, None), None);
    assert_eq!(connect("other", 7, Some((PASSPHRASE, KeySize::Aes192))), None);
    let conductor = system.directory()?.conductor();
    assert_eq!(conductor.counter(ConductorCounter::RejectedKeyLength), 1);
    system.stop()
}

/// `srt-live-transmit` as a listener that writes what it receives to a file.
fn listener(query: &str, port: u16, into: &Path) -> Result<Process> {
    let url = format!("srt://127.0.0.1:{port}?mode=listener&latency=100&{query}");
    let mut command = std::process::Command::new("srt-live-transmit");
    command.args(["-chunk:1316", &url, "file://con"]);
    command.stdout(std::fs::File::create(into)?).stderr(std::process::Stdio::null());
    Process::start("srt-live-transmit", &mut command)
}

/// Tries until the listener is up: nobody answers before.
fn call(port: u16, seed: u32, secret: Option<&Secret<'_>>) -> Result<Result<Publisher>> {
    eventually("the listener", PATIENCE, || {
        let result = Publisher::connect_with(([127, 0, 0, 1], port).into(), "x", seed, secret);
        let silent = result.as_ref().err().and_then(|it| it.downcast_ref::<Refused>());
        let silent = matches!(silent, Some(Refused::Failed(_)));
        Ok((!silent).then_some(result))
    })
}

#[test]
fn a_listener_on_libsrt_receives_what_our_sender_encrypts_and_refuses_as_it_should() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let into = folder.path().join("received");
    let port = free_udp_port()?;
    let _listener = listener(&format!("passphrase={PASSPHRASE}"), port, &into)?;
    assert_eq!(code(call(port, 1, Some(&secret("another-secret")))?), Some(1_010));
    assert_eq!(code(call(port, 2, None)?), Some(1_011));
    let refresh = Refresh { every_packets: 40, announce_packets: 20 };
    let mut publisher = call(port, 3, Some(&Secret { refresh, ..secret(PASSPHRASE) }))??;
    let sent: Vec<u8> = (0..1_316 * 400_u32).map(|n| n.to_le_bytes()[(n % 2) as usize]).collect();
    publisher.send_stream(&sent, 10_000_000)?;
    ensure!(publisher.stats().keys_confirmed >= 2, "{:?}", publisher.stats());
    eventually("everything", PATIENCE, || {
        Ok((std::fs::metadata(&into)?.len() >= sent.len() as u64).then_some(()))
    })?;
    ensure!(std::fs::read(&into)? == sent, "received what was not sent");
    publisher.close()
}

#[test]
fn our_caller_refuses_a_listener_that_would_have_it_without_the_right_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let into = folder.path().join("received");
    for (query, ours, expected) in [
        ("enforcedencryption=0&passphrase=a-secret-of-theirs", Some(PASSPHRASE), 1_010),
        ("enforcedencryption=0", Some(PASSPHRASE), 1_011),
    ] {
        let port = free_udp_port()?;
        let _listener = listener(query, port, &into)?;
        let ours = ours.map(secret);
        let result = call(port, 1, ours.as_ref())?;
        let told = result.as_ref().err().map(ToString::to_string);
        ensure!(told.is_some_and(|it| it.contains("refused the answer")), "{query}");
        assert_eq!(code(result), Some(expected), "{query}");
    }
    Ok(())
}

/// The system, with a source that meets a peer in a rendezvous; the ports of both sides.
fn meeting(passphrase: &str, more: &str) -> Result<(Penstock, u16, u16)> {
    let (ours, theirs) = (free_udp_port()?, free_udp_port()?);
    let srt = format!(
        "    max_bandwidth: 10000000\n    sources:\n      - {{id: met, mode: rendezvous, address: \
         '127.0.0.1:{theirs}', local_port: {ours}, passphrase: {passphrase}{more}}}\n"
    );
    Ok((Penstock::start(&Options { srt, ..Options::default() })?, ours, theirs))
}

fn meeting_url(ours: u16, theirs: u16, query: &str) -> String {
    format!("srt://127.0.0.1:{ours}?mode=rendezvous&port={theirs}&adapter=127.0.0.1&{query}")
}

/// Who brings the keys is decided by chance: the cookies of both sides.
#[test]
fn a_rendezvous_with_libsrt_is_encrypted_whoever_brings_the_keys_and_follows_new_ones() -> Result<()>
{
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    for _ in 0..3 {
        let (system, ours, theirs) = meeting(PASSPHRASE, ", key_length: 192")?;
        let tap = system.frames_of("met")?;
        let query =
            format!("passphrase={PASSPHRASE}&pbkeylen=24&kmrefreshrate=200&kmpreannounce=80");
        let url = meeting_url(ours, theirs, &query);
        let mut sender = SrtLiveTransmit::start(&url, &system.path("said"))?;
        system.wait_source("met", "connected", |source| source["state"] == "connected")?;
        let stream = feed(&system, "met", &mut sender, &clip)?;
        assert_eq!(stream["encryption"]["state"], "secured");
        assert_eq!(stream["encryption"]["key_bits"], 192);
        ensure!(stream["encryption"]["refreshes"].as_u64() >= Some(1), "no new key: {stream}");
        all_decrypted(&stream)?;
        sender.end()?;
        clip.is_whole(&tap.frames()?)?;
        system.stop()?;
    }
    Ok(())
}

/// libsrt as the responder says nothing of a secret that does not fit; as the initiator it is told.
#[test]
fn a_rendezvous_with_another_secret_or_none_comes_to_nothing() -> Result<()> {
    for (query, code) in [("passphrase=another-secret&pbkeylen=16", 1_010), ("x=y", 1_011)] {
        let (system, ours, theirs) = meeting(PASSPHRASE, ", connect_timeout: 300ms")?;
        let url = meeting_url(ours, theirs, query);
        let _sender = SrtLiveTransmit::start_again_and_again(&url, &system.path("said"))?;
        let source = system
            .wait_source("met", "two failures", |source| source["attempts"].as_u64() >= Some(3))?;
        let last = &source["last_failure"];
        ensure!(last["code"] == code || last["reason"] == "timeout", "{source}");
        ensure!(source["connections"] == 0, "{source}");
        system.stop()?;
    }
    Ok(())
}
