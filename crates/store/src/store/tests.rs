//! What every store must do, done to each.

use super::*;
use crate::memory::MemoryStore;
use crate::operation::StageRecord;
use crate::samples::{checkpoint, checkpoint_at, credential, id, keyring, operation, record, session};
use crate::sqlite::SqliteStore;

/// The names of the sessions in the order of their ids, and when their checkpoints were taken.
fn contents(store: &mut impl Store) -> Vec<(String, Option<u64>)> {
    let mut loaded = store.load().unwrap();
    assert_eq!(loaded.damaged, []);
    loaded.sessions.sort_by_key(|session| session.record.id);
    let content = |session: LoadedSession| {
        let taken_at_ms = session.checkpoint.map(|info| info.taken_at_ms);
        let stored = store.checkpoint(session.record.id).unwrap();
        assert_eq!(stored.map(|checkpoint| checkpoint.taken_at_ms), taken_at_ms);
        (session.record.name.unwrap(), taken_at_ms)
    };
    loaded.sessions.into_iter().map(content).collect()
}

fn of(contents: &[(&str, Option<u64>)]) -> Vec<(String, Option<u64>)> {
    contents.iter().map(|(name, taken_at_ms)| ((*name).to_owned(), *taken_at_ms)).collect()
}

fn begins_empty(mut store: impl Store) {
    assert_eq!(contents(&mut store), []);
    assert_eq!(store.checkpoint(id(1)).unwrap(), None);
    store.remove_sessions(&[id(1)]).unwrap();
    store.save_sessions(&[]).unwrap();
    store.remove_sessions(&[]).unwrap();
    store.flush().unwrap();
}

fn gives_back_what_it_was_given(mut store: impl Store) {
    store.save_sessions(&[record()]).unwrap();
    let stored_bytes = store.save_checkpoint(record().id, &checkpoint()).unwrap();
    assert!(stored_bytes > 500, "{stored_bytes}");
    let loaded = store.load().unwrap().sessions.remove(0);
    assert_eq!(serde_json::to_value(loaded.record).unwrap(), serde_json::to_value(record()).unwrap());
    let info = CheckpointInfo { taken_at_ms: checkpoint().taken_at_ms, stored_bytes };
    assert_eq!(loaded.checkpoint, Some(info));
    assert!(store.checkpoint(record().id).unwrap() == Some(checkpoint()));
}

fn keeps_the_latest(mut store: impl Store) {
    store.save_sessions(&[session(1, "a"), session(2, "b")]).unwrap();
    store.save_checkpoint(id(1), &checkpoint_at(10)).unwrap();
    store.save_checkpoint(id(1), &checkpoint_at(5)).unwrap();
    // The later of two in one list too; and the checkpoint stays.
    store.save_sessions(&[session(1, "c"), session(1, "d"), session(3, "e")]).unwrap();
    assert_eq!(contents(&mut store), of(&[("d", Some(5)), ("b", None), ("e", None)]));
}

fn has_no_checkpoint_without_a_session(mut store: impl Store) {
    let refused = store.save_checkpoint(id(1), &checkpoint());
    assert!(matches!(refused, Err(StoreError::NoSession(session)) if session == id(1)));
    store.save_sessions(&[session(1, "a"), session(2, "b")]).unwrap();
    for number in [1, 2] {
        store.save_checkpoint(id(number), &checkpoint_at(7)).unwrap();
    }
    store.remove_sessions(&[id(1), id(9)]).unwrap();
    assert_eq!(contents(&mut store), of(&[("b", Some(7))]));
    assert_eq!(store.checkpoint(id(1)).unwrap(), None);
    assert!(matches!(store.save_checkpoint(id(1), &checkpoint()), Err(StoreError::NoSession(_))));
    // A later session of the same id does not get it.
    store.save_sessions(&[session(1, "c")]).unwrap();
    assert_eq!(contents(&mut store), of(&[("c", None), ("b", Some(7))]));
}

fn keeps_operations_with_their_session(mut store: impl Store) {
    let refused = store.save_operation(&operation(5, 1));
    assert!(matches!(refused, Err(StoreError::NoSession(session)) if session == id(1)));
    store.save_sessions(&[session(1, "a"), session(2, "b")]).unwrap();
    for (number, session) in [(5, 1), (6, 2), (7, 2)] {
        store.save_operation(&operation(number, session)).unwrap();
    }
    let waiting = OperationRecord { stage: StageRecord::Waiting { expires_at_ms: 9 }, ..operation(6, 2) };
    store.save_operation(&waiting).unwrap();
    store.save_sessions(&[session(1, "c")]).unwrap();
    store.remove_operations(&[id(7), id(9)]).unwrap();
    let mut loaded = store.operations().unwrap();
    loaded.operations.sort_by_key(|operation| operation.id);
    assert_eq!((loaded.operations, loaded.damaged), (vec![operation(5, 1), waiting], vec![]));
    store.remove_sessions(&[id(2)]).unwrap();
    assert_eq!(store.operations().unwrap().operations, [operation(5, 1)]);
}

fn strips_sessions_of_all_but_themselves(mut store: impl Store) {
    store.save_sessions(&[session(1, "a"), session(2, "b")]).unwrap();
    for number in [1, 2] {
        store.save_checkpoint(id(number), &checkpoint_at(7)).unwrap();
        store.save_operation(&operation(10 + number, number)).unwrap();
    }
    store.strip_sessions(&[id(1), id(9)]).unwrap();
    assert_eq!(contents(&mut store), of(&[("a", None), ("b", Some(7))]));
    assert_eq!(store.operations().unwrap().operations, [operation(12, 2)]);
    store.probe().unwrap();
    assert_eq!(contents(&mut store), of(&[("a", None), ("b", Some(7))]));
}

fn keeps_the_latest_of_a_credential(mut store: impl Store) {
    store.save_credential(&credential()).unwrap();
    store
        .save_credential(&CredentialRecord { password: Some("new".to_owned().into()), ..credential() })
        .unwrap();
    store.save_credential(&CredentialRecord { id: id(5), ..credential() }).unwrap();
    store.remove_credential(id(5)).unwrap();
    store.remove_credential(id(6)).unwrap();
    let loaded = store.load().unwrap();
    let kept: Vec<_> = loaded.credentials.iter().map(|kept| serde_json::to_value(kept).unwrap()).collect();
    assert_eq!((loaded.sessions.len(), kept.len(), &kept[0]["password"]), (0, 1, &"new".into()));
}

macro_rules! conformance {
    ($($check:ident),* $(,)?) => {
        mod memory {
            $(#[test]
            fn $check() {
                super::$check(super::MemoryStore::default());
            })*
        }
        mod sqlite {
            $(#[test]
            fn $check() {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("store.sqlite");
                super::$check(super::SqliteStore::open(&path, super::keyring(&["a"])).unwrap());
            })*
        }
    };
}

conformance!(
    begins_empty,
    gives_back_what_it_was_given,
    keeps_the_latest,
    has_no_checkpoint_without_a_session,
    keeps_operations_with_their_session,
    strips_sessions_of_all_but_themselves,
    keeps_the_latest_of_a_credential
);
