//! Which session somebody means: an id, a unique beginning of one, or a name.

use pilotlight_api::Session;

use super::exit_codes::FAILED;
use super::failure::Failure;

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
        [] => Err(Failure::new(FAILED, format!("no living session has the id or name `{text}`"))
            .with_hint("`pilotlight list` shows the sessions")),
        several => {
            let mut named: Vec<String> =
                several.iter().take(MAX_NAMED).map(|session| id_of(session)).collect();
            if several.len() > MAX_NAMED {
                named.push(format!("{} more", several.len() - MAX_NAMED));
            }
            Err(Failure::new(
                FAILED,
                format!("{} sessions begin with `{text}`: {}", several.len(), named.join(", ")),
            )
            .with_hint("write more of the id, or the session's name"))
        }
    }
}

/// For each id its shortest beginning that no other has, but at least eight characters.
pub(super) fn short_ids(sessions: &[Session]) -> Vec<String> {
    const LEAST_CHARS: usize = 8;
    let mut ids: Vec<String> = sessions.iter().map(|session| session.session_id.to_string()).collect();
    let all = ids.clone();
    for id in &mut ids {
        let common = all
            .iter()
            .filter(|other| *other != id)
            .map(|other| other.bytes().zip(id.bytes()).take_while(|(one, two)| one == two).count())
            .max();
        id.truncate(common.map_or(LEAST_CHARS, |common| (common + 1).max(LEAST_CHARS)));
    }
    ids
}
