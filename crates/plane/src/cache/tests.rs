use std::collections::HashMap;

use atoll_net::packet::{Frame, Sum, parse};
use proptest::prelude::*;

use super::table::{Found, Full, Near, Table};
use super::*;

fn found(path: u32) -> Found {
    Found {
        path,
        number: path as u16,
        generation: 7,
        expires: 100,
    }
}

proptest! {
    #[test]
    fn a_table_behaves_as_a_bounded_map(steps in proptest::collection::vec((0u8..8, 0u32..60, any::<u8>()), 1..600)) {
        let mut table = Table::<Half, 4>::new(40, 3);
        let places = table.places();
        let mut model: HashMap<(u32, u8), Found> = HashMap::new();
        let key = |n: u32| { let mut key = [0; 10]; key[0] = n; key[3] = n * 7; key };
        let mut paths = 0;
        for (what, n, protocol) in steps {
            let protocol = protocol & 3;
            let hash = table.hash(&key(n));
            match what {
                0..5 => {
                    paths += 1;
                    let fits = model.contains_key(&(n, protocol)) || model.len() < 40;
                    match table.put(&key(n), protocol, hash, found(paths), |_| false) {
                        Ok(old) => {
                            prop_assert!(fits);
                            prop_assert_eq!(old.map(|old| old.found), model.insert((n, protocol), found(paths)));
                        }
                        Err(Full) => prop_assert!(!fits),
                    }
                }
                5 | 6 => prop_assert_eq!(table.remove(&key(n), protocol, hash), model.remove(&(n, protocol))),
                _ => {
                    // Several rounds, since what moves into an emptied place is looked at later.
                    for _ in 0..3 {
                        table.sweep(places, |entry| entry.found.path % 3 == n % 3);
                    }
                    model.retain(|_, f| f.path % 3 != n % 3);
                }
            }
            prop_assert_eq!(table.len(), model.len());
            for n in 0..60 {
                for protocol in 0..4 {
                    let hash = table.hash(&key(n));
                    let kept = model.get(&(n, protocol)).copied();
                    prop_assert_eq!(table.find(&key(n), protocol, hash), kept);
                    match table.find_near(&key(n), protocol, hash) {
                        Near::Found(found) => prop_assert_eq!(Some(found), kept),
                        Near::Nothing => prop_assert_eq!(None, kept),
                        Near::Farther => {}
                    }
                }
            }
        }
    }
}

#[test]
fn a_stale_entry_gives_its_place() {
    let mut table = Table::<Half, 4>::new(8, 1);
    let key = |n: u32| {
        let mut key = [0; 10];
        key[1] = n;
        key
    };
    let mut kept = 0;
    for n in 0..100 {
        let hash = table.hash(&key(n));
        kept += usize::from(table.put(&key(n), 6, hash, found(n), |_| false).is_ok());
    }
    assert_eq!(kept, table.len());
    // One whose way begins at a free place meets none that is stale.
    let replaces = |table: &mut Table<Half, 4>, n: u32| {
        let hash = table.hash(&key(n));
        assert_eq!(table.put(&key(n), 6, hash, found(5), |_| false), Err(Full));
        let put = table.put(&key(n), 6, hash, found(5), |_| true);
        put.is_ok_and(|old| old.is_some())
    };
    let new = (1000..1100).find(|n| replaces(&mut table, *n)).unwrap();
    let hash = table.hash(&key(new));
    assert_eq!(table.find(&key(new), 6, hash), Some(found(5)));
    assert_eq!(table.len(), kept);
}

#[test]
fn times_wrap() {
    let entry = Found {
        expires: 5,
        ..found(0)
    };
    assert!(entry.holds(u32::MAX - 10));
    assert!(!entry.holds(5));
    assert!(!entry.holds(6));
}

#[test]
fn a_connection_fits_its_share_of_memory() {
    // 160 bytes a connection, of which 70 are for the tracking of both ends.
    assert!(
        FlowCache::bytes_a_connection() <= 90,
        "{}",
        FlowCache::bytes_a_connection()
    );
}

proptest! {
    #[test]
    fn a_glance_at_a_frame_says_what_its_headers_say_or_nothing(
        bytes in proptest::collection::vec(any::<u8>(), 96),
        v6 in any::<bool>(),
        options in any::<bool>(),
        fragment in any::<bool>(),
        protocol in prop_oneof![Just(6u8), Just(17), Just(47)],
    ) {
        let mut frame = bytes;
        frame[6] &= 0xfe; // no group sends
        let at = match (v6, options) {
            (false, false) => 34,
            (false, true) => 38,
            (true, false) => 54,
            (true, true) => 62,
        };
        let data = 24;
        frame.truncate(at + data);
        if v6 {
            frame[12..16].copy_from_slice(&[0x86, 0xdd, 0x60, 0]);
            frame[18..20].copy_from_slice(&(at as u16 - 54 + data as u16).to_be_bytes());
            frame[20] = if options { 60 } else { protocol };
            if options {
                // A header of destination options that is all padding.
                frame[54..58].copy_from_slice(&[protocol, 0, 1, 4]);
            }
        } else {
            frame[12..15].copy_from_slice(&[8, 0, if options { 0x46 } else { 0x45 }]);
            frame[16..18].copy_from_slice(&(at as u16 - 14 + data as u16).to_be_bytes());
            frame[20..22].copy_from_slice(&[if fragment { 0x20 } else { 0x40 }, 0]);
            frame[23] = protocol;
            frame[34..at].fill(1); // no operation
            frame[24..26].fill(0);
            let sum = Sum::default().bytes(&frame[14..at]).checksum();
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        match protocol {
            6 => frame[at + 12] = 0x50,
            17 => frame[at + 4..at + 6].copy_from_slice(&(data as u16).to_be_bytes()),
            _ => {}
        }
        let Ok(Frame::Ip(headers)) = parse(&frame) else {
            return Err(TestCaseError::fail("the frame is right"));
        };
        let (slot, other) = (PortSlot(5), PortSlot(6));
        let glance = Key::at_a_glance(slot, &frame);
        let common = protocol != 47 && !options && (v6 || !fragment);
        prop_assert_eq!(glance.is_some_and(|key| key.is_of(&headers)), common);
        if common {
            prop_assert_eq!(glance, Key::of_headers(slot, &headers));
            prop_assert_ne!(glance, Key::of_headers(other, &headers));
            // Of another packet it is not the key.
            let numbers = at + usize::from(frame[at + 2] & 3);
            frame[numbers] ^= 1;
            prop_assert!(!Key::at_a_glance(slot, &frame).is_some_and(|key| key.is_of(&headers)));
        }
    }
}

#[test]
fn what_a_decision_has_said_stands_for_a_whole_round_after_its_end() {
    let mut grounds = decision::Grounds::default();
    let ground = |path: u32| Ground {
        there: (path, 0),
        back: (path, 0),
        reserved: None,
        course: Course::default(),
    };
    let gone = |grounds: &mut decision::Grounds, most| {
        let gone = grounds.let_go(most).map(|ground| ground.there.0);
        gone.collect::<Vec<_>>()
    };
    let turned = |grounds: &mut decision::Grounds| {
        grounds.turn();
        gone(grounds, 10)
    };
    let numbers = [1, 2, 3, 4].map(|path| grounds.add(ground(path)));
    assert!(grounds.end(numbers[0]).is_none());
    assert!(turned(&mut grounds).is_empty());
    assert!(grounds.end(numbers[1]).is_none());
    assert!(turned(&mut grounds).is_empty());
    assert!(grounds.end(numbers[2]).is_none());
    assert_eq!(turned(&mut grounds), [1]);
    assert_eq!(turned(&mut grounds), [2]);
    assert!(grounds.get(numbers[2]).is_some());
    assert_eq!(turned(&mut grounds), [3]);
    assert!(turned(&mut grounds).is_empty());
    assert!(grounds.get(numbers[2]).is_none() && grounds.get(numbers[3]).is_some());
}

#[test]
fn what_decisions_have_said_goes_a_little_at_a_time() {
    let mut grounds = decision::Grounds::default();
    let end = |grounds: &mut decision::Grounds, paths: std::ops::Range<u32>| {
        for path in paths {
            let number = grounds.add(Ground {
                there: (path, 0),
                back: (path, 0),
                reserved: None,
                course: Course::default(),
            });
            assert!(grounds.end(number).is_none());
        }
    };
    end(&mut grounds, 0..100);
    grounds.turn();
    end(&mut grounds, 100..150);
    grounds.turn();
    end(&mut grounds, 150..160);
    grounds.turn();
    let mut gone = Vec::new();
    // A turn comes before all have gone.
    for most in [30, 30, 30] {
        gone.extend(grounds.let_go(most).map(|ground| ground.there.0));
    }
    assert_eq!(gone, (0..90).collect::<Vec<_>>());
    grounds.turn();
    gone.extend(grounds.let_go(1000).map(|ground| ground.there.0));
    assert_eq!(gone, (0..150).collect::<Vec<_>>());
    grounds.turn();
    gone.extend(grounds.let_go(1000).map(|ground| ground.there.0));
    assert_eq!(gone, (0..160).collect::<Vec<_>>());
}
