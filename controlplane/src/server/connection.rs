//! What is known about each connection, so that idle ones can be told from busy ones.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::config::Server;

/// One client connection.
#[derive(Debug)]
pub(super) struct Connection {
    opened: Instant,
    /// Milliseconds after `opened` of the last request, answer or written bytes.
    active_ms: AtomicU64,
    /// Requests under way.
    busy: AtomicU32,
    /// Requests begun.
    requests: AtomicU64,
    evict: Notify,
}

impl Connection {
    fn new() -> Self {
        Self {
            opened: Instant::now(),
            active_ms: AtomicU64::new(0),
            busy: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            evict: Notify::new(),
        }
    }

    fn touch(&self) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.active_ms.store(now, Ordering::Relaxed);
    }

    fn last_active(&self) -> Instant {
        self.opened + Duration::from_millis(self.active_ms.load(Ordering::Relaxed))
    }

    /// Marks a request as under way until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.touch();
        Busy(Arc::clone(self))
    }

    /// Whether a request is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// Whether no request has come yet.
    pub(super) fn is_new(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    /// How long the connection may stay as it is. The first request must come within the header
    /// time, which bounds a client that trickles the HTTP/2 preface too.
    pub(super) fn patience(&self, limits: &Server) -> Duration {
        if self.is_busy() {
            return Duration::MAX;
        }
        let limit = if self.is_new() { limits.header_timeout() } else { limits.max_idle_timeout };
        limit.saturating_sub(self.last_active().elapsed())
    }

    /// Completes when the connection has to make room.
    pub(super) async fn evicted(&self) {
        self.evict.notified().await;
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The open connections, at most a fixed number.
#[derive(Debug)]
pub(super) struct Connections {
    limit: usize,
    open: Mutex<Vec<Arc<Connection>>>,
}

impl Connections {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, open: Mutex::new(Vec::with_capacity(limit)) }
    }

    /// Room for one more, if need be in place of the one that is idle longest; `None` when every
    /// connection has a request under way.
    pub(super) fn admit(&self) -> Option<Arc<Connection>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= self.limit {
            let idle = open.iter().enumerate().filter(|(_, connection)| !connection.is_busy());
            let (index, _) = idle.min_by_key(|(_, connection)| connection.last_active())?;
            open.swap_remove(index).evict.notify_one();
        }
        let connection = Arc::new(Connection::new());
        open.push(Arc::clone(&connection));
        Some(connection)
    }

    pub(super) fn remove(&self, connection: &Arc<Connection>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = open.iter().position(|other| Arc::ptr_eq(other, connection)) {
            open.swap_remove(index);
        }
    }
}

/// A TCP stream whose writes fail when the client takes nothing for too long.
#[derive(Debug)]
pub(super) struct Stalling {
    stream: TcpStream,
    limit: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    connection: Arc<Connection>,
}

impl Stalling {
    pub(super) fn new(stream: TcpStream, limit: Duration, connection: Arc<Connection>) -> Self {
        Self { stream, limit, stalled: None, connection }
    }

    fn watch(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            self.connection.touch();
            return written;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Stalling {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stalling {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_limit_the_longest_idle_connection_makes_room() {
        let connections = Connections::new(2);
        let first = connections.admit().unwrap();
        let second = connections.admit().unwrap();
        let _busy = first.begin();
        connections.admit().unwrap();
        let open = connections.open.lock().unwrap();
        assert_eq!(open.len(), 2);
        assert!(open.iter().any(|open| Arc::ptr_eq(open, &first)), "a busy one stays");
        assert!(!open.iter().any(|open| Arc::ptr_eq(open, &second)));
    }

    #[test]
    fn with_every_connection_busy_a_newcomer_is_refused() {
        let connections = Connections::new(1);
        let busy = connections.admit().unwrap().begin();
        assert!(connections.admit().is_none());
        drop(busy);
        assert!(connections.admit().is_some());
    }
}
