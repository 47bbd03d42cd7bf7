//! Whatever ends by force while an operation is on its way: it books once, or says that nobody knows.

use std::time::Duration;

use pilotlight_api::{OperationAnswer, OperationStatus, SessionState};
use pilotlight_testkit::harness::{expect_that, wait_for};
use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;

use super::browsers::{STORED_WITHIN, kill_browsers};
use super::{Chance, PATIENCE, rounds};
use crate::operations::{begin_with_key, everything, go_on, stands_ready, waiting};
use crate::support::{house, path};

/// About as long as an operation takes.
const LONGEST: Duration = Duration::from_secs(5);
const SHORT_ROUNDS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_waits_goes_on_in_another_browser() {
    let house = house().await;
    let session = house.sign_in("ada").await;
    let operation = waiting(&house, &session).await;
    sleep(STORED_WITHIN).await;
    kill_browsers(&house);
    wait_for("another window", PATIENCE, async || {
        let now = house.client().session(&session).await;
        expect_that(now.state == SessionState::Ready && now.shard != session.shard, now)
    })
    .await;
    let plate = json!({ "truck_plate": "B-HG 77" });
    go_on(&house, &operation, plate).await.expect(200);
    assert_eq!((house.portal.bookings().len(), house.portal.sign_ins("ada")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_books_once_however_often_the_server_is_killed() {
    let mut chance = Chance::new();
    let mut house = house().await;
    let session = house.sign_in("ada").await;
    for round in rounds(SHORT_ROUNDS) {
        let before = house.portal.bookings().len();
        let key = format!("round-{round}");
        let client = house.client().clone();
        let request = client.request(Method::POST, &path(&session, "/operations"));
        let body = json!({ "operation": "make_appointment", "inputs": everything() });
        let request = request.header("Idempotency-Key", &key).json(&body);
        let begun = tokio::spawn(async move { drop(client.try_send(request).await) });
        sleep(chance.moment(LONGEST)).await;
        house.server.kill_server();
        begun.await.unwrap();
        house.server = house.server.start_again().await;
        house.reaches(&session, SessionState::Ready).await;
        let answer = begin_with_key(&house, &session, everything(), &key).await;
        let operation: OperationAnswer = answer.typed();
        let booked = house.portal.bookings().len() - before;
        println!("round {round}: {} {}, {booked} booked", answer.status, operation.status.as_str());
        match operation.status {
            OperationStatus::Done => assert_eq!(booked, 1),
            OperationStatus::Failed => {
                assert_eq!(answer.refusal(), (500, "operation_interrupted"));
                assert!(booked <= 1);
            }
            other => panic!("{other:?}: {}", answer.body),
        }
        stands_ready(&house, &session).await;
    }
}
