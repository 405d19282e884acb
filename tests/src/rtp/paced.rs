//! Packets with the header of RFC 3550, sent when they are due.

use std::net::{Ipv4Addr, UdpSocket};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

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

/// Sends datagrams to a port of this machine in real time and says goodbye.
#[derive(Debug)]
pub struct Sender {
    thread: JoinHandle<Result<()>>,
}

impl Sender {
    /// Starts it. Its goodbye comes on the port of its packets (RFC 5761), so that it comes last.
    pub fn start(stream: Stream, datagrams: Vec<Datagram>, port: u16) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            for datagram in &datagrams {
                std::thread::sleep(datagram.due.saturating_sub(start.elapsed()));
                socket.send(&datagram.bytes)?;
            }
            socket.send(&stream.goodbye())?;
            Ok(())
        });
        Ok(Self { thread })
    }

    /// Waits until everything is sent.
    pub fn end(self) -> Result<()> {
        self.thread.join().map_err(|_| anyhow!("the sender panicked"))?
    }
}
