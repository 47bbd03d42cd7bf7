//! Sessions at the portal's workbench, whose page has state of every kind, and what must be true of them.

use std::collections::BTreeSet;
use std::time::Duration;

use pilotlight_api::{Session, SessionState};
use pilotlight_testkit::harness::{Answer, Client, Role, expect_that, wait_for};
use pilotlight_testkit::portal::Work;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::PATIENCE;
use crate::support::{TestEnv, account, path, with};

/// What a window may have that was closed and brought back, after `value` was written in it.
pub(crate) fn brought_back(value: &str) -> Work {
    Work::written(value, 0).that_is_kept()
}

/// Asks for an expression in a session's page of a server that may be going down.
pub(crate) async fn try_evaluate(
    client: &Client,
    session: &Session,
    expression: &str,
) -> Result<Answer, reqwest::Error> {
    let request = client.request(Method::POST, &path(session, "/evaluate"));
    client.try_send(request.json(&json!({ "expression": expression }))).await
}

pub(crate) fn writing(value: &str) -> String {
    format!("workbench.write({})", json!(value))
}

pub(crate) fn ids(sessions: &[Session]) -> BTreeSet<Uuid> {
    sessions.iter().map(|session| session.session_id).collect()
}

pub(crate) fn has_window(session: &Session) -> bool {
    session.shard.is_some()
}

impl TestEnv {
    pub(crate) fn workbench_url(&self) -> String {
        format!("{}workbench", self.portal.url())
    }

    /// A new session of `user` at the workbench, with the name written everywhere.
    pub(crate) async fn at_work(&self, user: &str, more: Value) -> Session {
        let session = self.client().create(&with(account(user), more)).await;
        let there = json!({ "url": self.workbench_url() });
        self.client().post(&path(&session, "/navigate"), &there).await.expect(200);
        self.write(&session, user).await;
        session
    }

    pub(crate) async fn write(&self, session: &Session, value: &str) {
        self.client().evaluate(session, &writing(value)).await;
    }

    pub(crate) async fn read(&self, session: &Session) -> Work {
        let read = self.client().evaluate(session, "workbench.read()").await;
        Work::deserialize(&read).unwrap_or_else(|error| panic!("{error}: {read}"))
    }

    /// `POST /sessions/{id}/hibernate` or `/wake`.
    pub(crate) async fn order(&self, session: &Session, order: &str) -> Session {
        self.client().post_nothing(&path(session, order)).await.expect(200).session()
    }

    /// Waits until the session answers with `value` wherever it is kept.
    pub(crate) async fn has_kept(&self, session: &Session, value: &str) {
        wait_for(&format!("a window with all of {value}"), PATIENCE, async || {
            let answer =
                try_evaluate(self.client(), session, "workbench.read()").await.map_err(|e| e.to_string())?;
            let work = Work::deserialize(&answer.body["result"]).map_err(|_| answer.body.to_string())?;
            expect_that(work.clone().that_is_kept() == brought_back(value), format!("{work:?}"))
        })
        .await;
    }

    /// Starts the server again, and tells how long it took until it was ready.
    pub(crate) async fn start_again(self) -> (Self, Duration) {
        let Self { server, portal } = self;
        let began = Instant::now();
        let server = server.start_again().await;
        (Self { server, portal }, began.elapsed())
    }

    /// How many sessions have a window.
    pub(crate) async fn live(&self) -> usize {
        self.client().sessions().await.iter().filter(|session| has_window(session)).count()
    }

    pub(crate) fn each_signed_in_once(&self) {
        for (user, counts) in &self.portal.statistics().users {
            assert_eq!((counts.sign_ins, counts.failed_sign_ins), (1, 0), "{user}: {counts:?}");
        }
    }

    /// Waits until the list, the run folder and `/proc` tell the same: whoever is ready has a window, whoever
    /// hibernates has none; each window is in a browser that runs, and each browser that runs has its shim.
    pub(crate) async fn all_tell_the_same(&self) {
        wait_for("the list, the run folder and /proc to tell the same", PATIENCE, async || {
            let sessions = self.client().sessions().await;
            let fits = sessions.iter().all(|session| match session.state {
                SessionState::Ready => has_window(session),
                SessionState::Hibernated => !has_window(session) && session.memory_bytes == Some(0),
                _ => false,
            });
            let shards: BTreeSet<_> = sessions.iter().filter_map(|session| session.shard.clone()).collect();
            let shims = self.server.shims();
            let owned: BTreeSet<_> = shims.iter().map(|shim| shim.browser.id).collect();
            let processes = self.server.processes();
            let browsers: BTreeSet<_> = processes
                .iter()
                .filter(|one| one.role() == Role::Browser)
                .map(|browser| browser.id)
                .collect();
            // One without windows is kept for a while for the next one.
            let agree = fits && owned == browsers && shards.len() <= owned.len();
            expect_that(agree, (sessions, shims, processes))
        })
        .await;
    }
}
