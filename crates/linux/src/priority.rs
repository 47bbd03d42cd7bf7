//! Priorities of processes: setpriority(2) and, if the kernel shares the processor among login sessions first, the
//! autogroup of the process, sched(7).

use std::fs;
use std::io;

use rustix::process::{getpriority_process, setpriority_process};

/// The nice value of processes with a low priority: they get about a tenth of what others get, and all that is left.
pub const YIELDING: i32 = 10;
/// The nice value of all processes of a login session together, against those of others.
const AUTOGROUP: &str = "/proc/self/autogroup";

/// Lowers the priority of this thread, and of all threads and processes that it starts from now on. Needs no
/// privilege, and without one cannot be undone. If the process is the first of a session of its own (setsid(2)), the
/// whole session is lowered, too.
///
/// # Errors
/// If the kernel refuses.
pub fn yield_to_others() -> io::Result<()> {
    let nice = getpriority_process(None)?.max(YIELDING);
    setpriority_process(None, nice)?;
    match fs::write(AUTOGROUP, nice.to_string()) {
        // The kernel has no autogroups, and processes are compared one by one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written,
    }
}

/// Returns the nice value of a process; `None` if it has ended.
#[must_use]
pub fn niceness(pid: u32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The 17th field after the name: proc(5).
    stat.rsplit_once(')')?.1.split_whitespace().nth(16)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_is_started_by_a_thread_that_yields_yields() {
        let start = || Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        // Only this thread yields; the autogroup is shared with whoever started the tests, and left alone.
        let mut children = std::thread::spawn(move || {
            let before = start();
            setpriority_process(None, YIELDING).unwrap();
            [before, start()]
        })
        .join()
        .unwrap();
        let own = niceness(std::process::id()).unwrap();
        let niceness_of = children.each_ref().map(|child| niceness(child.id()).unwrap());
        assert_eq!(niceness_of, [own, YIELDING]);
        for child in &mut children {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
        assert_eq!(niceness(u32::MAX), None);
    }
}
