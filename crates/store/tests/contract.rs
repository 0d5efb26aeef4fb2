//! The laws of `Store`, held for every implementation.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use atoll_store::testing::{Failing, Fault};
use atoll_store::{Delta, Embedded, Memory, Row, Snapshot, Store, StoreError, Write};
use proptest::prelude::*;

fn put(table: &str, key: &str, value: &str) -> Write {
    Write::Upsert(Row {
        table: table.into(),
        key: key.into(),
        bytes: value.into(),
    })
}

fn delete(table: &str, key: &str) -> Write {
    Write::Delete {
        table: table.into(),
        key: key.into(),
    }
}

fn delta(writes: Vec<Write>) -> Delta {
    Delta { writes }
}

fn values(snapshot: &Snapshot) -> Vec<(String, String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    snapshot
        .rows
        .iter()
        .map(|r| (r.table.clone(), text(&r.key), text(&r.bytes)))
        .collect()
}

fn holds_the_contract(store: &dyn Store) {
    assert_eq!(store.load().unwrap(), Snapshot::default());
    let mut watch = store.watch(0);
    let made = store.commit(
        0,
        vec![delta(vec![put("vpc", "a", "1"), put("subnet", "a", "2")])],
    );
    assert_eq!(made.unwrap(), 1);
    // Two deltas in one commit: the second sees the first.
    let group = vec![
        delta(vec![put("vpc", "b", "3")]),
        delta(vec![delete("vpc", "b"), put("vpc", "a", "4")]),
    ];
    assert_eq!(store.commit(1, group.clone()).unwrap(), 3);
    let there = values(&store.load().unwrap());
    let expected = [("subnet", "a", "2"), ("vpc", "a", "4")];
    assert_eq!(
        there,
        expected.map(|(t, k, v)| (t.to_owned(), k.to_owned(), v.to_owned()))
    );

    let stale = store.commit(2, vec![delta(vec![put("vpc", "c", "5")])]);
    assert!(matches!(
        stale,
        Err(StoreError::Conflict {
            expected: 2,
            found: 3
        })
    ));
    let too_many = delta((0..129).map(|n| put("vpc", &n.to_string(), "")).collect());
    let refused = store.commit(3, vec![delta(vec![put("vpc", "d", "6")]), too_many]);
    assert!(matches!(refused, Err(StoreError::TooManyRows { rows: 129 })));
    let after = store.load().unwrap();
    assert_eq!(
        (after.revision, values(&after)),
        (3, there),
        "a refused commit leaves no trace"
    );

    let mut seen = Vec::new();
    while let Some(committed) = watch.next(Duration::ZERO).unwrap() {
        seen.push(committed.revision);
        if committed.revision > 1 {
            assert_eq!(committed.delta, group[committed.revision as usize - 2]);
        }
    }
    assert_eq!(seen, [1, 2, 3]);
}

#[test]
fn memory_holds_the_contract() {
    holds_the_contract(&Memory::new());
}

#[test]
fn embedded_holds_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    holds_the_contract(&Embedded::open(directory.path().join("region.redb")).unwrap());
}

#[test]
fn embedded_keeps_rows_and_revision_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region.redb");
    let store = Embedded::open(&path).unwrap();
    store.commit(0, vec![delta(vec![put("vpc", "a", "1")])]).unwrap();
    let before = store.load().unwrap();
    drop(store);
    let store = Embedded::open(&path).unwrap();
    assert_eq!(store.load().unwrap(), before);
    assert_eq!(
        store.commit(1, vec![delta(vec![put("vpc", "b", "2")])]).unwrap(),
        2
    );
}

#[test]
fn the_file_is_readable_by_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region.redb");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    drop(Embedded::open(&path).unwrap());
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(Embedded::open(&path).unwrap());
    assert_eq!(mode(), 0o600);
}

#[test]
fn a_second_opener_is_told_who_has_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region.redb");
    let _held = Embedded::open(&path).unwrap();
    let second = Embedded::open(&path).unwrap_err();
    assert!(matches!(second, StoreError::AlreadyOpen { .. }));
    assert!(
        second.to_string().contains("in use by another atoll process"),
        "{second}"
    );
}

#[test]
fn a_file_of_a_newer_format_is_refused_with_both_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region.redb");
    drop(Embedded::open(&path).unwrap());
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    transaction
        .open_table(meta)
        .unwrap()
        .insert("format", atoll_store::FORMAT + 1)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = Embedded::open(&path).unwrap_err();
    assert!(
        matches!(refused, StoreError::NewerFormat { found: 2, .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("format 2"), "{refused}");
}

#[test]
fn a_file_that_is_something_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region.redb");
    std::fs::write(&path, vec![b'x'; 65536]).unwrap();
    let refused = Embedded::open(&path).unwrap_err();
    assert!(!matches!(refused, StoreError::AlreadyOpen { .. }), "{refused}");
    assert_eq!(
        std::fs::read(&path).unwrap(),
        vec![b'x'; 65536],
        "and not overwritten"
    );
}

#[test]
fn a_file_left_half_made_by_a_killed_process_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("region.redb");
    std::fs::write(path.with_extension("unfinished"), b"half").unwrap();
    assert_eq!(
        Embedded::open(&path).unwrap().load().unwrap(),
        Snapshot::default()
    );
    let names: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["region.redb"]);
}

#[test]
fn failing_fails_at_the_commit_it_was_told_to() {
    for (fault, written) in [
        (Fault::NotWritten, false),
        (Fault::UnknownNotWritten, false),
        (Fault::UnknownWritten, true),
    ] {
        let store = Failing::new(Memory::new(), 2, fault);
        store.commit(0, vec![delta(vec![put("vpc", "a", "1")])]).unwrap();
        let error = store
            .commit(1, vec![delta(vec![put("vpc", "b", "2")])])
            .unwrap_err();
        assert_eq!(error.outcome_unknown(), fault != Fault::NotWritten);
        let revision = store.load().unwrap().revision;
        assert_eq!(revision, if written { 2 } else { 1 });
        store
            .commit(revision, vec![delta(vec![put("vpc", "c", "3")])])
            .unwrap();
        assert_eq!(store.commits(), 3);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever is committed, both stores hold what a plain map would.
    #[test]
    fn stores_hold_what_a_map_would(
        commits in prop::collection::vec(
            prop::collection::vec(
                prop::collection::btree_map(("[ab]", "[a-c]{0,2}"), prop::option::of("[xyz]{0,3}"), 0..4),
                1..4,
            ),
            1..5,
        )
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("region.redb");
        let memory = Memory::new();
        let mut embedded = Embedded::open(&path).unwrap();
        let mut model = BTreeMap::new();
        let mut revision = 0;
        for deltas in commits {
            let written: Vec<Delta> = deltas.iter().map(|writes| delta(writes.iter().map(|((t, k), v)| match v {
                Some(v) => put(t, k, v),
                None => delete(t, k),
            }).collect())).collect();
            for ((table, key), value) in deltas.into_iter().flatten() {
                match value {
                    Some(value) => { model.insert((table, key), value); }
                    None => { model.remove(&(table, key)); }
                }
            }
            memory.commit(revision, written.clone()).unwrap();
            revision = embedded.commit(revision, written).unwrap();
        }
        drop(std::mem::replace(&mut embedded, Embedded::open(directory.path().join("other")).unwrap()));
        embedded = Embedded::open(&path).unwrap();
        let expected: Vec<_> = model.into_iter().map(|((t, k), v)| (t, k, v)).collect();
        for store in [&memory as &dyn Store, &embedded] {
            let snapshot = store.load().unwrap();
            prop_assert_eq!(snapshot.revision, revision);
            prop_assert_eq!(values(&snapshot), expected.clone());
        }
    }
}
