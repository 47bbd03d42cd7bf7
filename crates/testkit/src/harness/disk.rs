//! A small separate file system that can be filled.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file that takes up the space.
const FILL: &str = "fill";
/// The folder of a server's browsers, and its size.
const RUN: &str = "run";
const BROWSER_BYTES: u64 = 256 << 20;
/// Sizes of writes; less than the smallest of these is left free.
const STEPS: [usize; 3] = [1 << 20, 64 << 10, 1 << 10];

/// A file system in memory. It is unmounted when this is dropped.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts it at `path`. Other users may traverse it, because browsers run as other users. Browsers have a
    /// separate file system, so that their files do not affect the space of the server.
    pub(super) fn mount(path: &Path, bytes: u64) -> Self {
        mount(path, bytes);
        mount(&path.join(RUN), BROWSER_BYTES);
        Self { path: path.to_owned() }
    }

    /// Takes up all the space.
    pub(super) fn fill(&self) {
        let file = OpenOptions::new().create(true).append(true).open(self.path.join(FILL));
        let mut file = file.unwrap_or_else(|error| panic!("nothing can be written: {error}"));
        for step in STEPS {
            let error = loop {
                if let Err(error) = file.write_all(&vec![b'x'; step]) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
    }

    /// Frees the space.
    pub(super) fn empty(&self) {
        let removed = std::fs::remove_file(self.path.join(FILL));
        assert!(removed.is_ok(), "{removed:?}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // If a file in it is still open, it stays until that is closed.
        for path in [self.path.join(RUN), self.path.clone()] {
            drop(Command::new("umount").arg("--lazy").arg(path).output());
        }
    }
}

fn mount(path: &Path, bytes: u64) {
    let made = std::fs::create_dir_all(path);
    assert!(made.is_ok(), "{made:?}");
    let options = format!("size={bytes},mode=711");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output();
    let is_mounted = mounted.as_ref().is_ok_and(|output| output.status.success());
    assert!(is_mounted, "no file system can be mounted, which takes root: {mounted:?}");
}
