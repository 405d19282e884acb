//! A transport stream muxer that puts units where no encoder would.
use codec::sink::Timestamps;

const PMT_PID: u16 = 0x100;

/// Writes one program.
pub struct Muxer {
    pub bytes: Vec<u8>,
    counters: [u8; 8192],
}

impl Muxer {
    /// Lists streams as (PID, stream_type), the first with the clock.
    pub fn new(streams: &[(u16, u8)]) -> Self {
        let plain: Vec<_> = streams.iter().map(|(pid, kind)| (*pid, *kind, &[][..])).collect();
        Self::with_descriptors(&plain)
    }

    /// The same with the descriptors of each.
    pub fn with_descriptors(streams: &[(u16, u8, &[u8])]) -> Self {
        let mut muxer = Self { bytes: Vec::new(), counters: [0; 8192] };
        muxer.section(0, &[0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xe1, 0x00]);
        let described: usize = streams.iter().map(|(_, _, descriptors)| descriptors.len()).sum();
        let length = u8::try_from(13 + 6 + 5 * streams.len() + described).unwrap();
        let [pcr_high, pcr_low] = streams[0].0.to_be_bytes();
        let mut pmt = vec![2, 0xb0, length, 0, 1, 0xc1, 0, 0, 0xe0 | pcr_high, pcr_low, 0xf0, 6];
        // FFmpeg takes splice information only of programs that are registered so.
        pmt.extend_from_slice(&[0x05, 4, b'C', b'U', b'E', b'I']);
        for (pid, stream_type, descriptors) in streams {
            let [high, low] = pid.to_be_bytes();
            let length = u8::try_from(descriptors.len()).unwrap();
            pmt.extend_from_slice(&[*stream_type, 0xe0 | high, low, 0xf0, length]);
            pmt.extend_from_slice(descriptors);
        }
        muxer.section(PMT_PID, &pmt);
        muxer
    }

    /// One PES packet of unknown length.
    pub fn pes(&mut self, pid: u16, stream_id: u8, stamps: Timestamps, data: &[u8]) {
        self.packetized(pid, stream_id, stamps, data, false);
    }

    /// One that tells its length.
    pub fn bounded(&mut self, pid: u16, stream_id: u8, stamps: Timestamps, data: &[u8]) {
        self.packetized(pid, stream_id, stamps, data, true);
    }

    fn packetized(
        &mut self,
        pid: u16,
        stream_id: u8,
        stamps: Timestamps,
        data: &[u8],
        bounded: bool,
    ) {
        let (flags, header) = match (stamps.pts, stamps.dts) {
            (Some(pts), Some(dts)) => (0xc0, [stamp(3, pts), stamp(1, dts)].concat()),
            (Some(pts), None) => (0x80, stamp(2, pts).to_vec()),
            _ => (0, Vec::new()),
        };
        let length = u8::try_from(header.len()).unwrap();
        let whole = u16::try_from(3 + header.len() + data.len()).unwrap_or(0);
        let [high, low] = if bounded { whole.to_be_bytes() } else { [0, 0] };
        let mut bytes = vec![0, 0, 1, stream_id, high, low, 0x80, flags, length];
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(data);
        let clock = stamps.dts.or(stamps.pts).map(|time| time.wrapping_sub(9_000));
        self.packets(pid, &bytes, clock);
    }

    /// A section without its CRC, which is added.
    pub fn splice(&mut self, pid: u16, section: &[u8]) {
        self.section(pid, section);
    }

    fn section(&mut self, pid: u16, body: &[u8]) {
        let mut bytes = vec![0];
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(&crc(body).to_be_bytes());
        bytes.resize(184, 0xff);
        self.packets(pid, &bytes, None);
    }

    fn packets(&mut self, pid: u16, bytes: &[u8], mut clock: Option<u64>) {
        let mut rest = bytes;
        let mut start = 0x40;
        while !rest.is_empty() {
            let mut adaptation = Vec::new();
            if let Some(clock) = clock.take() {
                let base = (clock & ((1 << 33) - 1)) << 15 | 0x3f << 9;
                adaptation.push(0x10);
                adaptation.extend_from_slice(&base.to_be_bytes()[2..]);
            }
            let room = if adaptation.is_empty() { 184 } else { 183 - adaptation.len() };
            let (now, later) = rest.split_at(rest.len().min(room));
            let [high, low] = pid.to_be_bytes();
            let counter = &mut self.counters[usize::from(pid)];
            let padding = 184 - now.len();
            let control = if padding > 0 { 0x30 } else { 0x10 };
            self.bytes.extend_from_slice(&[0x47, start | high, low, control | *counter]);
            *counter = (*counter + 1) & 0xf;
            if padding > 0 {
                if adaptation.is_empty() && padding > 1 {
                    adaptation.push(0);
                }
                adaptation.resize(padding - 1, 0xff);
                self.bytes.push(u8::try_from(padding - 1).unwrap());
                self.bytes.extend_from_slice(&adaptation);
            }
            self.bytes.extend_from_slice(now);
            rest = later;
            start = 0;
        }
    }
}

fn stamp(mark: u8, time: u64) -> [u8; 5] {
    let part = |shift: u32, bits: u32| (time >> shift & ((1 << bits) - 1)) << 1 | 1;
    let [.., high, low] = part(15, 15).to_be_bytes();
    let [.., high_end, low_end] = part(0, 15).to_be_bytes();
    let first = mark << 4 | u8::try_from(part(30, 3)).unwrap();
    [first, high, low, high_end, low_end]
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 };
        }
    }
    crc
}
