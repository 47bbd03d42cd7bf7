//! Reading: what a document shows and what its origin has stored, queried in an isolated world of one frame.

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

/// Form fields of a page that are kept.
const FIELDS_MAX: usize = 500;
/// The longest text of a form field that is kept, in UTF-16 units.
const FIELD_TEXT_MAX: usize = 100_000;
/// Databases of an origin that are kept.
const DATABASES_MAX: usize = 32;
/// Records of a database; larger databases are left out as a whole.
const DATABASE_RECORDS_MAX: usize = 50_000;
/// The size of a database in bytes of Chromium's reply; larger ones are left out as a whole.
const DATABASE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The size of all databases of a checkpoint together, in the same unit: far below the limit of one message. The ones
/// that are read first are kept.
pub(super) const DATABASES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Records that are read at once.
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

/// What to read of a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// What it shows.
    pub(super) page: bool,
    /// What its origin has stored.
    pub(super) stored: bool,
    /// The limit of all of its databases together.
    pub(super) budget_bytes: usize,
}

/// The reply of a document.
#[derive(Deserialize)]
pub(super) struct Answer {
    pub(super) origin: String,
    pub(super) page: Option<Shown>,
    pub(super) session: Vec<Entry>,
    #[serde(default)]
    local: Vec<Entry>,
    #[serde(default)]
    databases: Vec<Value>,
    /// The size of the databases, in bytes of this reply at most.
    #[serde(default, rename = "size")]
    pub(super) databases_bytes: usize,
    /// How many databases were left out.
    #[serde(default)]
    left: usize,
}

/// What a document shows.
#[derive(Deserialize)]
pub(super) struct Shown {
    /// Whether its next scroll or input is not being waited for yet.
    pub(super) watch: bool,
    pub(super) url: String,
    pub(super) title: String,
    pub(super) name: String,
    pub(super) scroll: (f64, f64),
    pub(super) fields: Vec<Field>,
}

/// Queries a frame. If it does not respond, its script is not ended: that is the page's own affair.
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

/// Returns what an origin has stored. Only Chromium knows the next key of a key generator.
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
                Err(error) => tracing::debug!(%error, "the next key of a store is not known"),
            }
        }
    }
    Origin { origin, local_storage, indexed_db }
}

/// Enables the events of writes to databases.
pub(super) async fn track(shard: &Shard, session: &SessionId, storage_key: &str) {
    let track = TrackIndexedDb { storage_key: storage_key.into() };
    if let Err(error) = shard.connection.call_within(Some(session), track, CAPTURE_TIMEOUT).await {
        tracing::debug!(%error, "failed to enable events of databases");
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
    // Without the reply itself, which may be secret.
    serde_json::from_str(value.as_str().unwrap_or_default())
        .map_err(|_| WindowError::Script("what a page holds could not be read".into()))
}
