//! The commands that ask the control plane.

use std::io::{self, StdoutLock, Write};

use serde_json::Value;

use super::api::{Api, stream_path};
use super::table::{Table, printable};
use super::{Failure, Kind};

/// `penstock streams`
pub(super) fn streams(api: &Api, status: Option<&str>, json: bool) -> Result<(), Failure> {
    let query = status.map_or_else(String::new, |status| {
        let set = percent_encoding::NON_ALPHANUMERIC;
        format!("?status={}", percent_encoding::utf8_percent_encode(status, set))
    });
    let path = format!("/api/v1/streams{query}");
    print(api, &path, json, |body, out| list(body).write(out))
}

fn list(body: &Value) -> Table {
    let mut table = Table::new(&[
        "ID",
        "STATUS",
        "TYPE",
        "SOURCE",
        "CODEC",
        "SIZE",
        "FPS",
        "MBIT/S",
        "RTT MS",
        "LOST",
        "UNRECOVERED",
    ]);
    for stream in body["streams"].as_array().into_iter().flatten() {
        let stats = &stream["stats"];
        table.row(vec![
            text(&stream["id"]),
            status(stream),
            text(&stream["type"]),
            text(&stream["source_addr"]),
            text(&stream["video_codec"]),
            text(&stream["resolution"]),
            decimals(&stream["frame_rate"], 1.0, 2),
            decimals(&stream["bitrate"], 1e6, 2),
            decimals(&stats["connection_stats"]["rtt_ms"], 1.0, 1),
            text(&stats["packets_lost"]),
            text(&stats["packets_unrecovered"]),
        ]);
    }
    table
}

/// `penstock stream ID`
pub(super) fn stream(api: &Api, id: &str, json: bool) -> Result<(), Failure> {
    print(api, &stream_path(id), json, show)
}

fn show(stream: &Value, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new(&["id", &printable(&text(&stream["id"]))]);
    let mut line = |name: &str, value: String| table.row(vec![name.to_owned(), value]);
    line("status", status(stream));
    for name in ["type", "source_addr", "peer_version", "worker", "created_at", "connected_at"] {
        line(name, text(&stream[name]));
    }
    line("last_heartbeat", text(&stream["last_heartbeat"]));
    line("bitrate", format!("{} Mbit/s", decimals(&stream["bitrate"], 1e6, 3)));
    table.write(out)?;

    writeln!(out, "\ntracks")?;
    tracks(stream).write(out)?;

    let connection = &stream["stats"]["connection_stats"];
    if connection.is_object() {
        writeln!(out, "\nconnection")?;
        spreads(connection).write(out)?;
    }

    writeln!(out, "\ncounters")?;
    let mut counters = Table::without_heading();
    for (name, value) in stream["counters"].as_object().into_iter().flatten() {
        if value.as_i64() != Some(0) {
            counters.row(vec![format!("  {name}"), text(value)]);
        }
    }
    counters.write(out)
}

/// What varies: its value now, and least, mean and largest of the last second and since the
/// connection began.
fn spreads(connection: &Value) -> Table {
    let mut table =
        Table::new(&["  QUANTITY", "NOW", "MIN 1S", "AVG 1S", "MAX 1S", "MIN", "AVG", "MAX"]);
    for (name, places) in [
        ("rtt_ms", 1),
        ("margin_ms", 1),
        ("buffer_ms", 1),
        ("held_packets", 0),
        ("receive_rate_mbps", 3),
        ("flow_window_packets", 0),
    ] {
        let mut row = vec![format!("  {name}"), decimals(&connection[name], 1.0, places)];
        for span in ["interval", "since_connected"] {
            let range = &connection[span][name];
            row.extend(["min", "avg", "max"].map(|value| decimals(&range[value], 1.0, places)));
        }
        table.row(row);
    }
    table
}

fn tracks(stream: &Value) -> Table {
    let mut table = Table::new(&[
        "  N", "KIND", "CODEC", "PROFILE", "LEVEL", "FORMAT", "FPS", "PID", "PROGRAM", "LANGUAGE",
    ]);
    for track in stream["tracks"].as_array().into_iter().flatten() {
        let format = match (track["width"].as_u64(), track["sample_rate"].as_u64()) {
            (Some(width), _) => {
                let (height, chroma) = (text(&track["height"]), text(&track["chroma"]));
                format!("{width}x{height} {chroma} {} bit", text(&track["bit_depth"]))
            }
            (_, Some(rate)) => format!("{rate} Hz, {} channels", text(&track["channels"])),
            _ => String::new(),
        };
        let measured = &track["frame_rate_measured"];
        let rate = if measured.is_null() { &track["frame_rate_declared"] } else { measured };
        table.row(vec![
            format!("  {}", text(&track["index"])),
            text(&track["kind"]),
            text(&track["codec"]),
            text(&track["profile"]),
            text(&track["level"]),
            format,
            decimals(rate, 1.0, 2),
            text(&track["pid"]),
            text(&track["program"]),
            text(&track["language"]),
        ]);
    }
    table
}

/// `penstock set ID KEY=VALUE…`; without changes it shows the options.
pub(super) fn set(api: &Api, id: &str, changes: &[String], json: bool) -> Result<(), Failure> {
    let path = format!("{}/options", stream_path(id));
    let body =
        if changes.is_empty() { api.get(&path)? } else { api.patch(&path, &options(changes)?)? };
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{body}")?;
        return Ok(());
    }
    for key in body["applied"].as_array().into_iter().flatten() {
        writeln!(out, "{} acts now", text(key))?;
    }
    for key in body["next_connection"].as_array().into_iter().flatten() {
        writeln!(out, "{} acts from the next connection on", text(key))?;
    }
    let mut table = Table::without_heading();
    for (key, value) in body["options"].as_object().into_iter().flatten() {
        let next = text(&body["next_connection"][key]);
        let next = if next.is_empty() { next } else { format!("next: {next}") };
        table.row(vec![key.clone(), text(value), next]);
    }
    table.write(&mut out)?;
    out.flush()?;
    Ok(())
}

/// `key=value` pairs as the API takes them: numbers are numbers, everything else is text.
fn options(changes: &[String]) -> Result<Value, Failure> {
    let pair = |change: &String| {
        let (key, value) = change.split_once('=').ok_or_else(|| {
            let message = format!("{change:?} is no change; it is written KEY=VALUE");
            Failure::new(Kind::Usage, message)
        })?;
        let number = value.parse::<u64>().map(Value::from);
        Ok((key.to_owned(), number.unwrap_or_else(|_| Value::from(value))))
    };
    let object: Result<serde_json::Map<String, Value>, Failure> =
        changes.iter().map(pair).collect();
    Ok(Value::Object(object?))
}

/// `penstock kick ID`
pub(super) fn kick(api: &Api, id: &str, block: u64, json: bool) -> Result<(), Failure> {
    let body = api.delete(&format!("{}?block_s={block}", stream_path(id)))?;
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{body}")?;
    } else {
        writeln!(out, "{} was ended", printable(id))?;
    }
    Ok(())
}

/// Prints what the API says at a path: as it came, or as `show` has it, behind a warning when it is
/// old.
pub(super) fn print(
    api: &Api,
    path: &str,
    as_json: bool,
    show: impl FnOnce(&Value, &mut StdoutLock<'static>) -> io::Result<()>,
) -> Result<(), Failure> {
    let body = api.get(path)?;
    let mut out = io::stdout().lock();
    if as_json {
        writeln!(out, "{body}")?;
        return Ok(());
    }
    warn_stale(&body);
    show(&body, &mut out)?;
    out.flush()?;
    Ok(())
}

fn warn_stale(body: &Value) {
    if body["stale"] == Value::Bool(true) {
        let age_ms = text(&body["age_ms"]);
        eprintln!("penstock: the dataplane is gone or silent; this is {age_ms} ms old");
    }
}

fn status(stream: &Value) -> String {
    match stream["status_reason"].as_str() {
        Some(reason) => format!("{} ({reason})", text(&stream["status"])),
        None => text(&stream["status"]),
    }
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn decimals(value: &Value, unit: f64, places: usize) -> String {
    value.as_f64().map_or_else(String::new, |number| format!("{:.places$}", number / unit))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stream_shows_what_varies_now_in_the_last_second_and_ever() {
        let range = |min: f64| json!({"min": min, "avg": min + 1.0, "max": min + 2.0});
        let body = json!({"id": "a", "stats": {"connection_stats": {
            "rtt_ms": 20.26,
            "interval": {"rtt_ms": range(19.0)},
            "since_connected": {"rtt_ms": range(5.5)},
        }}});
        let mut out = Vec::new();
        show(&body, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let line = out.lines().find(|line| line.contains("rtt_ms")).unwrap();
        let cells: Vec<&str> = line.split_ascii_whitespace().collect();
        assert_eq!(cells, ["rtt_ms", "20.3", "19.0", "20.0", "21.0", "5.5", "6.5", "7.5"]);
    }

    #[test]
    fn changes_of_options_are_numbers_or_text() {
        let pairs =
            |pairs: &[&str]| options(&pairs.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
        let read = pairs(&["latency=200ms", "fc_window=100", "over_bandwidth=drop"]).unwrap();
        assert_eq!(read, json!({"latency": "200ms", "fc_window": 100, "over_bandwidth": "drop"}));
        assert_eq!(pairs(&["latency"]).unwrap_err().kind, Kind::Usage);
    }

    #[test]
    fn a_list_shows_status_with_reason_and_units_people_use() {
        let body = json!({"streams": [{
            "id": "a", "status": "connected, no media", "status_reason": "no_pat", "type": "srt",
            "source_addr": "127.0.0.1:9", "bitrate": 5_250_000, "frame_rate": 29.97,
            "video_codec": null, "resolution": null,
            "stats": {"packets_lost": 3, "connection_stats": {"rtt_ms": 20.26}}
        }]});
        let mut out = Vec::new();
        list(&body).write(&mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("connected, no media (no_pat)"), "{out}");
        assert!(out.contains("5.25") && out.contains("29.97") && out.contains("20.3"), "{out}");
        assert!(!out.contains("null"), "{out}");
    }
}
