//! The formats of `/proc` and `/sys`.

use std::fs;
use std::path::Path;

/// Returns the content of a file without surrounding blanks; `None` if it cannot be read.
pub(crate) fn read(path: impl AsRef<Path>) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// Parses `Key:   12 kB` as bytes; `key` includes the colon.
pub(crate) fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Parses `key 12`, as in the statistics of a cgroup.
pub(crate) fn number(text: &str, key: &str) -> Option<u64> {
    let mut fields = text.lines().map(|line| line.split_whitespace());
    fields.find_map(|mut fields| if fields.next()? == key { fields.next()?.parse().ok() } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_by_their_whole_keys() {
        let text = "Rss:  12 kB\nPss:      345 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(kibibytes(text, "Pss:"), Some(345 * 1024));
        assert_eq!(kibibytes(text, "Swap:"), None);
        assert_eq!(kibibytes("Pss: 18446744073709551615 kB", "Pss:"), None);
        assert_eq!(number("file 1\ninactive_file 2\n", "inactive_file"), Some(2));
        assert_eq!(number("file_mapped 1\nfile\n", "file"), None);
    }
}
