//! Whether this host can run instances at all, said before anything is half-made.
use crate::{Error, Result, sys};
use rustix::thread::UnshareFlags;
use std::path::{Path, PathBuf};

/// Where programs are looked for beyond PATH: an ordinary user's often lacks the sbin directories.
const DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Finds a program.
pub(crate) fn program(name: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| {
            file.is_absolute()
                && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
                && file.is_file()
        })
        .ok_or_else(|| Error::MissingProgram {
            program: name.into(),
            package: package.into(),
        })
}

/// bubblewrap.
pub(crate) fn bubblewrap() -> Result<PathBuf> {
    program("bwrap", "bubblewrap")
}

/// iproute2.
pub(crate) fn iproute() -> Result<PathBuf> {
    program("ip", "iproute2")
}

fn sysctl(name: &str) -> Option<String> {
    std::fs::read_to_string(Path::new("/proc/sys").join(name))
        .ok()
        .map(|text| text.trim().to_owned())
}

/// The error for a namespace that was refused, with what to do on this host.
pub(crate) fn forbidden(what: &str, reason: impl std::fmt::Display) -> Error {
    let remedy = if sysctl("kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        "run `sudo sysctl kernel.unprivileged_userns_clone=1`, or run atoll as root"
    } else if sysctl("kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        "run `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`, give the atoll binary an AppArmor profile with `userns`, or run atoll as root"
    } else if sysctl("user/max_user_namespaces").as_deref() == Some("0") {
        "run `sudo sysctl user.max_user_namespaces=10000`"
    } else if sysctl("user/max_net_namespaces").as_deref() == Some("0") {
        "run `sudo sysctl user.max_net_namespaces=10000`"
    } else {
        "inside a container, start it with user namespaces allowed (for Docker: `--security-opt seccomp=unconfined --privileged`); else run atoll as root"
    };
    Error::NamespacesForbidden {
        uid: rustix::process::geteuid().as_raw(),
        what: what.into(),
        reason: reason.to_string(),
        remedy: remedy.into(),
    }
}

/// Checks the declared programs, and tries the namespaces in a child that ends at once.
/// Call it while the process has one thread.
///
/// # Errors
/// [`Error::MissingProgram`] or [`Error::NamespacesForbidden`].
pub fn check() -> Result<()> {
    bubblewrap()?;
    iproute()?;
    match sys::fork()? {
        sys::Fork::Child => {
            let done = crate::namespace::make_fabric();
            sys::exit_now(match done {
                Ok(()) => 0,
                Err(Error::NamespacesForbidden { what, .. }) if what.contains("network") => 2,
                Err(_) => 1,
            })
        }
        sys::Fork::Parent(child) => match sys::wait_exit(child) {
            0 => Ok(()),
            2 => Err(forbidden("network namespaces", "permission denied")),
            _ => Err(forbidden("user namespaces", "permission denied")),
        },
    }
}

/// Whether this user could make a user namespace; only for deciding what a test can show.
#[doc(hidden)]
pub fn user_namespaces() -> bool {
    match sys::fork() {
        Ok(sys::Fork::Child) => sys::exit_now(i32::from(sys::unshare(UnshareFlags::NEWUSER).is_err())),
        Ok(sys::Fork::Parent(child)) => sys::wait_exit(child) == 0,
        Err(_) => false,
    }
}
