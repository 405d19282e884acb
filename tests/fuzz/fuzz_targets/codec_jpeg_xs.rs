#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::fuzz::jpeg_xs(data));
