//! Sources as the link tells them: the streams that the dataplane fetches.

use serde::{Deserialize, Serialize};

use super::page::Page;

/// Sources in the order of their ids, as many as fit a message.
pub type SourcesPage = Page<SourceReport>;

/// One source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Its id and that of its stream.
    pub id: String,
    /// `caller` or `rendezvous`.
    pub mode: String,
    /// Whom it calls, as configured.
    pub address: String,
    /// The address that is called or was connected last, once the name is known.
    pub peer: Option<String>,
    /// The StreamID it sends.
    pub stream_id: String,
    /// It has a passphrase, which is never told.
    pub encrypted: bool,
    /// It stands in the configuration file.
    pub configured: bool,
    /// `idle`, `waiting`, `connecting` or `connected`.
    pub state: String,
    /// `closed`, `open` or `half_open`.
    pub breaker: String,
    /// Refusals in a row while the breaker is closed.
    pub refusals_in_a_row: u32,
    /// How long the breaker stays open.
    pub breaker_open_ms: Option<u64>,
    /// Time to the next try.
    pub next_try_ms: Option<u64>,
    /// Tries.
    pub attempts: u64,
    /// Tries that came to a connection.
    pub connections: u64,
    /// Those that did not.
    pub failures: SourceFailures,
    /// What was the matter last.
    pub last_failure: Option<SourceFailure>,
    /// Since when it is connected.
    pub connected_unix_ns: Option<u64>,
}

/// Tries that came to nothing, by what was the matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SourceFailures {
    /// Nobody answered.
    pub timeout: u64,
    /// The peer refused.
    pub rejected: u64,
    /// What the peer offered cannot be served.
    pub refused: u64,
    /// The answer made no sense.
    pub bad_answer: u64,
    /// The name has no address.
    pub unresolved: u64,
    /// It could not be tried from here.
    pub local: u64,
}

impl SourceFailures {
    /// Each with its word for labels.
    pub const fn labelled(&self) -> [(&'static str, u64); 6] {
        [
            ("timeout", self.timeout),
            ("rejected", self.rejected),
            ("refused", self.refused),
            ("bad_answer", self.bad_answer),
            ("unresolved", self.unresolved),
            ("local", self.local),
        ]
    }
}

/// One failure, or the end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFailure {
    /// A word of a closed set.
    pub reason: String,
    /// The code of a refusal.
    pub code: Option<u32>,
    /// For people.
    pub message: String,
    /// When.
    pub unix_ns: u64,
}

#[cfg(test)]
pub(super) fn example(id: &str) -> SourceReport {
    SourceReport {
        id: id.to_owned(),
        mode: "caller".into(),
        address: "encoder.example:9000".into(),
        peer: Some("192.0.2.1:9000".into()),
        stream_id: String::new(),
        encrypted: false,
        configured: true,
        state: "waiting".into(),
        breaker: "closed".into(),
        refusals_in_a_row: 1,
        breaker_open_ms: None,
        next_try_ms: Some(500),
        attempts: 3,
        connections: 1,
        failures: SourceFailures { rejected: 2, ..SourceFailures::default() },
        last_failure: Some(SourceFailure {
            reason: "rejected".into(),
            code: Some(1_010),
            message: "wrong passphrase".into(),
            unix_ns: 5,
        }),
        connected_unix_ns: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_with_the_longest_texts_fits_a_page() {
        // Printable ids of 512 bytes double at most, any StreamID takes six times as many.
        let mut source = example(&"\"".repeat(512));
        source.stream_id = "\u{1}".repeat(512);
        source.address = format!("{}:65535", "a".repeat(253));
        let failure = source.last_failure.as_mut().expect("the example has one");
        failure.message = "x".repeat(300);
        assert!(SourcesPage::default().push(source));
    }

    #[test]
    fn a_full_page_says_that_there_is_more() {
        let mut page = SourcesPage::default();
        let taken = (0..100).take_while(|place| page.push(example(&place.to_string()))).count();
        assert!((8..100).contains(&taken));
        let (sources, more) = page.into_parts();
        assert_eq!((sources.len(), more), (taken, true));
    }
}
