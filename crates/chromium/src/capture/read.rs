//! Reading: what a document shows and what its origin has stored, asked in our own world of one frame.

use pilotlight_cdp::SessionId;
use pilotlight_cdp::protocol::runtime::{Argument, CallFunctionOn};
use pilotlight_cdp::protocol::storage::{GetObjectStoreMetadata, TrackIndexedDb};
use pilotlight_checkpoint::{Entry, Field, Origin};
use serde::Deserialize;
use serde_json::{Value, json};

use super::stub::Stub;
use super::take::CAPTURE_TIMEOUT;
use crate::error::WindowError;
use crate::state::{Shard, Tab};
use crate::window::{evaluated_value, isolated_world};

/// How many form fields of a page are kept.
const FIELDS_MAX: usize = 500;
/// The longest text of a form field that is kept, in UTF-16 units.
const FIELD_TEXT_MAX: usize = 100_000;
/// How many databases of an origin are kept.
const DATABASES_MAX: usize = 32;
/// How many records a database may have; larger ones are left out as a whole.
const DATABASE_RECORDS_MAX: usize = 50_000;
/// How large a database may be, in bytes of Chromium's answer; larger ones are left out as a whole.
const DATABASE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How large all databases of a checkpoint may be together, in bytes likewise: far below what one message may
/// have. The first that are read come.
pub(super) const DATABASES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How many records are read at once.
const DATABASE_BATCH_RECORDS: usize = 500;

const READ: &str = concat!(
    "async function ({page, stored, limits}) {\n",
    include_str!("../window/js/codec.js"),
    include_str!("js/read.js"),
    "
    const result = {origin: self.origin};
    if (page) result.page = readPage(limits);
    result.session = orNothing(() => entriesOf(sessionStorage));
    if (stored) {
        result.local = orNothing(() => entriesOf(localStorage));
        const {read, size, left} = await readDatabases(limits);
        Object.assign(result, {databases: read, size, left});
    }
    return JSON.stringify(result);
}"
);

/// What is wanted of a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// What it shows.
    pub(super) page: bool,
    /// What its origin has stored.
    pub(super) stored: bool,
    /// How large its databases may be together.
    pub(super) budget_bytes: usize,
}

/// What a document answered.
#[derive(Deserialize)]
pub(super) struct Answer {
    pub(super) origin: String,
    pub(super) page: Option<Shown>,
    pub(super) session: Vec<Entry>,
    #[serde(default)]
    local: Vec<Entry>,
    #[serde(default)]
    databases: Vec<Value>,
    /// How large the databases are together, in bytes of this answer at most.
    #[serde(default, rename = "size")]
    pub(super) databases_bytes: usize,
    /// How many databases were left out.
    #[serde(default)]
    left: usize,
}

/// What a document shows.
#[derive(Deserialize)]
pub(super) struct Shown {
    /// Whether nobody waits yet for its next scroll or input.
    pub(super) watch: bool,
    pub(super) url: String,
    pub(super) title: String,
    pub(super) name: String,
    pub(super) scroll: (f64, f64),
    pub(super) fields: Vec<Field>,
}

/// Asks a frame. Where it hangs, that is not ended: it is the page's own affair.
pub(super) async fn frame(
    shard: &Shard,
    tab: &Tab,
    session: &SessionId,
    frame: &str,
    wanted: Wanted,
) -> Result<Answer, WindowError> {
    let context = isolated_world(shard, tab, session, frame).await?;
    let call = CallFunctionOn::in_context(context, READ, vec![Argument::Value(question(wanted))]);
    let evaluated = tab.call(&shard.connection, session, call, CAPTURE_TIMEOUT).await?;
    answer_in(&evaluated_value(evaluated)?)
}

/// Reads an origin that no frame shows.
pub(super) async fn left_behind(
    shard: &Shard,
    stub: &Stub,
    origin: &str,
    budget_bytes: usize,
) -> Result<(Origin, usize), WindowError> {
    let wanted = Wanted { page: false, stored: true, budget_bytes };
    let answer = answer_in(&stub.call(origin, READ, question(wanted), CAPTURE_TIMEOUT).await?)?;
    let databases_bytes = answer.databases_bytes;
    Ok((stored(shard, stub.session(), answer, &format!("{origin}/")).await, databases_bytes))
}

/// What an origin has stored. Chromium alone knows which number a store gives out next.
pub(super) async fn stored(shard: &Shard, session: &SessionId, answer: Answer, storage_key: &str) -> Origin {
    let Answer { origin, local: local_storage, databases: mut indexed_db, left, .. } = answer;
    if left > 0 {
        tracing::info!(origin, left, "databases that are too large or unreadable are left out");
    }
    for database in &mut indexed_db {
        let database_name = text(&database["name"]);
        let stores = database["stores"].as_array_mut().into_iter().flatten();
        for store in stores.filter(|store| store["autoIncrement"] == json!(true)) {
            let ask = GetObjectStoreMetadata {
                storage_key: storage_key.into(),
                database_name: database_name.clone(),
                object_store_name: text(&store["name"]),
            };
            match shard.connection.call_within(Some(session), ask, CAPTURE_TIMEOUT).await {
                Ok(told) => store["keyGenerator"] = json!(told.key_generator_value),
                Err(error) => tracing::debug!(%error, "a store does not tell its next number"),
            }
        }
    }
    Origin { origin, local_storage, indexed_db }
}

/// Has Chromium tell when databases are written.
pub(super) async fn track(shard: &Shard, session: &SessionId, storage_key: &str) {
    let track = TrackIndexedDb { storage_key: storage_key.into() };
    if let Err(error) = shard.connection.call_within(Some(session), track, CAPTURE_TIMEOUT).await {
        tracing::debug!(%error, "databases are not watched");
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

fn question(wanted: Wanted) -> Value {
    json!({
        "page": wanted.page,
        "stored": wanted.stored,
        "limits": {
            "fields": FIELDS_MAX,
            "text": FIELD_TEXT_MAX,
            "databases": DATABASES_MAX,
            "records": DATABASE_RECORDS_MAX,
            "databaseSize": DATABASE_BYTES_MAX,
            "budget": wanted.budget_bytes,
            "batch": DATABASE_BATCH_RECORDS,
        },
    })
}

pub(super) fn answer_in(value: &Value) -> Result<Answer, WindowError> {
    // Not with what it says: that may be secret.
    serde_json::from_str(value.as_str().unwrap_or_default())
        .map_err(|_| WindowError::Script("what a page holds could not be read".into()))
}
