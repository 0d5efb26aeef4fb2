//! Whatever happens, and wherever it is cut off, what is found is what was known at some commit.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use atoll_fabric::flows::{FlowKey, FlowView, Mapping, Remembered, Shelf, State};
use atoll_fabric::{Fabric, Flows, Limits};
use atoll_model::{EniId, NatGatewayId, Timestamp};

use super::*;

const BOOT: [u8; 16] = [7; 16];
const LIMITS: Limits = Limits {
    ipv4: 48,
    ipv6: 24,
    per_owner: 40,
    mappings: 24,
    per_gateway: 24,
    seed: 3,
};

/// What was written, in order: bytes at places. Words are written each at once.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Written>>>);

/// A place and what was written there.
type Written = (usize, Vec<u8>);

impl Memory for Log {
    fn reserve(&mut self, _: usize, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.0.lock().unwrap().push((at, bytes.to_vec()));
    }
    fn write_words(&mut self, at: usize, words: [u64; 2]) {
        for (n, word) in words.into_iter().enumerate() {
            self.0
                .lock()
                .unwrap()
                .push((at + n * 8, word.to_le_bytes().to_vec()));
        }
    }
}

impl Log {
    /// The first so many bytes that were written, where they were written to.
    fn cut(&self, length: usize, mut bytes: usize) -> Vec<u8> {
        let mut file = vec![0; length];
        for (at, written) in self.0.lock().unwrap().iter() {
            let count = if *at < TRANSACTION && *at >= ALIVE && bytes < written.len() {
                0 // a word is written as a whole or not
            } else {
                bytes.min(written.len())
            };
            file[*at..*at + count].copy_from_slice(&written[..count]);
            bytes -= bytes.min(written.len());
            if bytes == 0 {
                break;
            }
        }
        file
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().iter().map(|(_, bytes)| bytes.len()).sum()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Of an owner: some connections at once, of either family, in one commit.
    Track {
        owner: u64,
        ports: Vec<u16>,
        v6: bool,
        state: u8,
        timeout: u32,
    },
    Map {
        port: u16,
        outside: u16,
        state: u8,
        timeout: u32,
    },
    Pass(u64),
    Expire(usize),
    Gone(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4u64, proptest::collection::vec(0..30u16, 1..4), any::<bool>(), any::<u8>(), 1..40_000u32)
            .prop_map(|(owner, ports, v6, state, timeout)| Step::Track { owner, ports, v6, state, timeout }),
        3 => (0..12u16, 1024..1030u16, any::<u8>(), 1..40_000u32)
            .prop_map(|(port, outside, state, timeout)| Step::Map { port, outside, state, timeout }),
        2 => (0..9_000u64).prop_map(Step::Pass),
        2 => (0..100usize).prop_map(Step::Expire),
        1 => (0..4u64).prop_map(Step::Gone),
    ]
}

fn key(port: u16, v6: bool) -> FlowKey {
    let addr = |last: u8| -> IpAddr {
        if v6 {
            format!("fd00::{last}").parse().unwrap()
        } else {
            Ipv4Addr::new(10, 0, 0, last).into()
        }
    };
    FlowKey {
        local: addr(1),
        remote: addr(2),
        protocol: 6,
        local_port: port,
        remote_port: 80,
    }
}

fn mapping(port: u16, outside_port: u16) -> Mapping {
    Mapping {
        protocol: 17,
        inside: Ipv4Addr::new(10, 0, 0, 9),
        inside_port: port,
        outside: Ipv4Addr::new(10, 0, 1, 1),
        outside_port,
        remote: Ipv4Addr::new(198, 51, 100, 1),
        remote_port: 53,
    }
}

const GATEWAY: Owner = Owner::NatGateway(NatGatewayId::MIN);

/// Everything that can be asked about, and what is answered. Owners that are gone are not asked about.
fn answers(
    flows: &Flows,
    slot: impl Fn(Owner) -> Slot,
    gone: &[u64],
    now: Timestamp,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for owner in (0..4u64).filter(|owner| !gone.contains(owner)) {
        for (port, v6) in (0..30u16).flat_map(|port| [(port, false), (port, true)]) {
            let at = slot(Owner::Interface(EniId::new(owner)));
            if let Some(state) = flows.tracked(at, &key(port, v6), now) {
                all.insert(format!("{owner} {port} {v6}"), format!("{state:?}"));
            }
        }
    }
    for port in 0..12 {
        if let Some(found) = flows.mapped(slot(GATEWAY), &mapping(port, 0), now) {
            assert_eq!(flows.unmapped(slot(GATEWAY), &found.0, now), Some(found));
            all.insert(format!("map {port}"), format!("{found:?}"));
        }
    }
    all
}

/// What a next process makes of a file.
fn taken_up(file: &[u8], gone: &[u64], now: Timestamp, later: Timestamp) -> BTreeMap<String, String> {
    let Some(recovered) = recover(file, std::slice::from_ref(&(0..file.len())), BOOT) else {
        return BTreeMap::new();
    };
    let mut fabric = Fabric::new();
    let mut flows = Flows::new(LIMITS, now);
    for (owner, remembered) in recovered.remembered {
        let slot = fabric.promise(owner);
        flows.restore(&remembered.moved(slot, remembered.until()), now);
    }
    let fabric = std::cell::RefCell::new(fabric);
    answers(&flows, |owner| fabric.borrow_mut().promise(owner), gone, later)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn cut_off_anywhere_it_holds_what_was_known_at_some_commit(
        steps in proptest::collection::vec(step(), 1..60),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 24),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 8),
    ) {
        let mut now = Timestamp(1_700_000_000_000);
        let log = Log::default();
        let header = Header::of(&LIMITS, BOOT, 99);
        let mut journal = Journal::on(Box::new(log.clone()), header).unwrap();
        let mut flows = Flows::new(LIMITS, now);
        flows.watch();
        let mut fabric = Fabric::new();
        for owner in (0..4).map(|n| Owner::Interface(EniId::new(n))).chain([GATEWAY]) {
            journal.name(owner, fabric.promise(owner));
        }
        let slots = fabric.clone();
        let slot = |owner| slots.clone().promise(owner);
        let mut gone: Vec<u64> = Vec::new();
        // After so many bytes: when that was, who was gone by then.
        let mut marks = vec![(log.len(), now, gone.clone(), flows_copy(&flows))];
        for step in &steps {
            match step {
                Step::Track { owner, ports, v6, state, timeout } => {
                    if gone.contains(owner) { continue }
                    let at = slot(Owner::Interface(EniId::new(*owner)));
                    for port in ports {
                        let until = now.plus_millis(u64::from(*timeout));
                        let new = Remembered::Connection { owner: at, key: key(*port, *v6), state: State(*state), until };
                        flows.restore(&new, now);
                    }
                }
                Step::Map { port, outside, state, timeout } => {
                    let until = now.plus_millis(u64::from(*timeout));
                    let new = Remembered::Mapping { owner: slot(GATEWAY), mapping: mapping(*port, *outside), state: State(*state), until };
                    flows.restore(&new, now);
                }
                Step::Pass(millis) => now = now.plus_millis(*millis),
                Step::Expire(budget) => flows.expire(now, *budget),
                Step::Gone(owner) => {
                    if !gone.contains(owner) {
                        gone.push(*owner);
                        // Flows of an owner without a name are written as nothing.
                        journal.owners.remove(&slot(Owner::Interface(EniId::new(*owner))));
                    }
                }
            }
            journal.write(&mut flows, now);
            journal.beat(now);
            marks.push((log.len(), now, gone.clone(), flows_copy(&flows)));
        }
        for cut in &cuts {
            let bytes = cut.index(log.len() + 1);
            let file = log.cut(header.length(), bytes);
            let last = marks.iter().rposition(|(length, ..)| *length <= bytes);
            let Some(last) = last else {
                // The header was not yet written.
                prop_assert_eq!(recover(&file, std::slice::from_ref(&(0..file.len())), BOOT), None);
                continue;
            };
            let (_, time, gone, before) = &marks[last];
            let after = marks.get(last + 1);
            let found = taken_up(&file, gone, *time, *time);
            let of = |places: &[Remembered], time: Timestamp| {
                let mut flows = Flows::new(LIMITS, time);
                for place in places {
                    flows.restore(place, time);
                }
                answers(&flows, slot, gone, time)
            };
            let wanted = of(before, *time);
            // In the middle of a commit it may be there already.
            let or = after.map(|(_, _, _, after)| of(after, *time));
            prop_assert!(found == wanted || Some(&found) == or.as_ref(), "{found:#?}\n{wanted:#?}\n{or:#?}");
            // Never before it was acknowledged, and never back.
            if marks.iter().any(|(length, ..)| *length == bytes) {
                prop_assert_eq!(&found, &wanted);
            }
        }
        // What is damaged is not there, and never something else.
        let whole = log.cut(header.length(), log.len());
        let (_, time, gone, _) = marks.last().unwrap();
        let all = taken_up(&whole, gone, *time, *time);
        for (at, flip) in &flips {
            let mut file = whole.clone();
            let used: Vec<usize> = (0..file.len()).filter(|at| file[*at] != 0).collect();
            file[used[at.index(used.len())]] ^= flip;
            let found = taken_up(&file, gone, *time, *time);
            prop_assert!(found.iter().all(|(what, is)| all.get(what) == Some(is)));
            prop_assert!(found.is_empty() || all.len() - found.len() <= 1);
        }

    }

    #[test]
    fn bytes_that_nobody_wrote_are_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..40_000)) {
        prop_assert_eq!(recover(&bytes, std::slice::from_ref(&(0..bytes.len())), BOOT), None);
        // Behind a right header too.
        let mut file = Header::of(&LIMITS, BOOT, 5).write().to_vec();
        file.extend(&bytes);
        let found = recover(&file, std::slice::from_ref(&(0..file.len())), BOOT);
        prop_assert_eq!(found.map(|found| found.remembered), Some(Vec::new()));
    }
}

/// Everything that is remembered.
fn flows_copy(flows: &Flows) -> Vec<Remembered> {
    [Shelf::V4, Shelf::V6, Shelf::Mappings]
        .iter()
        .flat_map(|shelf| {
            (0..).map_while(|number| {
                flows.remembered(Place {
                    shelf: *shelf,
                    number,
                })
            })
        })
        .collect()
}

#[test]
fn another_version_another_start_of_the_machine_or_half_a_header_is_not_read() {
    let header = Header::of(&LIMITS, BOOT, 1);
    let whole = {
        let mut file = header.write().to_vec();
        file.resize(header.length(), 0);
        file
    };
    let read = |file: &[u8]| recover(file, std::slice::from_ref(&(0..file.len())), BOOT).is_some();
    assert!(read(&whole));
    let mut newer = whole.clone();
    newer[8] = 2;
    assert!(!read(&newer));
    assert!(recover(&whole, std::slice::from_ref(&(0..whole.len())), [8; 16]).is_none());
    // A header is enough: its writer may have been killed before it wrote more.
    for length in HEADER..HEADER + 20 {
        assert!(read(&whole[..length]));
    }
    for length in 0..HEADER {
        assert!(!read(&whole[..length]));
    }
}

#[test]
fn a_file_is_taken_up_by_the_next_and_time_without_a_process_does_not_count() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flows");
    let owner = Owner::Interface(EniId::new(5));
    let now = Timestamp(1_700_000_000_000);
    let (mut journal, found) = Journal::open(&path, &LIMITS, 1).unwrap();
    assert_eq!(found, Recovered::default());
    let mut flows = Flows::new(LIMITS, now);
    flows.watch();
    journal.name(owner, Slot(1));
    journal.begin().unwrap();
    let until = now.plus_millis(10_000);
    flows.restore(
        &Remembered::Connection {
            owner: Slot(1),
            key: key(1, true),
            state: State(3),
            until,
        },
        now,
    );
    journal.write(&mut flows, now);
    journal.beat(now.plus_millis(4_000));
    drop(journal);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // One that does not begin leaves it as it was.
    for _ in 0..2 {
        let (journal, found) = Journal::open(&path, &LIMITS, 2).unwrap();
        assert_eq!(found.alive, now.plus_millis(4_000));
        assert_eq!(found.remembered.len(), 1);
        let (whose, what) = found.remembered[0];
        assert_eq!((whose, what.until()), (owner, until));
        let later = now.plus_millis(1_000_000);
        assert_eq!(
            prolonged(what.until(), found.alive, later),
            later.plus_millis(6_000)
        );
        drop(journal);
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn without_room_nothing_old_is_left() {
    struct Full(Log);
    impl Memory for Full {
        fn reserve(&mut self, from: usize, _: usize) -> std::io::Result<()> {
            if from < TABLES {
                Ok(())
            } else {
                Err(std::io::ErrorKind::StorageFull.into())
            }
        }
        fn write(&mut self, at: usize, bytes: &[u8]) {
            self.0.write(at, bytes);
        }
        fn write_words(&mut self, at: usize, words: [u64; 2]) {
            self.0.write_words(at, words);
        }
    }
    let (log, header) = (Log::default(), Header::of(&LIMITS, BOOT, 1));
    let now = Timestamp(1_700_000_000_000);
    let mut journal = Journal::on(Box::new(Full(log.clone())), header).unwrap();
    assert!(
        recover(
            &log.cut(header.length(), log.len()),
            std::slice::from_ref(&(0..header.length())),
            BOOT
        )
        .is_some()
    );
    let mut flows = Flows::new(LIMITS, now);
    flows.watch();
    journal.name(Owner::Interface(EniId::new(5)), Slot(1));
    let until = now.plus_millis(10_000);
    flows.restore(
        &Remembered::Connection {
            owner: Slot(1),
            key: key(1, false),
            state: State(3),
            until,
        },
        now,
    );
    journal.write(&mut flows, now);
    assert!(!journal.is_kept());
    assert!(
        recover(
            &log.cut(header.length(), log.len()),
            std::slice::from_ref(&(0..header.length())),
            BOOT
        )
        .is_none()
    );
}
