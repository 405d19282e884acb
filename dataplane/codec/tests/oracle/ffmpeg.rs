//! Running FFmpeg: streams to read, and its own view of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Runs a tool and returns what it prints; anything but success fails the test.
fn run(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{tool} must be installed (scripts/test does it): {error}"));
    assert!(
        output.status.success(),
        "{tool} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// One line of ffprobe's output as key and value.
pub(crate) type Fields = HashMap<String, String>;

/// An encoded stream in MPEG-TS.
pub(crate) struct Encoded {
    folder: TempDir,
    ts: PathBuf,
}

/// One packet as ffprobe sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) pts: Option<i64>,
    pub(crate) size: usize,
    pub(crate) key: bool,
}

impl Encoded {
    /// Encodes `frames` pictures of FFmpeg's moving test pattern.
    pub(crate) fn video(source: &str, frames: u32, encoder: &str) -> Self {
        let frames = frames.to_string();
        let mut arguments = vec!["-f", "lavfi", "-i", source, "-frames:v", &frames];
        arguments.extend(encoder.split_whitespace());
        Self::encode(&arguments)
    }

    /// The same in another container; only what does not remux it can be asked for.
    pub(crate) fn file(source: &str, frames: u32, encoder: &str, format: &str) -> Self {
        let frames = frames.to_string();
        let mut arguments = vec!["-f", "lavfi", "-i", source, "-frames:v", &frames];
        arguments.extend(encoder.split_whitespace());
        Self::encode_as(&arguments, format)
    }

    /// Encodes with these arguments.
    pub(crate) fn encode(arguments: &[&str]) -> Self {
        Self::encode_as(arguments, "mpegts")
    }

    fn encode_as(arguments: &[&str], format: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ts = folder.path().join("stream.ts");
        let mut all = vec!["-hide_banner", "-loglevel", "error"];
        all.extend(arguments);
        let output = ts.to_str().unwrap().to_owned();
        all.extend(["-f", format, &output]);
        run("ffmpeg", &all);
        Self { folder, ts }
    }

    pub(crate) fn ts(&self) -> &Path {
        &self.ts
    }

    /// The elementary stream, as `format`, through bitstream filters if any.
    pub(crate) fn elementary(&self, format: &str, filters: Option<&str>) -> (PathBuf, Vec<u8>) {
        let path = self
            .folder
            .path()
            .join(format!("{}.{format}", if filters.is_some() { "filtered" } else { "plain" }));
        let mut arguments = vec!["-loglevel", "error", "-y", "-i", self.ts.to_str().unwrap()];
        arguments.extend(["-map", "0:0", "-c", "copy"]);
        if let Some(filters) = filters {
            arguments.extend(["-bsf", filters]);
        }
        arguments.extend(["-f", format, path.to_str().unwrap()]);
        run("ffmpeg", &arguments);
        let bytes = std::fs::read(&path).unwrap();
        (path, bytes)
    }
}

fn probe(path: &Path, section: &str) -> Vec<Fields> {
    let show = format!("-show_{section}");
    let output = run(
        "ffprobe",
        &[
            "-v",
            "error",
            "-of",
            "compact=p=0",
            "-select_streams",
            "0",
            &show,
            path.to_str().unwrap(),
        ],
    );
    output
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            line.split('|')
                .filter_map(|field| field.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect()
        })
        .collect()
}

/// What ffprobe says of the stream.
pub(crate) fn stream(path: &Path) -> Fields {
    probe(path, "streams").remove(0)
}

/// The stream's packets.
pub(crate) fn packets(path: &Path) -> Vec<Packet> {
    probe(path, "packets")
        .iter()
        .map(|fields| Packet {
            pts: fields["pts"].parse().ok(),
            size: fields["size"].parse().unwrap(),
            key: fields["flags"].starts_with('K'),
        })
        .collect()
}

/// The decoded pictures' types ('I', 'P', 'B') by PTS.
pub(crate) fn picture_types(path: &Path) -> HashMap<i64, char> {
    probe(path, "frames")
        .iter()
        .filter_map(|fields| {
            let pts = fields["pts"].parse().ok()?;
            Some((pts, fields["pict_type"].chars().next()?))
        })
        .collect()
}

/// Copies a stream into another container and returns the file.
pub(crate) fn remux(from: &Path, to: &Path) -> Vec<u8> {
    let (from, output) = (from.to_str().unwrap(), to.to_str().unwrap());
    run("ffmpeg", &["-loglevel", "error", "-y", "-i", from, "-c", "copy", output]);
    std::fs::read(to).unwrap()
}
