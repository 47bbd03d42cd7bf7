//! `pilotlight demo`: what people see first.

use std::path::Path;
use std::process::Stdio;

use pilotlight_testkit::harness::{Server, descendants, wait_until_gone};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::support::{SOON, options};

/// A demo that has told everything that it tells.
struct Demo {
    process: Child,
    told: String,
}

impl Demo {
    async fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pilotlight"));
        command.arg("demo").args(arguments).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut told = String::new();
        while !told.contains("Ctrl-C") {
            let line =
                timeout(SOON, lines.next_line()).await.unwrap_or_else(|_| panic!("no more is told:\n{told}"));
            told += &line.unwrap().unwrap_or_else(|| panic!("the demo ended:\n{told}"));
            told.push('\n');
        }
        Self { process, told }
    }

    fn id(&self) -> i32 {
        i32::try_from(self.process.id().unwrap()).unwrap()
    }

    /// Sends what Ctrl-C sends, and waits for the end.
    async fn stop(mut self) {
        kill_process(Pid::from_raw(self.id()).unwrap(), Signal::INT).unwrap();
        let status = timeout(SOON, self.process.wait()).await.expect("Ctrl-C does not end it").unwrap();
        assert!(status.success(), "{status}");
    }
}

#[tokio::test]
async fn the_demo_signs_three_windows_in_pings_one_and_ends_with_ctrl_c() {
    let folder = tempfile::Builder::new().permissions(everybody()).tempdir().unwrap();
    let demo = Demo::start(folder.path(), &["--listen", "127.0.0.1:0", "--state-dir", "state"]).await;
    let told = &demo.told;
    assert_eq!(told.matches(" is ready after ").count(), 3, "{told}");
    assert!(told.contains("Pinged ") && told.contains("curl -X POST"), "{told}");
    let processes = descendants(demo.id());
    assert!(!processes.is_empty());
    demo.stop().await;
    wait_until_gone(&processes, SOON).await;
}

#[tokio::test]
async fn the_demo_leaves_the_servers_sessions_alone_and_the_commands_find_it() {
    let mut server = Server::start(options()).await;
    let page = Portal::start(PortalOptions::default()).await.unwrap();
    let wanted =
        json!({ "url": format!("{}login", page.url()), "name": "precious", "never_terminate": true });
    let precious = server.client().create(&wanted).await;
    let token = server.command(&["token"], "").await.expect(0).stdout;
    assert_eq!(server.terminate().await, 0);

    let demo = Demo::start(server.folder(), &["--windows", "1"]).await;
    let listed = server.command(&["list"], "").await.expect(0).stdout;
    assert!(listed.contains("demo-1") && !listed.contains("precious"), "{listed}");
    let demo_token = server.command(&["token"], "").await.expect(0).stdout;
    assert_ne!(demo_token, token, "the demo has the server's own token");
    let portal = demo.told.split("The demo portal is ").nth(1).unwrap().split(' ').next().unwrap();
    server.command(&["open", "--url", portal, "--name", "visitor"], "").await.expect(0);
    demo.stop().await;
    assert_eq!(server.command(&["token"], "").await.expect(0).stdout, token);

    let server = server.start_again().await;
    let names: Vec<_> = server
        .client()
        .sessions()
        .await
        .into_iter()
        .map(|session| (session.name, session.session_id))
        .collect();
    assert_eq!(names, [(precious.name, precious.session_id)]);
    server.command(&["list"], "").await.expect(0);
}

#[tokio::test]
async fn a_demo_that_was_killed_leaves_nothing_in_a_servers_way() {
    let server = Server::start(options()).await;
    let token = server.command(&["token"], "").await.expect(0).stdout;
    let mut demo = Demo::start(server.folder(), &["--windows", "1", "--listen", "127.0.0.1:0"]).await;
    let at = demo.told.split("The server is ").nth(1).unwrap().split(".\n").next().unwrap().to_owned();
    // Beside a server that runs, too, each is asked with its own token.
    let listed = server.command(&["list", "--server", &at], "").await.expect(0).stdout;
    assert!(listed.contains("demo-1"), "{listed}");
    let listed = server.command(&["list"], "").await.expect(0).stdout;
    assert!(!listed.contains("demo-1"), "{listed}");
    let left = descendants(demo.id());
    demo.process.kill().await.unwrap();
    assert_eq!(server.command(&["token"], "").await.expect(0).stdout, token);
    server.command(&["list"], "").await.expect(0);
    left.iter().for_each(|process| {
        process.kill_if_alive();
    });
}

/// Browsers may run as another user, who must come through the folder.
fn everybody() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}
