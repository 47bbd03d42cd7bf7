use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use tempfile::TempDir;

use super::opening::OWNER_FILE;
use super::*;
use crate::samples::{checkpoint_at, credential, id, keyring, operation, session};
use crate::seal::SealError;

/// A frame of the log: a header and a page.
const FRAME_BYTES: usize = 24 + 4096;
const LOG_HEADER_BYTES: usize = 32;

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("store.sqlite")
    }

    fn log(&self) -> PathBuf {
        log_path(&self.path())
    }

    fn try_open(&self, names: &[&str]) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&self.path(), keyring(names))
    }

    fn open(&self) -> SqliteStore {
        self.try_open(&["a"]).unwrap()
    }

    /// With three sessions, their checkpoints and a credential, open.
    fn filled(&self) -> SqliteStore {
        let mut store = self.open();
        store.save_sessions(&[session(1, "one"), session(2, "two"), session(3, "three")]).unwrap();
        for number in 1..=3 {
            store.save_checkpoint(id(number), &checkpoint_at(0)).unwrap();
        }
        store.save_credential(&credential()).unwrap();
        store
    }

    /// As a crash would leave it: the files of a store that is still open.
    fn crashed(&self) -> Self {
        let copy = Self::new();
        for (name, bytes) in self.files() {
            fs::write(copy.folder.path().join(name), bytes).unwrap();
        }
        copy
    }

    fn files(&self) -> BTreeMap<OsString, Vec<u8>> {
        let read = |entry: io::Result<fs::DirEntry>| {
            let entry = entry.unwrap();
            (entry.file_name(), fs::read(entry.path()).unwrap())
        };
        fs::read_dir(self.folder.path()).unwrap().map(read).collect()
    }

    /// Why it does not open. Must not change a byte.
    fn refusal(&self, names: &[&str]) -> StoreError {
        let before = self.files();
        let error = self.try_open(names).unwrap_err();
        assert!(self.files() == before, "changed by {error}");
        error
    }
}

/// The names of the sessions, and when their checkpoints were taken.
fn contents(store: &mut SqliteStore) -> BTreeMap<String, u64> {
    let loaded = store.load().unwrap();
    assert_eq!(loaded.damaged, []);
    let content = |session: LoadedSession| {
        let checkpoint = store.checkpoint(session.record.id).unwrap().unwrap();
        assert_eq!(session.checkpoint.unwrap().taken_at_ms, checkpoint.taken_at_ms);
        (session.record.name.unwrap(), checkpoint.taken_at_ms)
    };
    loaded.sessions.into_iter().map(content).collect()
}

#[test]
fn a_closed_store_has_everything_in_one_file_for_the_owner() {
    let place = Place::new();
    let before = contents(&mut place.filled());
    // But for the room that is kept free.
    assert_eq!(place.files().into_keys().collect::<Vec<_>>(), ["store.sqlite", "store.sqlite-reserve"]);
    assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, OWNER_FILE);
    fs::set_permissions(place.path(), Permissions::from_mode(0o644)).unwrap();
    let mut store = place.open();
    assert_eq!(contents(&mut store), before);
    store.save_checkpoint(id(1), &checkpoint_at(1)).unwrap();
    for file in [place.path(), place.log()] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, OWNER_FILE);
    }
}

#[test]
fn nothing_can_be_read_in_the_files() {
    let place = Place::new();
    let store = place.filled();
    for (name, bytes) in place.files() {
        for secret in ["portal.example", "p4ss", "pr0xy", "ada", "sid", "harbour", "GEZDGNBVGY3TQOJQ"] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is in {name:?}");
        }
    }
    drop(store);
}

/// The log holds nothing which is already in the file, so whatever its end lost, the rest is a whole state.
#[test]
fn a_log_cut_off_anywhere_leaves_an_older_but_whole_state() {
    const ROUNDS: u64 = 12;
    let place = Place::new();
    let mut store = place.filled();
    store.save_sessions(&[session(2, "two again")]).unwrap();
    assert_eq!(fs::metadata(place.log()).unwrap().len(), 0);
    for round in 1..=ROUNDS {
        for number in 1..=3 {
            store.save_checkpoint(id(number), &checkpoint_at(round)).unwrap();
        }
    }
    let file = fs::read(place.path()).unwrap();
    let log = fs::read(place.log()).unwrap();
    let frames = (log.len() - LOG_HEADER_BYTES) / FRAME_BYTES;
    assert!(frames > 30, "{frames}");

    // The header and the first frame's, the neighbourhood of every frame's end, and anything else.
    let mut cuts: Vec<usize> = (0..LOG_HEADER_BYTES + 30).collect();
    for end in (0..=frames).map(|frame| LOG_HEADER_BYTES + frame * FRAME_BYTES) {
        cuts.extend(
            [end - 1, end, end + 1, end + 23, end + 24, end + 25].iter().filter(|cut| **cut <= log.len()),
        );
    }
    cuts.extend((0..50).map(|_| rand::random_range(0..log.len())));
    cuts.sort_unstable();
    let mut newest = 0;
    for cut in cuts {
        for garbage_bytes in [0, 2 * FRAME_BYTES] {
            let copy = Place::new();
            let garbage = std::iter::repeat_with(rand::random::<u8>).take(garbage_bytes);
            fs::write(copy.path(), &file).unwrap();
            fs::write(copy.log(), log[..cut].iter().copied().chain(garbage).collect::<Vec<_>>()).unwrap();
            let contents = contents(&mut copy.open());
            assert_eq!(contents.keys().collect::<Vec<_>>(), ["one", "three", "two again"], "cut at {cut}");
            // Never older than with a shorter log. (Garbage may by chance complete what was cut.)
            if garbage_bytes == 0 {
                let sum: u64 = contents.values().sum();
                assert!(sum >= newest, "cut at {cut}");
                newest = sum;
            }
        }
    }
    assert_eq!(newest, 3 * ROUNDS);
    assert_eq!(contents(&mut store).values().sum::<u64>(), 3 * ROUNDS);
}

#[test]
fn the_log_does_not_grow_forever() {
    let place = Place::new();
    let mut store = place.filled();
    let mut large = checkpoint_at(1);
    large.tabs[0].title = "t".repeat(usize::try_from(WAL_BYTES_MAX / 4).unwrap());
    let mut emptied = 0;
    for _ in 0..9 {
        store.save_checkpoint(id(1), &large).unwrap();
        let log_bytes = fs::metadata(place.log()).unwrap().len();
        assert!(log_bytes <= WAL_BYTES_MAX, "{log_bytes}");
        emptied += u32::from(log_bytes == 0);
    }
    assert!((1..=3).contains(&emptied), "{emptied}");
}

#[test]
fn what_was_saved_outlasts_a_crash() {
    let place = Place::new();
    let mut store = place.filled();
    store.save_checkpoint(id(2), &checkpoint_at(9)).unwrap();
    let crashed = place.crashed();
    assert!(fs::metadata(crashed.log()).unwrap().len() > 0);
    assert_eq!(contents(&mut crashed.open())["two"], 9);
    store.remove_sessions(&[id(2)]).unwrap();
    fs::remove_file(place.crashed().log()).unwrap();
    assert_eq!(contents(&mut place.crashed().open()).len(), 2);
}

#[test]
fn the_wrong_keyring_is_refused() {
    let place = Place::new();
    let mut store = place.filled();
    store.save_checkpoint(id(1), &checkpoint_at(1)).unwrap();
    let crashed = place.crashed();
    let error = crashed.refusal(&["b"]);
    assert!(matches!(&error, StoreError::MissingKey { key, .. } if key == "a"), "{error}");
    let other = Keyring::parse(&format!("a:{}", "00".repeat(32)), "the test").unwrap();
    let before = crashed.files();
    let error = SqliteStore::open(&crashed.path(), other).unwrap_err();
    assert!(matches!(&error, StoreError::WrongKey { key, .. } if key == "a"), "{error}");
    assert!(crashed.files() == before);
    assert_eq!(contents(&mut crashed.open())["one"], 1);
}

#[test]
fn a_store_of_a_later_release_is_refused() {
    let place = Place::new();
    drop(place.filled());
    let later = i64::try_from(MIGRATIONS.len()).unwrap() + 1;
    Connection::open(place.path()).unwrap().pragma_update(None, "user_version", later).unwrap();
    let error = place.refusal(&["a"]);
    assert!(matches!(error, StoreError::Newer { found, .. } if found == later), "{error}");
}

#[test]
fn a_store_that_names_an_older_version_than_it_has_is_refused_without_a_word_of_sql() {
    let place = Place::new();
    drop(place.filled());
    for earlier in 1..i64::try_from(MIGRATIONS.len()).unwrap() {
        Connection::open(place.path()).unwrap().pragma_update(None, "user_version", earlier).unwrap();
        let error = place.try_open(&["a"]).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        let sentence = error.sentence();
        assert!(!sentence.contains("table") && !sentence.contains("CREATE"), "{sentence}");
        assert!(sentence.contains(&format!("version {earlier}")), "{sentence}");
    }
    let latest = i64::try_from(MIGRATIONS.len()).unwrap();
    Connection::open(place.path()).unwrap().pragma_update(None, "user_version", latest).unwrap();
    assert_eq!(contents(&mut place.open()).len(), 3);
}

#[test]
fn what_is_no_store_is_refused() {
    let place = Place::new();
    for bytes in [b"not a database".repeat(1000), vec![0; 4096]] {
        fs::write(place.path(), bytes).unwrap();
        let error = place.refusal(&["a"]);
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
    fs::write(place.path(), "").unwrap();
    for log in [true, false] {
        if log {
            fs::write(place.log(), "of a file that is gone").unwrap();
        } else {
            fs::remove_file(place.log()).unwrap();
        }
        let error = place.refusal(&["a"]);
        assert!(
            matches!(error, StoreError::Damaged { .. }) && error.to_string().contains("empty"),
            "{error}"
        );
    }
    Connection::open(place.path()).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    assert!(matches!(place.refusal(&["a"]), StoreError::Damaged { .. }));
    fs::remove_file(place.path()).unwrap();
    std::os::unix::fs::symlink("/nowhere", place.path()).unwrap();
    assert!(matches!(place.try_open(&["a"]), Err(StoreError::Damaged { .. })));
    let nowhere = place.folder.path().join("no/such/folder");
    assert!(matches!(SqliteStore::open(&nowhere, keyring(&["a"])), Err(StoreError::Io { .. })));
}

#[test]
fn a_store_that_could_not_be_made_leaves_nothing_that_is_in_the_way_of_the_next() {
    let place = Place::new();
    // SQLite finds no room for its log.
    fs::create_dir(place.log()).unwrap();
    let error = place.try_open(&["a"]).unwrap_err();
    assert!(!place.path().exists(), "{error}");
    assert!(place.log().is_dir(), "what was there before is touched");
    fs::remove_dir(place.log()).unwrap();
    drop(place.open());
    assert!(place.path().exists());
}

#[test]
fn a_store_in_use_is_refused() {
    let place = Place::new();
    let mut store = place.filled();
    let error = place.try_open(&["a"]).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }) && error.is_passing(), "{error}");
    store.save_sessions(&[session(4, "four")]).unwrap();
    drop(store);
    assert_eq!(place.open().load().unwrap().sessions.len(), 4);
}

#[test]
fn a_full_disk_leaves_what_was_there() {
    let place = Place::new();
    let mut store = place.filled();
    limit(&store, pages(&store));
    let mut large = checkpoint_at(1);
    large.tabs[0].title = "t".repeat(1 << 20);
    let error = store.save_checkpoint(id(1), &large).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }) && error.is_passing(), "{error}");
    let many: Vec<_> = (10..100).map(|number| session(number, "more")).collect();
    assert!(matches!(store.save_sessions(&many), Err(StoreError::Full { .. })));
    let untouched = BTreeMap::from(["one", "two", "three"].map(|name| (name.to_owned(), 0)));
    assert_eq!(contents(&mut store), untouched);
    assert_eq!(contents(&mut place.crashed().open()), untouched);
    limit(&store, 1 << 20);
    store.save_checkpoint(id(1), &large).unwrap();
    assert_eq!(contents(&mut store)["one"], 1);
}

/// Lets the file have no more pages than this, as a full disk would.
fn limit(store: &SqliteStore, pages: i64) {
    let set = |row: &Row<'_>| row.get::<_, i64>(0);
    store.connection.pragma_update_and_check(None, "max_page_count", pages, set).unwrap();
}

fn pages(store: &SqliteStore) -> i64 {
    store.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap()
}

#[test]
fn a_probe_says_whether_something_could_be_written_and_leaves_nothing() {
    let place = Place::new();
    let mut store = place.filled();
    store.probe().unwrap();
    let before = contents(&mut store);
    // What the probe itself had taken is there for others.
    while store.save_checkpoint(id(1), &checkpoint_at(0)).is_ok() && pages(&store) < 40 {
        let more: Vec<_> = (0..20).map(|_| session(rand::random(), "more")).collect();
        store.save_sessions(&more).unwrap();
    }
    limit(&store, pages(&store));
    assert!(matches!(store.probe(), Err(StoreError::Full { .. })));
    limit(&store, 1 << 20);
    store.probe().unwrap();
    let loaded = store.load().unwrap();
    assert!(loaded.damaged.is_empty() && loaded.sessions.len() >= before.len());
}

#[test]
fn an_end_is_written_before_its_state_is_removed_and_outlasts_a_crash() {
    let place = Place::new();
    let mut store = place.filled();
    let mut ended = session(2, "two");
    ended.ended = Some(crate::record::EndedRecord { at_ms: 5, reason: "closed_by_client".to_owned() });
    store.save_sessions(std::slice::from_ref(&ended)).unwrap();
    let loaded = place.crashed().open().load().unwrap();
    let found = loaded.sessions.iter().find(|session| session.record.id == id(2)).unwrap();
    assert!(found.record.ended.is_some() && found.checkpoint.is_some());
    store.save_operation(&operation(5, 2)).unwrap();
    store.strip_sessions(&[id(2), id(9)]).unwrap();
    let mut left = place.crashed().open();
    let loaded = left.load().unwrap();
    let found = loaded.sessions.iter().find(|session| session.record.id == id(2)).unwrap();
    assert!(found.record.ended.is_some() && found.checkpoint.is_none());
    assert!(left.operations().unwrap().operations.is_empty());
    assert_eq!(loaded.sessions.iter().filter(|session| session.checkpoint.is_some()).count(), 2);
}

#[test]
fn one_damaged_record_does_not_keep_the_others_away() {
    let place = Place::new();
    let store = place.filled();
    let read = "SELECT sealed FROM sessions WHERE id = ?1";
    let mut sealed: Vec<u8> = store.connection.query_row(read, [id(2).as_bytes()], |row| row.get(0)).unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    let change = "UPDATE sessions SET sealed = ?2 WHERE id = ?1";
    store.connection.execute(change, params![id(2).as_bytes(), sealed]).unwrap();
    // One in another's place.
    let change = "UPDATE checkpoints SET sealed = (SELECT sealed FROM checkpoints WHERE session = ?1)";
    store.connection.execute(change, [id(1).as_bytes()]).unwrap();
    drop(store);
    let mut store = place.open();
    let loaded = store.load().unwrap();
    assert_eq!(loaded.sessions.len(), 2);
    let damaged =
        |kind, number, error: SealError| DamagedRecord { kind, id: id(number), error: error.into() };
    assert_eq!(loaded.damaged, [damaged(RecordKind::Session, 2, SealError::Altered)]);
    // All that is damaged is found, and can be removed without the rest.
    let checked = store.check().unwrap();
    let others = [2, 3].map(|number| damaged(RecordKind::Checkpoint, number, SealError::OtherPlace));
    let all: Vec<_> =
        [damaged(RecordKind::Session, 2, SealError::Altered)].into_iter().chain(others).collect();
    assert_eq!((checked.whole, checked.damaged), (4, all));
    assert!(store.sealed(RecordKind::Session, id(2)).unwrap().is_some_and(|sealed| sealed.len() > 100));
    store.forget(RecordKind::Session, id(2)).unwrap();
    let left = store.check().unwrap();
    assert_eq!(left.damaged, [damaged(RecordKind::Checkpoint, 3, SealError::OtherPlace)]);
    assert_eq!(store.load().unwrap().sessions.len(), 2);
    assert_eq!(store.sealed(RecordKind::Session, id(2)).unwrap(), None);
    assert!(store.checkpoint(id(1)).unwrap().is_some());
    let error = store.checkpoint(id(3)).unwrap_err();
    let other_place = RecordError::Seal(SealError::OtherPlace);
    assert!(matches!(&error, StoreError::Record { source, .. } if *source == other_place), "{error}");
    // It is whole again once it is written.
    store.save_checkpoint(id(3), &checkpoint_at(3)).unwrap();
    assert!(store.checkpoint(id(3)).unwrap().is_some());
}

#[test]
fn a_copy_is_a_whole_store_for_the_owner() {
    let place = Place::new();
    let mut store = place.filled();
    store.save_checkpoint(id(2), &checkpoint_at(9)).unwrap();
    let copy = Place::new();
    store.backup(&copy.path()).unwrap();
    assert_eq!(fs::metadata(copy.path()).unwrap().permissions().mode() & 0o777, OWNER_FILE);
    let before = contents(&mut store);
    assert_eq!(contents(&mut copy.open()), before);
    // Nothing is overwritten, and the store goes on.
    assert!(matches!(store.backup(&copy.path()), Err(StoreError::Io { .. })));
    store.save_sessions(&[session(4, "four")]).unwrap();
    assert_eq!(contents(&mut copy.open()), before);
}

#[test]
fn records_under_an_older_key_are_rewrapped() {
    let place = Place::new();
    let mut filled = place.filled();
    filled.save_operation(&operation(5, 1)).unwrap();
    let before = contents(&mut filled);
    drop(filled);
    // Of which one is damaged: it is left alone.
    let mut store = place.open();
    store.save_sessions(&[session(4, "four")]).unwrap();
    store
        .connection
        .execute("UPDATE sessions SET sealed = substr(sealed, 1, 90) WHERE id = ?1", [id(4).as_bytes()])
        .unwrap();
    drop(store);
    assert_eq!(place.refusal(&["b"]).to_string(), place.refusal(&["c"]).to_string());
    // Where nothing changes but the order, too: the key check goes with the records.
    drop(place.try_open(&["b", "a"]).unwrap());
    assert!(matches!(place.refusal(&["a"]), StoreError::MissingKey { key, .. } if key == "b"));
    let mut store = place.try_open(&["b"]).unwrap();
    let loaded = store.load().unwrap();
    assert_eq!((loaded.damaged.len(), loaded.credentials.len()), (1, 1));
    store.remove_sessions(&[id(4)]).unwrap();
    assert_eq!(contents(&mut store), before);
    assert_eq!(store.operations().unwrap().operations, [operation(5, 1)]);
    store.save_checkpoint(id(1), &checkpoint_at(8)).unwrap();
    drop(store);
    assert_eq!(contents(&mut place.try_open(&["b"]).unwrap())["one"], 8);
}

#[test]
fn the_key_of_files_outlasts_a_new_master_key_and_its_damage_costs_the_files_alone() {
    let place = Place::new();
    let mut store = place.filled();
    let key = store.files_key().unwrap();
    assert_eq!(store.files_key().unwrap().expose(), key.expose());
    drop(store);
    drop(place.try_open(&["b", "a"]).unwrap());
    let mut store = place.try_open(&["b"]).unwrap();
    assert_eq!(store.files_key().unwrap().expose(), key.expose());
    store.connection.execute("UPDATE meta SET sealed = x'00' WHERE name = 'files_key'", ()).unwrap();
    assert_ne!(store.files_key().unwrap().expose(), key.expose());
    assert_eq!(contents(&mut store).len(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn a_damaged_file_never_makes_it_panic(
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        end in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let place = Place::new();
        drop(place.filled());
        let mut bytes = fs::read(place.path()).unwrap();
        for (at, byte) in damages {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()).max(1));
        }
        fs::write(place.path(), bytes).unwrap();
        if let Ok(mut store) = place.try_open(&["a"]) {
            let _ = store.load();
            for number in 1..=3 {
                let _ = store.checkpoint(id(number));
                let _ = store.save_checkpoint(id(number), &checkpoint_at(1));
            }
            let _ = store.remove_sessions(&[id(1), id(2)]);
        }
    }
}
