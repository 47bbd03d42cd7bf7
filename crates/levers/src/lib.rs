//! What the kernel says of memory, and what it lets us do about it: how much the machine or the cgroup has,
//! who waits for it, where it is swapped to, what a process takes, how a process's cold pages get out of the
//! way, and who goes first where nothing helps.
//!
//! Readers ask `/proc` and `/sys` anew at each call and answer `None` where the kernel does not say; parsers
//! are pure. Nothing here decides when something is to be done, knows what a browser is, or changes anything
//! but what it is asked to.

mod cgroup;
pub mod machine;
pub mod merge;
pub mod oom;
pub mod pressure;
pub mod process;
pub mod reclaim;
pub mod swap;
mod text;

pub use machine::Memory;
pub use pressure::Pressure;
pub use process::{Measure, ProcessMemory, processor_time, trees};
pub use reclaim::{ReclaimError, Reclaimer};
pub use swap::{Swap, SwapKind};
