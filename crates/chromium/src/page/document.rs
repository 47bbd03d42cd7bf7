//! From a step's scope to the document it speaks of: the page, popup or frame, its session and its frame id.

use std::sync::Arc;
use std::time::Duration;

use pilotlight_cdp::protocol::browser::QueryAxTree;
use pilotlight_cdp::protocol::dom::{DescribeNode, ResolveNode};
use pilotlight_cdp::protocol::runtime::{
    Argument, CallFunctionOn, ContextAux, Disable, Enable, Evaluate, ExecutionContextCreated, GetProperties,
    RemoteObject,
};
use pilotlight_cdp::{Scope as Events, SessionId};
use pilotlight_flow::page::Scope;
use pilotlight_flow::selector::{Part, Selector};
use serde_json::{Value, json};

use super::element::Element;
use crate::error::WindowError;
use crate::state::Tab;
use crate::window::{COMMAND_TIMEOUT, Window, evaluate, evaluated_value, isolated_world, run};

/// No selector gives more elements than this.
const ELEMENTS_MAX: usize = 1000;
/// How many reports of contexts may wait while one is looked for.
const CONTEXT_EVENTS_QUEUE: usize = 4096;
/// How long reports that have come already may take to be read.
const CONTEXT_TIMEOUT: Duration = Duration::from_millis(500);
/// The frames of a document, in the order of the Recorder's indices.
const FRAMES: &str = "function () { return [...this.querySelectorAll('iframe, frame')]; }";

/// Everything that matches one part of a selector below `this`, in document order and without a duplicate.
const MATCHES: &str = r"function (kind, value) {
    const root = this.shadowRoot ?? this;
    const everywhere = function* (root) {
        yield root;
        for (const element of root.querySelectorAll('*')) {
            if (element.shadowRoot) yield* everywhere(element.shadowRoot);
        }
    };
    const found = new Set();
    if (kind === 'css') {
        for (const element of root.querySelectorAll(value)) found.add(element);
    } else if (kind === 'pierce') {
        for (const part of everywhere(root)) {
            for (const element of part.querySelectorAll(value)) found.add(element);
        }
    } else if (kind === 'xpath') {
        const all = document.evaluate(value, root, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE, null);
        for (let i = 0; i < all.snapshotLength; i++) {
            const node = all.snapshotItem(i);
            if (node.nodeType === Node.ELEMENT_NODE) found.add(node);
        }
    } else {
        const skipped = new Set(['SCRIPT', 'STYLE', 'NOSCRIPT', 'TEMPLATE', 'HEAD']);
        const textOf = (element) => {
            const typed = element instanceof HTMLInputElement && ['button', 'submit', 'reset'].includes(element.type);
            return typed ? element.value : element.textContent + (element.shadowRoot?.textContent ?? '');
        };
        const visit = (element) => {
            if (skipped.has(element.tagName) || !textOf(element).includes(value)) return false;
            let inside = false;
            for (const child of [...element.children, ...(element.shadowRoot?.children ?? [])]) {
                inside = visit(child) || inside;
            }
            if (!inside) found.add(element);
            return true;
        };
        for (const element of root.children) visit(element);
    }
    return [...found];
}";

/// One document: where its scripts run.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) tab: Arc<Tab>,
    pub(super) session: SessionId,
    frame: String,
}

impl Window {
    /// The page, tab or popup of a scope. A frame with a target of its own belongs to the main page.
    pub(super) fn tab_of(&self, scope: &Scope) -> Result<Arc<Tab>, WindowError> {
        let Some(target) = &scope.target else { return self.state.main_tab() };
        let tabs = self.state.tabs.borrow();
        let shows = |tab: &&Arc<Tab>| same_page(&tab.status.borrow().url, target);
        let in_frame = |tab: &&Arc<Tab>| tab.frames().iter().any(|frame| same_page(&frame.url, target));
        tabs.iter()
            .rev()
            .find(shows)
            .or_else(|| tabs.iter().find(in_frame))
            .cloned()
            .ok_or(WindowError::Closed)
    }

    pub(super) async fn document_of(&self, scope: &Scope) -> Result<Document, WindowError> {
        let tab = self.tab_of(scope)?;
        let own_target = scope.target.as_ref().and_then(|target| {
            let shown = same_page(&tab.status.borrow().url, target);
            tab.frames().into_iter().find(|frame| !shown && same_page(&frame.url, target))
        });
        let mut document = match own_target {
            Some(frame) => Document { session: frame.session, frame: frame.frame, tab },
            None => Document { session: tab.session.clone(), frame: tab.target.clone(), tab },
        };
        for index in &scope.frame {
            document = document.child(self, *index).await?;
        }
        Ok(document)
    }
}

/// A recording's target is the URL that it was recorded at; queries and fragments differ from day to day.
fn same_page(url: &str, recorded: &str) -> bool {
    let bare = |url: &str| url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/').to_owned();
    url == recorded || bare(url) == bare(recorded)
}

impl Document {
    async fn world(&self, window: &Window) -> Result<i64, WindowError> {
        isolated_world(&window.shard, &self.tab, &self.session, &self.frame).await
    }

    /// The document in the frame with this index.
    async fn child(&self, window: &Window, index: usize) -> Result<Self, WindowError> {
        let root = self.root(window).await?;
        let frames = self.elements(window, &root, FRAMES, vec![]).await?;
        let missing = || WindowError::Refused {
            command: "the look-up of a frame".into(),
            reason: format!("there is no frame with index {index}"),
        };
        let object_id = frames.get(index).ok_or_else(missing)?.clone();
        let describe = DescribeNode { object_id };
        let described =
            self.tab.call(&window.shard.connection, &self.session, describe, COMMAND_TIMEOUT).await?;
        let frame = described.node.frame_id.ok_or_else(missing)?;
        let remote = self.tab.frames().into_iter().find(|remote| remote.frame == frame);
        let session = remote.map_or_else(|| self.session.clone(), |remote| remote.session);
        Ok(Self { tab: Arc::clone(&self.tab), session, frame })
    }

    /// A handle to the document itself.
    async fn root(&self, window: &Window) -> Result<String, WindowError> {
        let command = Evaluate {
            expression: "document".into(),
            context_id: Some(self.world(window).await?),
            return_by_value: false,
            await_promise: false,
            user_gesture: false,
        };
        let evaluated = run(&window.shard, &self.tab, &self.session, command, COMMAND_TIMEOUT).await?;
        evaluated.result.object_id.ok_or(WindowError::Closed)
    }

    /// Evaluates in the page's own world.
    pub(super) async fn evaluate(
        &self,
        window: &Window,
        expression: &str,
        timeout: Duration,
    ) -> Result<Value, WindowError> {
        let context = if self.frame == self.tab.target { None } else { Some(self.main_world(window).await?) };
        evaluate(&window.shard, &self.tab, &self.session, context, expression, timeout).await
    }

    /// The page's own world in a frame. It is asked for by having all contexts reported, which stays switched
    /// off otherwise, since pages can tell.
    async fn main_world(&self, window: &Window) -> Result<i64, WindowError> {
        let connection = &window.shard.connection;
        let mut events = connection.subscribe(Events::Session(self.session.clone()), CONTEXT_EVENTS_QUEUE);
        self.tab.call(connection, &self.session, Enable {}, COMMAND_TIMEOUT).await?;
        let looking = async {
            while let Some(event) = events.next().await {
                let context = event.read::<ExecutionContextCreated>().map(|created| created.context);
                let ours = |aux: &ContextAux| aux.is_default && aux.frame_id == self.frame;
                if let Some(context) = context.filter(|context| context.aux_data.as_ref().is_some_and(ours)) {
                    return Some(context.id);
                }
            }
            None
        };
        // What exists is reported before the reply, so it is there already.
        let found = tokio::time::timeout(CONTEXT_TIMEOUT, looking).await.ok().flatten();
        self.tab.call(connection, &self.session, Disable {}, COMMAND_TIMEOUT).await?;
        found.ok_or(WindowError::Closed)
    }

    /// All elements that match now.
    pub(super) async fn find(
        &self,
        window: &Window,
        selector: &Selector,
    ) -> Result<Vec<Element>, WindowError> {
        let mut roots = vec![self.root(window).await?];
        for part in &selector.parts {
            let mut found = Vec::new();
            for root in &roots {
                found.extend(self.matches(window, root, part).await?);
                if found.len() >= ELEMENTS_MAX {
                    break;
                }
            }
            roots = found;
        }
        roots.truncate(ELEMENTS_MAX);
        Ok(roots.into_iter().map(|object_id| Element::new(self.clone(), object_id)).collect())
    }

    async fn matches(&self, window: &Window, root: &str, part: &Part) -> Result<Vec<String>, WindowError> {
        let (kind, value) = match part {
            Part::Css(value) => ("css", value),
            Part::Text(value) => ("text", value),
            Part::XPath(value) => ("xpath", value),
            Part::Pierce(value) => ("pierce", value),
            Part::Aria { name, role } => return self.accessible(window, root, name, role.as_deref()).await,
        };
        let arguments = vec![Argument::Value(json!(kind)), Argument::Value(json!(value))];
        self.elements(window, root, MATCHES, arguments).await
    }

    /// By accessible name and role, as Chromium computes them.
    async fn accessible(
        &self,
        window: &Window,
        root: &str,
        name: &str,
        role: Option<&str>,
    ) -> Result<Vec<String>, WindowError> {
        let connection = &window.shard.connection;
        let query = QueryAxTree {
            object_id: root.into(),
            accessible_name: (!name.is_empty()).then(|| name.into()),
            role: role.map(Into::into),
        };
        let nodes = self.tab.call(connection, &self.session, query, COMMAND_TIMEOUT).await?.nodes;
        // The text inside a named element has the same name; it is no element to click.
        let is_text = |value: &Value| matches!(value.as_str(), Some("StaticText" | "InlineTextBox"));
        let elements = nodes
            .into_iter()
            .filter(|node| !node.ignored)
            .filter(|node| !node.role.as_ref().and_then(|role| role.value.as_ref()).is_some_and(is_text));
        let world = self.world(window).await?;
        let mut found = Vec::new();
        for backend_node_id in elements.filter_map(|node| node.backend_node_id).take(ELEMENTS_MAX) {
            let resolve = ResolveNode { backend_node_id, execution_context_id: Some(world) };
            let resolved = self.tab.call(connection, &self.session, resolve, COMMAND_TIMEOUT).await?;
            found.extend(resolved.object.object_id);
        }
        Ok(found)
    }

    /// Calls a function that gives an array of elements, and takes the array apart.
    async fn elements(
        &self,
        window: &Window,
        this: &str,
        function: &str,
        arguments: Vec<Argument>,
    ) -> Result<Vec<String>, WindowError> {
        let call = CallFunctionOn {
            function_declaration: function.into(),
            object_id: Some(this.into()),
            execution_context_id: None,
            arguments,
            return_by_value: false,
            await_promise: false,
            user_gesture: false,
        };
        let evaluated = run(&window.shard, &self.tab, &self.session, call, COMMAND_TIMEOUT).await?;
        let Some(object_id) =
            evaluated.result.object_id.clone().filter(|_| evaluated.exception_details.is_none())
        else {
            // It threw, say because the selector is none.
            return evaluated_value(evaluated).map(|_| Vec::new());
        };
        let properties = GetProperties { object_id, own_properties: true };
        let array =
            self.tab.call(&window.shard.connection, &self.session, properties, COMMAND_TIMEOUT).await?.result;
        let entries = array.into_iter().filter(|entry| entry.name.parse::<usize>().is_ok());
        let handles = entries.filter_map(|entry| entry.value.and_then(|value: RemoteObject| value.object_id));
        Ok(handles.take(ELEMENTS_MAX).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_target_is_found_whatever_its_query() {
        assert!(same_page("http://a.test/popup?x=1#top", "http://a.test/popup?x=2"));
        assert!(same_page("http://a.test/", "http://a.test"));
        assert!(!same_page("http://a.test/other", "http://a.test/popup"));
    }
}
