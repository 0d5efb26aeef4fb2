//! What an instance may use of its host. Where this machine does not let cgroups be used, the tests that need them say so and hold
//! that the host says so too.
#![allow(clippy::unwrap_used, missing_docs, dead_code)]
mod bed;
use atoll_instance::{InstanceSpec, InstanceState, Resources};
use bed::{Bed, as_root_and_as_delegated_user, as_root_and_as_ordinary_user, instance};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
}

/// An instance of this many MiB and processes.
fn small(id: &str, memory_mib: u32, processes: u32) -> InstanceSpec {
    InstanceSpec {
        resources: Resources {
            vcpus: 1,
            memory_mib,
            processes,
        },
        ..instance(id)
    }
}

/// The holder's cgroup, if every limit is in force; else says aloud that the test shows nothing here.
fn cgroup(bed: &Bed, test: &str) -> Option<PathBuf> {
    let limits = bed.host.limits().unwrap();
    let all = limits.memory && limits.processes && limits.cpu;
    assert_eq!(all, limits.reason.is_none(), "{limits:?}");
    if !all {
        let who = if bed.root { "root" } else { "an ordinary user" };
        eprintln!("NOT TESTED as {who}: {test}: {}", limits.sentence());
        assert!(limits.sentence().contains(limits.reason.as_deref().unwrap()));
        return None;
    }
    Some(PathBuf::from(limits.cgroup.unwrap()))
}

/// A mount of the holder's own is seen from nowhere else: then only what becomes of the instances shows that its limits hold.
fn seen(cgroup: &Path) -> bool {
    if !cgroup.is_absolute() {
        eprintln!(
            "NOT TESTED: the files of a cgroup that is not seen from here: {}",
            cgroup.display()
        );
    }
    cgroup.is_absolute()
}

fn read(path: &Path, name: &str) -> String {
    let path = path.join(name);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .trim()
        .to_owned()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn memory_is_bounded_and_a_hog_ends_its_instance_alone() {
    as_root_and_as_delegated_user(
        "memory_is_bounded_and_a_hog_ends_its_instance_alone",
        |bed: &mut Bed| {
            let Some(cgroup) = cgroup(bed, "memory") else {
                return;
            };
            bed.launch(&small("i-a", 64, 64), &[]);
            bed.launch(&small("i-b", 64, 64), &[]);
            let own = cgroup.join("i-a");
            if seen(&cgroup) {
                assert_eq!(read(&own, "memory.max"), (64 << 20).to_string());
                assert_eq!(read(&own, "memory.oom.group"), "1");
                assert_eq!(read(&own, "cpu.weight"), "100");
                assert_ne!(read(&own, "cgroup.procs"), "");
            }
            // `tail` keeps the one line that never ends.
            let hog = bed.exec("i-a", "head -c 100000000 /dev/zero | tail -n 1 | wc -c");
            assert!(!hog.status.success(), "{hog:?}");
            let ended = bed.until("i-a", "its end", |report| {
                matches!(report.state, InstanceState::Exited { .. })
            });
            let InstanceState::Exited { reason } = ended.state else {
                unreachable!()
            };
            assert!(reason.contains("more memory than it has (64 MiB"), "{reason}");
            assert_eq!(bed.say("i-b", "echo alive"), "alive");
            assert!(
                String::from_utf8_lossy(&bed.host.console("i-a").unwrap())
                    .contains("more memory than it has")
            );
            until("its cgroup is removed", || !own.exists());
            // And it starts again, with its bound.
            bed.launch(&small("i-a", 80, 64), &[]);
            if seen(&cgroup) {
                assert_eq!(read(&own, "memory.max"), (80 << 20).to_string());
            }
            assert_eq!(bed.say("i-a", "echo again"), "again");
        },
    );
}

#[test]
fn processes_of_all_users_together_are_bounded() {
    as_root_and_as_delegated_user("processes_of_all_users_together_are_bounded", |bed: &mut Bed| {
        let Some(cgroup) = cgroup(bed, "processes").filter(|cgroup| seen(cgroup)) else {
            return;
        };
        bed.launch(&small("i-a", 128, 30), &[]);
        bed.launch(&small("i-b", 128, 30), &[]);
        let many = bed.exec(
            "i-a",
            "for i in $(seq 40); do sleep 60 </dev/null >/dev/null 2>&1 & done",
        );
        assert!(!many.status.success(), "{many:?}");
        let own = cgroup.join("i-a");
        assert!(read(&own, "pids.current").parse::<u32>().unwrap() <= 30);
        assert!(!read(&own, "pids.events").ends_with("max 0"));
        assert_eq!(bed.say("i-b", "echo $(echo alive)"), "alive");
        // A reboot keeps the cgroup and begins anew in it.
        bed.host.reboot("i-a", Duration::ZERO).unwrap();
        assert_eq!(read(&own, "pids.max"), "30");
        assert_eq!(bed.say("i-a", "echo $(echo alive)"), "alive");
    });
}

#[test]
fn cgroups_are_adopted_and_none_is_left_whoever_is_killed() {
    as_root_and_as_delegated_user(
        "cgroups_are_adopted_and_none_is_left_whoever_is_killed",
        |bed: &mut Bed| {
            let Some(cgroup) = cgroup(bed, "adoption").filter(|cgroup| seen(cgroup)) else {
                return;
            };
            let a = bed.launch(&small("i-a", 64, 64), &[]);
            let b = bed.launch(&small("i-b", 64, 64), &[]);
            let inside = read(&cgroup.join("i-a"), "cgroup.procs");
            // The holder alone: the instances and their limits go on.
            kill(bed.host.holder_pid().unwrap());
            bed.until_gone();
            // Another holder starts meanwhile, and takes nothing that somebody holds.
            drop(Bed::new());
            assert_eq!(read(&cgroup.join("i-a"), "cgroup.procs"), inside);
            bed.reopen();
            assert_eq!(
                bed.host.limits().unwrap().cgroup.unwrap(),
                cgroup.to_str().unwrap()
            );
            assert_eq!(read(&cgroup.join("i-a"), "cgroup.procs"), inside);
            assert_eq!(bed.say("i-a", "echo alive"), "alive");
            // A shim: its instance's cgroup goes with it.
            kill(a.shim_pid.unwrap());
            until("the cgroup of i-a is removed", || !cgroup.join("i-a").exists());
            // All of them: what they leave is removed by whoever starts next, whichever region it is.
            bed.launch(&small("i-a", 64, 64), &[]);
            let a = bed.host.instance("i-a").unwrap();
            kill(bed.host.holder_pid().unwrap());
            kill(a.shim_pid.unwrap());
            kill(b.shim_pid.unwrap());
            bed.until_gone();
            assert!(cgroup.join("i-b").exists());
            until("nothing runs in them", || {
                read(&cgroup, "cgroup.events").contains("populated 0")
            });
            drop(Bed::new());
            assert!(!cgroup.exists(), "a stale cgroup is left");
            bed.reopen();
            assert!(!cgroup.join("i-b").exists());
            bed.launch(&small("i-b", 64, 64), &[]);
            assert!(cgroup.join("i-b").exists());
        },
    );
}

#[test]
fn what_an_instance_keeps_in_memory_is_bounded_also_without_cgroups() {
    as_root_and_as_ordinary_user(
        "what_an_instance_keeps_in_memory_is_bounded_also_without_cgroups",
        |bed: &mut Bed| {
            bed.launch(&small("i-a", 64, 64), &[]);
            for (place, mib) in [("/", 16), ("/run", 16), ("/dev/shm", 32)] {
                let size = bed.say("i-a", &format!("df -m --output=size {place} | tail -n 1"));
                assert_eq!(size.trim(), mib.to_string(), "{place}");
                let over = format!("head -c {} /dev/zero > {place}/over", (mib + 1) << 20);
                let full = bed.exec("i-a", &over);
                assert!(!full.status.success(), "{place}");
                assert!(
                    String::from_utf8_lossy(&full.stderr).contains("No space left"),
                    "{full:?}"
                );
                bed.say("i-a", &format!("rm {place}/over"));
            }
            // Anybody inside may use shared memory.
            assert_eq!(bed.say("i-a", "stat -c %a /dev/shm"), "1777");
        },
    );
}
