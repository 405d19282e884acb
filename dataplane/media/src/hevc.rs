//! HEVC in access unit splitting: what each NAL unit means for the picture at hand.

use codec::hevc::{NalHeader, NalType, ParameterSets, SLICE_PREFIX_BYTES, SliceHeader};
use codec::{SetChange, SliceType, VideoFormat};
use memory::prefetch;

use crate::access_unit::{AccessUnit, Contents, Kind, Slice};
use crate::frame_rate::field_ticks;
use crate::timeline::{OrderCounter, PictureOrder};

/// State over the pictures of one HEVC track.
#[derive(Debug)]
pub(crate) struct Hevc {
    /// Kilobytes, of which a picture needs two lines: apart, so that what else it needs lies together.
    sets: Box<ParameterSets>,
    nal_type: NalType,
    header: Option<SliceHeader>,
    /// Type of the last independent slice segment.
    slice_type: Option<SliceType>,
    order: OrderCounter,
    format: Option<VideoFormat>,
    /// Picture parameter set that `format` was taken from; `None` when sets changed since.
    format_pps: Option<u8>,
}

impl Hevc {
    pub(crate) fn new() -> Self {
        Self {
            sets: Box::new(ParameterSets::new()),
            nal_type: NalType(0),
            header: None,
            slice_type: None,
            order: OrderCounter::NEW,
            format: None,
            format_pps: None,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.sets.clear();
        self.nal_type = NalType(0);
        self.header = None;
        self.slice_type = None;
        self.order = OrderCounter::NEW;
        self.format = None;
        self.format_pps = None;
    }

    /// Asks for the memory of the parameter sets that a picture most likely names.
    pub(crate) fn prefetch_sets(&self) {
        let (sps, pps) = self.sets.first();
        prefetch(sps);
        prefetch(pps);
    }

    pub(crate) const fn format(&self) -> Option<&VideoFormat> {
        self.format.as_ref()
    }

    /// Bytes are missing.
    pub(crate) const fn gap(&mut self) {
        self.order.interrupt();
    }

    /// What a NAL unit is by its header, and whether it is marked as damaged. Layers above the
    /// base go with its access unit.
    pub(crate) fn classify(nal: &[u8]) -> (Kind, bool) {
        let Ok(header) = NalHeader::parse(nal) else {
            return (Kind::Follower, nal.len() > 1);
        };
        let nal_type = header.nal_type;
        let kind = if header.layer_id > 0 {
            Kind::Follower
        } else if nal_type.is_slice() {
            Kind::Slice { prefix: SLICE_PREFIX_BYTES }
        } else if nal_type.starts_access_unit() {
            let contents = match nal_type {
                NalType::VPS | NalType::SPS | NalType::PPS => Contents::ParameterSet,
                _ => Contents::Other,
            };
            Kind::Starter { delimiter: nal_type == NalType::AUD, contents }
        } else {
            Kind::Follower
        };
        (kind, false)
    }

    pub(crate) fn parameter_set(&mut self, nal: &[u8]) {
        if let Ok(SetChange::New | SetChange::Changed) = self.sets.insert(nal) {
            self.format_pps = None;
        }
    }

    /// The first bytes of a slice segment.
    pub(crate) fn slice(&mut self, nal: &[u8]) -> Slice {
        let starts = SliceHeader::is_first_in_picture(nal) == Some(true);
        if let Some(header) = nal.first() {
            self.nal_type = NalType::of(*header);
        }
        self.header = SliceHeader::parse(nal, &self.sets).ok();
        match self.header {
            Some(SliceHeader { dependent: true, .. }) => {}
            Some(header) => self.slice_type = header.slice_type,
            None => self.slice_type = None,
        }
        Slice { starts, slice_type: self.slice_type }
    }

    /// The slice segment just parsed is the first of `unit`.
    pub(crate) fn begin_picture(&mut self, unit: &mut AccessUnit) {
        unit.idr = self.nal_type.is_idr();
        unit.key = self.nal_type.is_irap();
        let Some(header) = self.header else { return };
        unit.order = self.picture_order(&header);
        unit.reorder = self.sets.sps_of(header.pps_id).map(|sps| sps.reorder_pics);
        if self.format_pps != Some(header.pps_id) {
            self.format_pps = Some(header.pps_id);
            self.format = self.sets.format(header.pps_id);
        }
        unit.field_ticks = self.format.and_then(|format| format.frame_rate).map(field_ticks);
    }

    fn picture_order(&mut self, header: &SliceHeader) -> Option<PictureOrder> {
        let nal_type = header.nal.nal_type;
        let bits = self.sets.sps_of(header.pps_id)?.pic_order_cnt_lsb_bits;
        let lsb = header.pic_order_cnt_lsb?;
        let starts = nal_type.is_idr() || nal_type.is_bla();
        let leading = nal_type.is_rasl() || nal_type.is_radl();
        let reference = header.nal.temporal_id == 0 && !leading && is_reference(nal_type);
        let count = self.order.picture(starts, lsb, bits, reference);
        // In fields, as H.264 counts.
        Some(self.order.order(2 * count))
    }
}

/// Not one of the sub-layer non-reference types (the even ones below 16).
const fn is_reference(nal_type: NalType) -> bool {
    nal_type.0 >= 16 || !nal_type.0.is_multiple_of(2)
}
