//! The OpenAPI document says what a running system answers: every field of every body, and every
//! key and parameter that a request may have.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use penstock_tests::openapi::{Document, Operation};
use penstock_tests::process::{Process, eventually};
use penstock_tests::system::{Options, PATIENCE, Penstock, free_rtp_port, free_udp_port};
use serde_json::{Value, json};

const STREAM: &str = "/api/v1/streams/{id}";
const OPTIONS: &str = "/api/v1/streams/{id}/options";
const BACKPRESSURE: &str = "/api/v1/streams/{id}/backpressure";
const CONTROL: &str = "/api/v1/streams/{id}/backpressure/control";
const SOURCES: &str = "/api/v1/sources";
const SOURCE: &str = "/api/v1/sources/{id}";
const RESTART: &str = "/api/v1/sources/{id}/restart";
const SESSIONS: &str = "/api/v1/rtp/sessions";
const SESSION: &str = "/api/v1/rtp/sessions/{id}";

/// An id that nothing has.
const NOBODY: &str = "nobody";

/// A running system, and what it was asked.
struct Asked {
    system: Penstock,
    document: Document,
    asked: BTreeSet<Operation>,
    _encoders: [Process; 2],
}

impl Asked {
    /// A system with a stream of SRT, `live/srt`, one of RTP, `rtp`, and a source nobody answers at.
    fn start() -> Result<Self> {
        let (shared, own, silent) = (free_rtp_port()?, free_rtp_port()?, free_udp_port()?);
        let defaults = Options::default();
        let system = Penstock::start(&Options {
            ingestion: format!(
                "{}  rtp:\n    port: {shared}\n    session_timeout: 10m\n    sessions:\n      \
                 - {{id: rtp, port: {own}, payload_type: 96, codec: H264/90000}}\n",
                defaults.ingestion
            ),
            srt: format!(
                "{}    sources:\n      - {{id: silent, address: '127.0.0.1:{silent}', \
                 connect_timeout: 1s}}\n",
                defaults.srt
            ),
            server: ", debug_endpoints: true".into(),
            ..defaults
        })?;
        let srt = format!("{}&pkt_size=1316", system.srt_url("live/srt"));
        let encoders = [
            encoder(&system, &["-c:a", "aac", "-f", "mpegts", &srt])?,
            encoder(&system, &["-an", "-f", "rtp", &format!("rtp://127.0.0.1:{own}")])?,
        ];
        for id in ["live/srt", "rtp"] {
            system.wait_stream(id, "active", |it| {
                it["status"] == "active" && it["frame_rate"].as_f64() > Some(0.0)
            })?;
        }
        system.wait_source("silent", "a failure", |it| it["last_failure"].is_object())?;
        let document = Document::new(system.get("/api/v1/openapi.json")?);
        Ok(Self { system, document, asked: BTreeSet::new(), _encoders: encoders })
    }

    /// Asks, and checks that the answer has this status and is as documented.
    fn ask(
        &mut self,
        (method, path, id): (&str, &str, &str),
        body: &Value,
        status: u16,
    ) -> Result<Value> {
        let asked = path.replace("{id}", &id.replace('/', "%2F"));
        let answer = match method {
            "post" => self.system.post(&asked, body)?,
            "patch" => self.system.patch(&asked, body)?,
            _ => self.system.request(&method.to_uppercase(), &asked)?,
        };
        ensure!(answer.0 == status, "{method} {asked}: {answer:?}");
        self.document.check(method, path, &answer)?;
        self.asked.insert((method.to_owned(), path.to_owned()));
        Ok(answer.1)
    }

    /// Looks at everything that is shown.
    fn look_at_all(&mut self) -> Result<()> {
        for (method, path) in self.document.operations() {
            // This one is written for as long as the client reads.
            if method != "get" || path == "/api/v1/events/stream" {
                continue;
            }
            for (id, status) in ids(&path) {
                self.ask(("get", &path, id), &Value::Null, *status)
                    .with_context(|| format!("{path} of {id:?}"))?;
            }
        }
        Ok(())
    }

    /// Each route below /api/v1 refuses a parameter that it does not know and names the others.
    fn parameters_are_documented(&mut self) -> Result<()> {
        for (method, path) in self.document.operations() {
            if method != "get" || !path.starts_with("/api/v1/") {
                continue;
            }
            let asked = format!("{}?nonsense=1", path.replace("{id}", "rtp"));
            let answer = self.system.request("GET", &asked)?;
            ensure!(answer.0 == 400 && answer.1["key"] == "nonsense", "{asked}: {answer:?}");
            self.document.check("get", &path, &answer)?;
            let message = answer.1["message"].as_str().unwrap_or_default();
            let (_, known) = message.split_once("knows: ").context("it says what it knows")?;
            let known = known.split(", ").filter(|name| *name != "none").map(str::to_owned);
            ensure!(
                known.collect::<BTreeSet<_>>() == self.document.parameters("get", &path),
                "{path}"
            );
            self.asked.insert((method, path));
        }
        Ok(())
    }

    /// The keys that a request may have are those that a refusal names, without those that are
    /// refused by themselves.
    fn keys_are_documented(&mut self, request: &Request<'_>) -> Result<()> {
        let mut allowed = BTreeSet::new();
        for id in request.ids {
            let asked = (request.method, request.path, *id);
            let answer = self.ask(asked, &json!({"nonsense": 1}), 400)?;
            let message = answer["message"].as_str().unwrap_or_default();
            let (_, named) = message.split_once("expected one of").context("it names the keys")?;
            allowed.extend(named.split('`').skip(1).step_by(2).map(str::to_owned));
        }
        for (key, value) in request.refused {
            let mut body = request.complete.clone();
            body[*key] = value.clone();
            let answer = self.ask((request.method, request.path, request.ids[0]), &body, 400)?;
            ensure!(answer["key"] == *key && allowed.remove(*key), "{key}: {answer}");
        }
        let documented = self.document.keys(request.schema);
        ensure!(allowed == documented, "{}: allowed are {allowed:?}", request.schema);
        Ok(())
    }
}

/// A request with a body.
struct Request<'a> {
    method: &'a str,
    path: &'a str,
    ids: &'a [&'a str],
    schema: &'a str,
    /// A body without fault.
    complete: Value,
    /// Keys that have no meaning there.
    refused: &'a [(&'a str, Value)],
}

/// Whom a path is asked for, and with which status it answers.
fn ids(path: &str) -> &'static [(&'static str, u16)] {
    match path {
        SOURCE => &[("silent", 200), (NOBODY, 404)],
        SESSION => &[("rtp", 200), (NOBODY, 404)],
        _ if path.contains("{id}") => &[("live/srt", 200), ("rtp", 200), (NOBODY, 404)],
        _ => &[("", 200)],
    }
}

/// A test card with sound, for ever.
fn encoder(system: &Penstock, output: &[&str]) -> Result<Process> {
    let mut command = Command::new("ffmpeg");
    command.stderr(system.log()?).stdout(system.log()?);
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-re"]);
    command.args(["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]);
    command.args(["-f", "lavfi", "-i", "sine=sample_rate=48000"]);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25"]);
    Process::start("ffmpeg", command.args(output))
}

#[test]
fn every_answer_of_a_running_system_is_as_documented() -> Result<()> {
    let mut asked = Asked::start()?;
    asked.look_at_all()?;
    asked.parameters_are_documented()?;
    keys_of_requests(&mut asked)?;
    change_streams(&mut asked)?;
    add_and_remove(&mut asked)?;
    asked.look_at_all()?;
    end_a_stream(&mut asked)?;
    ensure!(asked.asked == asked.document.operations(), "not asked for: {:?}", asked.asked);
    answers_without_a_dataplane(asked)
}

fn keys_of_requests(asked: &mut Asked) -> Result<()> {
    let secret = Value::from("0123456789abcdef");
    asked.keys_are_documented(&Request {
        method: "post",
        path: SOURCES,
        ids: &[""],
        schema: "SourceRequest",
        complete: json!({"id": "added", "address": "127.0.0.1:9"}),
        refused: &[("publish_key", secret.clone()), ("second_publisher", "refuse".into())],
    })?;
    asked.keys_are_documented(&Request {
        method: "post",
        path: SESSIONS,
        ids: &[""],
        schema: "RtpSessionRequest",
        complete: Value::Null,
        refused: &[],
    })?;
    asked.keys_are_documented(&Request {
        method: "patch",
        path: OPTIONS,
        ids: &["live/srt", "rtp"],
        schema: "StreamOptions",
        complete: json!({}),
        refused: &[
            ("passphrase", secret.clone()),
            ("key_length", 128.into()),
            ("publish_key", secret),
        ],
    })
}

fn change_streams(asked: &mut Asked) -> Result<()> {
    let press = json!({"action": "set_pressure", "pressure": 0.9});
    asked.ask(("post", CONTROL, "live/srt"), &press, 200)?;
    eventually("a limited window", PATIENCE, || {
        let body = asked.ask(("get", BACKPRESSURE, "live/srt"), &Value::Null, 200)?;
        Ok(body.get("window_limit_packets").map(drop))
    })?;
    asked.ask(("post", CONTROL, "live/srt"), &json!({"action": "reset"}), 200)?;
    asked.ask(("post", CONTROL, "live/srt"), &json!({"action": "squeeze"}), 400)?;
    asked.ask(("post", CONTROL, NOBODY), &press, 404)?;
    asked.ask(("patch", OPTIONS, "rtp"), &json!({"session_timeout": "9m"}), 200)?;
    let later = json!({"priority": 3, "latency": "350ms"});
    let body = asked.ask(("patch", OPTIONS, "live/srt"), &later, 200)?;
    ensure!(body["next_connection"] == json!(["latency"]), "{body}");
    let body = asked.ask(("get", OPTIONS, "live/srt"), &Value::Null, 200)?;
    ensure!(body["next_connection"]["latency"] == "350ms", "{body}");
    Ok(())
}

fn add_and_remove(asked: &mut Asked) -> Result<()> {
    let source = json!({"id": "added", "address": format!("127.0.0.1:{}", free_udp_port()?)});
    let session = json!({"id": "opened", "port": free_rtp_port()?});
    for (all, one, added) in [(SOURCES, SOURCE, source), (SESSIONS, SESSION, session)] {
        asked.ask(("post", all, ""), &added, 201)?;
        asked.ask(("post", all, ""), &added, 409)?;
        let id = added["id"].as_str().unwrap_or_default();
        asked.ask(("get", one, id), &Value::Null, 200)?;
        if one == SOURCE {
            asked.ask(("post", RESTART, id), &Value::Null, 200)?;
        }
        asked.ask(("delete", one, id), &Value::Null, 200)?;
        asked.ask(("delete", one, id), &Value::Null, 404)?;
    }
    Ok(())
}

fn end_a_stream(asked: &mut Asked) -> Result<()> {
    asked.ask(("delete", STREAM, "rtp"), &Value::Null, 200)?;
    asked.ask(("delete", STREAM, NOBODY), &Value::Null, 404)?;
    let answer = asked.system.request("GET", "/api/v1/streams?status=all")?;
    asked.document.check("get", "/api/v1/streams", &answer)
}

fn answers_without_a_dataplane(mut asked: Asked) -> Result<()> {
    asked.system.dataplane.kill();
    for path in ["/health", "/ready"] {
        let answer = eventually("that it is down", PATIENCE, || {
            let answer = asked.system.request("GET", path)?;
            Ok((answer.0 == 503).then_some(answer))
        })?;
        asked.document.check("get", path, &answer)?;
    }
    let press = json!({"action": "reset"});
    asked.ask(("post", CONTROL, "live/srt"), &press, 503)?;
    let stats = asked.ask(("get", "/api/v1/stats", ""), &Value::Null, 200)?;
    ensure!(stats["stale"] == true, "{stats}");
    Ok(())
}
