//! Tables for people. Without borders and colours, so that they are easy to read, cut and search.

use comfy_table::{Table, presets};
use jiff::Timestamp;
use pilotlight_api::{Event, MemoryMeasure, Session, SessionSignIn};

use crate::sentence::{printable, size};

/// The maximum length of a URL or title in a table, in characters.
const MAX_CELL_CHARS: usize = 60;

/// Formats the sessions, one per line.
pub(crate) fn sessions(sessions: &[Session], now: Timestamp) -> String {
    let header = [
        "ID",
        "NAME",
        "SITE",
        "USER",
        "STATE",
        "SIGN-IN",
        "IN USE",
        "LAST USED",
        "REFRESHED",
        "MEMORY",
        "SWAPPED",
        "URL",
    ];
    let rows = sessions.iter().zip(short_ids(sessions)).map(|(session, id)| {
        vec![
            id,
            text(session.name.as_deref()),
            text(session.site.as_deref()),
            text(session.username.as_deref()),
            session.state.to_string(),
            session.sign_in.status.to_string(),
            yes_or_no(session.in_use).to_owned(),
            ago(Some(session.last_used), now),
            ago(session.last_refresh, now),
            size(session.memory_bytes),
            size(session.swapped_bytes),
            text(session.url.as_deref()),
        ]
    });
    if sessions.is_empty() { String::new() } else { lines(&header, rows) }
}

/// Formats all fields of a session, one per line.
pub(crate) fn session(session: &Session, now: Timestamp) -> String {
    let optional = |value: Option<&str>| value.map_or_else(|| "-".to_owned(), printable);
    let tags: Vec<String> =
        session.tags.iter().map(|(key, value)| printable(&format!("{key}:{value}"))).collect();
    let fields = [
        ("session_id", session.session_id.to_string()),
        ("name", optional(session.name.as_deref())),
        ("site", optional(session.site.as_deref())),
        ("username", optional(session.username.as_deref())),
        ("credential", optional(session.credential.as_deref())),
        ("state", session.state.to_string()),
        ("sign_in", sign_in(&session.sign_in, now)),
        ("attention", optional(session.attention.as_deref())),
        ("in_use", yes_or_no(session.in_use).to_owned()),
        ("keep_alive", yes_or_no(session.keep_alive).to_owned()),
        ("never_terminate", yes_or_no(session.never_terminate).to_owned()),
        ("created_at", when(Some(session.created_at), now)),
        ("last_used", when(Some(session.last_used), now)),
        ("last_refresh", when(session.last_refresh, now)),
        ("expires_at", session.expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string())),
        ("url", optional(session.url.as_deref())),
        ("title", optional(session.title.as_deref())),
        ("tabs", session.tabs.to_string()),
        ("profile", printable(&session.profile)),
        ("shard", optional(session.shard.as_deref())),
        ("memory", size(session.memory_bytes)),
        ("swapped", size(session.swapped_bytes)),
        ("memory_measure", optional(session.memory_measure.map(MemoryMeasure::as_str))),
        ("stored", size(session.storage_bytes)),
        ("cdp_url", optional(session.cdp_url.as_deref())),
        ("live_url", optional(session.live_url.as_deref())),
        ("failure_url", optional(session.failure_url.as_deref())),
        ("tags", if tags.is_empty() { "-".to_owned() } else { tags.join(" ") }),
    ];
    lines(&[], fields.into_iter().map(|(name, value)| vec![name.to_owned(), value]))
}

/// Formats whether a session is signed in, how that is known, and since when.
fn sign_in(sign_in: &SessionSignIn, now: Timestamp) -> String {
    match sign_in.how.zip(sign_in.checked_at) {
        Some((how, at)) => format!("{} ({}, {})", sign_in.status, how.as_str(), ago(Some(at), now)),
        None => sign_in.status.to_string(),
    }
}

/// Formats an event as one line.
pub(crate) fn event(event: &Event) -> String {
    let who = event.name.clone().or_else(|| event.session_id.map(|id| id.to_string())).unwrap_or_default();
    let state = event.state.map_or("", |state| state.as_str());
    printable(&format!("{:.0}  {who}  {}  {state}  {}", event.time, event.kind.as_str(), event.message))
}

/// Formats rows under a header; without a header, only the columns.
pub(crate) fn lines(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !header.is_empty() {
        table.set_header(header.iter().copied());
    }
    table.add_rows(rows);
    // Without padding at the left edge and at the end of lines.
    let trimmed: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
    trimmed.join("\n")
}

fn text(value: Option<&str>) -> String {
    let value = printable(value.unwrap_or("-"));
    if value.chars().count() <= MAX_CELL_CHARS {
        return value;
    }
    value.chars().take(MAX_CELL_CHARS - 1).chain(['…']).collect()
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// Formats the time since a moment, in its largest unit.
fn ago(time: Option<Timestamp>, now: Timestamp) -> String {
    let Some(time) = time else { return "-".to_owned() };
    match now.duration_since(time).as_secs() {
        ..=0 => "now".to_owned(),
        seconds @ 1..60 => format!("{seconds}s ago"),
        seconds @ 60..3600 => format!("{}m ago", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h ago", seconds / 3600),
        seconds => format!("{}d ago", seconds / 86_400),
    }
}

fn when(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(|| "-".to_owned(), |at| format!("{at:.0} ({})", ago(Some(at), now)))
}

/// Returns the shortest unique prefix of each id, of at least eight characters.
pub(crate) fn short_ids(sessions: &[Session]) -> Vec<String> {
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
