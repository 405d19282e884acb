//! Nothing goes missing between the counters: every datagram and every packet is in one of them.

use anyhow::{Result, ensure};
use shm::counters::{ConductorCounter as C, StreamCounter as S, WorkerCounter as W};
use shm::{Directory, StreamSnapshot};

/// Checks all counters of a dataplane that is at rest: they are shown one by one.
pub fn check(directory: &Directory) -> Result<()> {
    let workers = directory.workers();
    let all = |counter| workers.iter().map(|worker| worker.counter(counter)).sum::<u64>();
    let sum = |counters: &[W]| counters.iter().map(|counter| all(*counter)).sum::<u64>();
    let places = [
        W::DatagramsToSessions,
        W::DatagramsToListener,
        W::DroppedShort,
        W::DroppedEmpty,
        W::DroppedTruncated,
        W::DroppedUnknownSession,
        W::DroppedWrongSource,
        W::DroppedHandover,
        W::HandedOver,
    ];
    let (received, found) = (sum(&[W::DatagramsReceived, W::TakenOver]), sum(&places));
    ensure!(received == found, "{received} datagrams, but {found} found a place");
    // The worker's own refusals are told apart by where the conductor counts them, if it hears of
    // them.
    let own = directory.conductor().counter(C::RejectedHandshake) + all(W::RejectionsUntold);
    let handshakes = [W::Inductions, W::Conclusions, W::CookiesBad, W::DroppedInvalid];
    let (asked, answered) = (all(W::DatagramsToListener), sum(&handshakes) + own);
    ensure!(asked == answered, "{asked} handshakes, but {answered} found a place");
    directory.streams().iter().try_for_each(balanced)
}

fn balanced(stream: &StreamSnapshot) -> Result<()> {
    let sum = |counters: &[S]| counters.iter().map(|it| stream.counter(*it)).sum::<u64>();
    let places = [
        S::PacketsUnique,
        S::PacketsDuplicate,
        S::PacketsBelated,
        S::PacketsUndecryptable,
        S::PacketsDroppedClear,
        S::PacketsDroppedWindow,
        S::PacketsDroppedSlots,
        S::PacketsDroppedInvalid,
    ];
    let ends = [S::PacketsDelivered, S::PacketsHeld, S::PacketsDiscardedAtEnd];
    let fates = [
        S::PacketsRecovered,
        S::PacketsSkippedTooLate,
        S::PacketsSkippedBySender,
        S::PacketsMissing,
    ];
    for (whole, parts) in [
        (S::PacketsReceived, &places[..]),
        (S::PacketsUnique, &ends[..]),
        (S::PacketsLost, &fates[..]),
    ] {
        let (count, found) = (stream.counter(whole), sum(parts));
        let (id, label) = (stream.info.id.as_str(), whole.label());
        ensure!(count == found, "{id}: {label} is {count}, but {found} found a place: {stream:?}");
    }
    Ok(())
}
