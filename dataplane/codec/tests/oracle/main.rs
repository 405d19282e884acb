//! What the crate reads from real encoders' streams, against FFmpeg and other parsers.
//!
//! These tests need `ffmpeg` and `ffprobe` with libx264 and libx265; `scripts/test` installs them.

mod aac;
mod ffmpeg;
mod h264;
mod hevc;
mod sound;
