//! The shims of a server and their browsers: what its run folder says, as far as `/proc` confirms it.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::processes::{Process, Role};

/// The hidden command that a shim runs.
const SHIM_COMMAND: &str = "__shim";
/// What a shim writes into its folder.
const RECORD: &str = "shim.json";

/// A shim and the browser that it owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shim {
    /// The shim.
    pub shim: Process,
    /// The browser's main process.
    pub browser: Process,
}

/// What is of use here of a shim's own words.
#[derive(Deserialize)]
struct Record {
    shim_pid: i32,
    browser_pid: i32,
}

/// Every shim below `run_dir` whose browser runs, as it runs itself.
pub(super) fn below(run_dir: &Path) -> Vec<Shim> {
    let pairs = records(run_dir).into_iter();
    pairs.filter_map(|record| Some(Shim { shim: record.shim()?, browser: record.browser()? })).collect()
}

/// Every shim and every browser that is named below `run_dir` and runs, with or without the other.
pub(super) fn named_below(run_dir: &Path) -> Vec<Process> {
    records(run_dir).iter().flat_map(|record| [record.shim(), record.browser()]).flatten().collect()
}

pub(super) fn is_shim(process: &Process) -> bool {
    process.command.iter().any(|word| word == SHIM_COMMAND)
}

impl Record {
    /// The ids may be somebody else's by now.
    fn shim(&self) -> Option<Process> {
        Process::find(self.shim_pid).filter(is_shim)
    }

    fn browser(&self) -> Option<Process> {
        Process::find(self.browser_pid).filter(|process| process.role() == Role::Browser)
    }
}

/// A record that is being written, or that is none, is passed over: whoever needs one looks again.
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
        // Stands for a shim by its command line, and for anybody by its id.
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
