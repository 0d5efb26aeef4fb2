//! The crash law below the store: power goes at every operation on the disk in turn, with the writes
//! since the last sync lost or kept; what a new process loads is exactly what was acknowledged, or that
//! and the one commit whose outcome was reported unknown.
#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};

use atoll_store::{Delta, Embedded, Row, Store, StoreError, Write};
use redb::StorageBackend;

/// A disk that stops after a number of operations that change it.
#[derive(Debug, Default)]
struct Disk {
    /// What the operating system shows.
    cached: Vec<u8>,
    /// What survives a power cut at the latest.
    synced: Vec<u8>,
    operations_left: Option<usize>,
    operations: usize,
}

impl Disk {
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.operations_left.as_mut() {
            Some(0) => Err(io::Error::other("the disk is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Device(Arc<Mutex<Disk>>);

impl StorageBackend for Device {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let start = offset as usize;
        let from = disk.cached.get(start..start + out.len());
        out.copy_from_slice(from.ok_or_else(|| io::Error::other("read past the end"))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.operate()?;
        disk.cached.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.operate()?;
        disk.synced = disk.cached.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.operate()?;
        let start = offset as usize;
        disk.cached[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn delta(n: u64) -> Delta {
    let row = |table: &str| Row {
        table: table.into(),
        key: n.to_be_bytes().into(),
        bytes: vec![n as u8; 100],
    };
    Delta {
        writes: vec![Write::Upsert(row("vpc")), Write::Upsert(row("subnet"))],
    }
}

const COMMITS: u64 = 6;

/// Runs the workload; returns (acknowledged revision, revision that may also be there).
fn run(device: &Device) -> (u64, u64) {
    let disk = device.clone();
    let Ok(store) = Embedded::open_on(move || disk.clone()) else {
        return (0, 0);
    };
    let mut acknowledged = 0;
    for n in 0..COMMITS {
        match store.commit(acknowledged, vec![delta(n)]) {
            Ok(revision) => acknowledged = revision,
            Err(error) => {
                let possible = acknowledged + u64::from(error.outcome_unknown());
                return (acknowledged, possible);
            }
        }
    }
    (acknowledged, acknowledged)
}

#[test]
fn what_is_recovered_is_the_acknowledged_prefix_at_every_power_cut() {
    let whole = Device::default();
    assert_eq!(run(&whole), (COMMITS, COMMITS));
    let operations = whole.0.lock().unwrap().operations;
    let mut unknown_seen = 0;
    for cut in 0..operations {
        for lose_unsynced in [true, false] {
            let device = Device::default();
            device.0.lock().unwrap().operations_left = Some(cut);
            let (acknowledged, possible) = run(&device);
            unknown_seen += u64::from(possible > acknowledged);

            let left = {
                let disk = device.0.lock().unwrap();
                if lose_unsynced {
                    disk.synced.clone()
                } else {
                    disk.cached.clone()
                }
            };
            let device = Device(Arc::new(Mutex::new(Disk {
                cached: left,
                ..Disk::default()
            })));
            // A cut while the file was being made leaves one that says so or an empty one; nothing was
            // acknowledged then.
            let store = match Embedded::open_on(move || device.clone()) {
                Ok(store) => store,
                Err(StoreError::NotAStore { .. } | StoreError::Unreadable { .. }) if acknowledged == 0 => {
                    continue;
                }
                Err(error) => panic!("cut at {cut}, lost {lose_unsynced}: {error}"),
            };
            let found = store.load().unwrap();
            assert!(
                (acknowledged..=possible).contains(&found.revision),
                "cut at {cut}, lost {lose_unsynced}: {acknowledged} acknowledged, {} found",
                found.revision
            );
            let expected: usize = (0..found.revision).map(|n| delta(n).writes.len()).sum();
            assert_eq!(found.rows.len(), expected, "cut at {cut}: no half of a delta");
        }
    }
    assert!(
        unknown_seen > 0,
        "the cuts never fell into a commit: the test shows nothing"
    );
}

#[test]
fn a_store_whose_disk_failed_once_goes_on_after_a_load() {
    let device = Device::default();
    let disk = device.clone();
    let store = Embedded::open_on(move || disk.clone()).unwrap();
    store.commit(0, vec![delta(0)]).unwrap();
    device.0.lock().unwrap().operations_left = Some(0);
    assert!(store.commit(1, vec![delta(1)]).is_err());
    device.0.lock().unwrap().operations_left = None;
    let refused = store.commit(1, vec![delta(1)]).unwrap_err();
    assert!(matches!(refused, StoreError::NotWritten { .. }), "{refused}");
    let found = store.load().unwrap();
    assert_eq!(
        store.commit(found.revision, vec![delta(2)]).unwrap(),
        found.revision + 1
    );
}
