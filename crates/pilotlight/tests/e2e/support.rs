//! The environment and helpers of most tests.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use pilotlight_api::{Session, SessionState};
use pilotlight_testkit::harness::{Client, Server, ServerOptions, expect_that, wait_for};
use pilotlight_testkit::portal::{PASSWORD, Portal, PortalOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

/// The default time limit. Machines that run tests are slow.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A server and the portal that it signs in to, for one test.
pub(crate) struct TestEnv {
    // The server is stopped first: its browsers must not notice the end of the portal.
    pub(crate) server: Server,
    pub(crate) portal: Portal,
}

/// Starts a server and a portal with default options.
pub(crate) async fn test_env() -> TestEnv {
    test_env_with("", PortalOptions::default()).await
}

/// Starts a server with additional configuration, and a portal with these options.
pub(crate) async fn test_env_with(config: &str, portal: PortalOptions) -> TestEnv {
    let portal = Portal::start(portal).await.unwrap();
    let server = Server::start(options().config(config).site("portal", portal.site())).await;
    TestEnv { server, portal }
}

/// Returns the options for a server of this build.
pub(crate) fn options() -> ServerOptions {
    ServerOptions::new(env!("CARGO_BIN_EXE_pilotlight"))
}

impl TestEnv {
    pub(crate) fn client(&self) -> &Client {
        self.server.client()
    }

    /// Creates a session of `user` at the portal.
    pub(crate) async fn sign_in(&self, user: &str) -> Session {
        self.client().create(&account(user)).await
    }

    /// Creates a session without a site, at the portal's sign-in page: without a sign-in it is ready quickly.
    pub(crate) async fn window(&self, name: &str, more: Value) -> Session {
        let body = json!({ "url": format!("{}login", self.portal.url()), "name": name });
        self.client().create(&with(body, more)).await
    }

    /// Waits until the session is in this state.
    pub(crate) async fn reaches(&self, session: &Session, state: SessionState) -> Session {
        wait_for(&format!("state {state}"), SOON, async || {
            let now = self.client().session(session).await;
            expect_that(now.state == state, now)
        })
        .await
    }

    /// Waits until the session has no hold.
    pub(crate) async fn is_free(&self, session: &Session) {
        wait_for("the end of the hold", SOON, async || {
            let now = self.client().session(session).await;
            expect_that(!now.in_use && now.holds.is_empty(), now)
        })
        .await;
    }

    /// Returns the names of all sessions, sorted.
    pub(crate) async fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.client().sessions().await.into_iter().filter_map(|session| session.name).collect();
        names.sort();
        names
    }
}

/// Returns a request for a session of `user` at the portal.
pub(crate) fn account(user: &str) -> Value {
    json!({ "site": "portal", "username": user, "password": PASSWORD })
}

/// Returns `base` with the fields of `more`.
pub(crate) fn with(mut base: Value, more: Value) -> Value {
    if let (Value::Object(base), Value::Object(more)) = (&mut base, more) {
        base.extend(more);
    }
    base
}

/// Returns the path of a session, or a path below it.
pub(crate) fn path(session: &Session, below: &str) -> String {
    format!("/sessions/{}{below}", session.session_id)
}

/// Returns a local address without a listener.
pub(crate) fn nobody_there() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

/// A virtual display. It is stopped when this is dropped.
pub(crate) struct Display {
    name: String,
    /// Killed when it is dropped.
    _server: tokio::process::Child,
}

impl Display {
    pub(crate) async fn start() -> Self {
        let mut command = tokio::process::Command::new("Xvfb");
        // Access control would let in the user alone who started it; browsers may run as another.
        command.args(["-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-ac"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut server =
            command.spawn().expect("Xvfb is needed for the engine `headed`: apt-get install xvfb");
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let number = timeout(SOON, lines.next_line()).await.expect("Xvfb does not come up").unwrap();
        Self { name: format!(":{}", number.expect("Xvfb ended")), _server: server }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}
