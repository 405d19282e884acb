//! StreamIDs of every length.

use anyhow::{Result, ensure};
use penstock_tests::process::eventually;
use penstock_tests::raw::{RawCaller, claimed, hello, message};
use penstock_tests::system::PATIENCE;
use shm::counters::{ConductorCounter, WorkerCounter};
use srt::handshake::{RejectReason, extension};

use super::handshake::conclude;
use super::{beside_a_witness, counter, flood};

/// Longer is no StreamID.
const BYTES_MAX: u16 = 512;

/// A StreamID of so many bytes, and the length that its block claims.
fn stream_id(bytes: u16) -> Vec<u8> {
    let words = bytes.div_ceil(4);
    let mut content = vec![b'n'; bytes.into()];
    content.resize(usize::from(words) * 4, 0);
    // Each word is reversed on the wire: only the padding of the last one shows it.
    for word in content.chunks_exact_mut(4) {
        word.reverse();
    }
    claimed(extension::STREAM_ID, words, &content)
}

#[test]
fn stream_ids_up_to_512_bytes_are_names_and_longer_ones_are_refused() -> Result<()> {
    // A slot of 2 KiB holds addresses and stamps too.
    const FITS_SLOT: u16 = 1_700;
    beside_a_witness(|system, _| {
        let mut caller = RawCaller::new(system.srt_address(), 1)?;
        let cookie = caller.cookie()?;
        let mut conclusions = Vec::new();
        let all = (0..=520).chain((521..=FITS_SLOT).step_by(7));
        let long = all.clone().filter(|bytes| *bytes > BYTES_MAX).count() as u64;
        for bytes in all {
            caller.id += 1;
            let blocks = [hello(120, ""), stream_id(bytes)].concat();
            conclusions.push(message(&caller.conclusion(cookie), &blocks));
        }
        let refused = || -> Result<u64> {
            let directory = system.directory()?;
            Ok(directory.conductor().counter(ConductorCounter::RejectedHandshake)
                + counter(system, WorkerCounter::RejectionsUntold)?)
        };
        conclude(system, &caller, conclusions)?;
        eventually("the long ones are refused", PATIENCE, || Ok((refused()? == long).then_some(())))
    })
}

#[test]
fn a_stream_id_that_claims_any_length_costs_one_refusal() -> Result<()> {
    beside_a_witness(|system, _| {
        let caller = RawCaller::new(system.srt_address(), 1)?;
        let cookie = caller.cookie()?;
        let rejected = counter(system, WorkerCounter::Rejections)?;
        // Up to 65,535 bytes and beyond, of which eight are there.
        const FIRST: u16 = 3;
        let count = u32::from(u16::MAX - FIRST) + 1;
        flood(system, count, |number| {
            let words = FIRST + u16::try_from(number)?;
            let blocks =
                [hello(120, ""), claimed(extension::STREAM_ID, words, b"eman eno")].concat();
            caller.send(&message(&caller.conclusion(cookie), &blocks))
        })?;
        let all = rejected + u64::from(count);
        eventually("each is refused", PATIENCE, || {
            let dropped = counter(system, WorkerCounter::KernelDrops)?;
            let refused = counter(system, WorkerCounter::Rejections)?;
            ensure!(refused <= all, "{refused} refusals of {all}");
            Ok((refused + dropped >= all).then_some(()))
        })?;
        assert!(counter(system, WorkerCounter::Sessions)? <= 1, "sessions beside the witness");
        Ok(())
    })
}

#[test]
fn stream_ids_in_datagrams_beyond_a_slot_are_dropped_as_cut() -> Result<()> {
    const DATAGRAM_MAX: u16 = 65_507;
    beside_a_witness(|system, _| {
        let caller = RawCaller::new(system.srt_address(), 1)?;
        let cookie = caller.cookie()?;
        let before = counter(system, WorkerCounter::DroppedTruncated)?;
        let head = message(&caller.conclusion(cookie), &hello(120, ""));
        let head_bytes = u16::try_from(head.len())?;
        let lengths: Vec<u16> = (2_048..DATAGRAM_MAX - head_bytes - 8).step_by(251).collect();
        flood(system, u32::try_from(lengths.len())?, |number| {
            let bytes = lengths[usize::try_from(number)?];
            caller.send(&[&head[..], &stream_id(bytes)].concat())
        })?;
        let all = before + lengths.len() as u64;
        eventually("each is dropped", PATIENCE, || {
            let kernel = counter(system, WorkerCounter::KernelDrops)?;
            let cut = counter(system, WorkerCounter::DroppedTruncated)?;
            Ok((cut + kernel >= all).then_some(()))
        })
    })
}

#[test]
fn stream_ids_of_strange_bytes_are_refused_or_only_names() -> Result<()> {
    beside_a_witness(|system, _| {
        let mut caller = RawCaller::new(system.srt_address(), 1)?;
        let cookie = caller.cookie()?;
        let malformed = Some(RejectReason::BAD_REQUEST.code());
        for (text, expected) in [
            ("nul\0inside", malformed),
            ("tab\t", malformed),
            ("\u{1b}[31mred", malformed),
            ("caf\u{e9}", malformed),
            ("#!:", malformed),
            ("#!::r", malformed),
            ("#!:{a}", malformed),
            ("../../../etc/passwd", None),
            ("%00%2e%2e%2f", None),
            ("a/b//c", None),
        ] {
            caller.id += 1;
            let code = caller.refusal(&caller.conclusion(cookie), &hello(120, text))?;
            ensure!(code == expected, "{text:?}: {code:?}");
        }
        assert!(!system.path("../../../etc/passwd.frames").exists());
        Ok(())
    })
}
