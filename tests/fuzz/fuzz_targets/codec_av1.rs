#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::fuzz::av1(data));
