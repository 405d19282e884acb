//! stub
#![forbid(unsafe_code)]
mod clock;
pub mod config;
pub mod cpu;
