//! What H.264 and HEVC have in common: NAL units, whole or in fragments, gathered to units.
//!
//! ```text
//!  timestamp   1000            | 1000        | 4000
//!  packets     SPS PPS  slice  | slice  M    | slice …
//!              └ unit starts           └ ends: at M once the sender's markers have proved right,
//!                                        else when the timestamp changes
//! ```
//!
//! **Markers.** Some senders mark each slice or parameter set, some mark nothing. A marker counts
//! only behind a slice, and ends the unit at once only after [`PROOF`] markers in a row were followed
//! by another timestamp. A slice that goes on with a marked picture takes all trust away.
//!
//! **Losses.** A unit with a hole is damaged. So is one that was open, unmarked, at a loss. The unit
//! behind a loss is clean only if it starts as whole units of its kind do: with the same kind of NAL
//! unit, and as many of them.

use super::Limits;
use super::unit::{Outlet, Unit};
use crate::output::Output;

/// Every NAL unit is written behind this.
const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// Markers in a row that were right before one is believed at once.
const PROOF: u8 = 2;
/// Zeros at the end of a fragment are written once something follows.
const ZEROS: [u8; 64] = [0; 64];

/// What a NAL unit is to the access unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Starts one.
    Delimiter,
    /// Of the given rank: 0 for those that others refer to.
    ParameterSet(u8),
    /// Before the slices.
    Message,
    Slice {
        /// The first of a picture.
        first: bool,
        /// Decoding can start with it.
        key: bool,
    },
    /// After the slices.
    Suffix,
    /// Not handed on.
    Ignored,
    /// Not supported; handed on.
    Unsupported,
    /// No NAL unit.
    Invalid,
}

/// How an access unit starts: its first kind of NAL unit, and how many of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lead {
    role: Role,
    run: u8,
}

impl Lead {
    fn of(role: Role) -> Self {
        // All slices that are the first of a picture start it alike.
        let role = match role {
            Role::Slice { first, .. } => Role::Slice { first, key: false },
            other => other,
        };
        Self { role, run: 1 }
    }

    /// What it could only be if nothing came before it, in a stream that is joined.
    const fn is_plain_start(self) -> bool {
        matches!(
            self.role,
            Role::Delimiter | Role::ParameterSet(0) | Role::Slice { first: true, .. }
        )
    }
}

/// What the sender's markers are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Markers {
    Proving(u8),
    Wrong,
}

/// The NAL unit that is being put together.
#[derive(Debug, Clone, Copy)]
struct Fragments {
    /// The NAL unit's header as rebuilt, one byte of it or two. Fragments are known by the first.
    header: [u8; 2],
    count: u32,
    /// Bytes of it that may be its last, if they are zeros.
    zeros: usize,
}

/// Packets that would go on with the open NAL unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) timestamp: u32,
    /// What their payloads begin with before the NAL unit's bytes: so many bytes.
    pub(crate) head: ([u8; 3], usize),
    /// How many there may be, and how many bytes they may bring in all.
    pub(crate) packets_max: u32,
    pub(crate) bytes_max: usize,
}

/// Gathers the NAL units of one track.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NalUnits {
    unit: Unit,
    timestamp: u32,
    has_slice: bool,
    /// The sender marked the open unit as complete.
    marked: bool,
    markers: Markers,
    marker_seen: bool,
    fragments: Option<Fragments>,
    /// The timestamp of the last packet, whatever was in it.
    previous: Option<u32>,
    /// The timestamp whose unit ended at a marker.
    closed_at: Option<u32>,
    /// Packets are missing since the last one.
    lost: bool,
    /// Packets may be missing of the start of the unit that starts next or has started.
    uncertain: bool,
    lead: Option<Lead>,
    /// The lead is still growing.
    leading: bool,
    /// How whole units start: predicted ones and key ones.
    leads: [Option<Lead>; 2],
    in_band_sets: bool,
    /// The stream's description has parameter sets.
    described: bool,
    /// A picture was judged, or could not be.
    joined: bool,
    /// The next unit is damaged by its order.
    disordered: bool,
}

impl NalUnits {
    pub(crate) const fn new(described: bool) -> Self {
        Self {
            unit: Unit::CLOSED,
            timestamp: 0,
            has_slice: false,
            marked: false,
            markers: Markers::Proving(0),
            marker_seen: false,
            fragments: None,
            previous: None,
            closed_at: None,
            lost: true,
            uncertain: true,
            lead: None,
            leading: false,
            leads: [None; 2],
            in_band_sets: false,
            described,
            joined: false,
            disordered: false,
        }
    }

    /// A packet with this timestamp is about to be read.
    pub(crate) fn packet<O: Output>(&mut self, to: &mut Outlet<'_, O>, timestamp: u32) {
        if timestamp != self.timestamp && self.unit.is_open() {
            self.abandon(to);
            if self.marked {
                self.marker_was_right();
            }
            self.close(to);
        }
        if std::mem::take(&mut self.lost) {
            self.uncertain = true;
        } else if self.previous != Some(timestamp) {
            // The packet before was the last one of another timestamp.
            self.uncertain = false;
        }
        self.previous = Some(timestamp);
    }

    /// The packet has been read; `marker` says that it ends an access unit.
    pub(crate) fn packet_end<O: Output>(&mut self, to: &mut Outlet<'_, O>, marker: bool) {
        if !marker {
            return;
        }
        if !self.unit.is_open() || !self.has_slice || self.fragments.is_some() {
            to.counters.markers_wrong += 1;
            return;
        }
        self.marker_seen = true;
        self.marked = true;
        if self.markers != Markers::Wrong {
            self.uncertain = false;
        }
        self.unit.rest();
        if self.markers == Markers::Proving(PROOF) || self.unit.is_over() {
            self.close(to);
            self.closed_at = Some(self.timestamp);
        }
    }

    /// A whole NAL unit.
    pub(crate) fn nal<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        timestamp: u32,
        nal: &[u8],
        role: Role,
    ) {
        self.abandon(to);
        if self.begin(to, timestamp, role) {
            self.unit.write_nal(to, &START_CODE, trim_zeros(nal));
        }
    }

    /// The first fragment of a NAL unit: its header as rebuilt, and what follows it.
    pub(crate) fn fragment_start<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        timestamp: u32,
        header: &[u8],
        body: &[u8],
        role: Role,
    ) {
        self.abandon(to);
        if self.begin(to, timestamp, role) {
            let [a, b] = [0, 1].map(|at| header.get(at).copied().unwrap_or(0));
            self.fragments = Some(Fragments { header: [a, b], count: 0, zeros: 0 });
            let [c, d, e, f] = START_CODE;
            let code_and_header = [c, d, e, f, a, b];
            let code_and_header = code_and_header.get(..START_CODE.len() + header.len());
            self.append(to, code_and_header.unwrap_or_default(), body);
        }
    }

    /// A further fragment of the NAL unit whose header starts with `kind`.
    pub(crate) fn fragment<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        timestamp: u32,
        kind: u8,
        body: &[u8],
        last: bool,
    ) {
        let Some(fragments) = self.fragments else {
            to.counters.fragments_without_start += 1;
            // Where the stream is joined, this is the picture that it is joined in.
            self.joined = true;
            self.open(to, timestamp);
            self.leading = false;
            return self.unit.damage(to);
        };
        if fragments.header[0] != kind {
            to.counters.fragments_inconsistent += 1;
        }
        self.append(to, &[], body);
        if last {
            self.fragments = None;
        }
    }

    /// What cannot be read belongs to the access unit.
    pub(crate) fn invalid<O: Output>(&mut self, to: &mut Outlet<'_, O>, timestamp: u32) {
        to.counters.elements_invalid += 1;
        self.open(to, timestamp);
        self.unit.damage(to);
    }

    /// What comes now is out of decoding order.
    pub(crate) fn disorder<O: Output>(&mut self, to: &mut Outlet<'_, O>) {
        self.disordered = true;
        self.unit.damage(to);
    }

    /// What comes if the open NAL unit goes on with the next packet, neither its first fragment nor
    /// its last. `head` gives what that begins with, and of how many bytes, by the NAL unit's header.
    pub(crate) fn expects(
        &self,
        limits: &Limits,
        head: impl FnOnce([u8; 2]) -> ([u8; 3], usize),
    ) -> Option<Expected> {
        // Zeros that may be the last bytes wait for what follows.
        let fragments = self.fragments.filter(|fragments| fragments.zeros == 0)?;
        let steady = !self.lost && self.previous == Some(self.timestamp);
        Some(Expected {
            timestamp: self.timestamp,
            head: head(fragments.header),
            packets_max: limits.fragments_max.saturating_sub(fragments.count),
            bytes_max: self.unit.room(limits).filter(|_| steady)?,
        })
    }

    /// So many packets came that were as expected.
    pub(crate) const fn went_on(&mut self, packets: u32, bytes: usize) {
        if let Some(fragments) = &mut self.fragments {
            fragments.count += packets;
        }
        self.unit.went_on(bytes);
    }

    /// Packets are missing here.
    pub(crate) fn lost<O: Output>(&mut self, to: &mut Outlet<'_, O>) {
        self.abandon(to);
        self.lost = true;
        // Whether a unit without a believed marker was complete is not known.
        let complete = self.marked && self.markers != Markers::Wrong;
        if self.unit.is_open() && !complete {
            self.unit.damage(to);
        } else {
            self.close(to);
            to.out.skipped(to.track);
        }
    }

    /// Nothing more comes.
    pub(crate) fn finish<O: Output>(&mut self, to: &mut Outlet<'_, O>) {
        self.abandon(to);
        // A sender that marks has not marked this one.
        let believed = self.marker_seen && self.markers != Markers::Wrong;
        if believed && !self.marked {
            self.unit.damage(to);
        }
        self.close(to);
    }

    /// Whether parameter sets came within the stream, which count before those of its description.
    pub(crate) const fn has_in_band_sets(&self) -> bool {
        self.in_band_sets
    }

    /// Writes NAL units that are no packet's: parameter sets of the description.
    pub(crate) fn inject<O: Output>(
        &mut self,
        to: &mut Outlet<'_, O>,
        timestamp: u32,
        annex_b: &[u8],
    ) {
        self.open(to, timestamp);
        self.unit.write(to, annex_b);
    }

    fn open<O: Output>(&mut self, to: &mut Outlet<'_, O>, timestamp: u32) {
        if self.unit.is_open() {
            return;
        }
        self.unit.start(to, to.stamps);
        self.timestamp = timestamp;
        self.has_slice = false;
        self.marked = false;
        self.lead = None;
        self.leading = true;
        if std::mem::take(&mut self.disordered) {
            self.unit.damage(to);
        }
    }

    fn close<O: Output>(&mut self, to: &mut Outlet<'_, O>) {
        if !self.unit.is_open() {
            return;
        }
        if self.uncertain && !self.has_slice {
            self.unit.damage(to);
        }
        self.unit.end(to);
        self.fragments = None;
        self.marked = false;
    }

    /// A NAL unit of this role begins. False when it is not written.
    fn begin<O: Output>(&mut self, to: &mut Outlet<'_, O>, timestamp: u32, role: Role) -> bool {
        match role {
            Role::Ignored => {
                to.counters.elements_ignored += 1;
                return false;
            }
            Role::Invalid => {
                self.invalid(to, timestamp);
                return false;
            }
            Role::Unsupported => to.counters.elements_unsupported += 1,
            Role::ParameterSet(_) => self.in_band_sets = true,
            _ => {}
        }
        self.go_on(to, timestamp, role);
        self.open(to, timestamp);
        self.unit.element(to);
        self.lead(to, role);
        self.has_slice |= matches!(role, Role::Slice { .. } | Role::Unsupported);
        true
    }

    /// What comes behind a marker with the same timestamp: a slice that goes on with the picture shows
    /// that the markers are wrong, anything that starts the next access unit that they are right.
    fn go_on<O: Output>(&mut self, to: &mut Outlet<'_, O>, timestamp: u32, role: Role) {
        let marked = if self.unit.is_open() {
            std::mem::take(&mut self.marked)
        } else {
            self.closed_at == Some(timestamp)
        };
        match role {
            Role::Slice { first: false, .. } if marked => {
                to.counters.markers_wrong += 1;
                self.markers = Markers::Wrong;
            }
            Role::Suffix => self.marked = marked && self.unit.is_open(),
            _ if marked && self.markers != Markers::Wrong && self.unit.is_open() => {
                self.marker_was_right();
                self.close(to);
            }
            _ => {}
        }
    }

    const fn marker_was_right(&mut self) {
        if let Markers::Proving(right) = self.markers
            && right < PROOF
        {
            self.markers = Markers::Proving(right + 1);
        }
    }

    /// Follows how the unit starts, and judges it at its first slice.
    fn lead<O: Output>(&mut self, to: &mut Outlet<'_, O>, role: Role) {
        let this = Lead::of(role);
        match &mut self.lead {
            None => self.lead = Some(this),
            Some(lead) if self.leading && lead.role == this.role => {
                lead.run = lead.run.saturating_add(1);
            }
            Some(_) => self.leading = false,
        }
        let (Role::Slice { key, first }, false) = (role, self.has_slice) else { return };
        to.counters.keys += u64::from(key);
        let Some(lead) = self.lead else { return };
        let Some(known) = self.leads.get_mut(usize::from(key)) else { return };
        let uncertain = std::mem::take(&mut self.uncertain);
        let joins = !std::mem::replace(&mut self.joined, true);
        let whole = match known {
            _ if !first => false,
            _ if !uncertain => true,
            Some(known) => *known == lead,
            None if lead.role == Role::Delimiter => true,
            // Nothing is known of how such pictures start; only where the stream is joined is a
            // likely start taken for one.
            None if !joins => false,
            // The parameter sets of a key picture may be what is missing.
            None if key && !self.described => lead.is_plain_start() && lead.role != this.role,
            // With those in the description a message comes first: x264 names itself in one.
            None if key && lead.role == Role::Message => lead.run == 1,
            None => lead.is_plain_start(),
        };
        if whole {
            *known = Some(lead);
        } else {
            self.unit.damage(to);
        }
    }

    /// What is being put together has not got its last fragment.
    fn abandon<O: Output>(&mut self, to: &mut Outlet<'_, O>) {
        if self.fragments.take().is_some() {
            to.counters.fragments_unfinished += 1;
            self.unit.damage(to);
        }
    }

    /// Writes a fragment; the first behind `code_and_header`.
    fn append<O: Output>(&mut self, to: &mut Outlet<'_, O>, code_and_header: &[u8], body: &[u8]) {
        let Some(fragments) = &mut self.fragments else { return };
        fragments.count += 1;
        if fragments.count > to.limits.fragments_max {
            to.counters.elements_too_fragmented += 1;
            self.fragments = None;
            return self.unit.damage(to);
        }
        let kept = trim_zeros(body);
        let mut zeros = if kept.is_empty() { 0 } else { std::mem::take(&mut fragments.zeros) };
        fragments.zeros = fragments.zeros.saturating_add(body.len() - kept.len());
        while zeros > 0 && !self.unit.is_over() {
            let part = zeros.min(ZEROS.len());
            self.unit.write(to, ZEROS.get(..part).unwrap_or_default());
            zeros -= part;
        }
        if code_and_header.is_empty() {
            self.unit.write(to, kept);
        } else {
            self.unit.write_nal(to, code_and_header, kept);
        }
    }
}

/// A NAL unit does not end with zeros: they are padding (H.264, 7.4.1.1 and annex B).
fn trim_zeros(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or_default()
}

/// Whether a payload starts with a start code: some senders leave it in.
pub(crate) fn starts_with_code(payload: &[u8]) -> bool {
    payload.starts_with(&[0, 0, 1]) || payload.starts_with(&START_CODE)
}
