//! HTTP/1.1 and HTTP/2 on one port, by an accept loop of our own: hyper's header timer only runs
//! with a timer, which axum's `serve` does not set.
//!
//! What a client can hold is bounded: time for the headers, idle time, write stalls, and the
//! number of connections. At the limit the connection that is idle longest makes room, so that
//! thousands of silent clients keep nobody out.

mod connection;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

use self::connection::{Connection, Connections, Stalling};
use crate::Error;
use crate::config::Server;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// Bytes of request headers.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// Pause after a failed accept: descriptors are short, and others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A connection is looked at this often: what it may still do changes with its requests.
const LOOK: Duration = Duration::from_secs(1);
/// An idle connection that was asked to end gets this long.
const GOODBYE: Duration = Duration::from_secs(5);

/// A bound port and what it serves.
#[derive(Debug)]
pub(crate) struct Listener {
    tcp: TcpListener,
    router: Router,
}

impl Listener {
    /// Binds `address`; `key` is the configuration key to name when that fails.
    pub(crate) fn bind(
        address: SocketAddr,
        key: &'static str,
        router: Router,
    ) -> Result<Self, Error> {
        let listen = || {
            let socket =
                if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        let tcp = listen().map_err(|source| Error::Listen { address, key, source })?;
        Ok(Self { tcp, router })
    }

    /// The bound address.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// What every connection of one listener shares.
struct Shared {
    limits: Server,
    builder: auto::Builder<TokioExecutor>,
    connections: Connections,
    stop: watch::Receiver<bool>,
}

/// Serves until `stop` turns true, then lets open requests end within `shutdown_timeout`.
pub(crate) async fn run(listener: Listener, limits: Server, mut stop: watch::Receiver<bool>) {
    let shared = Arc::new(Shared {
        builder: builder(&limits),
        connections: Connections::new(limits.max_connections),
        limits,
        stop: stop.clone(),
    });
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.tcp.accept() => match accepted {
                Ok((stream, _)) => {
                    // With every connection busy the newcomer is closed at once.
                    if let Some(connection) = shared.connections.admit() {
                        let router = listener.router.clone();
                        tasks.spawn(serve(Arc::clone(&shared), stream, connection, router));
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener.tcp);
    let limit = shared.limits.shutdown_timeout;
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(limit, ended).await.is_err() {
        tracing::warn!(
            open = tasks.len(),
            "requests were still open after server.shutdown_timeout"
        );
    }
}

/// Completes when the process is to end.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A vanished sender means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn builder(limits: &Server) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout())
        .max_buf_size(usize::try_from(HEADER_BYTES_MAX).unwrap_or(usize::MAX));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_incoming_streams)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_pending_accept_reset_streams(20);
    if limits.enable_http2 { builder } else { builder.http1_only() }
}

async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    connection: Arc<Connection>,
    router: Router,
) {
    let _ = stream.set_nodelay(true);
    let io = Stalling::new(stream, shared.limits.write_timeout, Arc::clone(&connection));
    let requests = Arc::clone(&connection);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        answer(router.clone(), request, Arc::clone(&requests))
    });
    let mut http = pin!(shared.builder.serve_connection(TokioIo::new(io), service));
    let mut stop = shared.stop.clone();
    let mut ending = false;
    loop {
        let pause = if ending { GOODBYE } else { connection.patience(&shared.limits).min(LOOK) };
        tokio::select! {
            result = http.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(error, "connection ended");
                }
                break;
            }
            () = connection.evicted() => break,
            () = stopped(&mut stop), if !ending => {
                if connection.is_new() {
                    break;
                }
                ending = true;
                http.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep(pause) => {
                if connection.is_busy() || !connection.patience(&shared.limits).is_zero() {
                    continue;
                }
                if ending || connection.is_new() {
                    break;
                }
                ending = true;
                http.as_mut().graceful_shutdown();
            }
        }
    }
    shared.connections.remove(&connection);
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    connection: Arc<Connection>,
) -> Result<Response<Body>, Infallible> {
    let _busy = connection.begin();
    router.oneshot(request.map(Body::new)).await
}
