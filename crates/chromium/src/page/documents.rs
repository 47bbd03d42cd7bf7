//! From a step's scope to one document: which page, session and frame.
//!
//! A frame of another site may run in a process of its own, with a session of its own (full Chromium, or with site
//! isolation), or share its page's (headless shell). Both are handled the same from here on.

use std::sync::Arc;

use pilotlight_cdp::protocol::dom::DescribeNode;
use pilotlight_cdp::protocol::page::{FrameTree, GetFrameTree};
use pilotlight_cdp::protocol::runtime::{self, Argument, CallFunctionOn, ExecutionContextCreated};
use pilotlight_cdp::protocol::target::{AttachToTarget, DetachFromTarget};
use pilotlight_cdp::{Scope as EventScope, SessionId};
use pilotlight_flow::page::Scope;
use serde_json::{Value, json};

use super::{Handle, SCRIPT_TIMEOUT};
use crate::error::WindowError;
use crate::state::{RemoteFrame, Tab};
use crate::window::{COMMAND_TIMEOUT, Window, evaluate, isolated_world, run};

/// Contexts of a page that may be reported while one is searched for.
const CONTEXT_EVENTS_QUEUE: usize = 1024;

/// Returns the element that shows the frame with this index. Windows compare equal even across sites.
const FRAME_ELEMENT: &str = "function (index) {
    const wanted = window[index];
    const visit = (root) => {
        for (const element of root.querySelectorAll('*')) {
            if (element.contentWindow === wanted) return element;
            const inside = element.shadowRoot && visit(element.shadowRoot);
            if (inside) return inside;
        }
        return null;
    };
    return wanted ? visit(document) : null;
}";

/// One document.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) tab: Arc<Tab>,
    pub(super) session: SessionId,
    pub(super) frame: String,
    /// The URL of the page, or of the frame that the scope names as its target.
    pub(super) url: String,
}

impl Document {
    fn of_tab(tab: Arc<Tab>) -> Self {
        let url = tab.status.borrow().url.clone();
        Self { session: tab.session.clone(), frame: tab.target.clone(), url, tab }
    }

    fn of_remote_frame(tab: Arc<Tab>, frame: RemoteFrame) -> Self {
        Self { tab, session: frame.session, frame: frame.frame, url: frame.url }
    }

    /// Whether it is the top document of its session.
    fn is_top(&self) -> bool {
        self.frame == self.tab.target || self.tab.frames().iter().any(|frame| frame.frame == self.frame)
    }
}

impl Window {
    /// Returns the document of a scope.
    pub(super) async fn document(&self, scope: &Scope) -> Result<Document, WindowError> {
        let mut document = match &scope.target {
            None => Document::of_tab(self.main_tab()?),
            Some(url) => {
                self.by_url(url).await?.ok_or_else(|| missing(format!("no page or frame shows {url}")))?
            }
        };
        for &index in &scope.frame {
            document = self.child(&document, index).await?;
        }
        Ok(document)
    }

    /// Returns a page with this URL, or else a frame with it. Queries and fragments change from day to day, so if
    /// nothing has exactly this URL, they are ignored. The main page does not match then: recordings refer to it by
    /// no URL, and on many portals it differs from its popups only by the query.
    async fn by_url(&self, url: &str) -> Result<Option<Document>, WindowError> {
        let tabs = self.state.tabs.borrow().clone();
        if let Some(document) = self.among(&tabs, &tabs, url, |shown, wanted| shown == wanted).await? {
            return Ok(Some(document));
        }
        self.among(tabs.get(1..).unwrap_or_default(), &tabs, url, is_same_page).await
    }

    /// Searches `pages`, or the frames of `tabs`.
    async fn among(
        &self,
        pages: &[Arc<Tab>],
        tabs: &[Arc<Tab>],
        url: &str,
        fits: impl Fn(&str, &str) -> bool + Send,
    ) -> Result<Option<Document>, WindowError> {
        // The newest first: a popup that was opened again is the one that is meant.
        if let Some(tab) = pages.iter().rev().find(|tab| fits(&tab.status.borrow().url, url)) {
            return Ok(Some(Document::of_tab(Arc::clone(tab))));
        }
        for tab in tabs.iter().filter(|tab| !tab.status.borrow().crashed) {
            if let Some(frame) = tab.frames().into_iter().find(|frame| fits(&frame.url, url)) {
                return Ok(Some(Document::of_remote_frame(Arc::clone(tab), frame)));
            }
            let tree =
                tab.call(&self.shard.connection, &tab.session, GetFrameTree {}, COMMAND_TIMEOUT).await?;
            let mut inside = tree.frame_tree.child_frames.iter();
            if let Some((frame, shown)) = inside.find_map(|child| in_tree(child, url, &fits)) {
                let session = tab.session.clone();
                return Ok(Some(Document { tab: Arc::clone(tab), session, frame, url: shown }));
            }
        }
        Ok(None)
    }

    async fn child(&self, document: &Document, index: usize) -> Result<Document, WindowError> {
        let tab = &document.tab;
        let element = self
            .call_in(document, FRAME_ELEMENT, vec![Argument::Value(json!(index))])
            .await?
            .ok_or_else(|| missing(format!("there is no frame {index}")))?;
        let describe = DescribeNode { object_id: element.id.clone() };
        let node = tab.call(&self.shard.connection, &document.session, describe, COMMAND_TIMEOUT).await?.node;
        let frame = node.frame_id.ok_or_else(|| missing(format!("frame {index} shows nothing")))?;
        let remote = tab.frames().into_iter().find(|known| known.frame == frame);
        let session = remote.map_or_else(|| document.session.clone(), |remote| remote.session);
        Ok(Document { tab: Arc::clone(tab), session, frame, url: document.url.clone() })
    }

    /// Calls a function in an isolated world of a document and returns a handle to its result; `None` for `null`.
    pub(super) async fn call_in(
        &self,
        document: &Document,
        function: &str,
        arguments: Vec<Argument>,
    ) -> Result<Option<Handle>, WindowError> {
        let context = isolated_world(&self.shard, &document.tab, &document.session, &document.frame).await?;
        let call = CallFunctionOn {
            function_declaration: function.into(),
            object_id: None,
            execution_context_id: Some(context),
            arguments,
            return_by_value: false,
            await_promise: false,
            user_gesture: false,
        };
        let result = run(&self.shard, &document.tab, &document.session, call, COMMAND_TIMEOUT).await?;
        if let Some(details) = result.exception_details {
            return Err(WindowError::Script(crate::window::message_of(details)));
        }
        Ok(result.result.object_id.map(|id| self.handle(&document.session, id)))
    }

    pub(super) fn handle(&self, session: &SessionId, id: String) -> Handle {
        Handle { shard: Arc::clone(&self.shard), session: session.clone(), id }
    }

    /// Evaluates in the document's own world.
    pub(super) async fn evaluate_in(
        &self,
        document: &Document,
        expression: &str,
    ) -> Result<Value, WindowError> {
        let (shard, tab) = (&self.shard, &document.tab);
        if document.is_top() {
            return evaluate(shard, tab, &document.session, None, expression, SCRIPT_TIMEOUT).await;
        }
        // The world of an inner frame is reported only to a session that enabled the events of all worlds: a session
        // of its own does, for this one query.
        let target = tab.frames().into_iter().find(|frame| frame.session == document.session);
        let target_id = target.map_or_else(|| tab.target.clone(), |frame| frame.frame);
        let attach = AttachToTarget { target_id, flatten: true };
        let session = shard.connection.call_within(None, attach, COMMAND_TIMEOUT).await?.session_id;
        let evaluated = match self.main_world(document, &session).await {
            Ok(context) => evaluate(shard, tab, &session, Some(context), expression, SCRIPT_TIMEOUT).await,
            Err(error) => Err(error),
        };
        let detach = DetachFromTarget { session_id: session };
        if let Err(error) = shard.connection.call_within(None, detach, COMMAND_TIMEOUT).await {
            tracing::debug!(%error, "failed to close a temporary session");
        }
        evaluated
    }

    /// Returns the context of the page's own scripts in a frame.
    async fn main_world(&self, document: &Document, session: &SessionId) -> Result<i64, WindowError> {
        let connection = &self.shard.connection;
        let mut events = connection.subscribe(EventScope::Session(session.clone()), CONTEXT_EVENTS_QUEUE);
        document.tab.call(connection, session, runtime::Enable {}, COMMAND_TIMEOUT).await?;
        // All contexts were reported before the reply.
        while let Some(event) = events.try_next() {
            let Some(created) = event.read::<ExecutionContextCreated>() else { continue };
            let fits = |aux: &runtime::ContextAux| aux.is_default && aux.frame_id == document.frame;
            if created.context.aux_data.as_ref().is_some_and(fits) {
                return Ok(created.context.id);
            }
        }
        Err(missing("the frame has no scripts".into()))
    }
}

fn in_tree(tree: &FrameTree, url: &str, fits: &impl Fn(&str, &str) -> bool) -> Option<(String, String)> {
    let frame = &tree.frame;
    let shown = format!("{}{}", frame.url, frame.url_fragment.as_deref().unwrap_or_default());
    if fits(&shown, url) {
        return Some((frame.id.clone(), shown));
    }
    tree.child_frames.iter().find_map(|child| in_tree(child, url, fits))
}

fn is_same_page(url: &str, recorded: &str) -> bool {
    fn bare(url: &str) -> &str {
        url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/')
    }
    bare(url) == bare(recorded)
}

/// Returns the error that the page exists, but not what was requested in it.
fn missing(what: String) -> WindowError {
    WindowError::Missing(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_and_fragments_are_left_aside() {
        assert!(is_same_page("http://a.test/popup?x=1#top", "http://a.test/popup?x=2"));
        assert!(is_same_page("http://a.test/", "http://a.test"));
        assert!(!is_same_page("http://a.test/other", "http://a.test/popup"));
    }
}
