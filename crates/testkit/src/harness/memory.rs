//! Searches the memory of a process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};

/// Returns how often each of these texts occurs in the writable memory of a process. Requires root.
///
/// The memory of a process that has exited is empty.
#[must_use]
pub fn copies_in_memory(pid: i32, texts: &[&str]) -> BTreeMap<String, usize> {
    let mut found: BTreeMap<String, usize> = texts.iter().map(|text| ((*text).to_owned(), 0)).collect();
    let Ok(maps) = fs::read_to_string(format!("/proc/{pid}/maps")) else { return found };
    let Ok(mut memory) = File::open(format!("/proc/{pid}/mem")) else { return found };
    let mut bytes = Vec::new();
    for (start, end) in maps.lines().filter_map(writable) {
        bytes.clear();
        // The range may no longer exist, or not be readable.
        if memory.seek(SeekFrom::Start(start)).is_err()
            || (&mut memory).take(end - start).read_to_end(&mut bytes).is_err()
        {
            continue;
        }
        for (text, count) in &mut found {
            *count += occurrences(&bytes, text.as_bytes());
        }
    }
    found
}

/// Parses the range of a writable mapping in a line of `/proc/PID/maps` (proc_pid_maps(5)).
fn writable(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let is_writable = fields.next()?.starts_with("rw") && !line.ends_with("[vvar]");
    let parse = |end| u64::from_str_radix(end, 16).ok();
    is_writable.then_some((parse(start)?, parse(end)?))
}

fn occurrences(bytes: &[u8], text: &[u8]) -> usize {
    let Some(first) = text.first() else { return 0 };
    // There is much data, and comparing single bytes is fast.
    bytes.windows(text.len()).filter(|window| window[0] == *first && *window == text).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_has_in_memory_is_found() {
        let text: String = std::iter::repeat_n("needle", 5).collect();
        let own = i32::try_from(std::process::id()).unwrap();
        // The text itself, and possibly the list of search texts.
        assert!(copies_in_memory(own, &[&text])[&text] >= 1);
    }

    #[test]
    fn only_what_can_be_written_to_is_looked_at() {
        assert_eq!(writable("7f00-7fff rw-p 00000000 00:00 0 [heap]"), Some((0x7f00, 0x7fff)));
        assert_eq!(writable("7f00-7fff r--p 00000000 00:00 0"), None);
        assert_eq!(writable("7f00-7fff rw-p 00000000 00:00 0 [vvar]"), None);
        assert_eq!(occurrences(b"aabaab", b"aab"), 2);
    }
}
