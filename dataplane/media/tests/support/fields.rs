//! H.264 field pictures by hand: no free encoder makes them.
use super::Random;

/// A picture of a field-coded stream.
#[derive(Clone)]
pub struct Picture {
    pub bytes: Vec<u8>,
    /// In field periods.
    pub pts: u64,
    pub dts: u64,
    pub class: &'static str,
    pub second: bool,
    pub frame: bool,
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn put(&mut self, value: u32, bits: u32) -> &mut Self {
        for shift in (0..bits).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let bit = u8::try_from(value >> shift & 1).unwrap();
            *self.bytes.last_mut().unwrap() |= bit << (7 - self.used % 8);
            self.used += 1;
        }
        self
    }

    fn ue(&mut self, value: u32) -> &mut Self {
        let bits = 32 - (value + 1).leading_zeros();
        self.put(0, bits - 1).put(value + 1, bits)
    }

    /// A NAL unit with its start code; `filling` follows the header as slice data.
    fn nal(&mut self, long_code: bool, header: u8, filling: &[u8]) -> Vec<u8> {
        self.put(1, 1);
        while !self.used.is_multiple_of(8) {
            self.put(0, 1);
        }
        let mut nal = if long_code { vec![0, 0, 0, 1] } else { vec![0, 0, 1] };
        nal.push(header);
        let mut zeros = 0;
        for byte in self.bytes.iter().chain(filling) {
            if zeros == 2 && *byte <= 3 {
                nal.push(3);
                zeros = 0;
            }
            zeros = if *byte == 0 { zeros + 1 } else { 0 };
            nal.push(*byte);
        }
        if nal.last() == Some(&0) {
            nal.push(3);
        }
        nal
    }
}

/// Main profile, 720 x 576 in fields, 25 frames a second.
fn parameter_sets() -> Vec<u8> {
    let mut sps = Bits::default();
    sps.put(77, 8).put(0, 8).put(30, 8);
    sps.ue(0).ue(0).ue(0).ue(4); // id, frame_num of 4 bits, order type 0 of 8 bits
    sps.ue(4).put(0, 1).ue(44).ue(17); // 4 references, 45 x 18 macroblocks a field
    sps.put(0, 1).put(0, 1).put(1, 1).put(0, 1); // interlaced, no MBAFF, direct 8x8, no crop
    sps.put(1, 1).put(0, 4).put(1, 1).put(1, 32).put(50, 32).put(1, 1); // VUI: timing
    sps.put(0, 5);
    let mut pps = Bits::default();
    pps.ue(0).ue(0).put(0, 1).put(0, 1).ue(0).ue(0).ue(0).put(0, 3).ue(0).ue(0).ue(0).put(0, 3);
    let mut bytes = sps.nal(true, 0x67, &[]);
    bytes.extend_from_slice(&pps.nal(true, 0x68, &[]));
    bytes
}

/// One slice; `kind` is slice_type, `parity` 0 for top and 1 for bottom, `None` for a frame.
struct Slice {
    idr: bool,
    reference: bool,
    kind: u32,
    first_mb: u32,
    frame_num: u32,
    parity: Option<u32>,
    order: u32,
}

impl Slice {
    fn nal(&self, long_code: bool, random: &mut Random) -> Vec<u8> {
        let mut bits = Bits::default();
        bits.ue(self.first_mb).ue(self.kind).ue(0).put(self.frame_num & 15, 4);
        match self.parity {
            Some(parity) => bits.put(1, 1).put(parity, 1),
            None => bits.put(0, 1),
        };
        if self.idr {
            bits.ue(0);
        }
        bits.put(self.order & 255, 8);
        let filling: Vec<u8> =
            (0..40 + random.below(500))
                .map(|_| {
                    if random.below(4) == 0 {
                        0
                    } else {
                        u8::try_from(random.next() & 255).unwrap()
                    }
                })
                .collect();
        let header = if self.idr { 5 } else { 1 } | if self.reference { 0x60 } else { 0 };
        bits.nal(long_code, header, &filling)
    }
}

/// Frames of a coded video sequence: an IDR, then groups of a P and two B.
const SEQUENCE: usize = 25;

/// Field pairs IDR+P, P+P and B+B, now and then a whole B frame; two slices a picture.
pub fn stream(frames: usize, delimiters: bool) -> Vec<Picture> {
    let mut random = Random::new(99);
    let mut made = Vec::new();
    let mut frame_num = 0;
    for frame in 0..frames {
        let place = frame % SEQUENCE;
        let idr = place == 0;
        let in_group = place.wrapping_sub(1) % 3;
        let shown = if idr { 0 } else { place - in_group + [2, 0, 1][in_group] };
        let reference = idr || in_group == 0;
        frame_num = if idr { 0 } else { frame_num };
        let whole = place % 9 == 3;
        let fields: &[Option<u32>] = if whole { &[None] } else { &[Some(0), Some(1)] };
        for (index, parity) in fields.iter().enumerate() {
            let idr = idr && index == 0;
            let kind = if idr {
                7
            } else if reference {
                5
            } else {
                6
            };
            let order = u32::try_from(2 * shown + index).unwrap();
            let parity = *parity;
            let mut bytes = Vec::new();
            if delimiters {
                bytes.extend_from_slice(&[0, 0, 0, 1, 9, 0xf0]);
            }
            if idr {
                bytes.extend_from_slice(&parameter_sets());
            }
            for first_mb in [0, 400] {
                let slice = Slice { idr, reference, kind, first_mb, frame_num, parity, order };
                bytes.extend_from_slice(&slice.nal(first_mb == 0, &mut random));
            }
            let class = match kind {
                7 => "idr",
                5 => "p",
                _ => "b",
            };
            let base = frame - place;
            made.push(Picture {
                bytes,
                pts: u64::try_from(2 * (base + shown + 1) + index).unwrap(),
                dts: u64::try_from(2 * frame + index).unwrap(),
                class,
                second: index == 1,
                frame: whole,
            });
        }
        if reference {
            frame_num += 1;
        }
    }
    made
}
