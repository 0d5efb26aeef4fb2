//! Hosts: the machines that instances of a region run on.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::HostId;
use crate::{AccountId, Tags, Timestamp, ZoneName};

/// What people call a host: 1 to 63 letters of `a-z`, digits and dashes, no dash at either end, as in a label of DNS
/// (RFC 1123, 2.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

/// A text that names no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name for a host: it takes 1 to 63 of a-z, 0-9 and -, no - at either end")]
pub struct HostNameError(String);

impl HostName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<HostName, HostNameError> {
        let fits = (1..=63).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        match fits {
            true => Ok(HostName(text.to_owned())),
            false => Err(HostNameError(text.chars().take(64).collect())),
        }
    }
}

serde_by_text!(HostName);

/// The VXLAN network number (RFC 7348) that names a VPC between hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Network(u32);

impl Network {
    /// How many numbers there are; 0 names nothing.
    pub const COUNT: u32 = (1 << 24) - 1;

    /// A number of 24 bits that is not 0.
    pub fn new(number: u32) -> Option<Network> {
        (1..=Network::COUNT).contains(&number).then_some(Network(number))
    }

    /// The number, 1 to 2²⁴ − 1.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Network {
    type Error = String;

    fn try_from(number: u32) -> Result<Network, String> {
        Network::new(number).ok_or_else(|| format!("{number} is no VXLAN network number"))
    }
}

impl From<Network> for u32 {
    fn from(network: Network) -> u32 {
        network.0
    }
}

/// A host. The one that serves the region has a row too where there are others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Whose it is.
    pub owner: AccountId,
    /// Its name; no two hosts have the same.
    pub name: HostName,
    /// Its address for the other hosts; no two hosts have the same.
    pub underlay: IpAddr,
    /// The longest IP packet that its underlay takes, in bytes.
    pub mtu: u32,
    /// The zones whose instances run on it, sorted, each once. What no host has runs on the one that serves the region.
    pub zones: Vec<ZoneName>,
    /// Whether the region is served there, with its gateways and its internet. One does at most.
    pub serves_region: bool,
    /// When it came first.
    pub joined: Timestamp,
    /// Tags.
    pub tags: Tags,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        for name in ["a", "host-b", "10", &"x".repeat(63)] {
            assert_eq!(name.parse::<HostName>().unwrap().as_str(), name);
        }
        for name in ["", "-a", "a-", "A", "a.b", "a_b", "é", &"x".repeat(64)] {
            assert!(name.parse::<HostName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_network_has_24_bits_and_is_not_0() {
        assert!(serde_json::from_str::<Network>("0").is_err());
        assert!(serde_json::from_str::<Network>("16777216").is_err());
        let last: Network = serde_json::from_str("16777215").unwrap();
        assert_eq!(serde_json::to_string(&last).unwrap(), "16777215");
    }
}
