//! Two system calls that no crate wraps: `process_madvise` with `MADV_PAGEOUT`, and `prctl` with
//! `PR_SET_MEMORY_MERGE`.
//!
//! It is a module of its own because it contains the only `unsafe` code of the project. It must never accept another
//! kind of advice: `MADV_DONTNEED`, for example, discards memory.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The maximum number of ranges of one call (`UIO_MAXIOV`); further ones are ignored.
pub(crate) const RANGES_MAX: usize = 1024;

/// Advises the kernel to move the pages in `ranges`, addresses in the process behind `process` (a pidfd), to swap.
/// The process only notices that its next access takes longer. Returns how many bytes the kernel processed, in the
/// order of `ranges`; it stops at the first range that it cannot process. That does not say how many it moved.
///
/// # Errors
/// As for `process_madvise(2)`: `EPERM` without `CAP_SYS_NICE`, `ESRCH` if the process has ended, `EINVAL` and
/// `ENOMEM` if the first range cannot be processed, `ENOSYS` before Linux 5.10.
pub(crate) fn page_out(process: BorrowedFd<'_>, ranges: &[Range<usize>]) -> io::Result<usize> {
    let ranges: Vec<libc::iovec> = ranges
        .iter()
        .take(RANGES_MAX)
        .map(|range| libc::iovec {
            iov_base: std::ptr::without_provenance_mut(range.start),
            iov_len: range.end.saturating_sub(range.start),
        })
        .collect();
    // SAFETY: The kernel reads the array, which lives and has `ranges.len()` entries. It never follows the
    // addresses in our address space: they are the other process's, or wrong, which is an error. The advice
    // leaves contents as they are, there and here, so nothing that safe code relies on changes.
    let done = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            process.as_raw_fd(),
            ranges.as_ptr(),
            ranges.len(),
            libc::MADV_PAGEOUT,
            0,
        )
    };
    usize::try_from(done).map_err(|_| io::Error::last_os_error())
}

/// Lets the kernel merge equal pages of this process, and of every process that it starts from now on, with
/// those of others that are merged too (`PR_SET_MEMORY_MERGE`; Linux 6.4, and 6.7 for what is executed later).
///
/// Merging is a side channel: tenants of the machine can find out the content of a page by how long a write to an
/// equal one takes.
///
/// # Errors
/// As for `prctl(2)`: `EINVAL` if the kernel does not support it.
pub(crate) fn merge_own_pages() -> io::Result<()> {
    const ON: libc::c_ulong = 1;
    const UNUSED: libc::c_ulong = 0;
    // SAFETY: The call takes numbers and touches no memory of ours; pages keep what they hold.
    let done = unsafe { libc::prctl(libc::PR_SET_MEMORY_MERGE, ON, UNUSED, UNUSED, UNUSED) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
