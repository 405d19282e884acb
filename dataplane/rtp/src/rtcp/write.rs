//! What a receiver sends: reports, its name, requests.

use super::kind;
use super::{CNAME, ReportBlock};

/// Bytes of the longest compound packet written: within any path's MTU.
pub const COMPOUND_BYTES_MAX: usize = 1_200;
/// Longest canonical name.
pub const CNAME_BYTES_MAX: usize = 64;

/// Writes one compound packet. What does not fit is left out, whole packets at a time.
#[derive(Debug)]
pub struct Writer {
    bytes: [u8; COMPOUND_BYTES_MAX],
    len: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self { bytes: [0; COMPOUND_BYTES_MAX], len: 0 }
    }
}

impl Writer {
    /// What has been written.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// A receiver report with up to 31 blocks (RFC 3550, 6.4.2).
    pub fn receiver_report(&mut self, ssrc: u32, blocks: impl Iterator<Item = ReportBlock>) {
        let start = self.begin(kind::RECEIVER_REPORT, ssrc);
        let mut count = 0;
        for block in blocks.take(31) {
            let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff);
            self.put32(block.ssrc);
            self.put32(u32::from(block.fraction_lost) << 24 | lost.cast_unsigned() & 0xff_ffff);
            self.put32(block.extended_highest);
            self.put32(block.jitter);
            self.put32(block.last_report);
            self.put32(block.delay);
            count += 1;
        }
        self.end(start, count);
    }

    /// Our canonical name (RFC 3550, 6.5.1).
    pub fn canonical_name(&mut self, ssrc: u32, name: &[u8]) {
        let name = name.get(..CNAME_BYTES_MAX).unwrap_or(name);
        let start = self.begin(kind::SOURCE_DESCRIPTION, ssrc);
        self.put(&[CNAME, u8::try_from(name.len()).unwrap_or(0)]);
        self.put(name);
        // One to four zeros: the end of the chunk on a word.
        let zeros = 4 - self.len % 4;
        self.put([0; 4].get(..zeros).unwrap_or_default());
        self.end(start, 1);
    }

    /// We leave (RFC 3550, 6.6).
    pub fn goodbye(&mut self, ssrc: u32) {
        let start = self.begin(kind::GOODBYE, ssrc);
        self.end(start, 1);
    }

    /// Asks for packets again (RFC 4585, 6.2.1): sequence numbers in ascending order. Returns how
    /// many fit.
    pub fn nack(&mut self, ssrc: u32, media: u32, missing: impl Iterator<Item = u16>) -> u32 {
        let start = self.begin(kind::TRANSPORT_FEEDBACK, ssrc);
        self.put32(media);
        let mut asked = 0;
        let mut entry: Option<(u16, u16)> = None;
        for sequence in missing {
            match &mut entry {
                Some((first, bits)) if (1..=16).contains(&sequence.wrapping_sub(*first)) => {
                    *bits |= 1 << (sequence.wrapping_sub(*first) - 1);
                }
                _ if self.len + 8 > COMPOUND_BYTES_MAX => break,
                _ => {
                    if let Some((first, bits)) = entry {
                        self.put32(u32::from(first) << 16 | u32::from(bits));
                    }
                    entry = Some((sequence, 0));
                }
            }
            asked += 1;
        }
        if let Some((first, bits)) = entry {
            self.put32(u32::from(first) << 16 | u32::from(bits));
        }
        self.end(start, 1);
        asked
    }

    /// Pictures are lost (RFC 4585, 6.3.1).
    pub fn picture_loss(&mut self, ssrc: u32, media: u32) {
        let start = self.begin(kind::PAYLOAD_FEEDBACK, ssrc);
        self.put32(media);
        self.end(start, 1);
    }

    /// A key picture is wanted (RFC 5104, 4.3.1); `number` changes with each new request.
    pub fn full_intra_request(&mut self, ssrc: u32, media: u32, number: u8) {
        let start = self.begin(kind::PAYLOAD_FEEDBACK, ssrc);
        self.put32(0);
        self.put32(media);
        self.put32(u32::from(number) << 24);
        self.end(start, 4);
    }

    /// Header with a count and length to be filled in, and the first word.
    fn begin(&mut self, kind: u8, ssrc: u32) -> usize {
        let start = self.len;
        self.put(&[0x80, kind, 0, 0]);
        self.put32(ssrc);
        start
    }

    fn end(&mut self, start: usize, count: u8) {
        let words = (self.len - start) / 4;
        let Ok(words) = u16::try_from(words.saturating_sub(1)) else { return };
        if self.len - start < 8 {
            // Did not fit.
            self.len = start;
            return;
        }
        let [high, low] = words.to_be_bytes();
        if let Some([first, _, a, b]) = self.bytes.get_mut(start..start + 4) {
            *first = 0x80 | count & 0x1f;
            *a = high;
            *b = low;
        }
    }

    fn put32(&mut self, word: u32) {
        self.put(&word.to_be_bytes());
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Compound, Packet, blocks, canonical_names, sources};
    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        let block = ReportBlock {
            ssrc: 2,
            fraction_lost: 9,
            cumulative_lost: -3,
            extended_highest: 0x1_0005,
            jitter: 77,
            last_report: 0x0102_0304,
            delay: 65_536,
        };
        for len in 0..20 {
            let name = "abcdefghijklmnopqrstuvwxyz".as_bytes().get(..len).unwrap();
            let mut writer = Writer::default();
            writer.receiver_report(1, [block, block].into_iter());
            writer.canonical_name(1, name);
            writer.picture_loss(1, 2);
            writer.full_intra_request(1, 2, 200);
            writer.goodbye(1);
            let packets: Vec<_> = Compound::parse(writer.as_bytes()).unwrap().collect();
            let Packet::ReceiverReport { ssrc: 1, blocks: bytes } = packets[0] else { panic!() };
            assert_eq!(blocks(bytes).collect::<Vec<_>>(), [block, block]);
            let Packet::SourceDescription { chunks, body } = packets[1] else { panic!() };
            assert_eq!(canonical_names(chunks, body).collect::<Vec<_>>(), [(1, name)]);
            let pli = Packet::PayloadFeedback { format: 1, sender: 1, media: 2, body: &[] };
            assert_eq!(packets[2], pli);
            let body = &[0, 0, 0, 2, 200, 0, 0, 0][..];
            let fir = Packet::PayloadFeedback { format: 4, sender: 1, media: 0, body };
            assert_eq!(packets[3], fir);
            let Packet::Goodbye { sources: leaving, .. } = packets[4] else { panic!() };
            assert_eq!(sources(leaving).collect::<Vec<_>>(), [1]);
        }
    }

    fn nack(missing: &[u16]) -> (u32, Vec<[u8; 4]>) {
        let mut writer = Writer::default();
        let asked = writer.nack(1, 2, missing.iter().copied());
        let mut packets = Compound::parse(writer.as_bytes()).unwrap();
        let Some(Packet::TransportFeedback { format: 1, media: 2, body, .. }) = packets.next()
        else {
            panic!()
        };
        (asked, body.chunks_exact(4).map(|entry| entry.try_into().unwrap()).collect())
    }

    #[test]
    fn missing_numbers_share_entries_of_seventeen() {
        assert_eq!(nack(&[5]), (1, vec![[0, 5, 0, 0]]));
        assert_eq!(nack(&[5, 6, 21]), (3, vec![[0, 5, 0x80, 1]]));
        assert_eq!(nack(&[5, 22]), (2, vec![[0, 5, 0, 0], [0, 22, 0, 0]]));
        assert_eq!(nack(&[0xffff, 0, 15]), (3, vec![[0xff, 0xff, 0x80, 1]]));
    }

    #[test]
    fn a_full_packet_asks_for_what_fits() {
        let missing: Vec<u16> = (0..2_000).map(|step| step * 20).collect();
        let (asked, entries) = nack(&missing);
        assert_eq!(asked as usize, entries.len());
        assert!(entries.len() > 290);
    }
}
