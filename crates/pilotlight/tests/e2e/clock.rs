//! The system's clock is set while the server runs. Of all that tells the time to a process only the wall clock is
//! set here, and for the server alone: a library before the C library's adds what a file says.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use pilotlight_api::{OperationAnswer, OperationStatus};
use pilotlight_testkit::harness::{Server, ServerOptions, expect_that, wait_for};
use pilotlight_testkit::portal::{Portal, PortalOptions};
use serde_json::json;

use crate::front_door::visitor;
use crate::operations::{of, waiting};
use crate::support::{SOON, TestEnv, options, path};

/// By how much the clock is set, in seconds.
const STEP: i64 = 2 * 60 * 60;
const LONG_STEP: i64 = 30 * 24 * 60 * 60;
/// How much later than it was set anything may be seen.
const SLACK: SignedDuration = SignedDuration::from_mins(10);

const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    const char *path = getenv("AHEAD_FILE");
    if (result == 0 && clock == CLOCK_REALTIME && path) {
        char text[32] = {0};
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) now->tv_sec += atol(text);
            close(file);
        }
    }
    return result;
}
"#;

/// Makes the library.
fn library(folder: &Path) -> PathBuf {
    let (source, library) = (folder.join("ahead.c"), folder.join("ahead.so"));
    std::fs::write(&source, LIBRARY).unwrap();
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output();
    let made = made.expect("a C compiler is needed, as for the server itself");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    library
}

/// What a server is started with whose clock is set by the file that is returned, too.
fn with_clock(folder: &Path) -> (ServerOptions, PathBuf) {
    let ahead = folder.join("ahead");
    std::fs::write(&ahead, "0").unwrap();
    let library = library(folder).display().to_string();
    let options = options().environment("LD_PRELOAD", &library);
    (options.environment("AHEAD_FILE", &ahead.display().to_string()), ahead)
}

/// A folder that browsers of any user may pass through.
fn folder() -> tempfile::TempDir {
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    tempfile::Builder::new().permissions(everybody).tempdir().unwrap()
}

async fn server_time(server: &Server) -> Timestamp {
    let health = server.client().get("/health").await.expect(200);
    health.body["timestamp"].as_str().unwrap().parse().unwrap()
}

fn is_near(time: Timestamp, wanted: Timestamp) -> bool {
    time.duration_since(wanted).abs() < SLACK
}

#[tokio::test]
async fn times_follow_a_clock_that_is_set_and_nothing_expires_for_it() {
    let folder = folder();
    let (options, ahead) = with_clock(folder.path());
    let server = Server::start(options).await;
    let began = server_time(&server).await;
    let page = format!("http://{}/ui", server.address());
    let wanted = json!({ "url": page, "keep_alive": false, "idle_timeout": STEP / 2 });
    let session = server.client().create(&wanted).await;
    assert!(is_near(session.created_at, began));

    for step in [STEP, -STEP] {
        std::fs::write(&ahead, step.to_string()).unwrap();
        let by = SignedDuration::from_secs(step);
        wait_for("the server's time to follow", SOON, async || {
            let now = server_time(&server).await;
            expect_that(is_near(now, began + by), now)
        })
        .await;
        // Twice as long as it may live without use has passed by that clock, and no time at all.
        wait_for("the session's times to follow", SOON, async || {
            let now = server.client().session(&session).await;
            let expires =
                now.expires_at.is_some_and(|at| at.duration_since(now.last_used).as_secs() == STEP / 2);
            expect_that(expires && is_near(now.created_at, session.created_at + by), now)
        })
        .await;
    }
    let mut server = server;
    server.terminate().await;
    let server = server.start_again().await;
    let now = server.client().session(&session).await;
    let by = SignedDuration::from_secs(-STEP);
    assert!(is_near(now.created_at, session.created_at + by), "{now:?}");
    assert!(now.expires_at.is_some_and(|at| at > began + by), "{now:?}");
}

#[tokio::test]
async fn what_waits_and_who_is_inside_is_still_there_after_the_clock_was_set_and_a_restart() {
    let folder = folder();
    let (options, ahead) = with_clock(folder.path());
    let portal = Portal::start(PortalOptions::default()).await.unwrap();
    let server = Server::start(options.site("portal", portal.site())).await;
    let mut env = TestEnv { server, portal };
    let (key, _) = visitor(&env.server).await;
    let session = env.sign_in("ada").await;
    let operation = waiting(&env, &session).await;
    let began = server_time(&env.server).await;
    // Longer than an operation waits, and than a visitor may stay.
    std::fs::write(&ahead, LONG_STEP.to_string()).unwrap();
    let visitors = env.server.state_dir().join("visitors");
    let read = || std::fs::read_to_string(&visitors).unwrap();
    let before = read();
    wait_for("the server's time to follow, and what it has written", SOON, async || {
        let now = server_time(&env.server).await;
        let is_near = is_near(now, began + SignedDuration::from_secs(LONG_STEP));
        expect_that(is_near && read() != before, (now, read()))
    })
    .await;
    // What waited to be written before this is written.
    let patch = json!({ "tags": { "written": "yes" } });
    env.client().patch(&path(&session, ""), &patch).await.expect(200);
    env.server.terminate().await;
    env = TestEnv { server: env.server.start_again().await, portal: env.portal };
    env.client().with_token(&key).get("/sessions").await.expect(200);
    let now: OperationAnswer = env.client().get(&of(&operation)).await.expect(200).typed();
    assert_eq!(now.status, OperationStatus::NeedsInput, "{now:?}");
    let left =
        |operation: &OperationAnswer, now: Timestamp| operation.expires_at.unwrap().duration_since(now);
    let lost = left(&operation, began) - left(&now, server_time(&env.server).await);
    assert!(lost.abs() < SLACK, "{now:?}");
}
