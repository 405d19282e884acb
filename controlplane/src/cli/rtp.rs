//! The commands about sessions of RTP.

use std::io::{self, Read, Write};

use clap::{Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::Failure;
use super::api::{Api, RTP_SESSIONS, rtp_session_path};
use super::commands::{print, text};
use super::table::{Table, printable};

/// `penstock rtp …`
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum RtpCommand {
    /// List the sessions whose sockets are given
    List,
    /// Show one session
    Show {
        /// The session's id
        id: String,
    },
    /// Take one more session, until it is removed or the dataplane ends
    Add(Box<AddSession>),
    /// End a session's stream and free its ports
    Remove {
        /// The session's id
        id: String,
    },
}

/// `penstock rtp add`: the keys of `ingestion.rtp.sessions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct AddSession {
    /// The id of its stream
    pub id: String,
    /// A session description; `-` reads it from standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["port", "track"])]
    pub sdp: Option<String>,
    /// Where its packets come
    #[arg(long, value_name = "PORT", conflicts_with = "track")]
    pub port: Option<u16>,
    /// Where its RTCP comes [default: the next port; the same where both are multiplexed]
    #[arg(long, value_name = "PORT")]
    pub rtcp_port: Option<u16>,
    /// The address to listen at [default: that of the shared port]
    #[arg(long, value_name = "ADDRESS")]
    pub listen_addr: Option<String>,
    /// RTP, or a transport stream without it
    #[arg(long, value_enum)]
    pub transport: Option<Transport>,
    /// Payload type of its packets [default: found out]
    #[arg(long, value_name = "N")]
    pub payload_type: Option<u8>,
    /// What the payload type stands for, as H264/90000
    #[arg(long, value_name = "NAME/CLOCK[/CHANNELS]")]
    pub codec: Option<String>,
    /// Parameters of the codec, as of a=fmtp
    #[arg(long, value_name = "TEXT")]
    pub fmtp: Option<String>,
    /// Its only SSRC
    #[arg(long, value_name = "N")]
    pub ssrc: Option<u32>,
    /// Payload type of retransmissions
    #[arg(long, value_name = "N")]
    pub rtx_payload_type: Option<u8>,
    /// One of several tracks, as '{"port": 6012, "payload_type": 97, "codec": "opus/48000/2"}'
    #[arg(long, value_name = "JSON")]
    pub track: Vec<String>,
    /// The multicast group to hear
    #[arg(long, value_name = "ADDRESS")]
    pub group: Option<String>,
    /// The only source of the group
    #[arg(long, value_name = "ADDRESS")]
    pub source: Option<String>,
    /// The interface at which the group is heard
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// The port of the second path (SMPTE ST 2022-7)
    #[arg(long, value_name = "PORT")]
    pub second_leg: Option<u16>,
    /// Take error correction (SMPTE ST 2022-1) two and four ports above
    #[arg(long)]
    pub fec: bool,
    /// What the sender lets itself be asked for
    #[arg(long, value_enum, value_delimiter = ',')]
    pub feedback: Vec<Feedback>,
    /// Networks that may send
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub allow: Vec<String>,
    /// Networks that may not
    #[arg(long, value_name = "NETWORK", value_delimiter = ',')]
    pub deny: Vec<String>,
    /// Anybody may send
    #[arg(long)]
    pub open: bool,
    /// How long a missing packet is waited for, as 100ms
    #[arg(long, value_name = "TIME")]
    pub latency: Option<String>,
    /// A sender silent for so long is gone, as 30s
    #[arg(long, value_name = "TIME")]
    pub session_timeout: Option<String>,
    /// Highest media rate in bit/s
    #[arg(long, value_name = "BITS")]
    pub max_bandwidth: Option<u64>,
    /// Packets above so many bit/s are dropped
    #[arg(long, value_name = "BITS")]
    pub rate_limit: Option<u64>,
}

/// What a session's sockets take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// RTP
    Rtp,
    /// A transport stream over UDP, without RTP
    Ts,
}

/// What a sender can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Feedback {
    /// Lost packets
    Nack,
    /// Key pictures (RFC 4585)
    Pli,
    /// Key pictures (RFC 5104)
    Fir,
}

/// `penstock rtp …`
pub(super) fn run(api: &Api, command: &RtpCommand, as_json: bool) -> Result<(), Failure> {
    let (body, said) = match command {
        RtpCommand::List => return list(api, as_json),
        RtpCommand::Show { id } => return show(api, id, as_json),
        RtpCommand::Add(session) => {
            let body = api.post(RTP_SESSIONS, Some(&description(session)?))?;
            (body, format!("{} waits for its sender", printable(&session.id)))
        }
        RtpCommand::Remove { id } => {
            (api.delete(&rtp_session_path(id))?, format!("{} was removed", printable(id)))
        }
    };
    let mut out = io::stdout().lock();
    if as_json {
        writeln!(out, "{body}")?;
        return Ok(());
    }
    writeln!(out, "{said}")?;
    for medium in body["data"]["left_out"].as_array().into_iter().flatten() {
        writeln!(out, "left out: {}", printable(&text(medium)))?;
    }
    Ok(())
}

fn list(api: &Api, as_json: bool) -> Result<(), Failure> {
    print(api, RTP_SESSIONS, as_json, |body, out| table(body).write(out))
}

fn table(body: &Value) -> Table {
    let mut table = Table::new(&[
        "ID",
        "STATE",
        "LISTENS AT",
        "SENDER",
        "FORMATS",
        "PACKETS",
        "LOST",
        "ORIGIN",
        "TROUBLE",
    ]);
    let joined = |list: &Value, field: &str| {
        let fields = list.as_array().into_iter().flatten().map(|entry| text(&entry[field]));
        let fields: Vec<String> = fields.filter(|field| !field.is_empty()).collect();
        fields.join(" ")
    };
    for session in body["sessions"].as_array().into_iter().flatten() {
        table.row(vec![
            text(&session["id"]),
            text(&session["state"]),
            joined(&session["sockets"], "address"),
            text(&session["source_addr"]),
            joined(&session["tracks"], "encoding"),
            text(&session["packets_received"]),
            text(&session["packets_lost"]),
            text(&session["origin"]),
            text(&session["trouble"]),
        ]);
    }
    table
}

fn show(api: &Api, id: &str, as_json: bool) -> Result<(), Failure> {
    print(api, &rtp_session_path(id), as_json, |body, out| detail(body).write(out))
}

fn detail(body: &Value) -> Table {
    let mut table = Table::without_heading();
    for (name, value) in body.as_object().into_iter().flatten() {
        match value {
            Value::Array(entries) => {
                for (place, entry) in entries.iter().enumerate() {
                    table.row(vec![format!("{name}[{place}]"), one_line(entry)]);
                }
            }
            value => table.row(vec![name.clone(), text(value)]),
        }
    }
    table
}

/// The fields of an entry that say something.
fn one_line(entry: &Value) -> String {
    let Value::Object(fields) = entry else { return text(entry) };
    let said = fields.iter().filter(|(_, value)| !value.is_null());
    let said: Vec<String> = said.map(|(name, value)| format!("{name} {}", text(value))).collect();
    said.join(", ")
}

/// The object that is posted: only what was given.
fn description(session: &AddSession) -> Result<Value, Failure> {
    let tracks: Vec<Value> =
        session.track.iter().map(|text| track(text)).collect::<Result<_, _>>()?;
    let words = |given: bool, list: Value| if given { list } else { Value::Null };
    let feedback: Vec<_> = session.feedback.iter().map(|kind| word(*kind)).collect();
    let mut object = json!({
        "id": session.id,
        "sdp": session.sdp.as_deref().map(sdp).transpose()?,
        "port": session.port,
        "rtcp_port": session.rtcp_port,
        "listen_addr": session.listen_addr,
        "transport": session.transport.map(word),
        "payload_type": session.payload_type,
        "codec": session.codec,
        "fmtp": session.fmtp,
        "ssrc": session.ssrc,
        "rtx_payload_type": session.rtx_payload_type,
        "tracks": words(!tracks.is_empty(), tracks.into()),
        "group": session.group,
        "source": session.source,
        "interface": session.interface,
        "second_leg": session.second_leg.map(|port| json!({"port": port})),
        "fec": session.fec.then_some(true),
        "feedback": words(!feedback.is_empty(), feedback.into()),
        "allow": words(!session.allow.is_empty(), session.allow.clone().into()),
        "deny": words(!session.deny.is_empty(), session.deny.clone().into()),
        "open": session.open.then_some(true),
        "latency": session.latency,
        "session_timeout": session.session_timeout,
        "max_bandwidth": session.max_bandwidth,
        "rate_limit": session.rate_limit,
    });
    if let Some(object) = object.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    Ok(object)
}

/// A choice as the API names it, which is as the command line does.
fn word(choice: impl ValueEnum) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn track(text: &str) -> Result<Value, Failure> {
    serde_json::from_str::<Map<String, Value>>(text).map(Value::Object).map_err(|error| {
        let example = r#"'{"port": 6012, "payload_type": 97, "codec": "opus/48000/2"}'"#;
        Failure::usage(format!("--track {text}: {error}; a track is an object, as {example}"))
    })
}

/// Text of a description; FFmpeg heads what it prints with a line of its own.
fn sdp(path: &str) -> Result<String, Failure> {
    let mut description = String::new();
    let read = match path {
        "-" => io::stdin().lock().read_to_string(&mut description),
        path => std::fs::File::open(path).and_then(|mut it| it.read_to_string(&mut description)),
    };
    read.map_err(|error| Failure::usage(format!("--sdp {path}: {error}")))?;
    let text = description.strip_prefix("SDP:").map(str::trim_start);
    Ok(text.map_or_else(|| description.clone(), str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_holds_what_was_given() {
        let session = AddSession {
            id: "a".into(),
            track: vec![r#"{"port": 1}"#.into(), r#"{"port": 3}"#.into()],
            second_leg: Some(7),
            feedback: vec![Feedback::Nack, Feedback::Pli],
            allow: vec!["10.0.0.0/8".into()],
            transport: Some(Transport::Rtp),
            ..AddSession::default()
        };
        let expected = json!({
            "id": "a", "tracks": [{"port": 1}, {"port": 3}], "second_leg": {"port": 7},
            "feedback": ["nack", "pli"], "allow": ["10.0.0.0/8"], "transport": "rtp"
        });
        assert_eq!(description(&session).unwrap(), expected);
        let wrong = AddSession { track: vec!["port=1".into()], ..session };
        assert!(description(&wrong).unwrap_err().message.contains("--track port=1"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named_and_ffmpegs_heading_is_left_out() {
        assert!(sdp("/nonexistent/x.sdp").unwrap_err().message.contains("/nonexistent/x.sdp"));
        let file = std::env::temp_dir().join(format!("penstock-{}.sdp", std::process::id()));
        std::fs::write(&file, "SDP:\nv=0\r\n").unwrap();
        let text = sdp(file.to_str().unwrap());
        std::fs::remove_file(&file).unwrap();
        assert_eq!(text.unwrap(), "v=0\r\n");
    }

    #[test]
    fn the_list_shows_where_a_session_listens_and_what_came() {
        let body = json!({"sessions": [{
            "id": "a", "state": "receiving", "sockets": [{"address": "h:1"}, {"address": "h:2"}],
            "source_addr": "p:5", "tracks": [{"encoding": "H264"}, {"encoding": null}],
            "packets_received": 258, "packets_lost": 0, "origin": "api", "trouble": null
        }]});
        let mut out = Vec::new();
        table(&body).write(&mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        for word in ["receiving", "h:1 h:2", "p:5", "H264", "258"] {
            assert!(out.contains(word), "{out}");
        }
    }
}
