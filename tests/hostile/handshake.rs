//! Handshakes with a good cookie and anything else in them.

use anyhow::{Result, ensure};
use penstock_tests::process::eventually;
use penstock_tests::raw::{RawCaller, block, hello, message, read};
use penstock_tests::system::{PATIENCE, Penstock};
use shm::counters::{ConductorCounter, WorkerCounter};
use srt::control::encode_shutdown;
use srt::handshake::Kind;

use super::{beside_a_witness, counter};

/// Where things get close.
const EDGES: [u32; 23] = [
    0,
    1,
    2,
    4,
    5,
    6,
    15,
    16,
    17,
    31,
    75,
    76,
    1_315,
    1_316,
    1_499,
    1_500,
    1_501,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
];
/// Words of a handshake body before the cookie, which must stay, and after it.
const WORDS: [usize; 11] = [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11];
/// The word with the size of packets.
const MTU: usize = 3;
/// Header in front of the body.
const HEADER: usize = 16;
/// Words of the body: the greeting's block follows with its type, its length, version, flags and
/// both latencies.
const BODY_WORDS: usize = 12;

/// Ends what was let in, so that there is always a place for the witness's equals.
fn hang_up(caller: &RawCaller) -> Result<()> {
    for answer in caller.receive_all()? {
        if let Ok(handshake) = read(&answer)
            && handshake.kind == Kind::Conclusion
        {
            caller.send(&encode_shutdown(9, handshake.socket_id))?;
        }
    }
    Ok(())
}

/// Sends conclusions as fast as they are judged, each under an id of its own, and ends what they
/// open.
pub(crate) fn conclude(
    system: &Penstock,
    caller: &RawCaller,
    conclusions: impl IntoIterator<Item = Vec<u8>>,
) -> Result<()> {
    /// Places that are left beside the witness, and fewer.
    const AT_ONCE: u64 = 16;
    let directory = system.directory()?;
    let judged = || directory.workers()[0].counter(WorkerCounter::DatagramsToListener);
    let open = || directory.workers()[0].counter(WorkerCounter::Sessions);
    let before = judged();
    for (sent, conclusion) in (1..).zip(conclusions) {
        caller.send(&conclusion)?;
        if sent % AT_ONCE == 0 {
            eventually("they are judged", PATIENCE, || {
                hang_up(caller)?;
                Ok((judged() >= before + sent && open() <= 1).then_some(()))
            })?;
        }
    }
    Ok(())
}

#[test]
fn no_value_of_any_handshake_field_does_harm() -> Result<()> {
    beside_a_witness(|system, _| {
        let mut caller = RawCaller::new(system.srt_address(), 1)?;
        let cookie = caller.cookie()?;
        let mut conclusions = Vec::new();
        let greeting = BODY_WORDS..BODY_WORDS + 4;
        for word in WORDS.into_iter().chain(greeting) {
            let sizes = (1_315..=1_500).filter(|_| word == MTU);
            for value in EDGES.into_iter().chain(sizes) {
                caller.id += 1;
                let mut conclusion = message(&caller.conclusion(cookie), &hello(120, ""));
                let at = HEADER + word * 4;
                conclusion[at..at + 4].copy_from_slice(&value.to_be_bytes());
                conclusions.push(conclusion);
            }
        }
        let before = counter(system, WorkerCounter::Conclusions)?;
        let accepted = system.directory()?.conductor().counter(ConductorCounter::Accepted);
        conclude(system, &caller, conclusions)?;
        let conclusions = counter(system, WorkerCounter::Conclusions)? - before;
        let accepted =
            system.directory()?.conductor().counter(ConductorCounter::Accepted) - accepted;
        // What is no harm is let in: most of these have nothing wrong with them but a value.
        ensure!(conclusions > 300 && accepted > 200, "{accepted} accepted of {conclusions}");
        Ok(())
    })
}

#[test]
fn no_length_and_no_extension_does_harm() -> Result<()> {
    beside_a_witness(|system, _| {
        let mut caller = RawCaller::new(system.srt_address(), 1)?;
        let cookie = caller.cookie()?;
        let whole = message(&caller.conclusion(cookie), &hello(120, "#!::r=some/id,m=publish"));
        // Shorter than the header they are not for the listener; up to the body they are invalid.
        conclude(system, &caller, (HEADER..whole.len()).map(|len| whole[..len].to_vec()))?;
        let mut conclusions = Vec::new();
        for kind in (0..=9).chain([0x7fff, 0xffff]) {
            for words in [0, 1, 3, 128, 129, 250] {
                caller.id += 1;
                let extra = block(kind, &vec![0xffff_ffff; words]);
                let front = [&extra[..], &hello(120, "")].concat();
                let behind = [&hello(120, "")[..], &extra].concat();
                // A length that reaches far beyond the packet.
                let mut cut = behind.clone();
                let at = hello(120, "").len() + 2;
                cut[at..at + 2].fill(0xff);
                for extensions in [front, behind, cut] {
                    conclusions.push(message(&caller.conclusion(cookie), &extensions));
                }
            }
        }
        let asked = conclusions.len() as u64;
        conclude(system, &caller, conclusions)?;
        let rejected = counter(system, WorkerCounter::Rejections)?;
        ensure!(rejected > 100, "{rejected} refusals");
        ensure!(rejected <= asked + whole.len() as u64, "{rejected} refusals of fewer questions");
        Ok(())
    })
}

#[test]
fn callers_that_race_for_one_name_get_it_once_and_the_limit_holds() -> Result<()> {
    // `ingestion.max_connections`, of which the witness has one.
    const PLACES: u32 = 25;
    beside_a_witness(|system, _| {
        let callers = (1..40)
            .map(|id| RawCaller::new(system.srt_address(), id))
            .collect::<Result<Vec<_>>>()?;
        let cookies = callers.iter().map(RawCaller::cookie).collect::<Result<Vec<_>>>()?;
        let ask = |index: usize, id: &str| {
            let caller = &callers[index];
            caller.refusal(&caller.conclusion(cookies[index]), &hello(120, id))
        };
        let race = std::thread::scope(|scope| {
            let runners: Vec<_> =
                (0..8).map(|index| scope.spawn(move || ask(index, "one"))).collect();
            let arrived = runners.into_iter().map(|it| it.join().expect("no panic"));
            arrived.collect::<Result<Vec<_>>>()
        })?;
        // Whoever has it and sends nothing loses it to the next one of the same host.
        ensure!(race.iter().all(|code| matches!(code, None | Some(2_409))), "answers {race:?}");
        let winners = race.iter().filter(|code| code.is_none()).count();
        ensure!(winners > 0, "nobody got it: {race:?}");
        eventually("one has it", PATIENCE, || {
            let replaced = system.directory()?.conductor().counter(ConductorCounter::EndedReplaced);
            let sessions = counter(system, WorkerCounter::Sessions)?;
            Ok((replaced == winners as u64 - 1 && sessions == 2).then_some(()))
        })?;
        for number in 2..PLACES {
            let index = usize::try_from(number)? + 6;
            assert_eq!(ask(index, &format!("cam{number}"))?, None, "place {number}");
        }
        assert_eq!(ask(38, "too-many")?, Some(2_402));
        Ok(())
    })
}
