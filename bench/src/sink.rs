//! `penstock-bench sink`: the floor of SRT reception. It answers handshakes and acknowledges what
//! comes, on one socket and one thread, and does nothing else: no reordering, no loss reports, no
//! delivery times, no look at the payload.
//!
//! It receives by `recvmmsg`, or by the dataplane's own ring, which can wait in the same way.

use std::io::IoSliceMut;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use memory::{Slab, Time};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};
use srt::control::{AckRates, AckTiming, encode_full_ack, encode_light_ack};
use srt::packet::{HEADER_BYTES, PACKET_BYTES_MAX, destination};
use srt::sequence::Sequence;
use srt::{Connection, ConnectionConfig, Listener, ListenerEvent, REJECTION_BYTES};
use uring::{Ring, RingConfig};

use crate::clock;

/// Datagrams taken by one call of `recvmmsg`.
const BATCH: usize = 64;
/// A light acknowledgement goes out after so many packets.
const LIGHT_ACK_PACKETS: u32 = 64;
const FULL_ACK_INTERVAL: Duration = Duration::from_millis(10);
/// The window that is advertised: one that never limits.
const WINDOW_PACKETS: u32 = 25_600;
/// Socket ids count from here.
const FIRST_ID: u32 = 0x1000;
/// What every receiver of the comparison asks for.
const RECEIVE_BUFFER_BYTES: usize = 64_000_000;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    bind: SocketAddr,
    /// How to receive
    #[arg(long, value_enum, default_value_t = Way::Recvmmsg)]
    by: Way,
    /// Let datagrams gather for so long: recvmmsg sleeps after a wake-up, the ring waits at least
    /// so long
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    wait_us: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Way {
    /// poll, then recvmmsg until nothing is left
    Recvmmsg,
    /// Multishot recvmsg of the dataplane's ring
    Ring,
}

/// Runs until SIGTERM or SIGINT, then says what came.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let mut sink = Sink::new();
    match arguments.by {
        Way::Recvmmsg => sink.run_recvmmsg(arguments, &stop)?,
        Way::Ring => sink.run_ring(arguments, &stop)?,
    }
    println!(
        "{{\"packets\":{},\"bytes\":{},\"connections\":{},\"gaps\":{}}}",
        sink.packets,
        sink.bytes,
        sink.sessions.len(),
        sink.gaps
    );
    Ok(())
}

/// What is known of one publisher.
struct Session {
    peer: SocketAddr,
    peer_id: u32,
    request: srt::ConnectRequest,
    answer: srt::Answer,
    next: Sequence,
    acknowledged: Sequence,
    since_ack: u32,
    acks: u32,
}

struct Sink {
    listener: Listener,
    sessions: Vec<Session>,
    packets: u64,
    bytes: u64,
    gaps: u64,
    next_acks: Time,
}

impl Sink {
    const fn new() -> Self {
        Self {
            listener: Listener::new([0x5a; 16]),
            sessions: Vec::new(),
            packets: 0,
            bytes: 0,
            gaps: 0,
            next_acks: Time::ZERO,
        }
    }

    fn run_recvmmsg(&mut self, arguments: &Arguments, stop: &AtomicBool) -> Result<()> {
        let bind = arguments.bind;
        let socket = Socket::new(Domain::for_address(bind), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        socket.bind(&bind.into()).with_context(|| format!("cannot bind {bind}"))?;
        let socket: UdpSocket = socket.into();
        let mut buffers = Box::new([[0u8; PACKET_BYTES_MAX]; BATCH]);
        let mut headers = MultiHeaders::preallocate(BATCH, None);
        while !stop.load(Ordering::Relaxed) {
            wait(&socket, arguments.wait_us);
            let now = clock::now();
            while self.receive_batch(now, &socket, &mut buffers, &mut headers)? == BATCH {}
            self.acknowledge_all(now, &mut |peer, bytes| send(&socket, peer, bytes));
        }
        Ok(())
    }

    fn receive_batch(
        &mut self,
        now: Time,
        socket: &UdpSocket,
        buffers: &mut [[u8; PACKET_BYTES_MAX]; BATCH],
        headers: &mut MultiHeaders<SockaddrStorage>,
    ) -> Result<usize> {
        let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let received =
            recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None);
        let received = match received {
            Ok(received) => received,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let mut count = 0;
        for message in received {
            count += 1;
            let Some(bytes) = message.iovs().next() else {
                continue;
            };
            let peer = || message.address.as_ref().and_then(address);
            self.handle(now, peer, bytes, &mut |to, reply| send(socket, to, reply));
        }
        Ok(count)
    }

    fn run_ring(&mut self, arguments: &Arguments, stop: &AtomicBool) -> Result<()> {
        let config = RingConfig::default();
        let slots = u32::from(config.buffer_entries) * 2;
        let mut ring = Ring::new(&config, Slab::new(slots)?)?;
        let opened = uring::socket::open(arguments.bind, RECEIVE_BUFFER_BYTES)?;
        let index = ring.add_socket(opened.fd)?;
        let gather = Duration::from_micros(arguments.wait_us);
        let mut replies: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            ring.wait(gather, FULL_ACK_INTERVAL)?;
            let now = clock::now();
            let mut out = |peer, bytes: &[u8]| replies.push((peer, bytes.to_vec()));
            while let Some(received) = ring.next() {
                let peer = || Some(received.peer);
                self.handle(now, peer, received.datagram.payload(), &mut out);
            }
            self.acknowledge_all(now, &mut out);
            for (peer, bytes) in replies.drain(..) {
                ring.send(index, peer, &bytes);
            }
        }
        ring.close()?;
        Ok(())
    }

    fn handle(
        &mut self,
        now: Time,
        peer: impl FnOnce() -> Option<SocketAddr>,
        datagram: &[u8],
        out: &mut impl FnMut(SocketAddr, &[u8]),
    ) {
        match destination(datagram) {
            Some(0) => {
                if let Some(peer) = peer() {
                    self.handshake(now, peer, datagram, out);
                }
            }
            Some(id) => self.data(now, id, datagram, out),
            None => {}
        }
    }

    fn data(
        &mut self,
        now: Time,
        id: u32,
        datagram: &[u8],
        out: &mut impl FnMut(SocketAddr, &[u8]),
    ) {
        let index = id.wrapping_sub(FIRST_ID) as usize;
        let (Some(session), Some(first)) =
            (self.sessions.get_mut(index), datagram.first_chunk::<4>())
        else {
            return;
        };
        let first = u32::from_be_bytes(*first);
        if first >> 31 == 1 || datagram.len() < HEADER_BYTES {
            return; // control: nothing to do for a sink
        }
        let sequence = Sequence::new(first);
        if sequence != session.next {
            self.gaps += 1;
        }
        if !sequence.is_before(session.next) {
            session.next = sequence.next();
        }
        self.packets += 1;
        self.bytes += (datagram.len() - HEADER_BYTES) as u64;
        session.since_ack += 1;
        if session.since_ack >= LIGHT_ACK_PACKETS {
            session.since_ack = 0;
            let timestamp_us = low32(now.micros());
            out(session.peer, &encode_light_ack(session.next, timestamp_us, session.peer_id));
        }
    }

    /// Full acknowledgements of what has moved, every 10 ms.
    fn acknowledge_all(&mut self, now: Time, out: &mut impl FnMut(SocketAddr, &[u8])) {
        if now < self.next_acks {
            return;
        }
        self.next_acks = now + FULL_ACK_INTERVAL;
        let timing =
            AckTiming { rtt_us: 1_000, rtt_variance_us: 100, available_packets: WINDOW_PACKETS };
        for session in &mut self.sessions {
            if session.next == session.acknowledged {
                continue;
            }
            session.acknowledged = session.next;
            session.since_ack = 0;
            session.acks += 1;
            let ack = encode_full_ack(
                session.acks,
                session.next,
                &timing,
                &AckRates::default(),
                low32(now.micros()),
                session.peer_id,
            );
            out(session.peer, &ack);
        }
    }

    fn handshake(
        &mut self,
        now: Time,
        peer: SocketAddr,
        datagram: &[u8],
        out: &mut impl FnMut(SocketAddr, &[u8]),
    ) {
        let mut reply = [0; REJECTION_BYTES];
        match self.listener.handle(now, peer, datagram, &mut reply) {
            ListenerEvent::Reply(len) | ListenerEvent::Rejected(len, _) => {
                out(peer, &reply[..len]);
            }
            ListenerEvent::Conclusion(request) => {
                out(peer, self.answer(&request, now).as_bytes());
            }
            ListenerEvent::BadCookie | ListenerEvent::Invalid(_) => {}
        }
    }

    /// The answer to a conclusion, the same for the same attempt.
    fn answer(&mut self, request: &srt::ConnectRequest, now: Time) -> srt::Answer {
        let known = self.sessions.iter().find(|session| session.request.is_same_attempt(request));
        if let Some(session) = known {
            return session.answer;
        }
        let id = FIRST_ID + u32::try_from(self.sessions.len()).unwrap_or(0);
        let config = ConnectionConfig {
            local_id: id,
            latency: Duration::from_millis(120),
            flow_window: WINDOW_PACKETS,
            slots_max: WINDOW_PACKETS,
            peer_idle_timeout: Duration::from_secs(5),
            reorder_tolerance: 0,
        };
        // Made for its answer only.
        let answer = Connection::new(WINDOW_PACKETS).open(request, &config, None, now);
        self.sessions.push(Session {
            peer: request.peer,
            peer_id: request.caller_id,
            request: *request,
            answer,
            next: request.initial_sequence,
            acknowledged: request.initial_sequence,
            since_ack: 0,
            acks: 0,
        });
        answer
    }
}

/// Waits until something is there or acknowledgements are due.
fn wait(socket: &UdpSocket, gather_us: u64) {
    let timeout = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    // An interruption by a signal ends the wait as a timeout does.
    let ready = poll(&mut fds, Some(&timeout)).unwrap_or(0);
    if ready > 0 && gather_us > 0 {
        std::thread::sleep(Duration::from_micros(gather_us));
    }
}

fn send(socket: &UdpSocket, peer: SocketAddr, bytes: &[u8]) {
    // A floor loses what does not leave: the load says so.
    let _ = socket.send_to(bytes, peer);
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = storage.as_sockaddr_in() {
        return Some(SocketAddrV4::from(*v4).into());
    }
    storage.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into())
}

fn low32(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0)
}
