//! What must never be shown: passphrases and publish keys.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Shortest and longest passphrase of SRT (libsrt's SRTO_PASSPHRASE).
const PASSPHRASE_BYTES: std::ops::RangeInclusive<usize> = 10..=79;
/// What stands for a secret wherever one is printed.
const REDACTED: &str = "(secret)";

/// A secret as it stands in the file: neither its text nor a wrong value ever reaches a message.
#[derive(Clone, Default)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for SecretText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The library's own message would quote what it found instead of a text.
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(Zeroizing::new(text))),
            _ => Err(serde::de::Error::custom("not a text; put the secret in quotes")),
        }
    }
}

/// A passphrase that key encryption keys are derived from. Zeroed when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// What SRT takes: 10 to 79 bytes.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let fits = PASSPHRASE_BYTES.contains(&bytes.len());
        fits.then(|| Self(Zeroizing::new(bytes.to_vec())))
    }

    /// Its bytes, for key derivation only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// What a publisher must present, kept as its SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct PublishKey([u8; 32]);

impl PublishKey {
    pub(super) fn new(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Whether that is the key; the time it takes says nothing about how near it is.
    pub(crate) fn admits(&self, presented: &str) -> bool {
        Self::new(presented).0.ct_eq(&self.0).into()
    }
}

impl fmt::Debug for PublishKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let text: SecretText = serde_json::from_str("\"correct horse\"").expect("a text");
        let passphrase = Passphrase::new(b"correct horse").expect("long enough");
        let key = PublishKey::new("correct horse");
        let printed = format!("{text:?} {passphrase:?} {key:?}");
        assert!(!printed.contains("horse") && !printed.contains("104"), "{printed}");
        assert_eq!(serde_json::to_string(&text).expect("serializes"), "\"(secret)\"");
    }

    #[test]
    fn a_secret_of_the_wrong_type_is_not_quoted() {
        let error = serde_json::from_str::<SecretText>("1234567890").expect_err("a number");
        assert!(!error.to_string().contains("1234567890"), "{error}");
    }

    #[test]
    fn a_passphrase_has_10_to_79_bytes() {
        for (len, fits) in [(9, false), (10, true), (79, true), (80, false)] {
            assert_eq!(Passphrase::new(&vec![b'x'; len]).is_some(), fits, "{len}");
        }
    }

    #[test]
    fn only_the_key_itself_admits() {
        let key = PublishKey::new("k3y");
        assert!(key.admits("k3y"));
        assert!(!key.admits("k3") && !key.admits("k3yy") && !key.admits(""));
    }
}
