//! `penstock events`: what happened, and what happens.

use std::io::{self, BufRead, BufReader, Write};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::api::Api;
use super::table::printable;
use super::{Events, Failure};

/// Longest line of a followed answer.
const LINE_BYTES_MAX: u64 = 64 << 10;

pub(super) fn events(api: &Api, arguments: &Events, json: bool) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let filter = filter(arguments);
    let body = api.get(&format!("/api/v1/events?limit={}{filter}", arguments.limit))?;
    let listed = body["events"].as_array();
    for event in listed.into_iter().flatten() {
        write(&mut out, event, json)?;
    }
    out.flush()?;
    if !arguments.follow {
        return Ok(());
    }
    let mut cursor = body["next"].as_u64().unwrap_or_default();
    loop {
        let path = format!("/api/v1/events/stream?after={cursor}{filter}");
        let mut lines = BufReader::new(api.follow(&path)?);
        while let Some(line) = next_line(&mut lines)? {
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let Ok(event) = serde_json::from_str::<Value>(data) else { continue };
            cursor = event["cursor"].as_u64().unwrap_or(cursor);
            write(&mut out, &event, json)?;
            out.flush()?;
        }
        // The control plane was stopped; the next try says so, or goes on where this ended.
    }
}

/// The next line; `None` at the end, also when it comes in the middle of one.
fn next_line(lines: &mut impl BufRead) -> Result<Option<String>, Failure> {
    let mut line = String::new();
    match io::Read::take(&mut *lines, LINE_BYTES_MAX).read_line(&mut line) {
        Ok(0) | Err(_) => Ok(None),
        Ok(_) => Ok(Some(line.trim_end().to_owned())),
    }
}

fn filter(arguments: &Events) -> String {
    let mut text = String::new();
    for (name, value) in [("kind", &arguments.kind), ("stream_id", &arguments.stream)] {
        if let Some(value) = value {
            text += &format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
        }
    }
    text
}

fn write(out: &mut impl Write, event: &Value, json: bool) -> io::Result<()> {
    if json {
        return writeln!(out, "{event}");
    }
    let field = |name: &str| match &event[name] {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    };
    write!(out, "{} {:<12}", field("time"), field("kind"))?;
    for name in ["stream_id", "source", "listener"] {
        let value = field(name);
        if !value.is_empty() {
            write!(out, " {value}")?;
        }
    }
    let known =
        ["cursor", "sequence", "time", "kind", "stream_id", "source", "listener", "message"];
    for (name, value) in event.as_object().into_iter().flatten() {
        if !known.contains(&name.as_str()) && !value.is_null() {
            write!(out, " {name}={}", field(name))?;
        }
    }
    match field("message") {
        message if message.is_empty() => writeln!(out),
        message => writeln!(out, ": {message}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_one_line_with_what_it_has() {
        let event = json!({
            "cursor": 5, "sequence": 1, "time": "2026-01-02T03:04:05Z", "kind": "refused",
            "stream_id": "live/a", "source": "10.0.0.1:9", "listener": "srt",
            "reason": "conflict", "message": "the id has a live publisher", "code": 2409,
        });
        let mut out = Vec::new();
        write(&mut out, &event, false).unwrap();
        let line = "2026-01-02T03:04:05Z refused      live/a 10.0.0.1:9 srt code=2409 \
                    reason=conflict: the id has a live publisher\n";
        assert_eq!(String::from_utf8(out).unwrap(), line);
    }

    #[test]
    fn the_filter_is_escaped() {
        let arguments =
            Events { follow: false, limit: 5, kind: None, stream: Some("live/a&kind=x".into()) };
        assert_eq!(filter(&arguments), "&stream_id=live%2Fa%26kind%3Dx");
    }
}
