//! `penstock-bench`: paced loads of SRT and RTP that prove what arrived, the floors to compare with,
//! and the tables made of both.
//!
//! One run is one process; the scripts beside this crate run Penstock and its rivals alternately
//! on one machine and keep ratios, because absolute figures of a shared machine mean little.
#![forbid(unsafe_code)]

mod clip;
mod clock;
mod connection;
mod dataplane;
mod floor;
mod load;
mod measure;
mod process;
mod report;
mod rtp_load;
mod sink;
mod srt_load;
mod table;
mod tag;
mod target;
mod ts;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "penstock-bench", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send real transport stream over SRT at a given rate and say what arrived and what it cost
    Srt(Box<srt_load::Arguments>),
    /// Send H.264, transport stream or JPEG XS over RTP at a given rate and say what arrived and what
    /// it cost
    Rtp(Box<rtp_load::Arguments>),
    /// Measure what receiving alone costs on this machine
    Floor(floor::Arguments),
    /// Make tables of medians and ratios from many runs
    Table(table::Arguments),
    /// Receive SRT with the least work there is: the floor to compare receivers with
    Sink(sink::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Srt(arguments) => srt_load::run(&arguments),
        Command::Rtp(arguments) => rtp_load::run(&arguments),
        Command::Floor(arguments) => floor::run(&arguments),
        Command::Table(arguments) => table::run(&arguments),
        Command::Sink(arguments) => sink::run(&arguments),
    }
}
