//! Whether bodies are what the OpenAPI document says: no field that it does not know, none missing
//! that it requires.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

/// Methods and paths, as `get /health`.
pub type Operation = (String, String);

/// An OpenAPI document.
#[derive(Debug)]
pub struct Document(Value);

impl Document {
    /// The document as it is served.
    pub const fn new(document: Value) -> Self {
        Self(document)
    }

    /// Everything that can be asked for.
    pub fn operations(&self) -> BTreeSet<Operation> {
        let paths = entries(&self.0["paths"]);
        let operations = paths.flat_map(|(path, item)| {
            entries(item).map(|(method, _)| (method.clone(), path.clone()))
        });
        operations.collect()
    }

    /// Names of the parameters that an operation takes in the query.
    pub fn parameters(&self, method: &str, path: &str) -> BTreeSet<String> {
        let parameters = self.0["paths"][path][method]["parameters"].as_array();
        let in_query = parameters.into_iter().flatten().filter(|it| it["in"] == "query");
        in_query.filter_map(|it| it["name"].as_str().map(str::to_owned)).collect()
    }

    /// Keys that a schema knows.
    pub fn keys(&self, schema: &str) -> BTreeSet<String> {
        let schema = &self.0["components"]["schemas"][schema];
        entries(&schema["properties"]).map(|(key, _)| key.clone()).collect()
    }

    /// Checks what was answered with; JSON, or a string of any other type.
    pub fn check(&self, method: &str, path: &str, (status, body): &(u16, Value)) -> Result<()> {
        let responses = &self.0["paths"][path][method]["responses"];
        let response = responses.get(status.to_string()).or_else(|| responses.get("default"));
        let response = self.followed(response.context("an answer that is not documented")?);
        let mut types = entries(&response["content"]);
        let (_, content) = types.next().context("a response without content")?;
        let faults = self.faults("body", &content["schema"], body);
        ensure!(faults.is_empty(), "{method} {path} {status}: {}\n{body}", faults.join("\n"));
        Ok(())
    }

    /// What of a value is not as its schema says.
    fn faults(&self, at: &str, schema: &Value, value: &Value) -> Vec<String> {
        let schema = self.whole(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            let tried: Vec<_> = choices.iter().map(|it| self.faults(at, it, value)).collect();
            return match tried.iter().filter(|faults| faults.is_empty()).count() {
                1 => Vec::new(),
                fits => vec![format!("{at}: {fits} of its forms fit: {tried:?}")],
            };
        }
        let mut faults = own_faults(at, &schema, value);
        for (place, item) in value.as_array().into_iter().flatten().enumerate() {
            faults.extend(self.faults(&format!("{at}[{place}]"), &schema["items"], item));
        }
        if let Some(object) = value.as_object() {
            faults.extend(self.faults_of_object(at, &schema, object));
        }
        faults
    }

    fn faults_of_object(
        &self,
        at: &str,
        schema: &Value,
        object: &Map<String, Value>,
    ) -> Vec<String> {
        let required = schema["required"].as_array().into_iter().flatten();
        let required = required.filter_map(Value::as_str);
        let missing = required.filter(|key| !object.contains_key(*key));
        let mut faults: Vec<String> = missing.map(|key| format!("{at}.{key}: missing")).collect();
        let (known, others) = (&schema["properties"], &schema["additionalProperties"]);
        for (key, value) in object {
            let at = format!("{at}.{key}");
            match known.get(key).unwrap_or(others) {
                Value::Bool(true) => {}
                property @ Value::Object(_) => faults.extend(self.faults(&at, property, value)),
                _ => faults.push(format!("{at}: not in the document")),
            }
        }
        faults
    }

    /// A schema with all that it refers to.
    fn whole(&self, schema: &Value) -> Value {
        let schema = self.followed(schema);
        let Some(parts) = schema["allOf"].as_array() else { return schema.clone() };
        let parts: Vec<Value> = parts.iter().map(|part| self.whole(part)).collect();
        let required = parts.iter().filter_map(|part| part["required"].as_array()).flatten();
        let properties: BTreeMap<_, _> =
            parts.iter().flat_map(|part| entries(&part["properties"])).collect();
        json!({"type": "object", "required": required.collect::<Vec<_>>(), "properties": properties})
    }

    fn followed<'a>(&'a self, value: &'a Value) -> &'a Value {
        let target = value["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
        target.map_or(value, |pointer| self.0.pointer(pointer).unwrap_or(&Value::Null))
    }
}

/// What the value itself shows, without what is in it.
fn own_faults(at: &str, schema: &Value, value: &Value) -> Vec<String> {
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return vec![format!("{at}: its schema has no type: {schema}")],
    };
    if !types.iter().any(|kind| is_of_type(value, kind)) {
        return vec![format!("{at}: {value} is not of type {types:?}")];
    }
    let outside = value.as_f64().is_some_and(|number| {
        schema["minimum"].as_f64().is_some_and(|least| number < least)
            || schema["maximum"].as_f64().is_some_and(|most| number > most)
    });
    let words = schema["enum"].as_array();
    let unknown = value.is_string() && words.is_some_and(|words| !words.contains(value));
    let no_time = schema["format"] == "date-time" && !value.as_str().is_none_or(is_time);
    let wrong = outside || unknown || no_time;
    wrong.then(|| format!("{at}: {value} is none of {schema}")).into_iter().collect()
}

fn is_of_type(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => false,
    }
}

/// Date, time and zone (RFC 3339, 5.6), as far as their separators tell.
fn is_time(text: &str) -> bool {
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    text.ends_with('Z')
        && separators.iter().all(|(at, byte)| text.as_bytes().get(*at) == Some(byte))
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(body: Value) -> String {
        let track = json!({"type": "object", "required": ["codec"], "properties": {
            "codec": {"type": "string", "enum": ["h264"]}, "ended_at": {"type": ["string", "null"], "format": "date-time"}
        }});
        let document = Document::new(json!({
            "components": {"schemas": {"Age": {"type": "object", "required": ["age_ms"], "properties": {
                "age_ms": {"type": "integer", "minimum": 0}
            }}}},
            "paths": {"/x": {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"allOf": [
                {"$ref": "#/components/schemas/Age"},
                {"type": "object", "properties": {
                    "tracks": {"type": "array", "items": track},
                    "opaque": {"type": "object"},
                    "counters": {"type": "object", "additionalProperties": {"type": "integer"}},
                    "either": {"oneOf": [track, {"type": "null"}]}
                }}
            ]}}}}}}}}
        }));
        document
            .check("get", "/x", &(200, body))
            .err()
            .map_or_else(String::new, |it| it.to_string())
    }

    #[test]
    fn a_body_that_the_document_describes_has_no_faults() {
        for body in [
            json!({"age_ms": 0}),
            json!({"age_ms": 1, "tracks": [{"codec": "h264", "ended_at": null}], "either": null}),
            json!({"age_ms": 1, "counters": {"drift_us": -3}, "either": {"codec": "h264"}}),
            json!({"age_ms": 1, "tracks": [{"codec": "h264", "ended_at": "2026-11-28T19:00:00Z"}]}),
        ] {
            assert_eq!(faults(body.clone()), "", "{body}");
        }
    }

    #[test]
    fn whatever_the_document_does_not_say_is_named() {
        for (body, fault) in [
            (json!({}), "body.age_ms: missing"),
            (json!({"age_ms": -1}), "body.age_ms: -1"),
            (json!({"age_ms": 1.5}), "body.age_ms: 1.5"),
            (json!({"age_ms": 1, "new": 1}), "body.new: not in the document"),
            (json!({"age_ms": 1, "opaque": {"x": 1}}), "body.opaque.x: not in the document"),
            (json!({"age_ms": 1, "tracks": [{}]}), "body.tracks[0].codec: missing"),
            (json!({"age_ms": 1, "tracks": [{"codec": "vp8"}]}), "body.tracks[0].codec: \"vp8\""),
            (
                json!({"age_ms": 1, "tracks": [{"codec": "h264", "ended_at": "now"}]}),
                "ended_at: \"now\"",
            ),
            (json!({"age_ms": 1, "counters": {"rtt": 0.5}}), "body.counters.rtt: 0.5"),
            (json!({"age_ms": 1, "either": {}}), "body.either: 0 of its forms fit"),
        ] {
            assert!(faults(body.clone()).contains(fault), "{body}: {}", faults(body.clone()));
        }
    }
}
