//! What is kept from whom: secrets in memory, in the log and in swap, and the server from its own browsers.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pilotlight_api::SessionState;
use pilotlight_testkit::harness::{DevTools, Role, Server, copies_in_memory, expect_that, wait_for};
use pilotlight_testkit::portal::{PASSWORD, Portal, PortalOptions};
use serde_json::{Value, json};

use crate::support::{SOON, TestEnv, account, options, path, test_env, test_env_with, with};

/// An ordinary user that every Linux has, and its group.
const NOBODY: u32 = 65534;

/// How often these texts are in the memory of a process. It takes a while, in which connections may close.
async fn copies(pid: i32, texts: [&'static str; 3]) -> BTreeMap<String, usize> {
    tokio::task::spawn_blocking(move || copies_in_memory(pid, &texts)).await.unwrap()
}

#[tokio::test]
async fn what_is_secret_is_wiped_from_memory_once_it_is_not_needed() {
    const TOTP: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    const PROXY_PASSWORD: &str = "swordfish-of-the-proxy";
    if !rustix::process::geteuid().is_root() {
        println!("not root: nobody else may look into the server's memory");
        return;
    }
    let env = test_env().await;
    let server = env.server.server_pid();
    let credential = json!({ "username": "stored", "password": PASSWORD, "totp_secret": TOTP });
    let created = env.client().request(reqwest::Method::PUT, "/credentials/c").json(&credential);
    let created = env.client().send(created).await;
    assert!((200..300).contains(&created.status), "{}", created.body);
    let first = env.sign_in("acme").await;
    let second = env.client().create(&json!({ "site": "portal", "credential": "c" })).await;
    let proxy = json!({ "server": "http://127.0.0.1:1", "username": "u", "password": PROXY_PASSWORD });
    // Chromium goes to this machine without it, so that the session stands.
    let third = env.client().create(&with(account("proxied"), json!({ "proxy": proxy }))).await;
    let texts = [PASSWORD, TOTP, PROXY_PASSWORD];
    let needed = copies(server, texts).await;
    println!("while they are needed: {needed:?}");
    assert!(needed[PASSWORD] > 0, "the search finds nothing at all");
    for session in [&first, &second, &third] {
        env.client().delete(&path(session, "")).await.expect(200);
    }
    env.client().delete("/credentials/c").await.expect(200);
    let shims: Vec<i32> = env.server.shims().iter().map(|one| one.shim.id).collect();
    wait_for("secrets to be gone from memory", SOON, async || {
        // Buffers of connections hold what came last until something else comes.
        env.client().get("/sessions").await.expect(200);
        let mut left = Vec::new();
        for &pid in shims.iter().chain([&server]) {
            left.push(copies(pid, texts).await);
        }
        expect_that(left.iter().all(|left| left.values().sum::<usize>() == 0), left)
    })
    .await;
}

#[tokio::test]
async fn no_process_of_its_user_looks_into_the_server_and_nothing_dumps_its_core() {
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let server = Server::start(options().site("portal", portal.site()).as_user(NOBODY)).await;
    let env = TestEnv { server, portal };
    env.sign_in("acme").await;
    let (server, shim) = (env.server.server_pid(), env.server.shims()[0].shim.id);
    let browsers = env.server.processes().into_iter().filter(|one| one.role() != Role::Other);
    let all: Vec<i32> = browsers.map(|one| one.id).chain([server, shim]).collect();
    assert!(all.len() > 3);
    for pid in all {
        // Chromium starts and ends processes as it likes.
        let Ok(limits) = fs::read_to_string(format!("/proc/{pid}/limits")) else { continue };
        let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(
            cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
            ["0", "0"],
            "{pid}: {cores}"
        );
    }
    if !rustix::process::geteuid().is_root() {
        println!("not root: this test is the user that may not look");
    }
    for pid in [server, shim] {
        let mut look = Command::new("/bin/cat");
        look.arg(format!("/proc/{pid}/environ"));
        if rustix::process::geteuid().is_root() {
            use std::os::unix::process::CommandExt;
            look.uid(NOBODY).gid(NOBODY);
        }
        let looked = look.output().unwrap();
        assert!(!looked.status.success(), "{pid} can be looked into");
    }
}

#[tokio::test]
async fn what_pages_say_on_their_consoles_is_not_in_the_log() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    let script = "console.log('marker-7713'); console.error('one\\nmarker-7713 two\\n\
        [1:1:0101/000000.000001:FATAL:zygote_host_impl_linux.cc:129] No usable sandbox! marker-7713'); 1";
    env.client().evaluate(&session, script).await;
    env.server.shims()[0].browser.kill();
    wait_for("the end to be logged", SOON, async || {
        let log = env.server.log();
        expect_that(log.contains("browser ended"), log)
    })
    .await;
    env.reaches(&session, SessionState::Ready).await;
    let log = env.server.log();
    assert!(!log.contains("marker-7713") && !log.contains("sandbox is not possible"), "{log}");
}

/// Downloads are written by the browser itself, into a folder of the session.
#[tokio::test]
async fn downloads_come_through_whichever_browser_a_session_has() {
    let env = test_env().await;
    let session = env.sign_in("acme").await;
    for (name, moved) in [("first.txt", false), ("second.txt", true)] {
        if moved {
            env.is_free(&session).await;
            let before = env.client().session(&session).await.shard;
            env.order(&session, "/hibernate").await;
            // A browser without windows ends by itself, too.
            for browser in env.server.shims().into_iter().map(|one| one.browser) {
                browser.kill_if_alive();
            }
            // Until the server has heard of that end, it may wake the session there, and loses its window again.
            wait_for("another browser", SOON, async || {
                env.client().post_nothing(&path(&session, "/wake")).await;
                let now = env.client().session(&session).await;
                expect_that(now.state == SessionState::Ready && now.shard != before, now)
            })
            .await;
        }
        let url = env.client().session(&session).await.cdp_url.unwrap();
        let mut client = DevTools::connect(&url, Some(env.client().token())).await.unwrap();
        let page = client.first_page().await;
        let behavior = json!({ "behavior": "allow", "downloadPath": "/tmp" });
        client.call(None, "Browser.setDownloadBehavior", behavior).await;
        let script = format!(
            "const link = document.createElement('a'); link.download = '{name}';
            link.href = URL.createObjectURL(new Blob(['content'])); document.body.append(link); link.click()"
        );
        client.evaluate(&page, &script).await;
        let wanted = format!("/files/{name}");
        wait_for("the download", SOON, async || {
            let got = env.client().get(&path(&session, &wanted)).await;
            expect_that(got.status == 200 && got.bytes == b"content", (got.status, got.bytes.len()))
        })
        .await;
        // As long as it is held, it does not hibernate.
        drop(client);
        env.is_free(&session).await;
    }
    let files = env.client().get(&path(&session, "/files")).await.expect(200);
    assert!(files.body.to_string().contains("first.txt"), "{}", files.body);
}

/// Swap of this test's own. Switched off when it is dropped.
struct Swap(PathBuf);

impl Swap {
    fn on(place: &Path) -> Self {
        for program in ["mkswap", "swapon"] {
            let done = Command::new(program).arg(place).output().unwrap();
            assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
        }
        Self(place.into())
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        drop(Command::new("swapoff").arg(&self.0).status());
    }
}

/// How much of a server's browsers is swapped, in KiB.
fn swapped(env: &TestEnv) -> u64 {
    let browsers = env.server.processes().into_iter().filter(|process| process.role() != Role::Other);
    let swapped = browsers.filter_map(|process| {
        let status = fs::read_to_string(format!("/proc/{}/status", process.id)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmSwap:"))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    });
    swapped.sum()
}

#[tokio::test]
async fn downloads_of_a_session_without_a_window_belong_to_no_browser() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: all browsers have the server's user");
        return;
    }
    let mut env = test_env().await;
    let session = env.sign_in("acme").await;
    let downloads = env.server.state_dir().join(format!("files/{}/d", session.session_id));
    let owner = || fs::metadata(&downloads).unwrap().uid();
    let is_owned_by_none = async |when: &str| {
        wait_for(&format!("the downloads to belong to no browser {when}"), SOON, async || {
            expect_that(owner() == 0, owner())
        })
        .await;
    };
    let visit = async |env: &TestEnv| {
        let url = session.cdp_url.as_deref().unwrap();
        drop(DevTools::connect(url, Some(env.client().token())).await.unwrap());
        env.is_free(&session).await;
    };
    visit(&env).await;
    assert_ne!(owner(), 0);
    env.order(&session, "/hibernate").await;
    is_owned_by_none("while it hibernates").await;
    env.order(&session, "/wake").await;
    visit(&env).await;
    let user = owner();
    assert_ne!(user, 0, "a browser could not write there");
    // An earlier version left them as they were, and so does one that is killed.
    env.order(&session, "/hibernate").await;
    is_owned_by_none("while it hibernates again").await;
    env.server.kill_server();
    std::os::unix::fs::chown(&downloads, Some(user), Some(user)).unwrap();
    env = TestEnv { server: env.server.start_again().await, portal: env.portal };
    is_owned_by_none("after a start").await;
    drop(env);
}

#[tokio::test]
#[ignore = "switches swap on and off for the whole machine: as root, by hand"]
async fn windows_are_moved_to_compressed_memory_and_not_to_a_disk_in_the_clear() {
    const SIZE: u64 = 256 << 20;
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let file = folder.path().join("swap");
    let blocks = format!("count={}", SIZE >> 20);
    let mut make = Command::new("dd");
    make.args(["if=/dev/zero", "bs=1M", &blocks]).arg(format!("of={}", file.display()));
    assert!(make.output().unwrap().status.success());
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let frozen = async |config: &str| {
        let env = test_env_with(config, PortalOptions::default()).await;
        let session = env.sign_in("acme").await;
        env.order(&session, "/freeze").await;
        env
    };
    {
        let _swap = Swap::on(&file);
        let env = frozen("").await;
        // What stands still later and may go anywhere says when it would have been this one's turn.
        let other = frozen("[chromium]\npage_out = \"any\"").await;
        wait_for("windows to be moved out", SOON * 2, async || {
            expect_that(swapped(&other) > 1000, swapped(&other))
        })
        .await;
        assert_eq!(swapped(&env), 0, "a window is on the disk");
        let doctor = env.client().get("/doctor").await.expect(200).body;
        let checks = doctor["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == "sealed_swap").unwrap();
        assert_eq!(check["state"], "missing", "{check}");
        assert!(check["fix"].as_str().unwrap().contains("swapoff"), "{check}");
        let told: Value = doctor["reclaiming"].clone();
        assert!(told.as_str().unwrap().contains("in the clear"), "{told}");
    }
    fs::write("/sys/block/zram0/disksize", SIZE.to_string()).unwrap();
    let zram = Swap::on(Path::new("/dev/zram0"));
    let env = frozen("").await;
    wait_for("windows to be moved out", SOON * 2, async || expect_that(swapped(&env) > 1000, swapped(&env)))
        .await;
    drop((env, zram));
    fs::write("/sys/block/zram0/reset", "1").unwrap();
}
