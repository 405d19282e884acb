//! SRT handshakes put together by hand: what no well-behaved caller sends, and what a caller hears
//! byte by byte.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use srt::control::{Control, encode_handshake_header};
use srt::handshake::{
    Capabilities, ExtensionWriter, Handshake, INDUCTION_REQUEST_FIELD, Kind, SRT_VERSION, StreamId,
    extension, field, flag,
};
use srt::packet::Packet;
use srt::sequence::Sequence;

use crate::system::PATIENCE;

/// How long an answer may take before the question is repeated.
const REPEAT: Duration = Duration::from_millis(250);

/// A caller over a plain UDP socket, one message at a time.
#[derive(Debug)]
pub struct RawCaller {
    socket: UdpSocket,
    to: SocketAddr,
    /// The socket id it gives itself.
    pub id: u32,
}

impl RawCaller {
    /// A caller with a port of its own.
    pub fn new(to: SocketAddr, id: u32) -> Result<Self> {
        let any = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        Self::at(any, to, id)
    }

    /// A caller at this address of the machine, with a port of its own.
    pub fn at(from: IpAddr, to: SocketAddr, id: u32) -> Result<Self> {
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(REPEAT))?;
        Ok(Self { socket, to, id })
    }

    /// Its own address.
    pub fn local(&self) -> Result<SocketAddr> {
        Ok(self.socket.local_addr()?)
    }

    /// The first message of a handshake.
    pub fn induction(&self) -> Handshake {
        Handshake {
            version: 4,
            encryption: 0,
            extension: INDUCTION_REQUEST_FIELD,
            initial_sequence: Sequence::new(1_000),
            mtu: 1_500,
            flow_window: 8_192,
            kind: Kind::Induction,
            socket_id: self.id,
            cookie: 0,
            peer: self.to.ip(),
        }
    }

    /// The second message, which needs [`hello`] behind it.
    pub fn conclusion(&self, cookie: u32) -> Handshake {
        Handshake {
            version: 5,
            extension: field::HSREQ | field::CONFIG,
            kind: Kind::Conclusion,
            cookie,
            ..self.induction()
        }
    }

    /// Sends bytes as they are.
    pub fn send(&self, datagram: &[u8]) -> Result<()> {
        self.socket.send(datagram)?;
        Ok(())
    }

    /// The next datagram, if one comes soon.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 2_048];
        let len = self.socket.recv(&mut buffer).ok()?;
        Some(buffer[..len].to_vec())
    }

    /// Takes everything that has come until now, without waiting.
    pub fn receive_all(&self) -> Result<Vec<Vec<u8>>> {
        self.socket.set_nonblocking(true)?;
        let all = std::iter::from_fn(|| self.receive()).collect();
        self.socket.set_nonblocking(false)?;
        Ok(all)
    }

    /// Sends a message again and again until it is answered.
    pub fn ask(&self, message: &[u8]) -> Result<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.send(message)?;
            if let Some(answer) = self.receive() {
                return Ok(answer);
            }
        }
        bail!("no answer within {PATIENCE:?}")
    }

    /// The cookie the listener gives this caller.
    pub fn cookie(&self) -> Result<u32> {
        let answer = self.ask(&message(&self.induction(), &[]))?;
        Ok(read(&answer)?.cookie)
    }

    /// The reject code with which a conclusion is answered, or `None` when it is accepted.
    pub fn refusal(&self, conclusion: &Handshake, extensions: &[u8]) -> Result<Option<u32>> {
        loop {
            let answer = self.ask(&message(conclusion, extensions))?;
            match read(&answer)?.kind {
                Kind::Rejected(reason) => return Ok(Some(reason.code())),
                Kind::Conclusion => return Ok(None),
                // A late answer to an induction that was repeated.
                Kind::Induction => {}
                other => bail!("answered with {other:?}"),
            }
        }
    }
}

/// A whole handshake packet to the listener.
pub fn message(handshake: &Handshake, extensions: &[u8]) -> Vec<u8> {
    let mut bytes = encode_handshake_header(7, 0).to_vec();
    bytes.extend(handshake.encode());
    bytes.extend(extensions);
    bytes
}

/// The handshake in a packet.
pub fn read(packet: &[u8]) -> Result<Handshake> {
    match Packet::parse(packet) {
        Ok(Packet::Control(_, Control::Handshake(body))) => {
            Ok(Handshake::parse(body).context("a handshake body")?.0)
        }
        other => bail!("not a handshake: {other:?}"),
    }
}

/// HSREQ of a live sender, and its StreamID unless empty.
pub fn hello(latency_ms: u16, stream_id: &str) -> Vec<u8> {
    hello_with(flag::TSBPDSND | flag::TSBPDRCV | flag::TLPKTDROP, latency_ms, stream_id)
}

/// HSREQ with these flags.
pub fn hello_with(flags: u32, latency_ms: u16, stream_id: &str) -> Vec<u8> {
    let mut out = [0; 1_024];
    let mut writer = ExtensionWriter::new(&mut out);
    let capabilities = Capabilities {
        version: SRT_VERSION,
        flags,
        receiver_latency_ms: latency_ms,
        sender_latency_ms: latency_ms,
    };
    writer.capabilities(extension::HSREQ, &capabilities);
    if !stream_id.is_empty() {
        let text = StreamId::new(stream_id.as_bytes()).expect("a StreamID fits 512 bytes");
        writer.text(extension::STREAM_ID, &text);
    }
    let len = writer.finish().expect("both blocks fit");
    out[..len].to_vec()
}

/// A key material message, refresh or answer to one, to the connection `to`.
pub fn key_message(subtype: u16, body: &[u8], to: u32) -> Vec<u8> {
    let mut packet = vec![0xff, 0xff];
    packet.extend(subtype.to_be_bytes());
    packet.extend([0; 8]);
    packet.extend(to.to_be_bytes());
    packet.extend(body);
    packet
}

/// An extension block of bytes as they are; `words` is the length that it claims.
pub fn claimed(kind: u16, words: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &words.to_be_bytes(), content].concat()
}

/// Any extension block.
pub fn block(kind: u16, words: &[u32]) -> Vec<u8> {
    let mut out = [0; 1_024];
    let mut writer = ExtensionWriter::new(&mut out);
    writer.raw(kind, words);
    let len = writer.finish().expect("the block fits");
    out[..len].to_vec()
}
