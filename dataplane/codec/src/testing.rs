//! Writing NAL units by hand for tests.

/// Writes bits, most significant first.
#[derive(Debug, Clone, Default)]
pub(crate) struct BitWriter {
    bits: Vec<bool>,
}

impl BitWriter {
    /// u(count).
    pub(crate) fn u(&mut self, count: u8, value: u32) -> &mut Self {
        self.bits.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    /// ue(v).
    pub(crate) fn ue(&mut self, value: u32) -> &mut Self {
        let code = u64::from(value) + 1;
        let len = 64 - code.leading_zeros();
        self.bits.extend((1..len).map(|_| false));
        self.bits.extend((0..len).rev().map(|bit| code >> bit & 1 == 1));
        self
    }

    /// se(v).
    pub(crate) fn se(&mut self, value: i32) -> &mut Self {
        let twice = 2 * value.unsigned_abs();
        self.ue(if value > 0 { twice - 1 } else { twice })
    }

    /// The bits, padded with zeros to whole bytes.
    pub(crate) fn raw(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            let byte = bits.iter().fold(0u8, |byte, bit| byte << 1 | u8::from(*bit));
            byte.checked_shl(8 - u32::try_from(bits.len()).unwrap()).unwrap_or(byte)
        };
        self.bits.chunks(8).map(byte).collect()
    }

    /// The NAL unit: `header`, the bits, the stop bit, emulation prevention bytes.
    pub(crate) fn nal(&self, header: &[u8]) -> Vec<u8> {
        let mut bits = self.bits.clone();
        bits.push(true);
        bits.resize(bits.len().next_multiple_of(8), false);
        let mut nal = header.to_vec();
        for byte in bits.chunks(8) {
            let byte = byte.iter().fold(0u8, |byte, bit| byte << 1 | u8::from(*bit));
            if byte <= 3 && nal.ends_with(&[0, 0]) {
                nal.push(3);
            }
            nal.push(byte);
        }
        nal
    }
}
