//! `ingestion.authorization`: the dataplane checks the section, both processes act on it.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::Error;

/// A fifth below the dataplane's time, so that what could not be asked is said before it gives up.
const HEADROOM: u32 = 5;
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// An HTTP service that is asked about each publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authorization {
    /// Where questions are posted.
    pub url: String,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Presented as `Authorization: Bearer`.
    pub token: Option<Secret>,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text, for its one use.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Authorization {
    /// `None` without a URL.
    pub(super) fn read(document: &Map<String, Value>) -> Result<Option<Self>, Error> {
        let section = document.get("ingestion").and_then(|section| section.get("authorization"));
        let value = |key: &str| section.and_then(|keys| keys.get(key)).filter(|v| !v.is_null());
        let fault = |key: &str, problem: &str| {
            Err(Error::config(format!("ingestion.authorization.{key}"), problem))
        };
        let url = match value("url") {
            None => return Ok(None),
            Some(Value::String(url)) if is_url(url) => url.clone(),
            Some(_) => return fault("url", "not an address as http://127.0.0.1:9000/publish"),
        };
        let timeout = match value("timeout") {
            None => TIMEOUT_DEFAULT,
            Some(text) => match text.as_str().map(humantime::parse_duration) {
                Some(Ok(timeout)) => timeout,
                _ => return fault("timeout", "not a duration with its unit, such as \"2s\""),
            },
        };
        let token = match value("token") {
            None => None,
            Some(Value::String(text)) if is_token(text) => Some(Secret(text.clone())),
            Some(_) => return fault("token", "not a text of printable ASCII without spaces"),
        };
        Ok(Some(Self { url, timeout: timeout - timeout / HEADROOM, token }))
    }
}

fn is_url(text: &str) -> bool {
    let with_host = |uri: axum::http::Uri| uri.host().is_some_and(|host| !host.is_empty());
    let scheme = text.starts_with("http://") || text.starts_with("https://");
    scheme && text.parse().is_ok_and(with_host)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn read(yaml: &str) -> Result<Option<Authorization>, Error> {
        Config::parse(yaml, []).map(|config| config.authorization)
    }

    #[test]
    fn the_service_is_asked_within_the_dataplanes_time() {
        let yaml =
            "ingestion: {authorization: {url: 'https://a.example/x', timeout: 5s, token: t}}";
        let authorization = read(yaml).unwrap().unwrap();
        assert_eq!(authorization.timeout, Duration::from_secs(4));
        assert!(format!("{authorization:?}").contains("(secret)"));
        assert_eq!(authorization.token.unwrap().expose(), "t");
        assert_eq!(read("ingestion: {authorization: {timeout: 1s}}").unwrap(), None);
    }

    #[test]
    fn faults_are_named_and_quote_no_secret() {
        for (keys, key) in [
            ("url: x", "url"),
            ("url: 'http:///x'", "url"),
            ("url: 'http://a', timeout: soon", "timeout"),
            ("url: 'http://a', token: 'Xyz zy'", "token"),
        ] {
            let error = read(&format!("ingestion: {{authorization: {{{keys}}}}}")).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with(&format!("ingestion.authorization.{key}: ")), "{text}");
            assert!(!text.contains("Xyz"), "{text}");
        }
    }

    #[test]
    fn the_environment_reaches_both_processes() {
        let variables = [
            ("PENSTOCK_INGESTION_AUTHORIZATION_URL".to_owned(), "http://a:1/".to_owned()),
            ("PENSTOCK_INGESTION_AUTHORIZATION_TOKEN".to_owned(), "12345".to_owned()),
        ];
        let authorization = Config::parse("", variables).unwrap().authorization.unwrap();
        assert_eq!(authorization.url, "http://a:1/");
        assert_eq!(authorization.token.unwrap().expose(), "12345");
    }
}
