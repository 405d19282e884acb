//! What the demultiplexer counts.

/// Running totals since the last reset; the names are those of the stream's published counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Transport-stream packets parsed.
    pub ts_packets: u64,
    /// Times the sync byte was lost.
    pub ts_sync_losses: u64,
    /// Bytes skipped while hunting for sync, and damaged packets without sync byte.
    pub ts_bytes_skipped: u64,
    /// Continuity-counter gaps.
    pub ts_continuity_errors: u64,
    /// Duplicate packets as the standard allows.
    pub ts_duplicates: u64,
    /// Packets with the transport error indicator.
    pub ts_transport_errors: u64,
    /// Packets with scrambled payload.
    pub ts_scrambled: u64,
    /// Malformed packets (adaptation field, reserved control).
    pub ts_invalid: u64,
    /// Sections with a bad CRC.
    pub psi_crc_errors: u64,
    /// Malformed sections.
    pub psi_invalid: u64,
    /// Program changes followed (new PMT version, program moved).
    pub psi_changes: u64,
    /// Programs that the list of 64 had no room for.
    pub psi_programs_unlisted: u64,
    /// Elementary streams that the list of 16 tracks had no room for.
    pub psi_tracks_unlisted: u64,
    /// PES packets started.
    pub pes_packets: u64,
    /// Malformed PES headers, and payloads that are not as long as their header says.
    pub pes_invalid: u64,
    /// Jumps of the timeline (a new segment).
    pub timeline_jumps: u64,
}
