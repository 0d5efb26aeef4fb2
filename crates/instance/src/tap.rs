//! A machine's port: a TAP that stands in the fabric's namespace as a veth pair's host end does. What is its other end, a
//! descriptor, is opened anew for each command that runs as the machine.
//!
//! It is persistent, so that it stands, with the same index, whoever comes and goes; the kernel lets one at a time open it.
use crate::iproute::batch as ip_batch;
use crate::port::{self, failed};
use crate::{Error, PortReport, PortSpec, Result, error::Trying, sys};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const DEVICE: &str = "/dev/net/tun";
/// Length of the header before each frame (`struct virtio_net_hdr`) until the reader says another: QEMU wants 10 or 12.
const HEADER: libc::c_int = 10;

/// Makes the TAP. What is left of an earlier one of the same id goes first.
pub(crate) fn create(spec: &PortSpec, generation: u64) -> Result<PortReport> {
    let host = spec.host_name();
    port::delete(spec)?;
    let lines = format!(
        "link set dev {host} mtu {mtu} alias {id} up\n",
        mtu = spec.mtu,
        id = spec.id,
    );
    make(&host)
        .and_then(|()| ip_batch("-0", &lines, false))
        .inspect_err(|_| drop(port::delete(spec)))
        .map_err(|error| match error {
            Error::NoTaps { .. } => error,
            other => failed(spec)(other),
        })?;
    let index = sys::interface_index(&host)
        .ok_or("it went again at once")
        .trying(format!("find {host}"))
        .map_err(failed(spec))?;
    Ok(PortReport {
        id: spec.id.clone(),
        host_name: host,
        host_index: index,
        guest_name: spec.guest_name(),
        mac: spec.mac,
        generation,
    })
}

/// Follows a change of the port: its addresses are the machine's own matter.
pub(crate) fn configure(spec: &PortSpec) -> Result<()> {
    ip_batch(
        "-0",
        &format!("link set dev {} mtu {}\n", spec.host_name(), spec.mtu),
        false,
    )
}

/// A descriptor of the TAP for the machine `id`, as a new machine has it: the reader takes neither unfinished checksums nor
/// super-segments until it says so (`TUNSETOFFLOAD`), and no filter of an earlier reader stands in its way. All of that the
/// device keeps from one reader to the next.
pub(crate) fn open(id: &str, spec: &PortSpec) -> Result<OwnedFd> {
    let tap = device()?;
    attach(&tap, &spec.host_name()).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::BUSY) => Error::TapTaken {
            id: id.into(),
            port: spec.id.clone(),
        },
        _ => failed(spec)(Error::io("open its TAP", error)),
    })?;
    let (header, little_endian) = (HEADER, 0 as libc::c_int);
    let (most_unread, no_program) = (libc::c_int::MAX, -1 as libc::c_int);
    // `struct tun_filter` that names no address, and so lets all through; and `struct sock_fprog`, which is not looked at.
    let (all, unread) = ([0_u16; 2], [0_u64; 2]);
    // SAFETY: the first two take a number, the others read what outlives the call and is as long as they want it.
    let failed_at = unsafe {
        libc::ioctl(tap.as_raw_fd(), libc::TUNSETPERSIST, 1 as libc::c_ulong) < 0
            || libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, 0 as libc::c_ulong) < 0
            || libc::ioctl(tap.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const header) < 0
            || libc::ioctl(tap.as_raw_fd(), libc::TUNSETVNETLE, &raw const little_endian) < 0
            || libc::ioctl(tap.as_raw_fd(), libc::TUNSETSNDBUF, &raw const most_unread) < 0
            || libc::ioctl(tap.as_raw_fd(), libc::TUNSETTXFILTER, &raw const all) < 0
            || libc::ioctl(tap.as_raw_fd(), libc::TUNDETACHFILTER, &raw const unread) < 0
            || libc::ioctl(tap.as_raw_fd(), libc::TUNSETFILTEREBPF, &raw const no_program) < 0
            || libc::ioctl(tap.as_raw_fd(), libc::TUNSETSTEERINGEBPF, &raw const no_program) < 0
    };
    if failed_at {
        return Err(failed(spec)(Error::io(
            "begin with its TAP anew",
            io::Error::last_os_error(),
        )));
    }
    Ok(tap)
}

fn device() -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::open(DEVICE, flags, Mode::empty()).map_err(|error| Error::NoTaps {
        reason: error.to_string(),
        remedy: match error {
            Errno::ACCESS | Errno::PERM => {
                "run `sudo chmod 666 /dev/net/tun`, as most distributions have it, or run atoll as root"
            }
            _ => "run `sudo modprobe tun`; in a container, start it with `--device /dev/net/tun`",
        }
        .into(),
    })
}

fn make(name: &str) -> Result<()> {
    let tap = device()?;
    attach(&tap, name).trying("make a TAP")?;
    // SAFETY: the argument is a number.
    if unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETPERSIST, 1 as libc::c_ulong) } < 0 {
        return Err(io::Error::last_os_error()).trying("keep a TAP");
    }
    Ok(())
}

/// Binds a descriptor to the TAP of that name in this network namespace, which is made if it is not there.
fn attach(tap: &OwnedFd, name: &str) -> io::Result<()> {
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: all of its bytes may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: the command reads and writes an ifreq, which outlives the call.
    if unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
