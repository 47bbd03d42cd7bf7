//! Restoring the scroll position and the fields of a page that has just loaded.

use std::time::Duration;

use pilotlight_cdp::protocol::runtime::{Argument, CallFunctionOn};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use super::{evaluated_value, isolated_world};
use crate::error::WindowError;
use crate::state::{Shard, Tab};

/// How long a loaded page may take to reach its earlier size, and to show its fields.
pub(crate) const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
const SETTLE: &str = concat!(
    "async function (wanted) {\n",
    include_str!("js/codec.js"),
    include_str!("js/settle.js"),
    "return settle(wanted);\n}"
);

/// How the fields of a page are restored. A site uses the interface's own word for it, which this crate does not
/// know: nothing below the server depends on the interface's types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreFields {
    /// Without an event, as browsers themselves restore fields (HTML, "restore persisted state"): the page does not
    /// react.
    #[default]
    Silent,
    /// With the events of typing and choosing, for pages that ignore other changes. They may send something.
    Events,
    /// Not at all.
    No,
}

/// Restores the scroll position of a page that was just loaded again.
pub(crate) async fn scroll_to(shard: &Shard, page: &Tab, url: &Url, scrolled: (f64, f64)) {
    let wanted = json!({"url": url.as_str(), "fields": [], "how": RestoreFields::Silent, "scroll": scrolled});
    bring_back(shard, page, wanted, SETTLE_TIMEOUT).await;
}

pub(crate) async fn bring_back(shard: &Shard, page: &Tab, mut wanted: Value, wait: Duration) {
    wanted["wait"] = json!(wait.as_secs_f64() * 1000.0);
    if let Err(error) = call(shard, page, SETTLE, wanted, wait + SETTLE_TIMEOUT).await {
        tracing::debug!(%error, "failed to restore a page's scroll position");
    }
}

/// Calls a function in an isolated world of a page.
pub(crate) async fn call(
    shard: &Shard,
    page: &Tab,
    function: &str,
    argument: Value,
    timeout: Duration,
) -> Result<Value, WindowError> {
    let context = isolated_world(shard, page, &page.session, &page.target).await?;
    let call = CallFunctionOn::in_context(context, function, vec![Argument::Value(argument)]);
    evaluated_value(page.call(&shard.connection, &page.session, call, timeout).await?)
}
