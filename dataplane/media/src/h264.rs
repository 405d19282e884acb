//! H.264 in access unit splitting: what each NAL unit means for the picture at hand.

use codec::h264::{
    NalType, ParameterSets, PicOrder, SLICE_PREFIX_BYTES, SliceHeader, SlicePicOrder, SliceStart,
    is_forbidden,
};
use codec::{SetChange, VideoFormat};
use memory::prefetch;

use crate::access_unit::{AccessUnit, Contents, Kind, Slice, Structure};
use crate::frame_rate::field_ticks;
use crate::timeline::{OrderCounter, PictureOrder};

/// State over the pictures of one H.264 track.
#[derive(Debug)]
pub(crate) struct H264 {
    /// Kilobytes, of which a picture needs two lines: apart, so that what else it needs lies together.
    sets: Box<ParameterSets>,
    /// The last primary slice, of this picture or the one before.
    last: Option<SliceHeader>,
    /// The slice just parsed, when its parameter sets are known.
    current: Option<SliceHeader>,
    idr: bool,
    /// First field that waits for its second.
    first_field: Option<SliceHeader>,
    /// Picture order count of types 0 and 2. Memory management operation 5, which resets it within
    /// a sequence, is not followed.
    order: OrderCounter,
    format: Option<VideoFormat>,
    /// Picture parameter set that `format` was taken from; `None` when sets changed since.
    format_pps: Option<u8>,
}

impl H264 {
    pub(crate) fn new() -> Self {
        Self {
            sets: Box::new(ParameterSets::new()),
            last: None,
            current: None,
            idr: false,
            first_field: None,
            order: OrderCounter::NEW,
            format: None,
            format_pps: None,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.sets.clear();
        self.last = None;
        self.current = None;
        self.idr = false;
        self.first_field = None;
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

    /// What a NAL unit is by its header byte, and whether it is marked as damaged.
    pub(crate) fn classify(nal: &[u8]) -> (Kind, bool) {
        let Some(header) = nal.first() else {
            return (Kind::Follower, false);
        };
        let nal_type = NalType::of(*header);
        let kind = if nal_type.is_slice() {
            Kind::Slice { prefix: SLICE_PREFIX_BYTES }
        } else if nal_type == NalType::PREFIX {
            Kind::Tentative
        } else if nal_type.starts_access_unit() {
            let contents = match nal_type {
                NalType::SPS | NalType::PPS => Contents::ParameterSet,
                NalType::SEI => Contents::Sei,
                _ => Contents::Other,
            };
            Kind::Starter { delimiter: nal_type == NalType::AUD, contents }
        } else {
            Kind::Follower
        };
        (kind, is_forbidden(*header))
    }

    pub(crate) fn parameter_set(&mut self, nal: &[u8]) {
        if let Ok(SetChange::New | SetChange::Changed) = self.sets.insert(nal) {
            self.format_pps = None;
        }
    }

    /// The first bytes of a slice; `in_picture` when slices of the open access unit came before.
    pub(crate) fn slice(&mut self, nal: &[u8], in_picture: bool) -> Slice {
        let header = SliceHeader::parse(nal, &self.sets).ok();
        let start = header.map(|header| header.start());
        let start = start.or_else(|| SliceStart::parse(nal).ok());
        let comparable = in_picture && self.current.is_some();
        let starts = match (&header, &self.last) {
            (Some(header), Some(last)) if comparable => header.starts_new_picture(last),
            _ => start.is_some_and(|start| start.first_mb == 0),
        };
        self.idr = nal.first().is_some_and(|header| NalType::of(*header) == NalType::IDR);
        self.current = header;
        if let Some(header) = header.filter(|header| header.redundant_pic_cnt == 0) {
            self.last = Some(header);
        }
        Slice { starts, slice_type: start.map(|start| start.slice_type) }
    }

    /// The slice just parsed is the first of `unit`.
    pub(crate) fn begin_picture(&mut self, unit: &mut AccessUnit) {
        unit.idr = self.idr;
        unit.key |= self.idr;
        let Some(header) = self.current else {
            self.first_field = None;
            return;
        };
        unit.structure = self.structure(&header);
        unit.order = self.picture_order(&header);
        if let Some(sps) = self.sets.sps_of(header.pps_id) {
            unit.field_coded = !sps.frame_mbs_only;
            unit.reorder = match sps.pic_order {
                PicOrder::Decoding => Some(0),
                _ => sps.reorder_frames,
            };
        }
        if self.format_pps != Some(header.pps_id) {
            self.format_pps = Some(header.pps_id);
            self.format = self.sets.format(header.pps_id);
        }
        unit.field_ticks = self.format.and_then(|format| format.frame_rate).map(field_ticks);
    }

    fn structure(&mut self, header: &SliceHeader) -> Structure {
        let first = self.first_field.take();
        if !header.field_pic {
            return Structure::Frame;
        }
        if first.is_some_and(|first| header.is_second_field_of(&first)) {
            return Structure::SecondField;
        }
        self.first_field = Some(*header);
        Structure::FirstField
    }

    fn picture_order(&mut self, header: &SliceHeader) -> Option<PictureOrder> {
        let coding = self.sets.sps_of(header.pps_id)?.pic_order;
        let (bits, lsb, delta_bottom) = match (coding, header.pic_order) {
            (PicOrder::Lsb { bits }, SlicePicOrder::Lsb { lsb, delta_bottom }) => {
                (bits, lsb, delta_bottom)
            }
            (PicOrder::Decoding, _) => {
                let fields = if header.field_pic { 1 } else { 2 };
                let count = self.order.picture_in_order(header.idr, fields);
                return Some(self.order.order(count));
            }
            _ => return None,
        };
        let top = self.order.picture(header.idr, lsb, bits, header.nal_ref_idc != 0);
        let count = if header.field_pic { top } else { top.min(top + i64::from(delta_bottom)) };
        Some(self.order.order(count))
    }
}
