//! The `pilotlight` binary.

use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

/// What is freed is wiped: passwords and cookies pass through buffers of many crates, none of which would do it.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

fn main() -> ExitCode {
    pilotlight::main()
}
