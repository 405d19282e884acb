//! One publisher of the load: its own source socket, its handshake or its sender, and its place
//! in the clip.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use memory::Time;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use srt::caller::{Caller, CallerConfig, CallerState, Failure};
use srt::crypto::{Initiator, Passphrase, Refresh, Suite};
use srt::handshake::StreamId;
use srt::packet::{HEADER_BYTES, PACKET_BYTES_MAX};
use srt::sender::{Sender, SenderState, SenderStats};
use srt::sequence::Sequence;

use crate::clip::{Clip, Cursor};
use crate::ts::PACKET;

/// Transport packets in one SRT packet.
const TS_PER_PACKET: usize = 7;
/// Payload of one SRT packet.
pub(crate) const PAYLOAD: usize = TS_PER_PACKET * PACKET;
/// Most packets of one segmented send: UDP carries at most 65,507 bytes.
pub(crate) const GSO_PACKETS_MAX: u32 = 44;

/// What all connections have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionOptions {
    /// TSBPD delay asked for.
    pub(crate) latency_ms: u16,
    /// Whether the packets of one burst leave in one segmented send.
    pub(crate) gso: bool,
    /// Packets of the send buffer.
    pub(crate) buffer_packets: u32,
    /// Of a million first transmissions so many are left out.
    pub(crate) omit_ppm: u32,
    /// How long the handshake may take.
    pub(crate) connect_timeout: Duration,
}

/// How all connections encrypt.
#[derive(Debug)]
pub(crate) struct Secret {
    /// What both sides know.
    pub(crate) passphrase: Passphrase,
    /// With what.
    pub(crate) suite: Suite,
}

impl Secret {
    fn initiator(&self, seed: u32) -> Result<Initiator> {
        // Keys of a benchmark: distinct, not secret.
        let mut random = [7; 32];
        random[..4].copy_from_slice(&seed.to_be_bytes());
        Initiator::new(&self.passphrase, self.suite, Refresh::default(), &random)
            .context("the key material has no sense")
    }
}

/// One publisher.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: UdpSocket,
    caller: Caller,
    sender: Sender,
    /// Until the handshake is over.
    initiator: Option<Box<Initiator>>,
    cursor: Cursor,
    omission: Omission,
    gso: bool,
    send_errors: u64,
    withheld: u64,
}

impl Connection {
    /// Opens the socket and prepares the first handshake message.
    pub(crate) fn open(
        number: u32,
        to: SocketAddr,
        options: &ConnectionOptions,
        secret: Option<&Secret>,
        now: Time,
    ) -> Result<Self> {
        let tag = secret.map_or(0, |secret| secret.suite.overhead());
        let socket = open_socket(to, options.gso.then_some(HEADER_BYTES + PAYLOAD + tag))?;
        let stream_id = StreamId::new(stream_id(number).as_bytes()).context("stream id")?;
        // Distinct and, from run to run, unlike: what a random draw would give.
        let seed =
            (number + 1).wrapping_mul(0x9e37_79b9) ^ std::process::id().wrapping_mul(0x85eb_ca6b);
        let initiator = secret.map(|secret| secret.initiator(seed)).transpose()?;
        let config = CallerConfig {
            key_material: initiator.as_ref().and_then(Initiator::material),
            latency_ms: options.latency_ms,
            stream_id,
            connect_timeout: options.connect_timeout,
            ..CallerConfig::live(seed >> 2 | 1, Sequence::new(seed.rotate_left(7)), to.ip())
        };
        Ok(Self {
            socket,
            caller: Caller::new(config, now),
            sender: Sender::new(options.buffer_packets, u16::try_from(PAYLOAD + tag)?),
            initiator: initiator.map(Box::new),
            cursor: Cursor::new(number),
            omission: Omission::new(seed, options.omit_ppm),
            gso: options.gso && options.omit_ppm == 0,
            send_errors: 0,
            withheld: 0,
        })
    }

    /// The socket, to be watched.
    pub(crate) const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// Handshake messages, keepalives and drops that are due.
    pub(crate) fn handle_timeout(&mut self, now: Time) {
        let mut out = Out::new(&self.socket, &mut self.send_errors);
        match self.caller.state() {
            CallerState::Connected(_) => self.sender.handle_timeout(now, &mut |p| out.send(p)),
            _ => self.caller.handle_timeout(now, &mut |p| out.send(p)),
        }
    }

    /// Takes everything the socket holds.
    pub(crate) fn receive(&mut self, now: Time) {
        let mut datagram = [0u8; PACKET_BYTES_MAX];
        loop {
            match self.socket.recv(&mut datagram) {
                Ok(len) => self.handle_datagram(now, &datagram[..len]),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => return,
            }
        }
    }

    fn handle_datagram(&mut self, now: Time, datagram: &[u8]) {
        let mut out = Out::new(&self.socket, &mut self.send_errors);
        if self.sender.state() != SenderState::Idle {
            self.sender.handle_datagram(now, datagram, &mut |p| out.send(p));
            return;
        }
        self.caller.handle_datagram(now, datagram, &mut |p| out.send(p));
        if let CallerState::Connected(connected) = self.caller.state() {
            self.sender.open(&connected, now);
            if let Some(initiator) = self.initiator.take() {
                self.sender.secure(initiator);
            }
        }
    }

    /// Adds `packets` to the stream and sends what the window allows.
    pub(crate) fn send(&mut self, clip: &Clip, packets: u32, now: Time) {
        for _ in 0..packets {
            let cursor = &mut self.cursor;
            if !self.sender.push(now, PAYLOAD, |payload| cursor.fill(clip, payload)) {
                self.withheld += 1;
            }
        }
        let most = if self.gso { GSO_PACKETS_MAX } else { 1 };
        let mut out = Out::new(&self.socket, &mut self.send_errors);
        while let Some(run) = self.sender.next_run(now, most) {
            if !self.omission.draw() {
                out.send(run.bytes);
            }
        }
    }

    /// True when everything sent is acknowledged.
    pub(crate) fn is_drained(&self) -> bool {
        self.sender.state() != SenderState::Open
            || self.sender.in_flight() == 0 && self.sender.waiting() == 0
    }

    /// Says goodbye.
    pub(crate) fn close(&mut self, now: Time) {
        let mut out = Out::new(&self.socket, &mut self.send_errors);
        self.sender.close(now, &mut |p| out.send(p));
    }

    /// Whether the handshake is over, and how.
    pub(crate) fn outcome(&self) -> Option<Result<(), Failure>> {
        match self.caller.state() {
            CallerState::Connected(_) => Some(Ok(())),
            CallerState::Failed(failure) => Some(Err(failure)),
            CallerState::Induction | CallerState::Conclusion(_) => None,
        }
    }

    /// Counts of the protocol.
    pub(crate) const fn stats(&self) -> &SenderStats {
        self.sender.stats()
    }

    /// Whether it still sends.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.sender.state(), SenderState::Open)
    }

    /// Packets not taken because the send buffer was full.
    pub(crate) const fn withheld(&self) -> u64 {
        self.withheld
    }

    /// Sends the kernel refused.
    pub(crate) const fn send_errors(&self) -> u64 {
        self.send_errors
    }

    /// Video frames begun so far.
    pub(crate) fn frames_started(&self, clip: &Clip) -> u64 {
        self.cursor.frames_started(clip)
    }
}

/// The id a connection publishes under.
pub(crate) fn stream_id(number: u32) -> String {
    format!("bench/{number:04}")
}

/// With the size of packets where the kernel is to cut bursts.
fn open_socket(to: SocketAddr, gso: Option<usize>) -> Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // A socket of its own gives each connection its own address, and connecting it saves the
    // kernel a route look-up a packet.
    socket.connect(&to.into())?;
    if let Some(packet_bytes) = gso {
        let segment = i32::try_from(packet_bytes)?;
        setsockopt(&socket, sockopt::UdpGsoSegment, &segment)
            .context("this kernel does not segment UDP sends")?;
    }
    Ok(socket.into())
}

/// Where packets go: the socket, refusals counted.
struct Out<'a> {
    socket: &'a UdpSocket,
    errors: &'a mut u64,
}

impl<'a> Out<'a> {
    const fn new(socket: &'a UdpSocket, errors: &'a mut u64) -> Self {
        Self { socket, errors }
    }

    fn send(&mut self, bytes: &[u8]) {
        // A refusal reported here belongs to an earlier packet (ICMP): this one did not leave.
        if self.socket.send(bytes).is_err() && self.socket.send(bytes).is_err() {
            *self.errors += 1;
        }
    }
}

/// Which first transmissions are left out: a repeatable draw (xorshift32).
#[derive(Debug)]
struct Omission {
    state: u32,
    below: u32,
}

impl Omission {
    fn new(seed: u32, ppm: u32) -> Self {
        let below = u64::from(ppm) * u64::from(u32::MAX) / 1_000_000;
        Self { state: seed | 1, below: u32::try_from(below).unwrap_or(u32::MAX) }
    }

    fn draw(&mut self) -> bool {
        if self.below == 0 {
            return false;
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        self.state < self.below
    }
}
