//! What a guest may leave to its interface: not the segments of its own tunnels, nor SCTP's. The header that packet
//! sockets put before a super-segment has no word for them, so the kernel would drop it; the guest's kernel cuts instead.
//! And how long a super-segment of TCP may be: on the userspace plane most of what one costs is the same for any length.
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Names of the kernel's features (`ethtool -k`) that no port takes.
const REFUSED: [&str; 7] = [
    "tx-udp_tnl-segmentation",
    "tx-udp_tnl-csum-segmentation",
    "tx-gre-segmentation",
    "tx-gre-csum-segmentation",
    "tx-ipxip4-segmentation",
    "tx-ipxip6-segmentation",
    "tx-sctp-segmentation",
];

const GET_STRINGS: u32 = 0x1b;
const GET_SET_INFO: u32 = 0x37;
#[cfg(test)]
const GET_FEATURES: u32 = 0x3a;
const SET_FEATURES: u32 = 0x3b;
/// The set of strings that are the features' names.
const FEATURES: u32 = 4;
/// Words of a name.
const NAME: usize = 8;
/// More than any kernel has.
const MOST: usize = 1024;

/// Refuses them at an interface of the calling thread's network namespace.
pub(crate) fn refuse_tunnels(interface: &str) -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    let names = names(&socket, interface)?;
    let blocks = names.len().div_ceil(32);
    let mut words = vec![0u32; 2 + 2 * blocks];
    (words[0], words[1]) = (SET_FEATURES, blocks as u32);
    for (place, name) in names.iter().enumerate() {
        if REFUSED.contains(&name.as_str())
            && let Some(valid) = words.get_mut(2 + 2 * (place / 32))
        {
            *valid |= 1 << (place % 32);
        }
    }
    ask(&socket, interface, &mut words)
}

/// Longest super-segment of TCP over IPv4, with its headers, in bytes: what the plane's rings have places for.
pub(crate) const LONGEST_SEGMENT: u32 = 196_608;

const RTM_NEWLINK: u16 = 16;
const IFLA_GSO_IPV4_MAX_SIZE: u16 = 63;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;

/// Lets super-segments of TCP over IPv4 be longer than the 64 KiB that a length in their header can say ("BIG TCP") at an
/// interface of the calling thread's network namespace. A kernel before 6.3 has no word for that, and leaves it.
pub(crate) fn allow_long_segments(interface: &str) -> io::Result<()> {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
    let index = crate::sys::interface_index(interface).ok_or(io::ErrorKind::NotFound)?;
    // A header of 16 bytes, an `ifinfomsg` of 16 and an attribute of 8.
    let mut message = Vec::with_capacity(40);
    message.extend(40u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
    message.extend([0; 12]);
    message.extend(index.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(8u16.to_ne_bytes());
    message.extend(IFLA_GSO_IPV4_MAX_SIZE.to_ne_bytes());
    message.extend(LONGEST_SEGMENT.to_ne_bytes());
    // Protocol 0 of this family: NETLINK_ROUTE.
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0u8; 256];
    let (_, length) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    // A header, and behind it an error as a negative number; 0 where all is well.
    let word = |at: usize| {
        answer
            .get(at..at + 4)
            .and_then(|bytes| bytes.first_chunk::<4>().copied())
    };
    match (word(4), word(16)) {
        (Some([a, b, ..]), Some(error)) if length >= 20 && u16::from_ne_bytes([a, b]) == NLMSG_ERROR => {
            match i32::from_ne_bytes(error) {
                0 => Ok(()),
                error => Err(io::Error::from_raw_os_error(-error)),
            }
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The features' names, in the order of their bits.
fn names(socket: &impl AsFd, interface: &str) -> io::Result<Vec<String>> {
    let [a, b, c, d, e, f, g, h] = (1u64 << FEATURES).to_ne_bytes();
    let sets = [[a, b, c, d], [e, f, g, h]].map(u32::from_ne_bytes);
    let mut info = [GET_SET_INFO, 0, sets[0], sets[1], 0];
    ask(socket, interface, &mut info)?;
    let count = (info[4] as usize).min(MOST);
    let mut words = vec![0u32; 3 + count * NAME];
    words[..3].copy_from_slice(&[GET_STRINGS, FEATURES, count as u32]);
    ask(socket, interface, &mut words)?;
    let name = |words: &[u32]| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    };
    Ok(words[3..].chunks(NAME).map(name).collect())
}

/// Has the kernel read, and answer into, words whose length it knows from them.
fn ask(socket: &impl AsFd, interface: &str, words: &mut [u32]) -> io::Result<()> {
    let name = interface.as_bytes();
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: all of its bytes may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name) {
        *place = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: the words are as long as their command says, and they and the request outlive the call.
    let done = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is on at an interface.
    fn active(interface: &str) -> Vec<String> {
        let kind = rustix::net::SocketType::DGRAM;
        let socket = rustix::net::socket(rustix::net::AddressFamily::INET, kind, None).unwrap();
        let names = names(&socket, interface).unwrap();
        let blocks = names.len().div_ceil(32);
        let mut words = vec![0u32; 2 + 4 * blocks];
        (words[0], words[1]) = (GET_FEATURES, blocks as u32);
        ask(&socket, interface, &mut words).unwrap();
        let on = |place: &usize| words[2 + 4 * (place / 32) + 2] >> (place % 32) & 1 == 1;
        (0..names.len())
            .filter(on)
            .map(|place| names[place].clone())
            .collect()
    }

    #[test]
    fn a_guest_cuts_the_segments_of_its_tunnels_itself() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: only root makes interfaces here");
            return;
        }
        // SAFETY: only this thread gets another network namespace; memory and descriptors stay shared.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET).unwrap() };
        let made = std::process::Command::new("ip")
            .args(["link", "add", "near", "type", "veth", "peer", "name", "far"])
            .status()
            .unwrap();
        assert!(made.success());
        let before = active("near");
        assert!(
            before.contains(&"tx-udp_tnl-segmentation".to_owned()),
            "{before:?}"
        );
        refuse_tunnels("near").unwrap();
        let after = active("near");
        let gone: Vec<&String> = before.iter().filter(|name| !after.contains(name)).collect();
        assert!(
            REFUSED.iter().all(|name| !after.iter().any(|a| a == name)),
            "{after:?}"
        );
        assert!(
            gone.iter().all(|name| REFUSED.contains(&name.as_str())),
            "{gone:?}"
        );
        // TCP's and UDP's own are left to it.
        assert!(after.contains(&"tx-tcp-segmentation".to_owned()), "{after:?}");
    }
}
