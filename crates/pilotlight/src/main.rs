//! The `pilotlight` binary.

use std::process::ExitCode;

use pilotlight::cli::{self, Servers};

fn main() -> ExitCode {
    cli::main(&Servers {
        serve: pilotlight::serve::serve,
        demo: pilotlight::demo::demo,
        bench: pilotlight::bench::bench,
        measure_switches: pilotlight::bench::measure_switches,
    })
}
