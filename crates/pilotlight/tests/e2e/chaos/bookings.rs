//! Processes are killed while an operation runs: it books once, or reports that it was interrupted.

use std::time::Duration;

use pilotlight_api::{OperationAnswer, OperationStatus, SessionState};
use pilotlight_testkit::harness::{expect_that, wait_for};
use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;

use super::browsers::{STORED_WITHIN, kill_browsers};
use super::{Chance, PATIENCE, rounds};
use crate::operations::{begin_with_key, everything, go_on, stands_ready, waiting};
use crate::support::{path, test_env};

/// About as long as an operation takes.
const LONGEST: Duration = Duration::from_secs(5);
const SHORT_ROUNDS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_waits_goes_on_in_another_browser() {
    let env = test_env().await;
    let session = env.sign_in("ada").await;
    let operation = waiting(&env, &session).await;
    sleep(STORED_WITHIN).await;
    kill_browsers(&env);
    wait_for("another window", PATIENCE, async || {
        let now = env.client().session(&session).await;
        expect_that(now.state == SessionState::Ready && now.shard != session.shard, now)
    })
    .await;
    let plate = json!({ "truck_plate": "B-HG 77" });
    go_on(&env, &operation, plate).await.expect(200);
    assert_eq!((env.portal.bookings().len(), env.portal.sign_ins("ada")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_books_once_however_often_the_server_is_killed() {
    let mut chance = Chance::new();
    let mut env = test_env().await;
    let session = env.sign_in("ada").await;
    for round in rounds(SHORT_ROUNDS) {
        let before = env.portal.bookings().len();
        let key = format!("round-{round}");
        let client = env.client().clone();
        let request = client.request(Method::POST, &path(&session, "/operations"));
        let body = json!({ "operation": "make_appointment", "inputs": everything() });
        let request = request.header("Idempotency-Key", &key).json(&body);
        let begun = tokio::spawn(async move { drop(client.try_send(request).await) });
        sleep(chance.moment(LONGEST)).await;
        env.server.kill_server();
        begun.await.unwrap();
        env.server = env.server.start_again().await;
        env.reaches(&session, SessionState::Ready).await;
        let answer = begin_with_key(&env, &session, everything(), &key).await;
        let operation: OperationAnswer = answer.typed();
        let booked = env.portal.bookings().len() - before;
        println!("round {round}: {} {}, {booked} booked", answer.status, operation.status.as_str());
        match operation.status {
            OperationStatus::Done => assert_eq!(booked, 1),
            OperationStatus::Failed => {
                assert_eq!(answer.refusal(), (500, "operation_interrupted"));
                assert!(booked <= 1);
            }
            other => panic!("{other:?}: {}", answer.body),
        }
        stands_ready(&env, &session).await;
    }
}
