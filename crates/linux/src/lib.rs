//! What Linux reports about memory and processes, and allows to change: the memory of the machine or the cgroup,
//! memory pressure, swap, the memory of a process, paging it out, the order of killing when memory runs out, and
//! priorities.
//!
//! Functions read `/proc` and `/sys` at each call and return `None` if the kernel does not report a value; parsers
//! are pure. This crate makes no decisions, knows nothing about browsers, and changes only what its caller requests.

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
