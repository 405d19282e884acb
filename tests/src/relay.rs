//! A UDP relay that loses, duplicates, delays and reorders by a seed: the network that a test
//! machine has not got. The same seed treats the same sequence of datagrams alike.
//!
//! ```text
//!  encoder ──▶ relay:port ──(impaired, delayed)──▶ listener
//!          ◀── one socket per encoder ◀────────────
//! ```

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::wire::{Seen, Watch};

/// How a handshake begins: control, type 0 (SRT draft, 3.2.1).
const HANDSHAKE: [u8; 2] = [0x80, 0x00];

/// What happens to datagrams, in both directions.
#[derive(Debug, Clone, Copy)]
pub struct Impairment {
    /// Decides everything.
    pub seed: u64,
    /// Lost, of a thousand.
    pub loss_permille: u32,
    /// Sent twice, of a thousand.
    pub duplicate_permille: u32,
    /// Held back by `reorder_delay`, of a thousand.
    pub reorder_permille: u32,
    /// How long a reordered datagram is held back beyond the others.
    pub reorder_delay: Duration,
    /// Delay of one direction: half the round-trip time.
    pub delay: Duration,
    /// Handshakes are never lost.
    pub spares_handshakes: bool,
    /// Nothing is lost any more once the encoder has sent so many data packets: nobody misses a
    /// last packet.
    pub loses_until: u64,
}

impl Impairment {
    /// A network that loses so many of a hundred and is 20 ms long both ways together.
    pub const fn losing(seed: u64, percent: u32) -> Self {
        Self {
            seed,
            loss_permille: percent * 10,
            duplicate_permille: 0,
            reorder_permille: 0,
            reorder_delay: Duration::ZERO,
            delay: Duration::from_millis(10),
            spares_handshakes: false,
            loses_until: u64::MAX,
        }
    }
}

/// What the relay did, both directions together.
#[derive(Debug, Default)]
pub struct Totals {
    /// Datagrams taken.
    pub taken: AtomicU64,
    /// Datagrams lost on purpose.
    pub lost: AtomicU64,
    /// Datagrams sent twice.
    pub duplicated: AtomicU64,
    /// Datagrams held back.
    pub reordered: AtomicU64,
    /// The longest that a datagram left after its time, microseconds: the machine was busy.
    pub late_us_max: AtomicU64,
}

/// A datagram of an encoder, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// Its payload.
    pub bytes: Vec<u8>,
    /// It was lost on purpose.
    pub lost: bool,
}

/// A running relay; it ends when dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    totals: Arc<Totals>,
    watch: Arc<Watch>,
    every: Arc<AtomicU32>,
    record: Option<Arc<Mutex<Vec<Passage>>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts a relay on a port of its own towards `listener`.
    pub fn start(listener: SocketAddr, impairment: Impairment) -> Result<Self> {
        Self::with(listener, impairment, None)
    }

    /// The same, and it keeps what encoders send, and what became of each datagram.
    pub fn recording(listener: SocketAddr, impairment: Impairment) -> Result<Self> {
        Self::with(listener, impairment, Some(Arc::default()))
    }

    fn with(
        listener: SocketAddr,
        impairment: Impairment,
        record: Option<Arc<Mutex<Vec<Passage>>>>,
    ) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let totals = Arc::new(Totals::default());
        let watch = Arc::new(Watch::default());
        let every = Arc::new(AtomicU32::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let mut run = Run {
            front: socket,
            listener,
            impairment,
            random: Random::new(impairment.seed),
            backs: HashMap::new(),
            queue: BinaryHeap::new(),
            order: 0,
            data_packets: 0,
            totals: Arc::clone(&totals),
            watch: Arc::clone(&watch),
            every: Arc::clone(&every),
            record: record.clone(),
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                run.turn();
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Ok(Self { address, totals, watch, every, record, stop, thread: Some(thread) })
    }

    /// Where encoders send to.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every so many-th SRT data packet by its sequence number is lost however often it is
    /// sent, so that the receiver always waits for one; 0 for none.
    pub fn lose_for_good(&self, every: u32) {
        self.every.store(every, Ordering::Relaxed);
    }

    /// What it did so far.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What encoders sent so far, in their order, when it is [recording](Self::recording).
    pub fn record(&self) -> Vec<Passage> {
        let record = self.record.iter().map(|it| it.lock().unwrap_or_else(PoisonError::into_inner));
        record.flat_map(|record| record.clone()).collect()
    }

    /// What it saw of SRT so far.
    pub fn seen(&self) -> Seen {
        self.watch.seen()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// xorshift64*: small, seeded, good enough to lose packets.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Every seed gives its own sequence.
    pub const fn new(seed: u64) -> Self {
        Self(if seed == 0 { 1 } else { seed })
    }

    /// The next 64 bits.
    pub const fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Whether a chance of so many in a thousand comes true.
    pub fn permille(&mut self, of_thousand: u32) -> bool {
        self.draw() >> 33 < u64::from(of_thousand) * ((1 << 31) / 1_000)
    }
}

/// A datagram on its way: when, in which order, through whose back socket, which way.
type Flight = (Instant, u64, SocketAddr, bool, Vec<u8>);

struct Run {
    front: UdpSocket,
    listener: SocketAddr,
    impairment: Impairment,
    random: Random,
    /// By encoder: the socket that the listener knows it by.
    backs: HashMap<SocketAddr, UdpSocket>,
    queue: BinaryHeap<Reverse<Flight>>,
    order: u64,
    data_packets: u64,
    totals: Arc<Totals>,
    watch: Arc<Watch>,
    every: Arc<AtomicU32>,
    record: Option<Arc<Mutex<Vec<Passage>>>>,
}

impl Run {
    fn turn(&mut self) {
        let mut buffer = [0; 65_536];
        while let Ok((len, encoder)) = self.front.recv_from(&mut buffer) {
            if !self.backs.contains_key(&encoder)
                && let Some(back) = self.open_back()
            {
                self.backs.insert(encoder, back);
            }
            self.fly(encoder, true, &buffer[..len]);
        }
        let encoders: Vec<SocketAddr> = self.backs.keys().copied().collect();
        for encoder in encoders {
            while let Ok(len) = self.backs[&encoder].recv(&mut buffer) {
                self.fly(encoder, false, &buffer[..len]);
            }
        }
        self.land();
    }

    fn open_back(&self) -> Option<UdpSocket> {
        let back = UdpSocket::bind("127.0.0.1:0").ok()?;
        back.connect(self.listener).ok()?;
        back.set_nonblocking(true).ok()?;
        Some(back)
    }

    /// Decides a datagram's fate.
    fn fly(&mut self, encoder: SocketAddr, forth: bool, datagram: &[u8]) {
        let Impairment { loss_permille, duplicate_permille, reorder_permille, .. } =
            self.impairment;
        self.totals.taken.fetch_add(1, Ordering::Relaxed);
        self.watch.note(forth, datagram);
        let is_data = datagram.first().is_some_and(|byte| byte & 0x80 == 0);
        self.data_packets += u64::from(is_data);
        let spared = self.impairment.spares_handshakes && datagram.starts_with(&HANDSHAKE)
            || self.data_packets > self.impairment.loses_until;
        let lost =
            self.random.permille(loss_permille) && !spared || self.is_lost_for_good(datagram);
        if let Some(record) = self.record.as_ref().filter(|_| forth) {
            let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
            record.push(Passage { bytes: datagram.to_vec(), lost });
        }
        if lost {
            self.totals.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut at = Instant::now() + self.impairment.delay;
        if self.random.permille(reorder_permille) {
            self.totals.reordered.fetch_add(1, Ordering::Relaxed);
            at += self.impairment.reorder_delay;
        }
        let twice = self.random.permille(duplicate_permille);
        self.totals.duplicated.fetch_add(twice.into(), Ordering::Relaxed);
        for _ in 0..=u32::from(twice) {
            self.order += 1;
            self.queue.push(Reverse((at, self.order, encoder, forth, datagram.to_vec())));
        }
    }

    fn is_lost_for_good(&self, datagram: &[u8]) -> bool {
        let every = self.every.load(Ordering::Relaxed);
        // A data packet begins with its sequence number, a control packet with a set bit.
        let first = datagram.first_chunk().map_or(u32::MAX, |word| u32::from_be_bytes(*word));
        every > 0 && first >> 31 == 0 && first % every == 0
    }

    /// Delivers what is due.
    fn land(&mut self) {
        let now = Instant::now();
        while self.queue.peek().is_some_and(|Reverse((at, ..))| *at <= now) {
            let Some(Reverse((at, _, encoder, forth, datagram))) = self.queue.pop() else { return };
            let late_us = u64::try_from((now - at).as_micros()).unwrap_or(u64::MAX);
            self.totals.late_us_max.fetch_max(late_us, Ordering::Relaxed);
            // A refused datagram is one more lost.
            let _ = if forth {
                self.backs.get(&encoder).map(|back| back.send(&datagram))
            } else {
                Some(self.front.send_to(&datagram, encoder))
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_loses_the_same_datagrams() {
        let fates = |seed| {
            let mut random = Random::new(seed);
            (0..1_000).map(|_| random.permille(50)).collect::<Vec<_>>()
        };
        assert_eq!(fates(7), fates(7));
        assert_ne!(fates(7), fates(8));
        let lost = fates(7).iter().filter(|lost| **lost).count();
        assert!((30..70).contains(&lost), "{lost} of 1,000 at 50 per mille");
    }
}
