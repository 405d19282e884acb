//! Nothing goes missing between the counters: every datagram and every packet is in one of them.

use anyhow::{Result, ensure};
use shm::counters::{ConductorCounter as C, StreamCounter as S, WorkerCounter as W};
use shm::{Directory, StreamKind, StreamSnapshot};

/// Where a datagram can end that a worker received, or took over from another.
const DATAGRAM_PLACES: [W; 15] = [
    W::DatagramsToSessions,
    W::DatagramsToListener,
    W::DroppedShort,
    W::DroppedEmpty,
    W::DroppedTruncated,
    W::DroppedUnknownSession,
    W::DroppedWrongSource,
    W::DroppedHandover,
    W::HandedOver,
    // At ports of RTP.
    W::DroppedInvalidRtp,
    W::DroppedUnknownRtcp,
    W::DroppedUnproven,
    W::DroppedWaiting,
    W::DroppedRefused,
    W::PacketsWaiting,
];

/// Where a data packet of SRT can end.
const SRT_PLACES: [S; 8] = [
    S::PacketsUnique,
    S::PacketsDuplicate,
    S::PacketsBelated,
    S::PacketsUndecryptable,
    S::PacketsDroppedClear,
    S::PacketsDroppedWindow,
    S::PacketsDroppedSlots,
    S::PacketsDroppedInvalid,
];

/// Where a packet of RTP can end, or a datagram of a transport stream without it.
const RTP_PLACES: [S; 12] = [
    S::PacketsUnique,
    S::PacketsHeld,
    S::PacketsDuplicate,
    S::PacketsRedundant,
    S::PacketsBelated,
    S::PacketsDroppedInvalid,
    S::PacketsDroppedRate,
    S::PacketsDroppedSource,
    S::PacketsDroppedUnmapped,
    S::PacketsDroppedProbation,
    S::PacketsDroppedJump,
    S::PacketsDroppedUndetected,
];

/// What becomes of a sequence number that is found missing.
const FATES: [S; 4] =
    [S::PacketsRecovered, S::PacketsSkippedTooLate, S::PacketsSkippedBySender, S::PacketsMissing];

/// Checks all counters of a dataplane that is at rest: they are shown one by one.
pub fn check(directory: &Directory) -> Result<()> {
    let workers = directory.workers();
    let all = |counter| workers.iter().map(|worker| worker.counter(counter)).sum::<u64>();
    let sum = |counters: &[W]| counters.iter().map(|counter| all(*counter)).sum::<u64>();
    let (received, found) = (sum(&[W::DatagramsReceived, W::TakenOver]), sum(&DATAGRAM_PLACES));
    ensure!(received == found, "{received} datagrams, but {found} found a place");
    // The worker's own refusals are told apart by where the conductor counts them, if it hears of
    // them.
    let own = directory.conductor().counter(C::RejectedHandshake) + all(W::RejectionsUntold);
    let handshakes = [W::Inductions, W::Conclusions, W::CookiesBad, W::DroppedInvalid];
    let (asked, answered) = (all(W::DatagramsToListener), sum(&handshakes) + own);
    ensure!(asked == answered, "{asked} handshakes, but {answered} found a place");
    let streams = directory.streams();
    // Those of streams that are listed no more are in none.
    let to_streams = streams.iter().map(|stream| stream.counter(S::DatagramsReceived)).sum::<u64>();
    let to_sessions = all(W::DatagramsToSessions);
    ensure!(to_streams <= to_sessions, "{to_streams} datagrams of {to_sessions} reached streams");
    streams.iter().try_for_each(balanced)
}

/// Checks a stream's packets.
pub fn balanced(stream: &StreamSnapshot) -> Result<()> {
    match stream.info.kind {
        StreamKind::Srt => {
            adds_up(stream, &[S::PacketsReceived], &SRT_PLACES)?;
            let ends = [S::PacketsDelivered, S::PacketsHeld, S::PacketsDiscardedAtEnd];
            adds_up(stream, &[S::PacketsUnique], &ends)?;
        }
        StreamKind::Rtp => {
            adds_up(stream, &[S::PacketsReceived, S::PacketsRecoveredFec], &RTP_PLACES)?;
            let ends = [S::PacketsDelivered, S::PacketsDiscardedAtEnd];
            adds_up(stream, &[S::PacketsUnique], &ends)?;
            let datagrams = [S::PacketsReceived, S::RtcpReceived, S::FecReceived];
            adds_up(stream, &[S::DatagramsReceived], &datagrams)?;
        }
    }
    adds_up(stream, &[S::PacketsLost], &FATES)
}

fn adds_up(stream: &StreamSnapshot, whole: &[S], parts: &[S]) -> Result<()> {
    let sum = |counters: &[S]| counters.iter().map(|it| stream.counter(*it)).sum::<u64>();
    let (count, found) = (sum(whole), sum(parts));
    let (id, label) = (stream.info.id.as_str(), whole[0].label());
    ensure!(count == found, "{id}: {label} is {count}, but {found} found a place: {stream:?}");
    Ok(())
}
