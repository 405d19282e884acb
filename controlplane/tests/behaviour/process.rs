//! `penstock-controlplane` as an operator runs it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{PATIENCE, StandIn, free_port};

fn control_plane(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock-controlplane"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A configuration file in a folder of its own.
fn file(yaml: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("penstock.yaml");
    std::fs::write(&path, yaml).unwrap();
    (directory, path)
}

fn check(yaml: &str) -> Output {
    let (_directory, path) = file(yaml);
    control_plane(&["--check", "--config", path.to_str().unwrap()]).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A child that is killed with its test.
struct Running(Child);

impl Running {
    fn start(config: &Path) -> Self {
        let mut command = control_plane(&["--config", config.to_str().unwrap()]);
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn ended(&mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(started.elapsed() < PATIENCE, "the process does not end");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The JSON of a page, once it is 200.
fn page(port: u16, path: &str) -> Value {
    let started = Instant::now();
    loop {
        if let Ok(mut answer) = ureq::get(format!("http://127.0.0.1:{port}{path}")).call() {
            return serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        }
        assert!(started.elapsed() < PATIENCE, "{path} is not served");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn check_accepts_the_default_and_a_complete_file_of_another_system() {
    for yaml in ["", include_str!("../vectors/reference-config.yaml")] {
        let output = check(yaml);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(String::from_utf8(output.stdout).unwrap().contains("127.0.0.1:8080"));
    }
}

#[test]
fn a_wrong_configuration_ends_with_2_and_names_the_key() {
    for (yaml, key) in [
        ("server: {http_prot: 1}", "server.http_prot"),
        ("servers: {}", "servers"),
        ("server: {listen_addr: 0.0.0.0}", "server.open: true"),
        ("logging: {format: xml}", "logging.format"),
    ] {
        let output = check(yaml);
        assert_eq!(output.status.code(), Some(2), "{yaml}");
        assert!(stderr(&output).contains(key), "{}", stderr(&output));
    }
    let missing = control_plane(&["--config", "/nonexistent/penstock.yaml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("/nonexistent/penstock.yaml"));
}

#[test]
fn a_port_in_use_ends_with_1_and_names_the_key() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let (_directory, path) = file(&format!("server: {{http_port: {port}}}"));
    let output = control_plane(&["--config", path.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("server.http_port"), "{}", stderr(&output));
}

#[test]
fn signals_end_it_well_even_with_a_connection_open() {
    for signal in [Signal::TERM, Signal::INT] {
        let port = free_port();
        let (_directory, path) = file(&format!("server: {{http_port: {port}}}"));
        let mut running = Running::start(&path);
        page(port, "/live");
        let _open = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        running.signal(signal);
        assert_eq!(running.ended(), Some(0));
    }
}

#[test]
fn keys_without_effect_are_named_in_one_warning() {
    let port = free_port();
    let yaml = format!("server: {{http_port: {port}, http3_port: 443}}\nredis: {{db: 1}}");
    let (_directory, path) = file(&yaml);
    let mut running = Running::start(&path);
    page(port, "/live");
    running.signal(Signal::TERM);
    assert_eq!(running.ended(), Some(0));
    let log = BufReader::new(running.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let warnings: Vec<String> = log.filter(|line| line.contains("without effect")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("server.http3_port, redis.db"), "{warnings:?}");
}

#[test]
fn killed_and_restarted_it_serves_the_same_totals() {
    let (directory, path) = file("");
    let (socket, port) = (directory.path().join("d.sock"), free_port());
    let dataplane = StandIn::start(&socket, 1);
    dataplane.world().publish("a");
    let yaml =
        format!("server: {{http_port: {port}}}\ndataplane: {{socket: {}}}", socket.display());
    std::fs::write(&path, yaml).unwrap();
    let before = {
        let _first = Running::start(&path);
        page(port, "/api/v1/streams/a")
        // Dropped: SIGKILL.
    };
    let _second = Running::start(&path);
    let after = page(port, "/api/v1/streams/a");
    for field in ["counters", "tracks", "created_at", "source_addr"] {
        assert_eq!(before[field], after[field], "{field}");
    }
}
