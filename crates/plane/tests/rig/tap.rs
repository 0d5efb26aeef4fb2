//! Instances behind a TAP, as a virtual machine's are: whoever has the descriptor reads and writes its frames.
//!
//! The machine is played by a namespace of its own with another TAP, and two threads that carry what the one says to the
//! other, vnet headers and all: so a real kernel's TCP speaks through it, with its offloads.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::Namespace;

/// What a reader takes: unfinished checksums, super-segments of TCP (both families, ECN) and of UDP (both).
pub const EVERYTHING: u32 = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40;

/// Whether TAPs can be made here; says if not.
pub fn can_be_made() -> bool {
    let may = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    if let Err(error) = &may {
        eprintln!("SKIPPED: /dev/net/tun: {error}");
    }
    may.is_ok()
}

/// A TAP's descriptor.
pub struct Tap(File);

impl Tap {
    /// Makes one in a namespace; it goes with the descriptor. Its frames have vnet headers in front.
    pub fn new(namespace: &Namespace, name: &str) -> Tap {
        let file = namespace.run(|| {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open("/dev/net/tun")
                .unwrap();
            // SAFETY: all zeros are a value of the structure, which outlives the call.
            unsafe {
                let mut request: libc::ifreq = std::mem::zeroed();
                for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
                    *to = from as libc::c_char;
                }
                request.ifr_ifru.ifru_flags =
                    (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
                let failed = libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request);
                assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
            }
            file
        });
        Tap(file)
    }

    /// Says what its reader takes.
    pub fn takes(&self, offloads: u32) {
        // SAFETY: the argument is a number.
        let set = |offloads: u32| unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::TUNSETOFFLOAD,
                libc::c_ulong::from(offloads),
            )
        };
        // Before Linux 6.2 there is nothing for UDP.
        let done = set(offloads) == 0 || set(offloads & !0x60) == 0;
        assert!(done, "{}", std::io::Error::last_os_error());
    }
}

/// Two TAPs that are one wire.
pub struct Relay {
    /// The end that a port is.
    pub port: Arc<Tap>,
    stop: Arc<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    pub fn new(port: Tap, machine: Tap) -> Relay {
        let (port, machine) = (Arc::new(port), Arc::new(machine));
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let ways = [(&port, &machine), (&machine, &port)].map(|(from, to)| {
            let (from, to, stop) = (Arc::clone(from), Arc::clone(to), Arc::clone(&stop));
            std::thread::spawn(move || carry(&from.0, &to.0, &stop))
        });
        Relay {
            port,
            stop,
            threads: ways.into(),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        rustix::io::write(&*self.stop, &1u64.to_ne_bytes()).unwrap();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn carry(mut from: &File, mut to: &File, stop: &OwnedFd) {
    let mut frame = vec![0; 70_000];
    loop {
        match from.read(&mut frame) {
            // An interface that is down takes nothing: it is lost as on a wire.
            Ok(length) => drop(to.write(&frame[..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut ready = [PollFd::new(from, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
                if poll(&mut ready, None).is_ok() && !ready[1].revents().is_empty() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
