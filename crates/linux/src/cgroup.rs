//! Control groups, version 2: <https://docs.kernel.org/admin-guide/cgroup-v2.html>.

use std::path::{Path, PathBuf};

use crate::text::read;

/// The mount points of version 2: alone, or beside version 1.
const MOUNTS: [&str; 2] = ["sys/fs/cgroup", "sys/fs/cgroup/unified"];

/// Returns the folder of a process's cgroup (`process` is an id or `self`) under `root`, which is `/` except in
/// tests.
pub(crate) fn folder_of(root: &Path, process: &str) -> Option<PathBuf> {
    let mount = mount(root)?;
    let text = read(root.join("proc").join(process).join("cgroup"))?;
    Some(mount.join(path_in(&text)?.trim_start_matches('/')))
}

/// Returns the folder and its parents, up to the mount point of the hierarchy.
pub(crate) fn upwards(root: &Path, folder: &Path) -> Vec<PathBuf> {
    let Some(mount) = mount(root) else { return Vec::new() };
    folder.ancestors().take_while(|folder| folder.starts_with(&mount)).map(Path::to_owned).collect()
}

fn mount(root: &Path) -> Option<PathBuf> {
    MOUNTS.iter().map(|mount| root.join(mount)).find(|mount| mount.join("cgroup.controllers").exists())
}

/// The line of version 2 is `0::/path`. A path with `..` belongs to a group outside of our namespace.
fn path_in(text: &str) -> Option<&str> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    (!path.split('/').any(|part| part == "..")).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_of_version_2_counts() {
        assert_eq!(path_in("4:memory:/a\n0::/b.slice/c\n"), Some("/b.slice/c"));
        assert_eq!(path_in("4:memory:/a\n"), None);
        assert_eq!(path_in("0::/../outside\n"), None);
    }
}
