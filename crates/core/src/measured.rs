//! Measurements of the memory of windows.

/// A measurement, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The memory of all browsers together, with compressed swap.
    pub used_bytes: u64,
    /// The budget for all browsers.
    pub budget_bytes: u64,
    /// The limit for a single window.
    pub window_bytes: u64,
    /// The average memory of a window that runs.
    pub running_bytes: u64,
    /// The average memory of a frozen window.
    pub frozen_bytes: u64,
}

/// The last measurement, and the part of it that is not attributed to a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryEstimate {
    pub(crate) memory: Memory,
    pub(crate) rest_bytes: i64,
}
