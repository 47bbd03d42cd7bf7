//! A hidden page with empty documents of any origin, answered by us: a hand inside an origin that no page of
//! the window shows. Nothing of it reaches the network, a service worker, or the window's list of pages.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use pilotlight_cdp::protocol::browser::{NetworkEnable, SetBypassServiceWorker};
use pilotlight_cdp::protocol::fetch::{Enable, FulfillRequest, Header, RequestPattern, RequestPaused};
use pilotlight_cdp::protocol::page::{CreateIsolatedWorld, Navigate};
use pilotlight_cdp::protocol::runtime::{Argument, CallFunctionOn};
use pilotlight_cdp::protocol::target::{AttachToTarget, AttachedToTarget, CloseTarget, CreateHiddenTarget};
use pilotlight_cdp::{Command, Connection, Scope, SessionId, Subscription};
use serde_json::Value;
use tokio::task::JoinHandle;
use url::Url;

use crate::driver::page_attached;
use crate::error::WindowError;
use crate::state::{Shard, WindowState, lock};
use crate::window::{COMMAND_TIMEOUT, WORLD, evaluated_value};

/// How many hidden pages one capture or restoration may have at once.
pub(super) const STUBS_MAX: usize = 4;
/// How many requests of a hidden page may wait for their answers.
const EVENTS_QUEUE: usize = 256;
/// Where a hidden page is in its origin: nothing that a site has, and by this known for what it is.
const STUB_PATH: &str = "/.well-known/pilotlight-stub";
/// Where it begins.
const STUB_BLANK: &str = "about:blank#pilotlight-stub";
/// The empty document, `<!doctype html><link rel=icon href=data:,>`: no browser asks for its icon.
const EMPTY: &str = "PCFkb2N0eXBlIGh0bWw+PGxpbmsgcmVsPWljb24gaHJlZj1kYXRhOiw+";

/// Which pages of a window are hidden. A page is attached to before it is known who made it, so while one is
/// being made, others wait.
#[derive(Debug, Default)]
pub(crate) struct Hidden {
    pending: usize,
    targets: HashSet<String>,
    waiting: Vec<AttachedToTarget>,
}

/// What a new page is.
#[derive(Debug)]
pub(crate) enum Sorted {
    /// Hidden: it is let run, and a session of its own looks after it.
    Hidden(AttachedToTarget),
    /// It has to wait until that is known.
    Waits,
    /// A page like any other.
    Shown(AttachedToTarget),
}

impl Hidden {
    pub(crate) fn sort(&mut self, attached: AttachedToTarget) -> Sorted {
        if self.targets.contains(&attached.target_info.target_id) {
            return Sorted::Hidden(attached);
        }
        // A session that was opened for one question on a page that is known is never held.
        if self.pending == 0 || !attached.waiting_for_debugger {
            return Sorted::Shown(attached);
        }
        self.waiting.push(attached);
        Sorted::Waits
    }

    /// A hidden page of an earlier server, which is about to be closed.
    pub(crate) fn disown(&mut self, target: String) {
        self.targets.insert(target);
    }

    /// A page that waits has gone.
    pub(crate) fn forget(&mut self, session: &SessionId) {
        self.waiting.retain(|waiting| waiting.session_id != *session);
    }
}

/// Whether a page with this URL is a hidden one, whoever made it.
pub(crate) fn is_stub(url: &str) -> bool {
    url == STUB_BLANK || Url::parse(url).is_ok_and(|url| url.path() == STUB_PATH)
}

/// A hidden page; dropped, it is closed.
#[derive(Debug)]
pub(super) struct Stub {
    shard: Arc<Shard>,
    window: Arc<WindowState>,
    target: String,
    session: SessionId,
    answering: JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.answering.abort();
        close(&self.shard, &self.window, std::mem::take(&mut self.target));
    }
}

impl Stub {
    /// In a task of its own: if the caller gives up meanwhile, the page must not stay behind.
    pub(super) async fn open(shard: &Arc<Shard>, window: &Arc<WindowState>) -> Result<Self, WindowError> {
        let opening = tokio::spawn(open(Arc::clone(shard), Arc::clone(window)));
        opening.await.unwrap_or(Err(WindowError::Closed))
    }

    /// Calls a function in our own world of an empty document of `origin`.
    pub(super) async fn call(
        &self,
        origin: &str,
        function: &str,
        argument: Value,
        timeout: Duration,
    ) -> Result<Value, WindowError> {
        let navigated = self.send(Navigate { url: format!("{origin}{STUB_PATH}") }, COMMAND_TIMEOUT).await?;
        if let Some(reason) = navigated.error_text.filter(|reason| !reason.is_empty()) {
            return Err(WindowError::Unreachable { url: origin.into(), reason });
        }
        let world = CreateIsolatedWorld { frame_id: self.target.clone(), world_name: WORLD };
        let context = self.send(world, COMMAND_TIMEOUT).await?.execution_context_id;
        let call = CallFunctionOn {
            function_declaration: function.into(),
            object_id: None,
            execution_context_id: Some(context),
            arguments: vec![Argument::Value(argument)],
            return_by_value: true,
            await_promise: true,
            user_gesture: false,
        };
        evaluated_value(self.send(call, timeout).await?)
    }

    pub(super) fn session(&self) -> &SessionId {
        &self.session
    }

    async fn send<C: Command>(&self, command: C, timeout: Duration) -> Result<C::Reply, WindowError> {
        Ok(self.shard.connection.call_within(Some(&self.session), command, timeout).await?)
    }
}

async fn open(shard: Arc<Shard>, window: Arc<WindowState>) -> Result<Stub, WindowError> {
    lock(&window.record.hidden).pending += 1;
    let create = CreateHiddenTarget {
        url: STUB_BLANK.into(),
        browser_context_id: window.id.as_str().into(),
        background: true,
        hidden: true,
    };
    let created = shard.connection.call_within(None, create, COMMAND_TIMEOUT).await;
    settle(&shard, &window, created.as_ref().ok().map(|created| created.target_id.as_str()));
    let target = created?.target_id;
    match attach(&shard, &target).await {
        Ok((session, answering)) => Ok(Stub { shard, window, target, session, answering }),
        Err(error) => {
            close(&shard, &window, target);
            Err(error)
        }
    }
}

/// It is known now which page is the hidden one: those that waited are what they are.
fn settle(shard: &Arc<Shard>, window: &WindowState, target: Option<&str>) {
    let mut hidden = lock(&window.record.hidden);
    hidden.pending -= 1;
    hidden.targets.extend(target.map(str::to_owned));
    let waiting = std::mem::take(&mut hidden.waiting);
    drop(hidden);
    for attached in waiting {
        page_attached(shard, attached);
    }
}

async fn attach(shard: &Arc<Shard>, target: &str) -> Result<(SessionId, JoinHandle<()>), WindowError> {
    let connection = &shard.connection;
    let attach = AttachToTarget { target_id: target.into(), flatten: true };
    let session = connection.call_within(None, attach, COMMAND_TIMEOUT).await?.session_id;
    let events = connection.subscribe(Scope::Session(session.clone()), EVENTS_QUEUE);
    let answering = tokio::spawn(answer(connection.clone(), session.clone(), events));
    let everything = vec![RequestPattern { url_pattern: "*", resource_type: None }];
    // Sent at once; whoever navigates next comes after them.
    let set_up = tokio::try_join!(
        connection.call_within(Some(&session), NetworkEnable { max_total_buffer_size: 0 }, COMMAND_TIMEOUT),
        connection.call_within(Some(&session), SetBypassServiceWorker { bypass: true }, COMMAND_TIMEOUT),
        connection.call_within(
            Some(&session),
            Enable { patterns: everything, handle_auth_requests: false },
            COMMAND_TIMEOUT
        ),
    );
    match set_up {
        Ok(_) => Ok((session, answering)),
        Err(error) => {
            answering.abort();
            Err(error.into())
        }
    }
}

/// Answers every request of the page with the empty document.
async fn answer(connection: Connection, session: SessionId, mut events: Subscription) {
    while let Some(event) = events.next().await {
        let Some(paused) = event.read::<RequestPaused>() else { continue };
        let fulfill = FulfillRequest {
            request_id: paused.request_id,
            response_code: 200,
            response_headers: vec![Header { name: "Content-Type", value: "text/html; charset=utf-8" }],
            body: EMPTY.into(),
        };
        if let Err(error) = connection.call_within(Some(&session), fulfill, COMMAND_TIMEOUT).await {
            tracing::debug!(%error, "a hidden page got no answer");
        }
    }
}

fn close(shard: &Arc<Shard>, window: &Arc<WindowState>, target: String) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let (shard, window) = (Arc::clone(shard), Arc::clone(window));
    runtime.spawn(async move {
        let close = CloseTarget { target_id: target.clone() };
        if let Err(error) = shard.connection.call_within(None, close, COMMAND_TIMEOUT).await {
            tracing::debug!(%error, "a hidden page could not be closed; it may be gone already");
        }
        lock(&window.record.hidden).targets.remove(&target);
    });
}

#[cfg(test)]
mod tests {
    use pilotlight_cdp::Notification;
    use serde_json::json;

    use super::*;

    fn attached(target: &str, waiting: bool) -> AttachedToTarget {
        let info = json!({"targetId": target, "type": "page", "title": "", "url": ""});
        let event =
            json!({"sessionId": format!("of {target}"), "targetInfo": info, "waitingForDebugger": waiting});
        serde_json::from_value(event).unwrap_or_else(|error| panic!("{}: {error}", AttachedToTarget::METHOD))
    }

    #[test]
    fn hidden_pages_are_known_by_their_url() {
        for url in [STUB_BLANK, "https://a.test/.well-known/pilotlight-stub"] {
            assert!(is_stub(url), "{url}");
        }
        for url in [
            "about:blank",
            "about:blank#popup",
            "https://a.test/",
            "https://a.test/?/.well-known/pilotlight-stub",
        ] {
            assert!(!is_stub(url), "{url}");
        }
    }

    #[test]
    fn pages_wait_only_while_a_hidden_one_is_being_made() {
        let mut hidden = Hidden::default();
        assert!(matches!(hidden.sort(attached("popup", true)), Sorted::Shown(_)));
        hidden.pending += 1;
        assert!(matches!(hidden.sort(attached("either", true)), Sorted::Waits));
        assert!(matches!(hidden.sort(attached("gone", true)), Sorted::Waits));
        assert!(matches!(hidden.sort(attached("asked", false)), Sorted::Shown(_)));
        hidden.forget(&SessionId::from("of gone"));
        let waiting: Vec<_> = hidden.waiting.iter().map(|page| &*page.target_info.target_id).collect();
        assert_eq!(waiting, ["either"]);
        hidden.targets.insert("either".into());
        assert!(matches!(hidden.sort(attached("either", true)), Sorted::Hidden(_)));
    }
}
