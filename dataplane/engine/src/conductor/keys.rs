//! Keys of sessions: derived from passphrases here, on the conductor, never on a worker.
//!
//! ```text
//!  admission:  key material of the request ──derive, unwrap──▶ keys ──Install──▶ worker
//!  refresh:    worker ──Rekey──▶ unwrap with the session's key ──Renew──▶ worker ──Renewed──▶ wiped
//!  source:     made here, ──Call──▶ worker; as responder of a rendezvous it brings Rekey, as above
//! ```
//!
//! Deriving takes a good part of a millisecond and anybody with a good cookie can ask for it, so it
//! is rationed, and a source that asked seldom goes before one that asked often.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use memory::Time;
use shm::counters::ConductorCounter;
use srt::crypto::{
    Initiator, Kek, KeyMaterial, KeySize, KeyState, Keys, Mode, Refresh, SALT_BYTES, Suite,
};

use zeroize::Zeroizing;

use super::Conductor;
use super::admission::Refusal;
use super::placement::Place;
use crate::config::{CryptoMode, Passphrase, SourceConfig};
use crate::messages::{Order, Renewal};

/// Derivations a second, and how many may come at once.
const DERIVATIONS_PER_S: u32 = 400;
const DERIVATIONS_AT_ONCE: u32 = 64;
/// How long it counts that a source has asked.
const MEMORY: Duration = Duration::from_secs(1);

/// What is known of a secured session's keys.
struct Secured {
    place: Place,
    passphrase: Passphrase,
    wanted: Wanted,
    salt: [u8; SALT_BYTES],
    kek: Kek,
    source: IpAddr,
}

/// What a peer's keys must be for; `None`: anything.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    mode: Option<Mode>,
    size: Option<KeySize>,
}

impl Wanted {
    fn of(config: &SourceConfig) -> Self {
        let size = config.options.key_bytes;
        Self {
            mode: config.crypto_mode.map(CryptoMode::mode),
            size: size.and_then(|bytes| KeySize::from_bytes(bytes.into())),
        }
    }

    /// What keys of ours are for. Without a word: what libsrt takes when it is not told; its
    /// listeners have counter mode, built as usual.
    fn suite(self) -> Suite {
        Suite { mode: self.mode.unwrap_or(Mode::Ctr), size: self.size.unwrap_or(KeySize::Aes128) }
    }

    fn allows(self, suite: Suite) -> bool {
        self.mode.is_none_or(|mode| mode == suite.mode)
            && self.size.is_none_or(|size| size == suite.size)
    }
}

/// Key material that a session received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rekey {
    pub(super) socket_id: u32,
    pub(super) material: KeyMaterial,
}

/// The conductor's keys and its ration of derivations.
#[derive(Default)]
pub(super) struct KeyRoom {
    by_socket: HashMap<u32, Secured>,
    /// At most one of each session.
    waiting: VecDeque<Rekey>,
    ration: Ration,
    /// Stands for the kernel's randomness, that a run can be had again.
    #[cfg(feature = "simulation")]
    counted: Option<u64>,
}

impl std::fmt::Debug for KeyRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRoom").field("secured", &self.by_socket.len()).finish_non_exhaustive()
    }
}

/// Keys of a request, and the key they were wrapped with.
pub(super) struct Unwrapped {
    pub(super) keys: Box<Keys>,
    kek: Kek,
}

impl std::fmt::Debug for Unwrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.keys.fmt(f)
    }
}

/// Derives the key and unwraps with it: the passphrases differ when that fails.
fn unwrap(material: &KeyMaterial, passphrase: &Passphrase) -> Result<Unwrapped, Refusal> {
    let wrong = |_| Refusal::Passphrase;
    let passphrase =
        srt::crypto::Passphrase::new(passphrase.expose()).ok_or(Refusal::Passphrase)?;
    let kek = Kek::derive(&passphrase, &material.salt(), material.suite().size);
    let keys = kek.unwrap(material).map_err(wrong)?;
    Ok(Unwrapped { keys, kek })
}

impl KeyRoom {
    /// How often that source has asked of late.
    pub(super) fn asked(&self, source: IpAddr) -> u32 {
        self.ration.asked.get(&source).copied().unwrap_or(0)
    }

    /// The keys of a request, or `None` when its turn has not come.
    pub(super) fn unwrap(
        &mut self,
        material: &KeyMaterial,
        passphrase: &Passphrase,
        source: IpAddr,
        now: Time,
    ) -> Option<Result<Unwrapped, Refusal>> {
        self.ration.take(source, now).then(|| unwrap(material, passphrase))
    }

    /// Remembers what a session's next keys are wrapped with.
    pub(super) fn keep(
        &mut self,
        socket_id: u32,
        place: Place,
        material: &KeyMaterial,
        passphrase: &Passphrase,
        source: IpAddr,
        unwrapped: Unwrapped,
    ) -> Box<Keys> {
        let Unwrapped { keys, kek } = unwrapped;
        let (salt, passphrase, wanted) = (material.salt(), passphrase.clone(), Wanted::default());
        let secured = Secured { place, passphrase, wanted, salt, kek, source };
        self.by_socket.insert(socket_id, secured);
        keys
    }

    /// Makes the keys of a connection that we ask for, and the message that tells the peer; `None`
    /// without a passphrase.
    pub(super) fn invent(
        &mut self,
        socket_id: u32,
        place: Place,
        config: &SourceConfig,
        source: IpAddr,
    ) -> Option<(KeyMaterial, Box<Keys>)> {
        let passphrase = config.options.passphrase.as_ref()?;
        let wanted = Wanted::of(config);
        let secret = srt::crypto::Passphrase::new(passphrase.expose())?;
        let seed = self.seed();
        let initiator = Initiator::new(&secret, wanted.suite(), Refresh::default(), &seed)?;
        let (material, keys) = (initiator.material()?, initiator.keys()?);
        let unwrapped = Unwrapped { keys, kek: initiator.kek().clone() };
        let keys = self.keep(socket_id, place, &material, passphrase, source, unwrapped);
        self.by_socket.get_mut(&socket_id)?.wanted = wanted;
        Some((material, keys))
    }

    /// What a connection's keys are made of.
    #[cfg_attr(
        not(feature = "simulation"),
        expect(clippy::needless_pass_by_ref_mut, reason = "a simulation counts")
    )]
    fn seed(&mut self) -> Zeroizing<[u8; 32]> {
        #[cfg(feature = "simulation")]
        if let Some(counted) = &mut self.counted {
            *counted += 1;
            let mut seed = Zeroizing::new([0; 32]);
            seed[..8].copy_from_slice(&counted.to_ne_bytes());
            return seed;
        }
        random_seed()
    }

    /// Makes the same keys again in each run that counts from there.
    #[cfg(feature = "simulation")]
    pub(super) const fn count_seeds_from(&mut self, first: u64) {
        self.counted = Some(first);
    }

    /// A session is over.
    pub(super) fn forget(&mut self, socket_id: u32) {
        self.by_socket.remove(&socket_id);
        self.waiting.retain(|rekey| rekey.socket_id != socket_id);
    }

    /// The first of those that wait whose keys are known now. One that has to be derived for, and
    /// whose turn has not come, keeps none of the others waiting.
    fn settle_next(&mut self, now: Time) -> Option<(Place, Rekey, Result<Box<Keys>, KeyState>)> {
        // A session that is over waits for nothing.
        let known = &self.by_socket;
        self.waiting.retain(|rekey| known.contains_key(&rekey.socket_id));
        for at in 0..self.waiting.len() {
            let rekey = *self.waiting.get(at)?;
            if let Some((place, result)) = self.renew(&rekey, now) {
                self.waiting.remove(at);
                return Some((place, rekey, result));
            }
        }
        None
    }

    /// The session's new keys; `None` when a key has to be derived and its turn has not come.
    fn renew(&mut self, rekey: &Rekey, now: Time) -> Option<(Place, Result<Box<Keys>, KeyState>)> {
        let secured = self.by_socket.get_mut(&rekey.socket_id)?;
        if !secured.wanted.allows(rekey.material.suite()) {
            return Some((secured.place, Err(KeyState::BadMode)));
        }
        // libsrt keeps its salt, so mostly the key is known.
        if let Ok(keys) = secured.kek.unwrap(&rekey.material)
            && secured.salt == rekey.material.salt()
        {
            return Some((secured.place, Ok(keys)));
        }
        if secured.salt == rekey.material.salt() {
            return Some((secured.place, Err(KeyState::BadSecret)));
        }
        if !self.ration.take(secured.source, now) {
            return None;
        }
        let result = unwrap(&rekey.material, &secured.passphrase);
        let result = result.map_err(|_| KeyState::BadSecret).map(|unwrapped| {
            secured.salt = rekey.material.salt();
            secured.kek = unwrapped.kek;
            unwrapped.keys
        });
        Some((secured.place, result))
    }
}

/// From the kernel.
fn random_seed() -> Zeroizing<[u8; 32]> {
    let mut seed = Zeroizing::new([0; 32]);
    let flags = rustix::rand::GetRandomFlags::empty();
    let filled = rustix::rand::getrandom(seed.as_mut_slice(), flags);
    // Up to 256 bytes come whole once the pool is ready, and it is ready after boot.
    assert_eq!(filled, Ok(32), "keys are made of nothing but randomness");
    seed
}

/// How many derivations may be made.
struct Ration {
    left: u32,
    /// When the rest was last counted.
    counted: Time,
    asked: HashMap<IpAddr, u32>,
    asked_since: Time,
}

impl Default for Ration {
    fn default() -> Self {
        Self {
            left: DERIVATIONS_AT_ONCE,
            counted: Time::ZERO,
            asked: HashMap::new(),
            asked_since: Time::ZERO,
        }
    }
}

impl Ration {
    fn take(&mut self, source: IpAddr, now: Time) -> bool {
        let each = Duration::from_secs(1) / DERIVATIONS_PER_S;
        let more = now.since(self.counted).as_nanos() / each.as_nanos();
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        if more >= DERIVATIONS_AT_ONCE {
            self.left = DERIVATIONS_AT_ONCE;
            self.counted = now;
        } else {
            self.left = (self.left + more).min(DERIVATIONS_AT_ONCE);
            self.counted = self.counted + each * more;
        }
        if now.since(self.asked_since) > MEMORY {
            self.asked.clear();
            self.asked_since = now;
        }
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        *self.asked.entry(source).or_default() += 1;
        true
    }
}

impl Conductor {
    /// Takes key material that a session received.
    pub(super) fn rekey(&mut self, rekey: Rekey, now: Time) {
        if self.keys.waiting.iter().any(|other| other.socket_id == rekey.socket_id) {
            return;
        }
        self.keys.waiting.push_back(rekey);
        self.renew_waiting(now);
    }

    /// Unwraps what waits, as far as the ration goes.
    pub(super) fn renew_waiting(&mut self, now: Time) {
        while let Some((place, rekey, result)) = self.keys.settle_next(now) {
            self.order_renewal(place, rekey, result, now);
        }
    }

    fn order_renewal(
        &mut self,
        place: Place,
        rekey: Rekey,
        result: Result<Box<Keys>, KeyState>,
        now: Time,
    ) {
        let Rekey { socket_id, material } = rekey;
        match &result {
            Ok(_) => {
                self.parts.block.add(ConductorCounter::KeysRenewed, 1);
                tracing::debug!(socket_id, "a publisher changes its key");
            }
            Err(state) => {
                self.parts.block.add(ConductorCounter::KeysRefused, 1);
                self.refusals.allow(now, || {
                    tracing::warn!(socket_id, ?state, "new keys of a publisher do not unwrap");
                });
            }
        }
        let renewal = Renewal { place, socket_id, material, result };
        self.order(place.worker, Order::Renew(Box::new(renewal)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn ms(ms: u64) -> Time {
        Time::from_micros(1_000_000 + ms * 1_000)
    }

    #[test]
    fn derivations_are_rationed() {
        let mut ration = Ration::default();
        let burst = (0..1_000).filter(|_| ration.take(source(1), ms(0))).count();
        assert_eq!(burst, DERIVATIONS_AT_ONCE as usize);
        let second = (0..1_000).filter(|n| ration.take(source(1), ms(*n))).count();
        assert!((390..=400).contains(&second), "{second} in a second");
        assert!((0..1_000).filter(|_| ration.take(source(1), ms(100_000))).count() == burst);
    }

    /// Key material of "correct horse".
    fn material(seed: u8) -> KeyMaterial {
        let suite = Suite { mode: Mode::Ctr, size: KeySize::Aes128 };
        let secret = srt::crypto::Passphrase::new(b"correct horse").expect("long enough");
        Initiator::new(&secret, suite, Refresh::default(), &[seed; 32])
            .and_then(|initiator| initiator.material())
            .expect("key material")
    }

    #[test]
    fn who_changes_its_salt_again_and_again_keeps_nobody_else_from_changing_a_key() {
        let mut room = KeyRoom::default();
        let passphrase = Passphrase::new(b"correct horse").expect("long enough");
        let place = Place { worker: 0, session: 0, slots: 1 };
        for socket_id in [1, 2] {
            let unwrapped = unwrap(&material(1), &passphrase).expect("it unwraps");
            room.keep(socket_id, place, &material(1), &passphrase, source(1), unwrapped);
        }
        while room.ration.take(source(1), ms(0)) {}
        for (socket_id, seed) in [(3, 1), (1, 2), (2, 1)] {
            room.waiting.push_back(Rekey { socket_id, material: material(seed) });
        }
        let mut settle = |at| {
            let settled = room.settle_next(ms(at));
            settled.map(|(_, rekey, result)| (rekey.socket_id, result.is_ok()))
        };
        assert_eq!(settle(0), Some((2, true)), "its key is known, and 3 is over");
        assert_eq!(settle(0), None);
        assert_eq!(settle(10), Some((1, true)), "its turn has come");
        assert_eq!(settle(10), None);
    }

    #[test]
    fn a_source_is_remembered_for_a_while() {
        let mut room = KeyRoom::default();
        let passphrase = Passphrase::new(b"correct horse").expect("long enough");
        let suite = Suite { mode: Mode::Ctr, size: KeySize::Aes128 };
        let secret = srt::crypto::Passphrase::new(b"correct horse").expect("long enough");
        let refresh = Refresh::default();
        let material = Initiator::new(&secret, suite, refresh, &[1; 32])
            .and_then(|initiator| initiator.material())
            .expect("key material");
        for n in 1..4 {
            let unwrapped = room.unwrap(&material, &passphrase, source(1), ms(0));
            assert!(matches!(unwrapped, Some(Ok(_))));
            assert_eq!((room.asked(source(1)), room.asked(source(2))), (n, 0));
        }
        let wrong = Passphrase::new(b"wrong horse").expect("long enough");
        let refused = room.unwrap(&material, &wrong, source(2), ms(1_500));
        assert!(matches!(refused, Some(Err(Refusal::Passphrase))));
        assert_eq!((room.asked(source(1)), room.asked(source(2))), (0, 1));
    }
}
