//! Finding elements by the Recorder's selectors.
//!
//! All kinds except `aria/` are searched for by one function in an isolated world, which the page can neither see nor
//! change. Only Chromium's accessibility tree knows names and roles.

use std::sync::Arc;

use pilotlight_cdp::protocol::browser::{AxNode, QueryAxTree};
use pilotlight_cdp::protocol::dom::ResolveNode;
use pilotlight_cdp::protocol::runtime::{Argument, GetProperties};
use pilotlight_flow::page::MAX_MATCHES;
use pilotlight_flow::selector::{Part, Selector};
use serde_json::{Value, json};

use super::documents::Document;
use super::{Element, Handle};
use crate::error::WindowError;
use crate::window::{COMMAND_TIMEOUT, Window, isolated_world};

/// Searches below each root, or below the document if there is none, for one part of a selector. The smallest
/// elements with a text are those none of whose children has it. A shadow root cannot be the context node of an
/// XPath, but its children can.
const FIND: &str = r#"function (limit, kind, value, ...roots) {
    const found = new Set();
    const everywhere = (root, visit) => {
        visit(root);
        for (const element of root.querySelectorAll('*')) {
            if (element.shadowRoot) everywhere(element.shadowRoot, visit);
        }
    };
    const select = (root) => root.querySelectorAll(value).forEach((element) => found.add(element));
    const path = (start) => {
        const matches = document.evaluate(value, start, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE, null);
        for (let index = 0; index < matches.snapshotLength; index += 1) {
            const node = matches.snapshotItem(index);
            if (node instanceof Element) found.add(node);
        }
    };
    const collapse = (text) => text.replace(/\s+/g, ' ').trim();
    const wanted = collapse(value);
    const silent = ['SCRIPT', 'STYLE', 'NOSCRIPT', 'TEMPLATE', 'HEAD'];
    const texts = new Map();
    const textOf = (node) => {
        if (node.nodeType === Node.TEXT_NODE) return node.data;
        if (silent.includes(node.nodeName)) return '';
        if (texts.has(node)) return texts.get(node);
        const typed = node instanceof HTMLTextAreaElement
            || (node instanceof HTMLInputElement && !['checkbox', 'radio', 'password', 'image'].includes(node.type));
        let text = typed ? node.value : '';
        for (const child of typed ? [] : (node.shadowRoot ?? node).childNodes) text += textOf(child);
        texts.set(node, text);
        return text;
    };
    const smallest = (node) => {
        let inside = false;
        for (const child of (node.shadowRoot ?? node).children ?? []) {
            if (collapse(textOf(child)).includes(wanted)) {
                inside = true;
                smallest(child);
            }
        }
        if (!inside && node instanceof Element) found.add(node);
    };
    for (const start of roots.length ? roots : [document]) {
        const root = start.shadowRoot ?? start;
        if (kind === 'css') select(root);
        if (kind === 'pierce') everywhere(root, select);
        if (kind === 'xpath') (root instanceof ShadowRoot ? [...root.children] : [root]).forEach(path);
        if (kind === 'text' && wanted && collapse(textOf(root)).includes(wanted)) smallest(root);
    }
    return [...found].slice(0, limit);
}"#;

/// Roles of the accessibility tree that are text inside an element, not an element.
const TEXT_ROLES: [&str; 2] = ["StaticText", "InlineTextBox"];

/// Returns every element of a document that matches.
pub(super) async fn find(
    window: &Window,
    document: &Document,
    selector: &Selector,
) -> Result<Vec<Element>, WindowError> {
    let mut found: Option<Vec<Handle>> = None;
    for part in &selector.parts {
        // The document itself is not queried: each query of the page takes time.
        let roots = found.as_deref().unwrap_or_default();
        if found.is_some() && roots.is_empty() {
            break;
        }
        found = Some(match part {
            Part::Css(value) => by_script(window, document, "css", value, roots).await?,
            Part::Text(value) => by_script(window, document, "text", value, roots).await?,
            Part::XPath(value) => by_script(window, document, "xpath", value, roots).await?,
            Part::Pierce(value) => by_script(window, document, "pierce", value, roots).await?,
            Part::Aria { name, role } if roots.is_empty() => {
                let root = window.call_in(document, "function () { return document; }", vec![]).await?;
                let root: Vec<Handle> = root.into_iter().collect();
                by_name(window, document, name, role.as_deref(), &root).await?
            }
            Part::Aria { name, role } => by_name(window, document, name, role.as_deref(), roots).await?,
        });
    }
    let element = |handle| Element {
        tab: Arc::clone(&document.tab),
        session: document.session.clone(),
        handle: Arc::new(handle),
    };
    Ok(found.unwrap_or_default().into_iter().map(element).collect())
}

async fn by_script(
    window: &Window,
    document: &Document,
    kind: &str,
    value: &str,
    roots: &[Handle],
) -> Result<Vec<Handle>, WindowError> {
    let mut arguments: Vec<Argument> =
        [json!(MAX_MATCHES), json!(kind), json!(value)].into_iter().map(Argument::Value).collect();
    arguments.extend(roots.iter().map(|root| Argument::ObjectId(root.id.clone())));
    let Some(list) = window.call_in(document, FIND, arguments).await? else { return Ok(vec![]) };
    let properties = GetProperties { object_id: list.id.clone(), own_properties: true };
    let connection = &window.shard.connection;
    let properties = document.tab.call(connection, &document.session, properties, COMMAND_TIMEOUT).await?;
    let elements = properties.result.into_iter().filter(|property| property.name.parse::<usize>().is_ok());
    let ids = elements.filter_map(|property| property.value?.object_id);
    Ok(ids.map(|id| window.handle(&document.session, id)).collect())
}

async fn by_name(
    window: &Window,
    document: &Document,
    name: &str,
    role: Option<&str>,
    roots: &[Handle],
) -> Result<Vec<Handle>, WindowError> {
    let (connection, session) = (&window.shard.connection, &document.session);
    // Chromium replies once it has drawn the page, and it draws no page that is behind another.
    window.bring_to_front(&document.tab).await?;
    let context = isolated_world(&window.shard, &document.tab, session, &document.frame).await?;
    let mut found = Vec::new();
    for root in roots {
        let query = QueryAxTree {
            object_id: root.id.clone(),
            accessible_name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            role: role.map(ToOwned::to_owned),
        };
        let nodes = document.tab.call(connection, session, query, COMMAND_TIMEOUT).await?.nodes;
        let elements = nodes.iter().filter(|node| is_element(node)).filter_map(|node| node.backend_node_id);
        for backend_node_id in elements.take(MAX_MATCHES - found.len()) {
            let resolve = ResolveNode { backend_node_id, execution_context_id: Some(context) };
            let object = document.tab.call(connection, session, resolve, COMMAND_TIMEOUT).await?.object;
            found.extend(object.object_id.map(|id| window.handle(session, id)));
        }
    }
    Ok(found)
}

fn is_element(node: &AxNode) -> bool {
    let role = node.role.as_ref().and_then(|role| role.value.as_ref()).and_then(Value::as_str);
    !node.ignored && role.is_none_or(|role| !TEXT_ROLES.contains(&role))
}
