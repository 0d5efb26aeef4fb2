//! What a firewall rule says about a packet's protocol, ports and ICMP type; shared by network ACLs and
//! security groups.

use std::fmt;

use atoll_net::PortRange;
use serde::{Deserialize, Serialize};

text_enum! {
    /// Which way traffic goes, seen from the subnet or the interface.
    pub enum Direction {
        /// Into it.
        Ingress = "ingress",
        /// Out of it.
        Egress = "egress",
    }
}

/// An IP protocol, or all of them (-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "i16", try_from = "i16")]
pub enum Protocol {
    /// Every protocol: `-1`.
    All,
    /// An assigned number, 0 to 255.
    Number(u8),
}

impl Protocol {
    /// ICMP, 1.
    pub const ICMP: Protocol = Protocol::Number(1);
    /// TCP, 6.
    pub const TCP: Protocol = Protocol::Number(6);
    /// UDP, 17.
    pub const UDP: Protocol = Protocol::Number(17);
    /// ICMPv6, 58.
    pub const ICMPV6: Protocol = Protocol::Number(58);

    /// From what the API accepts: `tcp`, `udp`, `icmp`, `icmpv6`, `all`, `-1`, or a number of 0 to 255.
    pub fn parse(text: &str) -> Option<Protocol> {
        match text.to_ascii_lowercase().as_str() {
            "-1" | "all" => Some(Protocol::All),
            "tcp" => Some(Protocol::TCP),
            "udp" => Some(Protocol::UDP),
            "icmp" => Some(Protocol::ICMP),
            "icmpv6" => Some(Protocol::ICMPV6),
            number => number.parse().ok().map(Protocol::Number),
        }
    }

    /// Whether a packet of that protocol number matches.
    pub fn matches(self, number: u8) -> bool {
        match self {
            Protocol::All => true,
            Protocol::Number(n) => n == number,
        }
    }

    /// TCP or UDP: the protocols whose rules have ports.
    pub fn has_ports(self) -> bool {
        self == Protocol::TCP || self == Protocol::UDP
    }

    /// ICMP or ICMPv6.
    pub fn is_icmp(self) -> bool {
        self == Protocol::ICMP || self == Protocol::ICMPV6
    }

    /// As the number the API shows for network ACLs: -1 to 255.
    pub fn number(self) -> i16 {
        match self {
            Protocol::All => -1,
            Protocol::Number(n) => i16::from(n),
        }
    }

    /// As security groups show it: `tcp`, `udp`, `icmp`, `icmpv6`, `-1` or the number.
    pub fn name(self) -> String {
        match self {
            Protocol::TCP => "tcp".into(),
            Protocol::UDP => "udp".into(),
            Protocol::ICMP => "icmp".into(),
            Protocol::ICMPV6 => "icmpv6".into(),
            other => other.number().to_string(),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl From<Protocol> for i16 {
    fn from(protocol: Protocol) -> i16 {
        protocol.number()
    }
}

impl TryFrom<i16> for Protocol {
    type Error = String;

    fn try_from(number: i16) -> Result<Protocol, String> {
        match number {
            -1 => Ok(Protocol::All),
            n => u8::try_from(n)
                .map(Protocol::Number)
                .map_err(|_| format!("{n} is not an IP protocol")),
        }
    }
}

/// An ICMP type and code; `None` stands for any (-1 in the API: semantics 50).
///
/// An any type with a given code is representable because AWS stores it; it matches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IcmpMatch {
    /// Type, or any.
    pub kind: Option<u8>,
    /// Code, or any.
    pub code: Option<u8>,
}

impl IcmpMatch {
    /// Every type and code.
    pub const ANY: IcmpMatch = IcmpMatch {
        kind: None,
        code: None,
    };

    /// Whether a message matches; any type with a given code matches nothing (semantics 50).
    pub fn matches(self, kind: u8, code: u8) -> bool {
        match (self.kind, self.code) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(k), None) => k == kind,
            (Some(k), Some(c)) => k == kind && c == code,
        }
    }
}

/// The protocol part of a rule: which packets it is about, addresses aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Traffic {
    /// Every protocol, every port.
    All,
    /// TCP with a destination port in the range.
    Tcp {
        /// Destination ports.
        ports: PortRange,
    },
    /// UDP with a destination port in the range.
    Udp {
        /// Destination ports.
        ports: PortRange,
    },
    /// ICMP for IPv4.
    Icmp {
        /// Type and code.
        icmp: IcmpMatch,
    },
    /// ICMPv6.
    Icmpv6 {
        /// Type and code.
        icmp: IcmpMatch,
    },
    /// Any other protocol, by number, whole.
    Other {
        /// IP protocol number.
        number: u8,
    },
}

impl Traffic {
    /// The protocol that the rule names.
    pub fn protocol(self) -> Protocol {
        match self {
            Traffic::All => Protocol::All,
            Traffic::Tcp { .. } => Protocol::TCP,
            Traffic::Udp { .. } => Protocol::UDP,
            Traffic::Icmp { .. } => Protocol::ICMP,
            Traffic::Icmpv6 { .. } => Protocol::ICMPV6,
            Traffic::Other { number } => Protocol::Number(number),
        }
    }

    /// Destination ports, for TCP and UDP.
    pub fn ports(self) -> Option<PortRange> {
        match self {
            Traffic::Tcp { ports } | Traffic::Udp { ports } => Some(ports),
            _ => None,
        }
    }

    /// Type and code, for ICMP and ICMPv6.
    pub fn icmp(self) -> Option<IcmpMatch> {
        match self {
            Traffic::Icmp { icmp } | Traffic::Icmpv6 { icmp } => Some(icmp),
            _ => None,
        }
    }
}
