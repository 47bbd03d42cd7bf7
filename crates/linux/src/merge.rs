//! Merging equal pages of several processes: <https://docs.kernel.org/admin-guide/mm/ksm.html>.
//!
//! It is a side channel between tenants of the machine, so it is used only if it was configured.

use std::io;

/// Lets the kernel merge equal pages of this process and of all that it starts from now on.
///
/// # Errors
/// If the kernel does not support it.
pub fn merge_own_pages() -> io::Result<()> {
    crate::system_calls::merge_own_pages()
}

/// Returns whether page merging is enabled; `None` if the kernel does not support it.
#[must_use]
pub fn is_running() -> Option<bool> {
    crate::text::read("/sys/kernel/mm/ksm/run").map(|run| run == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel tells it of us and of a child, or the kernel is too old and says so.
    #[test]
    fn children_are_merged_too_where_the_kernel_can() {
        if is_running().is_none() {
            assert!(merge_own_pages().is_err());
            return;
        }
        merge_own_pages().unwrap();
        let output = std::process::Command::new("cat").arg("/proc/self/ksm_stat").output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.contains("ksm_merge_any: yes"), "{told}");
    }
}
