//! A plane in a process of its own, which can be killed.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Signal, WaitOptions, kill_process, pidfd_getfd, pidfd_open,
    set_parent_process_death_signal, waitpid,
};

use super::Rig;
use super::two_hosts::TwoHosts;

/// A plane's process.
pub struct Elsewhere {
    process: Pid,
    /// What makes the kernel forward without it, as the holder has it.
    links: Vec<OwnedFd>,
}

impl Rig {
    /// Starts another plane in the place of the one that has stopped, in a process of its own, and tells it what the other one
    /// was told.
    pub fn start_elsewhere(&mut self) -> Elsewhere {
        Elsewhere::start(|| {
            self.start_again();
            self.tell_again();
            self.links()
        })
    }
}

impl TwoHosts {
    /// The same of a host's plane.
    pub fn start_elsewhere(&mut self, host: usize) -> Elsewhere {
        Elsewhere::start(|| {
            self.rigs[host].start_again();
            self.tell_again(host);
            self.links(host)
        })
    }
}

impl Elsewhere {
    /// Starts a plane as `start` does, which says what makes the kernel forward without it.
    fn start(start: impl FnOnce() -> Vec<OwnedFd>) -> Elsewhere {
        let (told, mut tell) = std::io::pipe().unwrap();
        // SAFETY: no other thread of this process has anything that the child would wait for: its plane has stopped, another
        // host's shares nothing with it, and the test's harness waits for this thread. The child never returns from here.
        let process = unsafe { libc::fork() };
        if process == 0 {
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
            drop(told);
            let started = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let links = start();
                let numbers: Vec<String> = links.iter().map(|link| link.as_raw_fd().to_string()).collect();
                writeln!(tell, "{}", numbers.join(" ")).unwrap();
                std::mem::forget(links);
            }));
            while started.is_ok() {
                // SAFETY: it waits for a signal.
                unsafe { libc::pause() };
            }
            // SAFETY: ends the process without anything of the parent's being undone here.
            unsafe { libc::_exit(1) };
        }
        drop(tell);
        let process = Pid::from_raw(process).unwrap();
        let mut elsewhere = Elsewhere {
            process,
            links: Vec::new(),
        };
        let mut line = String::new();
        BufReader::new(told).read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the plane did not start");
        let descriptors = pidfd_open(process, PidfdFlags::empty()).unwrap();
        for number in line.split_whitespace() {
            let number = number.parse().unwrap();
            elsewhere
                .links
                .push(pidfd_getfd(&descriptors, number, PidfdGetfdFlags::empty()).unwrap());
        }
        elsewhere
    }

    /// Kills it; what the kernel forwards goes on as long as somebody has what comes back.
    pub fn kill(mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.links)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = kill_process(self.process, Signal::KILL);
        let _ = waitpid(Some(self.process), WaitOptions::empty());
    }
}
