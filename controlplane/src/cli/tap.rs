//! `penstock tap`: a stream's frames, straight from shared memory.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use shm::link::{CommandError, Link};
use shm::{Codec, Directory, Frame, GopReader, Liveness, Next, SeekFrom, TrackInfo, TrackKind};

use super::api::Api;
use super::frames::Line;
use super::{Failure, Format, Kind, Start, Tap};

pub(super) const AFTER_HELP: &str = "\
A line of --format frames:
  {\"seq\":0,\"track\":0,\"kind\":\"video\",\"codec\":\"h264\",\"pts\":…,\"dts\":…,\"class\":\"idr\",
   \"key\":true,\"damaged\":false,\"size\":…,\"sha256\":\"…\"}
  class is one of idr, i, p, b, inter, audio, data; pts and dts are in 90 kHz units (null when
  unknown), the first equal to the wire's and going on past 2^33; field (first, second) and
  discontinuity follow where they apply.
A reader that is too slow misses frames: {\"overrun\":n} on standard error says how many.";

/// Longest wait for the dataplane's answer.
const LINK_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two tries while waiting for the stream.
const RETRY: Duration = Duration::from_millis(50);
/// Pause when every frame was read.
const POLL: Duration = Duration::from_millis(2);
/// Without frames, the dataplane's life is checked this often.
const LIFE_CHECK: Duration = Duration::from_millis(250);
/// A conductor silent for this long is not a reason to stop: it may be halted by a debugger.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Runs the command.
pub(super) fn tap(api: &Api, arguments: &Tap) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(arguments.wait);
    let socket = socket(api, arguments)?;
    let (directory, reader) = loop {
        match attach(&socket, &arguments.id) {
            Ok(attached) => break attached,
            Err(failure) if Instant::now() >= deadline => return Err(failure),
            Err(_) => std::thread::sleep(RETRY),
        }
    };
    let mut session = Session {
        arguments,
        directory,
        tracks: Vec::new(),
        chosen: None,
        out: BufWriter::with_capacity(1 << 20, io::stdout().lock()),
    };
    session.refresh();
    session.choose(deadline)?;
    session.copy(reader)
}

fn socket(api: &Api, arguments: &Tap) -> Result<PathBuf, Failure> {
    let environment = || std::env::var_os("PENSTOCK_SOCKET").map(PathBuf::from);
    if let Some(socket) = arguments.socket.clone().or_else(environment) {
        return Ok(socket);
    }
    let version = api.get("/version")?;
    let socket = version["dataplane_socket"].as_str().map(PathBuf::from);
    socket.ok_or_else(|| {
        Failure::new(Kind::Failed, "the control plane does not say where the dataplane's socket is")
    })
}

fn attach(socket: &std::path::Path, id: &str) -> Result<(Directory, GopReader), Failure> {
    let failed = |error: shm::Error| {
        let kind = match &error {
            shm::Error::Refused(refusal) => match refusal.code.as_str() {
                CommandError::NOT_FOUND => Kind::NotFound,
                CommandError::WRONG_STATE => Kind::Conflict,
                CommandError::TOO_MANY_CLIENTS => Kind::Unreachable,
                _ => Kind::Failed,
            },
            shm::Error::Link { .. } | shm::Error::LinkClosed | shm::Error::LinkTimeout { .. } => {
                Kind::Unreachable
            }
            _ => Kind::Failed,
        };
        Failure::new(kind, error.to_string())
    };
    let mut link = Link::connect(socket, LINK_TIMEOUT).map_err(failed)?;
    let directory = link.directory().map_err(failed)?;
    let reader = link.ring(id).map_err(failed)?;
    Ok((directory, reader))
}

struct Session<'a, W: Write> {
    arguments: &'a Tap,
    directory: Directory,
    tracks: Vec<TrackInfo>,
    /// The one track that is written, if not all are.
    chosen: Option<u8>,
    out: W,
}

impl<W: Write> Session<'_, W> {
    /// Reads the list of tracks again; a stream that is gone keeps the last one.
    fn refresh(&mut self) {
        if let Some(stream) = self.directory.stream(&self.arguments.id) {
            self.tracks = stream.info.tracks().to_vec();
        }
    }

    /// Settles which track is written. A stream that has just appeared may not list its tracks
    /// yet: that is waited for like the stream itself.
    fn choose(&mut self, deadline: Instant) -> Result<(), Failure> {
        loop {
            match choose(&self.tracks, self.arguments.format, self.arguments.track) {
                Ok(chosen) => {
                    self.chosen = chosen;
                    return Ok(());
                }
                Err(failure) if failure.kind != Kind::NotFound || Instant::now() >= deadline => {
                    return Err(failure);
                }
                Err(_) => {
                    std::thread::sleep(RETRY);
                    self.refresh();
                }
            }
        }
    }

    /// Writes frames until the stream ends.
    fn copy(&mut self, mut reader: GopReader) -> Result<(), Failure> {
        reader.seek(match self.arguments.from {
            Start::Oldest => SeekFrom::Oldest,
            Start::Key => SeekFrom::Key,
            Start::Live => SeekFrom::Live,
        });
        let mut bytes = Vec::new();
        let mut quiet_since = Instant::now();
        loop {
            let next = reader.next(&mut bytes);
            match next.map_err(|error| Failure::new(Kind::Failed, error.to_string()))? {
                Next::Frame(frame) => {
                    quiet_since = Instant::now();
                    self.write(&frame, &bytes)?;
                }
                Next::Overrun { lost } => eprintln!("{{\"overrun\":{lost}}}"),
                Next::Ended => break,
                Next::Empty => {
                    self.out.flush()?;
                    if quiet_since.elapsed() > LIFE_CHECK {
                        quiet_since = Instant::now();
                        self.check_life()?;
                    }
                    std::thread::sleep(POLL);
                }
            }
        }
        self.out.flush()?;
        Ok(())
    }

    fn check_life(&self) -> Result<(), Failure> {
        match self.directory.liveness(SILENCE_MAX) {
            Liveness::Gone => Err(Failure::new(Kind::Unreachable, "the dataplane is gone")),
            Liveness::Alive | Liveness::Silent { .. } => Ok(()),
        }
    }

    fn write(&mut self, frame: &Frame, bytes: &[u8]) -> Result<(), Failure> {
        if self.chosen.is_some_and(|track| track != frame.track) {
            return Ok(());
        }
        if self.arguments.format != Format::Frames {
            self.out.write_all(bytes)?;
            return Ok(());
        }
        let track = self.track(frame);
        let line = Line::new(frame, &track, bytes, self.arguments.times);
        serde_json::to_writer(&mut self.out, &line).map_err(io::Error::from)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    /// The track of a frame. The list is read again where it may have changed: it does so at key
    /// frames only, or before the first frame of a track.
    fn track(&mut self, frame: &Frame) -> TrackInfo {
        let known = |tracks: &[TrackInfo]| tracks.get(usize::from(frame.track)).copied();
        match known(&self.tracks) {
            Some(track) if !frame.is_key() && track.codec != Codec::Unknown => track,
            _ => {
                self.refresh();
                known(&self.tracks).unwrap_or_default()
            }
        }
    }
}

/// The track to write, `None` for all; `NotFound` when it is not listed (yet).
fn choose(tracks: &[TrackInfo], format: Format, wanted: Option<u8>) -> Result<Option<u8>, Failure> {
    let track = match (format, wanted) {
        (Format::Frames, None) => return Ok(None),
        (_, Some(track)) => Some(usize::from(track)),
        (Format::Annexb, None) => tracks.iter().position(|t| t.codec.kind() == TrackKind::Video),
        (Format::Raw, None) => (!tracks.is_empty()).then_some(0),
    };
    let listed = track.and_then(|track| Some((track, tracks.get(track)?)));
    let Some((track, info)) = listed else {
        let message = format!("the stream has no such track (it lists {})", tracks.len());
        return Err(Failure::new(Kind::NotFound, message));
    };
    if format == Format::Annexb && !matches!(info.codec, Codec::H264 | Codec::Hevc) {
        let message = format!(
            "track {track} is {}, which has no Annex B form; --format raw writes its frames as \
             they are, without anything between them",
            info.codec.label()
        );
        return Err(Failure::new(Kind::Usage, message));
    }
    Ok(u8::try_from(track).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracks(codecs: &[Codec]) -> Vec<TrackInfo> {
        let track = |codec: &Codec| TrackInfo { codec: *codec, ..TrackInfo::default() };
        codecs.iter().map(track).collect()
    }

    #[test]
    fn the_default_track_is_what_the_format_can_carry() {
        let list = tracks(&[Codec::Aac, Codec::H264]);
        assert_eq!(choose(&list, Format::Frames, None), Ok(None));
        assert_eq!(choose(&list, Format::Annexb, None), Ok(Some(1)));
        assert_eq!(choose(&list, Format::Raw, None), Ok(Some(0)));
        assert_eq!(choose(&list, Format::Frames, Some(1)), Ok(Some(1)));
    }

    #[test]
    fn annexb_of_a_track_without_start_codes_is_refused_and_raw_is_named() {
        let refusal = choose(&tracks(&[Codec::Aac]), Format::Annexb, Some(0)).unwrap_err();
        assert_eq!(refusal.kind, Kind::Usage);
        assert!(refusal.message.contains("--format raw"), "{}", refusal.message);
        assert_eq!(choose(&tracks(&[Codec::Aac]), Format::Raw, Some(0)), Ok(Some(0)));
    }

    #[test]
    fn a_track_that_is_not_listed_is_not_found() {
        for (format, wanted) in
            [(Format::Annexb, None), (Format::Raw, None), (Format::Raw, Some(3))]
        {
            let refusal = choose(&[], format, wanted).unwrap_err();
            assert_eq!(refusal.kind, Kind::NotFound, "{format:?}");
        }
    }
}
