//! The few fields of MPEG transport stream that looping a clip has to read and write
//! (ISO/IEC 13818-1).

use anyhow::{Context, Result, ensure};

/// Bytes of a transport packet.
pub(crate) const PACKET: usize = 188;
/// First byte of a transport packet.
pub(crate) const SYNC: u8 = 0x47;
/// PID of null packets.
pub(crate) const PID_NULL: u16 = 0x1fff;
/// PTS and DTS have 33 bits.
pub(crate) const STAMP_MASK: u64 = (1 << 33) - 1;
/// 27 MHz ticks in one 90 kHz tick.
pub(crate) const PCR_PER_STAMP: u64 = 300;
const PID_PAT: u16 = 0;
const STREAM_TYPE_H264: u8 = 0x1b;

/// The fields of a transport packet's header (ISO/IEC 13818-1, 2.4.3.2) that matter here.
pub(crate) struct Header {
    pub(crate) pid: u16,
    pub(crate) unit_start: bool,
    pub(crate) has_payload: bool,
    pub(crate) random_access: bool,
    pub(crate) pcr_offset: Option<u8>,
    /// Where the payload begins.
    pub(crate) payload: usize,
}

impl Header {
    pub(crate) fn parse(packet: &[u8]) -> Result<Self> {
        ensure!(
            packet.len() == PACKET && packet[0] == SYNC,
            "the clip is not aligned transport stream"
        );
        let has_field = packet[3] & 0x20 != 0;
        let field_len = if has_field { usize::from(packet[4]) } else { 0 };
        let payload = if has_field { 5 + field_len } else { 4 };
        ensure!(payload <= PACKET, "an adaptation field is too long");
        let flags = if field_len > 0 { packet[5] } else { 0 };
        Ok(Self {
            pid: u16::from_be_bytes([packet[1] & 0x1f, packet[2]]),
            unit_start: packet[1] & 0x40 != 0,
            has_payload: packet[3] & 0x10 != 0,
            random_access: flags & 0x40 != 0,
            pcr_offset: (flags & 0x10 != 0 && field_len >= 7).then_some(6),
            payload,
        })
    }
}

/// PID of the first H.264 track of the first program.
pub(crate) fn h264_pid(packets: &[u8]) -> Result<u16> {
    let pmt_pid = find_section(packets, PID_PAT, 0, pmt_pid_of).context("no PAT")?;
    find_section(packets, pmt_pid, 2, video_pid_of).context("no H.264 track in the PMT")
}

/// Applies `read` to the first complete section with `table_id` that fits one packet of `pid`.
fn find_section(
    packets: &[u8],
    pid: u16,
    table_id: u8,
    read: fn(&[u8]) -> Option<u16>,
) -> Option<u16> {
    packets.chunks_exact(PACKET).find_map(|packet| {
        let header = Header::parse(packet).ok()?;
        if header.pid != pid || !header.unit_start {
            return None;
        }
        let pointer = usize::from(*packet.get(header.payload)?);
        let section = packet.get(header.payload + 1 + pointer..)?;
        let length = usize::from(u16::from_be_bytes([section.get(1)? & 0x0f, *section.get(2)?]));
        let section = section.get(..3 + length)?;
        (section[0] == table_id).then(|| read(section)).flatten()
    })
}

fn pmt_pid_of(section: &[u8]) -> Option<u16> {
    section
        .get(8..section.len().checked_sub(4)?)?
        .chunks_exact(4)
        .find(|entry| entry[..2] != [0, 0])
        .map(|entry| u16::from_be_bytes([entry[2] & 0x1f, entry[3]]))
}

fn video_pid_of(section: &[u8]) -> Option<u16> {
    let info = usize::from(u16::from_be_bytes([section.get(10)? & 0x0f, *section.get(11)?]));
    let mut entries = section.get(12 + info..section.len().checked_sub(4)?)?;
    while let [stream_type, high, low, info_high, info_low, rest @ ..] = entries {
        if *stream_type == STREAM_TYPE_H264 {
            return Some(u16::from_be_bytes([high & 0x1f, *low]));
        }
        let info = usize::from(u16::from_be_bytes([info_high & 0x0f, *info_low]));
        entries = rest.get(info..)?;
    }
    None
}

/// PTS or DTS of a PES header (2.4.3.6): 33 bits over five bytes with marker bits.
pub(crate) fn read_stamp(bytes: &[u8]) -> Option<u64> {
    let [b0, b1, b2, b3, b4] = *bytes.first_chunk::<5>()?;
    Some(
        (u64::from(b0 >> 1 & 7) << 30)
            | (u64::from(b1) << 22)
            | (u64::from(b2 >> 1) << 15)
            | (u64::from(b3) << 7)
            | u64::from(b4 >> 1),
    )
}

/// Writes PTS or DTS, keeping the prefix bits.
pub(crate) fn write_stamp(place: &mut [u8], ticks: u64) {
    place[0] = (place[0] & 0xf1) | (low_byte(ticks >> 30) & 7) << 1;
    place[1] = low_byte(ticks >> 22);
    place[2] = low_byte(ticks >> 15) << 1 | 1;
    place[3] = low_byte(ticks >> 7);
    place[4] = low_byte(ticks) << 1 | 1;
}

const fn low_byte(value: u64) -> u8 {
    value.to_be_bytes()[7]
}

/// PCR of an adaptation field (2.4.3.5): base (33) reserved (6) extension (9).
pub(crate) fn read_pcr(bytes: &[u8]) -> Option<u64> {
    let b = *bytes.first_chunk::<6>()?;
    let all = u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]]);
    Some((all >> 15) * PCR_PER_STAMP + (all & 0x1ff))
}

/// Writes a PCR of 27 MHz ticks.
pub(crate) fn write_pcr(place: &mut [u8], ticks: u64) {
    let base = (ticks / PCR_PER_STAMP) & STAMP_MASK;
    let all = base << 15 | 0x3f << 9 | (ticks % PCR_PER_STAMP);
    place[..6].copy_from_slice(&all.to_be_bytes()[2..]);
}
