//! The sender's side of keys: a caller makes them, a listener takes the caller's over, and each
//! announces and changes them
//! (draft-sharabayko-srt-01, 6.1.6).
//!
//! ```text
//!  packets     0 ──────────── refresh - announce ────────────── refresh ──▶ 0 …
//!  key         even …                │                             │ odd …
//!                                    └ KMREQ: even and odd         └ switch, once it was answered
//! ```

use std::fmt;

use aes::Aes256Enc;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use ctr::CtrCore;
use ctr::flavors::Ctr64BE;
use zeroize::Zeroizing;

use super::cipher::{Cipher, Keys};
use super::material::{KeyMaterial, Parities};
use super::secret::{Kek, Passphrase};
use super::{KEY_BYTES_MAX, Parity, SALT_BYTES, Suite};
use crate::packet::Encryption;

/// When the key is changed, in packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refresh {
    /// Packets sent with one key.
    pub every_packets: u32,
    /// Packets before the change at which the next key is announced.
    pub announce_packets: u32,
}

impl Default for Refresh {
    /// libsrt's.
    fn default() -> Self {
        Self { every_packets: 1 << 24, announce_packets: 1 << 12 }
    }
}

type StreamKey = Zeroizing<[u8; KEY_BYTES_MAX]>;

/// Makes the keys of a connection that this side calls: both directions use them.
pub struct Initiator {
    suite: Suite,
    kek: Kek,
    salt: [u8; SALT_BYTES],
    generator: Generator,
    refresh: Refresh,
    parity: Parity,
    key: StreamKey,
    cipher: Cipher,
    /// Packets encrypted with the key in use.
    packets: u32,
    next: Option<Next>,
}

/// A key that was announced.
struct Next {
    key: StreamKey,
    cipher: Cipher,
    material: KeyMaterial,
    confirmed: bool,
}

impl Initiator {
    /// Derives the key that wraps, about a millisecond, and makes the first stream key. `seed` is
    /// random and used once: everything made here comes of it.
    pub fn new(
        passphrase: &Passphrase,
        suite: Suite,
        refresh: Refresh,
        seed: &[u8; 32],
    ) -> Option<Self> {
        let mut generator = Generator::new(seed)?;
        let mut salt = [0; SALT_BYTES];
        generator.fill(&mut salt);
        let kek = Kek::derive(passphrase, &salt, suite.size);
        let key = generator.key();
        Self::with(suite, refresh, kek, salt, (Parity::Even, key), generator)
    }

    /// Takes over the key of a caller's conclusion: a listener encrypts with it too, and announces
    /// keys of its own in its time. `None` when it was wrapped with another passphrase or there are
    /// two.
    pub fn answering(
        passphrase: &Passphrase,
        material: &KeyMaterial,
        refresh: Refresh,
        seed: &[u8; 32],
    ) -> Option<Self> {
        let Parities::One(parity) = material.parities() else { return None };
        let (suite, salt) = (material.suite(), material.salt());
        let kek = Kek::derive(passphrase, &salt, suite.size);
        let mut key = Zeroizing::new([0; KEY_BYTES_MAX]);
        kek.unwrap_bytes(material.wrapped(), key.as_mut_slice())?;
        Self::with(suite, refresh, kek, salt, (parity, key), Generator::new(seed)?)
    }

    /// One whose key that wraps was derived before: fuzzing makes thousands.
    #[cfg(any(test, fuzzing, feature = "fuzz"))]
    pub(crate) fn like(other: &Self, refresh: Refresh, seed: &[u8; 32]) -> Option<Self> {
        let mut generator = Generator::new(seed)?;
        let key = (Parity::Even, generator.key());
        Self::with(other.suite, refresh, other.kek.clone(), other.salt, key, generator)
    }

    fn with(
        suite: Suite,
        refresh: Refresh,
        kek: Kek,
        salt: [u8; SALT_BYTES],
        (parity, key): (Parity, StreamKey),
        generator: Generator,
    ) -> Option<Self> {
        let cipher = Cipher::new(suite, key.get(..suite.size.bytes())?, &salt)?;
        Some(Self {
            suite,
            kek,
            salt,
            generator,
            refresh,
            parity,
            key,
            cipher,
            packets: 0,
            next: None,
        })
    }

    /// The cipher.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The key that wraps what this side announces, and what the peer does.
    pub const fn kek(&self) -> &Kek {
        &self.kek
    }

    /// The message for the conclusion: the key in use.
    pub fn material(&self) -> Option<KeyMaterial> {
        let key = self.key.get(..self.suite.size.bytes())?;
        self.kek.wrap(self.suite.mode, Parities::One(self.parity), &self.salt, key)
    }

    /// The key in use, for what the peer sends: a listener takes the caller's key for its own
    /// direction too.
    pub fn keys(&self) -> Option<Box<Keys>> {
        let mut keys = Box::new(Keys::none(self.suite));
        keys.came_with(self.material()?.seal());
        keys.set(self.parity, self.key.get(..self.suite.size.bytes())?, &self.salt);
        Some(keys)
    }

    /// The KK field of the next packet.
    pub(crate) const fn kk(&self) -> Encryption {
        match self.parity {
            Parity::Even => Encryption::Even,
            Parity::Odd => Encryption::Odd,
        }
    }

    /// Encrypts a packet of [`Self::kk`] in place, and changes the key when it is time to.
    pub(crate) fn encrypt(&mut self, packet: &mut [u8]) -> bool {
        let done = self.cipher.encrypt(packet);
        self.packets = self.packets.saturating_add(1);
        if self.next.is_none()
            && self.packets
                >= self.refresh.every_packets.saturating_sub(self.refresh.announce_packets)
        {
            self.next = self.make_next();
        }
        if self.packets >= self.refresh.every_packets
            && let Some(next) = self.next.take_if(|next| next.confirmed)
        {
            self.parity = self.parity.other();
            self.key = next.key;
            self.cipher = next.cipher;
            self.packets = 0;
        }
        done
    }

    fn make_next(&mut self) -> Option<Next> {
        let bytes = self.suite.size.bytes();
        let key = self.generator.key();
        let cipher = Cipher::new(self.suite, key.get(..bytes)?, &self.salt)?;
        let (even, odd) = match self.parity {
            Parity::Even => (&self.key, &key),
            Parity::Odd => (&key, &self.key),
        };
        let mut both = Zeroizing::new([0; 2 * KEY_BYTES_MAX]);
        both.get_mut(..bytes)?.copy_from_slice(even.get(..bytes)?);
        both.get_mut(bytes..2 * bytes)?.copy_from_slice(odd.get(..bytes)?);
        let keys = both.get(..2 * bytes)?;
        let material = self.kek.wrap(self.suite.mode, Parities::Both, &self.salt, keys)?;
        Some(Next { key, cipher, material, confirmed: false })
    }

    /// What is to be announced until it is confirmed.
    pub(crate) fn announcement(&self) -> Option<&KeyMaterial> {
        self.next.as_ref().filter(|next| !next.confirmed).map(|next| &next.material)
    }

    /// Takes an answer: true when it confirms the announcement. Anything else changes nothing.
    pub(crate) fn confirm(&mut self, response: &[u8]) -> bool {
        match &mut self.next {
            Some(next) if !next.confirmed && response == next.material.as_bytes() => {
                next.confirmed = true;
                true
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiator")
            .field("suite", &self.suite)
            .field("parity", &self.parity)
            .field("packets", &self.packets)
            .finish_non_exhaustive()
    }
}

/// Random bytes from a random seed: AES-256 in counter mode.
struct Generator(StreamCipherCoreWrapper<CtrCore<Aes256Enc, Ctr64BE>>);

impl Generator {
    fn new(seed: &[u8; 32]) -> Option<Self> {
        let aes = Aes256Enc::new_from_slice(seed).ok()?;
        let core = CtrCore::inner_iv_init(aes, &[0; 16].into());
        Some(Self(StreamCipherCoreWrapper::from_core(core)))
    }

    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
        self.0.apply_keystream(out);
    }

    fn key(&mut self) -> StreamKey {
        let mut key = Zeroizing::new([0; KEY_BYTES_MAX]);
        self.fill(&mut *key);
        key
    }
}
