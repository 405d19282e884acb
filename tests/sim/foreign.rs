//! The sender of another maker: srt-protocol, the core of srt-tokio, on our clock.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use memory::Time;
use srt::crypto::{self, Refresh};
use srt_protocol::connection::{Action, DuplexConnection, Input};
use srt_protocol::options::PacketCount;
use srt_protocol::packet::{Packet, ReceivePacketResult, SeqNumber};
use srt_protocol::protocol::pending_connection::ConnectionResult;
use srt_protocol::protocol::pending_connection::connect::Connect;
use srt_protocol::settings::{
    ConnInitSettings, KeyMaterialRefreshSettings, KeySettings, KeySize, Passphrase, SocketId,
};

use crate::peer::{Call, State};
use crate::secret::Secret;

/// Its clock is std's; a virtual time is this instant and so much more.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// How often srt-tokio repeats its handshake.
const TICK: Duration = Duration::from_millis(100);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A timer that it says is due now is looked at this much later.
const SOON: Duration = Duration::from_micros(10);

fn instant(time: Time) -> Instant {
    *ORIGIN + Duration::from_nanos(time.nanos())
}

pub(crate) struct Foreign {
    stage: Stage,
    listener: SocketAddr,
    next: Time,
}

enum Stage {
    Calling { connect: Box<Connect>, until: Time },
    Connected(Box<DuplexConnection>),
    Closed,
}

impl std::fmt::Debug for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Foreign").field("next", &self.next).finish_non_exhaustive()
    }
}

impl Foreign {
    pub(crate) fn call(call: &Call, now: Time) -> Self {
        let settings = ConnInitSettings {
            local_sockid: SocketId(call.socket_id),
            send_latency: call.latency,
            recv_latency: call.latency,
            send_buffer_size: PacketCount(4_096),
            key_settings: call.keys.map(|keys| key_settings(&keys.secret)),
            key_refresh: key_refresh(call),
            ..ConnInitSettings::default()
        };
        let listener = SocketAddr::new(call.engine, 30_000);
        let connect = Connect::new(
            listener,
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            settings,
            Some(call.stream_id.clone()),
            SeqNumber::new_truncate(call.first_sequence),
        );
        let stage = Stage::Calling { connect: Box::new(connect), until: now + CONNECT_TIMEOUT };
        Self { stage, listener, next: now }
    }

    pub(crate) const fn state(&self) -> State {
        match &self.stage {
            Stage::Calling { .. } => State::Connecting,
            Stage::Connected(_) => State::Connected,
            Stage::Closed => State::Failed,
        }
    }

    pub(crate) const fn next_timeout(&self) -> Time {
        match self.stage {
            Stage::Closed => Time::NEVER,
            _ => self.next,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        if now < self.next_timeout() {
            return;
        }
        if let Stage::Calling { connect, until } = &mut self.stage {
            if now >= *until {
                self.stage = Stage::Closed;
                return;
            }
            let result = connect.handle_tick(instant(now));
            self.next = now + TICK;
            return self.follow(now, result, out);
        }
        self.input(now, Input::Timer, out);
    }

    pub(crate) fn handle_datagram(&mut self, now: Time, bytes: &[u8], out: &mut impl FnMut(&[u8])) {
        let parsed = Packet::parse(&mut &bytes[..], false);
        let Ok(packet) = parsed else { return };
        let packet: ReceivePacketResult = Ok((packet, self.listener));
        if let Stage::Calling { connect, .. } = &mut self.stage {
            let result = connect.handle_packet(packet, instant(now));
            return self.follow(now, result, out);
        }
        self.input(now, Input::Packet(packet), out);
    }

    pub(crate) fn push(&mut self, now: Time, payload: &[u8], out: &mut impl FnMut(&[u8])) -> bool {
        let data = (instant(now), Bytes::copy_from_slice(payload));
        self.input(now, Input::Data(Some(data)), out);
        matches!(self.stage, Stage::Connected(_))
    }

    /// Says that no more data comes: it sends what it has, and then goodbye.
    pub(crate) fn close(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        self.input(now, Input::Data(None), out);
    }

    fn follow(&mut self, now: Time, result: ConnectionResult, out: &mut impl FnMut(&[u8])) {
        match result {
            ConnectionResult::SendPacket((packet, _)) => send(&packet, out),
            ConnectionResult::Connected(packet, connection) => {
                if let Some((packet, _)) = packet {
                    send(&packet, out);
                }
                self.stage = Stage::Connected(Box::new(DuplexConnection::new(connection)));
                self.next = now;
            }
            ConnectionResult::Reject(..) | ConnectionResult::Failure(_) => {
                self.stage = Stage::Closed;
            }
            ConnectionResult::NotHandled(_)
            | ConnectionResult::NoAction
            | ConnectionResult::RequestAccess(_) => {}
        }
    }

    /// One input, and every action until it waits.
    fn input(&mut self, now: Time, input: Input, out: &mut impl FnMut(&[u8])) {
        let Stage::Connected(connection) = &mut self.stage else { return };
        let mut input = input;
        loop {
            input = match connection.handle_input(instant(now), input) {
                Action::SendPacket((packet, _)) => {
                    send(&packet, out);
                    Input::PacketSent
                }
                Action::ReleaseData(_) => Input::DataReleased,
                Action::UpdateStatistics(_) => Input::StatisticsUpdated,
                Action::WaitForData(wait) => {
                    self.next = now + wait.max(SOON);
                    return;
                }
                Action::Close => {
                    self.stage = Stage::Closed;
                    return;
                }
            };
        }
    }
}

fn key_settings(secret: &Secret) -> KeySettings {
    let key_size = match secret.suite.size {
        crypto::KeySize::Aes128 => KeySize::AES128,
        crypto::KeySize::Aes192 => KeySize::AES192,
        crypto::KeySize::Aes256 => KeySize::AES256,
    };
    let passphrase = Passphrase::try_from(secret.passphrase()).expect("of a length it takes");
    KeySettings { key_size, passphrase }
}

fn key_refresh(call: &Call) -> KeyMaterialRefreshSettings {
    let Some(keys) = call.keys else { return KeyMaterialRefreshSettings::default() };
    let packets = |packets: u32| usize::try_from(packets).expect("32 bits fit");
    let Refresh { every_packets, announce_packets } = keys.secret.refresh;
    KeyMaterialRefreshSettings::new(packets(every_packets), packets(announce_packets))
        .expect("a key is announced in the second half of the one before it")
}

fn send(packet: &Packet, out: &mut impl FnMut(&[u8])) {
    let mut bytes = Vec::with_capacity(1_500);
    packet.serialize(&mut bytes);
    out(&bytes);
}
