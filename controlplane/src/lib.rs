//! The control plane of Penstock: REST, health and metrics over what the dataplane shows in
//! shared memory, and the operator's command line.
//!
//! It reads shared memory and sends commands over the dataplane's unix socket; it touches no
//! packet and no frame on its way, so that it can be killed and restarted at any time without one
//! being lost. It does not know the engine: shared memory is all they have in common.
//!
//! The invariant: **an answer never claims to be live when it is not.** Every body made from
//! shared memory says how old it is and whether the dataplane behind it still runs.
//!
//! ```no_run
//! # async fn example() -> Result<(), penstock_controlplane::Error> {
//! use penstock_controlplane::{Config, ControlPlane};
//!
//! let config = Config::load(None)?;
//! let control_plane = ControlPlane::bind(&config)?;
//! control_plane.run(std::future::pending()).await;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod attendance;
mod authorization;
pub mod cli;
mod clock;
pub mod config;
pub mod dto;
mod error;
mod events;
pub mod logging;
mod metrics;
mod routes;
mod server;
pub mod source;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use self::attendance::Attendance;
use self::authorization::Authorizer;
pub use self::config::Config;
pub use self::error::{ApiError, Code, Error};
use self::events::Events;
use self::server::Listener;
use self::source::Source;

/// The control plane with its ports open.
#[derive(Debug)]
pub struct ControlPlane {
    config: Config,
    listeners: Vec<Listener>,
    events: Arc<Events>,
    attendance: Attendance,
}

impl ControlPlane {
    /// Opens the ports and starts to follow the dataplane, which need not be there yet. Must be
    /// called within a tokio runtime.
    pub fn bind(config: &Config) -> Result<Self, Error> {
        let source = Arc::new(Source::start(&config.dataplane_socket)?);
        let events = Arc::new(Events::new());
        let authorizer = config.authorization.clone().map(Authorizer::new);
        let socket = config.dataplane_socket.clone();
        let attendance = Attendance::start(socket, &events, authorizer.clone())?;
        let routers = routes::routers(config, source, Arc::clone(&events), authorizer);
        let mut listeners = Vec::new();
        if let Some(address) = config.http_address() {
            listeners.push(Listener::bind(address, "server.http_port", routers.api)?);
        }
        if let Some(address) = config.metrics_address() {
            listeners.push(Listener::bind(address, "metrics.port", routers.metrics)?);
        }
        Ok(Self { config: config.clone(), listeners, events, attendance })
    }

    /// The bound addresses: REST first, then metrics where they have a port of their own.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.address().ok()).collect()
    }

    /// Serves until `stop` completes, then lets open requests end within
    /// `server.shutdown_timeout`.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (tell, told) = watch::channel(false);
        let mut tasks = tokio::task::JoinSet::new();
        for listener in self.listeners {
            tasks.spawn(server::run(listener, self.config.server.clone(), told.clone()));
        }
        stop.await;
        let _ = tell.send(true);
        // Followers would hold their connections for ever.
        self.events.close();
        drop(self.attendance);
        while tasks.join_next().await.is_some() {}
    }
}
