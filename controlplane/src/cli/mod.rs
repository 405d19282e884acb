//! `penstock`, the operator's command line. Lists and commands go through the REST API; `tap`
//! reads a stream's frames from shared memory itself.

mod api;
mod commands;
mod events;
mod frames;
mod rtp;
mod sources;
mod table;
mod tap;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;

pub use self::rtp::{AddSession, Feedback, RtpCommand, Transport};
pub use self::sources::{AddSource, SourceCommand, SourceMode};

/// Where the control plane is when nothing says otherwise.
pub const URL_DEFAULT: &str = "http://127.0.0.1:8080";

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  failure
  2  wrong usage
  3  no such stream, source or session
  4  the state of the stream does not allow it, or the source or session exists, or its port is taken
  5  control plane or dataplane cannot be reached

Environment:
  PENSTOCK_URL     the same as --url
  PENSTOCK_SOCKET  the same as --socket of tap";

/// The whole command line.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "penstock", version, about = "Shows and controls a running Penstock", after_help = AFTER_HELP)]
pub struct Cli {
    /// The control plane's address [default: PENSTOCK_URL, else http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// Print JSON instead of tables; failures too, on standard error
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// List the streams
    Streams {
        /// Only those with this status; `all` includes the ended ones
        #[arg(long, value_name = "STATUS")]
        status: Option<String>,
    },
    /// Show one stream
    Stream {
        /// The stream's id
        id: String,
    },
    /// Change options of a stream, as `max_bandwidth=8000000`; show them when none is given
    Set {
        /// The stream's id
        id: String,
        /// Changes, by the keys of the configuration
        #[arg(value_name = "KEY=VALUE")]
        changes: Vec<String>,
    },
    /// End a stream
    Kick {
        /// The stream's id
        id: String,
        /// Keep its id out for this many seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        block: u64,
    },
    /// List the sources: the streams that are fetched
    Sources,
    /// Show, add, remove or call a source
    #[command(subcommand)]
    Source(SourceCommand),
    /// List, show, add or remove sessions of RTP whose sockets are given
    #[command(subcommand)]
    Rtp(RtpCommand),
    /// Show what happened: publishers accepted, returned, refused, gone
    Events(Events),
    /// Read a stream's frames from shared memory until the stream ends
    #[command(after_help = tap::AFTER_HELP)]
    Tap(Tap),
}

/// `penstock events`
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Events {
    /// Go on with what happens from now on
    #[arg(long)]
    pub follow: bool,
    /// Show the last so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    /// Only events of this kind
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Only events of this stream
    #[arg(long, value_name = "ID")]
    pub stream: Option<String>,
}

/// `penstock tap`
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Tap {
    /// The stream's id
    pub id: String,
    /// What to write to standard output
    #[arg(long, value_enum, default_value_t = Format::Frames)]
    pub format: Format,
    /// Only this track, by its place in the stream's list [default: all of them for frames, the
    /// first video track for annexb, the first track for raw]
    #[arg(long, value_name = "N")]
    pub track: Option<u8>,
    /// Where to start
    #[arg(long, value_enum, default_value_t = Start::Oldest)]
    pub from: Start,
    /// Wait this many seconds for the stream to appear
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub wait: u64,
    /// Add arrival, due and publication times to each frame (CLOCK_MONOTONIC nanoseconds)
    #[arg(long)]
    pub times: bool,
    /// The dataplane's socket [default: PENSTOCK_SOCKET, else what the control plane says]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// What `tap` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line for each frame, with the hash of its bytes
    Frames,
    /// The bytes of one H.264 or HEVC track
    Annexb,
    /// The bytes of one track, whatever it is, without anything between its frames
    Raw,
}

/// Where `tap` starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Start {
    /// At the oldest frame still there
    Oldest,
    /// At the newest key frame
    Key,
    /// At the next frame
    Live,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
}

/// The kinds of failure, by exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The reader of standard output went away: nothing to say.
    Quiet = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    Unreachable = 5,
}

impl Failure {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    fn label(&self) -> &'static str {
        match self.kind {
            Kind::Quiet => "quiet",
            Kind::Failed => "failed",
            Kind::Usage => "usage",
            Kind::NotFound => "not_found",
            Kind::Conflict => "wrong_state",
            Kind::Unreachable => "unreachable",
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Kind::Quiet, ""),
            _ => Self::new(Kind::Failed, error.to_string()),
        }
    }
}

/// Parses the process's arguments, runs the command and says how it ended.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Kind::Usage as u8 } else { 0 });
        }
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure, cli.json);
            ExitCode::from(failure.kind as u8)
        }
    }
}

fn report(failure: &Failure, json: bool) {
    if failure.kind == Kind::Quiet {
        return;
    }
    if json {
        let exit = failure.kind as u8;
        let body = json!({"code": failure.label(), "message": failure.message, "exit": exit});
        eprintln!("{body}");
    } else {
        eprintln!("penstock: {}", failure.message);
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let api = api::Api::new(cli.url.as_deref());
    match &cli.command {
        Command::Streams { status } => commands::streams(&api, status.as_deref(), cli.json),
        Command::Stream { id } => commands::stream(&api, id, cli.json),
        Command::Set { id, changes } => commands::set(&api, id, changes, cli.json),
        Command::Kick { id, block } => commands::kick(&api, id, *block, cli.json),
        Command::Sources => sources::list(&api, cli.json),
        Command::Source(command) => sources::run(&api, command, cli.json),
        Command::Rtp(command) => rtp::run(&api, command, cli.json),
        Command::Events(arguments) => events::events(&api, arguments, cli.json),
        Command::Tap(arguments) => tap::tap(&api, arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"penstock").chain(arguments))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_behind_the_command() {
        for arguments in [
            ["--url", "http://h:1", "--json", "streams"],
            ["streams", "--json", "--url", "http://h:1"],
        ] {
            let cli = parse(&arguments).unwrap();
            assert_eq!(cli.url.as_deref(), Some("http://h:1"));
            assert!(cli.json);
        }
    }

    #[test]
    fn tap_writes_every_frame_from_the_oldest_by_default_and_does_not_wait() {
        let Command::Tap(tap) = parse(&["tap", "a/b"]).unwrap().command else {
            panic!("not a tap");
        };
        assert_eq!(
            (tap.id.as_str(), tap.format, tap.from, tap.wait),
            ("a/b", Format::Frames, Start::Oldest, 0)
        );
        assert_eq!((tap.track, tap.socket), (None, None));
    }

    #[test]
    fn wrong_usage_is_refused() {
        for arguments in [
            &[][..],
            &["stream"],
            &["tap", "x", "--format", "mp4"],
            &["tap", "x", "--from", "now"],
            &["tap", "x", "--track", "256"],
            &["kick", "x", "--block", "-1"],
            &["rtp", "add"],
            &["rtp", "add", "x", "--sdp", "-", "--port", "6000"],
            &["rtp", "add", "x", "--port", "6000", "--feedback", "shout"],
            &["dance"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }

    #[test]
    fn the_help_documents_every_exit_code() {
        for code in 0..=5 {
            assert!(AFTER_HELP.contains(&format!("\n  {code}  ")), "{code}");
        }
    }

    #[test]
    fn a_broken_pipe_is_not_a_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.kind as u8, 0);
        assert_eq!(Failure::from(io::Error::other("x")).kind as u8, 1);
    }
}
