//! A window as replays use it: documents, elements, and input like that of a person.
//!
//! Everything here tries once and does not wait for elements to appear; the replay does that. Typed text is never
//! logged and is in no error.

mod documents;
mod downloads;
mod fill;
mod find;
mod input;
mod keys;
mod pointer;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pilotlight_cdp::SessionId;
use pilotlight_cdp::protocol::browser::{SetDeviceMetricsOverride, SetTouchEmulationEnabled};
use pilotlight_cdp::protocol::network::{EmulateNetworkConditions, NetworkEnable};
use pilotlight_cdp::protocol::runtime::{Argument, CallFunctionOn, ReleaseObject};
use pilotlight_cdp::protocol::target::CloseTarget;
use pilotlight_flow::dialog::ExpectedDialog;
use pilotlight_flow::page::{Click, Download, NetworkConditions, Page, PageError, Scope, Viewport};
use pilotlight_flow::selector::Selector;
use serde_json::Value;

use crate::call::look_at;
use crate::error::WindowError;
use crate::state::{Shard, Tab};
use crate::window::{COMMAND_TIMEOUT, Format, Window, evaluated_value, navigate_tab, run};

pub use downloads::Downloads;
pub(crate) use downloads::deny_downloads;

/// How long a page may take to load; replays usually wait for less time.
pub const NAVIGATE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a script of a replay may run.
pub const SCRIPT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long releasing a handle may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Chromium's handle to an object of a page. Released when dropped, or long-lived pages would keep every element that
/// was ever found.
struct Handle {
    shard: Arc<Shard>,
    session: SessionId,
    id: String,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (connection, session) = (self.shard.connection.clone(), self.session.clone());
        let release = ReleaseObject { object_id: std::mem::take(&mut self.id) };
        runtime.spawn(async move {
            // The handle was released with its document.
            let _ = connection.call_within(Some(&session), release, RELEASE_TIMEOUT).await;
        });
    }
}

/// An element of one document of a window.
#[derive(Clone)]
pub struct Element {
    tab: Arc<Tab>,
    session: SessionId,
    handle: Arc<Handle>,
}

impl fmt::Debug for Element {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Element").field("handle", &self.handle.id).finish_non_exhaustive()
    }
}

impl Element {
    async fn call(&self, shard: &Shard, function: &str, arguments: &[Value]) -> Result<Value, WindowError> {
        let call = CallFunctionOn {
            function_declaration: function.into(),
            object_id: Some(self.handle.id.clone()),
            execution_context_id: None,
            arguments: arguments.iter().cloned().map(Argument::Value).collect(),
            return_by_value: true,
            await_promise: true,
            user_gesture: true,
        };
        evaluated_value(run(shard, &self.tab, &self.session, call, SCRIPT_TIMEOUT).await?)
    }
}

/// Converts Chromium's error for an unknown object into that of a removed element.
fn element_error(error: WindowError) -> PageError {
    const WORDS: [&str; 4] = [
        "Could not find object with given id",
        "Cannot find context",
        "Node is detached",
        "Could not find node",
    ];
    match error {
        WindowError::Refused { reason, .. } if WORDS.iter().any(|words| reason.contains(words)) => {
            PageError::Gone("the element is no longer there".into())
        }
        error => error.into(),
    }
}

impl Page for Window {
    type Element = Element;
    type Downloads = Downloads;

    async fn navigate(&self, scope: &Scope, url: &str) -> Result<(), PageError> {
        let tab = self.document(scope).await?.tab;
        navigate_tab(&self.shard, &tab, url, NAVIGATE_TIMEOUT).await?;
        look_at(&self.shard, &self.state, &tab).await;
        Ok(())
    }

    async fn set_viewport(&self, scope: &Scope, viewport: &Viewport) -> Result<(), PageError> {
        let tab = self.document(scope).await?.tab;
        let connection = &self.shard.connection;
        let size = SetDeviceMetricsOverride {
            width: viewport.width,
            height: viewport.height,
            device_scale_factor: viewport.device_scale_factor,
            mobile: viewport.is_mobile,
        };
        tab.call(connection, &tab.session, size, COMMAND_TIMEOUT).await?;
        let touch = SetTouchEmulationEnabled { enabled: viewport.has_touch };
        tab.call(connection, &tab.session, touch, COMMAND_TIMEOUT).await?;
        Ok(())
    }

    async fn set_network(&self, scope: &Scope, conditions: &NetworkConditions) -> Result<(), PageError> {
        let tab = self.document(scope).await?.tab;
        // Without the domain the conditions have no effect.
        tab.call(&self.shard.connection, &tab.session, NetworkEnable::BARE, COMMAND_TIMEOUT).await?;
        let throughput = |bytes: f64| if bytes < 0.0 { -1.0 } else { bytes };
        let emulate = EmulateNetworkConditions {
            offline: false,
            latency: conditions.latency.as_secs_f64() * 1000.0,
            download_throughput: throughput(conditions.download),
            upload_throughput: throughput(conditions.upload),
        };
        tab.call(&self.shard.connection, &tab.session, emulate, COMMAND_TIMEOUT).await?;
        tab.throttled.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn find(&self, scope: &Scope, selector: &Selector) -> Result<Vec<Element>, PageError> {
        let document = self.document(scope).await?;
        find::find(self, &document, selector).await.map_err(element_error)
    }

    async fn call(&self, element: &Element, function: &str, arguments: &[Value]) -> Result<Value, PageError> {
        element.call(&self.shard, function, arguments).await.map_err(element_error)
    }

    async fn evaluate(&self, scope: &Scope, expression: &str) -> Result<Value, PageError> {
        let document = self.document(scope).await?;
        Ok(self.evaluate_in(&document, expression).await?)
    }

    async fn hover(&self, element: &Element) -> Result<(), PageError> {
        pointer::hover(self, element).await.map_err(element_error)
    }

    async fn click(&self, element: &Element, click: &Click) -> Result<(), PageError> {
        pointer::click(self, element, click).await.map_err(element_error)
    }

    async fn fill(&self, element: &Element, text: &str) -> Result<(), PageError> {
        fill::fill(self, element, text).await.map_err(element_error)
    }

    async fn key_down(&self, scope: &Scope, key: &str) -> Result<(), PageError> {
        let tab = self.document(scope).await?.tab;
        Ok(input::key(self, &tab, key, input::Direction::Down).await?)
    }

    async fn key_up(&self, scope: &Scope, key: &str) -> Result<(), PageError> {
        let tab = self.document(scope).await?.tab;
        Ok(input::key(self, &tab, key, input::Direction::Up).await?)
    }

    async fn navigations(&self, scope: &Scope) -> Result<u64, PageError> {
        let tab = self.document(scope).await?.tab;
        let navigations = tab.status.borrow().navigations;
        Ok(navigations)
    }

    async fn settled(&self, scope: &Scope, timeout: Duration) -> Result<(), PageError> {
        let tab = self.document(scope).await?.tab;
        let settling =
            tokio::time::timeout(timeout, input::settled(&tab, self.state.is_ready_at_dom())).await;
        settling.unwrap_or(Err(WindowError::Timeout(timeout)))?;
        look_at(&self.shard, &self.state, &tab).await;
        Ok(())
    }

    async fn url(&self, scope: &Scope) -> Result<String, PageError> {
        Ok(self.document(scope).await?.url)
    }

    async fn screenshot(&self, scope: &Scope) -> Result<Vec<u8>, PageError> {
        let tab = self.document(scope).await?.tab;
        Ok(self.screenshot_of(&tab, Format::Png, false).await?.into())
    }

    async fn watch_downloads(&self) -> Result<Downloads, PageError> {
        if self.beside.is_some() {
            // The window's setting decides where they are stored, and may be its client's.
            let reason = "a hidden page has no downloads".to_owned();
            return Err(PageError::Refused { command: "a download".to_owned(), reason });
        }
        Ok(Downloads::watch(self).await?)
    }

    async fn downloaded(
        &self,
        downloads: Downloads,
        timeout: Duration,
    ) -> Result<Option<Download>, PageError> {
        Ok(downloads.next(timeout).await?)
    }

    fn expect_dialog(&self, dialog: ExpectedDialog) -> Result<(), PageError> {
        if self.expected_dialogs().expect(dialog) {
            return Ok(());
        }
        let (command, reason) = ("an answer to a dialog".to_owned(), "too many are ready already".to_owned());
        Err(PageError::Refused { command, reason })
    }

    async fn close(&self, scope: &Scope) -> Result<(), PageError> {
        let tab = self.document(scope).await?.tab;
        let close = CloseTarget { target_id: tab.target.clone() };
        self.shard.connection.call_within(None, close, COMMAND_TIMEOUT).await.map_err(WindowError::from)?;
        match tab.wait_for(COMMAND_TIMEOUT, |status| status.gone).await {
            Ok(()) | Err(WindowError::Closed | WindowError::Crashed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
