//! What stands between a page that has taken Chromium over and everything else of the machine.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use pilotlight_chromium::find::Engine;
use pilotlight_chromium::launch::DirectLauncher;
use pilotlight_chromium::profiles::Profile;
use pilotlight_chromium::{Browser, BrowserEvent, Format, StartError};
use serde_json::json;

use crate::portal::Server;
use crate::support::{Fixture, LIMIT, kill_hard, plan, processes_naming, run_directory};

const WEBGL: &str = "document.createElement('canvas').getContext('webgl') === null \
    && document.createElement('canvas').getContext('webgl2') === null";

/// One line of `/proc/PID/status`, without its name.
fn status(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_software_renderer_is_in_the_browser_process() {
    let portal = Server::portal().await;
    let fixture = Fixture::start().await;
    let window = fixture.window().await;
    window.navigate(&portal.url("/"), LIMIT).await.unwrap();
    assert_eq!(window.evaluate(WEBGL, LIMIT).await.unwrap(), json!(true), "pages have WebGL");
    // Pages are drawn all the same.
    let picture = window.screenshot(Format::Png, false).await.unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 1000);
    let pid = fixture.browser.pid();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    assert!(!maps.contains("swiftshader"), "SwiftShader is in the browser process");
    println!("the browser process has {} of memory", status(pid, "VmRSS"));
    fixture.browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_of_a_browser_can_gain_privileges_and_the_sandbox_stays() {
    let portal = Server::portal().await;
    for engine in [Engine::HeadlessShell, Engine::Headless] {
        let fixture = Fixture::with(Profile::Dense.into(), engine, HashMap::new()).await;
        let window = fixture.window().await;
        window.navigate(&portal.url("/"), LIMIT).await.unwrap();
        let browser = fixture.browser.pid();
        let renderers = window.renderer_pids().await.unwrap();
        assert!(!renderers.is_empty());
        for &pid in renderers.iter().chain([&browser]) {
            assert_eq!(status(pid, "NoNewPrivs"), "1", "{engine}: {pid}");
        }
        let namespace = |pid: u32, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        for &pid in &renderers {
            assert_eq!(status(pid, "Seccomp"), "2", "{engine}: system calls are not filtered");
            for kind in ["user", "pid", "net"] {
                assert_ne!(namespace(pid, kind), namespace(browser, kind), "{engine}: {kind}");
            }
        }
        fixture.browser.close().await;
    }
}

/// Starts a script in Chromium's place and returns what it says.
async fn said_by(script: &str, launcher: &DirectLauncher) -> String {
    let program = run_directory();
    let path = program.path().join("chromium");
    fs::write(&path, format!("#!/bin/sh\n{script}\nexit 7\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let mut scripted = plan(&Profile::Dense.into(), Engine::HeadlessShell, HashMap::new());
    scripted.binary.path = path;
    match Browser::start(launcher, scripted).await.unwrap_err() {
        StartError::Exited { stderr, .. } => stderr.join("\n"),
        error => panic!("{error:?}"),
    }
}

fn open_to_everybody(path: &Path) {
    fs::write(path, "secret").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
}

/// All that is tried here is what the permissions of the files allow.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_reads_the_system_and_writes_into_its_own_folder_alone() {
    let (run, state) = (run_directory(), run_directory());
    let key = state.path().join("master.key");
    open_to_everybody(&key);
    let neighbour = run.path().join("browser-1-1");
    fs::create_dir(&neighbour).unwrap();
    open_to_everybody(&neighbour.join("cookies"));
    fs::set_permissions(state.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let launcher = DirectLauncher::new(run.path().into(), None).unwrap();
    let script = format!(
        "for file in {key} {cookies} /etc/hosts \"$HOME/../d/../h/own\"; do
            [ $file = \"$HOME/../d/../h/own\" ] && echo own > \"$file\"
            cat \"$file\" > /dev/null 2>&1 && echo reads $(basename $file) >&2
        done
        for file in {key} {new} \"$TMPDIR/mine\" /dev/shm/pilotlight-test-$$; do
            ( : >> $file ) 2> /dev/null && echo writes $(basename $file) >&2
        done
        rm -f /dev/shm/pilotlight-test-$$
        echo '#!/bin/sh' > $HOME/run; chmod 700 $HOME/run; $HOME/run 2> /dev/null && echo runs its own >&2
        echo done >&2",
        key = key.display(),
        new = state.path().join("new").display(),
        cookies = neighbour.join("cookies").display(),
    );
    let said = said_by(&script, &launcher).await;
    let mut lines: Vec<&str> = said.lines().collect();
    let shared = lines.iter().position(|line| line.starts_with("writes pilotlight-test-"));
    assert!(shared.is_some(), "{said}");
    lines.remove(shared.unwrap_or_default());
    assert_eq!(lines, ["reads hosts", "reads own", "writes mine", "done"], "{said}");
    assert_eq!(fs::read_to_string(&key).unwrap(), "secret");
}

/// Of a process that it may not look into, a browser learns nothing by `/proc`, whoever it runs as.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_cannot_look_into_other_processes() {
    let run = run_directory();
    // As the same user, so that nothing but the confinement is in the way.
    let is_root = rustix::process::geteuid().is_root();
    let launcher = DirectLauncher::new(run.path().into(), is_root.then_some("nobody")).unwrap();
    let user = launcher.users().helper().map(|user| (user.uid, user.gid));
    let mut victim = std::process::Command::new("/bin/cat");
    victim.env("SECRET", "secret").stdin(std::process::Stdio::piped());
    if let Some((uid, gid)) = user {
        use std::os::unix::process::CommandExt;
        victim.uid(uid).gid(gid);
    }
    let mut victim = victim.spawn().unwrap();
    let pid = victim.id();
    let script = format!(
        "cat /proc/{pid}/environ > /dev/null 2>&1 && echo reads its environment >&2
        cat /proc/{pid}/root/etc/hosts > /dev/null 2>&1 && echo reads its files >&2
        kill -0 {pid} 2> /dev/null && echo signals it >&2
        cat /proc/self/environ > /dev/null && echo reads its own >&2"
    );
    let said = said_by(&script, &launcher).await;
    drop(victim.stdin.take());
    victim.wait().unwrap();
    assert_eq!(said, "reads its own");
}

/// Where we are root. Anybody else has one user for all.
#[tokio::test(flavor = "multi_thread")]
async fn every_browser_has_a_user_of_its_own() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: browsers are of the same user as this test");
        return;
    }
    let run = run_directory();
    let launcher = DirectLauncher::new(run.path().into(), None).unwrap();
    let plan = || plan(&Profile::Dense.into(), Engine::HeadlessShell, HashMap::new());
    let mut browsers = Vec::new();
    for _ in 0..2 {
        browsers.push(Browser::start(&launcher, plan()).await.unwrap());
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let mut users = BTreeSet::new();
    for (browser, _) in &browsers {
        let uid = status(browser.pid(), "Uid").split_whitespace().next().unwrap().to_owned();
        assert!(!passwd.contains(&format!(":{uid}:")), "{uid} has an account");
        users.insert(uid);
    }
    assert_eq!(users.len(), 2, "{users:?}");
    let owners: BTreeSet<String> = fs::read_dir(run.path())
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("browser-") && entry.path().is_dir())
        .map(|entry| entry.metadata().unwrap().uid().to_string())
        .collect();
    assert_eq!(owners, users);
    for (browser, _events) in browsers {
        browser.close().await;
    }
    assert!(fs::read_dir(run.path()).unwrap().next().is_none(), "something is left");
}

/// A process that leaves its browser's group and session is of the browser's user all the same.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_browsers_user_is_left_when_it_has_ended() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: browsers are of the same user as this test");
        return;
    }
    let run = run_directory();
    let launcher = DirectLauncher::new(run.path().into(), None).unwrap();
    let name = run.path().join("escaped").display().to_string();
    let script = format!(
        "setsid sh -c 'echo > $TMPDIR/up; while :; do sleep 1; done' {name} > /dev/null 2>&1 &
        while [ ! -e $TMPDIR/up ]; do sleep 0.01; done"
    );
    said_by(&script, &launcher).await;
    assert_eq!(processes_naming(&name), Vec::<u32>::new());
    assert!(fs::read_dir(run.path()).unwrap().next().is_none(), "something is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_page_says_on_its_console_is_not_among_a_browsers_last_words() {
    let portal = Server::portal().await;
    let script = "for (const say of [console.log, console.warn, console.error, console.debug]) {
        say('marker-7713 one line');
        say('first\\nmarker-7713 second\\n[1:1:0101/000000.000001:FATAL:zygote_host_impl_linux.cc:129] \
            No usable sandbox! marker-7713\\n\\nmarker-7713');
    }";
    for engine in [Engine::HeadlessShell, Engine::Headless] {
        let mut fixture = Fixture::with(Profile::Dense.into(), engine, HashMap::new()).await;
        let window = fixture.window().await;
        window.navigate(&portal.url("/"), LIMIT).await.unwrap();
        window.evaluate(script, LIMIT).await.unwrap();
        window.evaluate("document.title", LIMIT).await.unwrap();
        kill_hard(fixture.browser.pid());
        let BrowserEvent::Exited { stderr, .. } = fixture.event().await else { panic!("it ends") };
        assert!(!stderr.iter().any(|line| line.contains("marker-7713")), "{engine}: {stderr:#?}");
    }
}
