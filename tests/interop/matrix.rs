//! Every peer on either side of the handshake, under every kind of keys, through networks that lose:
//! what it sent arrives, byte for byte, and the wire shows the keys that were asked for.
//!
//! The cells are data. A choice of them that holds every pair of values runs with all tests; the
//! whole table is for `scripts/interop`.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::oracle::{self, Check, Frame};
use penstock_tests::peers::{Keys, Peer, Sending, Side, Way, announced, newer_libsrt};
use penstock_tests::publisher::PAYLOAD_BYTES;
use penstock_tests::relay::{Impairment, Relay};
use penstock_tests::system::{Options, PATIENCE, Penstock, Tap, free_udp_port};
use penstock_tests::wire::Seen;
use shm::StreamSnapshot;
use shm::counters::StreamCounter as C;

const PEERS: [Peer; 4] = [Peer::SrtLiveTransmit, Peer::Ffmpeg, Peer::Gstreamer, Peer::SrtTokio];
const SIDES: [Side; 2] = [Side::Caller, Side::Listener];
const LOSSES_PERCENT: [u32; 3] = [0, 1, 5];
/// A few refreshes in a clip.
const REFRESH: u32 = 300;
const KEYS: [(&str, Keys); 5] = [
    ("clear", Keys::CLEAR),
    ("AES-128", Keys::ctr(128)),
    ("AES-192", Keys::ctr(192)),
    ("AES-256", Keys::ctr(256)),
    ("AES-128, refreshed", Keys { refresh: Some(REFRESH), ..Keys::ctr(128) }),
];
/// Of the peer that can.
const KEYS_GCM: [(&str, Keys); 4] = [
    ("GCM-128", Keys::gcm(128)),
    ("GCM-192", Keys::gcm(192)),
    ("GCM-256", Keys::gcm(256)),
    ("GCM-256, refreshed", Keys { refresh: Some(REFRESH), ..Keys::gcm(256) }),
];
const PASSPHRASE: &str = "a-secret-of-ours";
const STREAM: &str = "cam";
/// Time enough for many retransmissions, and for a machine that pauses now and then.
const LATENCY_MS: u32 = 1_000;

/// One field of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    peer: Peer,
    side: Side,
    keys: Keys,
    loss_percent: u32,
}

/// Every pair of values of two columns, in few cells.
fn short_form() -> impl Iterator<Item = Cell> {
    PEERS.into_iter().enumerate().flat_map(|(row, peer)| {
        KEYS.into_iter().enumerate().map(move |(column, (_, keys))| Cell {
            peer,
            side: SIDES[(row + column) % SIDES.len()],
            keys,
            loss_percent: LOSSES_PERCENT[(row + 2 * column) % LOSSES_PERCENT.len()],
        })
    })
}

fn whole_form() -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut row = |peer, keys| {
        for side in SIDES {
            cells.extend(LOSSES_PERCENT.map(|loss_percent| Cell {
                peer,
                side,
                keys,
                loss_percent,
            }));
        }
    };
    for peer in PEERS {
        KEYS.iter().for_each(|(_, keys)| row(peer, *keys));
    }
    if newer_libsrt().is_some() {
        KEYS.iter().chain(&KEYS_GCM).for_each(|(_, keys)| row(Peer::LibsrtGcm, *keys));
    }
    cells
}

/// Penstock for a cell: a listener, or a source that calls `peer`.
fn options(cell: &Cell, peer: SocketAddr) -> Options {
    let mut srt = format!("    max_bandwidth: 20000000\n    latency: {LATENCY_MS}ms\n");
    let secret = cell.keys.bytes > 0;
    match cell.side {
        Side::Caller if secret => {
            srt += &format!("    encryption: {{passphrase: {PASSPHRASE}}}\n");
        }
        Side::Caller => {}
        Side::Listener => {
            srt += &format!("    sources:\n      - id: {STREAM}\n        address: '{peer}'\n");
            if secret {
                let bits = cell.keys.bytes * 8;
                srt += &format!("        passphrase: {PASSPHRASE}\n        key_length: {bits}\n");
                // The caller chooses the cipher.
                let mode = if cell.keys.gcm { "gcm" } else { "ctr" };
                srt += &format!("        crypto_mode: {mode}\n");
            }
        }
    }
    Options { srt, ..Options::default() }
}

/// Runs one cell; what was seen on the way.
fn run(cell: &Cell, clip: &Clip) -> Result<String> {
    let seed = 1 + u64::from(cell.loss_percent) + cell.keys.bytes as u64;
    let network = Impairment {
        // These peers take one caller and then listen no more: the answer to its conclusion, once
        // lost, is not repeated, and libsrt's own caller gets no connection either.
        spares_handshakes: cell.side == Side::Listener,
        loses_until: clip.bytes.chunks(PAYLOAD_BYTES).count() as u64 * 9 / 10,
        ..Impairment::losing(seed, cell.loss_percent)
    };
    let listens: SocketAddr = (Ipv4Addr::LOCALHOST, free_udp_port()?).into();
    let (system, relay) = match cell.side {
        Side::Caller => {
            let system = Penstock::start(&options(cell, listens))?;
            let relay = Relay::start(system.srt_address(), network)?;
            (system, relay)
        }
        Side::Listener => {
            let relay = Relay::start(listens, network)?;
            (Penstock::start(&options(cell, relay.address()))?, relay)
        }
    };
    let tap = system.frames_of(STREAM)?;
    let way = Way {
        side: cell.side,
        address: if cell.side == Side::Caller { relay.address() } else { listens },
        stream_id: STREAM,
        passphrase: (cell.keys.bytes > 0).then_some(PASSPHRASE),
        keys: cell.keys,
        latency_ms: LATENCY_MS,
    };
    let mut sending = cell.peer.start(&way, clip, &system.path("peer.log"))?;
    let told = transmit(cell, clip, &system, &mut sending, tap, &relay);
    let told = told.with_context(|| sending.said())?;
    system.stop()?;
    Ok(told)
}

fn transmit(
    cell: &Cell,
    clip: &Clip,
    system: &Penstock,
    sending: &mut Sending,
    tap: Tap,
    relay: &Relay,
) -> Result<String> {
    system.wait_stream(STREAM, "connected", |_| true)?;
    sending.feed(clip)?;
    if cell.peer.passes_unchanged() {
        let packets = clip.bytes.chunks(PAYLOAD_BYTES).count() as u64;
        system.wait_stream(STREAM, "everything arrived", |stream| {
            let count = |name: &str| stream["counters"][name].as_u64().unwrap_or(0);
            count("packets_delivered") + count("packets_skipped_too_late") >= packets
        })?;
    } else {
        sending.process.succeed(PATIENCE)?;
    }
    sending.end()?;
    let frames = tap.frames()?;
    let stream = system.directory()?.stream(STREAM).context("the stream is listed")?;
    check(cell, clip, &frames, &stream, &relay.seen()).with_context(|| figures(&stream))
}

fn check(
    cell: &Cell,
    clip: &Clip,
    frames: &[Frame],
    stream: &StreamSnapshot,
    seen: &Seen,
) -> Result<String> {
    let count = |counter| stream.counter(counter);
    payload_is_whole(cell, clip, frames, stream)?;
    keys_were_used(cell.keys, seen)?;
    if cell.loss_percent > 0 {
        ensure!(count(C::PacketsRecovered) > 0, "nothing was lost on the way");
    }
    let mut told = format!("{} packets", count(C::PacketsDelivered));
    if cell.loss_percent > 0 {
        write!(told, ", {} recovered", count(C::PacketsRecovered))?;
    }
    if cell.keys.refresh.is_some() {
        write!(told, ", {} under even and {} under odd keys", seen.even, seen.odd)?;
    }
    Ok(told)
}

/// What was sent is what is published: bytes, stamps and order of every frame, and of what passes
/// through its peer unchanged no transport-stream packet is missing, doubled or out of step.
fn payload_is_whole(
    cell: &Cell,
    clip: &Clip,
    frames: &[Frame],
    stream: &StreamSnapshot,
) -> Result<()> {
    clip.is_whole(frames)?;
    let none = [
        C::PacketsSkippedTooLate,
        C::PacketsUndecryptable,
        C::PacketsDroppedSlots,
        C::TsContinuityErrors,
        C::TsSyncLosses,
        C::TsBytesSkipped,
    ];
    for counter in none {
        ensure!(stream.counter(counter) == 0, "{}: {}", counter.label(), stream.counter(counter));
    }
    if !cell.peer.passes_unchanged() {
        return Ok(());
    }
    for (codec, packets) in [("h264", &clip.video), ("aac", &clip.audio)] {
        let of_track: Vec<Frame> =
            frames.iter().filter(|frame| frame.codec == codec).cloned().collect();
        oracle::compare(&of_track, packets, &Check::default()).context(codec)?;
    }
    let bytes = stream.counter(C::BytesDelivered);
    ensure!(bytes >= clip.bytes.len() as u64, "{bytes} bytes delivered");
    Ok(())
}

/// The wire shows the keys that were asked for, and nothing without them.
fn keys_were_used(keys: Keys, seen: &Seen) -> Result<()> {
    let Seen { clear, even, odd, key_messages, .. } = seen;
    if keys.bytes == 0 {
        ensure!(*clear > 0 && *even == 0 && *odd == 0, "clear text was asked for: {seen:?}");
        return Ok(());
    }
    ensure!(*clear == 0 && even + odd > 0, "{clear} packets in clear text");
    let material = (if keys.gcm { 4 } else { 2 }, keys.bytes);
    ensure!(seen.key_material() == Some(material), "key material {:?}", seen.key_material());
    match keys.refresh {
        Some(_) => ensure!(*even > 0 && *odd > 0 && *key_messages > 0, "no refresh: {seen:?}"),
        None => ensure!(*even == 0 || *odd == 0, "{even} under even and {odd} under odd keys"),
    }
    Ok(())
}

fn figures(stream: &StreamSnapshot) -> String {
    let told = C::ALL.iter().map(|it| (it.label(), stream.counter(*it)));
    let told = told.filter(|(_, count)| *count > 0);
    told.map(|(label, count)| format!("{label} {count}")).collect::<Vec<_>>().join(", ")
}

/// The short form's cells of one peer.
fn short_form_of(peer: Peer) -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    for cell in short_form().filter(|cell| cell.peer == peer) {
        run(&cell, &clip).with_context(|| format!("{cell:?}"))?;
    }
    Ok(())
}

#[test]
fn srt_live_transmit_under_each_kind_of_keys() -> Result<()> {
    short_form_of(Peer::SrtLiveTransmit)
}

#[test]
fn ffmpeg_under_each_kind_of_keys() -> Result<()> {
    short_form_of(Peer::Ffmpeg)
}

#[test]
fn gstreamer_under_each_kind_of_keys() -> Result<()> {
    short_form_of(Peer::Gstreamer)
}

#[test]
fn srt_tokio_under_each_kind_of_keys() -> Result<()> {
    short_form_of(Peer::SrtTokio)
}

#[test]
fn the_short_form_holds_every_pair() {
    let cells: Vec<Cell> = short_form().collect();
    let holds = |what: &str, pair: &dyn Fn(&Cell) -> bool| {
        assert!(cells.iter().any(pair), "no cell has {what}");
    };
    for side in SIDES {
        for peer in PEERS {
            holds(&format!("{side:?}, {peer:?}"), &|cell| cell.side == side && cell.peer == peer);
        }
        for (_, keys) in KEYS {
            holds(&format!("{side:?}, {keys:?}"), &|cell| cell.side == side && cell.keys == keys);
        }
    }
    for loss in LOSSES_PERCENT {
        for peer in PEERS {
            let what = format!("{loss} %, {peer:?}");
            holds(&what, &|cell| cell.loss_percent == loss && cell.peer == peer);
        }
        for (_, keys) in KEYS {
            let what = format!("{loss} %, {keys:?}");
            holds(&what, &|cell| cell.loss_percent == loss && cell.keys == keys);
        }
        for side in SIDES {
            let what = format!("{loss} %, {side:?}");
            holds(&what, &|cell| cell.loss_percent == loss && cell.side == side);
        }
    }
    assert!(announced(REFRESH) > 0);
}

/// Runs every cell, a few at a time, and writes the table to the file that `PENSTOCK_INTEROP_TABLE`
/// names; `PENSTOCK_INTEROP_CELLS` chooses those whose names have this in them.
#[test]
#[ignore = "a quarter of an hour: scripts/interop"]
fn the_whole_table() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let wanted = std::env::var("PENSTOCK_INTEROP_CELLS").unwrap_or_default();
    let cells: Vec<Cell> =
        whole_form().into_iter().filter(|cell| name(cell).contains(&wanted)).collect();
    ensure!(!cells.is_empty(), "no cell has {wanted} in its name");
    let outcomes: Vec<Mutex<Option<Result<String>>>> =
        cells.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(at) =
            Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < cells.len())
        {
            let outcome = run(&cells[at], &clip);
            println!("{}: {}", name(&cells[at]), line(&outcome));
            *outcomes[at].lock().expect("no cell panics") = Some(outcome);
        }
    };
    let at_once = std::env::var("PENSTOCK_INTEROP_AT_ONCE").ok().and_then(|it| it.parse().ok());
    std::thread::scope(|scope| {
        (0..at_once.unwrap_or(2)).for_each(|_| drop(scope.spawn(work)));
    });
    let done: Vec<Result<String>> =
        outcomes.into_iter().filter_map(|it| it.into_inner().ok().flatten()).collect();
    if let Some(path) = std::env::var_os("PENSTOCK_INTEROP_TABLE") {
        std::fs::write(path, table(&cells, &done)?)?;
    }
    let failed = done.iter().filter(|it| it.is_err()).count();
    ensure!(failed == 0, "{failed} of {} cells failed", cells.len());
    ensure!(done.len() == cells.len(), "{} of {} cells ran", done.len(), cells.len());
    Ok(())
}

fn name(cell: &Cell) -> String {
    let keys = KEYS.iter().chain(&KEYS_GCM).find(|(_, keys)| *keys == cell.keys);
    let keys = keys.map_or("?", |(name, _)| name);
    format!("{} as {:?}, {keys}, {} %", cell.peer.label(), cell.side, cell.loss_percent)
}

fn line(outcome: &Result<String>) -> String {
    match outcome {
        Ok(told) => format!("passed: {told}"),
        Err(error) => format!("FAILED: {error:#}"),
    }
}

/// One line for each peer, side and kind of keys, a column for each loss.
fn table(cells: &[Cell], outcomes: &[Result<String>]) -> Result<String> {
    let mut text =
        String::from("| peer | Penstock | keys | 0 % | 1 % | 5 % |\n|---|---|---|---|---|---|\n");
    for (row, results) in
        cells.chunks(LOSSES_PERCENT.len()).zip(outcomes.chunks(LOSSES_PERCENT.len()))
    {
        let penstock = match row[0].side {
            Side::Caller => "listener",
            Side::Listener => "caller",
        };
        let keys = KEYS.iter().chain(&KEYS_GCM).find(|(_, keys)| *keys == row[0].keys);
        let keys = keys.map_or("?", |(name, _)| name);
        write!(text, "| {} | {penstock} | {keys} |", row[0].peer.label())?;
        for outcome in results {
            let line = line(outcome).replace(['\n', '|'], " ");
            write!(text, " {line} |")?;
        }
        text.push('\n');
    }
    Ok(text)
}
