//! The program that is followed: chosen from the association table, its map table turned into
//! tracks, and the PIDs that lead to them.

use codec::sink::{Codec, Sink, TRACKS_MAX, TrackConfig};

use crate::{
    Counters, Error,
    packet::{PID_COUNT, PID_NULL, PID_PAT},
    psi::{Change, Elementary, Pat, Pmt, Program, Section},
    stream_type::{self, Descriptors},
    timeline::Timeline,
    track::Track,
};

/// Where packets of a PID go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Nowhere,
    Pat,
    Pmt,
    /// Carries the clock and nothing else of use.
    Clock,
    Track(usize),
}

/// The map of PIDs, one byte each.
#[derive(Debug)]
struct Routes(Box<[u8]>);

impl Routes {
    const PAT: u8 = 1;
    const PMT: u8 = 2;
    const CLOCK: u8 = 3;
    const TRACKS: u8 = 16;

    fn new() -> Self {
        let mut routes = Self(vec![0; PID_COUNT].into_boxed_slice());
        routes.set(PID_PAT, Self::PAT);
        routes
    }

    #[inline]
    fn of(&self, pid: u16) -> Route {
        match self.0.get(usize::from(pid)).copied().unwrap_or(0) {
            0 => Route::Nowhere,
            Self::PAT => Route::Pat,
            Self::PMT => Route::Pmt,
            Self::CLOCK => Route::Clock,
            track => Route::Track(usize::from(track.wrapping_sub(Self::TRACKS))),
        }
    }

    /// The association table and null packets keep their PIDs.
    fn set(&mut self, pid: u16, route: u8) {
        if (pid != PID_PAT || route == Self::PAT)
            && pid != PID_NULL
            && let Some(place) = self.0.get_mut(usize::from(pid))
        {
            *place = route;
        }
    }
}

/// A list of streams as the map table gives it.
#[derive(Debug, Clone, Copy)]
struct Listing {
    configs: [TrackConfig; TRACKS_MAX],
    len: usize,
}

impl Listing {
    const EMPTY: Self = Self {
        configs: [TrackConfig {
            codec: Codec::Unknown,
            pid: 0,
            stream_type: 0,
            program: 0,
            language: None,
            channels: 0,
            carriage: codec::sink::Carriage::Stream,
            clock_hz: 0,
            payload_type: 0,
        }; TRACKS_MAX],
        len: 0,
    };

    fn get(&self) -> &[TrackConfig] {
        self.configs.get(..self.len).unwrap_or(&[])
    }

    /// Lists a stream; a PID that comes twice is taken once. `false` when there is no room.
    fn add(&mut self, config: TrackConfig) -> bool {
        if self.get().iter().any(|listed| listed.pid == config.pid) {
            return true;
        }
        let Some(place) = self.configs.get_mut(self.len) else {
            return false;
        };
        *place = config;
        self.len += 1;
        true
    }

    fn has_same_set(&self, other: &Self) -> bool {
        self.len == other.len && self.get().iter().all(|config| other.get().contains(config))
    }
}

#[derive(Debug)]
pub(crate) struct Followed {
    /// The program that the config names; the first of the table otherwise.
    wanted: Option<u16>,
    pat: Pat,
    selected: Option<Program>,
    /// The map table that applies, by its CRC.
    pmt_crc: Option<u32>,
    pcr_pid: u16,
    routes: Routes,
    listing: Listing,
    pub tracks: Box<[Track]>,
    /// Where tracks are put in their new order; never read otherwise.
    spare: Box<[Track]>,
    pub timeline: Timeline,
}

impl Followed {
    pub(crate) fn new(wanted: Option<u16>) -> Self {
        let tracks = || (0..TRACKS_MAX).map(|_| Track::new()).collect();
        Self {
            wanted,
            pat: Pat::new(),
            selected: None,
            pmt_crc: None,
            pcr_pid: PID_NULL,
            routes: Routes::new(),
            listing: Listing::EMPTY,
            tracks: tracks(),
            spare: tracks(),
            timeline: Timeline::default(),
        }
    }

    pub(crate) fn reset(&mut self) {
        self.clear_routes();
        self.pat.reset();
        self.selected = None;
        self.pmt_crc = None;
        self.pcr_pid = PID_NULL;
        self.listing = Listing::EMPTY;
        self.timeline.reset();
    }

    #[inline]
    pub(crate) fn route(&self, pid: u16) -> Route {
        self.routes.of(pid)
    }

    pub(crate) const fn pcr_pid(&self) -> u16 {
        self.pcr_pid
    }

    pub(crate) const fn pat(&self) -> &Pat {
        &self.pat
    }

    pub(crate) const fn selected(&self) -> Option<Program> {
        self.selected
    }

    pub(crate) const fn has_pmt(&self) -> bool {
        self.pmt_crc.is_some()
    }

    pub(crate) fn listed(&self) -> &[TrackConfig] {
        self.listing.get()
    }

    pub(crate) fn tracks_listed(&mut self) -> &mut [Track] {
        self.tracks.get_mut(..self.listing.len).unwrap_or(&mut [])
    }

    /// Takes a section of the association table's PID. `true` when the map table is to be read
    /// from another PID.
    pub(crate) fn pat_section<S: Sink + ?Sized>(
        &mut self,
        bytes: &[u8],
        sink: &mut S,
        counters: &mut Counters,
    ) -> bool {
        let outcome =
            Section::parse(bytes).and_then(|section| self.pat.section(&section, self.wanted));
        counters.psi_programs_unlisted = self.pat.unlisted();
        match outcome {
            Ok(Change::Complete) => self.select(sink, counters),
            Ok(Change::None) => false,
            Err(error) => {
                count(error, counters);
                false
            }
        }
    }

    fn choice(&self) -> Option<Program> {
        let programs = self.pat.programs();
        let numbered = |number| programs.iter().find(|program| program.number == number);
        match (self.wanted, self.selected) {
            (Some(number), _) => numbered(number),
            // A program that is followed stays while it is listed, wherever it stands.
            (None, Some(selected)) => numbered(selected.number).or_else(|| programs.first()),
            (None, None) => programs.first(),
        }
        .copied()
    }

    fn select<S: Sink + ?Sized>(&mut self, sink: &mut S, counters: &mut Counters) -> bool {
        let choice = self.choice();
        if choice == self.selected {
            return false;
        }
        counters.psi_changes += u64::from(self.selected.is_some());
        self.clear_routes();
        let number = |program: Option<Program>| program.map(|program| program.number);
        if number(choice) != number(self.selected) {
            self.pmt_crc = None;
            self.pcr_pid = PID_NULL;
            self.timeline.reset();
            if self.listing.len > 0 {
                self.listing = Listing::EMPTY;
                sink.tracks(&[]);
            }
        }
        self.selected = choice;
        self.set_routes();
        true
    }

    /// Takes a section of the map table's PID, which several programs may share.
    pub(crate) fn pmt_section<S: Sink + ?Sized>(
        &mut self,
        bytes: &[u8],
        sink: &mut S,
        counters: &mut Counters,
    ) {
        if bytes.first() != Some(&2) {
            return;
        }
        let section = match Section::parse(bytes) {
            Ok(section) => section,
            Err(error) => return count(error, counters),
        };
        let ours = self.selected.is_some_and(|program| program.number == section.extension);
        if !ours || !section.current || self.pmt_crc == Some(section.crc) {
            return;
        }
        match Pmt::parse(&section) {
            Ok(pmt) => {
                counters.psi_changes += u64::from(self.pmt_crc.is_some());
                self.pmt_crc = Some(section.crc);
                self.apply(&pmt, sink, counters);
            }
            Err(error) => count(error, counters),
        }
    }

    fn apply<S: Sink + ?Sized>(&mut self, pmt: &Pmt<'_>, sink: &mut S, counters: &mut Counters) {
        let program = Descriptors::parse(pmt.descriptors);
        let mut truncated = program.truncated;
        let mut listing = Listing::EMPTY;
        for stream in pmt.streams() {
            let descriptors = Descriptors::parse(stream.descriptors);
            truncated |= descriptors.truncated;
            let config = self.recognised(config(pmt, &stream, &descriptors, &program));
            if !listing.add(config) {
                counters.psi_tracks_unlisted += 1;
            }
        }
        counters.psi_invalid += u64::from(truncated);
        self.clear_routes();
        self.pcr_pid = pmt.pcr_pid;
        if !listing.has_same_set(&self.listing) {
            self.relist(&listing);
            sink.tracks(listing.get());
        }
        self.set_routes();
    }

    /// What was learned from a stream's contents holds for it in a new table too.
    fn recognised(&self, config: TrackConfig) -> TrackConfig {
        let unnamed = |listed: &&TrackConfig| {
            listed.pid == config.pid && listed.stream_type == config.stream_type
        };
        match self.listed().iter().find(unnamed) {
            Some(listed) if config.codec == Codec::Unknown => {
                TrackConfig { codec: listed.codec, ..config }
            }
            _ => config,
        }
    }

    /// A listed stream turns out to be of this coding.
    pub(crate) fn recognise<S: Sink + ?Sized>(&mut self, index: usize, codec: Codec, sink: &mut S) {
        let mut listing = self.listing;
        if let Some(config) = listing.configs.get_mut(index) {
            config.codec = codec;
            self.relist(&listing);
            sink.tracks(listing.get());
        }
    }

    /// Puts the tracks in their new order. Streams that stay keep their continuity and time.
    fn relist(&mut self, listing: &Listing) {
        let former = self.listing.len;
        for (config, place) in listing.get().iter().zip(self.spare.iter_mut()) {
            let stays = |track: &&mut Track| {
                track.config.pid == config.pid && track.config.codec == config.codec
            };
            match self.tracks.iter_mut().take(former).find(stays) {
                Some(track) => {
                    std::mem::swap(track, place);
                    place.config = *config;
                    place.drop_unit();
                }
                None => place.assign(*config),
            }
        }
        std::mem::swap(&mut self.tracks, &mut self.spare);
        self.listing = *listing;
    }

    fn clear_routes(&mut self) {
        for config in self.listing.get() {
            self.routes.set(config.pid, 0);
        }
        self.routes.set(self.pcr_pid, 0);
        if let Some(program) = self.selected {
            self.routes.set(program.pmt_pid, 0);
        }
    }

    fn set_routes(&mut self) {
        self.routes.set(self.pcr_pid, Routes::CLOCK);
        for (config, route) in self.listing.get().iter().zip(Routes::TRACKS..) {
            let in_sections = stream_type::in_sections(config.stream_type, config.codec);
            if !in_sections || config.codec == Codec::Scte35 {
                self.routes.set(config.pid, route);
            }
        }
        if let Some(program) = self.selected {
            self.routes.set(program.pmt_pid, Routes::PMT);
        }
    }
}

fn config(
    pmt: &Pmt<'_>,
    stream: &Elementary<'_>,
    descriptors: &Descriptors,
    program: &Descriptors,
) -> TrackConfig {
    TrackConfig {
        codec: stream_type::codec(stream.stream_type, descriptors, program),
        pid: stream.pid,
        stream_type: stream.stream_type,
        program: pmt.program,
        language: descriptors.language,
        channels: descriptors.channels,
        ..TrackConfig::default()
    }
}

const fn count(error: Error, counters: &mut Counters) {
    match error {
        Error::SectionCrc => counters.psi_crc_errors += 1,
        _ => counters.psi_invalid += 1,
    }
}
