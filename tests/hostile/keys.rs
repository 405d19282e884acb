//! Key messages: in handshakes, and into connections that are clear or secured.

use anyhow::{Context, Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::process::eventually;
use penstock_tests::publisher::{PAYLOAD_BYTES, Publisher, Secret};
use penstock_tests::raw::{RawCaller, claimed, hello, key_message, message, read};
use penstock_tests::system::{PATIENCE, Penstock};
use penstock_tests::witness::Witness;
use shm::StreamSnapshot;
use shm::counters::{ConductorCounter, StreamCounter, WorkerCounter};
use srt::control::{KMREQ_SUBTYPE, KMRSP_SUBTYPE, encode_shutdown};
use srt::crypto::{Initiator, KeySize, Mode, Passphrase, Refresh, Suite};
use srt::handshake::{Kind, RejectReason, extension, field};
use srt::packet::DataHeader;

use super::flood::own_address;
use super::{beside_a_witness, counter, flood, is_sound, patient};

const PASSPHRASE: &str = "a-secret-of-ours";
const ENCRYPTION: &str = "    encryption: {passphrase: a-secret-of-ours}\n";
/// Authenticated, so that a packet under a wrong key is noticed and not taken for media.
const SUITE: Suite = Suite { mode: Mode::Gcm, size: KeySize::Aes128 };
const REFRESH: Refresh = Refresh { every_packets: 200, announce_packets: 150 };

/// Of keys that no publisher has, at the time.
const SEED_OF_NOBODY: u32 = 21;

fn secret(mode: Mode) -> Secret<'static> {
    let suite = Suite { mode, ..SUITE };
    Secret { passphrase: PASSPHRASE, suite, refresh: REFRESH }
}

/// As [`beside_a_witness`], and all streams are secured.
fn beside_a_secured_witness(attack: impl FnOnce(&Penstock) -> Result<()>) -> Result<()> {
    let mut options = patient();
    options.srt.push_str(ENCRYPTION);
    // However long the attack outlasts it, its figures are kept.
    options.ingestion.push_str("  reconnect_grace: 60s\n");
    let system = Penstock::start(&options)?;
    // A quarter of the others' rate: built as tests are, a cipher takes longer than all the rest.
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    // Its frames are compared: a wrong key would show in them.
    let witness = Witness::start_with(&system, &clip, Some(&secret(Mode::Ctr)))?;
    attack(&system)?;
    let stream = witness.lost_nothing(&system, &clip)?;
    ensure!(stream.counter(StreamCounter::KeyRefreshes) > 0, "no key changed: {stream:?}");
    assert_eq!(stream.counter(StreamCounter::PacketsUndecryptable), 0);
    is_sound(&system)?;
    system.stop()
}

/// The code that a conclusion with this block behind its greeting is refused with. A connection
/// that comes about is ended.
fn code(caller: &mut RawCaller, cookie: u32, block: &[u8]) -> Result<Option<u32>> {
    caller.id += 1;
    let mut conclusion = caller.conclusion(cookie);
    conclusion.extension = field::HSREQ | field::KMREQ;
    let conclusion = message(&conclusion, &[&hello(120, ""), block].concat());
    let answer = loop {
        let answer = caller.ask(&conclusion)?;
        // The one before may have been asked, and answered, twice.
        if srt::packet::destination(&answer) == Some(caller.id) {
            break read(&answer)?;
        }
    };
    match answer.kind {
        Kind::Rejected(reason) => Ok(Some(reason.code())),
        Kind::Conclusion => {
            caller.send(&encode_shutdown(9, answer.socket_id))?;
            Ok(None)
        }
        other => anyhow::bail!("answered with {other:?}"),
    }
}

/// Asks with key material of every length, and with every length claimed that is none.
fn sweep(system: &Penstock, mut judge: impl FnMut(usize, Option<u32>) -> Result<()>) -> Result<()> {
    let mut caller = RawCaller::new(system.srt_address(), 1)?;
    let cookie = caller.cookie()?;
    let whole = initiator(5)?.material().context("key material")?;
    for words in 0..=375 {
        let mut content = whole.as_bytes().to_vec();
        content.resize(usize::from(words) * 4, 0xa5);
        judge(
            content.len(),
            code(&mut caller, cookie, &claimed(extension::KMREQ, words, &content))?,
        )?;
    }
    for words in [15, 100, 375, 0x3fff, 0x7fff, 0xffff] {
        let block = claimed(extension::KMREQ, words, whole.as_bytes());
        let rogue = Some(RejectReason::ROGUE.code());
        assert_eq!(code(&mut caller, cookie, &block)?, rogue, "{words} words claimed");
    }
    Ok(())
}

/// A publisher's keys: what it makes of the same seed.
fn initiator(seed: u32) -> Result<Initiator> {
    let passphrase = Passphrase::new(PASSPHRASE.as_bytes()).context("a passphrase")?;
    let mut random = [7; 32];
    random[..4].copy_from_slice(&seed.to_be_bytes());
    Initiator::new(&passphrase, SUITE, REFRESH, &random).context("an initiator")
}

#[test]
fn key_material_of_every_length_is_refused_where_nothing_is_encrypted() -> Result<()> {
    beside_a_witness(|system, _| {
        let unexpected = Some(RejectReason::UNSECURE.code());
        sweep(system, |len, code| {
            ensure!(code == unexpected, "{len} bytes: {code:?}");
            Ok(())
        })?;
        let refused = system.directory()?.conductor().counter(ConductorCounter::RejectedPassphrase);
        ensure!(refused >= 376, "{refused} refusals counted");
        Ok(())
    })
}

#[test]
fn key_material_of_every_length_but_the_right_one_is_refused_by_a_listener_with_a_passphrase()
-> Result<()> {
    beside_a_secured_witness(|system| {
        let bad = Some(RejectReason::BAD_SECRET.code());
        let whole = initiator(5)?.material().context("key material")?.as_bytes().len();
        sweep(system, |len, code| {
            let expected = if len == whole { None } else { bad };
            ensure!(code == expected, "{len} bytes: {code:?}");
            Ok(())
        })?;
        eventually("the one that was let in is gone", PATIENCE, || {
            Ok((counter(system, WorkerCounter::Sessions)? <= 1).then_some(()))
        })
    })
}

#[test]
fn wrong_passphrases_from_many_addresses_cost_rationed_work_and_no_memory() -> Result<()> {
    const SOURCES: u32 = 1_500;
    // Requests wait in a bounded line, each with a name: some kilobytes of them.
    const GROWTH_MAX: u64 = 4 << 20;
    beside_a_secured_witness(|system| {
        let whole = initiator(SEED_OF_NOBODY)?.material().context("key material")?;
        let mut wrapped = whole.as_bytes().to_vec();
        wrapped[40] ^= 1;
        let block = claimed(extension::KMREQ, u16::try_from(wrapped.len() / 4)?, &wrapped);
        let mut asked = Vec::new();
        for number in 0..SOURCES {
            let caller = RawCaller::at(own_address(number), system.srt_address(), 1 + number)?;
            let mut conclusion = caller.conclusion(caller.cookie()?);
            conclusion.extension = field::HSREQ | field::KMREQ;
            let conclusion = message(&conclusion, &[&hello(120, ""), &block[..]].concat());
            asked.push((caller, conclusion));
        }
        let before = system.dataplane.memory()?.own;
        // As callers do, they ask again until they are answered, only without a pause.
        let mut codes = Vec::new();
        eventually("all are refused", PATIENCE, || {
            flood(system, u32::try_from(asked.len())?, |number| {
                let (caller, conclusion) = &asked[usize::try_from(number)?];
                caller.send(conclusion)
            })?;
            let mut unanswered = Vec::new();
            for (caller, conclusion) in asked.drain(..) {
                let answers = caller.receive_all()?;
                let kinds = answers.iter().map(|answer| Ok(read(answer)?.kind));
                let kinds = kinds.collect::<Result<Vec<_>>>()?;
                // An induction that was asked twice is answered twice.
                match kinds.into_iter().find(|kind| *kind != Kind::Induction) {
                    Some(kind) => codes.push(kind),
                    None => unanswered.push((caller, conclusion)),
                }
            }
            asked = unanswered;
            Ok(asked.is_empty().then_some(()))
        })?;
        // For its passphrase, or because too many wait.
        let reasons = [RejectReason::BAD_SECRET, RejectReason::OVERLOAD];
        let refused = |kind: &Kind| reasons.iter().any(|it| *kind == Kind::Rejected(*it));
        ensure!(codes.iter().all(refused), "{codes:?}");
        let after = system.dataplane.memory()?.own;
        ensure!(after <= before + GROWTH_MAX, "{before} bytes before, {after} after");
        // The witness's, if it has not come to its end.
        ensure!(counter(system, WorkerCounter::Sessions)? <= 1, "one of them was let in");
        let newcomer = Publisher::connect_with(
            system.srt_address(),
            "newcomer",
            SEED_OF_NOBODY,
            Some(&secret(Mode::Ctr)),
        );
        newcomer.context("who knows the passphrase is let in")?.close()
    })
}

fn stream(system: &Penstock, id: &str) -> Result<StreamSnapshot> {
    system.directory()?.stream(id).context("listed")
}

#[test]
fn stray_key_messages_leave_a_clear_connection_as_it_is() -> Result<()> {
    const LENGTHS: u32 = 1_500;
    beside_a_witness(|system, _| {
        let mut publisher = Publisher::connect(system.srt_address(), "stray", 11)?;
        let to = publisher.listener_socket_id();
        let whole = initiator(5)?.material().context("key material")?;
        flood(system, 2 * LENGTHS, |number| {
            let mut body = whole.as_bytes().to_vec();
            body.resize(usize::try_from(number / 2)?, 0xa5);
            let subtype = if number % 2 == 0 { KMREQ_SUBTYPE } else { KMRSP_SUBTYPE };
            publisher.send_raw(&key_message(subtype, &body, to))?;
            if number % 64 == 0 { publisher.send(&[0x47; PAYLOAD_BYTES]) } else { Ok(()) }
        })?;
        publisher.drain()?;
        let told = eventually("all are counted", PATIENCE, || {
            publisher.pump()?;
            let told = stream(system, "stray")?;
            let all = told.counter(StreamCounter::KeyMessagesReceived) == u64::from(2 * LENGTHS);
            Ok(all.then_some(told))
        })?;
        assert_eq!(told.counter(StreamCounter::KeyMessagesIgnored), u64::from(2 * LENGTHS));
        let sent = u64::from((2 * LENGTHS).div_ceil(64));
        assert_eq!(told.counter(StreamCounter::PacketsDelivered), sent);
        assert_eq!(told.info.key_bits, 0, "still clear");
        publisher.close()
    })
}

#[test]
fn a_secured_connection_delivers_its_own_packets_only_and_keeps_its_keys() -> Result<()> {
    const SEED: u32 = 12;
    const PACKETS: u32 = 1_500;
    beside_a_secured_witness(|system| {
        let mut publisher = Publisher::connect_with(
            system.srt_address(),
            "victim",
            SEED,
            Some(&secret(Mode::Gcm)),
        )?;
        let (to, first) = (publisher.listener_socket_id(), publisher.initial_sequence());
        let material = |seed| initiator(seed)?.material().context("key material");
        // The keys it began with, and those of a stranger who took its salt.
        let (own, mut strange) = (material(SEED)?, material(SEED + 1)?.as_bytes().to_vec());
        strange[16..32].copy_from_slice(&own.as_bytes()[16..32]);
        flood(system, PACKETS, |number| {
            // Clear text in the place of what comes next, before it.
            let clear = DataHeader::live(first.add(number), 1, 0, to).encode();
            publisher.send_raw(&[&clear[..], b"in clear"].concat())?;
            let announced = publisher.announced();
            let at = usize::try_from(number)? % (announced.len() + 1);
            let mut body = match at.checked_sub(1) {
                None => own.as_bytes().to_vec(),
                Some(at) => announced[at].clone(),
            };
            match number % 8 {
                // Another salt around the same keys.
                0 => body[16] ^= 1,
                1 => body.resize(usize::try_from(number)? % 1_472, 0xa5),
                2 => body = vec![3, 0, 0, 0],
                3 if number % 64 == 3 => body.clone_from(&strange),
                _ => {}
            }
            publisher.send_raw(&key_message(KMREQ_SUBTYPE, &body, to))?;
            publisher.send_raw(&key_message(KMRSP_SUBTYPE, &body, to))?;
            publisher.send(&[0x47; PAYLOAD_BYTES])?;
            // Each key is announced before it is needed, and taken among all that.
            let changes = u64::from((number + 1) / REFRESH.every_packets);
            eventually("the next key is taken", PATIENCE, || {
                publisher.pump()?;
                Ok((publisher.stats().keys_confirmed >= changes).then_some(()))
            })
        })?;
        publisher.drain()?;
        let told = eventually("all are counted", PATIENCE, || {
            publisher.pump()?;
            let told = stream(system, "victim")?;
            let clear = told.counter(StreamCounter::PacketsDroppedClear);
            Ok((clear == u64::from(PACKETS)).then_some(told))
        })?;
        let count = |counter| told.counter(counter);
        assert_eq!(count(StreamCounter::PacketsDelivered), u64::from(PACKETS));
        assert_eq!(count(StreamCounter::PacketsUndecryptable), 0);
        ensure!(count(StreamCounter::KeyRefreshes) >= 7, "{told:?}");
        ensure!(count(StreamCounter::KeyMessagesIgnored) > u64::from(PACKETS), "{told:?}");
        publisher.close()
    })
}
