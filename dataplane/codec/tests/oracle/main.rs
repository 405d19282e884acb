//! What the crate reads from real encoders' streams, against FFmpeg and other parsers.
//!
//! These tests need `ffmpeg` and `ffprobe` with libx264, libx265 and the AV1 encoders; `scripts/test` installs them.

mod aac;
mod ffmpeg;
mod h264;
mod hevc;
mod sound;
mod video;
