use std::collections::HashMap;

use proptest::prelude::*;

use super::table::{Found, Full, Table};
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
        let places = 51;
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
                    prop_assert_eq!(table.find(&key(n), protocol, hash), model.get(&(n, protocol)).copied());
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
    let hash = table.hash(&key(1000));
    assert_eq!(table.put(&key(1000), 6, hash, found(5), |_| false), Err(Full));
    assert!(
        table
            .put(&key(1000), 6, hash, found(5), |_| true)
            .is_ok_and(|old| old.is_some())
    );
    assert_eq!(table.find(&key(1000), 6, hash), Some(found(5)));
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
