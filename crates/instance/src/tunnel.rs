//! The VXLAN device by which packets go to other hosts and come from them. It stands in the fabric's namespace, as the ports
//! do, and outlives the daemon with it; its UDP socket is in the namespace where it was made: the host's own.
use crate::leaving::once_let_go;
use crate::namespace::NetNamespace;
use crate::{Error, Result, error::Trying, iproute, sys};
use serde_json::Value;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// The device's name in the fabric's namespace.
const NAME: &str = "atoll-vxlan";
/// Longer than the longest packet inside, with what the data plane puts beside it.
const MTU: u32 = 9200;
/// VXLAN's (RFC 7348).
const PORT: u16 = 4789;
/// How long a device may take to let go of the port when it went with its namespace.
const LEAVING: Duration = Duration::from_secs(3);

/// Where other hosts reach this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Underlay {
    /// This host's address.
    pub address: IpAddr,
    /// The interface that has it.
    pub interface: String,
    /// The longest IP packet that the interface takes, in bytes.
    pub mtu: u32,
}

impl Underlay {
    /// Looks for the interface that has this address in the calling thread's network namespace. It is to take packets of
    /// `least_mtu` bytes.
    ///
    /// # Errors
    /// [`Error::Underlay`] when no other host can reach this one there.
    pub fn find(address: IpAddr, least_mtu: u32) -> Result<Underlay> {
        let wrong = |reason: String| Err(Error::Underlay { address, reason });
        const NAME_ONE: &str = "name one of this host's that the other hosts reach (`ip address` shows them)";
        if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
            return wrong(format!("is no other host's to reach; {NAME_ONE}"));
        }
        if matches!(address, IpAddr::V6(v6) if link_local(v6)) {
            return wrong(format!("is of one link alone; {NAME_ONE}"));
        }
        let length = if address.is_ipv4() { 32 } else { 128 };
        let found = iproute::json(&["address", "show", "to", &format!("{address}/{length}")])?;
        let found = found.iter().find_map(|link| {
            let interface = link.get("ifname")?.as_str()?.to_owned();
            let mtu = u32::try_from(link.get("mtu")?.as_u64()?).ok()?;
            Some((interface, mtu))
        });
        let Some((interface, mtu)) = found else {
            return wrong(format!("is not this host's; {NAME_ONE}"));
        };
        if mtu < least_mtu {
            return wrong(format!(
                "is {interface}'s, whose MTU is {mtu}: packets between hosts need {least_mtu} at least"
            ));
        }
        Ok(Underlay {
            address,
            interface,
            mtu,
        })
    }
}

fn link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

/// Has the device stand in the fabric's namespace, its socket in the calling thread's, and gives its index there. One that
/// does already is left as it is: packets go on.
///
/// # Errors
/// [`Error::TunnelPortTaken`].
pub(crate) fn make(fabric: &NetNamespace) -> Result<u32> {
    let home = NetNamespace::current()?;
    let born = std::fs::read_link("/proc/thread-self/ns/net").trying("look at the network namespace")?;
    // No other namespace has this name while the device is there: a device goes with the namespace of its socket.
    let alias = format!("underlay {}", born.display());
    if let Some(index) = fabric.within(&home, || keep(&alias))? {
        return Ok(index);
    }
    let taken = |error: &Error| matches!(error, Error::TunnelPortTaken);
    let add = format!(
        "link add name {NAME} netns {netns} type vxlan external gbp nolearning dstport {PORT}\n",
        netns = fabric.path(),
    );
    once_let_go(
        LEAVING,
        || iproute::batch("-0", &add, false).map_err(refused),
        taken,
    )?;
    let up = format!("link set dev {NAME} mtu {MTU} alias \"{alias}\"\nlink set dev {NAME} up\n");
    fabric.within(&home, || {
        // Only now it opens its socket.
        once_let_go(
            LEAVING,
            || iproute::batch("-0", &up, false).map_err(refused),
            taken,
        )
        .inspect_err(|_| drop(remove()))?;
        index()
            .ok_or("it went again at once")
            .trying(format!("find {NAME}"))
    })
}

/// The index of a device that is as it should be; any other is removed.
fn keep(alias: &str) -> Result<Option<u32>> {
    let Some(index) = index() else {
        return Ok(None);
    };
    let fits = iproute::json(&["link", "show", "dev", NAME])?
        .first()
        .is_some_and(|link| is_right(link, alias));
    if fits {
        return Ok(Some(index));
    }
    remove()?;
    Ok(None)
}

fn is_right(link: &Value, alias: &str) -> bool {
    let of_it = |pointer: &str| link.pointer(pointer).unwrap_or(&Value::Null);
    let up = of_it("/flags")
        .as_array()
        .is_some_and(|flags| flags.iter().any(|flag| flag == "UP"));
    let kind = "/linkinfo/info_data";
    up && *of_it("/ifalias") == alias
        && *of_it("/mtu") == MTU
        && *of_it("/linkinfo/info_kind") == "vxlan"
        && *of_it(&format!("{kind}/external")) == true
        && *of_it(&format!("{kind}/gbp")) == true
        && *of_it(&format!("{kind}/learning")) == false
        && *of_it(&format!("{kind}/port")) == PORT
}

/// What the kernel says when somebody has the port: a device in the one case, any socket in the other.
fn refused(error: Error) -> Error {
    let said = error.to_string();
    let taken = ["already exists", "File exists", "already in use"];
    match taken.iter().any(|words| said.contains(words)) {
        true => Error::TunnelPortTaken,
        false => error,
    }
}

/// The device's index in the calling thread's namespace, which is the fabric's, if it is there.
pub(crate) fn index() -> Option<u32> {
    sys::interface_index(NAME)
}

/// Takes the device away, if it is there; the calling thread stands in the fabric's namespace.
pub(crate) fn remove() -> Result<()> {
    match index() {
        Some(_) => iproute::batch("-0", &format!("link del dev {NAME}\n"), false),
        None => Ok(()),
    }
}
