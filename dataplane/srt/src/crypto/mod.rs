//! Encryption of the payload (draft-sharabayko-srt-01, 6): key material messages, the key that
//! wraps them, and the ciphers of the two stream keys.
//!
//! ```text
//!  passphrase, salt ──PBKDF2──▶ Kek ──unwrap──▶ stream keys, even and odd ──expand──▶ Keys
//!                                ▲ KMREQ                                              │
//!                         KeyMaterial (3.2.2)                       packet in place ◀─┘
//! ```
//!
//! Deriving a [`Kek`] takes about a millisecond and is the only slow step: whoever owns packets has
//! others do it, and is handed [`Keys`]. [`Keys`] are expanded once; [`Keys::decrypt`] works in
//! place and allocates nothing. Everything that holds a secret is wiped when it is dropped.

mod cipher;
mod initiator;
mod material;
mod secret;

pub use cipher::{Keys, Undecryptable};
pub use initiator::{Initiator, Refresh};
pub use material::{KM_BYTES_MAX, KeyMaterial, KeyState, Parities};
pub(crate) use material::{Seal, response_state};
pub use secret::{Kek, PASSPHRASE_BYTES_MAX, PASSPHRASE_BYTES_MIN, Passphrase};

/// Bytes of the salt, the only length that is defined (3.2.2).
pub const SALT_BYTES: usize = 16;
/// Bytes of the authentication tag behind the payload in [`Mode::Gcm`].
pub const TAG_BYTES: usize = 16;
/// Bytes of the longest stream key.
pub(crate) const KEY_BYTES_MAX: usize = 32;

/// How payload is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Counter mode, not authenticated: every SRT implementation has it.
    Ctr,
    /// Galois/counter mode: header and payload are authenticated. libsrt has it behind a build
    /// option; what is authenticated follows its releases from 1.5.4 on.
    Gcm,
}

/// Length of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeySize {
    /// AES-128
    Aes128,
    /// AES-192
    Aes192,
    /// AES-256
    Aes256,
}

impl KeySize {
    /// From a length in bytes: 16, 24 or 32.
    pub const fn from_bytes(bytes: usize) -> Option<Self> {
        match bytes {
            16 => Some(Self::Aes128),
            24 => Some(Self::Aes192),
            32 => Some(Self::Aes256),
            _ => None,
        }
    }

    /// Its length in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }

    /// Its length in bits.
    pub const fn bits(self) -> u16 {
        match self {
            Self::Aes128 => 128,
            Self::Aes192 => 192,
            Self::Aes256 => 256,
        }
    }

    /// The encryption field of a handshake (3.2.1, table 2): its length in units of 8 bytes.
    pub const fn handshake_field(self) -> u16 {
        match self {
            Self::Aes128 => 2,
            Self::Aes192 => 3,
            Self::Aes256 => 4,
        }
    }
}

/// A cipher: mode and key length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Suite {
    /// How payload is encrypted.
    pub mode: Mode,
    /// With how long a key.
    pub size: KeySize,
}

impl Suite {
    /// Bytes that encryption adds to a payload.
    pub const fn overhead(self) -> usize {
        match self.mode {
            Mode::Ctr => 0,
            Mode::Gcm => TAG_BYTES,
        }
    }
}

/// Which of the two keys: one is in use while the other is announced (6.1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parity {
    /// KK = 01
    Even,
    /// KK = 10
    Odd,
}

impl Parity {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Even => Self::Odd,
            Self::Odd => Self::Even,
        }
    }
}

#[cfg(test)]
mod tests;
