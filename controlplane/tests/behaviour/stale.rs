//! What is served when the dataplane falls silent, dies, or comes back.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{PATIENCE, Served, StandIn, System};

/// The promise: marked within this time of the last sign of life.
const BY: Duration = Duration::from_secs(1);

/// The first answer that is marked stale. An answer given [`BY`] after `silent` or later must be.
fn stale(served: &Served, path: &str, silent: Instant) -> Value {
    loop {
        let asked = silent.elapsed();
        let (_, body) = served.request("GET", path);
        if body["stale"] == true {
            return body;
        }
        assert!(asked < BY, "not marked {asked:?} after the last sign of life: {body}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn data_of_a_silent_dataplane_is_served_marked_with_its_age_within_a_second() {
    let system = System::start();
    system.publish(&["a"]);
    system.dataplane.set_silent(true);
    let stream = stale(&system.served, "/api/v1/streams/a", Instant::now());
    assert_eq!(stream["id"], "a");
    assert!(stream["age_ms"].as_u64().unwrap() >= 500, "{stream}");
    for path in [
        "/api/v1/streams",
        "/api/v1/streams/a/stats",
        "/api/v1/stats",
        "/api/v1/streams/stats/video",
    ] {
        assert_eq!(system.served.get(path)["stale"], true, "{path}");
    }
    assert_eq!(system.served.get("/api/v1/stats")["started"], false);
    let (status, body) = system.served.request("GET", "/ready");
    assert_eq!((status, &body["status"]), (503, &"down".into()));
    assert_eq!(system.served.request("DELETE", "/api/v1/streams/a").0, 503);
}

#[test]
fn a_dataplane_that_speaks_again_is_live_again() {
    let system = System::start();
    system.publish(&["a"]);
    system.dataplane.set_silent(true);
    stale(&system.served, "/api/v1/streams/a", Instant::now());
    system.dataplane.set_silent(false);
    system.served.eventually("/api/v1/streams/a", |_, body| body["stale"] == false);
    system.served.wait_ready();
}

/// Not a test of its own: the process that [`a_killed_dataplane_is_marked_and_its_successor_found`]
/// kills.
#[test]
#[ignore = "the child process of another test"]
fn stand_in_process() {
    let Some(socket) = std::env::var_os("STAND_IN_SOCKET") else { return };
    let stand_in = StandIn::start(Path::new(&socket), 1);
    let id = std::env::var("STAND_IN_STREAM").unwrap();
    stand_in.world().publish(&id);
    std::thread::sleep(PATIENCE * 2);
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn stand_in(socket: &Path, stream: &str) -> Killed {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "stale::stand_in_process"])
        .env("STAND_IN_SOCKET", socket)
        .env("STAND_IN_STREAM", stream)
        .stdout(Stdio::null())
        .spawn();
    Killed(child.unwrap())
}

#[test]
fn a_killed_dataplane_is_marked_and_its_successor_found() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("d.sock");
    let served = Served::start(&socket, "");
    let first = stand_in(&socket, "first");
    served.eventually("/api/v1/streams/first", |status, _| status == 200);
    let epoch = served.get("/api/v1/stats")["dataplane"]["epoch"].clone();

    drop(first);
    let stream = stale(&served, "/api/v1/streams/first", Instant::now());
    assert_eq!(stream["id"], "first");
    served.eventually("/api/v1/stats", |_, body| body["dataplane"]["state"] == "gone");
    assert_eq!(served.request("GET", "/ready").0, 503);

    let _second = stand_in(&socket, "second");
    served.eventually("/api/v1/streams/second", |status, body| {
        status == 200 && body["stale"] == false
    });
    assert_eq!(served.request("GET", "/api/v1/streams/first").0, 404);
    assert_ne!(served.get("/api/v1/stats")["dataplane"]["epoch"], epoch);
    served.wait_ready();
}
