//! Operations keep their place, and book once, whatever happens between their phases.

use std::io::Cursor;
use std::time::{Duration, Instant};

use pilotlight_api::{EventKind, OperationAnswer, OperationStatus, OperationsAnswer, Session, SessionState};
use pilotlight_testkit::harness::{Answer, expect_that, wait_for};
use pilotlight_testkit::portal::DEFAULT_SESSION_TIMEOUT;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{SOON, TestEnv, account, path, test_env, test_env_with, with};

/// All that an appointment needs, but for the plate.
pub(crate) fn without_plate() -> Value {
    json!({ "terminal": "Pier T", "container": "MSKU4822107", "time": "07:30", "own_chassis": true })
}

pub(crate) fn everything() -> Value {
    with(without_plate(), json!({ "truck_plate": "B-HG 77" }))
}

fn appointment(inputs: Value) -> Value {
    json!({ "operation": "make_appointment", "inputs": inputs })
}

async fn begin(env: &TestEnv, session: &Session, inputs: Value) -> Answer {
    env.client().post(&path(session, "/operations"), &appointment(inputs)).await
}

pub(crate) async fn begin_with_key(env: &TestEnv, session: &Session, inputs: Value, key: &str) -> Answer {
    let request = env.client().request(Method::POST, &path(session, "/operations"));
    env.client().send(request.header("Idempotency-Key", key).json(&appointment(inputs))).await
}

pub(crate) fn of(operation: &OperationAnswer) -> String {
    format!("/operations/{}", operation.operation_id)
}

pub(crate) async fn go_on(env: &TestEnv, operation: &OperationAnswer, inputs: Value) -> Answer {
    env.client().post(&of(operation), &json!({ "inputs": inputs })).await
}

/// Begins one that stops at the plate.
pub(crate) async fn waiting(env: &TestEnv, session: &Session) -> OperationAnswer {
    let waiting: OperationAnswer = begin(env, session, without_plate()).await.expect(422).typed();
    assert_eq!(waiting.status, OperationStatus::NeedsInput);
    assert_eq!((waiting.phase, waiting.phases, &*waiting.missing), (2, 3, &["truck_plate".to_owned()][..]));
    assert!(env.client().session(session).await.in_use, "it holds its session while it waits");
    waiting
}

pub(crate) async fn stands_ready(env: &TestEnv, session: &Session) {
    let ready = env.reaches(session, SessionState::Ready).await;
    assert!(!ready.in_use, "nothing holds it any more");
    assert_eq!(env.client().evaluate(session, "!!document.querySelector('#user')").await, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_with_all_inputs_books_once() {
    let env = test_env().await;
    let session = env.sign_in("ada").await;
    let mut events = env.client().events(&path(&session, "/events")).await;
    let done: OperationAnswer = begin(&env, &session, everything()).await.expect(200).typed();
    assert_eq!((done.status, done.success, done.phase), (OperationStatus::Done, true, 3));
    let bookings = env.portal.bookings();
    assert_eq!(bookings.len(), 1, "{bookings:?}");
    let booking = &bookings[0];
    assert_eq!((&*booking.user, &*booking.container), ("ada", "MSKU4822107"));
    assert_eq!((&*booking.truck_plate, &*booking.time), ("B-HG 77", "07:30"));
    assert!(booking.own_chassis, "a boolean is typed as it is meant");
    assert!(done.outputs["confirmation"].to_string().contains(&booking.number), "{:?}", done.outputs);
    assert!(done.outputs["summary"].is_array(), "a table: {:?}", done.outputs);

    // Everything that it made can be had, each by its address, and all together.
    let pass = &done.outputs["gate_pass"];
    let address = format!("http://{}", env.server.address());
    let below = |url: &str| url.strip_prefix(&address).expect("an address of the server").to_owned();
    let file = env.client().get(&below(pass["url"].as_str().unwrap())).await.expect(200);
    assert_eq!(file.bytes.len() as u64, pass["size"], "{pass}");
    assert!(String::from_utf8_lossy(&file.bytes).contains(&booking.number));
    assert_eq!(file.headers["content-disposition"], "attachment");
    assert!(done.screenshots.len() >= 20, "one of every step: {:?}", done.screenshots);
    assert_eq!(done.screenshots[0].step, "1.1");
    let picture = env.client().get(&below(&done.screenshots[0].url)).await.expect(200);
    assert!(picture.bytes.starts_with(b"\x89PNG") && picture.headers["content-type"] == "image/png");
    let bundle = env.client().get(&format!("{}/bundle.zip", of(&done))).await.expect(200);
    let bundle = zip::ZipArchive::new(Cursor::new(bundle.bytes)).unwrap();
    let has = |name: &str| bundle.file_names().any(|found| found == name);
    assert!(has("operation.json") && has(&format!("files/{}", pass["name"].as_str().unwrap())));
    assert!(done.screenshots.iter().all(|screenshot| has(&format!("files/{}", screenshot.name))));
    assert!(done.screenshots.iter().any(|screenshot| screenshot.name == "booked.png"), "a named one");
    // And nothing of it lies in the clear.
    let folder = env.server.state_dir().join("operations").join(done.operation_id.to_string());
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > done.screenshots.len(), "{files:?}");
    for path in files {
        assert!(std::fs::read(&path).unwrap().starts_with(b"PLSF"), "{} is not sealed", path.display());
    }
    for other in ["none.png", "..%2f..%2ftoken", "%2e%2e"] {
        let answer = env.client().get(&format!("{}/files/{other}", of(&done))).await;
        assert_eq!(answer.status, 404, "{other}: {}", answer.body);
    }

    assert_eq!(events.kind(EventKind::OperationStarted, SOON).await.reason, "phase_begins");
    assert_eq!(events.kind(EventKind::OperationEnded, SOON).await.reason, "done");
    stands_ready(&env, &session).await;
    assert_eq!(go_on(&env, &done, json!({})).await.refusal(), (409, "operation_ended"));
    assert_eq!(env.client().delete(&of(&done)).await.refusal(), (409, "operation_ended"));
    let listed: OperationsAnswer = env.client().get("/operations?status=done").await.expect(200).typed();
    assert_eq!(listed.operations, [done]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_input_is_asked_for_and_the_place_is_kept() {
    let env = test_env().await;
    let session = env.sign_in("ada").await;
    let operation = waiting(&env, &session).await;
    assert_eq!(env.portal.bookings(), []);
    // Nothing cuts in while it waits.
    for below in ["/refresh", "/hibernate", "/restart"] {
        let answer = env.client().post_nothing(&path(&session, below)).await;
        assert_eq!(answer.refusal(), (409, "session_in_use"), "{below}");
    }
    let second = begin(&env, &session, everything()).await;
    assert_eq!(second.refusal(), (409, "session_in_use"), "{}", second.body);
    for (inputs, code) in [
        (json!({ "truck_plate": "" }), "invalid_field"),
        (json!({ "plate": "B-HG 77" }), "invalid_field"),
        (json!({ "own_chassis": "perhaps" }), "invalid_field"),
        (json!({}), "needs_input"),
    ] {
        assert_eq!(go_on(&env, &operation, inputs.clone()).await.refusal(), (422, code), "{inputs}");
    }
    let plate = json!({ "truck_plate": "B-HG 77" });
    let done: OperationAnswer = go_on(&env, &operation, plate).await.expect(200).typed();
    assert_eq!((done.operation_id, done.status), (operation.operation_id, OperationStatus::Done));
    assert_eq!(env.portal.bookings().len(), 1);
    stands_ready(&env, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_place_is_kept_where_the_server_is_killed_while_it_waits() {
    let mut env = test_env().await;
    let session = env.sign_in("ada").await;
    let operation = waiting(&env, &session).await;
    env.server.kill_server();
    env.server = env.server.start_again().await;
    let now: OperationAnswer = env.client().get(&of(&operation)).await.expect(200).typed();
    assert_eq!((now.status, now.missing), (OperationStatus::NeedsInput, vec!["truck_plate".to_owned()]));
    let held = env.client().session(&session).await;
    assert!(held.in_use, "its hold outlasts the server");
    assert_eq!(held.holds[0].owner.as_deref(), Some("operation make_appointment"));
    let plate = json!({ "truck_plate": "B-HG 77" });
    let done: OperationAnswer = go_on(&env, &operation, plate).await.expect(200).typed();
    assert_eq!(done.status, OperationStatus::Done);
    assert!(done.screenshots.iter().any(|screenshot| screenshot.step == "1.1"), "of before too");
    assert_eq!(env.portal.bookings().len(), 1);
    stands_ready(&env, &session).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phase_in_which_the_server_is_killed_is_not_repeated() {
    let mut env = test_env().await;
    let session = env.sign_in("ada").await;
    let mut events = env.client().events(&path(&session, "/events")).await;
    let client = env.client().clone();
    let request = client.request(Method::POST, &path(&session, "/operations"));
    let request = request.header("Idempotency-Key", "once").json(&appointment(everything()));
    let begun = tokio::spawn(async move { client.try_send(request).await.is_ok() });
    events.kind(EventKind::OperationStarted, SOON).await;
    env.server.kill_server();
    assert!(!begun.await.unwrap(), "nobody has answered");
    env.server = env.server.start_again().await;
    let listed: OperationsAnswer = env.client().get(&path(&session, "/operations")).await.expect(200).typed();
    assert_eq!(listed.operations.len(), 1);
    let operation = &listed.operations[0];
    assert_eq!(operation.status, OperationStatus::Failed);
    // The same request again is told the same, and does nothing.
    let again = begin_with_key(&env, &session, everything(), "once").await;
    assert_eq!(again.refusal(), (500, "operation_interrupted"));
    assert_eq!(env.portal.bookings(), []);
    stands_ready(&env, &session).await;
    // What a person wants again is another operation.
    begin(&env, &session, everything()).await.expect(200);
    assert_eq!(env.portal.bookings().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_nobody_continues_ends_and_its_session_stays() {
    let env = test_env_with("[sessions]\noperation_timeout = \"2s\"", Default::default()).await;
    let session = env.sign_in("ada").await;
    let mut events = env.client().events(&path(&session, "/events")).await;
    let operation = waiting(&env, &session).await;
    let ended = events.kind(EventKind::OperationEnded, SOON).await;
    assert_eq!(ended.reason, "expired");
    assert!(Some(ended.time) >= operation.expires_at, "{ended:?}: {operation:?}");
    let now: OperationAnswer = env.client().get(&of(&operation)).await.expect(200).typed();
    assert_eq!(now.status, OperationStatus::Expired);
    let plate = json!({ "truck_plate": "B-HG 77" });
    assert_eq!(go_on(&env, &operation, plate).await.refusal(), (409, "operation_ended"));
    stands_ready(&env, &session).await;
    assert_eq!(env.portal.bookings(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_portal_does_not_forget_whoever_waits() {
    // Several times the interval at which the portal hears of the session.
    const PATIENCE: Duration = Duration::from_secs(5);
    // As in `beside`: five minutes where that is wanted.
    let waits = std::env::var("PILOTLIGHT_USED_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let waits = waits.map_or(2 * PATIENCE, Duration::from_secs);
    let env = test_env().await;
    let session = env.client().create(&with(account("ada"), json!({ "refresh_interval": 1 }))).await;
    let operation = waiting(&env, &session).await;
    let before = env.portal.requests("ada");
    wait_for("the portal to hear of the operation", SOON, async || {
        let requests = env.portal.requests("ada");
        expect_that(requests > before, requests)
    })
    .await;
    // The portal is impatient only while the operation waits: how long a phase takes is up to the machine.
    env.portal.set_session_timeout(PATIENCE);
    let since = Instant::now();
    wait_for("longer than the portal's patience", SOON + waits, async || {
        let waited = since.elapsed();
        expect_that(waited > waits, waited)
    })
    .await;
    assert_eq!(env.portal.counts("ada").expired, 0, "the portal forgot the session");
    env.portal.set_session_timeout(DEFAULT_SESSION_TIMEOUT);
    let plate = json!({ "truck_plate": "B-HG 77" });
    go_on(&env, &operation, plate).await.expect(200);
    assert_eq!((env.portal.bookings().len(), env.portal.sign_ins("ada")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_is_not_a_second_one() {
    let mut env = test_env().await;
    let session = env.sign_in("ada").await;
    let (one, other) = tokio::join!(
        begin_with_key(&env, &session, everything(), "key-1"),
        begin_with_key(&env, &session, everything(), "key-1"),
    );
    let (one, other): (OperationAnswer, OperationAnswer) =
        (one.expect(200).typed(), other.expect(200).typed());
    assert_eq!(one, other);
    let reused = begin_with_key(&env, &session, without_plate(), "key-1").await;
    assert_eq!(reused.refusal(), (422, "idempotency_key_reused"));
    env.server.kill_server();
    env.server = env.server.start_again().await;
    let again = begin_with_key(&env, &session, everything(), "key-1").await.expect(200);
    assert_eq!(again.typed::<OperationAnswer>().operation_id, one.operation_id);
    assert_eq!(env.portal.bookings().len(), 1);

    // So it is with the request that goes on.
    let waiting = waiting(&env, &session).await;
    let plate = json!({ "inputs": { "truck_plate": "B-HG 77" } });
    for _ in 0..2 {
        let request = env.client().request(Method::POST, &of(&waiting)).header("Idempotency-Key", "key-2");
        env.client().send(request.json(&plate)).await.expect(200);
    }
    assert_eq!(env.portal.bookings().len(), 2);
    begin_with_key(&env, &session, everything(), "key-3").await.expect(200);
    assert_eq!(env.portal.bookings().len(), 3, "another key is another request");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_signed_out_is_signed_in_first() {
    let env = test_env().await;
    let session = env.sign_in("ada").await;
    env.portal.log_everybody_out();
    begin(&env, &session, everything()).await.expect(200);
    assert_eq!((env.portal.bookings().len(), env.portal.sign_ins("ada")), (1, 2));
    // And one that hibernates comes back for it.
    env.client().post_nothing(&path(&session, "/hibernate")).await.expect(200);
    let moves = json!({ "operation": "moves" });
    let moves = env.client().post(&path(&session, "/operations"), &moves).await.expect(200);
    assert!(moves.body["outputs"]["moves"].as_array().unwrap().len() >= 100, "the whole endless list");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_finds_itself_signed_out_says_so() {
    let env = test_env().await;
    let session = env.sign_in("ada").await;
    // Another client holds the session (shared), so it is not signed in automatically.
    let hold = env.client().post(&path(&session, "/hold"), &json!({ "shared": true })).await.expect(201);
    env.portal.log_everybody_out();
    let moves = json!({ "operation": "moves" });
    let failed = env.client().post(&path(&session, "/operations"), &moves).await;
    assert_eq!(failed.refusal(), (502, "flow_failed"), "{}", failed.body);
    let error = failed.body["error"].as_str().unwrap();
    assert!(error.ends_with("; the portal has signed the session out"), "{error}");
    assert_eq!(env.portal.sign_ins("ada"), 1);
    let hold = path(&session, &format!("/hold/{}", hold.body["hold_id"].as_str().unwrap()));
    env.client().delete(&hold).await.expect(200);
    env.client().post(&path(&session, "/operations"), &moves).await.expect(200);
    assert_eq!(env.portal.sign_ins("ada"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_before_anything_is_clicked() {
    let env = test_env().await;
    let session = env.sign_in("ada").await;
    let below = path(&session, "/operations");
    let unknown = env.client().post(&below, &json!({ "operation": "make_coffee" })).await;
    assert_eq!(unknown.refusal(), (422, "unknown_operation"));
    let wrong = begin(&env, &session, with(everything(), json!({ "container": ["a"] }))).await;
    assert_eq!(wrong.refusal(), (422, "invalid_field"));
    assert!(wrong.body["error"].as_str().unwrap().contains("`inputs.container`"), "{}", wrong.body);
    let hold = env.client().post(&path(&session, "/hold"), &json!({})).await.expect(201);
    assert_eq!(begin(&env, &session, everything()).await.refusal(), (409, "session_in_use"));
    let hold = path(&session, &format!("/hold/{}", hold.body["hold_id"].as_str().unwrap()));
    env.client().delete(&hold).await.expect(200);
    let window = env.window("plain", json!({})).await;
    let none = env.client().post(&path(&window, "/operations"), &appointment(json!({}))).await;
    assert_eq!(none.refusal(), (422, "unknown_operation"));
    let nobody = uuid_path();
    assert_eq!(env.client().get(&nobody).await.refusal(), (404, "operation_not_found"));
    assert_eq!(env.client().get("/operations/none").await.refusal(), (404, "operation_not_found"));
    let listed: OperationsAnswer = env.client().get("/operations").await.expect(200).typed();
    assert_eq!(listed.operations, [], "nothing was begun");
}

fn uuid_path() -> String {
    "/operations/0198c1c2-0000-7000-8000-000000000000".to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_is_told_with_its_picture() {
    let env = test_env().await;
    let session = env.sign_in("ada").await;
    let inputs = with(everything(), json!({ "container": "NOSUCH0000000" }));
    let failed: OperationAnswer = begin(&env, &session, inputs).await.expect(502).typed();
    assert_eq!((failed.status, failed.phase, failed.step), (OperationStatus::Failed, 1, Some(5)));
    assert!(!failed.error.as_ref().unwrap().contains("NOSUCH"), "no value is repeated: {failed:?}");
    assert_eq!(failed.screenshots.last().unwrap().step, "1.5");
    stands_ready(&env, &session).await;

    // One that is given up leaves its session too.
    let operation = waiting(&env, &session).await;
    let given_up: OperationAnswer = env.client().delete(&of(&operation)).await.expect(200).typed();
    assert_eq!(given_up.status, OperationStatus::Cancelled);
    stands_ready(&env, &session).await;

    // And one whose session is closed ends with it.
    let operation = waiting(&env, &session).await;
    env.client().delete(&path(&session, "")).await.expect(200);
    wait_for("its end", Duration::from_secs(10), async || {
        let now: OperationAnswer = env.client().get(&of(&operation)).await.expect(200).typed();
        expect_that(now.status == OperationStatus::Cancelled, now)
    })
    .await;
    assert_eq!(env.portal.bookings(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_runs_and_continues_them() {
    let env = test_env().await;
    let session = env.sign_in("ada").await;
    let id = session.session_id.to_string();
    let run = ["run", &id, "make_appointment", "--input", "time=07:30", "--inputs-file", "-", "-o", "json"];
    let stdin = json!({ "terminal": "Pier T", "container": "MSKU4822107" }).to_string();
    let asked = env.server.command(&run, &stdin).await.expect(1);
    let operation = asked.json()["operation_id"].as_str().unwrap().to_owned();
    let hint = format!("hint: pilotlight continue {operation} --input truck_plate=");
    assert!(asked.stderr.contains(&hint), "{asked:?}");
    let listed = env.server.command(&["operations", &id], "").await.expect(0).stdout;
    assert!(listed.contains("needs_input") && listed.contains("truck_plate"), "{listed}");

    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("all.zip");
    let plate = "truck_plate=B-HG 77";
    let go_on = ["continue", &operation, "--input", plate, "--bundle", bundle.to_str().unwrap()];
    let done = env.server.command(&go_on, "").await.expect(0);
    assert!(done.stdout.contains("confirmation: ") && done.stdout.contains("gate_pass: "), "{done:?}");
    assert!(zip::ZipArchive::new(std::fs::File::open(&bundle).unwrap()).unwrap().len() > 20);
    assert_eq!(env.portal.bookings().len(), 1);

    let asked = env.server.command(&["run", &id, "make_appointment", "-o", "json"], "").await.expect(1);
    let operation = asked.json()["operation_id"].as_str().unwrap().to_owned();
    env.server.command(&["cancel", &operation], "").await.expect(0);
    let refused = env.server.command(&["continue", &operation, "--input", plate], "").await.expect(1);
    assert!(refused.stdout.is_empty() && refused.stderr.contains("hint: "), "{refused:?}");
}
