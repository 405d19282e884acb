//! What requests say: ids in the path, parameters in the query, bodies.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, Uri, header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::error::ApiError;

/// An id from the path, percent-decoded.
pub(super) type Id = Result<Path<String>, PathRejection>;

pub(super) fn decoded(id: Id) -> Result<String, ApiError> {
    match id {
        Ok(Path(id)) => Ok(id),
        Err(_) => Err(ApiError::invalid_parameter("id", "the stream id is not UTF-8")),
    }
}

/// The parameters of a query; a name that is not `known` is refused.
pub(super) fn query(uri: &Uri, known: &[&str]) -> Result<Vec<(String, String)>, ApiError> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name);
            if known.contains(&name.as_str()) {
                return Ok((name, decode(value)));
            }
            let allowed = if known.is_empty() { "none" } else { &known.join(", ") };
            let message = format!("unknown parameter {name:?}; this route knows: {allowed}");
            Err(ApiError::invalid_parameter(&name, message))
        })
        .collect()
}

/// The id of a request that takes no parameters.
pub(super) fn only_id(id: Id, uri: &Uri) -> Result<String, ApiError> {
    query(uri, &[])?;
    decoded(id)
}

/// Whether a body is of this type. A page of another origin cannot send any of those that are
/// asked for: browsers ask first.
pub(super) fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case(wanted)
}

/// A body of JSON.
pub(super) fn json(body: &[u8]) -> Result<Value, ApiError> {
    // The parser quotes nothing of what it read.
    serde_json::from_slice(body).map_err(|error| {
        ApiError::invalid_parameter("body", format!("the body is not JSON: {error}"))
    })
}

/// A body that is an object and is said to be JSON.
pub(super) fn object(headers: &HeaderMap, body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if !is_of_type(headers, "application/json") {
        let message = "the body is to be sent with content-type: application/json";
        return Err(ApiError::invalid_parameter("content-type", message));
    }
    match json(body)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(ApiError::invalid_parameter("body", "not an object, as {\"id\": \"cam\", …}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_parameters_are_refused_by_name() {
        let uri = |text: &str| text.parse().unwrap();
        let error = query(&uri("/x?blok_s=1"), &["block_s"]).unwrap_err();
        assert!(error.message().contains("blok_s") && error.message().contains("block_s"));
        assert_eq!(query(&uri("/x?a=b+c%2F&a"), &["a"]).unwrap()[0].1, "b c/");
    }

    #[test]
    fn a_body_is_a_json_object_and_says_so() {
        let mut headers = HeaderMap::new();
        assert!(object(&headers, b"{}").is_err());
        let kind = header::HeaderValue::from_static("application/json; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, kind);
        assert!(object(&headers, b"{\"id\": \"cam\"}").is_ok());
        for wrong in [&b"[]"[..], b"{", b"", b"5", b"{\"x\": NaN}", b"{\"x\": 1e400}"] {
            let error = object(&headers, wrong).unwrap_err();
            assert_eq!(error.key(), Some("body"), "{}", error.message());
        }
    }
}
