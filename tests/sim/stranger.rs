//! Somebody on a publisher's path who hears everything, knows no passphrase, and sends in the
//! publisher's name.

use std::collections::VecDeque;
use std::time::Duration;

use memory::Time;
use srt::control::{KEY_PACKET_BYTES_MAX, KMREQ_SUBTYPE, encode_key_packet};
use srt::crypto::KeyMaterial;
use srt::packet::{DataHeader, Encryption, Packet};
use srt::sequence::Sequence;

use crate::media::Encoder;
use crate::random::Random;
use crate::scenario::PublisherPlan;
use crate::secret::{Keys, SUITES, Secret};

/// He falls silent with the publisher: whoever speaks for one that is gone keeps its connection.
const MEMORY: Duration = Duration::from_millis(100);
/// The number in his units: no publisher's.
const STREAM: u32 = 0xbad;

#[derive(Debug)]
pub(crate) struct Stranger {
    interval: Duration,
    next: Time,
    random: Random,
    /// Whatever he makes up, a tag gives him away: he tries it all. Else only clear text does.
    authenticated: bool,
    /// Media of his own.
    encoder: Encoder,
    payloads: VecDeque<Vec<u8>>,
    keys: KeyMaterial,
    /// The publisher's last data packet, and when it came by.
    heard: (Time, Vec<u8>),
    /// Its key messages since it connected.
    key_messages: Vec<Vec<u8>>,
}

impl Stranger {
    pub(crate) fn new(plan: &PublisherPlan, start: Time, mut random: Random) -> Option<Self> {
        let interval = Duration::from_secs(1).checked_div(plan.stranger_per_s)?;
        let suite = plan.secret.map_or_else(|| random.of(&SUITES), |secret| secret.suite);
        let suite = if random.chance(750_000) { suite } else { random.of(&SUITES) };
        let secret = Secret::new(suite, 100, 500, random.draw());
        let keys = Keys { secret, connection: 0, faithless: false }.told().material();
        Some(Self {
            interval,
            next: start,
            random,
            authenticated: plan.secret.is_some_and(|secret| secret.is_authenticated()),
            encoder: Encoder::new(STREAM, plan),
            payloads: VecDeque::new(),
            keys: keys.expect("keys are made"),
            heard: (Time::ZERO, Vec::new()),
            key_messages: Vec::new(),
        })
    }

    pub(crate) const fn next_time(&self) -> Time {
        self.next
    }

    pub(crate) const fn stop(&mut self) {
        self.next = Time::NEVER;
    }

    /// The publisher sends that.
    pub(crate) fn overhear(&mut self, now: Time, datagram: &[u8]) {
        if datagram.first().is_some_and(|byte| byte & 0x80 == 0) {
            if datagram.get(12..16) != self.heard.1.get(12..16) {
                self.key_messages.clear();
            }
            self.heard = (now, datagram.to_vec());
        } else if datagram.starts_with(&[0xff, 0xff]) {
            self.key_messages.push(datagram.to_vec());
        }
    }

    /// What he sends now, if anything.
    pub(crate) fn turn(&mut self, now: Time) -> Option<Vec<u8>> {
        self.next = now + self.interval;
        if now > self.heard.0 + MEMORY {
            return None;
        }
        let Ok(Packet::Data(mut header, sealed)) = Packet::parse(&self.heard.1) else {
            return None;
        };
        let mut sealed = sealed.to_vec();
        let kind = self.random.below(if self.authenticated { 6 } else { 4 });
        if kind == 0 {
            // What was sent just now, a bit of it changed: it is there before the original.
            header.encryption = Encryption::Clear;
            let at = usize::try_from(self.random.below(sealed.len() as u64)).unwrap_or(0);
            *sealed.get_mut(at)? ^= 1;
            return Some([&header.encode()[..], &sealed].concat());
        }
        // A hundred packets to either side.
        let ahead = self.random.below_u32(200);
        header.sequence = header.sequence.add(ahead).add(Sequence::MASK - 99);
        Some(match kind {
            1 => {
                header.encryption = Encryption::Clear;
                self.packet(&header)
            }
            2 => self.key_message(header.destination),
            3 => {
                let count = self.key_messages.len() as u64;
                let which = usize::try_from(self.random.below(count.max(1))).unwrap_or(0);
                self.changed(self.key_messages.get(which)?.clone())
            }
            4 => {
                header.encryption = self.random.of(&[Encryption::Even, Encryption::Odd]);
                self.packet(&header)
            }
            _ => [&header.encode()[..], &sealed].concat(),
        })
    }

    fn packet(&mut self, header: &DataHeader) -> Vec<u8> {
        while self.payloads.is_empty() {
            self.payloads.extend(self.encoder.encode());
        }
        let payload = self.payloads.pop_front().unwrap_or_default();
        [&header.encode()[..], &payload].concat()
    }

    /// A key message as it was, or with a byte of it changed: half of its salt is no secret's.
    fn changed(&mut self, mut message: Vec<u8>) -> Vec<u8> {
        const BODY: usize = 16;
        let len = message.len().saturating_sub(BODY).max(1) as u64;
        let at = BODY + usize::try_from(self.random.below(len)).unwrap_or(0);
        if let Some(byte) = message.get_mut(at).filter(|_| self.random.chance(500_000)) {
            *byte ^= 1 << self.random.below(8);
        }
        message
    }

    fn key_message(&self, to: u32) -> Vec<u8> {
        let mut packet = [0; KEY_PACKET_BYTES_MAX];
        encode_key_packet(&mut packet, KMREQ_SUBTYPE, self.keys.as_bytes(), 0, to).to_vec()
    }
}
