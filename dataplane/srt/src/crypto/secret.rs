//! The passphrase, the key made of it, and the wrapping of stream keys
//! (draft-sharabayko-srt-01, 6.1.4, 6.1.5; RFC 3394).

use std::fmt;

use aes::cipher::KeyInit;
use aes_kw::{AesKw, KwAes128, KwAes192, KwAes256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::cipher::Keys;
use super::material::{KeyMaterial, Parities};
use super::{KEY_BYTES_MAX, KeySize, Mode, SALT_BYTES, Suite};
use crate::Error;

/// Least bytes of a passphrase.
pub const PASSPHRASE_BYTES_MIN: usize = 10;
/// Most bytes of a passphrase (libsrt's HAICRYPT_SECRET_MAX_SZ).
pub const PASSPHRASE_BYTES_MAX: usize = 80;
/// Rounds of PBKDF2 (6.1.4).
const ROUNDS: u32 = 2_048;
/// The salt of PBKDF2 is the end of the message's.
const KEK_SALT_BYTES: usize = 8;
const CHECK_BYTES: usize = 8;

/// The secret both sides were told. It is never printed.
#[derive(Clone, PartialEq, Eq, Hash, Zeroize, ZeroizeOnDrop)]
pub struct Passphrase(Box<[u8]>);

impl Passphrase {
    /// From 10 to 80 bytes; `None` for any other length.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (PASSPHRASE_BYTES_MIN..=PASSPHRASE_BYTES_MAX)
            .contains(&bytes.len())
            .then(|| Self(bytes.into()))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// The key that wraps stream keys.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Kek {
    bytes: [u8; KEY_BYTES_MAX],
    #[zeroize(skip)]
    size: KeySize,
}

impl Kek {
    /// Derives it: 2,048 rounds of HMAC-SHA1, about a millisecond.
    pub fn derive(passphrase: &Passphrase, salt: &[u8; SALT_BYTES], size: KeySize) -> Self {
        let mut kek = Self { bytes: [0; KEY_BYTES_MAX], size };
        let salt = salt.last_chunk::<KEK_SALT_BYTES>().map_or(&[][..], |chunk| chunk);
        let out = kek.bytes.get_mut(..size.bytes()).unwrap_or_default();
        pbkdf2::pbkdf2_hmac::<sha1::Sha1>(&passphrase.0, salt, ROUNDS, out);
        kek
    }

    /// The stream keys of a message, expanded. Fails when they were wrapped with another key, so
    /// that the passphrases differ, or when this key is of another length.
    pub fn unwrap(&self, material: &KeyMaterial) -> Result<Box<Keys>, Error> {
        let suite = material.suite();
        if suite.size != self.size {
            return Err(Error::WrongSecret);
        }
        let mut room = Zeroizing::new([0; 2 * KEY_BYTES_MAX]);
        let keys =
            self.unwrap_bytes(material.wrapped(), room.as_mut_slice()).ok_or(Error::WrongSecret)?;
        let (first, second) =
            keys.split_at_checked(suite.size.bytes()).ok_or(Error::WrongSecret)?;
        let salt = material.salt();
        let mut held = Keys::none(suite);
        held.came_with(material.seal());
        match material.parities() {
            Parities::One(parity) => held.set(parity, first, &salt),
            Parities::Both => {
                held.set(super::Parity::Even, first, &salt);
                held.set(super::Parity::Odd, second, &salt);
            }
        }
        Ok(Box::new(held))
    }

    /// The message that carries `keys`: one key, or an even and an odd one back to back.
    pub(super) fn wrap(
        &self,
        mode: Mode,
        parities: Parities,
        salt: &[u8; SALT_BYTES],
        keys: &[u8],
    ) -> Option<KeyMaterial> {
        let mut out = [0; CHECK_BYTES + 2 * KEY_BYTES_MAX];
        let key = self.bytes.get(..self.size.bytes())?;
        let wrapped = match self.size {
            KeySize::Aes128 => KwAes128::new_from_slice(key).ok()?.wrap_key(keys, &mut out),
            KeySize::Aes192 => KwAes192::new_from_slice(key).ok()?.wrap_key(keys, &mut out),
            KeySize::Aes256 => KwAes256::new_from_slice(key).ok()?.wrap_key(keys, &mut out),
        };
        KeyMaterial::new(Suite { mode, size: self.size }, parities, salt, wrapped.ok()?)
    }

    /// The keys of a message, bare.
    pub(super) fn unwrap_bytes<'a>(&self, wrapped: &[u8], out: &'a mut [u8]) -> Option<&'a [u8]> {
        let key = self.bytes.get(..self.size.bytes())?;
        match self.size {
            KeySize::Aes128 => unwrap(&KwAes128::new_from_slice(key).ok()?, wrapped, out),
            KeySize::Aes192 => unwrap(&KwAes192::new_from_slice(key).ok()?, wrapped, out),
            KeySize::Aes256 => unwrap(&KwAes256::new_from_slice(key).ok()?, wrapped, out),
        }
    }
}

fn unwrap<'a, C>(kw: &AesKw<C>, wrapped: &[u8], out: &'a mut [u8]) -> Option<&'a [u8]>
where
    C: aes::cipher::BlockCipherDecrypt<BlockSize = aes::cipher::consts::U16>,
{
    kw.unwrap_key(wrapped, out).ok()
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kek({} bits)", self.size.bits())
    }
}
