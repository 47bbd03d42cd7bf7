//! Who yields the processor where there is not enough of it for all: setpriority(2) and, where the kernel shares the
//! processor among login sessions first, the autogroup of the process, sched(7).

use std::fs;
use std::io;

use rustix::process::{getpriority_process, setpriority_process};

/// How nice processes are that yield: they get about a tenth of what others get, and all that others leave.
pub const YIELDING: i32 = 10;
/// The nice value of all processes of a login session together, against those of others.
const AUTOGROUP: &str = "/proc/self/autogroup";

/// Has this thread, and all threads and processes that it starts from now on, yield to all others. Needs no privilege,
/// and without one cannot be taken back. Where the process is the first of a session of its own (setsid(2)), the
/// whole of that yields, too.
///
/// # Errors
/// Where the kernel refuses.
pub fn yield_to_others() -> io::Result<()> {
    let nice = getpriority_process(None)?.max(YIELDING);
    setpriority_process(None, nice)?;
    match fs::write(AUTOGROUP, nice.to_string()) {
        // The kernel has none, and processes are compared one by one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written,
    }
}

/// Returns the nice value of a process; `None` where it has ended.
#[must_use]
pub fn niceness(pid: u32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The 17th field behind the name: proc(5).
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
