//! The `pilotlight` binary.

use std::process::ExitCode;

use pilotlight::cli::{Failure, Servers, exit_codes};

fn main() -> ExitCode {
    pilotlight::cli::main(&Servers { serve: |_| missing(), demo: |_, _| missing() })
}

fn missing() -> Result<(), Failure> {
    Err(Failure::new(exit_codes::FAILED, "this build has no server in it"))
}
