//! One section of the file: every key is asked for by name, so that what nobody asked for is
//! unknown, and an error always names the key in full.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::Error;

/// The keys of one section that are still unread.
#[derive(Debug)]
pub(super) struct Section {
    name: &'static str,
    values: Map<String, Value>,
    known: Vec<&'static str>,
    inert: Vec<String>,
}

impl Section {
    /// Takes the section `name` out of the document; an absent or empty one reads as defaults.
    pub(super) fn take(
        document: &mut Map<String, Value>,
        name: &'static str,
    ) -> Result<Self, Error> {
        let values = match document.remove(name) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(values)) => values,
            Some(other) => {
                return Err(Error::config(name, format!("needs keys below it, not {other}")));
            }
        };
        Ok(Self { name, values, known: Vec::new(), inert: Vec::new() })
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    fn value(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.values.remove(key).filter(|value| !value.is_null())
    }

    fn refuse<T>(&self, key: &str, value: &Value, wanted: impl Display) -> Result<T, Error> {
        Err(Error::config(self.key(key), format!("{value} is not {wanted}")))
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> Result<bool, Error> {
        match self.value(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => self.refuse(key, &other, "true or false"),
        }
    }

    /// A whole number within `range`, if given.
    pub(super) fn number_if(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Error> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match value.as_u64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => self.refuse(
                key,
                &value,
                format_args!("a whole number from {} to {}", range.start(), range.end()),
            ),
        }
    }

    /// A whole number within `range`.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, Error> {
        Ok(self.number_if(key, range)?.unwrap_or(default))
    }

    /// A UDP or TCP port, if given.
    pub(super) fn port_if(&mut self, key: &'static str) -> Result<Option<u16>, Error> {
        let port = self.number_if(key, 1..=u64::from(u16::MAX))?;
        Ok(port.and_then(|port| u16::try_from(port).ok()))
    }

    /// A duration with its unit, within `range`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Result<Duration, Error> {
        let Some(value) = self.value(key) else { return Ok(default) };
        let parsed = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
        match parsed.filter(|duration| range.contains(duration)) {
            Some(duration) => Ok(duration),
            None => self.refuse(
                key,
                &value,
                format_args!(
                    "a duration with its unit, such as \"30s\" or \"500ms\", from {} to {}",
                    humantime::format_duration(*range.start()),
                    humantime::format_duration(*range.end()),
                ),
            ),
        }
    }

    /// A text; a bare number or flag counts as its text.
    pub(super) fn text(&mut self, key: &'static str, default: &str) -> Result<String, Error> {
        match self.value(key) {
            None => Ok(default.to_owned()),
            Some(Value::String(text)) => Ok(text),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(value.to_string()),
            Some(other) => self.refuse(key, &other, "a text"),
        }
    }

    /// A text that `parse` understands; `wanted` says what would be right.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        default: &str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Error> {
        let text = self.text(key, default)?;
        match parse(&text) {
            Some(value) => Ok(value),
            None => self.refuse(key, &Value::String(text), wanted),
        }
    }

    /// Keys that are understood but have no effect in this version.
    pub(super) fn inert(&mut self, keys: &[&'static str]) {
        for key in keys {
            if self.value(key).is_some() {
                let full = self.key(key);
                self.inert.push(full);
            }
        }
    }

    /// Refuses what nobody asked for; `inert` gathers the keys without effect.
    pub(super) fn finish(mut self, inert: &mut Vec<String>) -> Result<(), Error> {
        if let Some(unknown) = self.values.keys().next() {
            self.known.sort_unstable();
            return Err(Error::config(
                self.key(unknown),
                format!("unknown key; the section {} knows: {}", self.name, self.known.join(", ")),
            ));
        }
        inert.append(&mut self.inert);
        Ok(())
    }
}
