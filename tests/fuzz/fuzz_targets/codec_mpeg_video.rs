#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::fuzz::mpeg_video(data));
