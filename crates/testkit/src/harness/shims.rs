//! The shims of a server and their browsers, from its run folder, as far as `/proc` confirms it.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::processes::{Process, Role};

/// The hidden subcommand of a shim.
const SHIM_COMMAND: &str = "__shim";
/// The file that a shim writes into its folder.
const RECORD: &str = "shim.json";

/// A shim and the browser that it owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shim {
    /// The shim.
    pub shim: Process,
    /// The browser's main process.
    pub browser: Process,
}

/// The fields of a shim's file that are used here.
#[derive(Deserialize)]
struct Record {
    shim_pid: i32,
    browser_pid: i32,
}

/// Returns all shims below `run_dir` that are running together with their browsers.
pub(super) fn below(run_dir: &Path) -> Vec<Shim> {
    let pairs = records(run_dir).into_iter();
    pairs.filter_map(|record| Some(Shim { shim: record.shim()?, browser: record.browser()? })).collect()
}

/// Returns all running shims and browsers below `run_dir`, with or without the other.
pub(super) fn named_below(run_dir: &Path) -> Vec<Process> {
    records(run_dir).iter().flat_map(|record| [record.shim(), record.browser()]).flatten().collect()
}

pub(super) fn is_shim(process: &Process) -> bool {
    process.command.iter().any(|word| word == SHIM_COMMAND)
}

impl Record {
    /// The ids may belong to other processes by now.
    fn shim(&self) -> Option<Process> {
        Process::find(self.shim_pid).filter(is_shim)
    }

    fn browser(&self) -> Option<Process> {
        Process::find(self.browser_pid).filter(|process| process.role() == Role::Browser)
    }
}

/// A file that is incomplete or invalid is skipped: callers retry.
fn records(run_dir: &Path) -> Vec<Record> {
    let folders = fs::read_dir(run_dir).into_iter().flatten().flatten();
    let texts = folders.filter_map(|folder| fs::read(folder.path().join(RECORD)).ok());
    texts.filter_map(|text| serde_json::from_slice(&text).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_is_named_is_found_only_where_it_is_what_it_is_called() {
        let folder = tempfile::tempdir().unwrap();
        // A shim is recognised by its command line; the id alone is not sufficient.
        let start = |word: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", "read line", word]).stdin(Stdio::piped()).spawn().unwrap()
        };
        let (mut shim, mut stranger) = (start(SHIM_COMMAND), start("other"));
        let write = |name: &str, record: &str| {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join(RECORD), record).unwrap();
        };
        let record = |shim: u32, browser: u32| {
            format!("{{\"protocol\":1,\"shim_pid\":{shim},\"browser_pid\":{browser},\"label\":\"s1\"}}")
        };
        write("one", &record(shim.id(), stranger.id()));
        write("two", &record(stranger.id(), shim.id()));
        write("half", "{\"protocol\":1,");
        let found: Vec<_> = named_below(folder.path()).iter().map(|process| process.id).collect();
        assert_eq!(found, [i32::try_from(shim.id()).unwrap()]);
        assert_eq!(below(folder.path()), [], "its browser is none");
        for child in [&mut shim, &mut stranger] {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
        assert_eq!(named_below(folder.path()), []);
    }
}
