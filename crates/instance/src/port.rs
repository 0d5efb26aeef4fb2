//! A port of a sandbox: a veth pair with one end in the fabric's namespace, found by its alias, and the other in the instance's.
use crate::iproute::batch as ip_batch;
use crate::namespace::NetNamespace;
use crate::{Error, PortReport, PortSpec, Result, error::Trying, guest_network, offload, sys};

pub(crate) fn failed(port: &PortSpec) -> impl Fn(Error) -> Error {
    let port = port.id.clone();
    move |error| Error::Port {
        port: port.clone(),
        reason: error.to_string(),
    }
}

/// Settings of a guest's namespace that stand before its first interface does.
pub(crate) fn prepare_guest(guest: &NetNamespace, fabric: &NetNamespace) -> Result<()> {
    guest.within(fabric, || {
        for (name, value) in guest_network::SYSCTLS {
            let path = format!("/proc/sys/net/{name}");
            if let Err(error) = std::fs::write(&path, value)
                && !(name.starts_with("ipv6") && error.kind() == std::io::ErrorKind::NotFound)
            {
                return Err(Error::io(format!("set {path} to {value}"), error));
            }
        }
        // The loopback is bubblewrap's to bring up; done here as well, the one that comes second would fail.
        Ok(())
    })
}

/// Makes the pair and configures the guest end. What is left of an earlier pair of the same id goes first.
pub(crate) fn create(
    port: &PortSpec,
    guest: &NetNamespace,
    fabric: &NetNamespace,
    generation: u64,
) -> Result<PortReport> {
    let (host, name) = (port.host_name(), port.guest_name());
    delete(port)?;
    let add = format!(
        "link add name {host} mtu {mtu} type veth peer name {name} address {mac} mtu {mtu} netns {netns}\nlink set dev {host} alias {id} up\n",
        mtu = port.mtu,
        mac = port.mac_text(),
        netns = guest.path(),
        id = port.id,
    );
    ip_batch("-0", &add, false)
        .and_then(|()| offload::allow_long_segments(&host).trying("allow long segments"))
        .and_then(|()| configure(port, None, guest, fabric))
        .map_err(failed(port))
        .inspect_err(|_| {
            let _ = delete(port);
        })?;
    let index = sys::interface_index(&host)
        .ok_or("it went again at once")
        .trying(format!("find {host}"))
        .map_err(failed(port))?;
    Ok(PortReport {
        id: port.id.clone(),
        host_name: host,
        host_index: index,
        guest_name: name,
        mac: port.mac,
        generation,
    })
}

/// Gives the guest end its addresses, routes and rules; `before` is what it had.
pub(crate) fn configure(
    port: &PortSpec,
    before: Option<&PortSpec>,
    guest: &NetNamespace,
    fabric: &NetNamespace,
) -> Result<()> {
    let batches = guest_network::batches(port, before);
    if before.is_some_and(|before| before.mtu != port.mtu) {
        ip_batch(
            "-0",
            &format!("link set dev {} mtu {}\n", port.host_name(), port.mtu),
            false,
        )?;
    }
    guest.within(fabric, || {
        if before.is_none() {
            offload::refuse_tunnels(&port.guest_name())
                .trying("have the guest cut its tunnels' segments itself")?;
            offload::allow_long_segments(&port.guest_name()).trying("allow long segments")?;
        }
        ip_batch("-0", &batches.link, false)?;
        for (family, lines) in [("-4", &batches.v4), ("-6", &batches.v6)] {
            ip_batch(family, &lines.clear, true)?;
            ip_batch(family, &lines.set, false)?;
        }
        Ok(())
    })
}

/// Removes the policy rules of a port whose interface is gone.
pub(crate) fn clear_rules(port: &PortSpec, guest: &NetNamespace, fabric: &NetNamespace) -> Result<()> {
    let batches = guest_network::batches(port, None);
    guest.within(fabric, || {
        ip_batch("-4", &batches.v4.clear, true)?;
        ip_batch("-6", &batches.v6.clear, true)
    })
}

/// Removes the pair, or the TAP, if it stands.
pub(crate) fn delete(port: &PortSpec) -> Result<()> {
    if !stands(port) {
        return Ok(());
    }
    ip_batch("-0", &format!("link del dev {}\n", port.host_name()), false).or_else(|error| {
        if stands(port) {
            Err(failed(port)(error))
        } else {
            Ok(())
        }
    })
}

/// Whether the host end is there; it goes with the guest end.
pub(crate) fn stands(port: &PortSpec) -> bool {
    sys::interface_index(&port.host_name()).is_some()
}

/// A socket that becomes readable when links of the guest's namespace change.
pub(crate) fn monitor(guest: &NetNamespace, fabric: &NetNamespace) -> Result<std::os::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink};
    const RTMGRP_LINK: u32 = 1;
    guest.within(fabric, || {
        // Protocol 0 of this family: NETLINK_ROUTE.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)
            .trying("open a netlink socket")?;
        rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, RTMGRP_LINK))
            .trying("listen for changes of links")?;
        Ok(socket)
    })
}
