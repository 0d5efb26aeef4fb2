//! What a rule says, from the API's words.

use atoll_model::{Direction, IcmpMatch, Peer, Protocol, SecurityGroupRule, Traffic};
use atoll_net::{Family, PortRange, Prefix};

use crate::error::Error;

/// What a rule says about protocol, ports and ICMP, from the API's three numbers (semantics 50): for ICMP `from` is
/// the type and `to` the code; -1 is any. For other protocols than TCP, UDP and ICMP they are ignored, as EC2 does.
///
/// # Errors
/// `InvalidParameterValue`, in EC2's words.
pub fn traffic(protocol: &str, from: Option<i32>, to: Option<i32>) -> Result<Traffic, Error> {
    let wrong = |message: String| Err(Error::invalid_value(message));
    let Some(protocol) = Protocol::parse(protocol) else {
        return wrong(format!(
            "Invalid value '{}' for IP protocol. Unknown protocol.",
            protocol.chars().take(64).collect::<String>()
        ));
    };
    let number = match protocol {
        Protocol::All => return Ok(Traffic::All),
        Protocol::Number(number) => number,
    };
    if protocol.has_ports() {
        let (Some(from), Some(to)) = (from, to) else {
            return wrong(
                "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.".into(),
            );
        };
        let port = |port: i32| {
            u16::try_from(port)
                .map_err(|_| Error::invalid_value(format!("TCP/UDP port ({port}) out of range")))
        };
        let Some(ports) = PortRange::new(port(from)?, port(to)?) else {
            let name = protocol.name().to_ascii_uppercase();
            return wrong(format!("Invalid {name} port range ({from},{to})"));
        };
        return Ok(if protocol == Protocol::TCP {
            Traffic::Tcp { ports }
        } else {
            Traffic::Udp { ports }
        });
    }
    if protocol.is_icmp() {
        let (from, to) = match (from, to) {
            (Some(from), Some(to)) => (from, to),
            // Only ICMPv6 may go without: then it is every type.
            (None, None) if protocol == Protocol::ICMPV6 => (-1, -1),
            _ => {
                return wrong(
                    "Invalid value 'Must specify both type and code with ICMP.' for portRange.".into(),
                );
            }
        };
        let part = |name: &str, value: i32| match value {
            -1 => Ok(None),
            _ => u8::try_from(value)
                .map(Some)
                .map_err(|_| Error::invalid_value(format!("ICMP {name} ({value}) out of range"))),
        };
        let icmp = IcmpMatch {
            kind: part("type", from)?,
            code: part("code", to)?,
        };
        if icmp.kind.is_none() && icmp.code.is_some() {
            return wrong(format!(
                "Invalid ICMP type/code (-1,{to}): with every type (-1), the code must be -1 too"
            ));
        }
        return Ok(if protocol == Protocol::ICMP {
            Traffic::Icmp { icmp }
        } else {
            Traffic::Icmpv6 { icmp }
        });
    }
    Ok(Traffic::Other { number })
}

/// A block of addresses as a peer; host bits are dropped silently, as EC2 does with groups too (semantics 32).
///
/// # Errors
/// `InvalidParameterValue` for what is no block of that family.
pub fn cidr(text: &str, family: Family) -> Result<Peer, Error> {
    match Prefix::parse_canonical(text) {
        Ok(block) if block.family() == family => Ok(Peer::Cidr { block }),
        _ => Err(Error::invalid_value(format!(
            "CIDR block {} is malformed",
            text.chars().take(64).collect::<String>()
        ))),
    }
}

/// The refusal of prefix lists, which are not there yet.
pub fn no_prefix_lists(id: &str) -> Error {
    Error::new(
        "InvalidPrefixListID.NotFound",
        format!(
            "The prefix list ID '{}' does not exist: managed prefix lists are not supported yet",
            id.chars().take(64).collect::<String>()
        ),
    )
}

/// A rule that a caller asks for or means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Protocol, ports, ICMP: see [`traffic`].
    pub traffic: Traffic,
    /// The far side: see [`cidr`].
    pub peer: Peer,
    /// What it is for; not part of a rule's identity.
    pub description: Option<String>,
}

impl RuleSpec {
    /// Whether a rule is the one meant, its description aside.
    pub fn is(&self, direction: Direction, rule: &SecurityGroupRule) -> bool {
        rule.direction == direction && rule.traffic == self.traffic && same_peer(rule.peer, self.peer)
    }

    pub(super) fn sentence(&self) -> String {
        let peer = match self.peer {
            Peer::Cidr { block } => block.to_string(),
            Peer::Group { id, .. } => id.to_string(),
            Peer::PrefixList { id } => id.to_string(),
        };
        let protocol = self.traffic.protocol().name().to_ascii_uppercase();
        let number = |part: Option<u8>| part.map_or(-1, i32::from);
        match (self.traffic, self.traffic.ports(), self.traffic.icmp()) {
            (Traffic::All, _, _) => format!("peer: {peer}, ALL, ALLOW"),
            (_, Some(ports), _) => format!(
                "peer: {peer}, {protocol}, from port: {}, to port: {}, ALLOW",
                ports.from, ports.to
            ),
            (_, _, Some(icmp)) => format!(
                "peer: {peer}, {protocol}, type: {}, code: {}, ALLOW",
                number(icmp.kind),
                number(icmp.code)
            ),
            _ => format!("peer: {peer}, {protocol}, ALLOW"),
        }
    }
}

fn same_peer(a: Peer, b: Peer) -> bool {
    match (a, b) {
        (Peer::Group { id: a, .. }, Peer::Group { id: b, .. }) => a == b,
        _ => a == b,
    }
}

pub(super) fn description_allowed(description: Option<&str>) -> Result<(), Error> {
    if description.is_none_or(super::text_allowed) {
        return Ok(());
    }
    Err(Error::invalid_value(
        "Invalid rule description. Valid descriptions are strings less than 256 characters from the following set: \
         a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*",
    ))
}
