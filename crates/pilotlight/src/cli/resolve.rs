//! Finds a session by its id, a unique prefix of the id, or its name.

use crate::exit::{FAILED, Failure};
use pilotlight_api::Session;

/// The most sessions that are named where several could be meant.
const MAX_NAMED: usize = 5;

/// The session that `text` means: its id or name, else the one whose id begins so.
pub(super) fn resolve<'a>(sessions: &'a [Session], text: &str) -> Result<&'a Session, Failure> {
    let id_of = |session: &Session| session.session_id.to_string();
    let lowercase = text.to_ascii_lowercase();
    if let Some(exact) = sessions.iter().find(|session| id_of(session) == lowercase) {
        return Ok(exact);
    }
    if let Some(named) = sessions.iter().find(|session| session.name.as_deref() == Some(text)) {
        return Ok(named);
    }
    let begins = |session: &&Session| !text.is_empty() && id_of(session).starts_with(&lowercase);
    let meant: Vec<&Session> = sessions.iter().filter(begins).collect();
    match meant.as_slice() {
        [session] => Ok(session),
        [] => Err(Failure::new(FAILED, format!("there is no session with the id or name `{text}`"))
            .with_hint("`pilotlight list` lists the sessions")),
        several => {
            let mut named: Vec<String> =
                several.iter().take(MAX_NAMED).map(|session| id_of(session)).collect();
            if several.len() > MAX_NAMED {
                named.push(format!("{} more", several.len() - MAX_NAMED));
            }
            Err(Failure::new(
                FAILED,
                format!("{} session ids start with `{text}`: {}", several.len(), named.join(", ")),
            )
            .with_hint("give more of the id, or the session's name"))
        }
    }
}
