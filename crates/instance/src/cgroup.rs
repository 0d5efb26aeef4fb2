//! Cgroups (version 2): where an instance's share of the host is held.
//!
//! `atoll-HASH/` is one holder's, `atoll-HASH/i-…/` has everything that runs inside one instance, and nothing else: holder and shims stay in the cgroup
//! that they were started in. The kernel's locks say who is alive, not files: the holder keeps one on its directory and each shim on its
//! instance's, and they end with the process however it ends. So whoever starts next may remove what nobody holds, of any holder.
use crate::limits::{Limits, Resources};
use crate::run_dir::RunDir;
use crate::{Error, Result, error::Trying, frame, sys};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What instances are limited by, in the order in which it is told.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// What the directories of all holders begin with.
const PREFIX: &str = "atoll-";
/// How long processes that were killed may take to be gone, and another's look at a directory to end.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a change of a cgroup is waited for before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The cgroups of one holder, or why there are none.
pub(crate) struct Cgroups {
    region: Option<Region>,
    limits: Limits,
}

/// The directory of one holder.
struct Region {
    path: PathBuf,
    controllers: Vec<&'static str>,
    /// Its open file holds the lock.
    _lock: OwnedFd,
    /// Where cgroup2 is mounted nowhere: a mount of ours, attached nowhere.
    _mount: Option<OwnedFd>,
}

impl Cgroups {
    /// Finds or makes this holder's directory, after removing those that belong to nobody any more. Call it before namespaces are made, and while
    /// children can be waited for.
    pub(crate) fn open(run: &RunDir) -> Self {
        match Region::open(run) {
            Ok((region, shown)) => Self {
                limits: Limits::of(&region.controllers, shown),
                region: Some(region),
            },
            Err(reason) => Self {
                region: None,
                limits: Limits::none(reason),
            },
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Makes an instance's cgroup with its limits; `None` where there are no cgroups. Whoever holds the descriptor, or inherits it, holds the cgroup.
    pub(crate) fn make(&self, id: &str, resources: &Resources) -> Result<Option<OwnedFd>> {
        let Some(region) = &self.region else {
            return Ok(None);
        };
        let path = region.path.join(id);
        end(&path)?;
        std::fs::create_dir(&path).trying(format!("make the cgroup of {id}"))?;
        let made = region.limit(&path, resources);
        if made.is_err() {
            let _ = end(&path);
        }
        made.map(Some)
    }

    /// Ends what is left in an instance's cgroup and removes it.
    pub(crate) fn remove(&self, id: &str) {
        if let Some(region) = &self.region
            && let Err(error) = end(&region.path.join(id))
        {
            eprintln!("holder: {error}");
        }
    }

    /// Removes what an earlier holder left of instances that have no shim.
    pub(crate) fn keep_only(&self, live: impl Fn(&str) -> bool) {
        let Some(region) = &self.region else { return };
        for (name, _) in children(&region.path).into_iter().filter(|(name, _)| !live(name)) {
            self.remove(&name);
        }
    }

    /// Removes all of it, at the holder's end.
    pub(crate) fn remove_all(&mut self) {
        self.keep_only(|_| false);
        if let Some(region) = self.region.take()
            && let Err(error) = end(&region.path)
        {
            eprintln!("holder: {error}");
        }
    }
}

impl Region {
    fn open(run: &RunDir) -> std::result::Result<(Self, String), String> {
        let Hierarchy { candidates, mount } = Hierarchy::find()?;
        let name = name(run)?;
        let mut refused = None;
        for parent in candidates.iter().filter(|parent| writable(parent)) {
            match Self::below(parent, &name) {
                Ok((path, controllers, lock)) => {
                    let shown = match mount {
                        None => path.display().to_string(),
                        Some(_) => format!("{name}, in a cgroup2 mount of its own"),
                    };
                    let region = Self {
                        path,
                        controllers,
                        _lock: lock,
                        _mount: mount,
                    };
                    return Ok((region, shown));
                }
                // The first one is the one that a person would look at.
                Err(reason) => drop(refused.get_or_insert(reason)),
            }
        }
        Err(refused.unwrap_or_else(|| {
            format!(
                "no cgroup that this process is in is delegated to uid {}; with systemd, start it by `systemd-run --user --scope atoll …`, or run atoll as root",
                rustix::process::geteuid().as_raw()
            )
        }))
    }

    fn below(
        parent: &Path,
        name: &str,
    ) -> std::result::Result<(PathBuf, Vec<&'static str>, OwnedFd), String> {
        let shown = parent.display();
        let have = words(&parent.join("cgroup.controllers"));
        let wanted = CONTROLLERS
            .into_iter()
            .filter(|name| have.iter().any(|word| word == name));
        let wanted: Vec<&'static str> = wanted.collect();
        if wanted.is_empty() {
            return Err(format!(
                "the cgroup2 hierarchy has none of the controllers memory, pids and cpu at {shown}{}",
                if held_by_version_1() {
                    " (cgroup v1 has them: boot with systemd.unified_cgroup_hierarchy=1)"
                } else {
                    ""
                }
            ));
        }
        let (controllers, error) = hand_down(parent, &wanted);
        if controllers.is_empty() {
            return Err(format!(
                "{shown} does not hand its controllers down ({error}): it has processes of its own"
            ));
        }
        sweep(parent, Some(name));
        let path = parent.join(name);
        let lock = make_and_lock(&path).map_err(|error| error.to_string())?;
        let (controllers, _) = hand_down(&path, &controllers);
        if let Err(error) = try_to_join(&path) {
            let _ = std::fs::remove_dir(&path);
            return Err(format!(
                "processes cannot be moved from their cgroup into one below {shown} ({error}); with systemd, start it by `systemd-run --user --scope atoll …`, or run atoll as root"
            ));
        }
        Ok((path, controllers, lock))
    }

    fn limit(&self, path: &Path, resources: &Resources) -> Result<OwnedFd> {
        let (memory, cpus) = (host_memory()?, host_cpus());
        for (controller, file, value) in resources.settings(memory, cpus) {
            let file = path.join(file);
            // Kernels without swap have no such file.
            if self.controllers.contains(&controller) && file.exists() {
                std::fs::write(&file, &value).trying(format!("write {value} to {}", file.display()))?;
            }
        }
        let directory = open(path).trying(format!("open {}", path.display()))?;
        rustix::fs::flock(&directory, FlockOperation::NonBlockingLockShared)
            .trying(format!("lock {}", path.display()))?;
        Ok(directory)
    }
}

/// One instance's cgroup, as its shim has it.
#[derive(Debug)]
pub(crate) struct InstanceCgroup(OwnedFd);

impl InstanceCgroup {
    /// From the number at which the holder left it, as the shim's argument says it.
    pub(crate) fn inherited(number: &OsString) -> Result<Self> {
        let number = number.to_str().and_then(|number| number.parse().ok());
        sys::inherited(number.ok_or("not a number").trying("take over the cgroup")?).map(Self)
    }

    /// Moves this process into it; what it starts from then on is in it too.
    pub(crate) fn join(&self) -> Result<()> {
        let what = "move a process into its cgroup";
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, "cgroup.procs", flags, Mode::empty()).trying(what)?;
        rustix::io::write(file, b"0").trying(what).map(drop)
    }

    /// How many processes the kernel ended in it for want of memory so far.
    pub(crate) fn memory_kills(&self) -> u64 {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(&self.0, "memory.events", flags, Mode::empty()) else {
            return 0;
        };
        std::io::read_to_string(std::fs::File::from(file))
            .ok()
            .and_then(|text| value(&text, "oom_kill"))
            .unwrap_or(0)
    }
}

/// Removes the cgroups of holders that were killed together with all their instances.
pub fn remove_stale() {
    if let Ok(Hierarchy {
        candidates,
        mount: _mount,
    }) = Hierarchy::find()
    {
        for parent in candidates.iter().filter(|parent| writable(parent)) {
            sweep(parent, None);
        }
    }
}

/// The cgroup2 hierarchy, seen from this process.
struct Hierarchy {
    /// Its root, and the cgroups below it down to the one that this process is in.
    candidates: Vec<PathBuf>,
    mount: Option<OwnedFd>,
}

impl Hierarchy {
    fn find() -> std::result::Result<Self, String> {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .ok_or("this kernel has no cgroup v2")?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")
            .map_err(|error| format!("read /proc/self/mountinfo: {error}"))?;
        let found = mounts.lines().find_map(|line| mount_of(line, own));
        let (root, below, mount) = match found {
            Some((root, below, true)) => (root, below, None),
            Some((root, _, false)) => {
                return Err(format!("cgroup2 is mounted read-only at {}", root.display()));
            }
            None => {
                let mount = mount()
                    .map_err(|error| format!("cgroup2 is not mounted, and mounting it failed: {error}"))?;
                let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
                (root, own.to_owned(), Some(mount))
            }
        };
        let mut candidates = vec![root];
        // A process that is outside its cgroup namespace's root has only that root.
        let below = if below.contains("..") { "" } else { &below };
        for name in below.split('/').filter(|name| !name.is_empty()) {
            let deeper = candidates.last().map(|parent| parent.join(name));
            candidates.extend(deeper);
        }
        Ok(Self { candidates, mount })
    }
}

/// A line of mountinfo: where cgroup2 is mounted so that `own` is seen in it, the path from there to `own`, and whether it may be written.
fn mount_of(line: &str, own: &str) -> Option<(PathBuf, String, bool)> {
    let (before, after) = line.split_once(" - ")?;
    if after.split(' ').next() != Some("cgroup2") {
        return None;
    }
    let mut fields = before.split(' ').skip(3);
    let (root, place, options) = (fields.next()?, fields.next()?, fields.next()?);
    let below = own.strip_prefix(root.trim_end_matches('/'))?;
    (below.is_empty() || below.starts_with('/')).then(|| {
        (
            PathBuf::from(place),
            below.to_owned(),
            options.split(',').any(|option| option == "rw"),
        )
    })
}

/// Mounts cgroup2 for this process alone: it is attached nowhere, and ends with its descriptor.
fn mount() -> rustix::io::Result<OwnedFd> {
    let opened = rustix::mount::fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&opened)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(&opened, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn writable(path: &Path) -> bool {
    [
        path.to_owned(),
        path.join("cgroup.procs"),
        path.join("cgroup.subtree_control"),
    ]
    .iter()
    .all(|path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok())
}

/// The name of a holder's directory: one for each run directory that ever was.
fn name(run: &RunDir) -> std::result::Result<String, String> {
    let found = std::fs::metadata(run.path())
        .map_err(|error| format!("look at {}: {error}", run.path().display()))?;
    let numbers = [found.dev(), found.ino()].map(u64::to_ne_bytes).concat();
    let bytes = run.path().as_os_str().as_encoded_bytes().iter().chain(&numbers);
    // FNV-1a, as in the names of ports.
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    Ok(format!("{PREFIX}{hash:016x}"))
}

fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Turns controllers on for what is below; gives those that are on then, and why others are not.
fn hand_down(parent: &Path, wanted: &[&'static str]) -> (Vec<&'static str>, String) {
    let file = parent.join("cgroup.subtree_control");
    let on = words(&file);
    let mut error = "it was turned off again".to_owned();
    for name in wanted.iter().filter(|name| !on.iter().any(|word| word == *name)) {
        if let Err(why) = std::fs::write(&file, format!("+{name}")) {
            error = why.to_string();
        }
    }
    let on = words(&file);
    let on = wanted
        .iter()
        .copied()
        .filter(|name| on.iter().any(|word| word == name));
    (on.collect(), error)
}

fn make_and_lock(path: &Path) -> Result<OwnedFd> {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        match std::fs::create_dir(path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io(format!("make {}", path.display()), error));
            }
            _ => {}
        }
        // Between the two, another start may have found it to be nobody's, and removed it.
        let Ok(directory) = open(path) else { continue };
        let locked = rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive);
        let still = rustix::fs::fstat(&directory)
            .is_ok_and(|held| std::fs::metadata(path).is_ok_and(|named| named.ino() == held.st_ino));
        if locked.is_ok() && still {
            return Ok(directory);
        }
        std::thread::yield_now();
    }
    Err(Error::Deadline {
        what: format!("the lock of {}", path.display()),
        seconds: DEADLINE.as_secs(),
    })
}

/// Whether a process of ours may be moved there: an ordinary user's may not be from a cgroup that is not its own.
fn try_to_join(path: &Path) -> Result<()> {
    let place = path.join("try");
    end(&place)?;
    std::fs::create_dir(&place).trying("make a cgroup")?;
    let joined = match sys::fork()? {
        sys::Fork::Child => {
            let done = std::fs::write(place.join("cgroup.procs"), "0");
            sys::exit_now(done.map_or_else(|error| error.raw_os_error().unwrap_or(255), |()| 0))
        }
        sys::Fork::Parent(child) => match sys::wait_exit(child) {
            0 => Ok(()),
            code => Err(Error::io("join it", std::io::Error::from_raw_os_error(code))),
        },
    };
    end(&place)?;
    joined
}

/// Removes directories of holders that nobody holds, and whose instances nobody holds.
fn sweep(parent: &Path, but: Option<&str>) {
    let me = rustix::process::geteuid().as_raw();
    for (name, path) in children(parent) {
        let ours = std::fs::symlink_metadata(&path).is_ok_and(|found| found.uid() == me);
        if !name.starts_with(PREFIX) || Some(name.as_str()) == but || !ours {
            continue;
        }
        let unheld = |path: &Path| {
            let directory = open(path).ok()?;
            rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).ok()?;
            Some(directory)
        };
        let Some(_lock) = unheld(&path) else { continue };
        let inside = children(&path);
        let locks: Option<Vec<OwnedFd>> = inside.iter().map(|(_, path)| unheld(path)).collect();
        if locks.is_none() {
            continue;
        }
        let done = inside
            .iter()
            .map(|(_, path)| path)
            .chain([&path])
            .try_for_each(|path| end(path));
        if let Err(error) = done {
            eprintln!("a cgroup of an earlier run: {error}");
        }
    }
}

/// The cgroups directly below one.
fn children(parent: &Path) -> Vec<(String, PathBuf)> {
    std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect()
}

/// Kills everything in a cgroup and removes it; one that is not there is removed.
fn end(path: &Path) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match std::fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > deadline || error.kind() != std::io::ErrorKind::ResourceBusy => {
                return Err(Error::io(format!("remove cgroup {}", path.display()), error));
            }
            Err(_) => {}
        }
        // Kernels before 5.14 have no such file.
        if std::fs::write(path.join("cgroup.kill"), "1").is_err() {
            words(&path.join("cgroup.procs"))
                .iter()
                .filter_map(|pid| rustix::process::Pid::from_raw(pid.parse().ok()?))
                .for_each(|pid| sys::kill(pid, libc::SIGKILL, false));
        }
        let Ok(events) = std::fs::File::open(path.join("cgroup.events")) else {
            continue;
        };
        // What is polled for is a change since it was read.
        if std::io::read_to_string(&events).is_ok_and(|text| value(&text, "populated") == Some(1)) {
            frame::poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(LOOK_AGAIN))?;
        } else {
            std::thread::yield_now();
        }
    }
}

fn words(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file)
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// The number after a name in a file of `NAME NUMBER` lines.
fn value(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .and_then(|number| number.trim().parse().ok())
}

/// Whether a controller is where version 2 cannot have it.
fn held_by_version_1() -> bool {
    std::fs::read_to_string("/proc/cgroups").is_ok_and(|text| {
        text.lines().any(|line| {
            let mut fields = line.split_whitespace();
            fields.next() == Some("memory") && fields.next().is_some_and(|hierarchy| hierarchy != "0")
        })
    })
}

/// The host's memory in bytes.
pub(crate) fn host_memory() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").trying("read /proc/meminfo")?;
    text.lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .map(|kib| kib * 1024)
        .ok_or("it has no MemTotal")
        .trying("read /proc/meminfo")
}

fn host_cpus() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_in_which_a_process_is_seen_is_found() {
        let line = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        let found = mount_of(line, "/user.slice/a.scope").unwrap();
        assert_eq!(
            found,
            ("/sys/fs/cgroup".into(), "/user.slice/a.scope".into(), true)
        );
        // A container that sees only its own part, read-only.
        let line = "30 23 0:26 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw";
        assert_eq!(
            mount_of(line, "/docker/x/y").unwrap(),
            ("/sys/fs/cgroup".into(), "/y".into(), false)
        );
        assert_eq!(mount_of(line, "/docker/xy"), None);
        assert_eq!(mount_of(line, "/"), None);
        assert_eq!(
            mount_of("30 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", "/"),
            None
        );
        assert_eq!(mount_of("", "/"), None);
    }

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let text = "oom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(value(text, "oom_kill"), Some(2));
        assert_eq!(value(text, "oom"), Some(3));
        assert_eq!(value(text, "kill"), None);
        assert!(host_memory().unwrap() > 16 << 20);
    }
}
