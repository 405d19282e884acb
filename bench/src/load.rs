//! The paced load: N connections, one thread, one schedule.
//!
//! Turn k belongs to connection k mod N and is due at `start + k × gap`, so the rate is constant
//! over all connections and each sends its bursts evenly spaced. Between turns the sockets are
//! drained and timers run; a turn that comes late is made up for at once.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use memory::Time;
use rustix::event::{Timespec, epoll};

use crate::clip::Clip;
use crate::clock;
use crate::connection::{Connection, ConnectionOptions, PAYLOAD, Secret};

/// How often sockets are looked at.
const POLL_INTERVAL: Duration = Duration::from_micros(500);
/// How often every connection's timers are looked at.
const TIMER_INTERVAL: Duration = Duration::from_millis(10);
/// How long to wait for the last acknowledgements.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What is to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadOptions {
    /// Where to.
    pub(crate) to: SocketAddr,
    /// Whether connection k goes to port + k.
    pub(crate) consecutive_ports: bool,
    /// How many connections.
    pub(crate) connections: u32,
    /// Payload bits a second, all connections together.
    pub(crate) rate_bps: f64,
    /// Packets a turn.
    pub(crate) burst: u32,
    /// What the connections have in common.
    pub(crate) connection: ConnectionOptions,
}

/// Sums over all connections.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Data packets sent for the first time.
    pub(crate) packets: u64,
    /// Their payload bytes.
    pub(crate) bytes: u64,
    /// Data packets sent again.
    pub(crate) retransmitted: u64,
    /// Packets given up as too late.
    pub(crate) dropped: u64,
    /// Packets not taken because a send buffer was full.
    pub(crate) withheld: u64,
    /// Sends the kernel refused.
    pub(crate) send_errors: u64,
    /// Full acknowledgements received.
    pub(crate) acks: u64,
    /// Other acknowledgements received.
    pub(crate) light_acks: u64,
    /// Loss reports received.
    pub(crate) naks: u64,
    /// Datagrams that made no sense.
    pub(crate) invalid: u64,
    /// Connections still open.
    pub(crate) open: u32,
}

/// N connections under way.
pub(crate) struct Load {
    options: LoadOptions,
    secret: Option<Secret>,
    connections: Vec<Connection>,
    epoll: std::os::fd::OwnedFd,
    events: Vec<epoll::Event>,
    next_poll: Time,
    next_timers: Time,
    lag_max: Duration,
}

impl Load {
    /// Opens all connections; returns when every handshake is done.
    pub(crate) fn connect(options: LoadOptions, secret: Option<Secret>) -> Result<Self> {
        let mut load = Self {
            options,
            secret,
            connections: Vec::new(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(256),
            next_poll: Time::ZERO,
            next_timers: Time::ZERO,
            lag_max: Duration::ZERO,
        };
        for number in 0..options.connections {
            load.open(number)?;
            // One after the other: what is measured is not the listener's backlog.
            while load.connections.last().is_some_and(|c| c.outcome().is_none()) {
                load.attend(clock::now())?;
                std::thread::sleep(Duration::from_micros(200));
            }
            if let Some(Err(failure)) = load.connections.last().and_then(Connection::outcome) {
                bail!("connection {number} failed: {failure:?}");
            }
        }
        Ok(load)
    }

    fn open(&mut self, number: u32) -> Result<()> {
        let mut to = self.options.to;
        if self.options.consecutive_ports {
            to.set_port(to.port() + u16::try_from(number)?);
        }
        let (options, secret) = (&self.options.connection, self.secret.as_ref());
        let connection = Connection::open(number, to, options, secret, clock::now())?;
        epoll::add(
            &self.epoll,
            connection.socket(),
            epoll::EventData::new_u64(u64::from(number)),
            epoll::EventFlags::IN,
        )?;
        self.connections.push(connection);
        self.next_timers = Time::ZERO;
        Ok(())
    }

    /// Sends for `duration`. `idle` is called between turns, at least once every poll interval.
    pub(crate) fn send_for(
        &mut self,
        clip: &Clip,
        duration: Duration,
        mut idle: impl FnMut(),
    ) -> Result<()> {
        let gap_ns = f64::from(self.options.burst) * bits(PAYLOAD) * 1e9 / self.options.rate_bps;
        let start = clock::now();
        let end = start + duration;
        let mut turn = 0u64;
        let mut due = start;
        loop {
            let now = clock::now();
            if now >= end {
                return Ok(());
            }
            if now >= due {
                self.lag_max = self.lag_max.max(now.since(due));
                let index = usize::try_from(turn % u64::from(self.options.connections))?;
                self.connections[index].send(clip, self.options.burst, now);
                turn += 1;
                due = start + nanos(turn, gap_ns);
            }
            if now >= self.next_poll {
                self.attend(now)?;
                idle();
            }
            if due > now {
                clock::wait_until(due.min(self.next_poll));
            }
        }
    }

    /// Keeps the connections alive for at most `duration`, until `done` says so.
    pub(crate) fn linger(
        &mut self,
        duration: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Result<()> {
        let end = clock::now() + duration;
        while clock::now() < end && !done(self) {
            self.attend(clock::now())?;
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    }

    /// Waits for the last acknowledgements.
    pub(crate) fn drain(&mut self) -> Result<()> {
        self.linger(DRAIN_TIMEOUT, |load| load.connections.iter().all(Connection::is_drained))
    }

    /// Closes every connection.
    pub(crate) fn close(&mut self) {
        for connection in &mut self.connections {
            connection.close(clock::now());
        }
    }

    /// Sums over all connections.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for connection in &self.connections {
            let stats = connection.stats();
            totals.packets += stats.packets_sent;
            totals.bytes += stats.bytes_sent;
            totals.retransmitted += stats.packets_retransmitted;
            totals.dropped += stats.packets_dropped;
            totals.withheld += connection.withheld();
            totals.send_errors += connection.send_errors();
            totals.acks += stats.acks_received;
            totals.light_acks += stats.light_acks_received;
            totals.naks += stats.naks_received;
            totals.invalid += stats.invalid;
            totals.open += u32::from(connection.is_open());
        }
        totals
    }

    /// Longest delay of a turn behind its schedule.
    pub(crate) const fn lag_max(&self) -> Duration {
        self.lag_max
    }

    /// The connections.
    pub(crate) fn connections(&self) -> &[Connection] {
        &self.connections
    }

    /// Drains sockets that have something, and runs timers from time to time.
    fn attend(&mut self, now: Time) -> Result<()> {
        self.next_poll = now + POLL_INTERVAL;
        self.events.clear();
        let at_once = Timespec::default();
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&at_once))?;
        for event in &self.events {
            let number = usize::try_from(event.data.u64())?;
            if let Some(connection) = self.connections.get_mut(number) {
                connection.receive(now);
            }
        }
        if now >= self.next_timers {
            self.next_timers = now + TIMER_INTERVAL;
            for connection in &mut self.connections {
                connection.handle_timeout(now);
            }
        }
        Ok(())
    }
}

/// Bits of so many bytes.
fn bits(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) * 8.0
}

/// `turn` gaps; computed from the turn's number so that rounding does not add up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "turns and nanoseconds of a run are far below 2^53"
)]
fn nanos(turn: u64, gap_ns: f64) -> Duration {
    Duration::from_nanos((turn as f64 * gap_ns) as u64)
}
