//! What an instance may use of its host, and what of that this host lets Atoll hold it to.
use serde::{Deserialize, Serialize};

/// The period of `cpu.max`, in microseconds: the kernel's own default.
const CPU_PERIOD: u64 = 100_000;
/// The bounds that the kernel sets `cpu.weight`.
const MOST_CPU_WEIGHT: u64 = 10_000;
/// Of eight parts of the host's memory, those that one instance may have: the rest keeps the host answering.
const MEMORY_EIGHTHS: u64 = 7;
/// A bound below this could not hold process 1 and a shell.
const LEAST_MEMORY: u64 = 32 << 20;

/// What one instance may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Virtual CPUs: so many CPUs' time at most, and shares in that proportion when instances compete.
    pub vcpus: u32,
    /// Memory in MiB, its tmpfs included.
    pub memory_mib: u32,
    /// Processes and threads, of all its users together.
    pub processes: u32,
}

impl Default for Resources {
    /// What the internet's namespace has, and an instance of which nothing was said.
    fn default() -> Self {
        Self {
            vcpus: 2,
            memory_mib: 4096,
            processes: Self::PROCESSES,
        }
    }
}

impl Resources {
    /// How many processes and threads an instance has unless told otherwise: two users' bound (`RLIMIT_NPROC`, 512 each).
    pub const PROCESSES: u32 = 1024;

    /// Bytes of memory on a host that has `host` of them.
    pub(crate) fn memory(&self, host: u64) -> u64 {
        (u64::from(self.memory_mib) << 20)
            .min(host / 8 * MEMORY_EIGHTHS)
            .max(LEAST_MEMORY)
    }

    /// The files of its cgroup and what goes into them, by controller. `host_memory` in bytes.
    pub(crate) fn settings(
        &self,
        host_memory: u64,
        host_cpus: u64,
    ) -> Vec<(&'static str, &'static str, String)> {
        let vcpus = u64::from(self.vcpus.max(1));
        let cpu_max = if vcpus < host_cpus {
            format!("{} {CPU_PERIOD}", vcpus * CPU_PERIOD)
        } else {
            format!("max {CPU_PERIOD}")
        };
        vec![
            ("memory", "memory.max", self.memory(host_memory).to_string()),
            // A machine of AWS's has no swap; and what is swapped out slows the others down.
            ("memory", "memory.swap.max", "0".into()),
            // Half an instance is none: it ends whole, and its state says so.
            ("memory", "memory.oom.group", "1".into()),
            ("pids", "pids.max", self.processes.max(1).to_string()),
            ("cpu", "cpu.max", cpu_max),
            (
                "cpu",
                "cpu.weight",
                (vcpus * 100).min(MOST_CPU_WEIGHT).to_string(),
            ),
        ]
    }
}

/// Which limits are in force for instances on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory is bounded by the instance type's.
    pub memory: bool,
    /// The number of processes of an instance is bounded ([`Resources::PROCESSES`]); that of each of its users always is.
    pub processes: bool,
    /// CPU time is bounded and shared by the instance type's vCPUs.
    pub cpu: bool,
    /// The cgroup below which each instance has its own.
    pub cgroup: Option<String>,
    /// Why what is not in force is not, and what would be needed.
    pub reason: Option<String>,
}

impl Limits {
    /// None in force.
    pub fn none(reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..Self::default()
        }
    }

    /// Those of these controllers of cgroups.
    pub(crate) fn of(controllers: &[&str], cgroup: String) -> Self {
        let has = |name: &str| controllers.contains(&name);
        let mut limits = Self {
            memory: has("memory"),
            processes: has("pids"),
            cpu: has("cpu"),
            cgroup: Some(cgroup),
            reason: None,
        };
        if !limits.missing().is_empty() {
            limits.reason = Some("cgroup v2 does not have that controller here".into());
        }
        limits
    }

    fn kinds(&self, in_force: bool) -> Vec<&'static str> {
        [
            (self.memory, "memory"),
            (self.processes, "processes"),
            (self.cpu, "CPU"),
        ]
        .into_iter()
        .filter_map(|(is, name)| (is == in_force).then_some(name))
        .collect()
    }

    fn missing(&self) -> Vec<&'static str> {
        self.kinds(false)
    }

    /// What is in force, in one line.
    pub fn sentence(&self) -> String {
        let (have, missing) = (self.kinds(true), self.missing());
        let reason = self.reason.as_deref().unwrap_or("nothing is known of why");
        match (have.is_empty(), missing.is_empty()) {
            (true, _) => {
                format!("instances share this host's memory, processes and CPU without limits: {reason}")
            }
            (false, true) => format!("each instance is limited in {} by a cgroup", listed(&have)),
            (false, false) => format!(
                "each instance is limited in {} by a cgroup, but not in {}: {reason}",
                listed(&have),
                listed(&missing)
            ),
        }
    }
}

/// Names as a sentence has them.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(resources: Resources, host_memory: u64, host_cpus: u64, file: &str) -> String {
        resources
            .settings(host_memory, host_cpus)
            .into_iter()
            .find(|(_, name, _)| *name == file)
            .unwrap()
            .2
    }

    #[test]
    fn an_instance_has_its_types_share_and_never_the_whole_host() {
        let nano = Resources {
            vcpus: 2,
            memory_mib: 512,
            processes: 1024,
        };
        assert_eq!(
            setting(nano, 8 << 30, 4, "memory.max"),
            (512_u64 << 20).to_string()
        );
        assert_eq!(setting(nano, 8 << 30, 4, "cpu.max"), "200000 100000");
        assert_eq!(setting(nano, 8 << 30, 2, "cpu.max"), "max 100000");
        assert_eq!(setting(nano, 8 << 30, 4, "cpu.weight"), "200");
        assert_eq!(setting(nano, 8 << 30, 4, "pids.max"), "1024");
        let huge = Resources {
            vcpus: 192,
            memory_mib: u32::MAX,
            processes: 0,
        };
        assert_eq!(setting(huge, 8 << 30, 4, "memory.max"), (7_u64 << 30).to_string());
        assert_eq!(setting(huge, 8 << 30, 4, "cpu.weight"), "10000");
        assert_eq!(setting(huge, 8 << 30, 4, "pids.max"), "1");
    }

    #[test]
    fn what_is_not_in_force_is_said() {
        let none = Limits::none("cgroup2 is not mounted");
        assert!(
            none.sentence()
                .ends_with("without limits: cgroup2 is not mounted")
        );
        let some = Limits::of(&["memory", "pids"], "/x".into());
        assert!(
            some.sentence()
                .contains("memory and processes by a cgroup, but not in CPU")
        );
        let all = Limits::of(&["memory", "pids", "cpu"], "/x".into());
        assert!(!all.sentence().contains("not"));
        assert_eq!(all.reason, None);
    }
}
