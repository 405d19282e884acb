//! A dataplane inside the test process.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use penstock_engine::config::Config;
use penstock_engine::{Dataplane, RunWorker};
use penstock_tests::process::eventually;
use penstock_tests::rtp::paced;
use penstock_tests::system::{PATIENCE, free_udp_port};
use penstock_tests::witness::figures;
use shm::counters::StreamCounter;
use shm::link::Link;
use shm::{Directory, StreamSnapshot};
use tempfile::TempDir;

/// Of the streams whose id begins with `secret/`.
pub const PASSPHRASE: &str = "a-secret-of-ours";

/// A dataplane that runs on a thread.
pub struct Running {
    port: u16,
    second_port: u16,
    rtp_port: u16,
    rtcp_port: u16,
    given_port: u16,
    directory: TempDir,
    stop: Arc<AtomicBool>,
    wake: Box<dyn Fn()>,
    conductor: JoinHandle<Result<(), penstock_engine::Error>>,
}

impl Running {
    /// Starts a small dataplane on a free port.
    pub fn start(workers: &str, run: RunWorker) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (port, second_port) = (free_udp_port()?, free_udp_port()?);
        let (rtp_port, rtcp_port) = (free_udp_port()?, free_udp_port()?);
        let given_port = free_udp_port()?;
        let config = Config::from_yaml_with(
            &format!(
                "dataplane: {{workers: {workers}, socket: {}, min_wait: 200us}}\n\
                 ingestion:\n  max_connections: 8\n  reconnect_grace: 5s\n  \
                 srt: {{port: {port}, max_bandwidth: 20000000, listeners: [{{port: {second_port}}}]}}\n  \
                 frame: {{max_frame_size: 1048576}}\n  \
                 rtp: {{port: {rtp_port}, rtcp_port: {rtcp_port}, max_sessions: 4, \
                 session_timeout: 2s, streams: [{{ssrc: 2, id: two}}, {{ssrc: 3, id: three}}], \
                 sessions: [{{id: given, port: {given_port}}}]}}\n  \
                 streams: [{{pattern: 'secret/*', passphrase: {PASSPHRASE}}}]\n",
                directory.path().join("socket").display()
            ),
            |_| None,
        )?;
        let dataplane = Dataplane::start(&config, run)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let wake = Box::new(dataplane.waker());
        let conductor =
            std::thread::spawn(move || dataplane.run(|| stopped.load(Ordering::Relaxed)));
        Ok(Self {
            port,
            second_port,
            rtp_port,
            rtcp_port,
            given_port,
            directory,
            stop,
            wake,
            conductor,
        })
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The second listener.
    pub fn second_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.second_port).into()
    }

    /// The shared port of RTP, and that of its RTCP.
    pub fn rtp_ports(&self) -> (u16, u16) {
        (self.rtp_port, self.rtcp_port)
    }

    /// The port of the session `given`.
    pub fn given_port(&self) -> u16 {
        self.given_port
    }

    pub fn link(&self) -> Result<Link> {
        Ok(Link::connect(&self.directory.path().join("socket"), Duration::from_secs(5))?)
    }

    pub fn table(&self) -> Result<Directory> {
        Ok(self.link()?.directory()?)
    }

    /// Waits until the stream has published frames.
    pub fn wait_frames(&self, id: &str) -> Result<StreamSnapshot> {
        self.wait_stream(id, |stream| stream.counter(StreamCounter::FramesPublished) > 0)
    }

    /// The stream once `condition` holds.
    pub fn wait_stream(
        &self,
        id: &str,
        condition: impl Fn(&StreamSnapshot) -> bool,
    ) -> Result<StreamSnapshot> {
        let table = self.table()?;
        let mut last = String::new();
        let found = eventually(&format!("stream {id}"), PATIENCE, || {
            let Some(stream) = table.stream(id) else { return Ok(None) };
            last = figures(&stream);
            Ok(condition(&stream).then_some(stream))
        });
        found.with_context(|| format!("stream {id} was last seen with {last}"))
    }

    /// Ends it and reports what ended it.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        (self.wake)();
        let ended = self.conductor.join();
        Ok(ended.map_err(|_| anyhow::anyhow!("the conductor panicked"))??)
    }
}

/// A source of RTP that sends at once what it is given.
pub struct RtpSender {
    socket: UdpSocket,
    stream: paced::Stream,
    sequence: u16,
}

impl RtpSender {
    pub fn new(port: u16, ssrc: u32, payload_type: u8) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        let stream = paced::Stream { payload_type, ..paced::Stream::new(ssrc) };
        Ok(Self { socket, sequence: stream.sequence, stream })
    }

    /// Sends the packet as the next one.
    pub fn send(&mut self, packet: &paced::Packet) -> Result<()> {
        let stream = paced::Stream { sequence: self.sequence, ..self.stream };
        for datagram in stream.datagrams(std::slice::from_ref(packet)) {
            self.socket.send(&datagram.bytes)?;
        }
        self.skip();
        Ok(())
    }

    /// Leaves a sequence number out.
    pub fn skip(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// Sends anything, from the source's address.
    pub fn send_raw(&self, datagram: &[u8]) -> Result<()> {
        self.socket.send(datagram)?;
        Ok(())
    }
}

/// A transport stream with H.264 and AAC of so many seconds, made by FFmpeg.
pub fn transport_stream(seconds: u32) -> Result<Vec<u8>> {
    let seconds = seconds.to_string();
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin"])
        .args(["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"])
        .args(["-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", &seconds])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "12", "-bf", "2"])
        .args(["-c:a", "aac", "-f", "mpegts", "-"])
        .output()
        .context("ffmpeg is needed; scripts/test installs it")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}
