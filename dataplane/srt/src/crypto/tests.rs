//! Vectors of libsrt and of the standards, and the rules of keys.

use super::*;
use crate::Error;
use crate::packet::{DataHeader, Encryption, HEADER_BYTES, Packet};
use crate::sequence::Sequence;

/// A KMREQ and the start of the first data packet of `srt-live-transmit` 1.5.1 with a key of 16, 24
/// and 32 bytes; the payload counts up from 0.
const OF_LIBSRT: [(&str, &str); 3] = [
    (
        "12202901000000000200020000000404c925d1bf5158e30c782f93427a44f1ff9ebb2927e7fb7d94b43756\
         6ebef27e18f5fc50a1b968eb59",
        "63a68596c8000001000338e800000077d0c0401c798d8163772f804079e386330112e633dabf8cc8dda84e\
         c1a0c9d78c80ec5cb09a28437a0d6f655f5084b366",
    ),
    (
        "1220290100000000020002000000040657c4d996b857d1c781ec9947cf09f059666ee5712521a1c45231b4\
         ce9ee2a18902f35d4775174c36a0b666127c368502",
        "4a3e5b18c800000100034dff0000007764b8577a4cff709b132b7eb0961736fd20e80c6af13fccc40433b6\
         3be6cb4369303c9c921eae34092f1698170c43e4e7",
    ),
    (
        "1220290100000000020002000000040800202309bc5a61b12276d146341350c22671be136a2c9f66b4b17d\
         5213a5630c5dfc1aaadf1cc563533a8027bb9e6a88def6065fb32cb250",
        "2fc26a4ac800000100033e57000000777942e6bf5736b9ac0dcbf81476cefced6d0660c5c00d7542e04ef4\
         f3089309c09b44d630292ec53a2213ef9674ecac2a",
    ),
];
const SECRET: &[u8] = b"a-secret-of-ours";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().map(|c| c.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn passphrase() -> Passphrase {
    Passphrase::new(SECRET).unwrap()
}

fn unwrap(material: &KeyMaterial, passphrase: &Passphrase) -> Result<Box<Keys>, Error> {
    Kek::derive(passphrase, &material.salt(), material.suite().size).unwrap(material)
}

fn initiator(mode: Mode, size: KeySize, refresh: Refresh) -> Initiator {
    Initiator::new(&passphrase(), Suite { mode, size }, refresh, &[5; 32]).unwrap()
}

const SIZES: [KeySize; 3] = [KeySize::Aes128, KeySize::Aes192, KeySize::Aes256];
const MODES: [Mode; 2] = [Mode::Ctr, Mode::Gcm];

fn packet(header: &DataHeader, payload: &[u8], overhead: usize) -> Vec<u8> {
    [&header.encode()[..], payload, &vec![0; overhead]].concat()
}

#[test]
fn what_libsrt_sends_is_decrypted() {
    for ((material, packet), size) in OF_LIBSRT.into_iter().zip(SIZES) {
        let material = KeyMaterial::parse(&bytes(material)).unwrap();
        assert_eq!(material.suite(), Suite { mode: Mode::Ctr, size });
        assert_eq!(material.parities(), Parities::One(Parity::Even));
        let keys = unwrap(&material, &passphrase()).unwrap();
        let mut packet = bytes(packet);
        assert_eq!(keys.decrypt(Encryption::Even, &mut packet), Ok(packet.len()));
        let count: Vec<u8> = (0..48).collect();
        assert_eq!(packet[HEADER_BYTES..], count);
    }
}

/// Connections recorded between two peers on libsrt 1.5.4; `tests/vectors/README.md` tells how.
const RECORDED: [(&str, Mode, KeySize); 8] = [
    (include_str!("../../../../tests/vectors/srt-push-ctr-128.txt"), Mode::Ctr, KeySize::Aes128),
    (include_str!("../../../../tests/vectors/srt-push-ctr-192.txt"), Mode::Ctr, KeySize::Aes192),
    (include_str!("../../../../tests/vectors/srt-push-ctr-256.txt"), Mode::Ctr, KeySize::Aes256),
    (include_str!("../../../../tests/vectors/srt-push-gcm-128.txt"), Mode::Gcm, KeySize::Aes128),
    (include_str!("../../../../tests/vectors/srt-push-gcm-192.txt"), Mode::Gcm, KeySize::Aes192),
    (include_str!("../../../../tests/vectors/srt-push-gcm-256.txt"), Mode::Gcm, KeySize::Aes256),
    (include_str!("../../../../tests/vectors/srt-pull-ctr-256.txt"), Mode::Ctr, KeySize::Aes256),
    (include_str!("../../../../tests/vectors/srt-pull-gcm-256.txt"), Mode::Gcm, KeySize::Aes256),
];

/// The key material in a control packet: behind its header in a refresh, in an extension of a
/// handshake.
fn material_in(control: &[u8]) -> Option<KeyMaterial> {
    const SIGNATURE: [u8; 4] = [0x12, 0x20, 0x29, 0x01];
    let at = control.windows(3).position(|window| window == &SIGNATURE[..3])?;
    KeyMaterial::parse(&control[at..]).ok()
}

#[test]
fn recorded_connections_of_libsrt_are_decrypted_through_their_key_refresh() {
    for (recorded, mode, size) in RECORDED {
        let (mut known, mut seen, mut again) = (Vec::new(), std::collections::BTreeSet::new(), 0);
        for line in recorded.lines().filter(|line| !line.starts_with('#')) {
            let mut packet = bytes(&line[2..]);
            if packet[0] & 0x80 != 0 {
                let Some(material) = material_in(&packet) else { continue };
                assert_eq!(material.suite(), Suite { mode, size });
                known.push(unwrap(&material, &passphrase()).unwrap());
                continue;
            }
            let Ok(Packet::Data(header, _)) = Packet::parse(&packet) else { panic!("{line}") };
            let number = header.message - 1;
            let clear = |keys: &Keys| {
                let mut copy = packet.clone();
                keys.decrypt(header.encryption, &mut copy).ok().map(|len| copy[..len].to_vec())
            };
            packet = known.iter().rev().find_map(|keys| clear(keys)).expect("a key that fits");
            let payload: Vec<u8> = (0..64).map(|at| (number * 7 + at).to_le_bytes()[0]).collect();
            assert_eq!(packet[HEADER_BYTES..], payload);
            seen.insert(header.encryption == Encryption::Even);
            again += u32::from(header.retransmitted);
        }
        assert_eq!(seen.len(), 2, "both keys were used");
        assert!(again > 0, "a packet came again");
    }
}

#[test]
fn another_passphrase_does_not_unwrap() {
    for (material, _) in OF_LIBSRT {
        let material = KeyMaterial::parse(&bytes(material)).unwrap();
        let other = Passphrase::new(b"a-secret-of-theirs").unwrap();
        assert!(matches!(unwrap(&material, &other), Err(Error::WrongSecret)));
        let salt = material.salt();
        for size in SIZES.into_iter().filter(|size| *size != material.suite().size) {
            let kek = Kek::derive(&passphrase(), &salt, size);
            assert!(matches!(kek.unwrap(&material), Err(Error::WrongSecret)));
        }
    }
}

#[test]
fn every_changed_bit_of_a_message_is_noticed_or_harmless() {
    let whole = bytes(OF_LIBSRT[0].0);
    for bit in 0..whole.len() * 8 {
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let Ok(material) = KeyMaterial::parse(&changed) else { continue };
        // The first half of the salt goes into counters only; reserved fields mean nothing.
        let harmless = bit / 8 < 24;
        assert_eq!(unwrap(&material, &passphrase()).is_ok(), harmless, "{bit}");
    }
}

#[test]
fn only_messages_of_the_right_length_parse() {
    let table: Vec<Vec<u8>> = OF_LIBSRT
        .iter()
        .map(|(material, _)| bytes(material))
        .chain(SIZES.map(|size| both(size).as_bytes().to_vec()))
        .collect();
    for whole in table {
        assert!(KeyMaterial::parse(&whole).is_ok());
        for len in 0..1_500 {
            let mut cut = whole.clone();
            cut.resize(len, 0);
            let parsed = KeyMaterial::parse(&cut);
            assert_eq!(parsed.is_ok(), len == whole.len(), "{len}");
        }
    }
}

/// The announcement of a second key.
fn both(size: KeySize) -> KeyMaterial {
    let refresh = Refresh { every_packets: 2, announce_packets: 1 };
    let mut initiator = initiator(Mode::Ctr, size, refresh);
    initiator.encrypt(&mut [0; 20]);
    *initiator.announcement().unwrap()
}

#[test]
fn a_message_says_what_its_fields_say() {
    let whole = bytes(OF_LIBSRT[2].0);
    let changed = |at: usize, value: u8| {
        let mut message = whole.clone();
        message[at] = value;
        KeyMaterial::parse(&message)
    };
    for (at, value) in [(0, 0x22), (0, 0x11), (1, 0), (2, 0), (3, 0), (3, 3), (10, 1), (14, 2)] {
        assert_eq!(changed(at, value), Err(Error::BadKeyMaterial), "{at} {value}");
    }
    for key_words in [0, 1, 4, 5, 6, 7, 16, 255] {
        assert_eq!(changed(15, key_words), Err(Error::BadKeyMaterial), "{key_words}");
    }
    for (at, value) in [(8, 0), (8, 1), (8, 3), (8, 4), (8, 5), (9, 1), (9, 2)] {
        assert_eq!(changed(at, value), Err(Error::UnsupportedCipher), "{at} {value}");
    }
    assert_eq!(changed(3, 2).unwrap().parities(), Parities::One(Parity::Odd));
}

#[test]
fn a_passphrase_has_10_to_80_bytes_and_is_not_shown() {
    for len in [0, 9, 81, 500] {
        assert_eq!(Passphrase::new(&vec![b'x'; len]), None);
    }
    for len in [10, 79, 80] {
        let passphrase = Passphrase::new(&vec![b'x'; len]).unwrap();
        assert!(!format!("{passphrase:?}").contains('x'));
    }
}

#[test]
fn the_wrapping_key_is_pbkdf2_over_the_end_of_the_salt() {
    // RFC 6070 has no case of 2,048 rounds; of hashlib.pbkdf2_hmac('sha1', ...).
    let mut salt = [0xff; SALT_BYTES];
    salt[8..].copy_from_slice(b"saltsalt");
    let kek = Kek::derive(&passphrase(), &salt, KeySize::Aes256);
    let wrapped = kek.wrap(Mode::Ctr, Parities::One(Parity::Even), &salt, &[7; 32]).unwrap();
    let expected = bytes("e3afa0609d7975ff68558a0639972e68696a4011fb44f68a9ccbf7c51c5f4c73");
    let mut out = [0; 40];
    let kw = <aes_kw::KwAes256 as aes::cipher::KeyInit>::new_from_slice(&expected).unwrap();
    assert_eq!(wrapped.wrapped(), kw.wrap_key(&[7; 32], &mut out).unwrap());
}

#[test]
fn what_is_encrypted_comes_back_in_every_suite_and_length() {
    for mode in MODES {
        for size in SIZES {
            let mut sender = initiator(mode, size, Refresh::default());
            let keys = unwrap(&sender.material().unwrap(), &passphrase()).unwrap();
            assert_eq!(keys.suite(), sender.suite());
            let overhead = sender.suite().overhead();
            for len in (0..40).chain([127, 128, 129, 1_316, 1_440]) {
                let mut header = DataHeader::live(Sequence::new(0x7fff_fff0), 1, 2, 3);
                header.encryption = sender.kk();
                let clear: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
                let mut packet = packet(&header, &clear, overhead);
                assert!(sender.encrypt(&mut packet));
                assert!(len < 8 || packet[HEADER_BYTES..][..len] != clear, "{len}");
                let wire = packet.clone();
                assert_eq!(keys.decrypt(Encryption::Even, &mut packet), Ok(16 + len));
                assert_eq!(packet[HEADER_BYTES..][..len], clear);
                let mut odd = wire;
                let no_key = Err(Undecryptable::NoKey);
                for kk in [Encryption::Odd, Encryption::Clear, Encryption::Both] {
                    assert_eq!(keys.decrypt(kk, &mut odd), no_key);
                }
            }
        }
    }
}

#[test]
fn an_authenticated_packet_may_change_in_its_retransmitted_bit_only() {
    let mut sender = initiator(Mode::Gcm, KeySize::Aes128, Refresh::default());
    let keys = sender.keys().unwrap();
    let mut header = DataHeader::live(Sequence::new(9), 8, 7, 6);
    header.encryption = sender.kk();
    let mut whole = packet(&header, b"payload", TAG_BYTES);
    assert!(sender.encrypt(&mut whole));
    for bit in 0..whole.len() * 8 {
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let result = keys.decrypt(Encryption::Even, &mut changed);
        let retransmitted = bit == 4 * 8 + 2;
        assert_eq!(result.is_ok(), retransmitted, "{bit}");
    }
    for len in 0..whole.len() {
        let result = keys.decrypt(Encryption::Even, &mut whole[..len].to_vec());
        assert_eq!(result, Err(Undecryptable::Tag));
    }
}

#[test]
fn counter_blocks_lie_as_libsrt_has_them() {
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    let suite = Suite { mode: Mode::Ctr, size: KeySize::Aes192 };
    let salt: [u8; 16] = std::array::from_fn(|i| u8::try_from(i * 3 + 1).unwrap());
    let mut keys = Keys::none(suite);
    keys.set(Parity::Odd, &[9; 24], &salt);
    let header = DataHeader::live(Sequence::new(0x1234_5678), 1, 2, 3);
    let mut packet = packet(&header, &[0; 40], 0);
    keys.decrypt(Encryption::Odd, &mut packet).unwrap();
    let aes = aes::Aes192Enc::new_from_slice(&[9; 24]).unwrap();
    for (block, stream) in packet[HEADER_BYTES..].chunks(16).enumerate() {
        let mut counter = [0; 16];
        counter[10..14].copy_from_slice(&0x1234_5678_u32.to_be_bytes());
        counter[15] = u8::try_from(block).unwrap();
        for (byte, salt) in counter[..14].iter_mut().zip(salt) {
            *byte ^= salt;
        }
        let mut counter = counter.into();
        aes.encrypt_block(&mut counter);
        assert_eq!(stream, &counter[..stream.len()]);
    }
}

#[test]
fn keys_change_once_the_next_one_is_confirmed() {
    for mode in MODES {
        let refresh = Refresh { every_packets: 10, announce_packets: 4 };
        let mut sender = initiator(mode, KeySize::Aes256, refresh);
        let mut keys = unwrap(&sender.material().unwrap(), &passphrase()).unwrap();
        let mut changes = 0;
        for n in 0..100_u32 {
            let mut header = DataHeader::live(Sequence::new(n), n, n, 3);
            header.encryption = sender.kk();
            let mut packet = packet(&header, &n.to_be_bytes(), sender.suite().overhead());
            assert!(sender.encrypt(&mut packet));
            assert_eq!(keys.decrypt(header.encryption, &mut packet), Ok(20), "packet {n}");
            assert_eq!(packet[16..20], n.to_be_bytes());
            let Some(announced) = sender.announcement().copied() else { continue };
            assert_eq!(announced.parities(), Parities::Both);
            assert!(!sender.confirm(&KeyState::BadSecret.to_bytes()), "a refusal changes nothing");
            assert!(!sender.confirm(&announced.as_bytes()[..8]));
            // The third one is confirmed late: the key in use goes on until then.
            if changes == 2 && n < 50 {
                continue;
            }
            let mut fresh = unwrap(&announced, &passphrase()).unwrap();
            assert!(keys.renew(&mut fresh));
            assert!(sender.confirm(announced.as_bytes()));
            assert!(!sender.confirm(announced.as_bytes()), "once");
            changes += 1;
        }
        assert!((6..10).contains(&changes), "{changes} changes");
    }
}

#[test]
fn a_listener_encrypts_with_the_callers_key_and_changes_it_as_the_caller_would() {
    let refresh = Refresh { every_packets: 3, announce_packets: 2 };
    for (mode, size) in MODES.into_iter().flat_map(|mode| SIZES.map(|size| (mode, size))) {
        let caller = initiator(mode, size, Refresh::default());
        let material = caller.material().unwrap();
        let wrong = Passphrase::new(b"another secret").unwrap();
        assert!(Initiator::answering(&wrong, &material, refresh, &[6; 32]).is_none());
        let mut listener =
            Initiator::answering(&passphrase(), &material, refresh, &[6; 32]).unwrap();
        let mut keys = caller.keys().unwrap();
        for number in 0..9 {
            if let Some(announced) = listener.announcement().copied() {
                assert!(keys.renew(&mut caller.kek().unwrap(&announced).unwrap()));
                assert!(listener.confirm(announced.as_bytes()));
            }
            let mut header = DataHeader::live(Sequence::new(number), 1, 0, 7);
            header.encryption = listener.kk();
            let parity =
                [Encryption::Even, Encryption::Odd][usize::try_from(number / 3 % 2).unwrap()];
            assert_eq!(header.encryption, parity);
            let mut packet = packet(&header, b"payload", listener.suite().overhead());
            assert!(listener.encrypt(&mut packet));
            let len = keys.decrypt(header.encryption, &mut packet).unwrap();
            assert_eq!(&packet[HEADER_BYTES..len], b"payload");
        }
    }
    let two = both(KeySize::Aes128);
    assert!(Initiator::answering(&passphrase(), &two, refresh, &[6; 32]).is_none());
}

#[test]
fn keys_of_another_cipher_are_not_taken() {
    let mut held = initiator(Mode::Gcm, KeySize::Aes256, Refresh::default()).keys().unwrap();
    let mut weaker = initiator(Mode::Ctr, KeySize::Aes256, Refresh::default()).keys().unwrap();
    assert!(!held.renew(&mut weaker));
    assert_eq!(held.suite().mode, Mode::Gcm);
}

#[test]
fn a_refusal_is_one_word_of_either_order() {
    let table = [
        (KeyState::Unsecured, 0),
        (KeyState::NoSecret, 3),
        (KeyState::BadSecret, 4),
        (KeyState::BadMode, 5),
    ];
    for (state, code) in table {
        assert_eq!(state.to_bytes(), [code, 0, 0, 0]);
        assert_eq!(response_state(&[code, 0, 0, 0]), Some(state));
        assert_eq!(response_state(&[0, 0, 0, code]), Some(state));
    }
    for other in [&[1, 0, 0, 0][..], &[6, 0, 0, 0], &[3, 0, 0], &[3, 0, 0, 0, 0], &[]] {
        assert_eq!(response_state(other), None);
    }
}

#[test]
fn secrets_are_not_printed() {
    let initiator = initiator(Mode::Ctr, KeySize::Aes128, Refresh::default());
    let keys = initiator.keys().unwrap();
    let kek = Kek::derive(&passphrase(), &[0; 16], KeySize::Aes128);
    let shown = format!("{initiator:?} {keys:?} {kek:?} {:?}", initiator.material());
    assert!(!shown.contains('['), "{shown}");
}
