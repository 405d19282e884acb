//! Key material messages and the answers to them (draft-sharabayko-srt-01, 3.2.2).
//!
//! ```text
//!  0               8               16              24              32
//!  |0| version 1 | type 2 |      signature 0x2029         | 0 ... |KK |
//!  |                     key encryption key index, 0               |
//!  |  cipher       |  auth         |  SE, 2        |  0            |
//!  |  0                            |  salt words, 4|  key words    |
//!  |                     salt, 16 bytes                            |
//!  |       wrapped keys: 8 bytes and one or two keys, even first   |
//! ```
//!
//! Cipher 2 and authentication 0 is AES-CTR, cipher 4 and authentication 1 AES-GCM. A message that
//! was taken is answered with itself, one that was not with one word that says why.

use std::fmt;

use super::{KEY_BYTES_MAX, KeySize, Mode, Parity, SALT_BYTES, Suite};
use crate::Error;

/// Bytes of the longest key material message: two keys of 32 bytes.
pub const KM_BYTES_MAX: usize = FIXED_BYTES + SALT_BYTES + CHECK_BYTES + 2 * KEY_BYTES_MAX;

const FIXED_BYTES: usize = 16;
/// What wrapping adds (RFC 3394).
const CHECK_BYTES: usize = 8;
const VERSION_AND_TYPE: u8 = 0x12;
const SIGNATURE: [u8; 2] = [0x20, 0x29];
const CIPHER_CTR: u8 = 2;
const CIPHER_GCM: u8 = 4;
const AUTH_NONE: u8 = 0;
const AUTH_GCM: u8 = 1;
/// Stream encapsulation: MPEG-TS over SRT.
const ENCAPSULATION: u8 = 2;
const SALT_WORDS: u8 = 4;

/// Which keys a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parities {
    /// One.
    One(Parity),
    /// Both.
    Both,
}

impl Parities {
    const fn count(self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Both => 2,
        }
    }
}

/// What wrapping makes of its check value and all keys of a message (RFC 3394): it tells the keys
/// from others, and nothing of them. Unlike the message around it, nobody can change it on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal([u8; CHECK_BYTES]);

/// A key material message whose layout is right. Its keys are still wrapped, so it holds no secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyMaterial {
    bytes: [u8; KM_BYTES_MAX],
    len: u8,
    suite: Suite,
    parities: Parities,
}

impl KeyMaterial {
    /// Reads a message: the whole of an extension's content or of a control packet's body.
    pub fn parse(message: &[u8]) -> Result<Self, Error> {
        let (fixed, rest) =
            message.split_first_chunk::<FIXED_BYTES>().ok_or(Error::BadKeyMaterial)?;
        let [head, sign_a, sign_b, flags, _, _, _, _, cipher, auth, se, _, _, _, salt, key] =
            *fixed;
        if head != VERSION_AND_TYPE
            || [sign_a, sign_b] != SIGNATURE
            || se != ENCAPSULATION
            || salt != SALT_WORDS
        {
            return Err(Error::BadKeyMaterial);
        }
        let parities = match flags & 3 {
            1 => Parities::One(Parity::Even),
            2 => Parities::One(Parity::Odd),
            3 => Parities::Both,
            _ => return Err(Error::BadKeyMaterial),
        };
        let size = KeySize::from_bytes(usize::from(key) * 4).ok_or(Error::BadKeyMaterial)?;
        if rest.len() != SALT_BYTES + CHECK_BYTES + parities.count() * size.bytes() {
            return Err(Error::BadKeyMaterial);
        }
        let mode = match (cipher, auth) {
            (CIPHER_CTR, AUTH_NONE) => Mode::Ctr,
            (CIPHER_GCM, AUTH_GCM) => Mode::Gcm,
            _ => return Err(Error::UnsupportedCipher),
        };
        let mut bytes = [0; KM_BYTES_MAX];
        let len = u8::try_from(message.len()).map_err(|_| Error::BadKeyMaterial)?;
        bytes.get_mut(..message.len()).ok_or(Error::BadKeyMaterial)?.copy_from_slice(message);
        Ok(Self { bytes, len, suite: Suite { mode, size }, parities })
    }

    /// Writes a message of keys that `wrapped` holds.
    pub(super) fn new(
        suite: Suite,
        parities: Parities,
        salt: &[u8; SALT_BYTES],
        wrapped: &[u8],
    ) -> Option<Self> {
        let (cipher, auth) = match suite.mode {
            Mode::Ctr => (CIPHER_CTR, AUTH_NONE),
            Mode::Gcm => (CIPHER_GCM, AUTH_GCM),
        };
        let flags = match parities {
            Parities::One(Parity::Even) => 1,
            Parities::One(Parity::Odd) => 2,
            Parities::Both => 3,
        };
        let key_words = u8::try_from(suite.size.bytes() / 4).ok()?;
        let [sign_a, sign_b] = SIGNATURE;
        let fixed = [
            VERSION_AND_TYPE,
            sign_a,
            sign_b,
            flags,
            0,
            0,
            0,
            0,
            cipher,
            auth,
            ENCAPSULATION,
            0,
            0,
            0,
            SALT_WORDS,
            key_words,
        ];
        let mut message = [0; KM_BYTES_MAX];
        let mut writer = crate::bytes::Writer::new(&mut message);
        writer.put(&fixed);
        writer.put(salt);
        writer.put(wrapped);
        let len = writer.finish()?;
        Self::parse(message.get(..len)?).ok()
    }

    /// Its wire form.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The cipher its keys are for.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The keys it carries.
    pub const fn parities(&self) -> Parities {
        self.parities
    }

    /// The salt: of the key that wraps, and of the counters.
    pub fn salt(&self) -> [u8; SALT_BYTES] {
        let salt = self.bytes.get(FIXED_BYTES..).and_then(|rest| rest.first_chunk());
        salt.copied().unwrap_or_default()
    }

    /// What tells its keys from those of any other message.
    pub(crate) fn seal(&self) -> Seal {
        Seal(self.wrapped().first_chunk().copied().unwrap_or_default())
    }

    /// The keys, wrapped.
    pub(super) fn wrapped(&self) -> &[u8] {
        self.as_bytes().get(FIXED_BYTES + SALT_BYTES..).unwrap_or_default()
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMaterial")
            .field("suite", &self.suite)
            .field("parities", &self.parities)
            .finish_non_exhaustive()
    }
}

/// What a refusal of key material says (3.2.1.2, and libsrt's SRT_KM_STATE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// 0: this side does not encrypt.
    Unsecured,
    /// 3: this side has no passphrase.
    NoSecret,
    /// 4: the passphrases differ.
    BadSecret,
    /// 5: the cipher modes differ.
    BadMode,
}

impl KeyState {
    /// The word on the wire. libsrt copies it as it lies in memory, so it is the one little-endian
    /// word of the protocol.
    pub const fn to_bytes(self) -> [u8; 4] {
        let code: u32 = match self {
            Self::Unsecured => 0,
            Self::NoSecret => 3,
            Self::BadSecret => 4,
            Self::BadMode => 5,
        };
        code.to_le_bytes()
    }

    const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Unsecured),
            3 => Some(Self::NoSecret),
            4 => Some(Self::BadSecret),
            5 => Some(Self::BadMode),
            _ => None,
        }
    }
}

/// The refusal in a KMRSP: one word, of either byte order, as implementations other than libsrt
/// send it in network order. `None` when it is not a refusal.
pub(crate) fn response_state(response: &[u8]) -> Option<KeyState> {
    let word: [u8; 4] = response.try_into().ok()?;
    KeyState::from_code(u32::from_le_bytes(word))
        .or_else(|| KeyState::from_code(u32::from_be_bytes(word)))
}
