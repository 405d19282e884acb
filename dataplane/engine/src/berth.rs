//! A stream's places in shared memory.

use std::net::SocketAddr;

use memory::Time;
use shm::counters::StreamCounter;
use shm::{Cipher, EndReason, GopWriter, StreamInfo, StreamKind, StreamSlotWriter, StreamState};
use srt::crypto::{Mode, Suite};

use crate::clock;

/// A stream's places in shared memory. They go to the worker with a session and come back when
/// it ends.
#[derive(Debug)]
pub(crate) struct Berth {
    pub(crate) slot: StreamSlotWriter,
    /// Out while the session's `media::Stream` writes it.
    pub(crate) ring: Option<GopWriter>,
    /// What the slot shows.
    pub(crate) info: StreamInfo,
    /// The pressure that an operator set for the stream, in thousandths.
    pub(crate) pressure_set: Option<u16>,
}

/// Whose stream a berth is to show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guest<'a> {
    pub(crate) kind: StreamKind,
    pub(crate) id: &'a str,
    /// `None` while it is waited for.
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) peer_version: u32,
    pub(crate) worker: u16,
    /// The stream was lost and goes on.
    pub(crate) resumed: bool,
    /// What it is encrypted with.
    pub(crate) suite: Option<Suite>,
}

impl Berth {
    /// Shows readers a stream whose connection was just made.
    pub(crate) fn show_connecting(&mut self, guest: &Guest<'_>, now: Time) {
        let ring = self.ring.as_mut().expect("a berth without a session holds its ring");
        let unix_ns = clock::unix_nanos();
        let mut info = if guest.resumed { self.info } else { StreamInfo::default() };
        info.id = shm::StreamId::new(guest.id).expect("an id that was examined fits");
        info.kind = guest.kind;
        // One that is waited for stays lost, and its frames can be read until its publisher comes.
        let lost = guest.resumed && guest.peer.is_none();
        if !lost {
            info.state = StreamState::Connecting;
            info.end = EndReason::None;
            info.ended_unix_ns = 0;
            info.ring_generation = ring.start_generation();
        }
        info.source = guest.peer;
        info.worker = guest.worker;
        info.created_unix_ns = if guest.resumed { info.created_unix_ns } else { unix_ns };
        info.connected_unix_ns = unix_ns;
        info.ring = Some(ring.ring());
        info.peer_version = guest.peer_version;
        info.cipher = match guest.suite.map(|suite| suite.mode) {
            None => Cipher::None,
            Some(Mode::Ctr) => Cipher::AesCtr,
            Some(Mode::Gcm) => Cipher::AesGcm,
        };
        info.key_bits = guest.suite.map_or(0, |suite| suite.size.bits());
        self.info = info;
        if guest.resumed {
            self.slot.set_info(&info);
        } else {
            self.pressure_set = None;
            self.slot.open(&info);
        }
        if guest.peer.is_none() {
            return;
        }
        self.slot.add(StreamCounter::Connections, 1);
        // From here on silence counts.
        self.slot.set(StreamCounter::LastReceivedNs, now.nanos());
    }

    /// Keeps an operator's pressure for the next session, and shows it.
    pub(crate) fn set_pressure(&mut self, permille: Option<u16>) {
        self.pressure_set = permille;
        self.slot.set(StreamCounter::PressureSet, permille.is_some().into());
        self.slot.set(StreamCounter::PressurePermille, permille.unwrap_or(0).into());
    }
}
