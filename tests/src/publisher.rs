//! A publisher of our own over a plain UDP socket: for what FFmpeg and libsrt cannot be made to
//! send. It paces nothing by itself.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use memory::Time;
use srt::caller::{Caller, CallerConfig, CallerState, Connected, Failure};
use srt::crypto::{Initiator, Passphrase, Refresh, Suite};
use srt::handshake::{RejectReason, StreamId};
use srt::sender::{Sender, SenderState, SenderStats};
use srt::sequence::Sequence;

/// Payload of a live packet: seven transport-stream packets.
pub const PAYLOAD_BYTES: usize = 1_316;
/// Packets kept for retransmission.
const SEND_BUFFER_PACKETS: u32 = 8_192;

/// Why a publisher was not let in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The listener said no.
    #[error("rejected with code {}", .0.code())]
    Rejected(RejectReason),
    /// The listener would have it, but not as encrypted as asked.
    #[error("refused the answer with code {}", .0.code())]
    Insecure(RejectReason),
    /// No answer, or none that makes sense.
    #[error("no connection: {0}")]
    Failed(String),
}

/// How a publisher encrypts.
#[derive(Debug, Clone, Copy)]
pub struct Secret<'a> {
    /// 10 to 80 bytes.
    pub passphrase: &'a str,
    /// With what.
    pub suite: Suite,
    /// When it changes its key.
    pub refresh: Refresh,
}

impl Secret<'_> {
    fn initiator(&self, seed: u32) -> Result<Initiator> {
        let passphrase =
            Passphrase::new(self.passphrase.as_bytes()).context("10 to 80 bytes of passphrase")?;
        let mut random = [7; 32];
        random[..4].copy_from_slice(&seed.to_be_bytes());
        Initiator::new(&passphrase, self.suite, self.refresh, &random).context("an initiator")
    }
}

/// A connected publisher.
#[derive(Debug)]
pub struct Publisher {
    socket: UdpSocket,
    sender: Sender,
    connected: Connected,
    origin: Instant,
    /// The sequence number of the next payload.
    next: Sequence,
    /// Sequence numbers of packets that never leave, not even when they are asked for.
    withheld: HashSet<u32>,
    /// Bodies of the key messages sent, each once.
    announced: Vec<Vec<u8>>,
}

/// How a key message begins.
const KEY_MESSAGE: [u8; 4] = [0xff, 0xff, 0, 3];
/// Where its body does.
const BODY_AT: usize = 16;

fn now(origin: Instant) -> Time {
    // Far from zero, so that nothing rests on a small clock.
    Time::ZERO + Duration::from_secs(1_000) + origin.elapsed()
}

impl Publisher {
    /// Connects under this StreamID, with `seed` for socket id and first sequence number.
    pub fn connect(to: SocketAddr, stream_id: &str, seed: u32) -> Result<Self> {
        Self::connect_with(to, stream_id, seed, None)
    }

    /// The same with a passphrase.
    pub fn connect_with(
        to: SocketAddr,
        stream_id: &str,
        seed: u32,
        secret: Option<&Secret<'_>>,
    ) -> Result<Self> {
        let here: IpAddr = if to.is_ipv4() { "127.0.0.1".parse()? } else { "::1".parse()? };
        Self::connect_from(here, to, stream_id, seed, secret)
    }

    /// The same from an address of this machine: another one looks like another host.
    pub fn connect_from(
        here: IpAddr,
        to: SocketAddr,
        stream_id: &str,
        seed: u32,
        secret: Option<&Secret<'_>>,
    ) -> Result<Self> {
        let socket = UdpSocket::bind((here, 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(Duration::from_millis(5)))?;
        let origin = Instant::now();
        let initiator = secret.map(|secret| secret.initiator(seed)).transpose()?;
        let config = config(to, stream_id, seed, initiator.as_ref())?;
        let connected = handshake(&socket, config, origin)?;
        let tag = initiator.as_ref().map_or(0, |initiator| initiator.suite().overhead());
        let mut sender = Sender::new(SEND_BUFFER_PACKETS, u16::try_from(PAYLOAD_BYTES + tag)?);
        sender.open(&connected, now(origin));
        if let Some(initiator) = initiator {
            sender.secure(Box::new(initiator));
        }
        socket.set_nonblocking(true)?;
        let next = connected.initial_sequence;
        let withheld = HashSet::new();
        Ok(Self { socket, sender, connected, origin, next, withheld, announced: Vec::new() })
    }

    /// What it has counted.
    pub const fn stats(&self) -> &SenderStats {
        self.sender.stats()
    }

    /// The socket id that the listener gave.
    pub const fn listener_socket_id(&self) -> u32 {
        self.connected.peer_socket_id
    }

    /// Its first sequence number.
    pub const fn initial_sequence(&self) -> Sequence {
        self.connected.initial_sequence
    }

    /// Packets that the listener lets be in flight.
    pub const fn flow_window(&self) -> u32 {
        self.connected.flow_window
    }

    /// The delay that the listener says it delivers with.
    pub const fn peer_latency_ms(&self) -> u16 {
        self.connected.peer_latency_ms
    }

    /// The messages with which it announced its keys, after the first.
    pub fn announced(&self) -> &[Vec<u8>] {
        &self.announced
    }

    /// This publisher's own address.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// Sends one payload of at most [`PAYLOAD_BYTES`].
    pub fn send(&mut self, payload: &[u8]) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self
            .sender
            .push(now(self.origin), payload.len(), |place| place.copy_from_slice(payload))
        {
            if self.sender.state() != SenderState::Open {
                bail!("the connection is {:?}", self.sender.state());
            }
            if Instant::now() > deadline {
                bail!("the send buffer stays full");
            }
            self.pump()?;
            std::thread::yield_now();
        }
        self.next = self.next.add(1);
        self.pump()
    }

    /// Takes a payload as [`Self::send`] does and loses it on every way to the listener.
    pub fn withhold(&mut self, payload: &[u8]) -> Result<()> {
        self.withheld.insert(self.next.value());
        self.send(payload)
    }

    /// Sends raw bytes, whatever they are, from this publisher's address.
    pub fn send_raw(&self, datagram: &[u8]) -> Result<()> {
        self.socket.send(datagram)?;
        Ok(())
    }

    /// Sends what is ready and takes what came.
    pub fn pump(&mut self) -> Result<()> {
        let Self { socket, sender, origin, withheld, announced, .. } = self;
        let now = now(*origin);
        let mut send = |packet: &[u8]| {
            // A data packet begins with its sequence number, a control packet with a set bit.
            let first = packet.first_chunk().map_or(0, |word| u32::from_be_bytes(*word));
            let body = packet.get(BODY_AT..).filter(|_| packet.starts_with(&KEY_MESSAGE));
            if let Some(body) = body.filter(|body| announced.last().is_none_or(|it| it != body)) {
                announced.push(body.to_vec());
            }
            if !withheld.contains(&first) {
                // What the kernel refuses is lost, as on any path.
                let _ = socket.send(packet);
            }
        };
        while let Some(run) = sender.next_run(now, 64) {
            run.bytes.chunks(run.segment_bytes).for_each(&mut send);
        }
        let mut buffer = [0; 2_048];
        while let Ok(len) = socket.recv(&mut buffer) {
            sender.handle_datagram(now, &buffer[..len], &mut send);
        }
        sender.handle_timeout(now, &mut send);
        Ok(())
    }

    /// Sends a transport stream at `bits_per_second`, then waits until all of it is acknowledged.
    pub fn send_stream(&mut self, stream: &[u8], bits_per_second: u64) -> Result<()> {
        self.send_stream_without(stream, bits_per_second, |_| false)
    }

    /// The same; payloads whose number `is_lost` says yes to are withheld.
    pub fn send_stream_without(
        &mut self,
        stream: &[u8],
        bits_per_second: u64,
        is_lost: impl Fn(u64) -> bool,
    ) -> Result<()> {
        let start = Instant::now();
        let mut sent: u64 = 0;
        for (number, payload) in (0..).zip(stream.chunks(PAYLOAD_BYTES)) {
            let due = Duration::from_nanos(sent * 8 * 1_000_000_000 / bits_per_second);
            while start.elapsed() < due {
                self.pump()?;
                std::thread::sleep(Duration::from_micros(200));
            }
            if is_lost(number) {
                self.withhold(payload)?;
            } else {
                self.send(payload)?;
            }
            sent += payload.len() as u64;
        }
        self.drain()
    }

    /// Waits until everything sent is acknowledged or given up.
    pub fn drain(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.sender.in_flight() + self.sender.waiting() > 0 {
            if Instant::now() > deadline {
                bail!("{} packets stay unacknowledged", self.sender.in_flight());
            }
            self.pump()?;
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    }

    /// Whether the connection is still open, as this side knows.
    pub fn is_open(&mut self) -> Result<bool> {
        self.pump()?;
        Ok(self.sender.state() == SenderState::Open)
    }

    /// Says goodbye.
    pub fn close(mut self) -> Result<()> {
        let socket = &self.socket;
        self.sender.close(now(self.origin), &mut |packet| {
            let _ = socket.send(packet);
        });
        Ok(())
    }
}

/// A data packet of a session, to be sent raw: the `number`-th, as its sender's clock shows
/// `sent_us`.
pub fn data_packet(publisher: &Publisher, number: u32, sent_us: u32) -> Vec<u8> {
    /// Alone in its message, in order, in clear text.
    const SOLO: u32 = 0xe000_0000;
    let sequence = publisher.initial_sequence().add(number).value();
    let message = (number + 1) & 0x03ff_ffff;
    let words = [sequence, SOLO | message, sent_us, publisher.listener_socket_id()];
    let mut packet: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    packet.resize(16 + PAYLOAD_BYTES, 0x47);
    packet
}

fn config(
    to: SocketAddr,
    stream_id: &str,
    seed: u32,
    initiator: Option<&Initiator>,
) -> Result<CallerConfig> {
    // Another id is another attempt, though the kernel may give its socket the same port again: the
    // listener repeats its answer to one it knows.
    let name = stream_id.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31) ^ u32::from(byte));
    let socket_id = (name.wrapping_mul(0x9e37_79b9) >> 3).max(1);
    let initial = Sequence::new(seed.wrapping_mul(0x85eb_ca6b) & Sequence::MASK);
    let mut config = CallerConfig::live(socket_id, initial, to.ip());
    config.stream_id = StreamId::new(stream_id.as_bytes()).context("a StreamID fits 512 bytes")?;
    config.key_material = initiator.and_then(Initiator::material);
    Ok(config)
}

fn handshake(socket: &UdpSocket, config: CallerConfig, origin: Instant) -> Result<Connected> {
    let mut caller = Caller::new(config, now(origin));
    let mut send = |packet: &[u8]| {
        let _ = socket.send(packet);
    };
    let mut buffer = [0; 2_048];
    loop {
        caller.handle_timeout(now(origin), &mut send);
        if let Ok(len) = socket.recv(&mut buffer) {
            caller.handle_datagram(now(origin), &buffer[..len], &mut send);
        }
        match caller.state() {
            CallerState::Connected(connected) => return Ok(connected),
            CallerState::Failed(Failure::Rejected(reason)) => {
                return Err(Refused::Rejected(reason).into());
            }
            CallerState::Failed(Failure::Refused(reason)) => {
                return Err(Refused::Insecure(reason).into());
            }
            CallerState::Failed(failure) => {
                return Err(Refused::Failed(format!("{failure:?}")).into());
            }
            CallerState::Induction | CallerState::Conclusion(_) => {}
        }
    }
}
