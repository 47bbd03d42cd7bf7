//! The facts about the machine, from the kernel and the file system.

use std::fs;
use std::path::Path;

use pilotlight_chromium::launch::{Confinement, probe};
use pilotlight_linux::reclaim::Lack;
use pilotlight_linux::{Destination, Memory, Pressure, Reclaimer, Swap, merge};
use rustix::process::{Resource, getrlimit};

use super::intended::Intended;

/// The system's folders of fonts.
const FONTS: [&str; 2] = ["/usr/share/fonts", "/usr/local/share/fonts"];
/// Maximum depth of the search for fonts.
const FONTS_DEPTH: u32 = 4;
/// Settings that can forbid user namespaces to unprivileged users: the value that does, and the value that does not.
const NAMESPACE_SETTINGS: [(&str, &str, &str); 3] = [
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("user.max_user_namespaces", "0", "10000"),
];

/// The facts.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) intended: Intended,
    /// The setting that has to be changed, as `name=value`.
    pub(super) namespaces_forbidden_by: Option<String>,
    pub(super) memory: Option<Memory>,
    pub(super) pressure: Option<Pressure>,
    pub(super) swap: Swap,
    /// How many pages are read from swap at a time, as a power of two.
    pub(super) page_cluster: Option<u32>,
    pub(super) reclaimer: Reclaimer,
    /// Whether a delegated cgroup has `memory.reclaim`.
    pub(super) has_group: bool,
    /// Whether the kernel's page merging is enabled; `None` if it is not supported.
    pub(super) merging: Option<bool>,
    /// How far the kernel can restrict browsers' access to files.
    pub(super) confinement: Confinement,
    /// The kernel's major and minor version.
    pub(super) kernel: Option<(u32, u32)>,
    pub(super) shared_memory_bytes: Option<u64>,
    /// Maximum number of open files per process; `None` if unlimited.
    pub(super) open_files: Option<u64>,
    pub(super) has_fonts: bool,
}

impl Machine {
    /// Determines all facts except for the browser.
    pub(super) fn look(intended: Intended) -> Self {
        let reclaimer = Reclaimer::probe(intended.destination.unwrap_or(Destination::Sealed));
        Self {
            intended,
            namespaces_forbidden_by: NAMESPACE_SETTINGS.iter().find_map(|&(name, bad, good)| {
                (setting(name).as_deref() == Some(bad)).then(|| format!("{name}={good}"))
            }),
            memory: Memory::now(),
            pressure: Pressure::now(),
            swap: Swap::now(),
            page_cluster: setting("vm.page-cluster").and_then(|cluster| cluster.parse().ok()),
            has_group: !reclaimer.lacks().contains(&Lack::Group),
            reclaimer,
            merging: merge::is_running(),
            confinement: probe(),
            kernel: version(&rustix::system::uname().release().to_string_lossy()),
            shared_memory_bytes: rustix::fs::statvfs("/dev/shm").ok().map(|of| of.f_blocks * of.f_frsize),
            open_files: getrlimit(Resource::Nofile).maximum,
            has_fonts: FONTS.iter().any(|folder| has_font(Path::new(folder), FONTS_DEPTH)),
        }
    }
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn setting(name: &str) -> Option<String> {
    read(&format!("/proc/sys/{}", name.replace('.', "/")))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn has_font(folder: &Path, depth: u32) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths = entries.map(|entry| entry.path());
    paths.any(|path| match path.extension().and_then(|extension| extension.to_str()) {
        Some("ttf" | "otf" | "ttc" | "pfb" | "pcf") => true,
        _ => depth > 0 && path.is_dir() && has_font(&path, depth - 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_whatever_follows() {
        assert_eq!(version("6.18.44-amd64"), Some((6, 18)));
        assert_eq!(version("6.1"), Some((6, 1)));
        assert_eq!(version("six"), None);
    }

    #[test]
    fn fonts_are_found_below() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        assert!(!has_font(folder.path(), FONTS_DEPTH));
        fs::write(folder.path().join("a/b/letters.ttf"), "").unwrap();
        assert!(has_font(folder.path(), FONTS_DEPTH));
        assert!(!has_font(folder.path(), 1));
    }
}
