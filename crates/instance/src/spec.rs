//! What the daemon asks for: an instance and its ports. Checked at the door ([`InstanceSpec::check`]), trusted after.
use crate::{Error, Resources, Result};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most instances one host takes.
pub(crate) const MAX_INSTANCES: usize = 512;
/// The most ports of one instance (AWS's largest types have 15).
pub(crate) const MAX_PORTS: usize = 16;
/// The most addresses of one port (AWS: 50 of each family).
const MAX_ADDRESSES: usize = 128;
/// AWS's bound on user data, in bytes, before base64.
const MAX_USER_DATA: usize = 16 * 1024;

/// An instance, or the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceKind {
    /// A tenant's instance.
    Instance,
    /// The namespace outside the internet gateways.
    Internet,
    /// A machine of the person's own: its ports are TAPs, which [`crate::machine::run`] hands to a command. There is no
    /// sandbox, and nobody who runs user data.
    Machine,
}

/// An instance to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// `i-…`, or `internet`: lower-case letters, digits and hyphens, at most 64.
    pub id: String,
    /// The host name inside, at most 63 characters.
    pub hostname: String,
    /// Which kind.
    pub kind: InstanceKind,
    /// Runs once, at first boot, if it begins with `#!`; at most 16 KiB.
    #[serde(default)]
    pub user_data: Option<Vec<u8>>,
    /// The search domain of resolv.conf.
    #[serde(default)]
    pub search_domain: Option<String>,
    /// Environment of the user data and of `exec`, beside the usual.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// What it may use of the host, where that can be held ([`crate::Host::limits`]).
    #[serde(default)]
    pub resources: Resources,
}

/// An address of a port, with its subnet's prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortAddress {
    /// The address.
    pub address: IpAddr,
    /// 0–32 or 0–128.
    pub prefix_len: u8,
}

/// A network interface of an instance, as the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// `eni-…`, or `internet`; becomes the alias of the host end.
    pub id: String,
    /// 0 is the primary; the guest calls it `eth` and this number.
    pub device_index: u8,
    /// The guest end's MAC address.
    pub mac: [u8; 6],
    /// Of both ends, in bytes: 9001 inside a VPC, 1500 on the internet (semantics 129).
    pub mtu: u32,
    /// The first of each family is the primary one.
    pub addresses: Vec<PortAddress>,
    /// The subnet router, for the default route.
    #[serde(default)]
    pub gateway_v4: Option<Ipv4Addr>,
    /// The subnet router, for the IPv6 default route; may be link-local.
    #[serde(default)]
    pub gateway_v6: Option<Ipv6Addr>,
    /// Name servers; those of the lowest device index go into resolv.conf.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// Further prefixes that are on the link (an IPv6 subnet whose addresses are given as /128).
    #[serde(default)]
    pub on_link: Vec<PortAddress>,
}

fn invalid(what: &str, value: impl std::fmt::Display, expected: impl Into<String>) -> Error {
    let mut value = value.to_string();
    if let Some((end, _)) = value.char_indices().nth(100) {
        value.truncate(end);
    }
    Error::Invalid {
        what: what.into(),
        value,
        expected: expected.into(),
    }
}

/// Ids become file names and interface aliases: nothing in them may mean anything else.
pub(crate) fn check_id(what: &str, id: &str) -> Result<()> {
    let good = (1..=64).contains(&id.len())
        && !id.starts_with('-')
        && id
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if good {
        Ok(())
    } else {
        Err(invalid(
            what,
            id,
            "1 to 64 lower-case letters, digits and hyphens",
        ))
    }
}

fn check_name(what: &str, name: &str, most: usize) -> Result<()> {
    let good = (1..=most).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
        && !name.starts_with(['-', '.']);
    if good {
        Ok(())
    } else {
        Err(invalid(
            what,
            name,
            format!("1 to {most} letters, digits, hyphens and dots"),
        ))
    }
}

impl InstanceSpec {
    /// Holds every field against its bounds.
    pub fn check(&self) -> Result<()> {
        check_id("instance id", &self.id)?;
        check_name("host name", &self.hostname, 63)?;
        if let Some(domain) = &self.search_domain {
            check_name("search domain", domain, 253)?;
        }
        if let Some(data) = &self.user_data
            && data.len() > MAX_USER_DATA
        {
            return Err(invalid(
                "user data length",
                data.len(),
                format!("at most {MAX_USER_DATA} bytes"),
            ));
        }
        if self.env.len() > 64 {
            return Err(invalid(
                "number of environment variables",
                self.env.len(),
                "at most 64",
            ));
        }
        for (name, value) in &self.env {
            let good = !name.is_empty()
                && name.len() + value.len() <= 4096
                && !name.contains(['=', '\0'])
                && !value.contains('\0');
            if !good {
                return Err(invalid(
                    "environment variable",
                    name,
                    "a name without `=`, at most 4096 bytes with its value",
                ));
            }
        }
        Ok(())
    }
}

impl PortAddress {
    /// The network's first address: host bits cleared.
    pub(crate) fn network(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix_len.min(32)))
                    .unwrap_or(0);
                IpAddr::V4((address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.prefix_len.min(128)))
                    .unwrap_or(0);
                IpAddr::V6((address.to_bits() & mask).into())
            }
        }
    }

    fn check(&self) -> Result<()> {
        let most = if self.address.is_ipv4() { 32 } else { 128 };
        if self.prefix_len > most {
            return Err(invalid(
                "prefix length",
                self.prefix_len,
                format!("at most {most} with {}", self.address),
            ));
        }
        Ok(())
    }
}

impl PortSpec {
    /// Holds every field against its bounds.
    pub fn check(&self) -> Result<()> {
        check_id("port id", &self.id)?;
        if usize::from(self.device_index) >= MAX_PORTS {
            return Err(invalid(
                "device index",
                self.device_index,
                format!("less than {MAX_PORTS}"),
            ));
        }
        if self.mac[0] & 1 != 0 || self.mac == [0; 6] {
            return Err(invalid("MAC address", self.mac_text(), "a unicast address"));
        }
        if !(1280..=65535).contains(&self.mtu) {
            return Err(invalid("MTU", self.mtu, "1280 to 65535"));
        }
        if self.addresses.len() > MAX_ADDRESSES || self.on_link.len() > MAX_ADDRESSES || self.dns.len() > 8 {
            return Err(invalid(
                "number of addresses",
                self.addresses.len(),
                format!("at most {MAX_ADDRESSES}, and 8 name servers"),
            ));
        }
        self.addresses
            .iter()
            .chain(&self.on_link)
            .try_for_each(PortAddress::check)
    }

    /// The guest's name of it.
    pub fn guest_name(&self) -> String {
        format!("eth{}", self.device_index)
    }

    /// The host end's name: within the kernel's 15 characters, and the same each time for the same id.
    pub fn host_name(&self) -> String {
        // FNV-1a: short, stable over versions, and nobody gains by a collision (it is refused by the kernel).
        let hash = self.id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("at{:013x}", hash & 0x000f_ffff_ffff_ffff)
    }

    /// The MAC address as text.
    pub fn mac_text(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }
}

/// Holds a whole set of ports against each other.
pub(crate) fn check_ports(ports: &[PortSpec]) -> Result<()> {
    if ports.len() > MAX_PORTS {
        return Err(Error::TooMany {
            what: "ports of one instance".into(),
            have: ports.len(),
            most: MAX_PORTS,
        });
    }
    for (n, port) in ports.iter().enumerate() {
        port.check()?;
        if ports
            .iter()
            .take(n)
            .any(|other| other.id == port.id || other.device_index == port.device_index)
        {
            return Err(invalid("ports", &port.id, "each id and each device index once"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_leave_their_directory() {
        for bad in ["", "..", "a/b", "i-\n", "-x", &"a".repeat(65), "I-0"] {
            assert!(check_id("id", bad).is_err(), "{bad}");
        }
        assert!(check_id("id", "i-0123456789abcdef0").is_ok());
    }

    #[test]
    fn networks_have_no_host_bits() {
        let network = |text: &str, prefix_len| {
            PortAddress {
                address: text.parse().unwrap(),
                prefix_len,
            }
            .network()
            .to_string()
        };
        assert_eq!(network("10.1.2.3", 20), "10.1.0.0");
        assert_eq!(network("10.1.2.3", 0), "0.0.0.0");
        assert_eq!(network("10.1.2.3", 32), "10.1.2.3");
        assert_eq!(network("2001:db8:1:2:3::4", 64), "2001:db8:1:2::");
        assert_eq!(network("2001:db8::1", 0), "::");
    }
}
