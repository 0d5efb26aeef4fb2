//! Making and joining user and network namespaces.
use crate::{Error, Result, error::Trying, preflight, sys};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags, move_into_link_name_space,
    move_into_thread_name_spaces,
};
use std::os::fd::OwnedFd;

/// Makes the fabric's namespace and moves this single-threaded process into it: a user namespace first when not root, in which the person is
/// root; then the network namespace where host ends of ports stand, in which the kernel's own stack answers nothing.
pub(crate) fn make_fabric() -> Result<()> {
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let policy = preflight::Policy::read();
    if uid != 0 {
        sys::unshare(UnshareFlags::NEWUSER).map_err(|error| policy.forbidden("user namespaces", error))?;
        let denied = |error: std::io::Error| policy.forbidden("user namespaces in which it is root", error);
        // An ordinary user may map its group only after giving up setgroups.
        std::fs::write("/proc/self/setgroups", "deny").map_err(denied)?;
        std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(denied)?;
        std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(denied)?;
    }
    sys::unshare(UnshareFlags::NEWNET).map_err(|error| policy.forbidden("network namespaces", error))?;
    // No addresses and no IPv6 here: not even a neighbour solicitation of the host's own may reach a tenant. A kernel
    // without IPv6 has no such files, and needs none.
    for scope in ["all", "default"] {
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
        // A host that forwards (one with containers) hands that on to new namespaces.
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{scope}/forwarding"), "0")
            .trying("turn forwarding off in the fabric's namespace")?;
    }
    Ok(())
}

/// Moves this single-threaded process into the user and network namespace of another.
pub(crate) fn join_fabric(pid: u32) -> Result<()> {
    let what = format!("join the namespaces of process {pid}");
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or("not a process id")
        .trying(&what)?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).trying(&what)?;
    let mut kinds = ThreadNameSpaceType::NETWORK;
    if differs(pid.as_raw_pid(), "user") {
        kinds |= ThreadNameSpaceType::USER;
    }
    move_into_thread_name_spaces(std::os::fd::AsFd::as_fd(&process), kinds).trying(&what)?;
    if kinds.contains(ThreadNameSpaceType::USER) {
        // The same kernel uid, now seen as 0; the capabilities came with the namespace.
        rustix::thread::set_thread_res_gid(
            rustix::process::Gid::ROOT,
            rustix::process::Gid::ROOT,
            rustix::process::Gid::ROOT,
        )
        .trying(&what)?;
        rustix::thread::set_thread_res_uid(
            rustix::process::Uid::ROOT,
            rustix::process::Uid::ROOT,
            rustix::process::Uid::ROOT,
        )
        .trying(&what)?;
    }
    Ok(())
}

/// Whether a process is in another namespace of this kind than we are.
pub(crate) fn differs(pid: i32, kind: &str) -> bool {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()
        != std::fs::read_link(format!("/proc/self/ns/{kind}")).ok()
}

/// A network namespace by descriptor: it lives as long as this.
#[derive(Debug)]
pub(crate) struct NetNamespace(OwnedFd);

impl NetNamespace {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        Self::open(&format!("/proc/{pid}/ns/net"))
    }

    pub(crate) fn current() -> Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    fn open(path: &str) -> Result<Self> {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .trying(format!("open {path}"))
            .map(Self)
    }

    /// A path by which another program of this user can name it while it is open here.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), sys::number(&self.0))
    }

    fn enter(&self) -> Result<()> {
        move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&self.0),
            Some(LinkNameSpaceType::Network),
        )
        .trying("enter a network namespace")
    }

    /// Runs `work` with this single-threaded process inside, and comes back.
    pub(crate) fn within<T>(&self, home: &NetNamespace, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.enter()?;
        let done = work();
        if home.enter().is_err() {
            // To go on in a tenant's namespace would be worse than to end: the holder reports the exit.
            std::process::abort();
        }
        done
    }
}

/// Gives the user namespace of `child` its users: `count` from `base` on the outside, 0 and up inside.
pub(crate) fn map_users(child: Pid, base: u32, count: u32) -> Result<()> {
    let pid = child.as_raw_pid();
    if count == 1 {
        // Without CAP_SETGID outside the holder's own namespace, groups can be mapped only this way.
        std::fs::write(format!("/proc/{pid}/setgroups"), "deny").trying("write setgroups of a sandbox")?;
    }
    for file in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{pid}/{file}"), format!("0 {base} {count}")).map_err(|error| {
            Error::io(
                format!("write {file} of a sandbox (0 to {base}, {count} ids)"),
                error,
            )
        })?;
    }
    Ok(())
}
