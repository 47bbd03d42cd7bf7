//! Real clients, unmodified, as npm and PyPI have them: each does a script's work in a session that is signed in,
//! leaves, and comes again. The scripts are in `tests/clients`; `scripts/set-up tests` installs what they need.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use pilotlight_api::Session;
use pilotlight_testkit::harness::Server;
use pilotlight_testkit::portal::{Portal, PortalOptions};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::{TestEnv, options};

/// How long one script may take.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(180);
/// What is uploaded.
const UPLOAD: &str = "hello upload";

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

fn python() -> PathBuf {
    scripts().join(".venv/bin/python")
}

/// Runs a script to its good end.
pub(crate) async fn run(program: &Path, script: &str, arguments: &[&str], temporary: &Path) {
    run_within(SCRIPT_TIMEOUT, program, script, arguments, temporary).await;
}

/// Runs a script to its good end, which may take so long.
pub(crate) async fn run_within(
    limit: Duration,
    program: &Path,
    script: &str,
    arguments: &[&str],
    temporary: &Path,
) {
    let mut command = Command::new(program);
    // Playwright expects its downloads in a folder that it makes there.
    command.env("TMPDIR", temporary);
    command.arg(scripts().join(script)).args(arguments).kill_on_drop(true).stdin(Stdio::null());
    let output = timeout(limit, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{script} does not end"));
    let output = output.unwrap_or_else(|error| {
        panic!("{} cannot be started ({error}): `scripts/set-up tests` installs it", program.display())
    });
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned());
    assert!(output.status.success(), "{script}: {}\n{}{}", output.status, said[0], said[1]);
    assert!(said[0].ends_with("done\n"), "{script} left off: {said:?}");
    print!("{script}: {}", said[0]);
}

/// Runs a script in a session of `user`: afterwards its page is there, with its state, and there is no hold.
async fn works(
    program: &Path,
    script: &str,
    user: &str,
    reached_by: impl FnOnce(&TestEnv, &Session) -> [String; 2],
) {
    // The server's operator decides which files of the machine a client may name.
    let folder = tempfile::tempdir().unwrap();
    let shared = format!("local_folders = [\"{}\"]", folder.path().display());
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let server = Server::start(options().server_config(&shared).site("portal", portal.site())).await;
    let env = TestEnv { server, portal };
    let session = env.sign_in(user).await;
    let [url, key] = reached_by(&env, &session);
    let file = folder.path().join("upload.txt");
    std::fs::write(&file, UPLOAD).unwrap();
    let downloads = folder.path().join("downloads");
    std::fs::create_dir(&downloads).unwrap();
    let [file, downloads] = [&file, &downloads].map(|path| path.to_str().unwrap());
    run(program, script, &[&url, &key, user, file, downloads], folder.path()).await;
    env.is_free(&session).await;
    assert_eq!(env.client().evaluate(&session, "window.kept").await, user);
    assert_eq!(env.client().session(&session).await.tabs, 1, "it closed what it had opened");
    env.each_signed_in_once();
}

pub(crate) fn session_url(env: &TestEnv, session: &Session) -> [String; 2] {
    let url = format!("http://{}/sessions/{}", env.server.address(), session.session_id);
    [url, env.client().token().to_owned()]
}

pub(crate) fn cdp_url(env: &TestEnv, session: &Session) -> [String; 2] {
    [session.cdp_url.clone().unwrap(), env.client().token().to_owned()]
}

pub(crate) fn server_url(env: &TestEnv, session: &Session) -> [String; 2] {
    let url = format!("http://pilotlight:{}@{}", env.client().token(), env.server.address());
    [url, session.session_id.to_string()]
}

#[tokio::test]
async fn playwright_works_in_a_session_and_finds_it_again() {
    works("node".as_ref(), "playwright.js", "playwright", session_url).await;
}

#[tokio::test]
async fn playwright_for_python_works_in_a_session_and_finds_it_again() {
    works(&python(), "playwright_client.py", "playwright-python", session_url).await;
}

#[tokio::test]
async fn playwright_mcp_works_in_a_session_and_finds_it_again() {
    works("node".as_ref(), "playwright_mcp.js", "playwright-mcp", session_url).await;
}

#[tokio::test]
async fn puppeteer_works_in_a_session_and_finds_it_again() {
    works("node".as_ref(), "puppeteer.js", "puppeteer", cdp_url).await;
}

#[tokio::test]
async fn selenium_for_python_works_in_a_session_and_finds_it_again() {
    works(&python(), "selenium_client.py", "selenium-python", server_url).await;
}

#[tokio::test]
async fn selenium_works_in_a_session_and_finds_it_again() {
    works("node".as_ref(), "selenium.js", "selenium", server_url).await;
}

/// What users are shown is what is run here.
#[test]
fn every_line_of_the_documentation_is_run() {
    let documentation = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/clients.md");
    let documentation = std::fs::read_to_string(documentation).unwrap();
    let scripts: String = std::fs::read_dir(scripts())
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
        .collect();
    let lines = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    let run = lines(&scripts);
    let shown: Vec<_> = documentation.lines().filter(|line| line.starts_with("    ")).collect();
    assert!(shown.len() >= 3, "{shown:?}");
    for line in shown {
        assert!(run.contains(&line.trim().to_owned()), "no client runs this line: {line}");
    }
}
