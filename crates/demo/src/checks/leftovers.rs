//! Check 15: `atoll down --all` leaves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::world::World;
use crate::{Failure, Observation};

/// How long the kernel may take to end namespaces whose last process is gone.
const SETTLE_DEADLINE: Duration = Duration::from_secs(120);

/// What of Atoll's stands on the machine outside of processes. Others' things come and go by themselves, and are not
/// looked at.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    things: BTreeSet<String>,
}

impl Snapshot {
    /// What stands now. `directory` is the run's own: its state and run directories are looked into.
    pub fn take(directory: &Path) -> Result<Snapshot, Failure> {
        let mut things = BTreeSet::new();
        for entry in std::fs::read_dir("/sys/class/net")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if is_port(&name) {
                things.insert(format!("link {name}"));
            }
        }
        let own = directory.display().to_string();
        for line in std::fs::read_to_string("/proc/self/mounts")?.lines() {
            if line.contains(&own) || line.contains("atoll") {
                things.insert(format!(
                    "mount {}",
                    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
                ));
            }
        }
        for place in ["/run/netns", "/sys/fs/bpf", "/run"] {
            for entry in std::fs::read_dir(place).into_iter().flatten() {
                let path = entry?.path();
                if path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().contains("atoll"))
                {
                    things.insert(format!("file {}", path.display()));
                }
            }
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

/// Whether a link is named as the host ends of ports are: in the host's own namespace there may be none.
fn is_port(name: &str) -> bool {
    name.strip_prefix("at")
        .is_some_and(|rest| rest.len() == 13 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
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

/// A process: its parent, when it started, whether it has ended, and its command line.
struct Process {
    parent: u32,
    started: String,
    ended: bool,
    command: String,
}

fn processes() -> Result<BTreeMap<u32, Process>, Failure> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let path = entry.path();
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
        // Fields 3, 4 and 22 of proc(5): state, parent, start.
        let (Some(state), Some(Ok(parent)), Some(started)) = (
            fields.first(),
            fields.get(1).map(|field| field.parse()),
            fields.get(19),
        ) else {
            continue;
        };
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let process = Process {
            parent,
            started: (*started).to_owned(),
            ended: matches!(*state, "Z" | "X"),
            command: String::from_utf8_lossy(&command).replace('\0', " "),
        };
        found.insert(pid, process);
    }
    Ok(found)
}

fn namespaces(pid: &str) -> impl Iterator<Item = String> + use<> {
    let directory = Path::new("/proc").join(pid).join("ns");
    ["net", "user", "mnt", "pid"].into_iter().filter_map(move |kind| {
        let link = std::fs::read_link(directory.join(kind)).ok()?;
        Some(link.display().to_string())
    })
}

/// What a world consists of while it runs.
struct Running {
    /// Its processes, with the start that tells them from others of the same number.
    processes: BTreeSet<(u32, String)>,
    namespaces: BTreeSet<String>,
    /// Where the host allows it, instances are limited by cgroups.
    cgroup: Option<PathBuf>,
}

impl Running {
    fn of(world: &World) -> Result<Running, Failure> {
        let all = processes()?;
        let directory = world.directory().display().to_string();
        // Daemon and holder name the directory; whatever they started is theirs.
        let named = |pid: &u32| {
            all.get(pid)
                .is_some_and(|process| process.command.contains(&directory))
        };
        let own: BTreeSet<String> = namespaces("self").collect();
        let mut running = Running {
            processes: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            cgroup: world.json(&["status"])?["limits"]["cgroup"]
                .as_str()
                .map(PathBuf::from)
                .filter(|cgroup| cgroup.is_absolute()),
        };
        for (pid, process) in &all {
            let mut line = std::iter::successors(Some(*pid), |pid| Some(all.get(pid)?.parent));
            if line.any(|pid| named(&pid)) {
                running.processes.insert((*pid, process.started.clone()));
                let apart = namespaces(&pid.to_string()).filter(|name| !own.contains(name));
                running.namespaces.extend(apart);
            }
        }
        Ok(running)
    }

    /// What of it is still there.
    fn left(&self) -> Result<Vec<String>, Failure> {
        let mut left = Vec::new();
        for (pid, process) in processes()? {
            // One that has ended and that nobody has asked about yet runs nothing.
            if process.ended {
                continue;
            }
            let id = (pid, process.started);
            if self.processes.contains(&id) {
                left.push(format!("process {pid} {}", process.command));
            }
            let inside = namespaces(&pid.to_string()).filter(|name| self.namespaces.contains(name));
            left.extend(inside.map(|name| format!("namespace {name} of process {pid}")));
        }
        left.extend(
            self.cgroup
                .iter()
                .filter(|cgroup| cgroup.exists())
                .map(|cgroup| format!("cgroup {}", cgroup.display())),
        );
        Ok(left)
    }
}

/// Runs the check: ends everything and looks for what of it is still there.
pub fn run(world: &mut World, before: &Snapshot) -> Result<(), Failure> {
    let running = Running::of(world)?;
    if running.processes.len() < 2 || running.namespaces.is_empty() {
        return Err("neither processes nor namespaces are there that could be left".into());
    }
    world.down_all()?;
    let deadline = Instant::now() + SETTLE_DEADLINE;
    let left = loop {
        let mut left = before.left(&Snapshot::take(world.directory())?);
        left.extend(running.left()?);
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
