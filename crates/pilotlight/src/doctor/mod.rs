//! The doctor: what this machine offers for windows that cost little, what each thing would bring, and
//! how to get what is missing.
//!
//! It looks and changes nothing. What it says holds for the user and the privileges that it is started with.

mod machine;

use std::path::PathBuf;

use pilotlight_api::{DoctorAnswer, Lever, LeverState as State};
use pilotlight_levers::reclaim::Lack;

use crate::sentence::size;
use machine::Machine;
pub(crate) use machine::browser as browser_of;

/// Less than this for shared memory, and pages with many pictures crash.
const SHARED_MEMORY_MIN_BYTES: u64 = 256 * 1024 * 1024;
/// Fewer open files than this, and a few dozen windows reach the limit.
const OPEN_FILES_MIN: u64 = 4096;
/// The first kernel that lets a process ask for merging (`PR_SET_MEMORY_MERGE`).
const MERGING_KERNEL: (u32, u32) = (6, 4);

/// Examines the machine for a server that starts this browser, or has none for this reason. Blocks.
pub(crate) fn examine(browser: Result<PathBuf, String>) -> DoctorAnswer {
    meaning(&Machine::look(browser))
}

/// What the facts mean.
fn meaning(machine: &Machine) -> DoctorAnswer {
    let levers = vec![
        browser(machine),
        namespaces(machine),
        swap(machine),
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
        success: levers.iter().all(|lever| lever.state != State::Needed),
        memory_bytes: machine.memory.map(|memory| memory.total_bytes),
        available_bytes: machine.memory.map(|memory| memory.available_bytes),
        reclaiming: machine.reclaimer.describe(),
        levers,
    }
}

fn lever(name: &str, brings: &str, found: impl Into<String>) -> Lever {
    let (lever, brings) = (name.to_owned(), brings.to_owned());
    Lever { lever, state: State::Present, found: found.into(), brings, remedy: None }
}

/// The same, in this state and with a way to get it, where it is not there.
trait Unless: Sized {
    fn unless(self, is_there: bool, state: State, remedy: impl Into<String>) -> Self;
}

impl Unless for Lever {
    fn unless(self, is_there: bool, state: State, remedy: impl Into<String>) -> Self {
        if is_there { self } else { Self { state, remedy: Some(remedy.into()), ..self } }
    }
}

fn browser(machine: &Machine) -> Lever {
    let brings = "the windows; the headless shell takes the least";
    let found = match &machine.browser {
        Ok(path) => path.display().to_string(),
        Err(reason) => reason.clone(),
    };
    lever("browser", brings, found).unless(
        machine.browser.is_ok(),
        State::Needed,
        "apt-get install chromium-headless-shell",
    )
}

fn namespaces(machine: &Machine) -> Lever {
    let brings = "Chromium's sandbox; without it no browser starts";
    let found = match &machine.namespaces_forbidden_by {
        None => "ordinary users may have them".to_owned(),
        Some(setting) => format!("forbidden by {setting}"),
    };
    let remedy = match &machine.namespaces_forbidden_by {
        Some(setting) => format!("sysctl -w {setting}    # for good: deploy/sysctl/60-pilotlight.conf"),
        None => String::new(),
    };
    let found = lever("user_namespaces", brings, found);
    found.unless(machine.namespaces_forbidden_by.is_none(), State::Needed, remedy)
}

fn swap(machine: &Machine) -> Lever {
    let brings = "frozen windows leave memory, compressed, and are back in milliseconds";
    let swap = &machine.swap;
    let room: u64 = swap.areas.iter().map(|area| area.size_bytes).sum();
    let found = match (swap.areas.is_empty(), swap.is_compressed()) {
        (true, _) => "no swap".to_owned(),
        (false, true) => format!("compressed, {}", size(Some(room))),
        (false, false) => format!("on a disk only, {}: slow to come back from", size(Some(room))),
    };
    lever("compressed_swap", brings, found).unless(
        swap.is_compressed(),
        State::Missing,
        "apt-get install systemd-zram-generator\n\
         install -D -m 0644 deploy/zram/zram-generator.conf /etc/systemd/zram-generator.conf\n\
         systemctl daemon-reload && systemctl start systemd-zram-setup@zram0.service",
    )
}

fn read_ahead(machine: &Machine) -> Lever {
    let brings = "compressed swap gives back the page that is asked for, and not its neighbours";
    let found = match machine.page_cluster {
        Some(cluster) => format!("vm.page-cluster={cluster}"),
        None => "the kernel does not say".to_owned(),
    };
    // On a disk, reading ahead is right.
    let is_right = machine.page_cluster.is_none_or(|cluster| cluster == 0) || !machine.swap.is_compressed();
    lever("swap_read_ahead", brings, found).unless(
        is_right,
        State::Missing,
        "sysctl -w vm.page-cluster=0    # for good: deploy/sysctl/60-pilotlight.conf",
    )
}

fn advice(machine: &Machine) -> Lever {
    let brings = "exactly the frozen windows are moved to swap";
    let lacks = machine.reclaimer.lacks();
    let missing = lacks.iter().find(|lack| matches!(lack, Lack::Capability | Lack::Call));
    let found = missing.map_or_else(|| "process_madvise is allowed".to_owned(), Lack::to_string);
    let remedy = match missing {
        Some(Lack::Call) => {
            "Linux 5.10 or later, and no filter of system calls that lacks process_madvise".to_owned()
        }
        _ => "as a service: AmbientCapabilities=CAP_SYS_NICE, as in deploy/systemd/pilotlight.service\n\
              from a shell: sudo setpriv --reuid \"$(id -u)\" --regid \"$(id -g)\" --init-groups \
              --inh-caps +sys_nice --ambient-caps +sys_nice pilotlight serve"
            .to_owned(),
    };
    lever("paging_out", brings, found).unless(missing.is_none(), State::Missing, remedy)
}

fn group(machine: &Machine) -> Lever {
    let brings = "the same for all of a cgroup at once, where the capability is not to be had";
    let found = if machine.has_group {
        "memory.reclaim may be written"
    } else {
        "no cgroup of ours has memory.reclaim"
    };
    lever("cgroup_delegation", brings, found).unless(
        machine.has_group,
        State::Missing,
        "as a service: Delegate=yes, as in deploy/systemd/pilotlight.service\n\
         from a shell: systemd-run --user --scope -p Delegate=yes pilotlight serve",
    )
}

fn pressure(machine: &Machine) -> Lever {
    let brings = "it is seen that memory gets short before it has ended";
    let found = match machine.pressure {
        Some(pressure) => format!("somebody waited {} % of the last minute", pressure.some.last_60_s_percent),
        None => "the kernel tells of no pressure".to_owned(),
    };
    lever("pressure", brings, found).unless(
        machine.pressure.is_some(),
        State::Missing,
        "start the kernel with psi=1",
    )
}

fn merging(machine: &Machine) -> Lever {
    let brings =
        "equal pages are kept once, with chromium.merge_pages; those who share a machine can spy by it";
    let is_new = machine.kernel.is_none_or(|kernel| kernel >= MERGING_KERNEL);
    let (found, remedy) = match machine.merging {
        _ if !is_new => ("the kernel is too old", "Linux 6.4 or later"),
        None => ("the kernel has none", "a kernel with CONFIG_KSM"),
        Some(false) => ("switched off", "only on a machine of one tenant: echo 1 > /sys/kernel/mm/ksm/run"),
        Some(true) => ("switched on", ""),
    };
    lever("page_merging", brings, found).unless(
        is_new && machine.merging == Some(true),
        State::Missing,
        remedy,
    )
}

fn shared_memory(machine: &Machine) -> Lever {
    let brings = "room for what Chromium's processes show one another; pages crash without";
    let found = match machine.shared_memory_bytes {
        Some(bytes) => format!("{} in /dev/shm", size(Some(bytes))),
        None => "no /dev/shm".to_owned(),
    };
    lever("shared_memory", brings, found).unless(
        machine.shared_memory_bytes.is_some_and(|bytes| bytes >= SHARED_MEMORY_MIN_BYTES),
        State::Missing,
        "mount -o remount,size=1G /dev/shm    # in a container: --shm-size=1g",
    )
}

fn open_files(machine: &Machine) -> Lever {
    let brings = "as many windows as memory allows";
    let found = match machine.open_files {
        Some(files) => format!("{files} for each process"),
        None => "no limit".to_owned(),
    };
    lever("open_files", brings, found).unless(
        machine.open_files.is_none_or(|files| files >= OPEN_FILES_MIN),
        State::Missing,
        "as a service: LimitNOFILE=65536, as in deploy/systemd/pilotlight.service\nfrom a shell: ulimit -n 65536",
    )
}

fn fonts(machine: &Machine) -> Lever {
    let brings = "pages and pictures of them with letters";
    let found = if machine.has_fonts { "there are some" } else { "none" };
    lever("fonts", brings, found).unless(
        machine.has_fonts,
        State::Missing,
        "apt-get install fonts-liberation fonts-noto-color-emoji",
    )
}

#[cfg(test)]
mod tests {
    use pilotlight_levers::swap::{Area, Swap, SwapKind};

    use super::*;

    fn rich() -> Machine {
        let area = Area {
            path: "/dev/zram0".into(),
            kind: SwapKind::Zram,
            size_bytes: 4_000_000_000,
            used_bytes: 0,
            held_bytes: Some(0),
        };
        Machine {
            browser: Ok(PathBuf::from("/usr/lib/chromium/chromium-headless-shell")),
            namespaces_forbidden_by: None,
            swap: Swap { areas: vec![area], has_zswap: false },
            page_cluster: Some(0),
            has_group: true,
            merging: Some(true),
            kernel: Some((6, 8)),
            shared_memory_bytes: Some(1 << 30),
            open_files: Some(65_536),
            has_fonts: true,
            ..Machine::look(Ok(PathBuf::new()))
        }
    }

    fn state(machine: &Machine, name: &str) -> (State, Option<String>) {
        let examination = meaning(machine);
        let lever = examination.levers.into_iter().find(|lever| lever.lever == name).unwrap();
        (lever.state, lever.remedy)
    }

    #[test]
    fn what_is_there_needs_no_remedy() {
        let machine = rich();
        assert!(meaning(&machine).success);
        for lever in meaning(&machine).levers {
            assert_eq!(lever.state == State::Present, lever.remedy.is_none(), "{lever:?}");
        }
        for name in
            ["browser", "user_namespaces", "compressed_swap", "swap_read_ahead", "page_merging", "fonts"]
        {
            assert_eq!(state(&machine, name), (State::Present, None), "{name}");
        }
    }

    #[test]
    fn what_is_missing_comes_with_its_remedy() {
        type Change = fn(&mut Machine);
        let changes: [(&str, State, &str, Change); 8] = [
            ("browser", State::Needed, "apt-get", |machine| machine.browser = Err("none".into())),
            ("user_namespaces", State::Needed, "sysctl -w a.b=1", |machine| {
                machine.namespaces_forbidden_by = Some("a.b=1".into());
            }),
            ("compressed_swap", State::Missing, "zram", |machine| machine.swap = Swap::default()),
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
            let (found, remedy) = state(&machine, name);
            assert_eq!(found, expected, "{name}");
            assert!(remedy.is_some_and(|remedy| remedy.contains(words)), "{name}");
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
