//! What a session of either protocol makes of what it receives: frames in the ring, counters and
//! state in the stream's slot.

use std::mem::offset_of;
use std::time::Duration;

use memory::{Time, prefetch_start};
use mpegts::Demuxer;
use shm::counters::StreamCounter;
use shm::{Histogram, NoMediaReason, Published, StreamState, TRACKS_MAX, TrackInfo};

use super::bandwidth::{Change, Watch};
use super::counters::{self, Base};
use super::rate::Rate;
use crate::berth::Berth;
use crate::config::OverBandwidth;

/// A stream that receives but publishes nothing for this long has no media.
const MEDIA_PATIENCE: Duration = Duration::from_secs(2);

/// Made once with its memory, used by one session of its place after the other. What each packet
/// needs comes first.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Publication {
    /// When the next finished frame is due.
    publish_at: Time,
    flushed: Time,
    /// The generation of the ring that is shown.
    generation: u64,
    /// It went above its bandwidth, at this rate, and nobody was told yet.
    over_rate: Option<u64>,
    /// It is to end for that.
    closing: bool,
    /// What the stream is until something comes.
    waiting: StreamState,
    pub(crate) stream: media::Stream,
    published: u64,
    published_at: Time,
    media_rate: Rate,
    watch: Watch,
    /// The stream's counters when the session began.
    base: Base,
    pub(crate) demuxer: Demuxer,
}

impl Publication {
    /// Bytes beside its own size: section buffers, frames of sound and data in the making,
    /// parameter sets.
    pub(crate) const BUFFERS_BYTES: usize = 768 << 10;

    pub(crate) fn new(program: Option<u16>, limits: media::Limits) -> Self {
        Self {
            demuxer: Demuxer::new(mpegts::Config { program }),
            stream: media::Stream::new(limits),
            base: Base::zero(),
            media_rate: Rate::default(),
            watch: Watch::new(),
            over_rate: None,
            closing: false,
            published: 0,
            published_at: Time::ZERO,
            publish_at: Time::NEVER,
            generation: 0,
            waiting: StreamState::Connecting,
            flushed: Time::ZERO,
        }
    }

    /// Asks for the memory that a packet will need here.
    pub(crate) fn prefetch(&self) {
        prefetch_start(self, offset_of!(Self, stream));
        self.stream.prefetch();
    }

    /// Asks for what the counters are shown on top of.
    pub(crate) fn prefetch_base(&self) {
        self.base.prefetch();
    }

    /// A session begins: its stream has the berth's ring until [`Self::close`].
    pub(crate) fn open(
        &mut self,
        berth: &mut Berth,
        (max_bps, over_bandwidth): (u64, OverBandwidth),
        now: Time,
    ) {
        let ring = berth.ring.take().expect("a berth comes with its ring");
        self.demuxer.reset();
        if berth.info.state == StreamState::Lost {
            self.stream.open_waiting(ring);
        } else {
            self.stream.open(ring);
        }
        self.base.take(&berth.slot);
        self.media_rate = Rate::default();
        self.watch.open(max_bps, over_bandwidth, now);
        (self.over_rate, self.closing) = (None, false);
        self.published = 0;
        self.published_at = now;
        self.publish_at = Time::NEVER;
        self.flushed = now;
        self.generation = berth.info.ring_generation;
        self.waiting = berth.info.state;
        if self.waiting != StreamState::Lost {
            berth.info.set_tracks(&[]);
        }
        berth.slot.set_info(&berth.info);
    }

    /// Publishes the frames that are due. Their tracks are listed before: whoever reads a frame finds
    /// out what it is.
    pub(crate) fn publish(&mut self, berth: &mut Berth, now: Time, latency: &mut Histogram) {
        self.show_tracks(berth);
        let (published, published_at) = (&mut self.published, &mut self.published_at);
        let next = self.stream.publish_due_with(now, |frame: &Published| {
            latency.record(frame.published_ns.saturating_sub(frame.due_ns));
            *published += 1;
            *published_at = now;
        });
        self.publish_at = next.unwrap_or(Time::NEVER);
    }

    /// When the next finished frame is due.
    pub(crate) const fn publish_at(&self) -> Time {
        self.publish_at
    }

    /// When the counters were shown last.
    pub(crate) const fn flushed(&self) -> Time {
        self.flushed
    }

    /// Holds the stream to its bandwidth, by its policy.
    pub(crate) fn watch_rate(&mut self, now: Time, media_bytes: u64) {
        match self.watch.update(now, media_bytes) {
            Some(Change::Over(rate)) => {
                self.over_rate = Some(rate);
                match self.watch.policy() {
                    OverBandwidth::Event => {}
                    OverBandwidth::Drop => {
                        self.stream.limit_rate(Some(self.watch.max_bps() / 8), now);
                    }
                    OverBandwidth::Close => self.closing = true,
                }
            }
            Some(Change::Within) => self.stream.limit_rate(None, now),
            None => {}
        }
    }

    /// Goes by another bandwidth from now on.
    pub(crate) fn set_bandwidth(&mut self, max_bps: u64, policy: OverBandwidth, now: Time) {
        self.watch.set(max_bps, policy);
        // If it is still above, the next second tells.
        self.stream.limit_rate(None, now);
    }

    /// The rate of a session that went above its bandwidth since the last call.
    pub(crate) const fn take_over_rate(&mut self) -> Option<u64> {
        self.over_rate.take()
    }

    /// Whether the session is to end because it is above its bandwidth.
    pub(crate) const fn is_closing(&self) -> bool {
        self.closing
    }

    /// What the stream's counters stood at when the session began.
    pub(crate) const fn base(&self) -> &Base {
        &self.base
    }

    /// Shows counters, state and tracks. `no_media` says why no frames come, when they do not;
    /// `None` while it cannot be told.
    pub(crate) fn show(
        &mut self,
        berth: &mut Berth,
        media_bytes: u64,
        no_media: Option<NoMediaReason>,
        now: Time,
    ) {
        self.flushed = now;
        let slot = &mut berth.slot;
        self.base.show(slot, self.stream.counters().totals());
        counters::show_gauges(slot, self.stream.counters().gauges());
        self.base.show(slot, [(StreamCounter::BandwidthExceeded, self.watch.exceeded())]);
        slot.set(StreamCounter::MaxBandwidthBps, self.watch.max_bps());
        let bitrate = self.media_rate.update(now, media_bytes);
        slot.set(StreamCounter::BitrateBps, bitrate);
        self.show_info(berth, no_media, now);
    }

    /// Shows the counters of a transport stream.
    pub(crate) fn show_demuxer(&self, berth: &mut Berth) {
        self.base.show(&mut berth.slot, counters::demuxer_totals(self.demuxer.counters()));
    }

    fn show_info(&mut self, berth: &mut Berth, no_media: Option<NoMediaReason>, now: Time) {
        let state = self.state(no_media, now);
        let tracks_changed = self.list_tracks(berth);
        let info = &mut berth.info;
        if tracks_changed || (info.state, info.no_media) != state {
            (info.state, info.no_media) = state;
            berth.slot.set_info(info);
        }
    }

    /// Ends what is open and publishes everything, due or not.
    pub(crate) fn finish(&mut self, berth: &mut Berth, now: Time) {
        self.show_tracks(berth);
        self.stream.finish(now);
    }

    fn show_tracks(&mut self, berth: &mut Berth) {
        let generation = self.stream.generation();
        let began = std::mem::replace(&mut self.generation, generation) != generation;
        if self.list_tracks(berth) || began {
            berth.info.ring_generation = generation;
            berth.slot.set_info(&berth.info);
        }
    }

    /// Puts changed tracks into the berth's information, which is not shown yet; whether there were any.
    fn list_tracks(&mut self, berth: &mut Berth) -> bool {
        if !self.stream.tracks_changed() {
            return false;
        }
        let tracks = self.stream.tracks();
        // A lost stream keeps its tracks until there are others.
        if self.waiting == StreamState::Lost && tracks.is_empty() {
            return false;
        }
        let mut infos = [TrackInfo::default(); TRACKS_MAX];
        for (info, track) in infos.iter_mut().zip(tracks) {
            *info = track.info();
        }
        berth.info.set_tracks(&infos[..tracks.len()]);
        true
    }

    fn state(&self, no_media: Option<NoMediaReason>, now: Time) -> (StreamState, NoMediaReason) {
        if now.since(self.published_at) < MEDIA_PATIENCE {
            let state = if self.published > 0 { StreamState::Active } else { self.waiting };
            return (state, NoMediaReason::None);
        }
        match no_media {
            // Nothing has come, or too little to tell.
            None => (self.waiting, NoMediaReason::None),
            Some(reason) => (StreamState::NoMedia, reason),
        }
    }

    /// Why a transport stream yields no frames; `None` while it cannot be told.
    pub(crate) fn why_no_media(&self) -> Option<NoMediaReason> {
        Some(match self.demuxer.state() {
            mpegts::State::Syncing => return None,
            mpegts::State::NotTransportStream => NoMediaReason::NotTransportStream,
            mpegts::State::NoPat => NoMediaReason::NoPat,
            mpegts::State::NoProgram => NoMediaReason::NoProgram,
            mpegts::State::NoPmt { .. } => NoMediaReason::NoPmt,
            mpegts::State::NoTracks { .. } => NoMediaReason::NoTracks,
            mpegts::State::Playing { .. } => NoMediaReason::NoFrames,
        })
    }

    /// Gives up the oldest closed group of pictures.
    pub(crate) fn drop_gop(&mut self, berth: &mut Berth) {
        let dropped = self.stream.drop_oldest_gop();
        berth.slot.add(StreamCounter::GopsDropped, dropped.into());
    }

    /// Gives the ring back to the berth.
    pub(crate) fn close(&mut self, berth: &mut Berth) {
        let mut ring = self.stream.close().expect("an open session has its ring");
        ring.end();
        berth.ring = Some(ring);
        counters::show_gauges(&mut berth.slot, counters::NOTHING_WAITS);
    }
}

#[cfg(test)]
mod tests {
    use codec::sink::{Carriage, Codec, Sink, Timestamps, TrackConfig};
    use shm::{
        Directory, DirectoryConfig, DirectoryWriter, GopReader, GopRing, Next, RingId, RingSpec,
        StreamInfo, WorkerBlock,
    };

    use super::*;

    /// A publication over memory of its own.
    struct Bench {
        publication: Publication,
        berth: Berth,
        writer: DirectoryWriter,
        directory: Directory,
        reader: GopReader,
    }

    impl Bench {
        fn new() -> Self {
            let (memory_budget_bytes, software) = (0, "test");
            let config =
                DirectoryConfig { workers: 1, stream_slots: 1, memory_budget_bytes, software };
            let (mut writer, directory) = DirectoryWriter::in_process(&config).expect("it fits");
            let spec = RingSpec {
                ring: RingId(0),
                video_bytes: 1 << 16,
                side_bytes: 1 << 12,
                descriptors: 8,
                pending_frames: 8,
            };
            let (ring, reader) = GopRing::in_process(&spec).expect("it fits");
            let id = shm::StreamId::new("first").expect("an id");
            let info = StreamInfo { id, state: StreamState::Connecting, ..StreamInfo::default() };
            let slot = writer.stream(0);
            let mut berth = Berth { slot, ring: Some(ring), info, pressure_set: None };
            berth.slot.open(&info);
            let publication = Publication::new(None, media::Limits::default());
            Self { publication, berth, writer, directory, reader }
        }

        fn open(&mut self) {
            let bandwidth = (u64::MAX, OverBandwidth::Event);
            self.publication.open(&mut self.berth, bandwidth, Time::ZERO);
        }

        /// A picture, which is whole with its unit, and due at once.
        fn picture(&mut self, block: &mut WorkerBlock) {
            let stream = &mut self.publication.stream;
            let (codec, carriage) = (Codec::JpegXs, Carriage::AccessUnits);
            let track = TrackConfig { codec, carriage, ..TrackConfig::default() };
            stream.input(Time::ZERO, Time::ZERO);
            Sink::tracks(stream, &[track]);
            stream.unit_start(0, Timestamps { pts: Some(0), dts: None });
            stream.unit_data(0, &[0xff, 0x10, 0xff, 0x11]);
            stream.unit_end(0);
            self.publication.publish(&mut self.berth, Time::ZERO, block.latency());
        }

        fn next(&mut self) -> Next {
            self.reader.next(&mut Vec::new()).expect("a ring in order")
        }
    }

    #[test]
    fn a_reader_of_the_first_frame_finds_its_track_listed() {
        let mut bench = Bench::new();
        let mut block = bench.writer.worker(0);
        bench.open();
        bench.picture(&mut block);
        assert!(matches!(bench.next(), Next::Frame(_)));
        let listed = bench.directory.stream("first").expect("it is listed").info;
        assert_eq!(listed.tracks().first().map(|track| track.codec), Some(shm::Codec::JpegXs));
    }

    #[test]
    fn the_frames_of_a_publisher_that_has_gone_stay_until_the_next_one_sends() {
        let mut bench = Bench::new();
        let mut block = bench.writer.worker(0);
        bench.open();
        bench.picture(&mut block);
        bench.publication.close(&mut bench.berth);
        // The stream waits for its publisher again.
        bench.berth.info.state = StreamState::Lost;
        bench.open();
        bench.publication.publish(&mut bench.berth, Time::ZERO, block.latency());
        assert!(matches!(bench.next(), Next::Frame(_)));
        assert_eq!(bench.next(), Next::Ended);
        bench.picture(&mut block);
        assert_eq!(bench.next(), Next::Ended, "another generation");
        let listed = bench.directory.stream("first").expect("it is listed").info;
        assert_eq!(bench.reader.attach(), listed.ring_generation);
        assert!(matches!(bench.next(), Next::Frame(frame) if frame.sequence == 0));
    }
}
