//! The world that the checks run in: a daemon of their own, with directories of its own, driven by the `atoll` binary.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Failure, Observation};

/// How long one command of the `atoll` binary may take before it counts as hung.
const COMMAND_DEADLINE: Duration = Duration::from_secs(330);
/// How long the daemon may take until it serves.
const SERVE_DEADLINE: Duration = Duration::from_secs(120);

/// A daemon of the demo's own and what is known about its stack.
pub struct World {
    atoll: PathBuf,
    examples: PathBuf,
    directory: tempfile::TempDir,
    endpoint: String,
    user: Option<u32>,
    daemon: Option<Child>,
    /// What carries packets: a word for `atoll serve --data-plane`, or what it takes by itself.
    pub data_plane: Option<String>,
    resources: BTreeMap<String, String>,
    /// What was tried so far.
    pub observations: Vec<Observation>,
}

impl World {
    /// A world with the `atoll` binary that was built beside the running program, and this checkout's examples.
    pub fn of_this_build(user: Option<u32>) -> Result<World, Failure> {
        let own = std::env::current_exe()?;
        // A test's program stands one directory deeper than the binaries.
        let atoll = own
            .ancestors()
            .skip(1)
            .take(2)
            .map(|dir| dir.join("atoll"))
            .find(|path| path.exists());
        let atoll = atoll.ok_or("the atoll binary is not there: build it first (make build)")?;
        World::new(
            &atoll,
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples")),
            user,
        )
    }

    /// A world with the binary at `atoll` and the examples at `examples`; nothing runs yet. With `user`, everything
    /// runs as that uid, which must not be root's: the rootless way.
    pub fn new(atoll: &Path, examples: &Path, user: Option<u32>) -> Result<World, Failure> {
        let directory = tempfile::Builder::new().prefix("atoll-demo-").tempdir()?;
        for name in ["state", "run", "home"] {
            let path = directory.path().join(name);
            std::fs::create_dir(&path)?;
            if let Some(uid) = user {
                std::os::unix::fs::chown(&path, Some(uid), Some(uid))?;
            }
        }
        let (mut atoll, mut examples) = (atoll.to_owned(), examples.to_owned());
        if let Some(uid) = user {
            std::os::unix::fs::chown(directory.path(), Some(uid), Some(uid))?;
            // The checkout may lie where that user cannot look: give it copies.
            let bin = directory.path().join("atoll");
            std::fs::copy(&atoll, &bin)?;
            let copies = directory.path().join("examples");
            std::fs::create_dir(&copies)?;
            for entry in std::fs::read_dir(&examples)? {
                let entry = entry?;
                // Templates are files; beside them there are programs, in directories.
                if entry.file_type()?.is_file() {
                    std::fs::copy(entry.path(), copies.join(entry.file_name()))?;
                }
            }
            (atoll, examples) = (bin, copies);
        }
        let port = free_port()?;
        Ok(World {
            atoll,
            examples,
            endpoint: format!("http://127.0.0.1:{port}"),
            directory,
            user,
            daemon: None,
            data_plane: None,
            resources: BTreeMap::new(),
            observations: Vec::new(),
        })
    }

    /// A file of the examples, where the world's user can read it.
    pub fn example(&self, name: &str) -> PathBuf {
        self.examples.join(name)
    }

    /// The directory that everything of this world lies in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The daemon's process id.
    pub fn daemon_pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// The `atoll` binary with this world's directories and endpoint.
    pub fn atoll<I, S>(&self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let mut command = match self.user {
            // As another user: ids changed, groups and privileges dropped, by a program made for it.
            Some(uid) => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={uid}"))
                    .arg(format!("--regid={uid}"))
                    .args(["--clear-groups", "--no-new-privs", "--inh-caps=-all"])
                    .arg(&self.atoll);
                command
            }
            None => Command::new(&self.atoll),
        };
        command
            .args(args)
            .env("HOME", self.directory().join("home"))
            .env("XDG_STATE_HOME", self.directory().join("state"))
            .env("XDG_RUNTIME_DIR", self.directory().join("run"))
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_REGION", "us-east-1")
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .env_remove("AWS_PROFILE");
        command
    }

    /// Runs the `atoll` binary to its end, within a deadline.
    pub fn run<I, S>(&self, args: I) -> Result<Output, Failure>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let mut command = self.atoll(args);
        command.stdin(Stdio::null());
        finish(command, COMMAND_DEADLINE)
    }

    /// Runs the `atoll` binary; its output when it succeeds, its complaint as the error when not.
    pub fn succeed<I, S>(&self, args: I) -> Result<String, Failure>
    where
        I: IntoIterator<Item = S> + Clone,
        S: AsRef<std::ffi::OsStr>,
    {
        let words: Vec<String> = args
            .clone()
            .into_iter()
            .map(|a| a.as_ref().to_string_lossy().into_owned())
            .collect();
        let output = self.run(args)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(format!(
            "atoll {} ended with {}: {}{}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        )
        .into())
    }

    /// Runs the `atoll` binary with `--json` and reads its answer, whatever the exit status: `trace` says by it
    /// whether the packet arrives.
    pub fn json(&self, args: &[&str]) -> Result<Value, Failure> {
        let mut args = args.to_vec();
        args.push("--json");
        let output = self.run(&args)?;
        let answer = serde_json::from_slice(&output.stdout);
        Ok(answer.map_err(|e| {
            format!(
                "atoll {}: {e}: {}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr)
            )
        })?)
    }

    /// Starts the daemon and waits until it answers.
    pub fn serve(&mut self) -> Result<(), Failure> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory().join("serve.log"))?;
        let listen = self.endpoint.trim_start_matches("http://").to_owned();
        let data = self.directory().join("state");
        let mut command = self.atoll([
            "serve",
            "--listen",
            &listen,
            "--data-dir",
            &data.to_string_lossy(),
        ]);
        if let Some(plane) = &self.data_plane {
            command.args(["--data-plane", plane]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn()?;
        let deadline = Instant::now() + SERVE_DEADLINE;
        loop {
            if let Some(status) = child.try_wait()? {
                return Err(format!("atoll serve ended with {status}: {}", self.log()).into());
            }
            if self.run(["status", "--json"])?.status.success() {
                self.daemon = Some(child);
                return Ok(());
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("atoll serve did not answer in time: {}", self.log()).into());
            }
        }
    }

    /// What the daemon said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory().join("serve.log")).unwrap_or_default()
    }

    /// Kills the daemon as a crash would: no signal that it could handle.
    pub fn kill_daemon(&mut self) -> Result<(), Failure> {
        let Some(mut child) = self.daemon.take() else {
            return Err("no daemon runs".into());
        };
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Ends everything and waits for the daemon's end.
    pub fn down_all(&mut self) -> Result<(), Failure> {
        self.succeed(["down", "--all"])?;
        if let Some(mut child) = self.daemon.take() {
            let deadline = Instant::now() + SERVE_DEADLINE;
            while child.try_wait()?.is_none() {
                if Instant::now() > deadline {
                    child.kill()?;
                    child.wait()?;
                    return Err("the daemon went on after atoll down --all".into());
                }
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    /// Deploys a template as a stack.
    pub fn up(&mut self, template: &str, stack: &str) -> Result<(), Failure> {
        let path = self.example(template);
        self.succeed(["up", &path.to_string_lossy(), "--stack", stack])?;
        Ok(())
    }

    /// Learns the physical ids of a stack's resources.
    pub fn learn(&mut self, stack: &str) -> Result<(), Failure> {
        let answer = self.api("DescribeStackResources", &[("StackName", stack)])?;
        for member in answer.all("member") {
            if let (Some(logical), Some(physical)) = (
                member.text("LogicalResourceId"),
                member.text("PhysicalResourceId"),
            ) {
                self.resources.insert(logical, physical);
            }
        }
        Ok(())
    }

    /// The physical id of a resource of the template.
    pub fn id(&self, logical: &str) -> Result<String, Failure> {
        let id = self.resources.get(logical).cloned();
        id.ok_or_else(|| format!("the stack has no resource {logical}").into())
    }

    /// Notes what was tried.
    pub fn observe(&mut self, observation: Observation) {
        self.observations.push(observation);
    }
}

impl Drop for World {
    /// A check that failed half-way leaves a daemon and instances: they go, whatever state they are in.
    fn drop(&mut self) {
        if self.daemon.is_some() {
            let _ = self.run(["down", "--all"]);
        }
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port of loopback that nobody has, below those that the system hands out by itself: it is still free when the daemon
/// was killed and starts again.
fn free_port() -> Result<u16, Failure> {
    let first = 12_000 + (std::process::id() % 16_000) as u16;
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    Ok((first..first + 1000)
        .find(free)
        .ok_or("no port of loopback is free")?)
}

/// Runs a command to its end; kills it at the deadline, which is an error.
pub fn finish(mut command: Command, deadline: Duration) -> Result<Output, Failure> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let drain = |stream: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(stream) = stream {
                let _ = stream.take(4 << 20).read_to_end(&mut bytes);
            }
            bytes
        })
    };
    let stdout = drain(child.stdout.take().map(|s| Box::new(s) as Box<dyn Read + Send>));
    let stderr = drain(child.stderr.take().map(|s| Box::new(s) as Box<dyn Read + Send>));
    let end = Instant::now() + deadline;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            return Err(format!("{command:?} did not end within {deadline:?}").into());
        }
        // Nothing to wait on portably with a deadline: look again soon.
        std::thread::park_timeout(Duration::from_millis(2));
    };
    let collect = |thread: std::thread::JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
    Ok(Output {
        status,
        stdout: collect(stdout),
        stderr: collect(stderr),
    })
}
