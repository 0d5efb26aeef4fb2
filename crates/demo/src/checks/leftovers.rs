//! Check 15: `atoll down --all` leaves nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::world::World;
use crate::{Failure, Observation};

/// How long the kernel may take to end namespaces whose last process is gone.
const SETTLE_DEADLINE: Duration = Duration::from_secs(10);

/// What stands on the machine: everything a run might leave behind.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    things: BTreeSet<String>,
}

impl Snapshot {
    /// What stands now. `directory` is the run's own: its state and run directories are looked into.
    pub fn take(directory: &Path) -> Result<Snapshot, Failure> {
        let mut things = BTreeSet::new();
        for entry in std::fs::read_dir("/proc")? {
            let path = entry?.path();
            let name = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            if !name.bytes().all(|b| b.is_ascii_digit()) {
                continue;
            }
            for kind in ["net", "user", "mnt", "pid"] {
                if let Ok(namespace) = std::fs::read_link(path.join("ns").join(kind)) {
                    things.insert(format!("namespace {}", namespace.display()));
                }
            }
            // Only programs of ours: others come and go by themselves.
            if let Ok(program) = std::fs::read_link(path.join("exe")) {
                let program = program
                    .file_name()
                    .map(|n| n.to_string_lossy().into_owned())
                    .unwrap_or_default();
                if ["atoll", "bwrap"].contains(&program.as_str()) {
                    things.insert(format!("process {name} {program}"));
                }
            }
        }
        for entry in std::fs::read_dir("/sys/class/net")? {
            things.insert(format!("link {}", entry?.file_name().to_string_lossy()));
        }
        for line in std::fs::read_to_string("/proc/self/mounts")?.lines() {
            things.insert(format!(
                "mount {}",
                line.split(' ').take(2).collect::<Vec<_>>().join(" ")
            ));
        }
        for place in ["/run/netns", "/sys/fs/bpf", "/run/atoll"] {
            for entry in std::fs::read_dir(place).into_iter().flatten() {
                things.insert(format!("file {}", entry?.path().display()));
            }
        }
        // Where the host allows it, instances are limited by cgroups.
        for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            cgroups(Path::new(root), &mut things);
        }
        for part in ["state", "run"] {
            files(&directory.join(part), &mut things);
        }
        Ok(Snapshot { things })
    }

    /// What stands in `later` and did not stand before.
    fn left(&self, later: &Snapshot) -> Vec<String> {
        later.things.difference(&self.things).cloned().collect()
    }
}

/// Cgroups of ours, wherever in the hierarchy: an ordinary user's are below the one that is delegated to it.
fn cgroups(directory: &Path, things: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().starts_with("atoll-") {
            things.insert(format!("cgroup {}", entry.path().display()));
        }
        cgroups(&entry.path(), things);
    }
}

fn files(directory: &Path, things: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        things.insert(format!("file {}", path.display()));
        if path.is_dir() && !path.is_symlink() {
            files(&path, things);
        }
    }
}

/// Runs the check: ends everything and compares with what stood before.
pub fn run(world: &mut World, before: &Snapshot) -> Result<(), Failure> {
    world.down_all()?;
    let deadline = Instant::now() + SETTLE_DEADLINE;
    let left = loop {
        let left = before.left(&Snapshot::take(world.directory())?);
        if left.is_empty() || Instant::now() > deadline {
            break left;
        }
        std::thread::yield_now();
    };
    world.observe(Observation {
        check: 15,
        tried: "atoll down --all".into(),
        expected: "no namespace, link, mount, cgroup, process or file left".into(),
        seen: if left.is_empty() {
            "nothing left".into()
        } else {
            left.join("; ")
        },
        dropped_by: None,
        holds: left.is_empty(),
    });
    Ok(())
}
