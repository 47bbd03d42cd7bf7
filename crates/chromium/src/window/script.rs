//! Scripts in a page: evaluated with limits, and their results as JSON.

use std::time::Duration;

use pilotlight_cdp::protocol::page::CreateIsolatedWorld;
use pilotlight_cdp::protocol::runtime::{
    Argument, CallFunctionOn, Evaluate, Evaluated, ExceptionDetails, RemoteObject, TerminateExecution,
};
use pilotlight_cdp::{Command, SessionId};
use serde_json::{Value, json};
use url::Url;

use super::COMMAND_TIMEOUT;
use super::navigation::{check_url, without_user_information};
use crate::error::WindowError;
use crate::state::{Shard, Tab};

/// The name of our isolated world in a page: its own globals, which the page can neither see nor change.
pub(crate) const WORLD: &str = "pilotlight";
/// A page that does not answer the simplest query for this long is blocked by a script.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long ending such a script may take.
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest message of a thrown error that is returned, in characters.
const MESSAGE_CHARACTERS_MAX: usize = 500;
/// The marker of an aborted fetch.
const FETCH: &str = "async function (url, timeoutMs) {
    try {
        const response = await fetch(url, {
            credentials: 'include', cache: 'no-store', signal: AbortSignal.timeout(timeoutMs),
        });
        response.body?.cancel();
        return {status: response.status, isRedirected: response.redirected};
    } catch (error) {
        return {failed: String(error.message), timedOut: error.name === 'TimeoutError'};
    }
}";

/// The answer to a request that was sent from inside a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageAnswer {
    /// The HTTP status.
    pub status: u16,
    /// Whether it came after a redirect.
    pub is_redirected: bool,
}

/// Evaluates an expression in a context of `session`, in the page's own world if `context` is `None`.
pub(crate) async fn evaluate(
    shard: &Shard,
    tab: &Tab,
    session: &SessionId,
    context: Option<i64>,
    expression: &str,
    timeout: Duration,
) -> Result<Value, WindowError> {
    let command = Evaluate {
        expression: expression.into(),
        context_id: context,
        return_by_value: true,
        await_promise: true,
        user_gesture: true,
    };
    let evaluated = run(shard, tab, session, command, timeout).await.map_err(not_json);
    evaluated_value(evaluated?)
}

/// A result that cannot be serialised (V8, `src/inspector/value-mirror.cc`) is an error of the script.
fn not_json(error: WindowError) -> WindowError {
    const NOT_JSON: [&str; 2] =
        ["Object reference chain is too long", "Object couldn't be returned by value"];
    match error {
        WindowError::Refused { reason, .. } if NOT_JSON.contains(&reason.as_str()) => {
            WindowError::Script("the result cannot be given as JSON".to_owned())
        }
        other => other,
    }
}

/// Sends a command that runs a script. If it times out because a script does not end, that script is ended, so that
/// the page can be used again; a promise that merely takes long is left alone.
pub(crate) async fn run<C: Command<Reply = Evaluated>>(
    shard: &Shard,
    tab: &Tab,
    session: &SessionId,
    command: C,
    timeout: Duration,
) -> Result<Evaluated, WindowError> {
    let connection = &shard.connection;
    let result = tab.call(connection, session, command, timeout).await;
    // A hidden page may share its renderer with the page in use, whose script would be ended.
    if matches!(result, Err(WindowError::Timeout(_))) && tab.expected.is_none() {
        let probe = Evaluate {
            expression: "0".into(),
            context_id: None,
            return_by_value: true,
            await_promise: false,
            user_gesture: false,
        };
        if tab.call(connection, session, probe, PROBE_TIMEOUT).await.is_err() {
            tracing::info!("ending a script that does not end");
            tab.call(connection, session, TerminateExecution {}, TERMINATE_TIMEOUT).await?;
        }
    }
    result
}

/// Returns the result, or the thrown error.
pub(crate) fn evaluated_value(evaluated: Evaluated) -> Result<Value, WindowError> {
    match evaluated.exception_details {
        Some(details) => Err(WindowError::Script(message_of(details))),
        None => Ok(value_of(evaluated.result)),
    }
}

fn value_of(object: RemoteObject) -> Value {
    if object.kind == "bigint" {
        let digits = object.unserializable_value.unwrap_or_default();
        return Value::String(digits.trim_end_matches('n').into());
    }
    if object.unserializable_value.as_deref() == Some("-0") {
        return json!(0);
    }
    object.value.unwrap_or(Value::Null)
}

/// Only the first line: the rest is a stack of our own code.
pub(crate) fn message_of(details: ExceptionDetails) -> String {
    let thrown = details.exception.map(|exception| match exception.description {
        Some(description) => description,
        None => match value_of(exception) {
            Value::String(text) => text,
            value => value.to_string(),
        },
    });
    let text = thrown.unwrap_or(details.text);
    text.lines().next().unwrap_or_default().chars().take(MESSAGE_CHARACTERS_MAX).collect()
}

/// Returns the context of our isolated world in a frame.
pub(crate) async fn isolated_world(
    shard: &Shard,
    tab: &Tab,
    session: &SessionId,
    frame: &str,
) -> Result<i64, WindowError> {
    let create = CreateIsolatedWorld { frame_id: frame.into(), world_name: WORLD };
    let world = tab.call(&shard.connection, session, create, COMMAND_TIMEOUT).await?;
    Ok(world.execution_context_id)
}

/// Fetches from inside the page, in an isolated world, so that the page's own changes to `fetch` do not matter.
pub(crate) async fn request(
    shard: &Shard,
    tab: &Tab,
    url: &str,
    timeout: Duration,
) -> Result<PageAnswer, WindowError> {
    let page = tab.status.borrow().url.clone();
    let absolute = Url::parse(&page).and_then(|page| page.join(url)).or_else(|_| Url::parse(url));
    let url = check_url(absolute.map_err(|_| WindowError::Url)?.as_str())?;
    let context = isolated_world(shard, tab, &tab.session, &tab.target).await?;
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let call = CallFunctionOn::in_context(
        context,
        FETCH,
        vec![Argument::Value(json!(url.as_str())), Argument::Value(json!(timeout_ms))],
    );
    // The page has its own time limit; ours is for an unresponsive page.
    let answer = evaluated_value(run(shard, tab, &tab.session, call, timeout + PROBE_TIMEOUT).await?)?;
    if let Some(status) = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok()) {
        return Ok(PageAnswer { status, is_redirected: answer["isRedirected"] == json!(true) });
    }
    if answer["timedOut"] == json!(true) {
        return Err(WindowError::Timeout(timeout));
    }
    let reason = answer["failed"].as_str().unwrap_or("no reason given").to_owned();
    Err(WindowError::Unreachable { url: without_user_information(&url), reason })
}
