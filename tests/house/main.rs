//! Dependencies between the rooms point one way, and `unsafe` stays in its three rooms.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Room, and the rooms it may depend on. Test peers (dev-dependencies) are free.
const ARROWS: &[(&str, &[&str])] = &[
    ("penstock-memory", &[]),
    ("penstock-codec", &[]),
    ("penstock-shm", &[]),
    ("penstock-srt", &["penstock-memory", "penstock-codec"]),
    ("penstock-rtp", &["penstock-memory", "penstock-codec"]),
    ("penstock-mpegts", &["penstock-memory", "penstock-codec"]),
    ("penstock-media", &["penstock-codec", "penstock-memory", "penstock-shm"]),
    ("penstock-uring", &["penstock-memory"]),
    (
        "penstock-engine",
        &[
            "penstock-memory",
            "penstock-codec",
            "penstock-shm",
            "penstock-srt",
            "penstock-rtp",
            "penstock-mpegts",
            "penstock-media",
            "penstock-uring",
        ],
    ),
    ("penstock-controlplane", &["penstock-shm"]),
];

const UNSAFE_ROOMS: &[&str] = &["penstock-memory", "penstock-uring", "penstock-shm"];

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

/// The workspace's packages that `package` depends on outside its tests.
fn arrows_of(package: &serde_json::Value) -> BTreeSet<String> {
    package["dependencies"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|dependency| dependency["kind"].is_null() && !dependency["path"].is_null())
        .map(|dependency| dependency["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn dependencies_point_one_way() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().expect("a list") {
        let name = package["name"].as_str().expect("a name");
        let Some((_, allowed)) = ARROWS.iter().find(|(room, _)| *room == name) else {
            continue;
        };
        for arrow in arrows_of(package) {
            assert!(allowed.contains(&arrow.as_str()), "{name} must not know {arrow}");
        }
    }
}

#[test]
fn every_room_without_the_fence_forbids_unsafe() {
    let metadata = metadata();
    for package in metadata["packages"].as_array().expect("a list") {
        let name = package["name"].as_str().expect("a name");
        if UNSAFE_ROOMS.contains(&name) {
            continue;
        }
        for target in package["targets"].as_array().expect("a list") {
            let kind = target["kind"][0].as_str().expect("a kind");
            let path = target["src_path"].as_str().expect("a path");
            if !["lib", "bin"].contains(&kind) {
                continue;
            }
            let root = std::fs::read_to_string(Path::new(path)).expect("a crate root");
            assert!(root.contains("#![forbid(unsafe_code)]"), "{path} does not forbid unsafe code");
        }
    }
}

/// Every fuzz body of a crate has a target and a corpus, and the reverse.
#[test]
fn every_fuzz_body_has_a_target_and_a_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut bodies = BTreeSet::new();
    for room in ["codec", "engine", "media", "mpegts", "rtp", "shm", "srt"] {
        let source = root.join("../dataplane").join(room).join("src/fuzz.rs");
        let text = std::fs::read_to_string(&source).expect("a crate that parses has fuzz bodies");
        let names = text.lines().filter_map(|line| line.strip_prefix("pub fn "));
        bodies.extend(names.filter_map(|rest| Some(format!("{room}_{}", rest.split_once('(')?.0))));
    }
    let listed = |folder: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(root.join("fuzz").join(folder)).expect("a folder");
        entries
            .map(|entry| entry.expect("an entry").path())
            .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(listed("fuzz_targets"), bodies);
    assert_eq!(listed("corpus"), bodies);
}
