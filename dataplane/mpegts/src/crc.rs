//! CRC-32/MPEG-2 (H.222.0 annex A): polynomial 0x04C11DB7, not reflected, initial value all ones.

const TABLE: [u32; 256] = table();

#[expect(
    clippy::indexing_slicing,
    reason = "runs at compile time, where a wrong index fails the build"
)]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    let mut top: u32 = 0; // the byte as the top of a word
    while byte < 256 {
        let mut crc = top;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ 0x04C1_1DB7 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
        top = top.wrapping_add(1 << 24);
    }
    table
}

/// The CRC of `bytes`; zero over a section that includes its own CRC.
pub fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        let [top, ..] = crc.to_be_bytes();
        // The index is a byte and the table has 256 entries: `get` always finds.
        (crc << 8) ^ TABLE.get(usize::from(top ^ byte)).copied().unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::crc32;

    #[test]
    fn check_value_of_the_catalogue() {
        assert_eq!(crc32(b"123456789"), 0x0376_E6E7);
    }

    #[test]
    fn zero_over_data_and_its_crc() {
        let mut bytes = b"section".to_vec();
        let crc = crc32(&bytes);
        bytes.extend(crc.to_be_bytes());
        assert_eq!(crc32(&bytes), 0);
    }
}
