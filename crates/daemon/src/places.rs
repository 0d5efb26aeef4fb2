//! Where a daemon keeps its things.
//!
//! - the *data directory*: the regions' files, the credentials, the instances' files. Outlives everything
//!   but `atoll down --all`.
//! - the *run directory*, one a data directory: the holder's and the shims' sockets. Outlives the daemon.
//! - the *control socket*, one a port of the API, beside the run directories.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The system refused.
    #[error("cannot use the directory {}: {why}; name another, where you may write", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// Others could reach into it.
    #[error("the directory {} is {what}; make it one of your own, or name another", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// What is amiss.
        what: String,
    },
}

/// The default data directory, in the user's state directory: `$XDG_STATE_HOME/atoll`, else
/// `~/.local/state/atoll`. Root is a user like others.
pub fn default_data_directory() -> PathBuf {
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(|| format!("/tmp/atoll-state-{}", uid()).into())
        .join("atoll")
}

/// Where sockets go: `$XDG_RUNTIME_DIR/atoll`, else `/run/atoll` for root and `/tmp/atoll-UID`.
pub fn default_run_base() -> PathBuf {
    match absolute("XDG_RUNTIME_DIR") {
        Some(directory) => directory.join("atoll"),
        None if is_root() => "/run/atoll".into(),
        None => format!("/tmp/atoll-{}", uid()).into(),
    }
}

/// The control socket of the daemon whose API has this port.
pub fn control_socket(run_base: &Path, port: u16) -> PathBuf {
    run_base.join(format!("control-{port}.sock"))
}

/// The control socket of the daemon of this user whose API has this port: root's may have been started from a login, which has
/// a run directory of its own, or without one, and is to be found from both.
pub fn find_control_socket(port: u16) -> PathBuf {
    const OF_ROOT: [&str; 2] = ["/run/atoll", "/run/user/0/atoll"];
    let base = default_run_base();
    let usual = control_socket(&base, port);
    if !is_root() || usual.exists() || !OF_ROOT.iter().any(|one| base == Path::new(one)) {
        return usual;
    }
    let mut others = OF_ROOT.iter().map(|other| control_socket(Path::new(other), port));
    others.find(|other| other.exists()).unwrap_or(usual)
}

/// Where the data directory of the daemon at this port is written down while its instances may run: they
/// outlive it, and `atoll down --all` must find them.
pub(crate) fn data_record(run_base: &Path, port: u16) -> PathBuf {
    run_base.join(format!("control-{port}.data"))
}

/// Removes what daemons at other ports left beside the run directories that had this data directory and were killed.
/// Only who holds the directory's lock may: then none of them runs.
pub(crate) fn forget_killed(run_base: &Path, data: &Path, port: u16) {
    let own = data_record(run_base, port);
    for entry in std::fs::read_dir(run_base).into_iter().flatten().flatten() {
        let record = entry.path();
        let of_a_port = record.extension().is_some_and(|extension| extension == "data");
        let its_data =
            || std::fs::read(&record).is_ok_and(|bytes| bytes == data.as_os_str().as_encoded_bytes());
        if of_a_port && record != own && its_data() {
            let _ = std::fs::remove_file(record.with_extension("sock"));
            let _ = std::fs::remove_file(record);
        }
    }
}

/// The run directory that goes with a data directory: named by a hash, for socket paths are short.
pub fn run_directory(run_base: &Path, data: &Path) -> PathBuf {
    // FNV-1a over the path: stable over versions.
    let hash = data
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    let mut name = String::new();
    let _ = write!(name, "{hash:016x}");
    run_base.join(name)
}

/// The run directory of a daemon that keeps nothing; all it has is below it.
pub fn ephemeral_directory(run_base: &Path, port: u16) -> PathBuf {
    run_base.join(format!("ephemeral-{port}"))
}

/// Makes a directory of mode 0700, or checks that it is one of the caller's own and narrows its mode.
///
/// # Errors
/// When it cannot be made, is not a directory, or is somebody else's: `/tmp` is everybody's.
pub fn private_directory(path: &Path) -> Result<PathBuf, PlaceError> {
    let unusable = |why| PlaceError::Unusable {
        path: path.to_path_buf(),
        why,
    };
    let not_private = |what: String| PlaceError::NotPrivate {
        path: path.to_path_buf(),
        what,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(unusable)?;
    let found = std::fs::symlink_metadata(path).map_err(unusable)?;
    // A link is followed only if it is ours: root's and one's own are.
    let found = match found.file_type().is_symlink() && found.uid() == uid() {
        true => std::fs::metadata(path).map_err(unusable)?,
        false => found,
    };
    if !found.is_dir() {
        return Err(not_private(
            "not a directory, or somebody else's link to one".into(),
        ));
    }
    if found.uid() != uid() {
        return Err(not_private(format!(
            "owned by uid {}, and you are uid {}",
            found.uid(),
            uid()
        )));
    }
    if found.mode() & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(unusable)?;
    }
    path.canonicalize().map_err(unusable)
}

/// Whether this process is root.
pub fn is_root() -> bool {
    uid() == 0
}

fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_directory_is_ours_and_nobody_elses_to_read() {
        let top = tempfile::tempdir().unwrap();
        let made = private_directory(&top.path().join("a/b")).unwrap();
        assert_eq!(std::fs::metadata(&made).unwrap().mode() & 0o777, 0o700);
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o755)).unwrap();
        private_directory(&made).unwrap();
        assert_eq!(std::fs::metadata(&made).unwrap().mode() & 0o777, 0o700);
        let file = top.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(private_directory(&file).is_err());
    }

    #[test]
    fn each_data_directory_has_a_run_directory_of_its_own() {
        let base = Path::new("/run/atoll");
        let one = run_directory(base, Path::new("/var/lib/atoll"));
        assert_ne!(one, run_directory(base, Path::new("/var/lib/atoll2")));
        assert_eq!(one.parent(), Some(base));
    }
}
