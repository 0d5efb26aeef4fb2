//! Whether this host can run instances at all, said before anything is half-made.
use crate::{Error, Result, sys};
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

/// Who asks for namespaces, and what this host's settings say of it. Read before the first one is made: a user
/// namespace has settings of its own, which would then be read instead.
pub(crate) struct Policy {
    uid: u32,
    remedy: &'static str,
}

impl Policy {
    pub(crate) fn read() -> Self {
        let is = |name, value| sysctl(name).as_deref() == Some(value);
        let remedy = if is("kernel/unprivileged_userns_clone", "0") {
            "run `sudo sysctl kernel.unprivileged_userns_clone=1`, or run atoll as root"
        } else if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
            "run `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`, give the atoll binary an AppArmor profile with `userns`, or run atoll as root"
        } else if is("user/max_user_namespaces", "0") {
            "run `sudo sysctl user.max_user_namespaces=10000`"
        } else if is("user/max_net_namespaces", "0") {
            "run `sudo sysctl user.max_net_namespaces=10000`"
        } else {
            "inside a container, start it with user namespaces allowed (for Docker: `--security-opt seccomp=unconfined --privileged`); else run atoll as root"
        };
        Self {
            uid: rustix::process::geteuid().as_raw(),
            remedy,
        }
    }

    /// The error for a namespace that was refused.
    pub(crate) fn forbidden(&self, what: &str, reason: impl std::fmt::Display) -> Error {
        Error::NamespacesForbidden {
            uid: self.uid,
            what: what.into(),
            reason: reason.to_string(),
            remedy: self.remedy.into(),
        }
    }
}

/// The error for a namespace that was refused, by the settings as they are here and now.
pub(crate) fn forbidden(what: &str, reason: impl std::fmt::Display) -> Error {
    Policy::read().forbidden(what, reason)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let error = program("no-such-program", "its-package").unwrap_err().to_string();
        assert!(
            error.contains("`no-such-program`") && error.contains("apt-get install its-package"),
            "{error}"
        );
        assert!(program("sh", "dash").unwrap().is_absolute());
    }
}
