//! What a browser can access: it can read the system, write its own folder, and access nothing else in the file
//! system.
//!
//! Chromium's main process has no sandbox, so a page that has compromised it has all rights of its user. Two features
//! of the kernel remove most of them, permanently and for all processes that are started from it: executing a program
//! never adds privileges (`PR_SET_NO_NEW_PRIVS`), and Landlock, by which an unprivileged process gives up rights over
//! files, and over processes outside.
//!
//! Both apply to the thread that requests them and to what it starts from then on. So a program is started from a
//! thread that exists for nothing else, and this process keeps its own rights.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use landlock::{AccessFs, BitFlags, Scope, make_bitflags};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;

use super::ruleset::{Confinement, RIGHTS, restrict};

/// The folders of the system's programs, libraries, fonts, certificates and settings.
const SYSTEM: [&str; 14] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/etc",
    "/nix/store",
    "/gnu/store",
    "/run/current-system",
    "/snap",
    "/sys",
];
/// Other readable files: font caches, the machine's id, and the configuration of name resolution.
const READ: [&str; 7] = [
    "/var/cache/fontconfig",
    "/var/lib/dbus/machine-id",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager/resolv.conf",
    // Links to other places on some systems.
    "/etc/resolv.conf",
    "/var/lib/ca-certificates",
];
/// Files of the kernel that are written to as well: the sandbox is set up by `/proc/PID/uid_map` and the like, and
/// Chromium sets the OOM priority of pages by `/proc/PID/oom_score_adj`, which it opens as a file to be truncated.
const KERNEL: [&str; 9] = [
    "/proc",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/dri",
    "/dev/snd",
];
/// Shared memory has names here for a moment.
const SHARED_MEMORY: &str = "/dev/shm";
/// Switches whose values are folders of extensions, separated by commas. They are refused unless they were allowed
/// explicitly.
const EXTENSION_SWITCHES: [&str; 3] =
    ["--load-extension=", "--disable-extensions-except=", "--load-component-extension="];

/// What programs may access besides the system and their own folders.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reach {
    /// Read.
    pub readable: Vec<PathBuf>,
    /// Read and written.
    pub writable: Vec<PathBuf>,
    /// Never, even inside of an allowed folder: the state folder, and the source of the master key. Folders in it
    /// that are listed as writable are excepted.
    pub secret: Vec<PathBuf>,
}

/// The rights that a program keeps.
#[derive(Debug)]
pub struct Confined {
    rules: Vec<(PathBuf, BitFlags<AccessFs>)>,
    has_abstract_sockets: bool,
}

impl Confined {
    /// Returns the rights of a program that has `own` for itself, with what is in `reach`.
    #[must_use]
    pub fn new(program: &Path, own: &Path, reach: &Reach) -> Self {
        let read = AccessFs::from_read(RIGHTS);
        let read_only = read & !BitFlags::from(AccessFs::Execute);
        let secret: Vec<PathBuf> = reach.secret.iter().filter_map(|path| path.canonicalize().ok()).collect();
        let (mut rules, mut program_folder) = (Vec::new(), None);
        let mut add = |path: &Path, rights| {
            let open = around(path, &secret).into_iter();
            rules.extend(open.map(|path| (path, rights)));
        };
        SYSTEM.iter().for_each(|path| add(Path::new(path), read));
        READ.iter().for_each(|path| add(Path::new(path), read_only));
        // A program outside of the system's folders has its libraries and data in its own folder.
        if let Some(folder) = program.canonicalize().ok().as_deref().and_then(Path::parent)
            && folder.parent().is_some()
        {
            if secret.iter().any(|secret| secret.starts_with(folder)) {
                add(folder, read);
            } else {
                // It may be in the home of a service's user, which is the state folder, too.
                program_folder = Some((folder.to_owned(), read));
            }
        }
        reach.readable.iter().for_each(|path| add(path, read));
        rules.extend(program_folder);
        let kernel = make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | IoctlDev});
        rules.extend(KERNEL.iter().map(|path| (PathBuf::from(path), kernel)));
        rules.extend(graphics().map(|path| (path, kernel)));
        for path in reach.writable.iter().map(PathBuf::as_path).chain([own, Path::new(SHARED_MEMORY)]) {
            rules.push((path.to_owned(), written()));
        }
        Self { rules, has_abstract_sockets: false }
    }

    /// Adds sockets that have names and no place in the file system, such as those of a display.
    #[must_use]
    pub fn with_abstract_sockets(self) -> Self {
        Self { has_abstract_sockets: true, ..self }
    }

    /// Starts a program with only these rights, and without a way to gain others.
    ///
    /// # Errors
    /// If it, or a thread, cannot be started, or the rights cannot be given up although the kernel supports that.
    ///
    /// # Panics
    /// Outside of a runtime of tokio, like [`Command::spawn`].
    pub fn spawn(self, command: &mut Command) -> io::Result<Child> {
        let runtime = Handle::current();
        self.within(|| {
            let _runtime = runtime.enter();
            command.spawn()
        })
    }

    /// Runs a function in a thread with these rights.
    fn within<T: Send>(self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("start".into());
            let thread = thread.spawn_scoped(scope, move || {
                self.hold()?;
                work()
            })?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that starts programs failed")))
        })
    }

    /// Applies the rights to this thread and what it starts.
    fn hold(self) -> io::Result<Confinement> {
        rustix::thread::set_no_new_privs(true)?;
        let scopes = if self.has_abstract_sockets {
            Scope::Signal.into()
        } else {
            Scope::Signal | Scope::AbstractUnixSocket
        };
        restrict(self.rules, scopes)
            .map_err(|error| io::Error::other(format!("rights could not be given up: {error}")))
    }
}

/// Protects this process's memory: it is in no core dump, and no other process of the same user can read it by
/// `/proc`. Programs that are started from now on dump no cores either, and can be inspected.
///
/// From now on the files in `/proc/self` belong to root: the process can read them as before, but not write what
/// needs their owner, such as `oom_score_adj`.
pub fn keep_memory_private() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "failed to disable core dumps");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "failed to protect this process's memory from other processes of its user");
    }
}

/// Returns how far browsers can be kept from files here. Blocks for a moment.
#[must_use]
pub fn probe() -> Confinement {
    let nothing = Confined { rules: Vec::new(), has_abstract_sockets: false };
    let probing = thread::spawn(|| nothing.hold());
    probing.join().ok().and_then(Result::ok).unwrap_or(Confinement::None)
}

/// Returns the folders of extensions that are loaded.
pub(super) fn extensions(arguments: &[String]) -> impl Iterator<Item = PathBuf> {
    let values = arguments
        .iter()
        .filter_map(|argument| EXTENSION_SWITCHES.iter().find_map(|switch| argument.strip_prefix(switch)));
    values.flat_map(|value| value.split(',')).filter(|path| path.starts_with('/')).map(PathBuf::from)
}

/// All file operations except execution.
fn written() -> BitFlags<AccessFs> {
    make_bitflags!(AccessFs::{
        ReadFile | ReadDir | WriteFile | Truncate | Refer | MakeReg | MakeDir | MakeSym | MakeFifo | MakeSock
        | RemoveFile | RemoveDir
    })
}

/// Drivers of graphics cards that have no folder of their own.
fn graphics() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"nvidia"))
        .map(|entry| entry.path())
}

/// Returns the parts of a tree without what is secret in it: rights over a folder are rights over all that is below.
fn around(tree: &Path, secret: &[PathBuf]) -> Vec<PathBuf> {
    let Ok(tree) = tree.canonicalize() else { return Vec::new() };
    if secret.iter().any(|secret| tree.starts_with(secret)) {
        return Vec::new();
    }
    if !secret.iter().any(|secret| secret.starts_with(&tree)) {
        return vec![tree];
    }
    let entries = fs::read_dir(&tree).into_iter().flatten().flatten();
    // A link would allow its target, wherever that is.
    let entries = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()));
    entries.flat_map(|entry| around(&entry.path(), secret)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The home of a service's user, which contains no browser of a package, may be the state folder.
    #[test]
    fn a_program_below_what_is_secret_has_its_own_folder() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let folder = root.join(".cache/browser");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("chrome"), "").unwrap();
        let reach = Reach { secret: vec![root.clone()], ..Reach::default() };
        let confined = Confined::new(&folder.join("chrome"), &root.join("run/own"), &reach);
        let below: Vec<_> = confined.rules.iter().filter(|(path, _)| path.starts_with(&root)).collect();
        let paths: Vec<_> = below.iter().map(|(path, _)| path.as_path()).collect();
        assert_eq!(paths, [folder.as_path(), &root.join("run/own")]);
    }

    #[test]
    fn what_is_secret_is_left_out_of_what_lies_around_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for file in ["etc/hosts", "etc/ssl/ca", "etc/own/key", "etc/own/open/a", "etc/own.d/b"] {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), "").unwrap();
        }
        std::os::unix::fs::symlink(root.join("etc/own/key"), root.join("etc/link")).unwrap();
        let mut found = around(&root.join("etc"), &[root.join("etc/own")]);
        found.sort();
        assert_eq!(found, ["etc/hosts", "etc/own.d", "etc/ssl"].map(|path| root.join(path)));
        assert_eq!(around(&root.join("etc/own/open"), &[root.join("etc/own")]), Vec::<PathBuf>::new());
        assert_eq!(around(&root.join("etc/link"), &[root.join("etc/own")]), Vec::<PathBuf>::new());
        assert_eq!(around(&root.join("etc"), &[]), [root.join("etc")]);
        assert_eq!(around(&root.join("nothing"), &[]), Vec::<PathBuf>::new());
    }

    /// The kernel's own answer, in this very process: what a thread gives up, others keep.
    #[test]
    fn a_thread_gives_up_what_it_is_not_left() {
        if probe() == Confinement::None {
            println!("the kernel has no Landlock");
            return;
        }
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("secret"), "secret").unwrap();
        let (mine, theirs) = (own.path().join("mine"), other.path().join("secret"));
        let reach = Reach { secret: vec![other.path().into()], ..Reach::default() };
        let confined = Confined::new(Path::new("/bin/true"), own.path(), &reach);
        let tried = confined.within(|| {
            let tried = (fs::write(&mine, "mine").is_ok(), fs::read(&theirs).is_ok());
            Ok((tried, fs::read("/etc/hosts").is_ok(), fs::write(other.path().join("new"), "").is_ok()))
        });
        assert_eq!(tried.unwrap(), ((true, false), true, false));
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "secret");
    }

    #[test]
    fn folders_of_extensions_are_found() {
        let arguments = ["--load-extension=/a,/b", "--lang=/x", "--disable-extensions-except=relative"];
        let arguments = arguments.map(str::to_owned);
        let found: Vec<PathBuf> = extensions(&arguments).collect();
        assert_eq!(found, [PathBuf::from("/a"), PathBuf::from("/b")]);
    }
}
