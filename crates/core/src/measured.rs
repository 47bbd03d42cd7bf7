//! What the world has measured of the memory that windows take.

/// What the world has measured, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What all browsers take together, compressed swap among it.
    pub used_bytes: u64,
    /// What they may take.
    pub budget_bytes: u64,
    /// What a single window may take.
    pub window_bytes: u64,
    /// What a window takes whose page runs, on average.
    pub running_bytes: u64,
    /// What a window takes that stands still, on average.
    pub frozen_bytes: u64,
}

/// The last measurement, and what of it no window explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryEstimate {
    pub(crate) memory: Memory,
    pub(crate) rest_bytes: i64,
}
