//! What a guest's interface is given until DHCP exists: `ip -batch` lines, as a pure function of the port.
//!
//! The primary's default route stands in the main table; a secondary interface also gets a table of its own, used by source address, so that what it was asked it answers
//! itself. All lines can be run again: they replace, or first clear what they add.
use crate::spec::{PortAddress, PortSpec};
use std::net::IpAddr;

/// Where the tables (and the preference of rules) of secondary interfaces begin.
const TABLE_BASE: u32 = 10_000;
/// Metric of the primary's routes; ten more for each further device index.
const METRIC_BASE: u32 = 512;

/// The lines for one address family.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Family {
    /// May fail: removes what may not be there.
    pub(crate) clear: String,
    /// Must not fail.
    pub(crate) set: String,
}

/// What to run, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Batches {
    pub(crate) link: String,
    pub(crate) v4: Family,
    pub(crate) v6: Family,
}

/// Files of /proc/sys/net set once, when the guest's namespace is new. IPv6 ones are skipped where the kernel has no IPv6.
pub(crate) const SYSCTLS: [(&str, &str); 12] = [
    // A namespace inherits these from the host, which may be a router.
    ("ipv4/ip_forward", "0"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    // Two interfaces in one subnet: each answers and asks for its own addresses only.
    ("ipv4/conf/all/arp_ignore", "1"),
    ("ipv4/conf/all/arp_announce", "2"),
    ("ipv4/conf/all/accept_redirects", "0"),
    // ping without capabilities.
    ("ipv4/ping_group_range", "0 0"),
    ("ipv4/ip_unprivileged_port_start", "1024"),
    // Addresses and routes are given, never discovered.
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
];

/// The lines for `port`; `before` is what it was when it is being changed.
pub(crate) fn batches(port: &PortSpec, before: Option<&PortSpec>) -> Batches {
    let name = port.guest_name();
    let mut batches = Batches {
        link: format!("link set dev {name} mtu {} up\n", port.mtu),
        ..Batches::default()
    };
    for v6 in [false, true] {
        let family = if v6 { &mut batches.v6 } else { &mut batches.v4 };
        let of = |address: &&PortAddress| address.address.is_ipv6() == v6;
        let addresses: Vec<&PortAddress> = port.addresses.iter().filter(of).collect();
        let gone = before
            .into_iter()
            .flat_map(|before| before.addresses.iter().filter(of))
            .filter(|old| !port.addresses.contains(old));
        for old in gone {
            family.clear += &format!("addr del {}/{} dev {name}\n", old.address, old.prefix_len);
        }
        let gateway = if v6 {
            port.gateway_v6.map(IpAddr::V6)
        } else {
            port.gateway_v4.map(IpAddr::V4)
        };
        let before_gateway = before.and_then(|before| {
            if v6 {
                before.gateway_v6.map(IpAddr::V6)
            } else {
                before.gateway_v4.map(IpAddr::V4)
            }
        });
        let metric = METRIC_BASE + 10 * u32::from(port.device_index);
        let table = TABLE_BASE + u32::from(port.device_index);
        if before_gateway.is_some() && (gateway.is_none() || addresses.is_empty()) {
            family.clear += &format!("route del default dev {name} metric {metric}\n");
        }
        if port.device_index > 0 {
            family.clear += &format!("rule flush table {table}\nroute flush table {table}\n");
        }
        for address in &addresses {
            // The unspecified scope of IPv6 duplicate detection would make an address unusable for its first second.
            let how = if v6 { " nodad" } else { "" };
            family.set += &format!(
                "addr replace {}/{} dev {name} metric {metric}{how}\n",
                address.address, address.prefix_len
            );
        }
        if addresses.is_empty() {
            continue;
        }
        let on_link = port
            .on_link
            .iter()
            .filter(of)
            .map(|prefix| format!("{}/{}", prefix.network(), prefix.prefix_len));
        for prefix in on_link {
            family.set += &format!("route replace {prefix} dev {name} metric {metric}\n");
        }
        if let Some(gateway) = gateway {
            family.set += &format!("route replace default via {gateway} dev {name} metric {metric} onlink\n");
        }
        if port.device_index > 0 {
            secondary(family, port, &addresses, gateway, table, v6);
        }
    }
    batches
}

fn secondary(
    family: &mut Family,
    port: &PortSpec,
    addresses: &[&PortAddress],
    gateway: Option<IpAddr>,
    table: u32,
    v6: bool,
) {
    let name = port.guest_name();
    let mut prefixes: Vec<String> = addresses
        .iter()
        .copied()
        .chain(
            port.on_link
                .iter()
                .filter(|prefix| prefix.address.is_ipv6() == v6),
        )
        .map(|address| format!("{}/{}", address.network(), address.prefix_len))
        .collect();
    prefixes.sort();
    prefixes.dedup();
    for prefix in prefixes {
        family.set += &format!("route replace {prefix} dev {name} table {table}\n");
    }
    if let Some(gateway) = gateway {
        family.set += &format!("route replace default via {gateway} dev {name} table {table} onlink\n");
    }
    for address in addresses {
        family.set += &format!("rule add pref {table} from {} lookup {table}\n", address.address);
    }
}

/// resolv.conf for these ports: the servers of the lowest device index that has any.
pub(crate) fn resolv_conf(ports: &[PortSpec], search: Option<&str>) -> String {
    let mut text = search
        .map(|domain| format!("search {domain}\n"))
        .unwrap_or_default();
    let servers = ports
        .iter()
        .filter(|port| !port.dns.is_empty())
        .min_by_key(|port| port.device_index);
    for server in servers.into_iter().flat_map(|port| &port.dns) {
        text += &format!("nameserver {server}\n");
    }
    text
}

/// /etc/hosts for these ports.
pub(crate) fn hosts(ports: &[PortSpec], hostname: &str) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    if let Some(primary) = ports
        .iter()
        .min_by_key(|port| port.device_index)
        .and_then(|port| port.addresses.first())
    {
        text += &format!("{} {hostname}\n", primary.address);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(device_index: u8, addresses: &[(&str, u8)]) -> PortSpec {
        PortSpec {
            id: format!("eni-{device_index}"),
            device_index,
            mac: [2, 0, 0, 0, 0, device_index],
            mtu: 9001,
            addresses: addresses
                .iter()
                .map(|(address, prefix_len)| PortAddress {
                    address: address.parse().unwrap(),
                    prefix_len: *prefix_len,
                })
                .collect(),
            gateway_v4: Some([10, 0, 0, 1].into()),
            gateway_v6: None,
            dns: vec!["10.0.0.2".parse().unwrap()],
            on_link: vec![],
        }
    }

    #[test]
    fn a_primary_gets_its_default_route_in_the_main_table_and_no_rules() {
        let batches = batches(&port(0, &[("10.0.0.5", 24)]), None);
        assert_eq!(batches.link, "link set dev eth0 mtu 9001 up\n");
        assert_eq!(
            batches.v4.set,
            "addr replace 10.0.0.5/24 dev eth0 metric 512\nroute replace default via 10.0.0.1 dev eth0 metric 512 onlink\n"
        );
        assert_eq!(batches.v4.clear, "");
        assert_eq!(batches.v6, Family::default());
    }

    #[test]
    fn a_secondary_gets_a_table_of_its_own_by_source_address() {
        let batches = batches(&port(1, &[("10.0.0.6", 24), ("10.0.0.7", 24)]), None);
        for line in [
            "route replace 10.0.0.0/24 dev eth1 table 10001\n",
            "rule add pref 10001 from 10.0.0.6 lookup 10001\n",
            "rule add pref 10001 from 10.0.0.7 lookup 10001\n",
        ] {
            assert_eq!(batches.v4.set.matches(line).count(), 1, "{line}");
        }
        assert!(batches.v4.clear.contains("rule flush table 10001"));
    }

    #[test]
    fn an_address_that_went_is_removed_and_others_are_kept() {
        let batches = batches(
            &port(0, &[("10.0.0.5", 24)]),
            Some(&port(0, &[("10.0.0.5", 24), ("10.0.0.9", 24)])),
        );
        assert_eq!(batches.v4.clear, "addr del 10.0.0.9/24 dev eth0\n");
        assert!(batches.v4.set.contains("addr replace 10.0.0.5/24"));
    }

    #[test]
    fn name_servers_are_those_of_the_primary() {
        let mut second = port(1, &[]);
        second.dns = vec!["10.9.0.2".parse().unwrap()];
        assert_eq!(
            resolv_conf(&[second, port(0, &[])], Some("ec2.internal")),
            "search ec2.internal\nnameserver 10.0.0.2\n"
        );
    }
}
