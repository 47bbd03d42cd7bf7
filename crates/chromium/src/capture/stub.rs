//! A hidden page with empty documents of any origin, whose requests are answered by Pilotlight: access to an origin
//! that no page of the window shows. Nothing of it reaches the network, a service worker, or the window's list of
//! pages.

use std::sync::Arc;
use std::time::Duration;

use pilotlight_cdp::protocol::fetch::{Enable, FulfillRequest, Header, RequestPattern, RequestPaused};
use pilotlight_cdp::protocol::network::{NetworkEnable, SetBypassServiceWorker};
use pilotlight_cdp::protocol::page::{CreateIsolatedWorld, Navigate};
use pilotlight_cdp::protocol::runtime::{Argument, CallFunctionOn};
use pilotlight_cdp::{Command, Connection, Scope, SessionId, Subscription};
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;

use crate::error::WindowError;
use crate::hidden::HiddenPage;
use crate::state::{STUB_PATH, Shard, WindowState};
use crate::window::{COMMAND_TIMEOUT, WORLD, evaluated_value};

/// Hidden pages that one capture or restoration may have at once.
pub(super) const STUBS_MAX: usize = 4;
/// Requests of a hidden page that may wait for their answers.
const EVENTS_QUEUE: usize = 256;
/// The empty document, `<!doctype html><link rel=icon href=data:,>`: no browser asks for its icon.
const EMPTY: &str = "PCFkb2N0eXBlIGh0bWw+PGxpbmsgcmVsPWljb24gaHJlZj1kYXRhOiw+";

/// A hidden page, which is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Stub {
    _answering: AbortOnDropHandle<()>,
    page: HiddenPage,
}

impl Stub {
    pub(super) async fn open(shard: &Arc<Shard>, window: &Arc<WindowState>) -> Result<Self, WindowError> {
        let page = HiddenPage::open(shard, window).await?;
        let answering = begin_to_answer(&shard.connection, &page.session).await?;
        Ok(Self { page, _answering: answering })
    }

    /// Calls a function in an isolated world of an empty document of `origin`.
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
        let world = CreateIsolatedWorld { frame_id: self.page.target.clone(), world_name: WORLD };
        let context = self.send(world, COMMAND_TIMEOUT).await?.execution_context_id;
        let call = CallFunctionOn::in_context(context, function, vec![Argument::Value(argument)]);
        evaluated_value(self.send(call, timeout).await?)
    }

    pub(super) fn session(&self) -> &SessionId {
        &self.page.session
    }

    async fn send<C: Command>(&self, command: C, timeout: Duration) -> Result<C::Reply, WindowError> {
        Ok(self.page.shard.connection.call_within(Some(&self.page.session), command, timeout).await?)
    }
}

async fn begin_to_answer(
    connection: &Connection,
    session: &SessionId,
) -> Result<AbortOnDropHandle<()>, WindowError> {
    let events = connection.subscribe(Scope::Session(session.clone()), EVENTS_QUEUE);
    let answering = AbortOnDropHandle::new(tokio::spawn(answer(connection.clone(), session.clone(), events)));
    let everything = vec![RequestPattern { url_pattern: "*", resource_type: None }];
    // Sent immediately, before the first navigation.
    tokio::try_join!(
        connection.call_within(Some(session), NetworkEnable::BARE, COMMAND_TIMEOUT),
        connection.call_within(Some(session), SetBypassServiceWorker { bypass: true }, COMMAND_TIMEOUT),
        connection.call_within(
            Some(session),
            Enable { patterns: everything, handle_auth_requests: false },
            COMMAND_TIMEOUT
        ),
    )?;
    Ok(answering)
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
