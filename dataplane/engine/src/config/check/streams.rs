//! `ingestion.streams`.

use super::options::overrides;
use super::{Error, optional, refuse};
use crate::config::pattern::Pattern;
use crate::config::schema::Stream;
use crate::config::srt::{Named, Rule, Rules};

/// Rules are tried one by one, at admission only.
const RULES_MAX: usize = 10_000;

pub(super) fn rules(streams: &[Stream]) -> Result<Rules, Error> {
    if streams.len() > RULES_MAX {
        return refuse(
            "ingestion.streams",
            format!("{} elements; allowed are up to {RULES_MAX}", streams.len()),
        );
    }
    let mut rules: Vec<Rule> = Vec::with_capacity(streams.len());
    for (place, stream) in streams.iter().enumerate() {
        let at = format!("ingestion.streams[{place}]");
        let rule = rule(&at, stream)?;
        if rules.iter().any(|other| other.named == rule.named) {
            return refuse(&at, format!("{:?} is named twice", rule.named));
        }
        rules.push(rule);
    }
    Ok(Rules::new(rules))
}

fn rule(at: &str, stream: &Stream) -> Result<Rule, Error> {
    let named = match (stream.id.as_deref(), stream.pattern.as_deref()) {
        (Some(id), None) => Named::Id(text(&format!("{at}.id"), id)?),
        (None, Some(pattern)) => {
            Named::Pattern(Pattern::new(&text(&format!("{at}.pattern"), pattern)?))
        }
        _ => return refuse(at, "give one of id and pattern"),
    };
    Ok(Rule {
        named,
        connections_max: optional(
            &format!("{at}.max_connections"),
            stream.max_connections,
            1..=4_096,
        )?,
        over: overrides(at, &stream.options())?,
    })
}

/// What a stream id may be.
pub(super) fn text(key: &str, text: &str) -> Result<String, Error> {
    let printable = |byte: u8| (0x20..0x7f).contains(&byte);
    let fits = (1..=shm::STREAM_ID_BYTES_MAX).contains(&text.len());
    if !fits || !text.bytes().all(printable) || text.trim() != text {
        return refuse(
            key,
            "allowed are 1 to 512 printable ASCII characters, without a space at either end",
        );
    }
    Ok(text.to_owned())
}
