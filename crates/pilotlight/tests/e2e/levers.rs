//! What the machine offers about memory: how much windows take, who goes first, and what the doctor says.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;
use std::time::Duration;

use pilotlight_api::{MemoryMeasure, SessionState};
use pilotlight_testkit::harness::{Role, Server, expect_that, wait_for};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use rustix::process::geteuid;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::{SOON, TestEnv, options, test_env};

/// An ordinary user that every Linux has, and its group.
const NOBODY: u32 = 65534;
const DOCTOR_TIMEOUT: Duration = Duration::from_secs(30);

fn score(id: i32) -> i32 {
    fs::read_to_string(format!("/proc/{id}/oom_score_adj")).unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn memory_is_counted_truly_and_a_page_goes_before_what_keeps_it() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let measured = wait_for("its memory to be measured", SOON, async || {
        let now = env.client().session(&session).await;
        expect_that(now.memory_bytes.is_some_and(|bytes| bytes > 1_000_000), now)
    })
    .await;
    // The tests' server is root, or the browsers' own user: it may look.
    assert_eq!(measured.memory_measure, Some(MemoryMeasure::Proportional));
    assert!(measured.swapped_bytes.is_some());
    let metrics = env.client().get("/metrics").await.expect(200).bytes;
    let metrics = String::from_utf8(metrics).unwrap();
    for name in [
        "pilotlight_windows_memory_bytes{measure=\"proportional\"} ",
        "pilotlight_windows_memory_bytes{measure=\"private\"} 0",
        "pilotlight_windows_swapped_bytes{measure=\"proportional\"} ",
        "pilotlight_memory_available_bytes ",
    ] {
        assert!(metrics.contains(name), "{name} is missing:\n{metrics}");
    }

    let kept = &env.server.shims()[0];
    let processes = env.server.processes();
    let pages = processes.iter().filter(|process| process.role() == Role::Renderer);
    let page = pages.map(|page| score(page.id)).min().unwrap();
    let order = [score(env.server.server_pid()), score(kept.shim.id), score(kept.browser.id)];
    assert!(order.is_sorted_by(|first, second| first < second), "server, shim, browser: {order:?}");
    // Chromium gives its pages 300, whatever the server has.
    assert!(page > order[2] || order[0] >= 100, "server, shim, browser: {order:?}, a page: {page}");
}

#[tokio::test]
async fn without_any_privilege_everything_works() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let server = Server::start(options().site("portal", portal.site()).as_user(NOBODY)).await;
    let env = TestEnv { server, portal };
    let owner = fs::metadata(env.server.state_dir()).unwrap().uid();
    assert_eq!(owner, if geteuid().is_root() { NOBODY } else { geteuid().as_raw() });
    let session = env.sign_in("acme").await;
    env.client().evaluate(&session, "globalThis.kept = 'kept'").await;
    assert_eq!(env.order(&session, "/freeze").await.state, SessionState::Frozen);
    assert_eq!(env.client().evaluate(&session, "kept").await, "kept");
    assert_eq!(env.order(&session, "/hibernate").await.state, SessionState::Hibernated);
    assert_eq!(env.order(&session, "/wake").await.state, SessionState::Ready);
    let measured = wait_for("its memory to be measured", SOON, async || {
        let now = env.client().session(&session).await;
        expect_that(now.memory_bytes.is_some_and(|bytes| bytes > 1_000_000), now)
    });
    assert!(measured.await.memory_measure.is_some());
    env.each_signed_in_once();
}

/// The doctor as an unprivileged user, in a folder that the user can read.
async fn doctor_for_nobody(arguments: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    // Any name but that of the folder in which a configuration would be looked for.
    let program = folder.path().join("program");
    fs::copy(env!("CARGO_BIN_EXE_pilotlight"), &program).unwrap();
    let open = PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path(), open).unwrap();
    let mut command = Command::new(&program);
    command.arg("doctor").args(arguments).current_dir(folder.path()).env_clear().env("PATH", "/usr/bin:/bin");
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(DOCTOR_TIMEOUT, command.output()).await.unwrap().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn the_doctor_measures_how_many_sessions_the_machine_keeps_signed_in() {
    let env = test_env().await;
    let measured = env.server.command(&["doctor", "--measure", "-o", "json"], "").await.expect(0);
    let found = measured.stdout;
    assert!(found.contains("1000 hibernated sessions refreshed every 300 s take "), "{found}");
    assert!(!found.contains(" 0.00 cores"), "{found}");
    let without = env.server.command(&["doctor", "-o", "json"], "").await.expect(0);
    assert!(!without.stdout.contains("\"refreshes\""), "{without:?}");
}

#[tokio::test]
async fn the_doctor_tells_an_ordinary_user_what_is_missing_and_how_to_get_it() {
    let (code, text) = doctor_for_nobody(&["-o", "json"]).await;
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &told["success"]), (0, &Value::Bool(true)), "{text}");
    assert!(told["available_bytes"].as_u64() <= told["memory_bytes"].as_u64());
    let levers = told["checks"].as_array().unwrap();
    for lever in levers {
        assert_eq!(lever["state"] == "present", lever["fix"].is_null(), "{lever}");
        assert!(
            !lever["found"].as_str().unwrap().is_empty() && !lever["benefit"].as_str().unwrap().is_empty()
        );
    }
    let find = |name: &str| levers.iter().find(|lever| lever["name"] == name).unwrap();
    assert_eq!(find("browser")["state"], "present");
    assert_eq!(find("user_namespaces")["state"], "present");
    assert_eq!(find("paging_out")["state"], "missing");
    assert!(find("paging_out")["fix"].as_str().unwrap().contains("AmbientCapabilities=CAP_SYS_NICE"));
    let has_swap = fs::read_to_string("/proc/swaps").unwrap().lines().count() > 1;
    assert!(has_swap || find("compressed_swap")["fix"].as_str().unwrap().contains("zram"));
    assert!(told["reclaiming"].as_str().unwrap().contains("CAP_SYS_NICE"), "{text}");

    let (_, table) = doctor_for_nobody(&[]).await;
    for words in ["CHECK", "paging_out", "missing", "AmbientCapabilities=CAP_SYS_NICE", "Memory: "] {
        assert!(table.contains(words), "{words} is missing:\n{table}");
    }
}
