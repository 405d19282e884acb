//! A stand-in for the dataplane made of shm's own writer side, and a control plane that follows
//! it, in one process.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use penstock_controlplane::{Config, ControlPlane};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;
use shm::counters::{ConductorCounter, StreamCounter, WorkerCounter};
use shm::link::{
    BackpressureAction, CommandError, Handler, LinkServer, RingGrant, RtpSessionReport,
    RtpSessionsPage, RtpSocketReport, SourceFailures, SourceReport, SourcesPage,
};
use shm::{
    AudioInfo, Codec, ConductorBlock, DirectoryConfig, DirectoryWriter, EndReason, Format,
    FrameClass, FrameFlags, FrameMeta, GopRing, GopWriter, Measured, NoMediaReason, RingId,
    RingSpec, Spread, StreamId, StreamInfo, StreamSlotWriter, StreamSpread, StreamState, Text,
    TrackInfo, VideoInfo, WorkerBlock,
};
use tempfile::TempDir;

/// Long enough for anything on a busy machine; only failures take that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const SLOTS: u32 = 8;

/// `CLOCK_MONOTONIC`.
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
}

fn unix_ns() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

/// What the dataplane would own.
pub(crate) struct World {
    directory: DirectoryWriter,
    pub(crate) conductor: ConductorBlock,
    pub(crate) workers: Vec<WorkerBlock>,
    slots: Vec<StreamSlotWriter>,
    streams: HashMap<String, usize>,
    infos: Vec<StreamInfo>,
    rings: HashMap<String, (GopWriter, OwnedFd)>,
    /// What is fetched.
    pub(crate) sources: BTreeMap<String, SourceReport>,
    /// Sessions of RTP.
    pub(crate) rtp_sessions: BTreeMap<String, RtpSessionReport>,
    /// How often a removed one is still told of.
    pub(crate) closing_turns: std::cell::Cell<u32>,
    /// Ids that were called at once.
    pub(crate) restarted: Vec<String>,
    /// Ids that were kept out, with the time asked for.
    pub(crate) blocked: Vec<(String, Duration)>,
    beats: bool,
}

impl World {
    fn new(workers: u16) -> Self {
        let mut directory = DirectoryWriter::create(&DirectoryConfig {
            workers,
            stream_slots: SLOTS,
            memory_budget_bytes: 123_456_789,
            software: "stand-in 1.0",
        })
        .unwrap();
        let mut conductor = directory.conductor();
        conductor.name_port(0, "srt");
        conductor.name_port(1, "remote");
        Self {
            conductor,
            workers: (0..workers).map(|worker| directory.worker(worker)).collect(),
            slots: (0..SLOTS).map(|slot| directory.stream(slot)).collect(),
            directory,
            streams: HashMap::new(),
            infos: vec![StreamInfo::default(); usize::try_from(SLOTS).unwrap()],
            rings: HashMap::new(),
            sources: BTreeMap::new(),
            rtp_sessions: BTreeMap::new(),
            closing_turns: std::cell::Cell::new(0),
            restarted: Vec::new(),
            blocked: Vec::new(),
            beats: true,
        }
    }

    fn beat(&mut self) {
        if self.beats {
            let now = monotonic_ns();
            self.conductor.set(ConductorCounter::HeartbeatNs, now);
            for worker in &mut self.workers {
                worker.set(WorkerCounter::HeartbeatNs, now);
            }
        }
    }

    /// Publishes a stream with one H.264 and one AAC track.
    pub(crate) fn publish(&mut self, id: &str) {
        let slot = self.streams.len();
        let mut info = self.infos[slot];
        info.id = StreamId::new(id).unwrap();
        info.state = StreamState::Active;
        info.source = Some("192.0.2.7:41022".parse().unwrap());
        info.created_unix_ns = unix_ns();
        info.connected_unix_ns = unix_ns();
        info.peer_version = 0x01_05_04;
        info.cipher = shm::Cipher::AesCtr;
        info.key_bits = 192;
        info.latency_ms = 120;
        info.set_tracks(&[video_track(), audio_track()]);
        self.slots[slot].open(&info);
        self.infos[slot] = info;
        self.streams.insert(id.to_owned(), slot);
        let counters = [
            (StreamCounter::Connections, 1),
            (StreamCounter::BytesReceived, 1_500_000),
            (StreamCounter::PacketsReceived, 1_000),
            (StreamCounter::PacketsLost, 5),
            (StreamCounter::PacketsRetransmitted, 4),
            (StreamCounter::PacketsSkippedTooLate, 1),
            (StreamCounter::RttUs, 20_500),
            (StreamCounter::LatencyMs, 120),
            (StreamCounter::DriftUs, 250_u64.wrapping_neg()),
            (StreamCounter::LinkCapacityPps, 1_000),
            (StreamCounter::LastReceivedNs, monotonic_ns()),
            (StreamCounter::BitrateBps, 5_000_000),
            (StreamCounter::FrameRateMhz, 29_970),
            (StreamCounter::FramesPublished, 300),
            (StreamCounter::FramesKey, 5),
            (StreamCounter::FramesI, 5),
            (StreamCounter::FramesP, 100),
            (StreamCounter::FramesB, 95),
            (StreamCounter::FramesAudio, 100),
            (StreamCounter::FramesDroppedBeforeKey, 3),
            (StreamCounter::GopsClosed, 4),
            (StreamCounter::RingCapacityBytes, 4_000_000),
            (StreamCounter::RingUsedBytes, 1_000_000),
        ];
        for (counter, value) in counters {
            self.slots[slot].set(counter, value);
        }
        let interval = Spread { min: 19_000, avg: 20_000, max: 22_500 };
        let total = Spread { min: 18_000, avg: 21_000, max: 95_000 };
        self.slots[slot].set_spread(StreamSpread::RttUs, &Measured { interval, total });
    }

    /// Changes what the stream table says about a stream.
    pub(crate) fn change(&mut self, id: &str, change: impl FnOnce(&mut StreamInfo)) {
        let slot = self.streams[id];
        change(&mut self.infos[slot]);
        self.slots[slot].set_info(&self.infos[slot]);
    }

    /// Sets a counter of a stream.
    pub(crate) fn count(&mut self, id: &str, counter: StreamCounter, value: u64) {
        let slot = self.streams[id];
        self.slots[slot].set(counter, value);
    }

    /// The stream ends by itself.
    pub(crate) fn end(&mut self, id: &str, reason: EndReason) {
        self.change(id, |info| {
            info.state = StreamState::Closed;
            info.end = reason;
            info.ended_unix_ns = unix_ns();
        });
        if let Some((ring, _)) = self.rings.get_mut(id) {
            ring.end();
        }
    }

    /// Gives the stream a ring.
    pub(crate) fn with_ring(&mut self, id: &str, video_bytes: u64) -> &mut GopWriter {
        let ring = RingId(u32::try_from(self.rings.len()).unwrap());
        let spec = RingSpec {
            ring,
            video_bytes,
            side_bytes: 1 << 16,
            descriptors: 64,
            pending_frames: 16,
        };
        let (mut writer, fd) = GopRing::create(&spec).unwrap();
        let generation = writer.start_generation();
        self.change(id, |info| {
            info.ring = Some(ring);
            info.ring_generation = generation;
        });
        &mut self.rings.entry(id.to_owned()).or_insert((writer, fd)).0
    }

    /// Publishes a frame at once.
    pub(crate) fn frame(&mut self, id: &str, meta: &FrameMeta, bytes: &[u8]) {
        let ring = &mut self.rings.get_mut(id).unwrap().0;
        if meta.class == FrameClass::Audio {
            ring.append_frame(bytes, meta, 0).unwrap();
        } else {
            ring.append(bytes).unwrap();
            ring.finish(meta, 0).unwrap();
        }
        ring.publish_due(monotonic_ns(), monotonic_ns(), |_| {});
    }
}

fn video_track() -> TrackInfo {
    TrackInfo {
        codec: Codec::H264,
        pid: 256,
        stream_type: 0x1b,
        program: 1,
        format: Format::Video(VideoInfo {
            profile: Text::cut("High"),
            level: Text::cut("4.1"),
            width: 1920,
            height: 1080,
            coded_width: 1920,
            coded_height: 1088,
            bit_depth: 8,
            frame_rate: Some((30_000, 1_001)),
            frame_rate_measured_mhz: 29_970,
            sample_aspect: (1, 1),
            ..VideoInfo::default()
        }),
        ..TrackInfo::default()
    }
}

fn audio_track() -> TrackInfo {
    let mut config = [0; 16];
    config[..2].copy_from_slice(&[0x11, 0x90]);
    TrackInfo {
        codec: Codec::Aac,
        pid: 257,
        stream_type: 0x0f,
        program: 1,
        language: Some(*b"eng"),
        format: Format::Audio(AudioInfo {
            profile: Text::cut("LC"),
            sample_rate: 48_000,
            channels: 2,
            samples_per_frame: 1_024,
            config,
            config_len: 2,
        }),
    }
}

/// Marks and stamps of a video frame.
pub(crate) fn video(class: FrameClass, key: bool, pts: u64) -> FrameMeta {
    let flags = if key { FrameFlags::KEY | FrameFlags::GOP_START } else { FrameFlags::NONE };
    FrameMeta { track: 0, class, flags, pts: Some(pts), dts: Some(pts), arrival_ns: 1 }
}

/// Marks and stamps of an audio frame.
pub(crate) fn audio(pts: u64) -> FrameMeta {
    let flags = FrameFlags::NONE;
    FrameMeta {
        track: 1,
        class: FrameClass::Audio,
        flags,
        pts: Some(pts),
        dts: None,
        arrival_ns: 1,
    }
}

impl Handler for World {
    fn ring(&mut self, stream_id: &str) -> Result<RingGrant<'_>, CommandError> {
        let unknown = || CommandError::new(CommandError::NOT_FOUND, "no such stream");
        let (writer, fd) = self.rings.get(stream_id).ok_or_else(unknown)?;
        let (ring, generation) = (writer.ring(), writer.generation());
        Ok(RingGrant { fd: fd.as_fd(), ring, generation })
    }

    fn terminate(&mut self, stream_id: &str, block: Duration) -> Result<(), CommandError> {
        let unknown = || CommandError::new(CommandError::NOT_FOUND, "no such stream");
        let slot = *self.streams.get(stream_id).ok_or_else(unknown)?;
        if self.infos[slot].state == StreamState::Closed {
            return Err(CommandError::new(CommandError::WRONG_STATE, "it has ended"));
        }
        self.blocked.push((stream_id.to_owned(), block));
        self.end(stream_id, EndReason::Terminated);
        Ok(())
    }

    fn sources(&self, after: Option<&str>, page: &mut SourcesPage) {
        let behind =
            self.sources.values().filter(|it| after.is_none_or(|after| it.id.as_str() > after));
        for source in behind {
            if !page.push(source.clone()) {
                break;
            }
        }
    }

    fn add_source(&mut self, source: Value) -> Result<(), CommandError> {
        let refuse = |code, message: &str| Err(CommandError::new(code, message));
        let Some(id) = source["id"].as_str() else {
            return refuse(CommandError::INVALID_SOURCE, "source.id: missing; it is the id");
        };
        if self.sources.contains_key(id) {
            return refuse(CommandError::EXISTS, "source exists");
        }
        if self.sources.len() >= 100 {
            return refuse(CommandError::LIMIT, "100 sources exist");
        }
        let address = source["address"].as_str().unwrap_or_default();
        self.sources.insert(id.to_owned(), called(id, address));
        Ok(())
    }

    fn remove_source(&mut self, id: &str) -> Result<(), CommandError> {
        let known = self.sources.remove(id).map(drop);
        known.ok_or_else(|| CommandError::new(CommandError::NOT_FOUND, "no such source"))
    }

    fn restart_source(&mut self, id: &str) -> Result<(), CommandError> {
        if !self.sources.contains_key(id) {
            return Err(CommandError::new(CommandError::NOT_FOUND, "no such source"));
        }
        self.restarted.push(id.to_owned());
        Ok(())
    }

    fn rtp_sessions(&self, after: Option<&str>, page: &mut RtpSessionsPage) {
        let turns = self.closing_turns.get();
        self.closing_turns.set(turns.saturating_sub(1));
        let told = |session: &&RtpSessionReport| session.state != "closing" || turns > 0;
        let behind = self.rtp_sessions.values().filter(told);
        let mut behind = behind.filter(|it| after.is_none_or(|after| it.id.as_str() > after));
        while behind.next().is_some_and(|session| page.push(session.clone())) {}
    }

    fn add_rtp_session(&mut self, session: Value) -> Result<(), CommandError> {
        let refuse = |code, message: &str| Err(CommandError::new(code, message));
        let id = session["id"].as_str().unwrap_or_default();
        match (self.rtp_sessions.contains_key(id), session["port"].as_u64()) {
            _ if session["sdp"] == "nonsense" => {
                refuse(CommandError::INVALID_SESSION, "session.sdp: line 1")
            }
            (true, _) => refuse(CommandError::EXISTS, "it exists"),
            (false, Some(9)) => refuse(CommandError::ADDRESS_IN_USE, "port 9 is held"),
            (false, Some(10)) => refuse(CommandError::LIMIT, "4 sessions were added"),
            (false, Some(11)) => refuse(CommandError::WRONG_STATE, "RTP is off"),
            _ => {
                self.rtp_sessions.insert(id.to_owned(), listening(id));
                Ok(())
            }
        }
    }

    fn remove_rtp_session(&mut self, id: &str) -> Result<(), CommandError> {
        let session = self.rtp_sessions.get_mut(id).filter(|session| session.state != "closing");
        let session = session.ok_or_else(|| CommandError::new(CommandError::NOT_FOUND, "none"))?;
        session.state = "closing".into();
        Ok(())
    }

    fn backpressure(
        &mut self,
        stream_id: &str,
        action: BackpressureAction,
    ) -> Result<(), CommandError> {
        let unknown = || CommandError::new(CommandError::NOT_FOUND, "no such stream");
        let slot = *self.streams.get(stream_id).ok_or_else(unknown)?;
        if self.infos[slot].state == StreamState::Closed {
            return Err(CommandError::new(CommandError::WRONG_STATE, "it has ended"));
        }
        let set = match action {
            BackpressureAction::SetPressure { permille } => Some(permille),
            BackpressureAction::Reset => None,
            BackpressureAction::DropGop => {
                self.slots[slot].add(StreamCounter::GopsDropped, 1);
                return Ok(());
            }
        };
        self.slots[slot].set(StreamCounter::PressureSet, set.is_some().into());
        self.slots[slot].set(StreamCounter::PressurePermille, set.unwrap_or(0).into());
        Ok(())
    }
}

/// A source that nobody has answered yet.
pub(crate) fn called(id: &str, address: &str) -> SourceReport {
    SourceReport {
        id: id.to_owned(),
        mode: "caller".into(),
        address: address.to_owned(),
        peer: None,
        stream_id: String::new(),
        encrypted: false,
        configured: false,
        state: "connecting".into(),
        breaker: "closed".into(),
        refusals_in_a_row: 0,
        breaker_open_ms: None,
        next_try_ms: None,
        attempts: 1,
        connections: 0,
        failures: SourceFailures::default(),
        last_failure: None,
        connected_unix_ns: None,
    }
}

/// A session of RTP that waits for its sender.
pub(crate) fn listening(id: &str) -> RtpSessionReport {
    RtpSessionReport {
        id: id.to_owned(),
        configured: false,
        transport: "rtp".into(),
        state: "listening".into(),
        trouble: None,
        source: None,
        sockets: vec![RtpSocketReport {
            purpose: "rtp".into(),
            address: "127.0.0.1:6000".into(),
            track: Some(0),
            leg: Some(0),
            source: None,
            interface: None,
        }],
        tracks: Vec::new(),
        left_out: vec!["m=audio 6002: \"speex\" is not supported".into()],
    }
}

/// A running stand-in.
pub(crate) struct StandIn {
    world: Arc<Mutex<World>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StandIn {
    pub(crate) fn start(socket: &Path, workers: u16) -> Self {
        let world = World::new(workers);
        let mut server = LinkServer::bind(socket, world.directory.fd()).unwrap();
        let world = Arc::new(Mutex::new(world));
        let stop = Arc::new(AtomicBool::new(false));
        world.lock().unwrap().beat();
        let (shared, stopped) = (Arc::clone(&world), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let wait = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
                let mut ready = [PollFd::new(&server, PollFlags::IN)];
                let _ = poll(&mut ready, Some(&wait));
                let mut world = shared.lock().unwrap();
                if world.beats {
                    server.serve_ready(&mut *world).unwrap();
                }
                world.beat();
            }
        });
        Self { world, stop, thread: Some(thread) }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Stops or resumes every sign of life.
    pub(crate) fn set_silent(&self, silent: bool) {
        self.world().beats = !silent;
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// A control plane on a port of its own.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Option<SocketAddr>,
    agent: ureq::Agent,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Serves what `yaml` and the socket say; the ports are free ones.
    pub(crate) fn start(socket: &Path, yaml: &str) -> Self {
        let mut config = Config::parse(yaml, []).unwrap();
        config.dataplane_socket = socket.to_owned();
        config.server.http_port = 0;
        config.metrics.port = config.metrics.port.map(|_| 0);
        if config.metrics.port.is_some() {
            config.server.http_port = free_port();
        }
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (bound, addresses) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let control_plane = ControlPlane::bind(&config).unwrap();
                bound.send(control_plane.addresses()).unwrap();
                control_plane.run(async { drop(stopped.await) }).await;
            });
        });
        let addresses = addresses.recv().unwrap();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build();
        Self {
            address: addresses[0],
            metrics: addresses.get(1).copied(),
            agent: agent.into(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Status and JSON body; every body is checked for the error shape.
    pub(crate) fn request(&self, method: &str, path: &str) -> (u16, Value) {
        self.request_with(method, path, "")
    }

    /// The same with a body.
    pub(crate) fn request_with(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.url());
        let mut answer = match method {
            "DELETE" => self.agent.delete(&url).call(),
            "POST" => self.agent.post(&url).send(body),
            "PATCH" => self.agent.patch(&url).send(body),
            _ => self.agent.get(&url).call(),
        }
        .unwrap();
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        if status >= 400 {
            assert_error_shape(&body);
        }
        (status, body)
    }

    /// Status and body of a POST of JSON.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.post_as(path, "application/json", body)
    }

    pub(crate) fn post_as(&self, path: &str, content_type: &str, body: &str) -> (u16, Value) {
        let request = self.agent.post(format!("{}{path}", self.url()));
        let mut answer = request.header("content-type", content_type).send(body).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        if answer.status().as_u16() >= 400 {
            assert_error_shape(&body);
        }
        (answer.status().as_u16(), body)
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, body) = self.request("GET", path);
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Text of a page that is not JSON.
    pub(crate) fn text(&self, address: SocketAddr, path: &str) -> String {
        let answer = self.agent.get(format!("http://{address}{path}")).call();
        answer.unwrap().body_mut().read_to_string().unwrap()
    }

    /// A GET again and again until `condition` holds.
    pub(crate) fn eventually(&self, path: &str, condition: impl Fn(u16, &Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, body) = self.request("GET", path);
            if condition(status, &body) {
                return body;
            }
            assert!(Instant::now() < deadline, "{path} stayed {status} {body}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn wait_ready(&self) {
        self.eventually("/ready", |status, _| status == 200);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        self.thread.take().map(JoinHandle::join);
    }
}

/// Every failed request has this body.
pub(crate) fn assert_error_shape(body: &Value) {
    for field in ["error", "message", "time", "code"] {
        assert!(body[field].is_string(), "{field} is missing in {body}");
    }
    assert!(body.get("key").is_none_or(Value::is_string), "{body}");
}

/// A stand-in and a control plane that follows it.
pub(crate) struct System {
    pub(crate) served: Served,
    pub(crate) dataplane: StandIn,
    directory: TempDir,
}

impl System {
    pub(crate) fn start() -> Self {
        Self::with("", 2)
    }

    pub(crate) fn with(yaml: &str, workers: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("d.sock");
        let dataplane = StandIn::start(&socket, workers);
        let served = Served::start(&socket, yaml);
        served.wait_ready();
        Self { served, dataplane, directory }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("d.sock")
    }

    /// Publishes streams and waits until the API shows them.
    pub(crate) fn publish(&self, ids: &[&str]) {
        ids.iter().for_each(|id| self.dataplane.world().publish(id));
        self.served.eventually("/api/v1/streams", |_, body| {
            let listed = body["streams"].as_array().unwrap();
            ids.iter().all(|id| listed.iter().any(|stream| stream["id"] == *id))
        });
    }

    /// Marks the stream's reason for having no frames.
    pub(crate) fn without_media(&self, id: &str, reason: NoMediaReason) {
        self.dataplane.world().change(id, |info| {
            info.state = StreamState::NoMedia;
            info.no_media = reason;
        });
    }
}

/// A TCP port that is free at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}
