//! The commands about sources.

use std::io::{self, Write};

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::Failure;
use super::api::{Api, source_path};
use super::commands::{print, text};
use super::table::{Table, printable};

/// `penstock source …`
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum SourceCommand {
    /// Show one source
    Show {
        /// The source's id
        id: String,
    },
    /// Fetch one more stream, until it is removed or the dataplane ends
    Add(AddSource),
    /// End a source's stream and call it no more
    Remove {
        /// The source's id
        id: String,
    },
    /// Call a source at once, whatever its circuit breaker says
    Restart {
        /// The source's id
        id: String,
    },
}

/// `penstock source add`
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct AddSource {
    /// The id of its stream
    pub id: String,
    /// Whom to call: encoder.example:9000 or `[2001:db8::1]:9000`
    pub address: String,
    /// How
    #[arg(long, value_enum)]
    pub mode: Option<SourceMode>,
    /// The StreamID to send
    #[arg(long, value_name = "TEXT")]
    pub stream_id: Option<String>,
    /// The port to call from
    #[arg(long, value_name = "PORT")]
    pub local_port: Option<u16>,
    /// The address to call from
    #[arg(long, value_name = "ADDRESS")]
    pub local_addr: Option<String>,
    /// Receive latency, as 120ms
    #[arg(long, value_name = "TIME")]
    pub latency: Option<String>,
    /// How long a call may take, as 3s
    #[arg(long, value_name = "TIME")]
    pub connect_timeout: Option<String>,
    /// Read the passphrase from this environment variable
    #[arg(long, value_name = "NAME")]
    pub passphrase_env: Option<String>,
    /// Key length in bits: 128, 192 or 256
    #[arg(long, value_name = "BITS")]
    pub key_length: Option<u16>,
    /// How payload is encrypted
    #[arg(long, value_enum)]
    pub crypto_mode: Option<CryptoMode>,
}

/// How payload is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CryptoMode {
    /// AES in counter mode
    Ctr,
    /// AES in Galois/counter mode: authenticated
    Gcm,
}

/// How a source is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SourceMode {
    /// Its peer listens
    Caller,
    /// Both sides call
    Rendezvous,
}

/// `penstock sources`
pub(super) fn list(api: &Api, as_json: bool) -> Result<(), Failure> {
    print(api, "/api/v1/sources", as_json, |body, out| table(body).write(out))
}

fn table(body: &Value) -> Table {
    let mut table = Table::new(&[
        "ID",
        "MODE",
        "ADDRESS",
        "STATE",
        "BREAKER",
        "NEXT TRY",
        "ATTEMPTS",
        "CONNECTIONS",
        "LAST FAILURE",
    ]);
    for source in body["sources"].as_array().into_iter().flatten() {
        table.row(vec![
            text(&source["id"]),
            text(&source["mode"]),
            text(&source["address"]),
            text(&source["state"]),
            text(&source["breaker"]["state"]),
            text(&source["next_try_at"]),
            text(&source["attempts"]),
            text(&source["connections"]),
            text(&source["last_failure"]["message"]),
        ]);
    }
    table
}

/// `penstock source …`
pub(super) fn run(api: &Api, command: &SourceCommand, as_json: bool) -> Result<(), Failure> {
    let (body, said) = match command {
        SourceCommand::Show { id } => return show(api, id, as_json),
        SourceCommand::Add(source) => {
            let body = api.post("/api/v1/sources", Some(&description(source)?))?;
            (body, format!("{} is called", printable(&source.id)))
        }
        SourceCommand::Remove { id } => {
            (api.delete(&source_path(id))?, format!("{} was removed", printable(id)))
        }
        SourceCommand::Restart { id } => {
            let body = api.post(&format!("{}/restart", source_path(id)), None)?;
            (body, format!("{} is called at once", printable(id)))
        }
    };
    let mut out = io::stdout().lock();
    if as_json {
        writeln!(out, "{body}")?;
    } else {
        writeln!(out, "{said}")?;
    }
    Ok(())
}

fn show(api: &Api, id: &str, as_json: bool) -> Result<(), Failure> {
    print(api, &source_path(id), as_json, |body, out| detail(body).write(out))
}

fn detail(body: &Value) -> Table {
    let mut table = Table::without_heading();
    for (name, value) in body.as_object().into_iter().flatten() {
        match value {
            Value::Object(fields) => {
                for (field, value) in fields {
                    table.row(vec![format!("{name}.{field}"), text(value)]);
                }
            }
            value => table.row(vec![name.clone(), text(value)]),
        }
    }
    table
}

/// The object that is posted: only what was given. A passphrase never stands on a command line,
/// where every process could read it.
fn description(source: &AddSource) -> Result<Value, Failure> {
    let passphrase = source.passphrase_env.as_deref().map(|name| {
        std::env::var(name).map_err(|_| {
            Failure::usage(format!("--passphrase-env: the environment has no text in {name}"))
        })
    });
    let mode = source.mode.map(|mode| match mode {
        SourceMode::Caller => "caller",
        SourceMode::Rendezvous => "rendezvous",
    });
    let crypto_mode = source.crypto_mode.map(|mode| match mode {
        CryptoMode::Ctr => "ctr",
        CryptoMode::Gcm => "gcm",
    });
    let mut object = json!({
        "id": source.id,
        "address": source.address,
        "mode": mode,
        "stream_id": source.stream_id,
        "local_port": source.local_port,
        "local_addr": source.local_addr,
        "latency": source.latency,
        "connect_timeout": source.connect_timeout,
        "passphrase": passphrase.transpose()?,
        "key_length": source.key_length,
        "crypto_mode": crypto_mode,
    });
    if let Some(object) = object.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_holds_what_was_given() {
        let source = AddSource {
            id: "cam".into(),
            address: "h:9".into(),
            mode: Some(SourceMode::Rendezvous),
            stream_id: None,
            local_port: Some(7),
            local_addr: None,
            latency: None,
            connect_timeout: None,
            passphrase_env: None,
            key_length: None,
            crypto_mode: Some(CryptoMode::Gcm),
        };
        let description = description(&source).unwrap();
        let expected = json!({"id": "cam", "address": "h:9", "mode": "rendezvous", "local_port": 7, "crypto_mode": "gcm"});
        assert_eq!(description, expected);
    }

    #[test]
    fn the_list_shows_state_breaker_and_last_failure() {
        let body = json!({"sources": [{
            "id": "cam", "mode": "caller", "address": "h:9", "state": "waiting",
            "breaker": {"state": "open"}, "next_try_at": "2026-01-01T00:00:00Z", "attempts": 3,
            "connections": 0, "last_failure": {"message": "the peer refused: code 1010"}
        }]});
        let mut out = Vec::new();
        table(&body).write(&mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("waiting") && out.contains("open") && out.contains("1010"), "{out}");
    }
}
