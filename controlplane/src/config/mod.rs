//! The configuration: one YAML file for both processes, environment overrides, defaults.
//!
//! The control plane owns the sections `server`, `metrics`, `logging`, `registry` and `redis`:
//! there every key acts, or is named in one start-up warning, or is refused. `ingestion` and
//! `dataplane` belong to the dataplane, which checks them itself; of these only
//! `dataplane.socket` and `ingestion.authorization` are read here.

mod authorization;
mod environment;
mod section;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};
use tracing::level_filters::LevelFilter;

pub use self::authorization::{Authorization, Secret};
use self::section::Section;
use crate::Error;

/// Where the dataplane's socket is when the file does not say.
pub const SOCKET_DEFAULT: &str = "/run/penstock/dataplane.sock";

/// Sections of the file, whoever owns them.
const SECTIONS: [&str; 7] =
    ["server", "metrics", "logging", "registry", "redis", "ingestion", "dataplane"];

/// A file larger than this is not a configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Longest time a client may take for its request headers, whatever `read_timeout` says.
pub const HEADER_TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// Everything the control plane was told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The HTTP listener.
    pub server: Server,
    /// Prometheus metrics.
    pub metrics: Metrics,
    /// The log.
    pub logging: Logging,
    /// The dataplane's unix socket (`dataplane.socket`).
    pub dataplane_socket: PathBuf,
    /// Whether the file lets the dataplane listen for SRT (`ingestion.srt.enabled`).
    pub srt_enabled: bool,
    /// `ingestion.rtp` is given and not switched off: shown, the dataplane acts on it.
    pub rtp_enabled: bool,
    /// Who is asked about publishers (`ingestion.authorization`); `None`: nobody.
    pub authorization: Option<Authorization>,
    /// Keys that were given and have no effect in this version.
    pub inert: Vec<String>,
}

/// Section `server`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Server {
    /// Address of every listener.
    pub listen_addr: IpAddr,
    /// Whether an address beyond loopback is wanted without authentication.
    pub open: bool,
    /// Whether the REST API is served.
    pub enable_http: bool,
    /// Its port.
    pub http_port: u16,
    /// Whether HTTP/2 is spoken beside HTTP/1.1.
    pub enable_http2: bool,
    /// Whether `/debug/info` exists.
    pub debug_endpoints: bool,
    /// Longest wait for open requests at exit.
    pub shutdown_timeout: Duration,
    /// Longest time for a request's headers (at most [`HEADER_TIMEOUT_MAX`]).
    pub read_timeout: Duration,
    /// Longest time for an answer, and longest stall of a client that reads it.
    pub write_timeout: Duration,
    /// A connection without a request for this long is closed.
    pub max_idle_timeout: Duration,
    /// Most connections; beyond it the one that is idle longest makes room.
    pub max_connections: usize,
    /// Most concurrent HTTP/2 requests of one connection.
    pub max_incoming_streams: u32,
}

/// Section `metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Whether there are any.
    pub enabled: bool,
    /// Their path.
    pub path: String,
    /// Their own port; without it they are served on `server.http_port`.
    pub port: Option<u16>,
}

/// Section `logging`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Logging {
    /// What is written.
    pub level: LevelFilter,
    /// How.
    pub format: LogFormat,
    /// Where.
    pub output: LogOutput,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to a file.
    File(PathBuf),
}

impl Config {
    /// Reads `file` (or takes the embedded default), applies `PENSTOCK_<SECTION>_<KEY>` variables
    /// and checks everything.
    pub fn load(file: Option<&Path>) -> Result<Self, Error> {
        let text = match file {
            Some(path) => read(path)?,
            // The dataplane's embedded configuration has RTP on.
            None => "ingestion: {rtp: {enabled: true}}".to_owned(),
        };
        // Variables that are not UTF-8 cannot be ours.
        let variables = std::env::vars_os();
        Self::parse(
            &text,
            variables.filter_map(|(name, text)| {
                Some((name.into_string().ok()?, text.into_string().ok()?))
            }),
        )
    }

    /// The same from a text and a list of environment variables.
    pub fn parse(
        yaml: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let mut document = document(yaml)?;
        environment::apply(&mut document, environment)?;
        if let Some(unknown) = document.keys().find(|key| !SECTIONS.contains(&key.as_str())) {
            return Err(Error::config(
                unknown.as_str(),
                format!("unknown section; a configuration knows: {}", SECTIONS.join(", ")),
            ));
        }
        let mut inert = Vec::new();
        let mut config = Self {
            server: Server::read(&mut document, &mut inert)?,
            metrics: Metrics::read(&mut document, &mut inert)?,
            logging: Logging::read(&mut document, &mut inert)?,
            dataplane_socket: dataplane_socket(&document)?,
            srt_enabled: srt_enabled(&document),
            rtp_enabled: rtp_enabled(&document),
            authorization: Authorization::read(&document)?,
            inert,
        };
        accept_stores(&mut document, &mut config.inert)?;
        config.check()?;
        Ok(config)
    }

    /// Where the REST API listens.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.server
            .enable_http
            .then(|| SocketAddr::new(self.server.listen_addr, self.server.http_port))
    }

    /// Where the metrics listen, if not beside the REST API.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        let port = self.metrics.port.filter(|_| self.metrics.enabled)?;
        let beside = self.server.enable_http && port == self.server.http_port;
        (!beside).then(|| SocketAddr::new(self.server.listen_addr, port))
    }

    /// Whether the REST listener also serves the metrics.
    pub fn metrics_beside_api(&self) -> bool {
        self.metrics.enabled && self.server.enable_http && self.metrics_address().is_none()
    }

    fn check(&self) -> Result<(), Error> {
        let Some(address) = self.http_address().or_else(|| self.metrics_address()) else {
            return Err(Error::config(
                "server.enable_http",
                "false and no metrics.port: nothing would be served",
            ));
        };
        if !self.server.open && !address.ip().to_canonical().is_loopback() {
            return Err(Error::config(
                "server.listen_addr",
                format!(
                    "{} can be reached by other machines, and the API has no authentication: anyone \
                     could end streams. Listen on 127.0.0.1 (behind a proxy that authenticates), or \
                     set server.open: true to accept that",
                    address.ip()
                ),
            ));
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let file = |source| Error::File { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(file)?.len();
    if size > FILE_BYTES_MAX {
        let text =
            format!("{size} bytes are too many for a configuration (at most {FILE_BYTES_MAX})");
        return Err(file(std::io::Error::other(text)));
    }
    std::fs::read_to_string(path).map_err(file)
}

fn document(yaml: &str) -> Result<Map<String, Value>, Error> {
    let bare = yaml.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line == "---"
    });
    if bare {
        return Ok(Map::new());
    }
    match serde_saphyr::from_str::<Value>(yaml) {
        Ok(Value::Object(document)) => Ok(document),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(Error::Yaml("the top level needs sections, such as \"server:\"".to_owned())),
        Err(error) => Err(Error::Yaml(error.to_string())),
    }
}

const SECOND: Duration = Duration::from_secs(1);

impl Server {
    fn read(document: &mut Map<String, Value>, inert: &mut Vec<String>) -> Result<Self, Error> {
        let mut keys = Section::take(document, "server")?;
        let loopback = Ipv4Addr::LOCALHOST.to_string();
        let timeouts = Duration::from_millis(100)..=SECOND * 3600;
        let server = Self {
            listen_addr: keys.parsed("listen_addr", &loopback, "an IP address", |text| {
                text.trim_matches(['[', ']']).parse().ok()
            })?,
            open: keys.flag("open", false)?,
            enable_http: keys.flag("enable_http", true)?,
            http_port: keys.port_if("http_port")?.unwrap_or(8080),
            enable_http2: keys.flag("enable_http2", true)?,
            debug_endpoints: keys.flag("debug_endpoints", false)?,
            shutdown_timeout: keys.duration(
                "shutdown_timeout",
                SECOND * 10,
                Duration::ZERO..=SECOND * 600,
            )?,
            read_timeout: keys.duration("read_timeout", SECOND * 30, timeouts.clone())?,
            write_timeout: keys.duration("write_timeout", SECOND * 30, timeouts.clone())?,
            max_idle_timeout: keys.duration("max_idle_timeout", SECOND * 30, timeouts)?,
            max_connections: usize::try_from(keys.number("max_connections", 512, 1..=65_536)?)
                .unwrap_or(usize::MAX),
            max_incoming_streams: u32::try_from(keys.number(
                "max_incoming_streams",
                100,
                1..=100_000,
            )?)
            .unwrap_or(u32::MAX),
        };
        keys.inert(&[
            "http3_port",
            "tls_cert_file",
            "tls_key_file",
            "https_redirect",
            "max_incoming_uni_streams",
        ]);
        keys.finish(inert)?;
        Ok(server)
    }

    /// Longest time a client may take for its request headers.
    pub fn header_timeout(&self) -> Duration {
        self.read_timeout.min(HEADER_TIMEOUT_MAX)
    }
}

impl Metrics {
    fn read(document: &mut Map<String, Value>, inert: &mut Vec<String>) -> Result<Self, Error> {
        let mut keys = Section::take(document, "metrics")?;
        let metrics = Self {
            enabled: keys.flag("enabled", true)?,
            path: keys.parsed(
                "path",
                "/metrics",
                "a path of letters, digits, '/', '-', '_' and '.' that no other route uses",
                |text| metrics_path(text).then(|| text.to_owned()),
            )?,
            port: keys.port_if("port")?,
        };
        keys.finish(inert)?;
        Ok(metrics)
    }
}

fn metrics_path(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte));
    let taken = ["/health", "/ready", "/live", "/version", "/debug/info"].contains(&text);
    plain && text.len() > 1 && text.starts_with('/') && !taken && !text.starts_with("/api/")
}

impl Logging {
    fn read(document: &mut Map<String, Value>, inert: &mut Vec<String>) -> Result<Self, Error> {
        let mut keys = Section::take(document, "logging")?;
        let logging = Self {
            level: keys.parsed(
                "level",
                "info",
                "one of off, error, warn, info, debug, trace",
                |text| match text.to_ascii_lowercase().as_str() {
                    "warning" => Some(LevelFilter::WARN),
                    name => name.parse().ok(),
                },
            )?,
            format: keys.parsed("format", "text", "\"json\" or \"text\"", |text| match text {
                "json" => Some(LogFormat::Json),
                "text" => Some(LogFormat::Text),
                _ => None,
            })?,
            output: match keys.text("output", "stdout")?.as_str() {
                "stdout" => LogOutput::Stdout,
                "stderr" => LogOutput::Stderr,
                path => LogOutput::File(path.into()),
            },
        };
        keys.inert(&["max_size", "max_backups", "max_age"]);
        keys.finish(inert)?;
        Ok(logging)
    }
}

fn dataplane_socket(document: &Map<String, Value>) -> Result<PathBuf, Error> {
    match document.get("dataplane").and_then(|section| section.get("socket")) {
        None | Some(Value::Null) => Ok(SOCKET_DEFAULT.into()),
        Some(Value::String(path)) if !path.is_empty() => Ok(path.into()),
        Some(other) => Err(Error::config("dataplane.socket", format!("{other} is not a path"))),
    }
}

/// The dataplane checks the value; here it is only shown.
fn srt_enabled(document: &Map<String, Value>) -> bool {
    let srt = document.get("ingestion").and_then(|section| section.get("srt"));
    srt.and_then(|srt| srt.get("enabled")).and_then(Value::as_bool).unwrap_or(true)
}

/// Without a word about it RTP is off.
fn rtp_enabled(document: &Map<String, Value>) -> bool {
    let rtp = document.get("ingestion").and_then(|section| section.get("rtp"));
    let Some(rtp) = rtp.and_then(Value::as_object) else { return false };
    let given = rtp.values().any(|value| !value.is_null());
    rtp.get("enabled").and_then(Value::as_bool).unwrap_or(given)
}

/// The registry and its store: understood, without effect in this version.
fn accept_stores(document: &mut Map<String, Value>, inert: &mut Vec<String>) -> Result<(), Error> {
    let mut registry = Section::take(document, "registry")?;
    registry.inert(&[
        "redis_addr",
        "redis_password",
        "redis_db",
        "ttl",
        "heartbeat_interval",
        "heartbeat_timeout",
        "cleanup_interval",
    ]);
    // The dataplane acts on it.
    registry.number_if("max_streams_per_source", 1..=4_096)?;
    registry.finish(inert)?;
    let mut redis = Section::take(document, "redis")?;
    redis.inert(&[
        "addresses",
        "password",
        "db",
        "max_retries",
        "dial_timeout",
        "read_timeout",
        "write_timeout",
        "pool_size",
        "min_idle_conns",
    ]);
    redis.finish(inert)
}

#[cfg(test)]
mod tests;
