//! The operator's command line.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    penstock_controlplane::cli::main()
}
