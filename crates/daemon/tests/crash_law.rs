//! The crash law: with a store that fails at every commit in turn, in each way a commit can fail, what is
//! recovered is what was acknowledged and indexes derive equal; nothing is shown before it is durable.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use atoll_daemon::writer::{Published, Step, Writer, load};
use atoll_model::{AccountId, InternetGateway, InternetGatewayId, Key, RegionName, Timestamp};
use atoll_region::{Applied, Config, Context, Error, Region, Transaction};
use atoll_store::testing::{Failing, Fault};
use atoll_store::{Delta, Memory, Revision, Snapshot, Store, StoreError, Watch};
use proptest::prelude::*;

fn config() -> Config {
    Config::default_for(RegionName::DEFAULT, 0)
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Create,
    DeleteFirst,
    Refused,
}

fn operate(operation: Operation, tx: &mut Transaction) -> Result<Option<InternetGatewayId>, Error> {
    match operation {
        Operation::Create => {
            let id = tx.fresh_id::<InternetGateway>();
            tx.put(InternetGateway {
                id,
                owner: tx.account(),
                vpc: None,
                tags: Default::default(),
            });
            Ok(Some(id))
        }
        Operation::DeleteFirst => {
            let first = tx
                .region()
                .list::<InternetGateway>(tx.account())
                .next()
                .map(|g| g.id);
            if let Some(id) = first {
                tx.delete(Key::InternetGateway(id));
            }
            Ok(first)
        }
        Operation::Refused => Err(Error::internal("refused")),
    }
}

/// A store that shares the one underneath, and cannot be read after its commit failed if `blind`.
struct Faulty {
    failing: Failing<Shared>,
    fail_at: u64,
    blind: bool,
}

#[derive(Clone)]
struct Shared(Arc<Memory>);

impl Store for Shared {
    fn load(&self) -> Result<Snapshot, StoreError> {
        self.0.load()
    }
    fn commit(&self, expected: Revision, deltas: Vec<Delta>) -> Result<Revision, StoreError> {
        self.0.commit(expected, deltas)
    }
    fn watch(&self, from: Revision) -> Watch {
        self.0.watch(from)
    }
}

impl Store for Faulty {
    fn load(&self) -> Result<Snapshot, StoreError> {
        if self.blind && self.failing.commits() >= self.fail_at {
            return Err(StoreError::Unreadable {
                path: "disk".into(),
                why: "told to fail".into(),
            });
        }
        self.failing.load()
    }
    fn commit(&self, expected: Revision, deltas: Vec<Delta>) -> Result<Revision, StoreError> {
        self.failing.commit(expected, deltas)
    }
    fn watch(&self, from: Revision) -> Watch {
        self.failing.watch(from)
    }
}

struct Run {
    disk: Arc<Memory>,
    commits: u64,
    /// The region after every acknowledged command.
    acknowledged: Region,
    /// The region as last shown to readers.
    shown: Arc<Region>,
    /// Commands that were told something else than their own answer.
    failed: usize,
}

/// Feeds batches to a writer whose store fails at commit `fail_at`, and checks at each step that what is
/// shown is durable.
fn run(batches: &[Vec<Operation>], fail_at: u64, fault: Fault, blind: bool) -> Run {
    let disk = Arc::new(Memory::new());
    let store = Arc::new(Faulty {
        failing: Failing::new(Shared(disk.clone()), fail_at, fault),
        fail_at,
        blind,
    });
    let mut writer = Writer::open(store.clone(), config()).unwrap();
    let mut shown = writer.durable().clone();
    let mut acknowledged = (*shown).clone();
    let (mut seed, mut failed) = (0, 0);
    for batch in batches {
        let answers = Arc::new(Mutex::new(Vec::new()));
        for &operation in batch {
            seed += 1;
            let answers = answers.clone();
            writer.take(Box::new(move |region| {
                let context = Context {
                    account: AccountId::DEFAULT,
                    now: Timestamp(0),
                    seed,
                };
                let applied = region.apply(&context, |tx: &mut Transaction| operate(operation, tx));
                let (next, delta) = match applied {
                    Ok(Applied { region, delta, .. }) => (Some((region, vec![delta.clone()])), Some(delta)),
                    Err(_) => (None, None),
                };
                let answer = move |durable: Result<(), Error>| answers.lock().unwrap().push((durable, delta));
                Step {
                    next,
                    answer: Box::new(answer),
                }
            }));
        }
        writer.commit(&mut |Published { region, .. }| {
            let durable = disk.load().unwrap().revision;
            assert!(region.revision().0 <= durable, "shown before it was durable");
            shown = region;
        });
        let answers = std::mem::take(&mut *answers.lock().unwrap());
        assert_eq!(answers.len(), batch.len(), "everybody is answered");
        for (durable, delta) in answers {
            match (durable, delta) {
                (Ok(()), Some(delta)) if !delta.changes.is_empty() => {
                    acknowledged = acknowledged.after(&delta)
                }
                (Ok(()), _) => {}
                (Err(_), _) => failed += 1,
            }
        }
    }
    let commits = store.failing.commits();
    Run {
        disk,
        commits,
        acknowledged,
        shown,
        failed,
    }
}

fn rows(region: &Region) -> Vec<atoll_model::Row> {
    region.rows().collect()
}

fn check(batches: &[Vec<Operation>]) {
    let whole = run(batches, u64::MAX, Fault::NotWritten, false);
    assert_eq!(whole.failed, 0);
    for fail_at in 1..=whole.commits {
        for fault in [Fault::NotWritten, Fault::UnknownNotWritten, Fault::UnknownWritten] {
            for blind in [false, true] {
                let run = run(batches, fail_at, fault, blind);
                let recovered = load(&*run.disk, &config()).unwrap();
                let context = format!("commit {fail_at} fails as {fault:?}, blind {blind}");
                assert!(recovered.index_is_true(), "{context}");
                assert!(run.shown.index_is_true(), "{context}");
                if fault == Fault::UnknownWritten && blind {
                    // The one case in which more is there than was acknowledged: the batch whose callers
                    // were told that it is not known.
                    assert!(recovered.revision() > run.acknowledged.revision(), "{context}");
                    assert!(run.failed > 0, "{context}");
                    continue;
                }
                assert_eq!(rows(&recovered), rows(&run.acknowledged), "{context}");
                assert_eq!(rows(&recovered), rows(&run.shown), "{context}");
                assert_eq!(recovered.revision(), run.shown.revision(), "{context}");
                // A batch that is found written after all is acknowledged.
                assert_eq!(run.failed == 0, fault == Fault::UnknownWritten, "{context}");
            }
        }
    }
}

#[test]
fn a_failure_in_the_middle_of_groups() {
    use Operation::{Create, DeleteFirst, Refused};
    check(&[
        vec![Create, Create, Refused],
        vec![DeleteFirst],
        vec![Refused],
        vec![Create, DeleteFirst, Create],
        vec![Create],
    ]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_recovered_is_the_acknowledged_prefix(
        batches in prop::collection::vec(
            prop::collection::vec(
                prop_oneof![
                    3 => Just(Operation::Create),
                    2 => Just(Operation::DeleteFirst),
                    1 => Just(Operation::Refused),
                ],
                1..5,
            ),
            1..6,
        )
    ) {
        check(&batches);
    }
}
