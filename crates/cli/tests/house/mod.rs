//! A place of its own for a test of the `atoll` program: nothing of the person's who runs it is touched.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take that must come. Nothing is asserted about how fast it comes.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Debian's user `nobody`: an ordinary one, for tests that root runs.
const NOBODY: u32 = 65534;

pub struct House {
    top: tempfile::TempDir,
    program: PathBuf,
    /// Everything is done as `nobody`.
    rootless: bool,
    /// What stands at /dev/net/tun for it, in the place of this machine's, which it may not open.
    taps: Option<PathBuf>,
    /// The network namespace that everything is done in, if it is another one than the test's.
    network: Option<PathBuf>,
    endpoint: Mutex<Option<String>>,
}

/// A daemon in the foreground; killed when the test ends, however it ends.
pub struct Serving {
    pub child: Child,
    pub endpoint: String,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // A test that failed leaves instances: they go.
        if let Some(endpoint) = self.endpoint.lock().unwrap().as_deref() {
            let _ = self.atoll(&["down", "--all", "--endpoint", endpoint]).output();
        }
    }
}

impl House {
    /// As whoever runs the tests.
    pub fn new() -> Self {
        Self::of(PathBuf::from(env!("CARGO_BIN_EXE_atoll")), false)
    }

    /// As an ordinary user: whoever runs the tests, or `nobody` if that is root.
    pub fn rootless() -> Self {
        let built = PathBuf::from(env!("CARGO_BIN_EXE_atoll"));
        if !rustix::process::geteuid().is_root() {
            return Self::of(built, false);
        }
        let top = tempfile::tempdir().unwrap();
        // The build directory may be root's alone.
        let program = top.path().join("atoll");
        std::fs::copy(built, &program).unwrap();
        std::fs::set_permissions(top.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["home", "run"] {
            let directory = top.path().join(name);
            std::fs::create_dir(&directory).unwrap();
            std::os::unix::fs::chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        Self {
            top,
            program,
            rootless: true,
            taps: None,
            network: None,
            endpoint: Mutex::new(None),
        }
    }

    /// The same, and it may open /dev/net/tun if whoever runs the tests may make such a node.
    pub fn rootless_with_taps() -> Self {
        let mut house = Self::rootless();
        let node = house.path().join("tun");
        let made = Command::new("mknod").arg(&node).args(["c", "10", "200"]).output();
        if house.rootless && made.is_ok_and(|output| output.status.success()) {
            std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o666)).unwrap();
            house.taps = Some(node);
        }
        house
    }

    fn of(program: PathBuf, rootless: bool) -> Self {
        Self {
            top: tempfile::tempdir().unwrap(),
            program,
            rootless,
            taps: None,
            network: None,
            endpoint: Mutex::new(None),
        }
    }

    /// As root, on a host of its own: in that network namespace.
    pub fn within(network: PathBuf) -> Self {
        let mut house = Self::new();
        house.network = Some(network);
        house
    }

    pub fn path(&self) -> &Path {
        self.top.path()
    }

    pub fn run_base(&self) -> PathBuf {
        self.path().join("run").join("atoll")
    }

    /// The default data directory of this house.
    pub fn data(&self) -> PathBuf {
        self.path().join("home").join("data")
    }

    pub fn atoll(&self, words: &[&str]) -> Command {
        let mut command = match self.rootless {
            false => {
                std::fs::create_dir_all(self.path().join("run")).unwrap();
                std::fs::create_dir_all(self.path().join("home")).unwrap();
                match &self.network {
                    None => Command::new(&self.program),
                    Some(network) => {
                        let mut command = Command::new("nsenter");
                        command.arg(format!("--net={}", network.display())).arg("--");
                        command.arg(&self.program);
                        command
                    }
                }
            }
            true => {
                let mut command = match &self.taps {
                    None => Command::new("setpriv"),
                    Some(node) => {
                        let mut command = Command::new("unshare");
                        let line = "mount --bind \"$0\" /dev/net/tun && exec setpriv \"$@\"";
                        command.args(["--mount", "sh", "-c", line]).arg(node);
                        command
                    }
                };
                let user = NOBODY.to_string();
                command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
                command.arg(&self.program);
                command
            }
        };
        command
            .args(words)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", self.path().join("home"))
            .env("XDG_STATE_HOME", self.path().join("home"))
            .env("XDG_RUNTIME_DIR", self.path().join("run"))
            .stdin(Stdio::null());
        command
    }

    /// Starts a daemon and waits until it says that it serves.
    pub fn serve(&self, words: &[&str]) -> Serving {
        self.try_serve(words)
            .unwrap_or_else(|error| panic!("it does not serve: {error}"))
    }

    /// Starts a daemon with a data plane; `None`, and said aloud, on a host that forbids it: nothing can be shown there
    /// but that it is said, and what to do.
    pub fn serve_where_permitted(&self, words: &[&str]) -> Option<Serving> {
        match self.try_serve(words) {
            Ok(serving) => Some(serving),
            Err(error) if error.contains("does not let uid") => {
                eprintln!("not shown here: {error}");
                None
            }
            Err(error) => panic!("it does not serve: {error}"),
        }
    }

    /// Starts a daemon; gives what it said if it does not serve.
    pub fn try_serve(&self, words: &[&str]) -> Result<Serving, String> {
        let mut all = vec!["serve"];
        if !words.contains(&"--listen") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        all.extend_from_slice(words);
        self.begin(&all, |said| {
            let last = said.rsplit(' ').next()?;
            last.starts_with("http").then(|| last.to_owned())
        })
    }

    /// Starts a daemon that is a host of a region served elsewhere, and waits until it says so.
    pub fn join(&self, words: &[&str]) -> Serving {
        let all = [&["join"], words].concat();
        let begun = self.begin(&all, |said| {
            let is_host = said.starts_with("atoll is the host ");
            is_host.then(|| "http://127.0.0.1:4600".to_owned())
        });
        begun.unwrap_or_else(|error| panic!("it does not join: {error}"))
    }

    /// Starts a daemon; `endpoint` reads from its first line where it is asked.
    fn begin(&self, words: &[&str], endpoint: impl Fn(&str) -> Option<String>) -> Result<Serving, String> {
        let mut child = self
            .atoll(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let Some(endpoint) = endpoint(said.trim()) else {
            let mut error = String::new();
            BufReader::new(stderr).read_to_string(&mut error).unwrap();
            let _ = child.wait();
            return Err(error);
        };
        // What it logs is shown with the test's output if the test fails.
        std::thread::spawn(move || {
            BufReader::new(stderr)
                .lines()
                .map_while(Result::ok)
                .for_each(|line| eprintln!("{line}"))
        });
        *self.endpoint.lock().unwrap() = Some(endpoint.clone());
        Ok(Serving { endpoint, child })
    }

    pub fn ask(&self, serving: &Serving, words: &[&str]) -> Output {
        self.atoll(words)
            .env("AWS_ENDPOINT_URL", &serving.endpoint)
            .output()
            .unwrap()
    }

    /// The JSON that a command that succeeds writes.
    pub fn json(&self, serving: &Serving, words: &[&str]) -> Value {
        serde_json::from_str(&self.say(serving, words)).unwrap()
    }

    pub fn status(&self, serving: &Serving) -> Value {
        self.json(serving, &["status", "--json"])
    }

    /// What a command that succeeds writes.
    pub fn say(&self, serving: &Serving, words: &[&str]) -> String {
        text(&self.ask(serving, words))
    }
}

/// Asks until the answer is as it should be.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(other) => assert!(Instant::now() < deadline, "{what}: {other}"),
        }
        std::thread::yield_now();
    }
}

/// What a command that succeeded wrote.
pub fn text(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// Waits until nothing is left: what ended may take the kernel a moment to clear away.
pub fn nothing_is_left(house: &House, namespaces: &BTreeSet<String>, cgroup: &Value) {
    until("it is left", || {
        let mut left = left(house, namespaces);
        left.extend(
            cgroup
                .as_str()
                .filter(|path| Path::new(path).exists())
                .map(str::to_owned),
        );
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

/// Processes that name the house on their command line, and those in its network namespaces; mounts and files.
fn left(house: &House, namespaces: &BTreeSet<String>) -> Vec<String> {
    let top = house.path().to_str().unwrap();
    let mut left = Vec::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let path = process.path();
        let Ok(command) = std::fs::read(path.join("cmdline")) else {
            continue;
        };
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let namespace = std::fs::read_link(path.join("ns/net")).unwrap_or_default();
        if command.contains(top) || namespaces.contains(&namespace.display().to_string()) {
            left.push(command);
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(top))
            .map(str::to_owned),
    );
    for directory in ["home", "run"] {
        let entries = std::fs::read_dir(house.path().join(directory)).unwrap();
        left.extend(entries.flatten().map(|entry| entry.path().display().to_string()));
    }
    left
}
