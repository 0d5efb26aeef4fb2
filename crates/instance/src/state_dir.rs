//! The state directory: what of an instance outlives its processes.
//!
//! `instances/ID/` has `spec.json` (what to run), `status.json` (what became of it), `console.log`, `guest/` (seen inside at /run/atoll: the user data and a socket), `fs/` (the tenant's own
//! directories, writable from inside) and `etc/` (the few files of /etc that are writable from inside, one by one).
//! Nothing of Atoll's ever follows a path through `fs/`, since the tenant may have put links there.
use crate::{
    Error, InstanceKind, InstanceReport, InstanceSpec, InstanceState, PortSpec, Result, UserDataStatus,
    error::Trying, run_dir,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Directories of `fs/` and their modes; each is bound at its own name.
pub(crate) const PRIVATE: [(&str, u32); 5] = [
    ("root", 0o700),
    ("home", 0o755),
    ("var", 0o755),
    ("tmp", 0o1777),
    ("srv", 0o755),
];
const VAR: [(&str, u32); 7] = [
    ("cache", 0o755),
    ("lib", 0o755),
    ("local", 0o755),
    ("log", 0o755),
    ("opt", 0o755),
    ("spool", 0o755),
    ("tmp", 0o1777),
];

/// What is needed to start an instance again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) spec: InstanceSpec,
    pub(crate) ports: Vec<PortSpec>,
    /// The outside's ids of the sandbox's users: `count` from `base` on.
    pub(crate) uid_base: u32,
    pub(crate) uid_count: u32,
}

/// All instances' files.
#[derive(Clone, Debug)]
pub(crate) struct StateDir(PathBuf);

/// One instance's files.
#[derive(Clone, Debug)]
pub(crate) struct InstanceDir(PathBuf);

impl StateDir {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        run_dir::private_directory(path)?;
        let path = path.canonicalize().trying(format!("open {}", path.display()))?;
        run_dir::private_directory(&path.join("instances"))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn instance(&self, id: &str) -> InstanceDir {
        InstanceDir(self.0.join("instances").join(id))
    }

    /// Every instance that has files here.
    pub(crate) fn instances(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.0.join("instances")) else {
            return Vec::new();
        };
        let mut ids: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        ids.retain(|id| crate::spec::check_id("instance id", id).is_ok());
        ids.sort();
        ids
    }

    /// Removes everything of instances, and the directory if nothing else is in it.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_dir_all(self.0.join("instances"));
        let _ = std::fs::remove_file(self.0.join("holder.log"));
        let _ = std::fs::remove_dir(&self.0);
    }
}

impl InstanceDir {
    /// The shim sees its own instance's directory at a fixed place.
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes what is needed to start it, and at first launch makes its directories, owned by its own root.
    pub(crate) fn prepare(&self, stored: &Stored) -> Result<()> {
        run_dir::private_directory(&self.0)?;
        let owner = stored.uid_base;
        if !self.join("fs").exists() {
            let fresh = self.join("fs.new");
            let _ = std::fs::remove_dir_all(&fresh);
            directory(&fresh, 0o755, owner)?;
            for (name, mode) in PRIVATE {
                directory(&fresh.join(name), mode, owner)?;
            }
            for (name, mode) in VAR {
                directory(&fresh.join("var").join(name), mode, owner)?;
            }
            for (link, target) in [("run", "/run"), ("lock", "/run/lock")] {
                symlink(target, fresh.join("var").join(link)).trying(format!("link /var/{link}"))?;
            }
            std::fs::rename(&fresh, self.join("fs")).trying("move an instance's directories into place")?;
        }
        directory(&self.join("etc"), 0o755, 0)?;
        directory(&self.join("guest"), 0o755, 0)?;
        if let Some(data) = &stored.spec.user_data {
            let path = self.join("guest/user-data");
            std::fs::write(&path, data).trying("write the user data")?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))
                .trying("set the mode of the user data")?;
            chown(&path, owner)?;
        }
        self.write_spec(stored)
    }

    pub(crate) fn write_spec(&self, stored: &Stored) -> Result<()> {
        self.write_json("spec.json", stored)
    }

    pub(crate) fn spec(&self) -> Result<Stored> {
        self.read_json("spec.json")
    }

    pub(crate) fn write_status(&self, report: &InstanceReport) -> Result<()> {
        self.write_json("status.json", report)
    }

    /// What became of the instance; one that never wrote a status was never started.
    pub(crate) fn status(&self, spec: &InstanceSpec) -> InstanceReport {
        self.read_json("status.json").unwrap_or_else(|_| InstanceReport {
            id: spec.id.clone(),
            kind: spec.kind,
            state: InstanceState::Stopped,
            shim_pid: None,
            init_pid: None,
            boot_time: 0,
            boots: 0,
            user_data_status: match &spec.user_data {
                Some(data) if data.starts_with(b"#!") && spec.kind != InstanceKind::Machine => {
                    UserDataStatus::Pending
                }
                _ => UserDataStatus::None,
            },
            ports: Vec::new(),
            signals: Vec::new(),
            next_signal: 0,
            problem: None,
            machine: None,
            version: 0,
        })
    }

    /// Deletes the instance's files. Its directories may be those of a tenant: nothing is followed.
    pub(crate) fn remove(&self) -> Result<()> {
        // Mode 0 directories of a rootless tenant are opened by the holder's capabilities over its own user namespace.
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove {}", self.0.display()), error))
            }
            _ => Ok(()),
        }
    }

    /// Removes what is inside, for a shim whose directory is a mount.
    pub(crate) fn empty(&self) {
        for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let path = entry.path();
            let _ = match entry.file_type() {
                Ok(kind) if kind.is_dir() => std::fs::remove_dir_all(path),
                _ => std::fs::remove_file(path),
            };
        }
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let what = format!("write {}", self.join(name).display());
        let fresh = self.join(&format!("{name}.new"));
        let bytes = serde_json::to_vec_pretty(value).trying(&what)?;
        std::fs::write(&fresh, bytes).trying(&what)?;
        std::fs::rename(&fresh, self.join(name)).trying(&what)
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let what = format!("read {}", self.join(name).display());
        let bytes = std::fs::read(self.join(name)).trying(&what)?;
        serde_json::from_slice(&bytes).trying(&what)
    }
}

fn chown(path: &Path, owner: u32) -> Result<()> {
    if owner == 0 {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, Some(owner), Some(owner))
        .trying(format!("give {} to uid {owner}", path.display()))
}

fn directory(path: &Path, mode: u32, owner: u32) -> Result<()> {
    if !path.exists() {
        std::fs::create_dir(path).trying(format!("make {}", path.display()))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .trying(format!("set the mode of {}", path.display()))?;
    chown(path, owner)
}

/// Writes a file that the tenant sees at its own path, in place, so that a running sandbox sees the change; what the tenant wrote into it
/// since is kept.
pub(crate) fn write_managed(directory: &Path, name: &str, text: &str, owner: u32) -> Result<()> {
    let (path, last) = (
        directory.join("etc").join(name),
        directory.join(format!("etc-{name}.last")),
    );
    let what = format!("write {}", path.display());
    let known = std::fs::read(&last).unwrap_or_default();
    // By length first: how long it is now is the tenant's choice.
    if std::fs::metadata(&path).is_ok_and(|found| found.len() != known.len() as u64)
        || std::fs::read(&path).is_ok_and(|now| now != known)
    {
        return Ok(());
    }
    std::fs::write(&path, text).trying(&what)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).trying(&what)?;
    chown(&path, owner)?;
    std::fs::write(&last, text).trying(&what)
}
