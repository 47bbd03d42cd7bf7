//! The dashboard in a real browser: people's side of it is in `web/tests`, the server and its windows are here.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use pilotlight_testkit::portal::PortalOptions;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::{TestEnv, account, test_env_with, with};

/// How long one script may take.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(180);

fn web() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web")
}

/// A link that signs a person in.
async fn link(env: &TestEnv) -> String {
    env.server.command(&["dashboard"], "").await.expect(0).stdout.trim().to_owned()
}

/// Runs a script of `web/tests`, and does to the server what it asks for.
async fn script(name: &str, mut env: TestEnv) -> TestEnv {
    let mut command = Command::new("node");
    command.arg(web().join("tests").join(name)).kill_on_drop(true);
    command.env("PILOTLIGHT_URL", format!("http://{}", env.server.address()));
    command.env("PILOTLIGHT_LINK", link(&env).await).env("PORTAL_URL", env.portal.url());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut node = command.spawn().expect("Node.js is needed: scripts/set-up tests installs it");
    let mut stdin = node.stdin.take().unwrap();
    let mut lines = BufReader::new(node.stdout.take().unwrap()).lines();
    let running = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            match line.strip_prefix("@ ") {
                None => println!("{name}: {line}"),
                Some("restart") => {
                    env.server.kill_server();
                    env.server = env.server.start_again().await;
                    stdin.write_all(b"done\n").await.unwrap();
                }
                Some(wish) => {
                    let session = wish.strip_prefix("create ").expect("a known wish");
                    env.window(session, json!({})).await;
                    stdin.write_all(b"done\n").await.unwrap();
                }
            }
        }
        (node.wait().await.unwrap(), env)
    };
    let (status, env) = timeout(SCRIPT_TIMEOUT, running).await.expect("the script does not end");
    assert!(status.success(), "{name}: {status}");
    env
}

#[tokio::test]
async fn people_see_and_steer_all_sessions() {
    let env = test_env_with("", PortalOptions::default()).await;
    let one = with(account("one"), json!({ "name": "one" }));
    env.client().create(&one).await;
    for name in ["two", "three"] {
        env.window(name, json!({})).await;
    }
    script("overview.mjs", env).await;
}

#[tokio::test]
async fn people_look_into_a_window_and_steer_it() {
    script("live.mjs", test_env_with("", PortalOptions::default()).await).await;
}

#[tokio::test]
async fn people_run_operations_and_go_on_with_them() {
    let env = test_env_with("", PortalOptions::default()).await;
    env.client().create(&with(account("ada"), json!({ "name": "ada" }))).await;
    let env = script("operations.mjs", env).await;
    let bookings = env.portal.bookings();
    assert_eq!(bookings.len(), 1, "{bookings:?}");
    assert_eq!((&*bookings[0].truck_plate, bookings[0].own_chassis), ("B-HG 77", true));
}

#[tokio::test]
async fn five_hundred_sessions_are_no_burden() {
    let mut node = Command::new("node");
    node.arg(web().join("tests/many.mjs")).kill_on_drop(true);
    let output = timeout(SCRIPT_TIMEOUT, node.output()).await.expect("the script does not end");
    let output = output.expect("Node.js is needed: scripts/set-up tests installs it");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
