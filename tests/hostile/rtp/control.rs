//! RTCP that is forged, broken, or nobody's.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use penstock_tests::relay::Random;
use shm::StreamSnapshot;
use shm::counters::{StreamCounter, WorkerCounter};

use super::{ELSEWHERE, Header, WITNESS, WITNESS_SSRC, beside_witnesses, of};
use crate::counter;

/// An empty receiver report and a goodbye.
pub(super) fn goodbye(ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 201, 0, 1];
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend([0x81, 203, 0, 1]);
    bytes.extend(ssrc.to_be_bytes());
    bytes
}

/// A sender report of a wall clock of its own.
fn sender_report(ssrc: u32, seconds: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 200, 0, 6];
    for word in [ssrc, seconds, 0, 0, 1, 1] {
        bytes.extend(word.to_be_bytes());
    }
    bytes
}

/// A receiver report with a block about `ssrc`.
fn receiver_report(ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![0x81, 201, 0, 7];
    for word in [ssrc, ssrc, 0xff00_0001, 5, 6, 7, 8] {
        bytes.extend(word.to_be_bytes());
    }
    bytes
}

#[test]
fn forged_reports_and_goodbyes_of_another_address_reach_no_session() -> Result<()> {
    const SENT: u32 = 6_000;
    beside_witnesses(|target| {
        // At the port of RTCP, and multiplexed with RTP (RFC 5761).
        let attackers = [target.rtcp_port, target.port].map(|port| target.socket(ELSEWHERE, port));
        let attackers = attackers.into_iter().collect::<Result<Vec<_>>>()?;
        target.flood(SENT, |number| {
            let forged = match number % 3 {
                0 => goodbye(WITNESS_SSRC),
                1 => sender_report(WITNESS_SSRC, number),
                _ => receiver_report(WITNESS_SSRC),
            };
            attackers[usize::from(number % 2 == 1)].send(&forged)?;
            Ok(())
        })?;
        target.counted_by_worker(SENT.into(), &[WorkerCounter::DroppedUnknownRtcp])?;
        let stream = target.stream(WITNESS)?;
        assert_eq!(of(&stream, &[StreamCounter::SenderReports, StreamCounter::RtcpInvalid]), 0);
        Ok(())
    })
}

#[test]
fn compounds_that_are_cut_changed_or_of_unknown_kinds_are_counted_and_change_nothing() -> Result<()>
{
    const SENT: u32 = 6_000;
    const SSRC: u32 = 77;
    beside_witnesses(|target| {
        // The host of the session's sender, whose RTCP may come from any port.
        let sender = target.socket(Ipv4Addr::LOCALHOST, target.h264)?;
        for sequence in 0..2 {
            let header = Header { payload_type: 96, sequence, ssrc: SSRC, ..Header::default() };
            sender.send(&header.packet(&[0x41, 0x9a, 3, 4, 5, 6]))?;
        }
        let delivered = |it: &StreamSnapshot| it.counter(StreamCounter::PacketsDelivered) == 2;
        target.wait_stream("given/h264", "it has its sender", delivered)?;
        let own_host = target.socket(Ipv4Addr::LOCALHOST, target.h264 + 1)?;
        let whole = [sender_report(SSRC, 1), receiver_report(SSRC)].concat();
        let mut random = Random::new(5);
        let mut draw = move |below: usize| -> Result<usize> {
            Ok(usize::try_from(random.draw() >> 33)? % below)
        };
        target.flood(SENT, |number| {
            let mut compound = whole.clone();
            match number % 3 {
                // Cut in the middle of a word.
                0 => compound.truncate(8 + 4 * draw(4)? + 1),
                // The length of the first packet.
                1 => compound[3] = u8::try_from(16 + draw(200)?)?,
                _ => compound[1] = u8::try_from(205 + draw(18)?)?,
            }
            own_host.send(&compound)?;
            Ok(())
        })?;
        let heard = [StreamCounter::RtcpReceived];
        target.counted(SENT.into(), |it| Ok(of(&it.stream("given/h264")?, &heard)))?;
        let stream = target.stream("given/h264")?;
        // Packets of unknown kinds are passed over (RFC 3550, 6.1).
        let invalid = of(&stream, &[StreamCounter::RtcpInvalid]);
        let dropped = counter(&target.system, WorkerCounter::KernelDrops)?;
        ensure!(invalid + dropped >= u64::from(SENT) * 2 / 3, "{invalid} invalid ones");
        assert_eq!(of(&stream, &[StreamCounter::SenderReports, StreamCounter::GoodbyesVoid]), 0);
        assert_eq!(of(&stream, &[StreamCounter::Connections]), 1, "it goes on");
        Ok(())
    })
}

#[test]
fn rtcp_of_sources_without_number_is_dropped() -> Result<()> {
    const SENT: u32 = 10_000;
    beside_witnesses(|target| {
        let attacker = target.socket(ELSEWHERE, target.rtcp_port)?;
        target.flood(SENT, |number| {
            let compound = [sender_report(number, number), goodbye(number)].concat();
            // Some are too short to name a source.
            attacker.send(if number % 5 == 0 { &compound[..6] } else { &compound })?;
            Ok(())
        })?;
        target.counted_by_worker(
            SENT.into(),
            &[WorkerCounter::DroppedUnknownRtcp, WorkerCounter::DroppedShort],
        )?;
        ensure!(counter(&target.system, WorkerCounter::DroppedShort)? > 0);
        Ok(())
    })
}
