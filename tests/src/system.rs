//! Both processes of Penstock on loopback, with ports, socket and files of their own.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;
use shm::Directory;
use shm::link::Link;
use tempfile::TempDir;

use crate::oracle::{self, Frame};
use crate::process::{Process, eventually};

/// Long enough for anything on a busy two-core machine; only failures take that long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What all processes write to standard error.
const LOG: &str = "log";

/// What a test may choose about the system it starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// `dataplane.workers` as YAML.
    pub workers: String,
    /// `ingestion.srt.listen_addr`.
    pub listen: String,
    /// Further lines of YAML under `ingestion.srt`, indented by four spaces.
    pub srt: String,
    /// Further lines of YAML under `ingestion`, indented by two spaces.
    pub ingestion: String,
    /// Further keys of `server`, each behind a comma.
    pub server: String,
    /// Environment of the dataplane.
    pub environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: "[0]".into(),
            listen: "127.0.0.1".into(),
            // Clips of a few Mbit/s: rings are small and quickly made.
            srt: "    max_bandwidth: 10000000\n".into(),
            ingestion: "  frame: {max_frame_size: 1048576}\n".into(),
            server: String::new(),
            environment: Vec::new(),
        }
    }
}

/// A running Penstock.
#[derive(Debug)]
pub struct Penstock {
    /// The dataplane's process.
    pub dataplane: Process,
    /// The control plane's process.
    pub controlplane: Process,
    /// UDP port of the SRT listener.
    pub srt_port: u16,
    /// TCP port of REST.
    pub http_port: u16,
    directory: TempDir,
    ended_well: bool,
}

/// The folder of the binaries that belong to this build: that of the test's own profile.
pub fn binaries() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("PENSTOCK_BINARIES") {
        return Ok(directory.into());
    }
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("a test lies in target/<profile>/deps")?;
    Ok(profile.to_owned())
}

/// A binary of this build.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = binaries()?.join(name);
    if !path.exists() {
        bail!("{} is missing; build it first: cargo build --workspace --bins", path.display());
    }
    Ok(path)
}

/// Below those that the kernel gives to sockets that name none: no relay's or sender's own socket
/// takes one before it is used.
const PORTS: std::ops::Range<u32> = 10_000..29_000;
/// Each that is asked for has the next ones behind it to itself.
const PORTS_APART: u32 = 8;

/// A UDP port that is free at this moment, and so are the seven above it unless others hold them.
pub fn free_udp_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = (PORTS.end - PORTS.start) / PORTS_APART;
    // Test programs that run beside each other begin elsewhere.
    let first = std::process::id().wrapping_mul(101);
    eventually("a free UDP port", PATIENCE, || {
        let place = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let port = u16::try_from(PORTS.start + place * PORTS_APART)?;
        Ok(UdpSocket::bind(("127.0.0.1", port)).is_ok().then_some(port))
    })
}

/// A UDP port that was free a moment ago, and so was the one above it: RTP's, with RTCP's.
pub fn free_rtp_port() -> Result<u16> {
    eventually("two UDP ports side by side", PATIENCE, || {
        let port = free_udp_port()?;
        Ok(UdpSocket::bind(("127.0.0.1", port + 1)).is_ok().then_some(port))
    })
}

fn free_tcp_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

impl Penstock {
    /// Starts both processes and waits until they are ready.
    pub fn start(options: &Options) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (srt_port, http_port) = (free_udp_port()?, free_tcp_port()?);
        std::fs::write(
            directory.path().join("penstock.yaml"),
            config(options, directory.path(), srt_port, http_port),
        )?;
        let dataplane = start_dataplane(directory.path(), options)?;
        let controlplane = start_controlplane(directory.path())?;
        let ended_well = false;
        let system = Self { dataplane, controlplane, srt_port, http_port, directory, ended_well };
        system.wait_ready()?;
        Ok(system)
    }

    /// What `penstock-dataplane --check` says of a configuration.
    pub fn check(options: &Options) -> Result<Output> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("penstock.yaml");
        std::fs::write(&file, config(options, directory.path(), free_udp_port()?, 8_080))?;
        let mut command = Command::new(binary("penstock-dataplane")?);
        Ok(command.arg("--config").arg(file).arg("--check").output()?)
    }

    /// Starts the control plane again.
    pub fn restart_controlplane(&mut self) -> Result<()> {
        self.controlplane = start_controlplane(self.directory.path())?;
        Ok(())
    }

    /// Starts the dataplane again.
    pub fn restart_dataplane(&mut self, options: &Options) -> Result<()> {
        self.dataplane = start_dataplane(self.directory.path(), options)?;
        Ok(())
    }

    /// Waits until `/ready` says 200.
    pub fn wait_ready(&self) -> Result<()> {
        eventually("ready", PATIENCE, || {
            Ok(self.request("GET", "/ready").ok().filter(|(status, _)| *status == 200))
        })?;
        Ok(())
    }

    /// A scratch file of this system.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where both processes, and senders beside them, write what is shown when the test fails.
    pub fn log(&self) -> Result<File> {
        log(self.directory.path())
    }

    /// The dataplane's unix socket.
    pub fn socket(&self) -> PathBuf {
        self.path("dataplane.sock")
    }

    /// `http://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }

    /// `srt://127.0.0.1:port?streamid=…` with libsrt's units (latency in milliseconds).
    pub fn srt_url(&self, stream_id: &str) -> String {
        format!("srt://127.0.0.1:{}?streamid={stream_id}&mode=caller", self.srt_port)
    }

    /// Status and JSON body of a request.
    pub fn request(&self, method: &str, path: &str) -> Result<(u16, Value)> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .into();
        let url = format!("{}{path}", self.url());
        let mut response = match method {
            "DELETE" => agent.delete(&url).call()?,
            _ => agent.get(&url).call()?,
        };
        let text = response.body_mut().read_to_string()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok((response.status().as_u16(), body))
    }

    /// Status and JSON body of a PATCH.
    pub fn patch(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .into();
        let mut response = agent.patch(format!("{}{path}", self.url())).send(body.to_string())?;
        let text = response.body_mut().read_to_string()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok((response.status().as_u16(), body))
    }

    /// Status and JSON body of a POST.
    pub fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        self.post_as(path, "application/json", &body.to_string())
    }

    /// The same with a body of another type.
    pub fn post_as(&self, path: &str, content_type: &str, body: &str) -> Result<(u16, Value)> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .into();
        let request = agent.post(format!("{}{path}", self.url()));
        let mut response = request.header("content-type", content_type).send(body)?;
        let text = response.body_mut().read_to_string()?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok((response.status().as_u16(), body))
    }

    /// A source as REST tells it, once `condition` holds.
    pub fn wait_source(
        &self,
        id: &str,
        what: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let path = stream_path(id).replacen("/streams/", "/sources/", 1);
        let mut last = Value::Null;
        let found = eventually(what, PATIENCE, || {
            let (status, body) = self.request("GET", &path)?;
            last = body.clone();
            Ok((status == 200 && condition(&body)).then_some(body))
        });
        found.with_context(|| format!("the last answer was {last}"))
    }

    /// The JSON body of a GET that must succeed.
    pub fn get(&self, path: &str) -> Result<Value> {
        match self.request("GET", path)? {
            (200, body) => Ok(body),
            (status, body) => bail!("GET {path}: {status} {body}"),
        }
    }

    /// The stream as REST tells it, once `condition` holds.
    pub fn wait_stream(
        &self,
        id: &str,
        what: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let path = stream_path(id);
        let mut last = Value::Null;
        let found = eventually(what, PATIENCE, || {
            let (status, body) = self.request("GET", &path)?;
            last = body.clone();
            Ok((status == 200 && condition(&body)).then_some(body))
        });
        found.with_context(|| format!("the last answer was {last}"))
    }

    /// Counters and stream table, read straight from shared memory.
    pub fn directory(&self) -> Result<Directory> {
        Ok(self.link()?.directory()?)
    }

    /// A connection to the dataplane, as any local reader makes it.
    pub fn link(&self) -> Result<Link> {
        Ok(Link::connect(&self.socket(), PATIENCE)?)
    }

    /// Where the listener takes callers of this machine, over IPv4.
    pub fn srt_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.srt_port).into()
    }

    /// A command of the operator's CLI.
    pub fn cli(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary("penstock")?);
        command.args(["--url", &self.url()]).args(arguments);
        Ok(command)
    }

    /// Starts `penstock tap ID …` with its output in a scratch file.
    pub fn tap(&self, id: &str, arguments: &[&str], output: &Path) -> Result<Process> {
        let mut command = self.cli(&["tap", id])?;
        command.args(arguments).arg("--socket").arg(self.socket()).stdout(File::create(output)?);
        Process::start("penstock tap", &mut command)
    }

    /// Writes the frames of a stream to a scratch file from its first on, as soon as it appears.
    pub fn frames_of(&self, id: &str) -> Result<Tap> {
        let output = self.path(&format!("{}.frames", id.replace('/', "_")));
        let patience = PATIENCE.as_secs().to_string();
        let process = self.tap(id, &["--from", "oldest", "--wait", &patience], &output)?;
        Ok(Tap { process, output })
    }

    /// Ends both processes as an operator would and checks that they end well.
    pub fn stop(mut self) -> Result<()> {
        self.controlplane.signal(Signal::TERM)?;
        self.dataplane.signal(Signal::TERM)?;
        self.controlplane.succeed(PATIENCE)?;
        self.dataplane.succeed(PATIENCE)?;
        if self.socket().exists() {
            bail!("the dataplane left its socket behind");
        }
        self.ended_well = true;
        Ok(())
    }
}

/// A test that did not come to its end shows what both processes said.
impl Drop for Penstock {
    fn drop(&mut self) {
        if !self.ended_well {
            let log = std::fs::read_to_string(self.path(LOG)).unwrap_or_default();
            eprintln!("the log of all processes:\n{log}");
        }
    }
}

/// A tap that is writing to a file.
#[derive(Debug)]
pub struct Tap {
    process: Process,
    output: PathBuf,
}

impl Tap {
    /// All frames, once the stream has ended.
    pub fn frames(mut self) -> Result<Vec<Frame>> {
        self.process.succeed(PATIENCE)?;
        oracle::frames(&std::fs::read_to_string(&self.output)?)
    }
}

fn config(options: &Options, directory: &Path, srt_port: u16, http_port: u16) -> String {
    format!(
        "dataplane:\n  workers: {}\n  socket: {}\nlogging: {{level: info, format: text}}\n\
         server: {{listen_addr: 127.0.0.1, http_port: {http_port}{}}}\n\
         ingestion:\n{}  srt:\n    listen_addr: '{}'\n    port: {srt_port}\n{}",
        options.workers,
        directory.join("dataplane.sock").display(),
        options.server,
        options.ingestion,
        options.listen,
        options.srt,
    )
}

/// Where REST has a stream.
pub fn stream_path(id: &str) -> String {
    use std::fmt::Write as _;
    let mut path = "/api/v1/streams/".to_owned();
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            write!(path, "%{byte:02X}").expect("a String takes everything");
        }
    }
    path
}

/// All processes write to one file.
fn log(directory: &Path) -> Result<File> {
    Ok(File::options().create(true).append(true).open(directory.join(LOG))?)
}

fn start_dataplane(directory: &Path, options: &Options) -> Result<Process> {
    let mut command = Command::new(binary("penstock-dataplane")?);
    command.arg("--config").arg(directory.join("penstock.yaml"));
    command.envs(options.environment.iter().cloned()).stdout(Stdio::null());
    command.stderr(log(directory)?);
    Process::start("penstock-dataplane", &mut command)
}

fn start_controlplane(directory: &Path) -> Result<Process> {
    let mut command = Command::new(binary("penstock-controlplane")?);
    command.arg("--config").arg(directory.join("penstock.yaml")).stdout(Stdio::null());
    command.stderr(log(directory)?);
    Process::start("penstock-controlplane", &mut command)
}
