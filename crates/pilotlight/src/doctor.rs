//! The doctor: checks this machine for what browsers need and for memory-saving features, and says how to enable
//! what is missing.
//!
//! It changes nothing. The results hold for the user and the privileges that it runs with.

pub(crate) mod intended;
mod machine;

use pilotlight_api::{CheckState as State, DoctorAnswer, MachineCheck};
use pilotlight_chromium::launch::{BrowserUsers, Confinement};
use pilotlight_linux::Destination;
use pilotlight_linux::reclaim::Lack;

use crate::sentence::size;
use intended::Intended;
use machine::Machine;

/// With less shared memory than this, pages with many images crash.
const SHARED_MEMORY_MIN_BYTES: u64 = 256 * 1024 * 1024;
/// With fewer open files than this, a few dozen windows reach the limit.
const OPEN_FILES_MIN: u64 = 4096;
/// The first kernel in which a process can enable merging for itself (`PR_SET_MEMORY_MERGE`).
const MERGING_KERNEL: (u32, u32) = (6, 4);

/// Checks the machine for a server with these requirements. Blocks.
pub(crate) fn examine(intended: Intended) -> DoctorAnswer {
    meaning(&Machine::look(intended))
}

/// Evaluates the facts.
fn meaning(machine: &Machine) -> DoctorAnswer {
    let checks = vec![
        browser(machine),
        namespaces(machine),
        files(machine),
        users(machine),
        swap(machine),
        sealed_swap(machine),
        read_ahead(machine),
        advice(machine),
        group(machine),
        pressure(machine),
        merging(machine),
        shared_memory(machine),
        open_files(machine),
        fonts(machine),
    ];
    DoctorAnswer {
        success: checks.iter().all(|check| check.state != State::Needed),
        memory_bytes: machine.memory.map(|memory| memory.total_bytes),
        available_bytes: machine.memory.map(|memory| memory.available_bytes),
        reclaiming: match machine.intended.destination {
            Some(_) => machine.reclaimer.describe(),
            None => "memory of frozen windows is not moved out: chromium.page_out is off".to_owned(),
        },
        checks,
    }
}

fn check(name: &str, benefit: &str, found: impl Into<String>) -> MachineCheck {
    let (name, benefit) = (name.to_owned(), benefit.to_owned());
    MachineCheck { name, state: State::Present, found: found.into(), benefit, fix: None }
}

/// Sets the state and the fix if the feature is missing.
trait Unless: Sized {
    fn unless(self, is_there: bool, state: State, fix: impl Into<String>) -> Self;
}

impl Unless for MachineCheck {
    fn unless(self, is_there: bool, state: State, fix: impl Into<String>) -> Self {
        if is_there { self } else { Self { state, fix: Some(fix.into()), ..self } }
    }
}

fn browser(machine: &Machine) -> MachineCheck {
    let benefit = "runs the windows; chromium-headless-shell uses the least memory";
    let found = match &machine.intended.browser {
        Ok(path) => path.display().to_string(),
        Err(reason) => reason.clone(),
    };
    check("browser", benefit, found).unless(
        machine.intended.browser.is_ok(),
        State::Needed,
        "apt-get install chromium-headless-shell",
    )
}

fn namespaces(machine: &Machine) -> MachineCheck {
    let benefit = "Chromium's sandbox; browsers do not start without it";
    let found = match &machine.namespaces_forbidden_by {
        None => "allowed for unprivileged users".to_owned(),
        Some(setting) => format!("forbidden by {setting}"),
    };
    let fix = match &machine.namespaces_forbidden_by {
        Some(setting) => format!("sysctl -w {setting}    # permanently: deploy/sysctl/60-pilotlight.conf"),
        None => String::new(),
    };
    let found = check("user_namespaces", benefit, found);
    found.unless(machine.namespaces_forbidden_by.is_none(), State::Needed, fix)
}

fn swap(machine: &Machine) -> MachineCheck {
    let benefit = "frozen windows are compressed in memory and thaw within milliseconds";
    let swap = &machine.swap;
    let room: u64 = swap.areas.iter().map(|area| area.size_bytes).sum();
    let found = match (swap.areas.is_empty(), swap.is_compressed()) {
        (true, _) => "no swap".to_owned(),
        (false, true) => format!("compressed, {}", size(Some(room))),
        (false, false) => format!("on disk only, {}: thawing is slow", size(Some(room))),
    };
    check("compressed_swap", benefit, found).unless(
        swap.is_compressed(),
        State::Missing,
        "apt-get install systemd-zram-generator\n\
         install -D -m 0644 deploy/zram/zram-generator.conf /etc/systemd/zram-generator.conf\n\
         systemctl daemon-reload && systemctl start systemd-zram-setup@zram0.service",
    )
}

fn files(machine: &Machine) -> MachineCheck {
    let benefit = "a compromised browser can read neither the master key nor the files of other browsers";
    let found = match machine.confinement {
        Confinement::Full => "Landlock restricts browsers to system files and their own folders",
        Confinement::Partial => "the kernel's Landlock is old: browsers are restricted only in part",
        Confinement::None => "no Landlock: browsers can access all files of their user",
    };
    check("file_access", benefit, found).unless(
        machine.confinement == Confinement::Full,
        State::Missing,
        "use Linux 6.12 or later with CONFIG_SECURITY_LANDLOCK, and include `landlock` in the kernel parameter lsm=\n\
         until then, start the server as root, so that each browser runs as its own user",
    )
}

fn users(machine: &Machine) -> MachineCheck {
    let benefit = "a compromised browser cannot access other browsers";
    let users = &machine.intended.users;
    check("browser_users", benefit, users.describe()).unless(
        matches!(users, BrowserUsers::Each(_)),
        State::Missing,
        "start the server as root; in a container, map the users 2000000000 to 2000065535, or give another range with \
         chromium.user, such as \"70000-70999\"",
    )
}

fn sealed_swap(machine: &Machine) -> MachineCheck {
    let benefit = "contents of frozen windows, including passwords, are never written to disk unencrypted";
    let in_the_clear = machine.swap.in_the_clear().map(|area| area.path.display().to_string());
    let found = match &in_the_clear {
        _ if machine.swap.areas.is_empty() => "no swap".to_owned(),
        None => "all swap is compressed memory or encrypted".to_owned(),
        Some(path) if machine.intended.destination == Some(Destination::Any) => {
            format!("{path} is unencrypted on disk, and windows are moved there because of chromium.page_out")
        }
        Some(path) => {
            format!(
                "{path} is unencrypted on disk, so windows are not moved to swap; the kernel may still swap them out"
            )
        }
    };
    let fix = in_the_clear.as_deref().map(|path| {
        format!(
            "swapoff {path}    # and remove it from /etc/fstab, or encrypt it with a line in /etc/crypttab such as \
             `swap {path} /dev/urandom swap,cipher=aes-xts-plain64`\n\
             or, to allow unencrypted swap: chromium.page_out = \"any\""
        )
    });
    check("sealed_swap", benefit, found).unless(
        in_the_clear.is_none(),
        State::Missing,
        fix.unwrap_or_default(),
    )
}

fn read_ahead(machine: &Machine) -> MachineCheck {
    let benefit = "compressed swap reads only the requested page, not its neighbours";
    let found = match machine.page_cluster {
        Some(cluster) => format!("vm.page-cluster={cluster}"),
        None => "unknown".to_owned(),
    };
    // On a disk, read-ahead is useful.
    let is_right = machine.page_cluster.is_none_or(|cluster| cluster == 0) || !machine.swap.is_compressed();
    check("swap_read_ahead", benefit, found).unless(
        is_right,
        State::Missing,
        "sysctl -w vm.page-cluster=0    # permanently: deploy/sysctl/60-pilotlight.conf",
    )
}

fn advice(machine: &Machine) -> MachineCheck {
    let benefit = "frozen windows, and only those, are moved to swap";
    let lacks = machine.reclaimer.lacks();
    let missing = lacks.iter().find(|lack| matches!(lack, Lack::Capability | Lack::Call));
    let found = missing.map_or_else(|| "process_madvise is allowed".to_owned(), Lack::to_string);
    let fix = match missing {
        Some(Lack::Call) => {
            "use Linux 5.10 or later, and allow process_madvise in the seccomp filter".to_owned()
        }
        _ => "as a service: AmbientCapabilities=CAP_SYS_NICE, as in deploy/systemd/pilotlight.service\n\
              from a shell: sudo setpriv --reuid \"$(id -u)\" --regid \"$(id -g)\" --init-groups \
              --inh-caps +sys_nice --ambient-caps +sys_nice pilotlight serve"
            .to_owned(),
    };
    check("paging_out", benefit, found).unless(missing.is_none(), State::Missing, fix)
}

fn group(machine: &Machine) -> MachineCheck {
    let benefit = "an alternative to paging_out for a whole cgroup, if the capability is not available";
    let found = if machine.has_group {
        "memory.reclaim is writable"
    } else {
        "no delegated cgroup has memory.reclaim"
    };
    check("cgroup_delegation", benefit, found).unless(
        machine.has_group,
        State::Missing,
        "as a service: Delegate=yes, as in deploy/systemd/pilotlight.service\n\
         from a shell: systemd-run --user --scope -p Delegate=yes pilotlight serve",
    )
}

fn pressure(machine: &Machine) -> MachineCheck {
    let benefit = "low memory is detected before it runs out";
    let found = match machine.pressure {
        Some(pressure) => {
            format!("some task was stalled {} % of the last minute", pressure.some.last_60_s_percent)
        }
        None => "the kernel does not report pressure".to_owned(),
    };
    check("pressure", benefit, found).unless(
        machine.pressure.is_some(),
        State::Missing,
        "boot with the kernel parameter psi=1",
    )
}

fn merging(machine: &Machine) -> MachineCheck {
    let benefit = "identical memory pages are stored once (chromium.merge_pages); a side channel between tenants of one machine";
    let is_new = machine.kernel.is_none_or(|kernel| kernel >= MERGING_KERNEL);
    let (found, fix) = match machine.merging {
        _ if !is_new => ("the kernel is too old", "use Linux 6.4 or later"),
        None => ("not supported by the kernel", "use a kernel with CONFIG_KSM"),
        Some(false) => ("disabled", "on single-tenant machines only: echo 1 > /sys/kernel/mm/ksm/run"),
        Some(true) => ("enabled", ""),
    };
    check("page_merging", benefit, found).unless(is_new && machine.merging == Some(true), State::Missing, fix)
}

fn shared_memory(machine: &Machine) -> MachineCheck {
    let benefit = "shared memory between Chromium's processes; without enough of it, pages crash";
    let found = match machine.shared_memory_bytes {
        Some(bytes) => format!("{} in /dev/shm", size(Some(bytes))),
        None => "no /dev/shm".to_owned(),
    };
    check("shared_memory", benefit, found).unless(
        machine.shared_memory_bytes.is_some_and(|bytes| bytes >= SHARED_MEMORY_MIN_BYTES),
        State::Missing,
        "mount -o remount,size=1G /dev/shm    # in a container: --shm-size=1g",
    )
}

fn open_files(machine: &Machine) -> MachineCheck {
    let benefit = "the number of windows is not limited by file descriptors";
    let found = match machine.open_files {
        Some(files) => format!("{files} per process"),
        None => "no limit".to_owned(),
    };
    check("open_files", benefit, found).unless(
        machine.open_files.is_none_or(|files| files >= OPEN_FILES_MIN),
        State::Missing,
        "as a service: LimitNOFILE=65536, as in deploy/systemd/pilotlight.service\nfrom a shell: ulimit -n 65536",
    )
}

fn fonts(machine: &Machine) -> MachineCheck {
    let benefit = "text in pages and screenshots";
    let found = if machine.has_fonts { "installed" } else { "none" };
    check("fonts", benefit, found).unless(
        machine.has_fonts,
        State::Missing,
        "apt-get install fonts-liberation fonts-noto-color-emoji",
    )
}

#[cfg(test)]
mod tests {
    use pilotlight_linux::swap::{Area, Swap, SwapKind};

    use super::*;

    fn rich() -> Machine {
        let area = Area {
            path: "/dev/zram0".into(),
            kind: SwapKind::Zram,
            size_bytes: 4_000_000_000,
            used_bytes: 0,
            held_bytes: Some(0),
            is_in_the_clear: false,
        };
        Machine {
            namespaces_forbidden_by: None,
            swap: Swap { areas: vec![area], has_zswap: false },
            page_cluster: Some(0),
            has_group: true,
            merging: Some(true),
            confinement: Confinement::Full,
            kernel: Some((6, 8)),
            shared_memory_bytes: Some(1 << 30),
            open_files: Some(65_536),
            has_fonts: true,
            ..Machine::look(Intended {
                browser: Ok("/usr/lib/chromium/chromium-headless-shell".into()),
                users: BrowserUsers::Each(70_000..=70_999),
                destination: Some(Destination::Sealed),
            })
        }
    }

    fn state(machine: &Machine, name: &str) -> (State, Option<String>) {
        let examination = meaning(machine);
        let check = examination.checks.into_iter().find(|check| check.name == name).unwrap();
        (check.state, check.fix)
    }

    #[test]
    fn what_is_there_needs_no_fix() {
        let machine = rich();
        assert!(meaning(&machine).success);
        for check in meaning(&machine).checks {
            assert_eq!(check.state == State::Present, check.fix.is_none(), "{check:?}");
        }
        for name in [
            "browser",
            "user_namespaces",
            "file_access",
            "browser_users",
            "compressed_swap",
            "sealed_swap",
            "swap_read_ahead",
            "page_merging",
            "fonts",
        ] {
            assert_eq!(state(&machine, name), (State::Present, None), "{name}");
        }
    }

    #[test]
    fn what_is_missing_comes_with_its_fix() {
        type Change = fn(&mut Machine);
        let changes: [(&str, State, &str, Change); 12] = [
            ("browser", State::Needed, "apt-get", |machine| machine.intended.browser = Err("none".into())),
            ("user_namespaces", State::Needed, "sysctl -w a.b=1", |machine| {
                machine.namespaces_forbidden_by = Some("a.b=1".into());
            }),
            ("compressed_swap", State::Missing, "zram", |machine| machine.swap = Swap::default()),
            ("sealed_swap", State::Missing, "swapoff /dev/zram0", |machine| {
                machine.swap.areas[0].is_in_the_clear = true;
            }),
            ("browser_users", State::Missing, "as root", |machine| {
                machine.intended.users = BrowserUsers::Own;
            }),
            ("file_access", State::Missing, "lsm=", |machine| machine.confinement = Confinement::None),
            ("file_access", State::Missing, "6.12", |machine| machine.confinement = Confinement::Partial),
            ("swap_read_ahead", State::Missing, "vm.page-cluster=0", |machine| {
                machine.page_cluster = Some(3);
            }),
            ("cgroup_delegation", State::Missing, "Delegate=yes", |machine| machine.has_group = false),
            ("page_merging", State::Missing, "6.4", |machine| machine.kernel = Some((6, 3))),
            ("shared_memory", State::Missing, "--shm-size", |machine| {
                machine.shared_memory_bytes = Some(1 << 26);
            }),
            ("open_files", State::Missing, "LimitNOFILE", |machine| machine.open_files = Some(1024)),
        ];
        for (name, expected, words, change) in changes {
            let mut machine = rich();
            change(&mut machine);
            let (found, fix) = state(&machine, name);
            assert_eq!(found, expected, "{name}");
            assert!(fix.is_some_and(|fix| fix.contains(words)), "{name}");
            assert_eq!(meaning(&machine).success, expected != State::Needed, "{name}");
        }
    }

    #[test]
    fn reading_ahead_is_right_from_a_disk() {
        let mut machine = rich();
        machine.page_cluster = Some(3);
        machine.swap.areas[0].kind = SwapKind::Partition;
        assert_eq!(state(&machine, "swap_read_ahead"), (State::Present, None));
        assert_eq!(state(&machine, "compressed_swap").0, State::Missing);
    }
}
