//! What a publisher encrypts with.

use srt::crypto::{Initiator, KeyMaterial, KeySize, Mode, Passphrase, Refresh, Suite};

use crate::random::Random;

/// Every cipher there is.
pub(crate) const SUITES: [Suite; 6] = [
    Suite { mode: Mode::Ctr, size: KeySize::Aes128 },
    Suite { mode: Mode::Ctr, size: KeySize::Aes192 },
    Suite { mode: Mode::Ctr, size: KeySize::Aes256 },
    Suite { mode: Mode::Gcm, size: KeySize::Aes128 },
    Suite { mode: Mode::Gcm, size: KeySize::Aes192 },
    Suite { mode: Mode::Gcm, size: KeySize::Aes256 },
];
/// Time from a key's first packet to the announcement of the next one.
const ANNOUNCED_AFTER_MS: u64 = 2_500;

/// A passphrase and how it is used. Its keys change several times in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Secret {
    pub(crate) suite: Suite,
    pub(crate) refresh: Refresh,
    /// Passphrase and keys are made of it.
    pub(crate) seed: u64,
}

impl Secret {
    /// A quarter of all publishers encrypt nothing.
    pub(crate) fn draw(random: &mut Random, packets_per_s: u64) -> Option<Self> {
        let index = usize::try_from(random.below(8)).unwrap_or(0);
        let overlap_ms = random.between(500, 1_000);
        let seed = random.draw();
        let suite = *SUITES.get(index)?;
        Some(Self::new(suite, packets_per_s, overlap_ms, seed))
    }

    pub(crate) fn new(suite: Suite, packets_per_s: u64, overlap_ms: u64, seed: u64) -> Self {
        let packets = |ms: u64| u32::try_from(packets_per_s * ms / 1_000).unwrap_or(0).max(1);
        let refresh = Refresh {
            every_packets: packets(ANNOUNCED_AFTER_MS + overlap_ms),
            announce_packets: packets(overlap_ms),
        };
        Self { suite, refresh, seed }
    }

    pub(crate) fn passphrase(&self) -> String {
        format!("passphrase {:016x}", self.seed)
    }

    fn words(&self) -> Passphrase {
        Passphrase::new(self.passphrase().as_bytes()).expect("long enough")
    }

    /// Header and payload of each packet are proven to be its own.
    pub(crate) const fn is_authenticated(&self) -> bool {
        matches!(self.suite.mode, Mode::Gcm)
    }
}

/// The keys of one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    pub(crate) secret: Secret,
    /// Which connection of its publisher.
    pub(crate) connection: u32,
    /// Others are used than those that are told.
    pub(crate) faithless: bool,
}

impl Keys {
    /// What a caller tells.
    pub(crate) fn told(&self) -> Initiator {
        self.made(self.secret.refresh, self.connection)
    }

    /// What a listener makes of what its caller tells.
    pub(crate) fn answering(&self, material: &KeyMaterial) -> Initiator {
        let (words, seed) = (self.secret.words(), self.seed(self.connection));
        Initiator::answering(&words, material, self.secret.refresh, &seed).expect("it unwraps")
    }

    /// What is used then.
    pub(crate) fn used(&self, told: Initiator) -> Initiator {
        // Never told, now or later.
        if self.faithless { self.made(Refresh::default(), !self.connection) } else { told }
    }

    fn made(&self, refresh: Refresh, number: u32) -> Initiator {
        let (words, seed) = (self.secret.words(), self.seed(number));
        Initiator::new(&words, self.secret.suite, refresh, &seed).expect("keys are made")
    }

    fn seed(&self, number: u32) -> [u8; 32] {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.secret.seed.to_ne_bytes());
        seed[8..12].copy_from_slice(&number.to_ne_bytes());
        seed
    }
}

/// Where something is among all ciphers: clear text first.
pub(crate) fn index(secret: Option<&Secret>) -> usize {
    let place = |secret: &Secret| SUITES.iter().position(|it| *it == secret.suite);
    secret.and_then(place).map_or(0, |place| place + 1)
}
