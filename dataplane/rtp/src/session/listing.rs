//! The session's tracks as the sink is told of them.

use codec::sink::TrackConfig;

use super::TRACKS_MAX;
use crate::format::{Encoding, Format};
use crate::output::Output;

/// See the module. Each unit asks whether it was told, and nothing else: the rest lies elsewhere.
#[derive(Debug)]
pub(super) struct Listing {
    formats: Box<[Option<Format>; TRACKS_MAX]>,
    len: usize,
    told: bool,
}

impl Listing {
    /// Bytes of one beside its own size.
    pub(super) const BYTES: usize = size_of::<[Option<Format>; TRACKS_MAX]>();

    pub(super) fn new() -> Self {
        Self { formats: Box::new([None; TRACKS_MAX]), len: 0, told: false }
    }

    /// A session begins.
    pub(super) const fn reset(&mut self) {
        (self.len, self.told) = (0, false);
    }

    pub(super) fn push(&mut self, format: Option<Format>) {
        if let Some(place) = self.formats.get_mut(self.len) {
            *place = format;
            self.len += 1;
        }
    }

    pub(super) fn set(&mut self, index: usize, format: Format) {
        if let Some(place) = self.formats.get_mut(index) {
            *place = Some(format);
        }
    }

    /// Tells the sink once, before its first unit. A transport stream's tracks are its
    /// demultiplexer's to tell.
    pub(super) fn tell<O: Output>(&mut self, out: &mut O) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let formats = self.formats.get(..self.len).unwrap_or_default();
        let is_ts = |format: &Format| format.encoding == Encoding::MpegTs;
        if formats.iter().flatten().any(is_ts) {
            return;
        }
        let mut configs = [TrackConfig::default(); TRACKS_MAX];
        for (config, format) in configs.iter_mut().zip(formats) {
            *config = format.map(|format| format.track_config()).unwrap_or_default();
        }
        out.tracks(configs.get(..self.len).unwrap_or_default());
        for (index, format) in formats.iter().enumerate() {
            if let Some(format) = format.filter(|format| !format.configuration().is_empty()) {
                out.configuration(index, format.configuration());
            }
        }
    }
}
