//! The link over a real socket: server and client in one thread, or the client in another where
//! it waits for an answer.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect,
    socket_with,
};
use serde_json::{Value, json};

use super::message::{Incoming, receive};
use super::*;
use crate::{
    ABI_VERSION, DirectoryConfig, DirectoryWriter, Error, FrameFlags, FrameMeta, GopRing,
    GopWriter, Next, RingId, RingSpec,
};

/// The greeting of a client of that version.
fn hello(abi: u32) -> Vec<u8> {
    format!(r#"{{"request":"hello","abi":{abi}}}"#).into_bytes()
}

const LONG: Duration = Duration::from_secs(20);

struct Engine {
    writer: GopWriter,
    ring: OwnedFd,
    terminated: Vec<(String, Duration)>,
    sources: std::collections::BTreeSet<String>,
    sessions: std::collections::BTreeSet<String>,
    decided: Vec<(u64, Decision)>,
    pressed: Vec<(String, BackpressureAction)>,
}

impl Handler for Engine {
    fn ring(&mut self, stream_id: &str) -> Result<RingGrant<'_>, CommandError> {
        if stream_id != "live/a" {
            return Err(CommandError::new(CommandError::NOT_FOUND, "x".repeat(100_000)));
        }
        let generation = self.writer.generation();
        Ok(RingGrant { fd: self.ring.as_fd(), ring: self.writer.ring(), generation })
    }

    fn terminate(&mut self, stream_id: &str, block: Duration) -> Result<(), CommandError> {
        self.terminated.push((stream_id.to_owned(), block));
        Ok(())
    }

    fn sources(&self, after: Option<&str>, page: &mut SourcesPage) {
        let behind = self.sources.iter().filter(|id| after.is_none_or(|after| id.as_str() > after));
        for id in behind {
            if !page.push(sources::example(id)) {
                break;
            }
        }
    }

    fn add_source(&mut self, source: Value) -> Result<(), CommandError> {
        match source["id"].as_str() {
            Some(id) => {
                self.sources.insert(id.to_owned());
                Ok(())
            }
            None => Err(CommandError::new(CommandError::INVALID_SOURCE, "source.id: missing")),
        }
    }

    fn remove_source(&mut self, id: &str) -> Result<(), CommandError> {
        let known = self.sources.remove(id);
        known.then_some(()).ok_or_else(|| CommandError::new(CommandError::NOT_FOUND, id))
    }

    fn restart_source(&mut self, id: &str) -> Result<(), CommandError> {
        let known = self.sources.contains(id);
        known.then_some(()).ok_or_else(|| CommandError::new(CommandError::NOT_FOUND, id))
    }

    fn rtp_sessions(&self, after: Option<&str>, page: &mut RtpSessionsPage) {
        let mut behind =
            self.sessions.iter().filter(|id| after.is_none_or(|after| id.as_str() > after));
        while behind.next().is_some_and(|id| page.push(rtp_sessions::example(id))) {}
    }

    fn add_rtp_session(&mut self, session: Value) -> Result<(), CommandError> {
        self.sessions.insert(session["id"].as_str().unwrap_or_default().to_owned());
        Ok(())
    }

    fn remove_rtp_session(&mut self, id: &str) -> Result<(), CommandError> {
        let known = self.sessions.remove(id);
        known.then_some(()).ok_or_else(|| CommandError::new(CommandError::NOT_FOUND, id))
    }

    fn decide(&mut self, question: u64, decision: Decision) {
        self.decided.push((question, decision));
    }

    fn backpressure(
        &mut self,
        stream_id: &str,
        action: BackpressureAction,
    ) -> Result<(), CommandError> {
        self.pressed.push((stream_id.to_owned(), action));
        Ok(())
    }
}

fn engine() -> Engine {
    let spec = RingSpec {
        ring: RingId(9),
        video_bytes: 4096,
        side_bytes: 4096,
        descriptors: 16,
        pending_frames: 4,
    };
    let (mut writer, ring) = GopRing::create(&spec).unwrap();
    writer.start_generation();
    Engine {
        writer,
        ring,
        terminated: Vec::new(),
        sources: Default::default(),
        sessions: Default::default(),
        decided: Vec::new(),
        pressed: Vec::new(),
    }
}

struct House {
    folder: tempfile::TempDir,
    directory: DirectoryWriter,
    server: LinkServer,
    engine: Engine,
}

fn directory() -> DirectoryWriter {
    let software = "test 1.0";
    let config = DirectoryConfig { workers: 1, stream_slots: 2, memory_budget_bytes: 7, software };
    DirectoryWriter::create(&config).unwrap()
}

fn house() -> House {
    let folder = tempfile::tempdir().unwrap();
    let directory = directory();
    let server = LinkServer::bind(&folder.path().join("link"), directory.fd()).unwrap();
    House { folder, directory, server, engine: engine() }
}

impl House {
    fn path(&self) -> PathBuf {
        self.folder.path().join("link")
    }

    /// Runs `client` in a thread and serves until it is done.
    fn serve<T: Send + 'static>(
        &mut self,
        client: impl FnOnce(&std::path::Path) -> T + Send + 'static,
    ) -> T {
        let path = self.path();
        let thread = std::thread::spawn(move || client(&path));
        while !thread.is_finished() {
            self.server.serve_ready(&mut self.engine).unwrap();
        }
        thread.join().unwrap()
    }

    /// A client below the grammar.
    fn raw(&self) -> OwnedFd {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        connect(&socket, &SocketAddrUnix::new(self.path()).unwrap()).unwrap();
        socket
    }

    fn exchange(&mut self, socket: &OwnedFd, bytes: &[u8]) -> Value {
        rustix::net::send(socket, bytes, SendFlags::empty()).unwrap();
        self.turn();
        answer(socket)
    }

    /// Accepts and then answers.
    fn turn(&mut self) {
        self.server.serve_ready(&mut self.engine).unwrap();
        self.server.serve_ready(&mut self.engine).unwrap();
    }
}

fn answer(socket: &OwnedFd) -> Value {
    match receive(socket.as_fd(), true, RecvFlags::DONTWAIT).unwrap() {
        Incoming::Message(bytes, _) => serde_json::from_slice(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn publish(writer: &mut GopWriter, bytes: &[u8]) {
    writer.append(bytes).unwrap();
    let flags = FrameFlags::KEY | FrameFlags::GOP_START;
    writer.finish(&FrameMeta { flags, ..FrameMeta::default() }, 0).unwrap();
    writer.publish_due(0, 0, |_| ());
}

#[test]
fn a_client_gets_the_directory_and_reads_it() {
    let mut house = house();
    let epoch = house.directory.epoch();
    let header = house.serve(|path| {
        let directory = Link::connect(path, LONG).unwrap().directory().unwrap();
        directory.header().clone()
    });
    assert_eq!((header.epoch, header.workers, header.stream_slots), (epoch, 1, 2));
    assert_eq!(header.software.as_str(), "test 1.0");
    assert_eq!(header.pid, std::process::id());
}

#[test]
fn a_client_gets_a_ring_and_reads_its_frames() {
    let mut house = house();
    publish(&mut house.engine.writer, b"picture");
    let mut reader = house.serve(|path| {
        let mut link = Link::connect(path, LONG).unwrap();
        link.directory().unwrap();
        link.ring("live/a").unwrap()
    });
    let mut out = Vec::new();
    assert!(matches!(reader.next(&mut out).unwrap(), Next::Frame(_)));
    assert_eq!(out, b"picture");
    assert_eq!(reader.ring(), RingId(9));
}

#[test]
fn a_refusal_reaches_the_client_with_its_code_and_the_link_goes_on() {
    let mut house = house();
    let error = house.serve(|path| {
        let mut link = Link::connect(path, LONG).unwrap();
        let error = link.ring("nobody").unwrap_err();
        link.directory().unwrap();
        error
    });
    let Error::Refused(error) = error else { panic!("{error:?}") };
    assert_eq!(error.code, CommandError::NOT_FOUND);
    assert_eq!(error.message.len(), 512, "a long text is cut");
}

#[test]
fn a_command_reaches_the_engine() {
    let mut house = house();
    let block = Duration::from_millis(1500);
    house.serve(move |path| Link::connect(path, LONG)?.terminate("live/ä\"", block)).unwrap();
    assert_eq!(house.engine.terminated, [("live/ä\"".to_owned(), block)]);
}

#[test]
fn sessions_of_rtp_are_told_page_by_page_and_changed() {
    let mut house = house();
    let (first, second) = house.serve(|path| {
        let mut link = Link::connect(path, LONG).unwrap();
        for place in 0..50 {
            link.add_rtp_session(json!({"id": format!("cam{place:03}")})).unwrap();
        }
        link.remove_rtp_session("cam000").unwrap();
        assert!(matches!(link.remove_rtp_session("cam000"), Err(Error::Refused(_))));
        let (first, more) = link.rtp_sessions(None).unwrap();
        assert!(more, "one message holds less");
        let last = first.last().map(|session| session.id.clone());
        (first, link.rtp_sessions(last.as_deref()).unwrap().0)
    });
    assert_eq!(first[0], rtp_sessions::example("cam001"));
    assert_eq!(second[0].id, format!("cam{:03}", first.len() + 1));
}

#[test]
fn sources_are_told_page_by_page_and_changed() {
    let mut house = house();
    let found = house.serve(|path| {
        let mut link = Link::connect(path, LONG)?;
        for place in 0..100 {
            link.add_source(json!({"id": format!("cam{place:03}")}))?;
        }
        link.remove_source("cam050")?;
        link.restart_source("cam051")?;
        let (mut ids, mut pages) = (Vec::new(), 0);
        loop {
            let after = ids.last().cloned();
            let (sources, more) = link.sources(after.as_deref())?;
            pages += 1;
            ids.extend(sources.into_iter().map(|source| source.id));
            if !more {
                return Ok::<_, Error>((ids, pages));
            }
        }
    });
    let (ids, pages) = found.unwrap();
    assert!(pages > 1);
    assert_eq!(ids.len(), 99);
    assert!(ids.is_sorted() && !ids.contains(&"cam050".to_owned()));
    let refused = house.serve(|path| {
        let mut link = Link::connect(path, LONG).unwrap();
        [link.add_source(json!({})), link.remove_source("x"), link.restart_source("x")]
    });
    let codes = refused.map(|refusal| match refusal {
        Err(Error::Refused(error)) => error.code,
        other => panic!("{other:?}"),
    });
    let [wrong, unknown, unknown_too] = codes.each_ref().map(String::as_str);
    assert_eq!(wrong, CommandError::INVALID_SOURCE);
    assert_eq!((unknown, unknown_too), (CommandError::NOT_FOUND, CommandError::NOT_FOUND));
}

#[test]
fn backpressure_reaches_the_engine_within_its_bounds() {
    let mut house = house();
    let actions = [
        BackpressureAction::SetPressure { permille: 1_000 },
        BackpressureAction::Reset,
        BackpressureAction::DropGop,
    ];
    for action in actions {
        house.serve(move |path| Link::connect(path, LONG)?.backpressure("a", action)).unwrap();
    }
    assert_eq!(house.engine.pressed, actions.map(|action| ("a".to_owned(), action)));
    let beyond = BackpressureAction::SetPressure { permille: 1_001 };
    let refused = house.serve(move |path| Link::connect(path, LONG)?.backpressure("a", beyond));
    let Err(Error::Refused(refusal)) = refused else { panic!("{refused:?}") };
    assert!(refusal.message.contains("1001"), "{refusal}");
    assert_eq!(house.engine.pressed.len(), 3);
}

#[test]
fn another_abi_version_is_refused_with_both_versions() {
    let mut house = house();
    let client = house.raw();
    let reply = house.exchange(&client, &hello(ABI_VERSION + 1));
    let (theirs, ours) = (ABI_VERSION + 1, ABI_VERSION);
    let message = format!("client has ABI version {theirs}, dataplane {ours}");
    let expected = json!({"reply": "error", "code": "abi_mismatch", "message": message});
    assert_eq!(reply, expected);
}

#[test]
fn malformed_requests_are_answered_with_what_is_wrong() {
    let mut house = house();
    let client = house.raw();
    let wrong: [(&[u8], &str, &str); 5] = [
        (b"\xff\xfe", "invalid_request", "expected value"),
        (b"{}", "invalid_request", "missing field `request`"),
        (br#"{"request":"fly"}"#, "invalid_request", "unknown variant `fly`"),
        (br#"{"request":"hello","abi":-1}"#, "invalid_request", "u32"),
        (&[b' '; MESSAGE_BYTES_MAX + 1], "oversize_request", "at most 8192 bytes"),
    ];
    for (bytes, code, names) in wrong {
        let reply = house.exchange(&client, bytes);
        assert_eq!(reply["code"], code, "{reply}");
        assert!(reply["message"].as_str().unwrap().contains(names), "{reply}");
    }
    let totals = *house.server.totals();
    assert_eq!((totals.requests, totals.requests_invalid), (5, 5));
    let reply = house.exchange(&client, &hello(ABI_VERSION));
    assert_eq!(reply["reply"], "directory", "the client is still served");
}

#[test]
fn one_client_too_many_is_told_so_and_the_others_are_served() {
    let mut house = house();
    let clients: Vec<_> = (0..CLIENTS_MAX).map(|_| house.raw()).collect();
    house.turn();
    let late = house.raw();
    house.turn();
    assert_eq!(answer(&late)["code"], CommandError::TOO_MANY_CLIENTS);
    assert_eq!(house.server.clients(), CLIENTS_MAX);
    for client in &clients {
        assert_eq!(house.exchange(client, &hello(ABI_VERSION))["reply"], "directory");
    }
    drop(clients);
    house.turn();
    assert_eq!(house.server.clients(), 0);
    let error = house.serve(|path| {
        let mut many: Vec<_> = (0..CLIENTS_MAX).map(|_| Link::connect(path, LONG)).collect();
        many[0].as_mut().unwrap().directory().unwrap();
        Link::connect(path, LONG).unwrap().directory().unwrap_err()
    });
    assert!(matches!(&error, Error::Refused(e) if e.code == CommandError::TOO_MANY_CLIENTS));
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_never_waited_for() {
    let mut house = house();
    let client = house.raw();
    house.turn();
    assert_eq!(house.server.clients(), 1);
    let request = br#"{"request":"ring","stream_id":"nobody"}"#;
    while house.server.clients() == 1 {
        let _ = rustix::net::send(&client, request, SendFlags::DONTWAIT);
        house.turn();
    }
    assert_eq!(house.server.totals().clients_dropped_slow, 1);
}

#[test]
fn an_answer_that_does_not_come_in_time_closes_the_link() {
    let house = house();
    let mut link = Link::connect(&house.path(), Duration::from_millis(5)).unwrap();
    assert!(matches!(link.directory(), Err(Error::LinkTimeout { waited_ms: 5 })));
    assert!(matches!(link.directory(), Err(Error::LinkClosed)));
}

#[test]
fn a_dataplane_that_goes_away_is_noticed() {
    let mut house = house();
    let mut link = Link::connect(&house.path(), LONG).unwrap();
    house.turn();
    drop(house.server);
    assert!(matches!(link.directory(), Err(Error::LinkClosed)));
    let error = Link::connect(&house.folder.path().join("link"), LONG).unwrap_err();
    assert!(error.to_string().contains("link: connect failed"), "{error}");
}

#[test]
fn the_socket_is_for_owner_and_group_and_goes_with_the_server() {
    let house = house();
    let path = house.path();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    drop(house.server);
    assert!(!path.exists());
}

#[test]
fn a_socket_that_somebody_answers_at_is_left_alone() {
    let mut house = house();
    let other = directory();
    let error = LinkServer::bind(&house.path(), other.fd()).unwrap_err();
    assert!(matches!(error, Error::AlreadyRunning { .. }), "{error}");
    house.serve(|path| Link::connect(path, LONG).unwrap().directory().map(drop)).unwrap();
}

#[test]
fn a_socket_file_of_a_dead_dataplane_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("link");
    let flags = SocketFlags::CLOEXEC;
    let dead = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::bind(&dead, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    drop(dead);
    assert!(path.exists());
    let directory = directory();
    let server = LinkServer::bind(&path, directory.fd()).unwrap();
    Link::connect(&path, LONG).unwrap();
    drop(server);
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("link");
    std::fs::write(&path, "precious").unwrap();
    let directory = directory();
    let error = LinkServer::bind(&path, directory.fd()).unwrap_err();
    assert!(matches!(error, Error::NotASocket { .. }), "{error}");
    std::os::unix::fs::symlink(&path, folder.path().join("planted")).unwrap();
    let error = LinkServer::bind(&folder.path().join("planted"), directory.fd()).unwrap_err();
    assert!(matches!(error, Error::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn the_successors_socket_survives_the_end_of_the_former_server() {
    let house = house();
    let path = house.path();
    std::fs::remove_file(&path).unwrap();
    let successor = LinkServer::bind(&path, house.directory.fd()).unwrap();
    drop(house.server);
    assert!(path.exists());
    drop(successor);
}

#[test]
fn a_path_that_is_too_long_is_named() {
    let directory = directory();
    let path = PathBuf::from(format!("/tmp/{}", "x".repeat(200)));
    let error = LinkServer::bind(&path, directory.fd()).unwrap_err();
    assert!(error.to_string().contains("address failed"), "{error}");
}

fn question(number: u64) -> Question {
    Question {
        question: number,
        stream_id: "live/a".into(),
        listener: "srt".into(),
        source: ([10, 0, 0, 1], 9).into(),
        user: Some("ann".into()),
        resource: Some("live/a".into()),
        host: None,
        session: Some("k3y".into()),
        encrypted: true,
        latency_ms: 120,
        peer_version: 0x0001_0503,
    }
}

#[test]
fn who_attends_hears_events_and_questions_and_answers() {
    let mut house = house();
    let nobody = Event::new(EventKind::Accepted);
    assert!(!house.server.tell(&nobody), "nobody attends");
    let mut attendant = house.serve(|path| Attendant::connect(path, LONG)).unwrap();
    assert!(house.server.take_newly_attended() && !house.server.take_newly_attended());

    let event = Event::new(EventKind::Refused)
        .stream("live/\"a\"")
        .source(([10, 0, 0, 1], 9).into())
        .listener("srt")
        .reason("conflict", "the id has a live publisher")
        .attribute("code", 2_409);
    assert!(house.server.tell(&event) && house.server.put(&question(7)));
    assert_eq!(attendant.next().unwrap(), Heard::Event(Box::new(event)));
    assert_eq!(attendant.next().unwrap(), Heard::Question(Box::new(question(7))));

    let grants = Grants { latency_ms: Some(300), ..Grants::default() };
    let deny = Decision::Deny { code: 2_401, message: "no".into() };
    for decision in [Decision::Allow(grants), deny] {
        attendant.answerer().decide(7, decision.clone()).unwrap();
        house.server.serve_ready(&mut house.engine).unwrap();
        assert_eq!(house.engine.decided.pop(), Some((7, decision)));
    }
}

#[test]
fn one_attends_at_a_time_and_a_successor_comes_at_once() {
    let mut house = house();
    let first = house.serve(|path| Attendant::connect(path, LONG)).unwrap();
    let second = house.serve(|path| Attendant::connect(path, LONG).map(drop));
    let Err(Error::Refused(refusal)) = second else { panic!("{second:?}") };
    assert_eq!(refusal.code, CommandError::ATTENDED);
    drop(first);
    house.serve(|path| Attendant::connect(path, LONG)).unwrap();
    assert!(house.server.take_newly_attended());
}

#[test]
fn who_does_not_attend_decides_nothing() {
    let mut house = house();
    let client = house.raw();
    let decide = br#"{"request":"decide","question":1,"decision":{"verdict":"allow"}}"#;
    assert_eq!(house.exchange(&client, decide)["code"], CommandError::INVALID);
    assert!(house.engine.decided.is_empty());
}

#[test]
fn an_attendant_that_does_not_read_is_not_waited_for() {
    let mut house = house();
    let mut attendant = house.serve(|path| Attendant::connect(path, LONG)).unwrap();
    let event = Event::new(EventKind::Ended).stream("a");
    let mut told = 0;
    while house.server.tell(&event) {
        told += 1;
    }
    assert!(told > 0);
    attendant.next().unwrap();
    assert!(house.server.tell(&event), "with room again it is told");
}

#[test]
fn an_event_of_a_kind_unknown_here_is_heard_all_the_same() {
    let text = r#"{"sequence":3,"unix_ns":5,"kind":"comet_sighted","later":[1]}"#;
    let event: Event = serde_json::from_str(text).unwrap();
    assert_eq!((event.kind, event.sequence), (EventKind::Other, 3));
    for kind in EventKind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.label());
    }
}

#[test]
fn secrets_in_questions_and_answers_are_not_printed() {
    let grants = Grants { passphrase: Some("correct horse".into()), ..Grants::default() };
    let printed = format!("{:?} {:?}", question(1), Decision::Allow(grants));
    assert!(!printed.contains("k3y") && !printed.contains("horse"), "{printed}");
}
