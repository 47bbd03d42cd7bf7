//! Cookies: reading all of them, and detecting changes, for which Chromium has no events.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use pilotlight_cdp::protocol::storage::{GetCookies, SetCookies};
use pilotlight_checkpoint::Cookie;
use serde_json::Value;

use crate::error::WindowError;
use crate::state::{Shard, WindowState, mark_changed, remind};

/// Returns all cookies, with their digest. Those with an opaque partition key are left out.
pub(crate) async fn read(
    shard: &Shard,
    window: &WindowState,
    timeout: Duration,
) -> Result<(Vec<Cookie>, u64), WindowError> {
    let all = all(shard, window, timeout).await?;
    let digest = digest(&all);
    Ok((all.into_iter().filter_map(cookie).collect(), digest))
}

/// Notes a change if cookies differ from those of the last check, and repeats reports that were not received.
pub(crate) async fn cookies_changed(
    shard: &Shard,
    window: &WindowState,
    timeout: Duration,
) -> Result<(), WindowError> {
    let all = all(shard, window, timeout).await?;
    if window.record.look_at_cookies(digest(&all)) {
        mark_changed(shard, window);
    }
    remind(shard, window);
    Ok(())
}

/// If Chromium rejects one of them, it rejects all; then each is set separately.
pub(crate) async fn write(
    shard: &Shard,
    window: &WindowState,
    cookies: &[Cookie],
    timeout: Duration,
) -> Result<(), WindowError> {
    let cookies: Vec<Value> = cookies.iter().filter_map(|cookie| serde_json::to_value(cookie).ok()).collect();
    if cookies.is_empty() {
        return Ok(());
    }
    match set(shard, window, cookies.clone(), timeout).await {
        Err(WindowError::Refused { .. }) => {}
        other => return other,
    }
    for cookie in cookies {
        match set(shard, window, vec![cookie], timeout).await {
            Ok(()) => {}
            Err(WindowError::Refused { reason, .. }) => {
                tracing::warn!(window = %window.id, reason, "failed to set a cookie");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn all(shard: &Shard, window: &WindowState, timeout: Duration) -> Result<Vec<Value>, WindowError> {
    let get = GetCookies { browser_context_id: window.id.as_str().into() };
    Ok(shard.connection.call_within(None, get, timeout).await?.cookies)
}

async fn set(
    shard: &Shard,
    window: &WindowState,
    cookies: Vec<Value>,
    timeout: Duration,
) -> Result<(), WindowError> {
    let set = SetCookies { cookies, browser_context_id: window.id.as_str().into() };
    shard.connection.call_within(None, set, timeout).await?;
    Ok(())
}

fn cookie(value: Value) -> Option<Cookie> {
    if value["partitionKeyOpaque"] == Value::Bool(true) {
        return None;
    }
    let is_session = value["session"] == Value::Bool(true);
    let mut cookie: Cookie = serde_json::from_value(value)
        .inspect_err(|_| tracing::warn!("a cookie in an unknown format is left out"))
        .ok()?;
    // Chromium returns -1, which it would not accept.
    cookie.expires = cookie.expires.filter(|_| !is_session);
    Some(cookie)
}

/// Returns a digest that does not depend on their order; 0 if there are none.
fn digest(cookies: &[Value]) -> u64 {
    let digests = cookies.iter().map(|cookie| {
        let mut hasher = DefaultHasher::new();
        cookie.to_string().hash(&mut hasher);
        hasher.finish()
    });
    digests.fold(0, |all, one| all ^ one)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cookies_are_taken_over_with_every_field() {
        let said = json!({
            "name": "__Host-sid", "value": "v", "domain": "a.test", "path": "/", "expires": -1, "size": 11,
            "httpOnly": true, "secure": true, "session": true, "sameSite": "None", "priority": "High",
            "sourceScheme": "Secure", "sourcePort": 443,
            "partitionKey": {"topLevelSite": "https://top.test", "hasCrossSiteAncestor": true},
        });
        let written = serde_json::to_value(cookie(said.clone()).unwrap()).unwrap();
        let mut wanted = said;
        for only_told in ["expires", "size", "session"] {
            wanted.as_object_mut().unwrap().remove(only_told);
        }
        assert_eq!(written, wanted);
    }

    #[test]
    fn lasting_cookies_keep_their_end_and_opaque_ones_are_left_out() {
        let lasting = json!({"name": "a", "value": "", "domain": ".a.test", "path": "/", "expires": 1.5e9, "session": false});
        assert_eq!(cookie(lasting).unwrap().expires, Some(1.5e9));
        let opaque =
            json!({"name": "a", "value": "", "domain": ".a.test", "path": "/", "partitionKeyOpaque": true});
        assert!(cookie(opaque).is_none());
    }

    #[test]
    fn the_order_of_cookies_is_no_change() {
        let (one, other) = (json!({"name": "a"}), json!({"name": "b"}));
        assert_eq!(digest(&[one.clone(), other.clone()]), digest(&[other, one.clone()]));
        assert_ne!(digest(std::slice::from_ref(&one)), digest(&[]));
        assert_eq!(digest(&[]), 0);
        assert_ne!(digest(&[one]), digest(&[json!({"name": "a", "value": "new"})]));
    }
}
