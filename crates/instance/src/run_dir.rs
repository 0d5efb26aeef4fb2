//! The run directory (mode 0700): one holder's socket and lock, one socket a running
//! instance, and the data plane's memory of flows. Nothing else, and nothing after.
use crate::{Error, Result, error::Trying};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The path of sockaddr_un has 108 bytes with its end.
const MAX_SOCKET_PATH: usize = 107;
/// What the data plane remembers of flows.
pub(crate) const FLOWS: &str = "flows";

#[derive(Clone, Debug)]
pub(crate) struct RunDir(PathBuf);

impl RunDir {
    /// Makes the directory if it is not there; refuses one that others can reach or that belongs to somebody else.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        private_directory(path)?;
        Ok(Self(
            path.canonicalize().trying(format!("open {}", path.display()))?,
        ))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn holder_socket(&self) -> PathBuf {
        self.0.join("holder.sock")
    }

    pub(crate) fn shim_socket(&self, id: &str) -> PathBuf {
        self.0.join(format!("{id}.shim"))
    }

    /// The instances that have a socket here, live or stale.
    pub(crate) fn shims(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.0) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| {
                entry
                    .file_name()
                    .to_str()?
                    .strip_suffix(".shim")
                    .map(str::to_owned)
            })
            .collect()
    }

    /// Waits for a lock; it lasts as long as the descriptor.
    pub(crate) fn lock(&self, name: &str, wait: bool) -> Result<Option<OwnedFd>> {
        let path = self.0.join(name);
        loop {
            let file = rustix::fs::open(
                &path,
                OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW,
                Mode::from(0o600),
            )
            .trying(format!("open {}", path.display()))?;
            let how = if wait {
                FlockOperation::LockExclusive
            } else {
                FlockOperation::NonBlockingLockExclusive
            };
            match rustix::fs::flock(&file, how) {
                Ok(()) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(Error::io(format!("lock {}", path.display()), error)),
            }
            // A holder that ends removes the file: a lock on a removed file is nobody's.
            let held = rustix::fs::fstat(&file).trying("look at a lock")?;
            if std::fs::symlink_metadata(&path).is_ok_and(|named| named.ino() == held.st_ino) {
                return Ok(Some(file));
            }
        }
    }

    /// Removes what is left and the directory itself.
    pub(crate) fn remove(&self) {
        for id in self.shims() {
            let _ = std::fs::remove_file(self.shim_socket(&id));
        }
        for name in ["holder.sock", "holder.lock", "start.lock", FLOWS, "flows.new"] {
            let _ = std::fs::remove_file(self.0.join(name));
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Makes a directory of mode 0700, or checks that it is one of ours.
pub(crate) fn private_directory(path: &Path) -> Result<()> {
    let shown = path.display();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .trying(format!("make directory {shown}"))?;
    let found = std::fs::metadata(path).trying(format!("look at {shown}"))?;
    let me = rustix::process::geteuid().as_raw();
    if found.uid() != me {
        return Err(Error::Invalid {
            what: "directory".into(),
            value: shown.to_string(),
            expected: format!("one that belongs to uid {me}, not to {}", found.uid()),
        });
    }
    if found.mode() & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
            .trying(format!("set the mode of {shown}"))?;
    }
    Ok(())
}

/// A name for a path that is too long for a socket address: through a descriptor of its directory, kept open by the caller.
fn short(path: &Path) -> Result<(PathBuf, Option<OwnedFd>)> {
    if path.as_os_str().len() <= MAX_SOCKET_PATH {
        return Ok((path.to_owned(), None));
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::Invalid {
            what: "socket path".into(),
            value: path.display().to_string(),
            expected: "a file in a directory".into(),
        });
    };
    let directory = rustix::fs::open(
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .trying(format!("open {}", directory.display()))?;
    let short = Path::new("/proc/self/fd")
        .join(directory.as_raw_fd().to_string())
        .join(OsStr::new(name));
    Ok((short, Some(directory)))
}

/// Listens at `path` with mode `mode`; whatever was there is replaced.
pub(crate) fn listen(path: &Path, mode: u32) -> Result<UnixListener> {
    let shown = path.display();
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(Error::io(format!("remove {shown}"), error));
    }
    let (address, _directory) = short(path)?;
    let listener = UnixListener::bind(&address).trying(format!("listen at {shown}"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .trying(format!("set the mode of {shown}"))?;
    listener
        .set_nonblocking(true)
        .trying("set a socket non-blocking")?;
    Ok(listener)
}

/// Connects to `path`.
pub(crate) fn connect(path: &Path) -> std::io::Result<UnixStream> {
    let (address, _directory) = short(path).map_err(std::io::Error::other)?;
    UnixStream::connect(address)
}

/// Connects to the shim of an instance.
///
/// # Errors
/// [`Error::NotRunning`] when nothing listens there.
pub(crate) fn connect_shim(socket: &Path) -> Result<UnixStream> {
    connect(socket).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => Error::NotRunning(
            socket
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        ),
        _ => Error::io(format!("connect to {}", socket.display()), error),
    })
}

/// The peer's process id, if it is the same user; a socket of mode 0600 says so already, this says it again.
pub(crate) fn same_user(stream: &UnixStream) -> Result<u32> {
    let peer = rustix::net::sockopt::socket_peercred(stream).trying("ask who connects")?;
    let me = rustix::process::geteuid();
    if peer.uid != me {
        return Err(Error::Protocol(format!(
            "a connection from uid {}, only {} may",
            peer.uid.as_raw(),
            me.as_raw()
        )));
    }
    Ok(peer.pid.as_raw_pid() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_work_below_a_path_longer_than_a_socket_address() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::open(&root.path().join("x".repeat(120)).join("y".repeat(120))).unwrap();
        let _listener = listen(&run.shim_socket("i-1"), 0o600).unwrap();
        assert!(connect(&run.shim_socket("i-1")).is_ok());
        assert_eq!(run.shims(), ["i-1"]);
        run.remove();
        assert!(!run.path().exists());
    }

    #[test]
    fn a_lock_is_held_once() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::open(root.path()).unwrap();
        let held = run.lock("holder.lock", false).unwrap();
        assert!(held.is_some());
        assert!(run.lock("holder.lock", false).unwrap().is_none());
        drop(held);
        assert!(run.lock("holder.lock", false).unwrap().is_some());
    }
}
