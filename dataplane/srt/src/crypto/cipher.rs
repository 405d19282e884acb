//! The two stream keys of a connection, expanded (draft-sharabayko-srt-01, 6.2, 6.3).
//!
//! ```text
//!  counter block  | 0 x 10 bytes | sequence, 4 | block, 2 |   XOR the first 14 bytes of the salt
//!  GCM nonce      | 0 x 8 bytes  | sequence, 4 |              XOR the first 12 bytes of the salt
//!  GCM data       the packet's header, its retransmitted bit 0
//! ```
//!
//! These layouts are libsrt's: the formula of 6.2.2 shifts by 2 bits where it means 2 bytes.
//!
//! AES-GCM makes two passes, GHASH (with carry-less multiplication, four blocks a reduction) and then
//! the counter mode; GHASH is the half of it. One run on an AMD EPYC with VAES, ns per 1,316 bytes,
//! 128 / 192 / 256 bits: `aes-gcm` 648 / 684 / 729, `aws-lc-rs` 454 / 476 / 496, `ring` 285 / none /
//! 315. A connection is within 1,050 of clear text with any (`examples/packet_cost.rs`: 818 against
//! 24), so the one stays that is Rust alone, has all three lengths and wipes its keys.

use std::fmt;

use aes::cipher::consts::U12;
use aes::cipher::{
    BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper, consts::U16,
};
use aes::{Aes128Enc, Aes192Enc, Aes256Enc};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{AesGcm, Tag};
use ctr::CtrCore;
use ctr::flavors::Ctr32BE;

use super::material::Seal;
use super::{KeySize, Mode, Parity, SALT_BYTES, Suite, TAG_BYTES};
use crate::packet::{Encryption, HEADER_BYTES};

/// The retransmitted flag (R) in the fifth byte of a data header: it changes on the way.
const RETRANSMITTED_BIT: u8 = 0x04;

/// Why a packet cannot be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecryptable {
    /// No key is held for it, or it is clear.
    NoKey,
    /// Its authentication tag is wrong: it was changed on the way, or forged.
    Tag,
}

/// One expanded key.
enum Algorithm {
    Ctr128(Aes128Enc),
    Ctr192(Aes192Enc),
    Ctr256(Aes256Enc),
    Gcm128(AesGcm<Aes128Enc, U12>),
    Gcm192(AesGcm<Aes192Enc, U12>),
    Gcm256(AesGcm<Aes256Enc, U12>),
}

impl Algorithm {
    fn new(suite: Suite, key: &[u8]) -> Option<Self> {
        Some(match (suite.mode, suite.size) {
            (Mode::Ctr, KeySize::Aes128) => Self::Ctr128(Aes128Enc::new_from_slice(key).ok()?),
            (Mode::Ctr, KeySize::Aes192) => Self::Ctr192(Aes192Enc::new_from_slice(key).ok()?),
            (Mode::Ctr, KeySize::Aes256) => Self::Ctr256(Aes256Enc::new_from_slice(key).ok()?),
            (Mode::Gcm, KeySize::Aes128) => Self::Gcm128(AesGcm::new_from_slice(key).ok()?),
            (Mode::Gcm, KeySize::Aes192) => Self::Gcm192(AesGcm::new_from_slice(key).ok()?),
            (Mode::Gcm, KeySize::Aes256) => Self::Gcm256(AesGcm::new_from_slice(key).ok()?),
        })
    }
}

/// A key and the salt it came with.
pub(crate) struct Cipher {
    algorithm: Algorithm,
    salt: [u8; SALT_BYTES],
}

impl Cipher {
    pub(super) fn new(suite: Suite, key: &[u8], salt: &[u8; SALT_BYTES]) -> Option<Self> {
        Some(Self { algorithm: Algorithm::new(suite, key)?, salt: *salt })
    }

    /// Encrypts a packet in place: its header is complete, and in [`Mode::Gcm`] the last
    /// [`TAG_BYTES`] are room for the tag. False when it is too short.
    pub(crate) fn encrypt(&self, packet: &mut [u8]) -> bool {
        let Some((header, payload)) = packet.split_first_chunk_mut::<HEADER_BYTES>() else {
            return false;
        };
        match &self.algorithm {
            Algorithm::Ctr128(aes) => counter(aes, &self.counter(header), payload),
            Algorithm::Ctr192(aes) => counter(aes, &self.counter(header), payload),
            Algorithm::Ctr256(aes) => counter(aes, &self.counter(header), payload),
            Algorithm::Gcm128(gcm) => return seal(gcm, &self.nonce(header), header, payload),
            Algorithm::Gcm192(gcm) => return seal(gcm, &self.nonce(header), header, payload),
            Algorithm::Gcm256(gcm) => return seal(gcm, &self.nonce(header), header, payload),
        }
        true
    }

    /// Decrypts a packet in place. The bytes of it that count, or `None` when its tag is wrong.
    #[inline]
    fn decrypt(&self, packet: &mut [u8]) -> Option<usize> {
        let len = packet.len();
        let (header, payload) = packet.split_first_chunk_mut::<HEADER_BYTES>()?;
        match &self.algorithm {
            Algorithm::Ctr128(aes) => counter(aes, &self.counter(header), payload),
            Algorithm::Ctr192(aes) => counter(aes, &self.counter(header), payload),
            Algorithm::Ctr256(aes) => counter(aes, &self.counter(header), payload),
            Algorithm::Gcm128(gcm) => return unseal(gcm, &self.nonce(header), header, payload),
            Algorithm::Gcm192(gcm) => return unseal(gcm, &self.nonce(header), header, payload),
            Algorithm::Gcm256(gcm) => return unseal(gcm, &self.nonce(header), header, payload),
        }
        Some(len)
    }

    #[inline]
    fn counter(&self, header: &[u8; HEADER_BYTES]) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, _, _] = self.salt;
        let [s0, s1, s2, s3, ..] = *header;
        [a, b, c, d, e, f, g, h, i, j, k ^ s0, l ^ s1, m ^ s2, n ^ s3, 0, 0]
    }

    #[inline]
    fn nonce(&self, header: &[u8; HEADER_BYTES]) -> [u8; 12] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = self.salt;
        let [s0, s1, s2, s3, ..] = *header;
        [a, b, c, d, e, f, g, h, i ^ s0, j ^ s1, k ^ s2, l ^ s3]
    }
}

/// A packet has fewer than 2^16 blocks, so the counter never carries into the sequence number, and
/// any width of counter from 16 bits on does the same.
#[inline]
fn counter<C>(aes: &C, block: &[u8; 16], payload: &mut [u8])
where
    C: BlockCipherEncrypt<BlockSize = U16>,
{
    let core = CtrCore::<&C, Ctr32BE>::inner_iv_init(aes, block.into());
    StreamCipherCoreWrapper::from_core(core).apply_keystream(payload);
}

fn authenticated(header: &[u8; HEADER_BYTES]) -> [u8; HEADER_BYTES] {
    let mut data = *header;
    if let Some(flags) = data.get_mut(4) {
        *flags &= !RETRANSMITTED_BIT;
    }
    data
}

fn seal<C>(
    gcm: &AesGcm<C, U12>,
    nonce: &[u8; 12],
    header: &[u8; HEADER_BYTES],
    payload: &mut [u8],
) -> bool
where
    AesGcm<C, U12>: AeadInOut<NonceSize = U12, TagSize = U16>,
{
    let Some((text, place)) = payload.split_last_chunk_mut::<TAG_BYTES>() else { return false };
    let data = authenticated(header);
    match gcm.encrypt_inout_detached(nonce.into(), &data, text.into()) {
        Ok(tag) => {
            *place = tag.into();
            true
        }
        Err(_) => false,
    }
}

fn unseal<C>(
    gcm: &AesGcm<C, U12>,
    nonce: &[u8; 12],
    header: &[u8; HEADER_BYTES],
    payload: &mut [u8],
) -> Option<usize>
where
    AesGcm<C, U12>: AeadInOut<NonceSize = U12, TagSize = U16>,
{
    let (text, tag) = payload.split_last_chunk_mut::<TAG_BYTES>()?;
    let tag = Tag::from(*tag);
    let len = HEADER_BYTES + text.len();
    gcm.decrypt_inout_detached(nonce.into(), &authenticated(header), text.into(), &tag).ok()?;
    Some(len)
}

/// The keys of a connection, expanded: an even and an odd one, at least one of them there.
///
/// They are boxed where they are made, and travel as that box: whoever decrypts with them neither
/// makes nor frees it. Dropped, they are wiped.
pub struct Keys {
    suite: Suite,
    /// Of the message they came with.
    seal: Option<Seal>,
    even: Option<Cipher>,
    odd: Option<Cipher>,
}

impl Keys {
    pub(super) const fn none(suite: Suite) -> Self {
        Self { suite, seal: None, even: None, odd: None }
    }

    pub(super) const fn came_with(&mut self, seal: Seal) {
        self.seal = Some(seal);
    }

    /// Of the message they came with.
    pub(crate) const fn seal(&self) -> Option<Seal> {
        self.seal
    }

    /// Whether one of them has that salt.
    pub(crate) fn have_salt(&self, salt: &[u8; SALT_BYTES]) -> bool {
        [&self.even, &self.odd].into_iter().flatten().any(|cipher| cipher.salt == *salt)
    }

    /// Whether a salt differs from theirs in its first half only. The key that wraps is made of the
    /// second: whoever changes the first on the way need not know the passphrase, and no packet
    /// would come out right again.
    pub(crate) fn is_tampered(&self, salt: &[u8; SALT_BYTES]) -> bool {
        const HALF: usize = SALT_BYTES / 2;
        let (first, second) = salt.split_at(HALF);
        [&self.even, &self.odd].into_iter().flatten().any(|cipher| {
            let (known_first, known_second) = cipher.salt.split_at(HALF);
            known_second == second && known_first != first
        })
    }

    pub(super) fn set(&mut self, parity: Parity, key: &[u8], salt: &[u8; SALT_BYTES]) {
        let cipher = Cipher::new(self.suite, key, salt);
        match parity {
            Parity::Even => self.even = cipher,
            Parity::Odd => self.odd = cipher,
        }
    }

    /// The cipher they are for.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// Whether the key of a packet's KK field is there.
    #[inline]
    pub fn holds(&self, kk: Encryption) -> bool {
        self.cipher(kk).is_some()
    }

    #[inline]
    fn cipher(&self, kk: Encryption) -> Option<&Cipher> {
        match kk {
            Encryption::Even => self.even.as_ref(),
            Encryption::Odd => self.odd.as_ref(),
            Encryption::Clear | Encryption::Both => None,
        }
    }

    /// Takes the keys that `fresh` has; the ones they replace are in `fresh` afterwards. Keys of
    /// another cipher are not taken: a connection keeps its own.
    pub fn renew(&mut self, fresh: &mut Self) -> bool {
        if self.suite != fresh.suite {
            return false;
        }
        if fresh.even.is_some() {
            std::mem::swap(&mut self.even, &mut fresh.even);
        }
        if fresh.odd.is_some() {
            std::mem::swap(&mut self.odd, &mut fresh.odd);
        }
        true
    }

    /// Decrypts a packet, header included, in place with the key of its KK field. The bytes of it
    /// that count: in [`Mode::Gcm`] the tag at its end does not.
    #[inline]
    pub fn decrypt(&self, kk: Encryption, packet: &mut [u8]) -> Result<usize, Undecryptable> {
        let cipher = self.cipher(kk).ok_or(Undecryptable::NoKey)?;
        cipher.decrypt(packet).ok_or(Undecryptable::Tag)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("suite", &self.suite)
            .field("even", &self.even.is_some())
            .field("odd", &self.odd.is_some())
            .finish()
    }
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher")
    }
}
