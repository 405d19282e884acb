use std::fs;
use std::path::{Path, PathBuf};

use super::*;

type Body = fn(&[u8]);

const TARGETS: [(&str, Body); 14] = [
    ("packet", packet),
    ("rtcp", rtcp),
    ("h264", h264),
    ("hevc", hevc),
    ("av1", av1),
    ("jpegxs", jpegxs),
    ("aac", aac),
    ("latm", latm),
    ("sdp", sdp),
    ("fec", fec),
    ("detect", detect),
    ("session", session),
    ("table", table),
    ("clock", clock),
];

fn corpus(target: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus");
    root.join(format!("rtp_{target}"))
}

/// Every file of a target's corpus, and each of them cut to every length and with every single bit
/// changed.
#[test]
fn every_corpus_is_survived_cut_and_changed() {
    for (target, body) in TARGETS {
        let mut files = 0;
        for file in fs::read_dir(corpus(target)).unwrap() {
            let data = fs::read(file.unwrap().path()).unwrap();
            files += 1;
            body(&data);
            let step = 1 + data.len() / 100;
            for len in (0..=data.len()).step_by(step) {
                body(&data[..len]);
            }
            for bit in 0..data.len().min(40) * 8 {
                let mut changed = data.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                body(&changed);
            }
        }
        assert!(files >= 4, "{target} has a corpus");
    }
}

#[test]
fn random_scripts_keep_every_promise() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed.to_be_bytes()[0]
    };
    for (target, body) in TARGETS {
        for round in 0..100 {
            let mut bytes: Vec<u8> = (0..400).map(|_| random()).collect();
            // Short lengths, so that scripts have many steps.
            if round % 2 == 0 && target != "packet" {
                bytes.iter_mut().skip(1).step_by(2).for_each(|byte| *byte &= 15);
            }
            body(&bytes);
        }
    }
}
