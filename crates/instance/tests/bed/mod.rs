//! A host of its own for each test, as root and as an ordinary user, with a leak check at its end.
use atoll_instance::{Change, Host, InstanceKind, InstanceReport, InstanceSpec, PortAddress, PortSpec};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// An id that no account has.
const ORDINARY: &str = "61234";
const DEADLINE: Duration = Duration::from_secs(120);

/// Runs the test's body as this user and, when that is root, once more as an ordinary user in a process of its own.
pub fn as_root_and_as_ordinary_user(name: &str, body: fn(&mut Bed)) {
    as_both(name, body, None, false);
}

/// The same; the ordinary user may open /dev/net/tun, if root may, whatever mode this machine gives it.
pub fn as_root_and_as_user_with_taps(name: &str, body: fn(&mut Bed)) {
    as_both(name, body, None, true);
}

/// Runs the test's body where this is root.
pub fn as_root(body: fn(&mut Bed)) {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("NOT TESTED: only root can do this");
    }
    let mut bed = Bed::new();
    body(&mut bed);
    bed.finish();
}

/// As [`as_root_and_as_ordinary_user`]; the ordinary user has a cgroup of its own to hand out, as systemd's user manager has, where this machine has any.
pub fn as_root_and_as_delegated_user(name: &str, body: fn(&mut Bed)) {
    let delegated = rustix::process::geteuid()
        .is_root()
        .then(Delegated::make)
        .flatten();
    as_both(
        name,
        body,
        delegated.as_ref().map(|delegated| delegated.0.as_path()),
        false,
    );
}

/// A cgroup that belongs to the ordinary user, with one in it for the processes that it starts with.
struct Delegated(PathBuf);

impl Delegated {
    fn make() -> Option<Self> {
        let root = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .map(Path::new)
            .into_iter()
            .find(|root| root.join("cgroup.subtree_control").exists())?;
        for name in ["memory", "pids", "cpu"] {
            std::fs::write(root.join("cgroup.subtree_control"), format!("+{name}")).ok()?;
        }
        let made = Self(root.join(format!("test-of-atoll-{}", std::process::id())));
        let owner = ORDINARY.parse().ok();
        std::fs::create_dir(&made.0).ok()?;
        std::fs::create_dir(made.0.join("start")).unwrap();
        for place in [
            "",
            "cgroup.procs",
            "cgroup.subtree_control",
            "start",
            "start/cgroup.procs",
        ] {
            std::os::unix::fs::chown(made.0.join(place), owner, owner).unwrap();
        }
        Some(made)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let gone = |path: &Path| {
            let deadline = Instant::now() + DEADLINE;
            while path.exists() && std::fs::remove_dir(path).is_err() && Instant::now() < deadline {
                std::thread::yield_now();
            }
        };
        gone(&self.0.join("start"));
        gone(&self.0);
        assert!(
            std::thread::panicking() || !self.0.exists(),
            "a cgroup is left: {}",
            self.0.display()
        );
    }
}

fn as_both(name: &str, body: fn(&mut Bed), cgroup: Option<&Path>, taps: bool) {
    let mut bed = Bed::new();
    body(&mut bed);
    bed.finish();
    if !bed.root {
        return;
    }
    // The programs may stand where an ordinary user cannot reach them.
    let place = tempfile::Builder::new()
        .prefix("atoll-test-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir_in("/tmp")
        .unwrap();
    let copy = |from: &Path, to: &str| {
        let to = place.path().join(to);
        std::fs::copy(from, &to).unwrap();
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755)).unwrap();
        to
    };
    let test = copy(&std::env::current_exe().unwrap(), "test");
    let testbed = copy(Path::new(env!("CARGO_BIN_EXE_atoll-instance-testbed")), "testbed");
    let ids = [format!("--reuid={ORDINARY}"), format!("--regid={ORDINARY}")];
    // Moves itself first where there is a cgroup to begin in.
    let mut begin = "[ -z \"$0\" ] || echo $$ > \"$0/start/cgroup.procs\"; exec \"$@\"".to_owned();
    let mut command = Command::new("sh");
    if taps && Path::new("/dev/net/tun").exists() {
        // A node of its own in the place of this machine's, in a mount namespace of its own.
        let node = place.path().join("tun");
        let node = node.to_str().unwrap();
        begin =
            format!("mknod {node} c 10 200 && chmod 666 {node} && mount --bind {node} /dev/net/tun; {begin}");
        command = Command::new("unshare");
        command.args(["--mount", "sh"]);
    }
    let output = command
        .args(["-c", &begin])
        .arg(cgroup.unwrap_or(Path::new("")))
        .arg("setpriv")
        .args(ids)
        .arg("--clear-groups")
        .arg(test)
        .args(["--exact", name, "--nocapture"])
        .env("ATOLL_TESTBED", testbed)
        .env("HOME", "/nonexistent")
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "as an ordinary user: {text}");
    assert!(
        text.contains("1 passed"),
        "as an ordinary user it ran nothing: {text}"
    );
    for line in text.lines().filter(|line| line.contains("NOT TESTED")) {
        eprintln!("{line}");
    }
}

pub struct Bed {
    pub host: Host,
    pub root: bool,
    /// What instances are started with.
    pub program: PathBuf,
    place: tempfile::TempDir,
    /// Namespaces and processes that were seen and must be gone.
    namespaces: BTreeSet<String>,
    processes: BTreeSet<u32>,
    /// The cgroup of each holder there was.
    cgroups: BTreeSet<PathBuf>,
}

impl Bed {
    pub fn new() -> Self {
        let program = std::env::var_os("ATOLL_TESTBED").map_or_else(
            || PathBuf::from(env!("CARGO_BIN_EXE_atoll-instance-testbed")),
            PathBuf::from,
        );
        let place = tempfile::Builder::new()
            .prefix("atoll-host-")
            .tempdir_in("/tmp")
            .unwrap();
        let host = Host::open_with(&program, &place.path().join("run"), &place.path().join("state")).unwrap();
        let root = std::fs::metadata(place.path())
            .map(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0)
            .unwrap();
        let mut bed = Self {
            host,
            root,
            program,
            place,
            namespaces: BTreeSet::new(),
            processes: BTreeSet::new(),
            cgroups: BTreeSet::new(),
        };
        let holder = bed.host.holder_pid().unwrap();
        bed.remember(holder);
        bed
    }

    pub fn path(&self) -> &Path {
        self.place.path()
    }

    /// Opens the host again, as a daemon does that was started again.
    pub fn reopen(&mut self) {
        self.host = Host::open_with(
            &self.program,
            &self.place.path().join("run"),
            &self.place.path().join("state"),
        )
        .unwrap();
        let holder = self.host.holder_pid().unwrap();
        self.remember(holder);
    }

    fn remember(&mut self, pid: u32) {
        self.cgroups
            .extend(self.host.limits().unwrap().cgroup.map(PathBuf::from));
        self.processes.insert(pid);
        let own: BTreeSet<String> = namespaces_of("self").collect();
        self.namespaces
            .extend(namespaces_of(&pid.to_string()).filter(|name| !own.contains(name)));
    }

    pub fn launch(&mut self, spec: &InstanceSpec, ports: &[PortSpec]) -> InstanceReport {
        let report = self
            .host
            .launch(spec, ports)
            .unwrap_or_else(|error| panic!("{error}; {}", self.log()));
        self.seen(&report);
        report
    }

    pub fn seen(&mut self, report: &InstanceReport) {
        report
            .shim_pid
            .into_iter()
            .chain(report.init_pid)
            .for_each(|pid| self.remember(pid));
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.place.path().join("state/holder.log")).unwrap_or_default()
    }

    /// Runs a shell line inside, with `input` at its standard input.
    pub fn exec_with(&self, id: &str, line: &str, input: &[u8]) -> Output {
        let mut child = Command::new(&self.program)
            .arg("exec")
            .arg(self.host.exec_socket(id).unwrap())
            .args(["--", "/bin/sh", "-c", line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap();
        child.wait_with_output().unwrap()
    }

    pub fn exec(&self, id: &str, line: &str) -> Output {
        self.exec_with(id, line, b"")
    }

    /// What a line that must succeed wrote.
    pub fn say(&self, id: &str, line: &str) -> String {
        let output = self.exec(id, line);
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(
            output.status.success(),
            "{line}: {text} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// A command that runs on while the test does something else.
    pub fn spawn(&self, id: &str, line: &str) -> std::process::Child {
        let socket = self.host.exec_socket(id).unwrap();
        let mut command = Command::new(&self.program);
        command
            .arg("exec")
            .arg(socket)
            .args(["--", "/bin/sh", "-c", line]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits for a report of the instance that has what is wanted.
    pub fn until(
        &mut self,
        id: &str,
        what: &str,
        wanted: impl Fn(&InstanceReport) -> bool,
    ) -> InstanceReport {
        let mut changes = self.host.subscribe().unwrap();
        let deadline = Instant::now() + DEADLINE;
        let mut last = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(change) = changes.next(Some(left)).unwrap() else {
                panic!("{what} did not come; last {last:?}; {}", self.log())
            };
            let reports = match change {
                Change::Snapshot(reports) => reports,
                Change::Instance(report) => vec![report],
                Change::Gone(_) => vec![],
            };
            for report in reports.into_iter().filter(|report| report.id == id) {
                self.seen(&report);
                if wanted(&report) {
                    return report;
                }
                last = Some(report);
            }
        }
    }

    /// Joins two ports in the fabric's namespace by a bridge, in the place of a data plane. It goes with the namespace.
    pub fn bridge(&self, ports: &[&PortSpec]) {
        let mut batch = String::from("link add name br0 mtu 9001 type bridge\nlink set dev br0 up\n");
        for port in ports {
            batch += &format!("link set dev {} master br0\n", port.host_name());
        }
        self.in_fabric(&["ip", "-batch", "-"], batch.as_bytes());
    }

    /// Runs a program in the fabric's namespace.
    pub fn in_fabric(&self, argv: &[&str], input: &[u8]) -> String {
        let pid = self.host.holder_pid().unwrap().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-n"]);
        if !self.root {
            command.args(["-U", "--preserve-credentials"]);
        }
        let mut child = command
            .args(argv)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{argv:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Ends everything and looks for what is left.
    fn finish(&mut self) {
        if let Ok(reports) = self.host.list() {
            reports.iter().for_each(|report| self.seen(report));
        }
        self.host
            .shutdown(true)
            .unwrap_or_else(|error| panic!("{error}; {}", self.log()));
        self.no_leak();
        let left: Vec<_> = std::fs::read_dir(self.place.path())
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert!(left.is_empty(), "files are left: {left:?}");
    }

    /// Nothing that was seen is there any more. Ended processes may take the kernel a moment to clear away: waits for that, with a deadline.
    pub fn no_leak(&self) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = self.left();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {left:?}");
            std::thread::yield_now();
        }
    }

    fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = Vec::new();
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = process
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
            // A zombie runs nothing, and when it is reaped is its parent's matter: the host's process 1.
            if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')) {
                continue;
            }
            if self.processes.contains(&pid) {
                left.push(format!("process {pid}: {stat}"));
            }
            left.extend(
                namespaces_of(&pid.to_string())
                    .filter(|name| self.namespaces.contains(name))
                    .map(|name| format!("{name} of {pid}")),
            );
            for descriptor in std::fs::read_dir(process.path().join("fd"))
                .into_iter()
                .flatten()
                .flatten()
            {
                if let Ok(target) = std::fs::read_link(descriptor.path())
                    && target
                        .to_str()
                        .is_some_and(|target| self.namespaces.contains(target))
                {
                    left.push(format!("{target:?} open in {pid}"));
                }
            }
        }
        left.extend(
            self.cgroups
                .iter()
                .filter(|cgroup| cgroup.exists())
                .map(|cgroup| format!("cgroup {}", cgroup.display())),
        );
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let place = self.place.path().to_str().unwrap();
        left.extend(
            mounts
                .lines()
                .filter(|line| line.contains(place))
                .map(str::to_owned),
        );
        left
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // After a failure: what this test started ends with it.
        let _ = self.host.shutdown(true);
    }
}

fn namespaces_of(pid: &str) -> impl Iterator<Item = String> {
    let directory = PathBuf::from("/proc").join(pid).join("ns");
    ["net", "user", "mnt", "pid", "ipc", "uts"]
        .into_iter()
        .filter_map(move |kind| {
            Some(
                std::fs::read_link(directory.join(kind))
                    .ok()?
                    .to_str()?
                    .to_owned(),
            )
        })
}

pub fn instance(id: &str) -> InstanceSpec {
    InstanceSpec {
        id: id.into(),
        hostname: format!("host-{id}"),
        kind: InstanceKind::Instance,
        user_data: None,
        search_domain: None,
        env: vec![],
        resources: Default::default(),
    }
}

pub fn with_user_data(id: &str, script: &str) -> InstanceSpec {
    InstanceSpec {
        user_data: Some(script.into()),
        ..instance(id)
    }
}

/// A port in 10.0.0.0/24 and 2001:db8::/64 whose last byte is `last`.
pub fn port(id: &str, device_index: u8, last: u8) -> PortSpec {
    let address = |text: String, prefix_len| PortAddress {
        address: text.parse().unwrap(),
        prefix_len,
    };
    PortSpec {
        id: id.into(),
        device_index,
        mac: [2, 0, 0, 0, 0, last],
        mtu: 9001,
        addresses: vec![
            address(format!("10.0.0.{last}"), 24),
            address(format!("2001:db8::{last:x}"), 64),
        ],
        gateway_v4: Some([10, 0, 0, 1].into()),
        gateway_v6: Some("fe80::1".parse().unwrap()),
        dns: vec!["10.0.0.2".parse().unwrap()],
        on_link: vec![],
    }
}

impl Bed {
    /// A command whose standard input, output and error are a terminal.
    pub fn on_terminal(&self, id: &str, line: &str, terminal: &std::os::fd::OwnedFd) -> std::process::Child {
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let socket = self.host.exec_socket(id).unwrap();
        let mut command = Command::new(&self.program);
        command
            .arg("exec")
            .arg(socket)
            .args(["--", "/bin/sh", "-c", line]);
        command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
    }
}

impl Bed {
    /// Waits until nobody answers as the holder.
    pub fn until_gone(&self) {
        let deadline = Instant::now() + DEADLINE;
        while self.host.holder_pid().is_ok() {
            assert!(Instant::now() < deadline, "the holder still answers");
            std::thread::yield_now();
        }
    }
}

impl Bed {
    /// What a program says that entered as a daemon does.
    pub fn entered(&self, argv: &[&str]) -> String {
        let (run, state) = (self.place.path().join("run"), self.place.path().join("state"));
        let output = Command::new(&self.program)
            .arg("enter")
            .args([run, state])
            .args(argv)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{argv:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
