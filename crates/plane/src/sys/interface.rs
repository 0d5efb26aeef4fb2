//! Interfaces of this thread's network namespace: names and numbers, of which kind they are, what they leave undone.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The index of an interface by its name.
pub(crate) fn index(name: &str) -> io::Result<u32> {
    let name = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: `name` is a C string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// The name of an interface's driver: `veth` of a veth pair's ends, `tun` of a TAP.
pub(crate) fn driver(index: u32) -> io::Result<String> {
    /// `struct ethtool_drvinfo`.
    #[repr(C)]
    struct Info {
        command: u32,
        driver: [u8; 32],
        rest: [u8; 160],
    }
    const GET_DRIVER_INFO: u32 = 3;
    let mut info = Info {
        command: GET_DRIVER_INFO,
        driver: [0; 32],
        rest: [0; 160],
    };
    // SAFETY: the command writes `struct ethtool_drvinfo`, which is as long.
    unsafe { ethtool(index, &mut info)? };
    let name = info.driver.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// Whether packets leave by an interface with their checksums unfinished, for whoever gets them.
pub(crate) fn takes_unfinished_sums(index: u32) -> io::Result<bool> {
    /// `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    const GET_SENDING_SUMS: u32 = 0x16;
    let mut value = Value {
        command: GET_SENDING_SUMS,
        data: 0,
    };
    // SAFETY: the command writes `struct ethtool_value`.
    unsafe { ethtool(index, &mut value)? };
    Ok(value.data != 0)
}

/// Asks about an interface.
///
/// # Safety
/// `question` is the structure of the command that stands in its first word.
unsafe fn ethtool<T>(index: u32, question: &mut T) -> io::Result<()> {
    // SAFETY: all zeros are a value of the structure; the name that the kernel writes has room in it; the socket is
    // nobody else's; the question outlives the call.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        if libc::if_indextoname(index, request.ifr_name.as_mut_ptr()).is_null() {
            return Err(io::Error::last_os_error());
        }
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(socket);
        request.ifr_ifru.ifru_data = std::ptr::from_mut(question).cast();
        match libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
