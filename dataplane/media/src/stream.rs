//! One publisher's stream: tracks in, frames in the ring out.

use std::mem::offset_of;

use codec::audio::Syntax;
use codec::sink::{Carriage, Field, Sink, TRACKS_MAX, Timestamps, TrackConfig, TrackKind};
use memory::{Places, Time, prefetch, prefetch_start};
use shm::{GopWriter, Published};

use crate::access_unit::Coding;
use crate::audio::{AudioFrames, Way};
use crate::data::{self, DataUnits};
use crate::frames::{Frames, Input, SideTrack};
use crate::run::Run;
use crate::track::{Framing, TrackState};
use crate::video::{Splitter, Video};
use crate::{Counters, Limits};

/// Frame assembly of one session slot: made once, used by one session after the other. Nothing is
/// allocated after [`new`](Self::new).
///
/// Fields lie in the order in which the bytes of a packet need them.
#[derive(Debug)]
#[repr(C)]
pub struct Stream {
    video: Box<Video>,
    /// Video as an index into `tracks`.
    video_track: Option<usize>,
    tracks_len: usize,
    tracks_changed: bool,
    frames: Frames,
    tracks: [TrackState; TRACKS_MAX],
    /// Which of `audio` frames a track.
    audio_of: [Option<usize>; TRACKS_MAX],
    audio: [AudioFrames; TRACKS_MAX],
    data: DataUnits,
}

impl Stream {
    /// For one session at a time.
    pub fn new(limits: Limits) -> Self {
        Self {
            frames: Frames::new(limits),
            video: Box::new(Video::new()),
            video_track: None,
            audio: std::array::from_fn(|_| AudioFrames::new()),
            audio_of: [None; TRACKS_MAX],
            data: DataUnits::new(),
            tracks: [TrackState::default(); TRACKS_MAX],
            tracks_len: 0,
            tracks_changed: false,
        }
    }

    /// A session begins, or a publisher comes back: sequence numbers go on where the ring stands,
    /// counters start at 0, frames are kept from the next key frame on.
    pub fn open(&mut self, ring: GopWriter) {
        self.forget_tracks();
        self.frames.open(ring);
    }

    /// As [`open`](Self::open) for a stream whose publisher has not come: what is in the ring stays
    /// there until the first [`input`](Self::input).
    pub fn open_waiting(&mut self, ring: GopWriter) {
        self.open(ring);
        self.frames.waits = true;
    }

    /// The ring's generation; 0 without a ring.
    pub fn generation(&self) -> u64 {
        self.frames.generation()
    }

    /// Asks for the memory of the stream itself that the next bytes of video will need.
    pub fn prefetch(&self) {
        prefetch_start(self, offset_of!(Self, frames));
        self.frames.prefetch();
        if let Some(track) = self.tracks.first() {
            prefetch(&track.bytes);
        }
    }

    /// The same for the framer's state.
    pub fn prefetch_video(&self) {
        self.video.prefetch();
    }

    /// Where the framer's state begins, and what the end of a frame of video writes to; with `bytes`
    /// also where the next bytes go: those of a run do not go there.
    pub fn places(&self, bytes: bool, places: &mut Places) {
        places.add([std::ptr::from_ref(&*self.video).cast()]);
        let Some(ring) = self.frames.ring() else { return };
        if bytes {
            places.add([ring.place()]);
        }
        places.add(ring.end_places());
    }

    /// The same for what that points to.
    pub fn prefetch_behind_video(&self) {
        self.video.prefetch_behind();
    }

    /// Kernel arrival and due time of the datagram whose bytes are pushed next.
    pub fn input(&mut self, arrival: Time, due: Time) {
        if self.frames.waits {
            self.frames.start_generation();
        }
        self.frames.input = Input { arrival, due };
    }

    /// A run begins, if a slice of H.264 or HEVC is open in a track of which packets come: from now on
    /// its bytes may be pushed to the run, until it ends. Nothing else is done with the stream before
    /// that but publishing and what takes frames out of the ring.
    pub fn begin_run(&self, track: usize, run: &mut Run) -> bool {
        let video = self.video_track.filter(|video| *video == track && track < self.tracks_len);
        let Some(position) = video.and_then(|_| self.video.inside_slice()) else { return false };
        run.position = position;
        self.frames.begin_run(run)
    }

    /// The run is over: the stream is told what its bytes were to it.
    pub fn end_run(&mut self, track: usize, run: &Run) {
        let bytes = run.position.saturating_sub(self.video.position());
        self.video.pass(bytes);
        self.frames.end_run(run);
        if let Some(state) = self.tracks.get_mut(track) {
            state.bytes += bytes;
        }
    }

    /// Publishes the finished frames that are due. Returns when the next one is.
    pub fn publish_due(&mut self, now: Time) -> Option<Time> {
        self.publish_due_with(now, |_| ())
    }

    /// As [`publish_due`](Self::publish_due), telling `each` frame.
    pub fn publish_due_with(&mut self, now: Time, each: impl FnMut(&Published)) -> Option<Time> {
        self.frames.publish(now, now, each)
    }

    /// The stream is over: ends the last access units and publishes everything, due or not.
    pub fn finish(&mut self, now: Time) {
        self.finish_with(now, |_| ());
    }

    /// As [`finish`](Self::finish), telling `each` frame.
    pub fn finish_with(&mut self, now: Time, each: impl FnMut(&Published)) {
        self.finish_video();
        for track in 0..self.tracks_len {
            if let Some((audio, mut output)) = self.audio_track(track) {
                audio.finish(&mut output);
            }
            self.end_data(track, false);
        }
        self.frames.publish(now, Time::NEVER, each);
    }

    /// Discards what is open, after a fault in the middle of it. The ring stays consistent; frames
    /// that are finished can still be published.
    pub fn abort(&mut self) {
        let audio = self.audio_of.iter().flatten();
        let audio = audio.filter(|slot| self.audio.get(**slot).is_some_and(AudioFrames::is_open));
        let open = audio.count() + usize::from(self.video.is_open()) + self.data.open();
        self.frames.abort(open);
        self.forget_tracks();
        self.frames.restart_video(None, Carriage::Stream);
    }

    /// Gives the ring back, without its open frame.
    pub fn close(&mut self) -> Option<GopWriter> {
        self.forget_tracks();
        self.frames.close()
    }

    /// What was counted since [`open`](Self::open).
    pub const fn counters(&self) -> &Counters {
        &self.frames.counters
    }

    /// Finished frames that wait for their due time.
    pub fn pending_frames(&self) -> usize {
        self.frames.pending()
    }

    /// Gives up the oldest closed group of pictures; false when there is none.
    pub fn drop_oldest_gop(&mut self) -> bool {
        self.frames.drop_oldest_gop()
    }

    /// Holds the frames to so many bytes a second from now on, or no more: whole frames are left
    /// out, with all that lean on them.
    pub const fn limit_rate(&mut self, bytes_per_second: Option<u64>, now: Time) {
        self.frames.limiter.set_rate(bytes_per_second, now);
    }

    /// How full the memory is that no eviction gets back, in thousandths: frames that wait for
    /// their due time and the open one, by number or by bytes, whichever is nearer its limit.
    pub fn pressure_permille(&self) -> u16 {
        let Some(ring) = self.frames.ring() else { return 0 };
        let (frames, most) = (ring.pending_frames() as u64, ring.pending_frames_max() as u64);
        let by_number = frames * 1_000 / most.max(1);
        let by_bytes = ring.waiting_bytes() * 1_000 / ring.video_capacity_bytes().max(1);
        u16::try_from(by_number.max(by_bytes).min(1_000)).unwrap_or(1_000)
    }

    /// The ring while the stream is open.
    pub const fn ring(&self) -> Option<&GopWriter> {
        self.frames.ring()
    }

    /// The tracks, in the order that frames name them by.
    pub fn tracks(&self) -> &[TrackState] {
        self.tracks.get(..self.tracks_len).unwrap_or_default()
    }

    /// Whether tracks or their formats changed since the last call.
    pub const fn tracks_changed(&mut self) -> bool {
        std::mem::replace(&mut self.tracks_changed, false)
    }

    fn forget_tracks(&mut self) {
        self.video.reset(Splitter::AnnexB(Coding::H264), Carriage::Stream);
        self.video_track = None;
        for audio in &mut self.audio {
            audio.reset(Way::Syntax(Syntax::Adts));
        }
        self.audio_of = [None; TRACKS_MAX];
        self.data.reset();
        self.tracks_len = 0;
        self.tracks_changed = true;
    }

    /// The framer of an audio track, and where its frames go.
    fn audio_track(&mut self, track: usize) -> Option<(&mut AudioFrames, SideTrack<'_>)> {
        let slot = (*self.audio_of.get(track)?)?;
        let leads = self.audio_of.iter().position(Option::is_some) == Some(track);
        let number = u8::try_from(track).ok()?;
        let output = SideTrack { frames: &mut self.frames, track: number, leads, opens: leads };
        Some((self.audio.get_mut(slot)?, output))
    }

    fn is_data(&self, track: usize) -> bool {
        self.tracks().get(track).is_some_and(|state| data::is_framed(state.config.codec))
    }

    /// The open unit of a data track is over, `broken` off or not.
    fn end_data(&mut self, track: usize, broken: bool) {
        let Some(state) = self.tracks.get(track).filter(|_| track < self.tracks_len) else {
            return;
        };
        if broken {
            self.data.gap(track);
        }
        let sound = self.audio_of.iter().any(Option::is_some);
        let listed = self.tracks.get(..self.tracks_len).unwrap_or_default();
        let first = listed.iter().position(|state| data::is_framed(state.config.codec));
        let leads = !sound && first == Some(track);
        let Ok(number) = u8::try_from(track) else { return };
        let config = state.config;
        let mut output =
            SideTrack { frames: &mut self.frames, track: number, leads, opens: !sound };
        self.data.end(track, &config, &mut output);
    }

    fn finish_video(&mut self) {
        if self.video_track.is_some() {
            self.video.finish(&mut self.frames);
            self.note_video();
        }
    }

    fn note_audio(&mut self, track: usize, format: Option<codec::AudioFormat>) {
        let Some(state) = self.tracks.get_mut(track) else { return };
        let channels = state.config.channels;
        let format = format.map(|format| match channels {
            0 => format,
            // Several Opus streams in one: only the transport tells how many channels they make.
            channels => codec::AudioFormat { channels, ..format },
        });
        if state.audio != format && format.is_some() {
            state.audio = format;
            self.tracks_changed = true;
        }
    }

    /// Takes over what the last video frames showed.
    fn note_video(&mut self) {
        if !std::mem::replace(&mut self.frames.video_ended, false) {
            return;
        }
        let Some(state) = self.video_track.and_then(|track| self.tracks.get_mut(track)) else {
            return;
        };
        let format = self.video.format().copied();
        let rate = self.frames.frame_rate_mhz();
        if state.video != format || state.frame_rate_mhz.abs_diff(rate) > rate / 200 {
            state.video = format;
            state.frame_rate_mhz = rate;
            self.tracks_changed = true;
        }
        self.frames.counters.frame_rate_mhz = u64::from(rate);
    }

    /// Keeps or restarts the video framer for a new list of tracks.
    fn follow_video(&mut self, tracks: &[TrackConfig]) {
        let old = self.video_track.and_then(|track| self.tracks.get(track));
        let new = tracks.iter().position(|track| Splitter::of(track.codec).is_some());
        let config = new.and_then(|track| tracks.get(track));
        let index = new.and_then(|track| u8::try_from(track).ok());
        if old.zip(config).is_some_and(|(old, new)| is_same(&old.config, new)) {
            // Its unit ended without a word whether it was complete.
            if self.video.unit_lost() {
                self.video.gap(&mut self.frames);
            }
            self.frames.video_track = index;
        } else {
            if self.video.unit_lost() {
                self.video.gap(&mut self.frames);
            }
            self.finish_video();
            let carriage = config.map(|track| track.carriage).unwrap_or_default();
            self.frames.restart_video(index, carriage);
            let splitter = config.and_then(|track| Splitter::of(track.codec));
            self.video.reset(splitter.unwrap_or(Splitter::AnnexB(Coding::H264)), carriage);
        }
        self.video_track = new;
    }

    /// Keeps, frees and takes audio framers for a new list of tracks.
    fn follow_audio(&mut self, tracks: &[TrackConfig]) {
        let mut audio_of = [None; TRACKS_MAX];
        for old in 0..self.tracks_len {
            let Some(config) = self.tracks.get(old).map(|track| track.config) else { continue };
            let slot = self.audio_of.get(old).copied().flatten();
            if let Some((audio, mut output)) = self.audio_track(old) {
                audio.gap(&mut output);
            }
            // Two tracks may be told alike: each takes one place.
            let mut places = tracks.iter().zip(&mut audio_of);
            let kept = places.find(|(track, place)| is_same(track, &config) && place.is_none());
            if let Some((_, place)) = kept {
                *place = slot;
            }
        }
        for (track, config) in tracks.iter().enumerate() {
            let free = (0..TRACKS_MAX).find(|slot| !audio_of.contains(&Some(*slot)));
            if let Some(place @ None) = audio_of.get_mut(track)
                && let Some(way) = Way::of(config)
            {
                *place = free;
                if let Some(audio) = free.and_then(|slot| self.audio.get_mut(slot)) {
                    audio.reset(way);
                }
            }
        }
        self.audio_of = audio_of;
    }

    /// Lists the new tracks, with what is known of those that stay.
    fn list(&mut self, tracks: &[TrackConfig]) {
        let old = self.tracks;
        let old = old.get(..self.tracks_len).unwrap_or_default();
        for (track, (state, config)) in self.tracks.iter_mut().zip(tracks).enumerate() {
            let known = old.iter().find(|old| is_same(&old.config, config));
            *state = TrackState { config: *config, ..known.copied().unwrap_or_default() };
            state.framing = match config.codec {
                codec if Way::of(config).is_some() || data::is_framed(codec) => Framing::Framed,
                _ if self.video_track == Some(track) => Framing::Framed,
                codec if codec.kind() == TrackKind::Video && self.video_track.is_some() => {
                    Framing::SecondVideo
                }
                _ => Framing::CodecNotFramed,
            };
        }
        self.tracks_len = tracks.len();
        self.tracks_changed = true;
    }
}

impl Sink for Stream {
    fn tracks(&mut self, tracks: &[TrackConfig]) {
        let tracks = tracks.get(..TRACKS_MAX).unwrap_or(tracks);
        // What was open ended without a word whether it was complete.
        for track in 0..self.tracks_len {
            self.end_data(track, true);
        }
        self.follow_video(tracks);
        self.follow_audio(tracks);
        self.list(tracks);
    }

    fn unit_start(&mut self, track: usize, stamps: Timestamps) {
        if self.video_track == Some(track) {
            self.video.unit_start(stamps, &mut self.frames);
            self.note_video();
        } else if let Some((audio, mut output)) = self.audio_track(track) {
            audio.unit_start(stamps, &mut output);
        } else if self.is_data(track) {
            self.end_data(track, false);
            self.data.unit_start(track, stamps);
        }
    }

    fn field(&mut self, track: usize, field: Field) {
        if self.video_track == Some(track) {
            self.video.field(field);
        }
    }

    fn unit_data(&mut self, track: usize, bytes: &[u8]) {
        let Some(state) = self.tracks.get_mut(track).filter(|_| track < self.tracks_len) else {
            return;
        };
        state.bytes += u64::try_from(bytes.len()).unwrap_or_default();
        if self.video_track == Some(track) {
            self.video.push(bytes, &mut self.frames);
            self.note_video();
        } else if let Some((audio, mut output)) = self.audio_track(track) {
            audio.push(bytes, &mut output);
            let format = audio.format().copied();
            self.note_audio(track, format);
        } else if self.is_data(track) {
            self.data.push(track, bytes);
        }
    }

    fn nal_unit(&mut self, track: usize, code_and_header: &[u8], bytes: &[u8]) {
        if self.video_track != Some(track) {
            self.unit_data(track, code_and_header);
            return self.unit_data(track, bytes);
        }
        if let Some(state) = self.tracks.get_mut(track) {
            let len = code_and_header.len() + bytes.len();
            state.bytes += u64::try_from(len).unwrap_or_default();
        }
        self.video.push_nal(code_and_header, bytes, &mut self.frames);
        self.note_video();
    }

    fn unit_end(&mut self, track: usize) {
        if self.video_track == Some(track) {
            self.video.unit_end(&mut self.frames);
            self.note_video();
        } else if let Some((audio, mut output)) = self.audio_track(track) {
            audio.unit_end(&mut output);
            let format = audio.format().copied();
            self.note_audio(track, format);
        } else {
            self.end_data(track, false);
        }
    }

    fn gap(&mut self, track: usize) {
        if self.video_track == Some(track) {
            self.video.gap(&mut self.frames);
        } else if let Some((audio, mut output)) = self.audio_track(track) {
            audio.gap(&mut output);
        } else {
            self.data.gap(track);
        }
    }

    fn configuration(&mut self, track: usize, bytes: &[u8]) {
        if let Some((audio, _)) = self.audio_track(track) {
            audio.describe(bytes);
            let format = audio.format().copied();
            self.note_audio(track, format);
        }
    }

    fn skipped(&mut self, track: usize) {
        if self.video_track == Some(track) {
            self.video.skipped(&mut self.frames);
            self.note_video();
        } else if let Some((audio, _)) = self.audio_track(track) {
            audio.skipped();
        }
    }
}

/// The same elementary stream in two lists.
fn is_same(old: &TrackConfig, new: &TrackConfig) -> bool {
    let of = |track: &TrackConfig| {
        (track.pid, track.program, track.codec, track.carriage, track.payload_type, track.clock_hz)
    };
    of(old) == of(new)
}
