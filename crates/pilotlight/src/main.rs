//! The `pilotlight` binary.

use std::process::ExitCode;

use pilotlight::cli::{self, Servers};
use pilotlight_chromium::shim::SUBCOMMAND;

fn main() -> ExitCode {
    // Before anything else: a shim is small, and its arguments are nobody's but ours.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == SUBCOMMAND) {
        return pilotlight_chromium::shim::run();
    }
    cli::main(&Servers { serve: pilotlight::serve::serve, demo: pilotlight::demo::demo })
}
