//! What Linux says of memory and processes, and what it lets us do about them: how much memory the machine or the
//! cgroup has, who waits for it, where it is swapped to, what a process takes, how a process's cold pages get out of
//! the way, who goes first where nothing helps, and who yields the processor.
//!
//! Readers ask `/proc` and `/sys` anew at each call and answer `None` where the kernel does not say; parsers
//! are pure. Nothing here decides when something is to be done, knows what a browser is, or changes anything
//! but what it is asked to.

#[forbid(unsafe_code)]
mod cgroup;
#[forbid(unsafe_code)]
pub mod machine;
#[forbid(unsafe_code)]
pub mod merge;
#[forbid(unsafe_code)]
pub mod oom;
#[forbid(unsafe_code)]
pub mod pressure;
#[forbid(unsafe_code)]
pub mod priority;
#[forbid(unsafe_code)]
pub mod process;
#[forbid(unsafe_code)]
pub mod reclaim;
#[forbid(unsafe_code)]
pub mod swap;
#[expect(unsafe_code, reason = "no crate wraps these system calls")]
mod system_calls;
#[forbid(unsafe_code)]
mod text;

pub use machine::Memory;
pub use pressure::Pressure;
pub use process::{
    Measure, ProcessMemory, Seen, main_thread_time, processor_time, processor_time_with_children, trees,
};
pub use reclaim::{Destination, ReclaimError, Reclaimer};
pub use swap::{Swap, SwapKind};
