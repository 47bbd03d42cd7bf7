//! Restricts chromedriver before it starts: our own program is started once more, drops everything that chromedriver
//! does not need, and then becomes chromedriver.
//!
//! Chromedriver starts browsers for any client, with any program and any switches. Here it attaches to running
//! browsers, so it needs neither programs nor files: it cannot start processes, gain privileges, read anything but
//! the system's libraries, write outside its own folder, or open sockets outside its own network.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use landlock::{Access, AccessFs, BitFlags, RulesetError, Scope, make_bitflags};
use pilotlight_chromium::launch::ruleset::{RIGHTS, restrict};
use rustix::thread::CapabilitySet;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// The folders of the system's programs and libraries. None of our state is there.
const PROGRAMS: [&str; 9] = [
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/bin",
    "/bin",
    "/lib",
    "/lib64",
    "/nix/store",
    "/gnu/store",
];
/// Other readable files.
const SETTINGS: [&str; 10] = [
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/resolv.conf",
    "/usr/share/zoneinfo",
    "/sys/devices/system/cpu",
    "/dev/urandom",
];
/// System calls that start or access processes, or that reach parts of the kernel with a history of vulnerabilities;
/// chromedriver needs none of them.
const REFUSED_CALLS: &[libc::c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
];

/// Why chromedriver could not be restricted.
#[derive(Debug, thiserror::Error)]
enum ConfineError {
    #[error("failed to drop privileges: {0}")]
    Privileges(#[from] rustix::io::Errno),
    #[error("failed to restrict file access: {0}")]
    Files(#[from] RulesetError),
    #[error("failed to restrict system calls: {0}")]
    Calls(#[from] seccompiler::Error),
    #[error("failed to restrict system calls: {0}")]
    Filter(#[from] seccompiler::BackendError),
}

/// Becomes chromedriver. Returns only on failure.
pub(super) fn become_driver(folder: &Path, driver: &Path, arguments: &[impl AsRef<OsStr>]) -> io::Error {
    if let Err(error) = confine(folder, driver) {
        return io::Error::other(error);
    }
    Command::new(driver).args(arguments).exec()
}

/// Drops, for this thread and the program that it becomes, everything that chromedriver does not need.
fn confine(folder: &Path, driver: &Path) -> Result<(), ConfineError> {
    rustix::thread::set_no_new_privs(true)?;
    restrict_files(folder, driver)?;
    // In its user namespace it would be root. An unprivileged user has nothing to drop.
    for capability in CapabilitySet::all().iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Some distributions have a script around chromedriver, which starts processes.
    restrict_calls(is_program(driver))
}

fn is_program(path: &Path) -> bool {
    let mut magic = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

/// With Landlock, as far as the kernel supports it.
fn restrict_files(folder: &Path, driver: &Path) -> Result<(), RulesetError> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let run = read | AccessFs::Execute;
    let write = AccessFs::from_all(RIGHTS) & !BitFlags::from(AccessFs::Execute);
    let null = make_bitflags!(AccessFs::{ReadFile | WriteFile});
    let programs = PROGRAMS.iter().map(|path| (Path::new(path), run));
    let settings = SETTINGS.iter().map(|path| (Path::new(path), read));
    let rules =
        programs.chain(settings).chain([(driver, run), (folder, write), (Path::new("/dev/null"), null)]);
    restrict(rules, Scope::AbstractUnixSocket | Scope::Signal).map(drop)
}

/// With seccomp. `alone`: without permission to start processes.
fn restrict_calls(alone: bool) -> Result<(), ConfineError> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(()) };
    let condition =
        |argument, operator, value| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value);
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED_CALLS.iter().map(|call| (*call, Vec::new())).collect();
    // Other kinds of sockets lead out of its own network, for example those of the file system.
    let families = [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let foreign = families.map(|family| condition(0, SeccompCmpOp::Ne, u64::from(family.unsigned_abs())));
    let foreign = foreign.into_iter().collect::<Result<Vec<_>, _>>()?;
    refused.insert(libc::SYS_socket, vec![SeccompRule::new(foreign)?]);
    if alone {
        #[cfg(target_arch = "x86_64")]
        refused.extend([(libc::SYS_fork, Vec::new()), (libc::SYS_vfork, Vec::new())]);
        let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
        let process = condition(0, SeccompCmpOp::MaskedEq(thread), 0)?;
        refused.insert(libc::SYS_clone, vec![SeccompRule::new(vec![process])?]);
    }
    let filter = |calls, errno: i32| -> Result<BpfProgram, seccompiler::BackendError> {
        let refusal = SeccompAction::Errno(errno.unsigned_abs());
        SeccompFilter::new(calls, SeccompAction::Allow, refusal, arch)?.try_into()
    };
    apply_filter(&filter(refused, libc::EPERM)?)?;
    if alone {
        // Its flags are in memory, where filters cannot look. Without it, threads are created with `clone`.
        apply_filter(&filter(BTreeMap::from([(libc::SYS_clone3, Vec::new())]), libc::ENOSYS)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use pilotlight_chromium::launch::{Confinement, probe};

    use super::*;

    /// The kernel's own answer: what a thread gives up, others keep.
    #[test]
    fn it_is_left_with_its_folder_and_its_network() {
        let (own, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mine, key) = (own.path().join("mine"), state.path().join("master.key"));
        fs::write(&key, "secret").unwrap();
        let driver = std::env::current_exe().unwrap();
        let has_landlock = probe() != Confinement::None;
        let folder = own.path().to_owned();
        thread::spawn(move || {
            confine(&folder, &driver).unwrap();
            fs::write(&mine, "mine").unwrap();
            assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
            TcpListener::bind("127.0.0.1:0").unwrap();
            thread::spawn(|| ()).join().unwrap();
            let refused = Command::new("/bin/true").status().unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EPERM), "no processes: {refused}");
            let refused = UnixStream::connect("/run/x.sock").unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EPERM), "no sockets of files: {refused}");
            let program = folder.join("program");
            fs::copy("/bin/true", &program).unwrap();
            let refused = Command::new(&program).exec();
            if has_landlock {
                assert_eq!(refused.raw_os_error(), Some(libc::EACCES), "no programs of its own: {refused}");
                assert_eq!(fs::read(&key).unwrap_err().raw_os_error(), Some(libc::EACCES));
                assert!(fs::write(state.path().join("new"), "").is_err());
                assert!(fs::read("/proc/self/environ").is_err() && fs::read("/etc/passwd").is_err());
            } else {
                println!("the kernel has no Landlock");
            }
            let status = fs::read_to_string("/proc/thread-self/status");
            assert!(status.is_err() || status.unwrap().contains("NoNewPrivs:\t1"));
        })
        .join()
        .unwrap();
    }
}
