//! The few system calls that need `unsafe`, each with the reason why it is sound here.
use crate::{Result, error::Trying};
use rustix::process::{Pid, WaitOptions, WaitStatus};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// What a process that stands for a command passes on to it: hang-up, interrupt, quit, user signals, termination.
pub(crate) const FORWARDED: [i32; 6] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTERM,
];

/// Which side of a fork this is.
pub(crate) enum Fork {
    Child,
    Parent(Pid),
}

/// Forks. Only holder, shim, init and what they forked call this: they never have a second thread, so the child may go on as usual.
pub(crate) fn fork() -> Result<Fork> {
    // SAFETY: the process is single-threaded (see above), so no lock can be left held in the child.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()).trying("fork"),
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid)
            .ok_or("a process id of 0")
            .trying("fork")
            .map(Fork::Parent),
    }
}

/// Ends a forked child at once, without running its parent's clean-up.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Puts copies of descriptors at fixed numbers, open across exec.
///
/// Only for a forked child that will exec or [`exit_now`]: whatever value owned a target's number must not be dropped there.
pub(crate) fn place(descriptors: &[(RawFd, RawFd)]) -> Result<()> {
    // Sources first move above all targets, so that no placement overwrites a source that is still needed.
    let floor = descriptors.iter().map(|(_, target)| *target).max().unwrap_or(2) + 1;
    let mut high = Vec::with_capacity(descriptors.len());
    for &(source, target) in descriptors {
        // SAFETY: duplicates by number; no memory is touched and no owned number is closed.
        let copy = unsafe { libc::fcntl(source, libc::F_DUPFD_CLOEXEC, floor) };
        if copy < 0 {
            return Err(std::io::Error::last_os_error()).trying(format!("copy descriptor {source}"));
        }
        high.push((copy, target));
    }
    for (copy, target) in high {
        // SAFETY: the target may belong to a value of this process; the caller keeps that from being dropped (see above).
        if unsafe { libc::dup2(copy, target) } < 0 {
            return Err(std::io::Error::last_os_error()).trying(format!("place a descriptor at {target}"));
        }
    }
    Ok(())
}

/// Puts a copy of one descriptor at a fixed number, open across exec; for a child between fork and exec: allocates nothing.
pub(crate) fn place_inherited(source: RawFd, target: RawFd) -> std::io::Result<()> {
    // SAFETY: by number only; in such a child nothing drops the target's former owner. A source that is the target already only loses
    // its close-on-exec flag, which dup2 would leave.
    let done = unsafe {
        if source == target {
            libc::fcntl(source, libc::F_SETFD, 0)
        } else {
            libc::dup2(source, target)
        }
    };
    if done < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Closes every descriptor from `first` on, at once. Only for a forked child that will exec or [`exit_now`].
pub(crate) fn close_from(first: u32) {
    // SAFETY: values that own those numbers are never dropped in such a child, so nothing is closed twice or used after.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if done < 0 {
        for number in first..4096 {
            // SAFETY: as above; for kernels before 5.9.
            unsafe { libc::close(number as i32) };
        }
    }
}

/// Takes over a descriptor that the parent left at a fixed number.
pub(crate) fn inherited(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: F_GETFD only asks whether the number is open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(std::io::Error::last_os_error()).trying(format!("take over descriptor {number}"));
    }
    // SAFETY: it is open, and each entry point takes its number over once, before anything else opens descriptors.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC).trying("set close-on-exec")?;
    Ok(descriptor)
}

/// Unshares namespaces of this single-threaded process.
pub(crate) fn unshare(flags: rustix::thread::UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: unsafe because of UnshareFlags::FILES, which is never among the flags here: no descriptor changes its meaning.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Sets a signal's handling to the default, or to being ignored.
pub(crate) fn handle(signal: i32, ignore: bool) {
    // SAFETY: SIG_DFL and SIG_IGN install no code.
    unsafe { libc::signal(signal, if ignore { libc::SIG_IGN } else { libc::SIG_DFL }) };
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: a zeroed sigset_t is valid for sigemptyset to write; sigaddset gets a set that was initialised.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        set
    }
}

/// Blocks exactly these signals in this thread (none: the mask is empty).
pub(crate) fn block(signals: &[i32]) {
    let set = set_of(signals);
    // SAFETY: the set is initialised; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &set, std::ptr::null_mut()) };
}

/// Waits for one of these blocked signals, at most so long.
pub(crate) fn wait_signal(signals: &[i32], timeout: Option<std::time::Duration>) -> Option<i32> {
    let set = set_of(signals);
    let limit = timeout.map(|limit| libc::timespec {
        tv_sec: limit.as_secs() as i64,
        tv_nsec: i64::from(limit.subsec_nanos()),
    });
    // SAFETY: set and limit live over the call; no siginfo is asked for.
    let got = unsafe {
        libc::sigtimedwait(
            &set,
            std::ptr::null_mut(),
            limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref),
        )
    };
    (got > 0).then_some(got)
}

/// Signals as a descriptor; they must be blocked.
pub(crate) fn signal_descriptor(signals: &[i32]) -> Result<OwnedFd> {
    let set = set_of(signals);
    // SAFETY: the set is initialised; -1 asks for a new descriptor.
    let number = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if number < 0 {
        return Err(std::io::Error::last_os_error()).trying("open a signal descriptor");
    }
    // SAFETY: the kernel just made it, nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The next signal of a signal descriptor.
pub(crate) fn next_signal(descriptor: impl AsFd) -> Option<i32> {
    next_signal_and_origin(descriptor).map(|(signal, _)| signal)
}

/// The next signal of a signal descriptor, and whether the kernel sent it: as it does for a terminal's keys.
pub(crate) fn next_signal_and_origin(descriptor: impl AsFd) -> Option<(i32, bool)> {
    /// `SI_KERNEL`.
    const BY_KERNEL: i32 = 0x80;
    let mut bytes = [0_u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(descriptor, &mut bytes) {
        // `ssi_signo`, `ssi_errno` and `ssi_code` are the first members, of 32 bits each.
        Ok(length) if length == bytes.len() => {
            let (signal, rest) = bytes.split_first_chunk::<4>()?;
            let code = rest.get(4..)?.first_chunk::<4>()?;
            Some((
                i32::from_ne_bytes(*signal),
                i32::from_ne_bytes(*code) == BY_KERNEL,
            ))
        }
        _ => None,
    }
}

/// Sends a signal by number to a process, or to its group.
pub(crate) fn kill(pid: Pid, signal: i32, group: bool) {
    let number = pid.as_raw_nonzero().get();
    // SAFETY: kill touches no memory.
    unsafe { libc::kill(if group { -number } else { number }, signal) };
}

/// Sends a signal to every process of this pid namespace but this one; `false` when there is none.
pub(crate) fn kill_all_others(signal: i32) -> bool {
    // SAFETY: kill touches no memory; called by process 1 of a pid namespace only, where -1 means that namespace.
    unsafe { libc::kill(-1, signal) == 0 }
}

/// Reaps one child that ended; `pid` names it, or any.
pub(crate) fn reap(pid: Option<Pid>) -> Option<(Pid, i32)> {
    // waitpid without a pid would mean this process's group only.
    let ended = match pid {
        Some(_) => rustix::process::waitpid(pid, WaitOptions::NOHANG),
        None => rustix::process::wait(WaitOptions::NOHANG),
    };
    match ended {
        Ok(Some((pid, status))) => Some((pid, exit_code(status))),
        _ => None,
    }
}

/// Waits until a child ends.
pub(crate) fn wait_exit(pid: Pid) -> i32 {
    loop {
        match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => return exit_code(status),
            Err(rustix::io::Errno::INTR) | Ok(None) => {}
            Err(_) => return 255,
        }
    }
}

/// An exit status as shells give it: 128 and the signal, if one ended it.
fn exit_code(status: WaitStatus) -> i32 {
    status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
        .unwrap_or(255)
}

/// Bounds how many processes the calling user of this user namespace may have; it cannot be raised again.
pub(crate) fn limit_processes(most: u64) {
    let limit = rustix::process::Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nproc, limit);
}

/// The kernel's index of an interface in the current network namespace.
pub(crate) fn interface_index(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: a terminated string that lives over the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// Sets the signal mask of a command empty: init blocks signals, what it starts must not.
pub(crate) fn with_empty_mask(command: &mut std::process::Command) -> &mut std::process::Command {
    use std::os::unix::process::CommandExt;
    // SAFETY: only async-signal-safe calls (sigemptyset, pthread_sigmask, setsid) between fork and exec.
    unsafe {
        command.pre_exec(|| {
            block(&[]);
            rustix::process::setsid()?;
            Ok(())
        })
    }
}

/// Starts a command in a session of its own with a descriptor at a fixed number (source and target), and perhaps another at its own.
///
/// The target must be in use in the caller (the holder's lock is): else std's own error pipe could have that number in the child.
pub(crate) fn with_descriptors_in_new_session(
    command: &mut std::process::Command,
    (source, target): (RawFd, RawFd),
    kept: Option<RawFd>,
) {
    use std::os::unix::process::CommandExt;
    // SAFETY: only async-signal-safe calls (dup2, fcntl, setsid) between fork and exec.
    unsafe {
        command.pre_exec(move || {
            place_inherited(source, target)?;
            if let Some(kept) = kept {
                place_inherited(kept, kept)?;
            }
            rustix::process::setsid()?;
            Ok(())
        });
    }
}

/// The raw number of a descriptor, for arguments and /proc paths.
pub(crate) fn number(descriptor: &impl AsFd) -> RawFd {
    descriptor.as_fd().as_raw_fd()
}
