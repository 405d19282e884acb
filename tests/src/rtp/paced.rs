//! Packets with the header of RFC 3550, sent when they are due.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

/// Ticks of video a second.
const CLOCK_HZ: u64 = 90_000;

/// What a packet of a unit carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The unit that it is of, from 0.
    pub unit: usize,
    /// When that is shown, in ticks from the first unit on.
    pub ticks: u64,
    /// The marker.
    pub marker: bool,
    /// Payload header and payload.
    pub payload: Vec<u8>,
}

/// One source.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    /// Its SSRC.
    pub ssrc: u32,
    /// Its payload type.
    pub payload_type: u8,
    /// Sequence number of its first packet.
    pub sequence: u16,
    /// Timestamp of its first unit.
    pub timestamp: u32,
}

impl Stream {
    /// One that passes the wrap of its sequence numbers early.
    pub const fn new(ssrc: u32) -> Self {
        Self { ssrc, payload_type: 96, sequence: 65_500, timestamp: 1_000_000 }
    }

    /// The packets as they go on the wire.
    pub fn datagrams(&self, packets: &[Packet]) -> Vec<Datagram> {
        let datagram = |(number, packet): (usize, &Packet)| {
            let [.., high, low] = number.to_be_bytes();
            let sequence = self.sequence.wrapping_add(u16::from_be_bytes([high, low]));
            let [.., a, b, c, d] = (u64::from(self.timestamp) + packet.ticks).to_be_bytes();
            let marker = u8::from(packet.marker) << 7;
            let mut bytes = vec![0x80, marker | self.payload_type];
            bytes.extend(sequence.to_be_bytes());
            bytes.extend([a, b, c, d]);
            bytes.extend(self.ssrc.to_be_bytes());
            bytes.extend(&packet.payload);
            let due = Duration::from_micros(packet.ticks * 1_000_000 / CLOCK_HZ);
            Datagram { unit: packet.unit, due, bytes }
        };
        packets.iter().enumerate().map(datagram).collect()
    }

    /// An empty report and a goodbye (RFC 3550, 6.4.2 and 6.6).
    fn goodbye(&self) -> Vec<u8> {
        let ssrc = self.ssrc.to_be_bytes();
        [&[0x80, 201, 0, 1][..], &ssrc, &[0x81, 203, 0, 1], &ssrc].concat()
    }
}

/// A packet on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The unit that it is of, from 0.
    pub unit: usize,
    /// When it is sent, from the start on.
    pub due: Duration,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// The packets of a capture, as if their source were `ssrc`, and what they are numbered and stamped
/// from. A record is a port's index (1 byte), microseconds since the first (4), a length (2) and a
/// datagram; RTCP has the second port.
pub fn recorded(file: &Path, ssrc: u32) -> Result<(Stream, Vec<Datagram>)> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    let (mut rest, mut datagrams, mut stamps) = (&bytes[..], Vec::new(), Vec::new());
    while let [port, a, b, c, d, e, f, behind @ ..] = rest {
        let micros = u32::from_be_bytes([*a, *b, *c, *d]);
        let (datagram, behind) = behind.split_at(u16::from_be_bytes([*e, *f]).into());
        rest = behind;
        if *port != 0 {
            continue;
        }
        let stamp = u32::from_be_bytes(datagram[4..8].try_into()?);
        if stamps.last() != Some(&stamp) {
            stamps.push(stamp);
        }
        let bytes = [&datagram[..8], &ssrc.to_be_bytes(), &datagram[12..]].concat();
        let due = Duration::from_micros(micros.into());
        datagrams.push(Datagram { unit: stamps.len() - 1, due, bytes });
    }
    let first = datagrams.first().context("an empty capture")?;
    let stream = Stream {
        ssrc,
        payload_type: first.bytes[1] & 0x7f,
        sequence: u16::from_be_bytes([first.bytes[2], first.bytes[3]]),
        timestamp: stamps[0],
    };
    Ok((stream, datagrams))
}

/// Sends datagrams to a port of this machine in real time and says goodbye.
#[derive(Debug)]
pub struct Sender {
    thread: JoinHandle<Result<()>>,
    go_on: mpsc::Sender<()>,
}

impl Sender {
    /// Starts it: it sends its first unit and waits to be told to [`go_on`](Self::go_on). Its goodbye
    /// comes on the port of its packets (RFC 5761), so that it comes last.
    pub fn start(stream: Stream, datagrams: Vec<Datagram>, port: u16) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        let (go_on, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let first = datagrams.first().map(|datagram| datagram.unit);
            let later = datagrams.iter().position(|datagram| Some(datagram.unit) != first);
            let (first, later) = datagrams.split_at(later.unwrap_or(datagrams.len()));
            send(&socket, first)?;
            told.recv()?;
            send(&socket, later)?;
            socket.send(&stream.goodbye())?;
            Ok(())
        });
        Ok(Self { thread, go_on })
    }

    /// Tells it to go on.
    pub fn go_on(&self) -> Result<()> {
        self.go_on.send(()).context("the sender has ended")
    }

    /// Waits until everything is sent.
    pub fn end(self) -> Result<()> {
        self.thread.join().map_err(|_| anyhow!("the sender panicked"))?
    }
}

fn send(socket: &UdpSocket, datagrams: &[Datagram]) -> Result<()> {
    let start = Instant::now();
    let from = datagrams.first().map_or(Duration::ZERO, |datagram| datagram.due);
    for datagram in datagrams {
        std::thread::sleep((datagram.due - from).saturating_sub(start.elapsed()));
        socket.send(&datagram.bytes)?;
    }
    Ok(())
}
