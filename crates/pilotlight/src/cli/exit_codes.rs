//! Every exit code of `pilotlight`. A code is never given another meaning.

/// It is done.
pub const DONE: u8 = 0;
/// It failed; the message on stderr says why.
pub const FAILED: u8 = 1;
/// The command line makes no sense (as `clap` has it).
pub const USAGE: u8 = 2;
/// The server could not be reached (`EX_UNAVAILABLE` of `sysexits.h`).
pub const UNREACHABLE: u8 = 69;
/// The server has no room or is not ready: try again later (`EX_TEMPFAIL`).
pub const TRY_AGAIN: u8 = 75;
/// The configuration is wrong (`EX_CONFIG`).
pub const CONFIGURATION: u8 = 78;
