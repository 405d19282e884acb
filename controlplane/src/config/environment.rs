//! Overrides from the environment: `PENSTOCK_SERVER_HTTP_PORT=9000` is `server.http_port: 9000`.

use serde_json::{Map, Value};

use crate::Error;

/// Sections whose variables are read here; the other sections' belong to the dataplane.
const OWN: [&str; 5] = ["server", "metrics", "logging", "registry", "redis"];

/// Puts each variable of an own section, and `PENSTOCK_DATAPLANE_SOCKET`, in the document's place
/// of it. A misspelt key fails later like one in the file.
pub(super) fn apply(
    document: &mut Map<String, Value>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<(), Error> {
    for (name, text) in variables {
        let Some(rest) = name.strip_prefix("PENSTOCK_") else { continue };
        let lower = rest.to_ascii_lowercase();
        let Some((section, key)) = lower.split_once('_') else { continue };
        if OWN.contains(&section) {
            set(document, section, key, scalar(&text), &name)?;
        } else if (section, key) == ("dataplane", "socket") {
            set(document, section, key, Value::String(text), &name)?;
        } else if let Some(key) = lower.strip_prefix("ingestion_authorization_") {
            set_authorization(document, key, text, &name)?;
        }
    }
    Ok(())
}

/// Of `ingestion` only this section is read here.
fn set_authorization(
    document: &mut Map<String, Value>,
    key: &str,
    text: String,
    variable: &str,
) -> Result<(), Error> {
    let ingestion = document.entry("ingestion").or_insert(Value::Null);
    if ingestion.is_null() {
        *ingestion = Value::Object(Map::new());
    }
    let Some(ingestion) = ingestion.as_object_mut() else {
        return Err(Error::config("ingestion", format!("needs keys below it, for {variable} too")));
    };
    set(ingestion, "authorization", key, Value::String(text), variable)
}

fn set(
    document: &mut Map<String, Value>,
    section: &str,
    key: &str,
    value: Value,
    variable: &str,
) -> Result<(), Error> {
    let place = document.entry(section).or_insert(Value::Null);
    if place.is_null() {
        *place = Value::Object(Map::new());
    }
    let Some(keys) = place.as_object_mut() else {
        return Err(Error::config(section, format!("needs keys below it, for {variable} too")));
    };
    keys.insert(key.to_owned(), value);
    Ok(())
}

/// A variable's text as YAML would read it; what is not a plain scalar stays text.
fn scalar(text: &str) -> Value {
    match serde_saphyr::from_str::<Value>(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}
