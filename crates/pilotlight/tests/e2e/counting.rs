//! A portal that counts, for a while: refreshes, windows that stand still, are put away, lose their browsers, and
//! servers that are killed. In the end it has heard of nothing but GETs that no client asked for, and of one
//! sign-in each.
//!
//! `make counting` runs it for an hour; in the ordinary run it is short.

use std::time::Duration;

use pilotlight_api::{Session, SessionState};
use pilotlight_testkit::harness::{Process, Role, expect_that, wait_for};
use pilotlight_testkit::portal::PortalOptions;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::chaos::{Chance, PATIENCE};
use crate::support::{TestEnv, account, path, test_env_with, with};

const SHORT_RUN: Duration = Duration::from_secs(40);
/// How often each session is refreshed.
const REFRESH_INTERVAL_SECONDS: u64 = 5;
/// The longest between two things that befall the sessions.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a session shows, and what its client has sent to come there.
struct Kept {
    session: Session,
    user: &'static str,
    sent: Vec<&'static str>,
    /// Whether it is refreshed at all.
    is_refreshed: bool,
}

/// Pages that a form made, pages with something typed in them, and pages that only show something.
const USERS: [(&str, &str, bool); 8] = [
    ("order", "order", true),
    ("order-cold", "order", false),
    ("moved", "moved", true),
    ("kept", "kept", true),
    ("fields", "", true),
    ("fields-cold", "", false),
    ("put", "put", true),
    ("home", "", true),
];

fn counting_time() -> Duration {
    let seconds = std::env::var("PILOTLIGHT_COUNTING_SECONDS").ok();
    let seconds = seconds.map(|seconds| seconds.parse().expect("PILOTLIGHT_COUNTING_SECONDS is no number"));
    seconds.map_or(SHORT_RUN, Duration::from_secs)
}

async fn begin(env: &TestEnv) -> Vec<Kept> {
    let mut all = Vec::new();
    for (user, button, is_refreshed) in USERS {
        let interval = if is_refreshed { REFRESH_INTERVAL_SECONDS } else { 0 };
        let body = with(account(user), json!({ "refresh_interval": interval }));
        let session = env.client().create(&body).await;
        let mut sent = Vec::new();
        if user != "home" {
            env.go(&session, "sending").await;
        }
        match button {
            "order" => {
                env.press(&session, button, "sending/order").await;
                sent.push("POST /sending/order item=truck");
            }
            "moved" => {
                env.press(&session, button, "sending/order").await;
                sent.extend(["POST /sending/moved item=crane", "POST /sending/order item=crane"]);
            }
            "kept" => {
                env.press(&session, button, "sending/list").await;
                sent.push("POST /sending/kept item=barge");
            }
            "put" => {
                env.client().evaluate(&session, "void document.getElementById('put').click()").await;
                sent.push("PUT /sending/act item");
            }
            _ if user.starts_with("fields") => {
                env.client().evaluate(&session, crate::sending::FILL).await;
            }
            _ => {}
        }
        all.push(Kept { session, user, sent, is_refreshed });
    }
    all
}

/// Asks for something that sends nothing; whether it can be had at the moment is of no account.
async fn ask(env: &TestEnv, kept: &Kept, below: &str, body: &Value) {
    let request = env.client().request(reqwest::Method::POST, &path(&kept.session, below)).json(body);
    if let Ok(answer) = env.client().try_send(request).await {
        assert!(answer.status < 500 || matches!(answer.status, 502..=504), "{below}: {}", answer.body);
    }
}

fn kill(env: &TestEnv, role: Role) {
    let of_role = env.server.processes().into_iter().filter(|process| process.role() == role);
    for process in of_role {
        let _: bool = Process::kill_if_alive(&process);
    }
}

async fn all_stand(env: &TestEnv) {
    wait_for("all sessions to stand", PATIENCE, async || {
        let sessions = env.client().sessions().await;
        let stands = |session: &Session| {
            matches!(session.state, SessionState::Ready | SessionState::Frozen | SessionState::Hibernated)
        };
        expect_that(sessions.len() == USERS.len() && sessions.iter().all(stands), sessions)
    })
    .await;
}

/// What the portal has heard of each user, apart from GETs.
fn check(env: &TestEnv, all: &[Kept]) {
    let sent = env.portal.sent();
    for kept in all {
        assert_eq!(sent.lines_of(kept.user), kept.sent, "{}", kept.user);
        let counts = env.portal.counts(kept.user);
        assert_eq!((counts.sign_ins, counts.failed_sign_ins), (1, 0), "{}: {counts:?}", kept.user);
    }
    let of_nobody = sent.lines_of("");
    assert!(of_nobody.iter().all(|line| line == "POST /login"), "{of_nobody:?}");
    assert_eq!((of_nobody.len(), sent.forgotten), (USERS.len(), 0));
}

#[tokio::test]
async fn counting_portals_hear_of_nothing_that_no_client_asked_for() {
    let mut chance = Chance::new();
    let time = counting_time();
    let config = "[limits]\nmax_live = 40\nwindows_per_browser = 4\n[sessions]\nrefresh_check = \"1s\"";
    let mut env = test_env_with(config, PortalOptions::default()).await;
    let all = begin(&env).await;
    let gets = env.portal.sent().gets;
    let end = Instant::now() + time;
    let mut befell = [0_u64; 8];
    while Instant::now() < end || befell.contains(&0) {
        sleep(chance.moment(LONGEST_PAUSE)).await;
        let kept = chance.pick(&all);
        // Each kind at least once, also in a short run.
        let what = match befell.iter().position(|&times| times == 0) {
            Some(never) => never,
            None => usize::try_from(chance.up_to(7)).unwrap(),
        };
        befell[what] += 1;
        match what {
            0 => ask(&env, kept, "/freeze", &json!({})).await,
            1 => ask(&env, kept, "/hibernate", &json!({})).await,
            2 => ask(&env, kept, "/wake", &json!({})).await,
            3 => ask(&env, kept, "/refresh", &json!({})).await,
            4 => ask(&env, kept, "/restart", &json!({})).await,
            5 => kill(&env, Role::Renderer),
            6 => kill(&env, Role::Browser),
            _ => {
                env.server.kill_server();
                env = env.start_again().await.0;
            }
        }
        check(&env, &all);
    }
    all_stand(&env).await;
    // Hibernated sessions are woken once more.
    for kept in &all {
        env.order(&kept.session, "/wake").await;
    }
    all_stand(&env).await;
    check(&env, &all);
    let asked = env.portal.sent().gets - gets;
    let refreshed = all.iter().filter(|kept| kept.is_refreshed).count();
    println!(
        "In {time:?} {befell:?} befell {} sessions, of which {refreshed} are refreshed; the portal got {asked} GETs.",
        all.len()
    );
    assert!(asked > 0, "nothing was refreshed");
}
