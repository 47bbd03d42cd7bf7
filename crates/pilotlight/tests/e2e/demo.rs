//! `pilotlight demo`: what people see first.

use std::process::Stdio;

use pilotlight_testkit::harness::{descendants, wait_until_gone};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::SOON;

#[tokio::test]
async fn the_demo_signs_three_windows_in_pings_one_and_ends_with_ctrl_c() {
    let folder = tempfile::Builder::new().permissions(everybody()).tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pilotlight"));
    command.args(["demo", "--listen", "127.0.0.1:0", "--state-dir", "state"]).current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut demo = command.spawn().unwrap();
    let id = i32::try_from(demo.id().unwrap()).unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut told = String::new();
    while !told.contains("Ctrl-C") {
        let line =
            timeout(SOON, lines.next_line()).await.unwrap_or_else(|_| panic!("no more is told:\n{told}"));
        told += &line.unwrap().unwrap_or_else(|| panic!("the demo ended:\n{told}"));
        told.push('\n');
    }
    assert_eq!(told.matches(" is ready after ").count(), 3, "{told}");
    assert!(told.contains("A ping of ") && told.contains("curl -X POST"), "{told}");
    let processes = descendants(id);
    assert!(!processes.is_empty());
    kill_process(Pid::from_raw(id).unwrap(), Signal::INT).unwrap();
    let status = timeout(SOON, demo.wait()).await.expect("Ctrl-C does not end it").unwrap();
    assert!(status.success(), "{status}");
    wait_until_gone(&processes, SOON).await;
}

/// Browsers may run as another user, who must come through the folder.
fn everybody() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}
