//! Rows made by hand: one VPC, 10.0.0.0/16 and 2001:db8:1::/56, with subnets 1 and 2, an internet gateway, the
//! default ACL and a few security groups.

use std::net::{Ipv4Addr, Ipv6Addr};

use atoll_model::{Change, Delta, EniId, ResourceId, Row, Subnet, SubnetId};
use atoll_net::Mac;
use serde_json::{Value, json};

/// Lets everything in and out.
pub const OPEN: u64 = 1;
/// Lets everything out and nothing in.
pub const CLOSED: u64 = 2;
/// Lets everything out, and in from members of `OPEN`.
pub const FROM_OPEN: u64 = 3;

fn id(kind: &str, number: u64) -> String {
    format!("{kind}-{number:017x}")
}

/// A row from its fields.
pub fn row(table: &str, fields: Value) -> Row {
    Row::decode(table, fields.to_string().as_bytes()).unwrap()
}

pub fn put(rows: Vec<Row>) -> Delta {
    let mut changes: Vec<Change> = rows.into_iter().map(Change::Put).collect();
    changes.sort_by_key(Change::key);
    Delta { changes }
}

const OWNER: &str = "123456789012";

pub fn base() -> Delta {
    let mut rows = vec![
        row(
            "vpc",
            json!({
                "id": id("vpc", 1), "owner": OWNER, "region": "us-east-1",
                "cidrs": [{"id": id("vpc-cidr-assoc", 1), "block": "10.0.0.0/16", "state": "associated"}],
                "ipv6_cidrs": [{"id": id("vpc-cidr-assoc", 2), "block": "2001:db8:1::/56", "state": "associated"}],
                "is_default": false, "tenancy": "default", "enable_dns_support": true, "enable_dns_hostnames": false,
                "enable_network_address_usage_metrics": false, "dhcp_options": null,
                "main_route_table": id("rtb", 1), "default_network_acl": id("acl", 1),
                "default_security_group": id("sg", 99), "created": 0, "tags": {},
            }),
        ),
        route_table(&[
            (
                "0.0.0.0/0",
                json!({"kind": "internet_gateway", "id": id("igw", 1)}),
            ),
            ("::/0", json!({"kind": "internet_gateway", "id": id("igw", 1)})),
        ]),
        row(
            "internet_gateway",
            json!({"id": id("igw", 1), "owner": OWNER, "vpc": id("vpc", 1), "tags": {}}),
        ),
        acl(&[], &[]),
        group(
            OPEN,
            &[
                ("ingress", all(), cidr("0.0.0.0/0")),
                ("ingress", all(), cidr("::/0")),
            ],
        ),
        group(CLOSED, &[]),
        group(
            FROM_OPEN,
            &[(
                "ingress",
                all(),
                json!({"kind": "group", "id": id("sg", OPEN), "owner": OWNER, "peering": null}),
            )],
        ),
    ];
    for n in [1, 2] {
        rows.push(Row::from(subnet(n)));
    }
    put(rows)
}

pub fn subnet(n: u8) -> Subnet {
    let Row::Subnet(subnet) = row(
        "subnet",
        json!({
            "id": id("subnet", n.into()), "owner": OWNER, "vpc": id("vpc", 1), "zone": "us-east-1a",
            "cidr": format!("10.0.{n}.0/24"),
            "ipv6_cidrs": [{"id": id("subnet-cidr-assoc", n.into()), "block": format!("2001:db8:1:{n}::/64"), "state": "associated"}],
            "default_for_az": false, "map_public_ip_on_launch": false, "assign_ipv6_on_creation": false,
            "enable_dns64": false, "hostname_type": "ip-name", "resource_name_a_record": false,
            "resource_name_aaaa_record": false, "tags": {},
        }),
    ) else {
        unreachable!()
    };
    (*subnet).clone()
}

/// The main table with its local routes and others.
pub fn route_table(routes: &[(&str, Value)]) -> Row {
    let local = json!({"target": {"kind": "local"}, "origin": "CreateRouteTable"});
    let mut map = serde_json::Map::new();
    map.insert("10.0.0.0/16".into(), local.clone());
    map.insert("2001:db8:1::/56".into(), local);
    for (prefix, target) in routes {
        map.insert(
            (*prefix).into(),
            json!({"target": target, "origin": "CreateRoute"}),
        );
    }
    row(
        "route_table",
        json!({
            "id": id("rtb", 1), "owner": OWNER, "vpc": id("vpc", 1), "routes": map,
            "associations": {id("rtbassoc", 1): {"kind": "main"}}, "tags": {},
        }),
    )
}

pub fn all() -> Value {
    json!({"kind": "all"})
}

pub fn tcp(from: u16, to: u16) -> Value {
    json!({"kind": "tcp", "ports": {"from": from, "to": to}})
}

pub fn cidr(block: &str) -> Value {
    json!({"kind": "cidr", "block": block})
}

/// A table of subnet 1 alone, which leads to the NAT gateway of [`nat_gateway`] and for IPv6 to an egress-only one.
pub fn private_table() -> Row {
    let nat = json!({"kind": "nat_gateway", "id": id("nat", 1)});
    let egress = json!({"kind": "egress_only_gateway", "id": id("eigw", 1)});
    let Row::RouteTable(table) = route_table(&[("0.0.0.0/0", nat), ("::/0", egress)]) else {
        unreachable!()
    };
    let mut table = (*table).clone();
    table.id = id("rtb", 2).parse().unwrap();
    let target = atoll_model::route_table::AssociationTarget::Subnet(SubnetId::new(1));
    table.associations = [(id("rtbassoc", 2).parse().unwrap(), target)].into();
    table.into()
}

/// The NAT gateway's public address.
pub const NAT_PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 100);

/// An egress-only gateway, and a NAT gateway in subnet 2.
pub fn nat_gateway() -> Delta {
    let elastic = json!([id("eipalloc", 1), id("eipassoc", 1)]);
    put(vec![
        row(
            "egress_only_gateway",
            json!({"id": id("eigw", 1), "owner": OWNER, "vpc": id("vpc", 1), "tags": {}}),
        ),
        row(
            "network_interface",
            json!({
                "id": id("eni", 0xaa), "owner": OWNER, "vpc": id("vpc", 1), "subnet": id("subnet", 2), "zone": "us-east-1a",
                "mac": "02:10:00:00:00:aa", "interface_type": "nat_gateway", "description": "",
                "private_addresses": [{"ip": "10.0.2.200", "public": {"ip": NAT_PUBLIC, "elastic": elastic}}],
                "ipv6_addresses": [], "groups": [], "source_dest_check": false, "attachment": null,
                "requester_managed": true,
                "connection_tracking": {"tcp_established": null, "udp_stream": null, "udp_timeout": null},
                "client_token": null, "tags": {},
            }),
        ),
        row(
            "elastic_ip",
            json!({
                "id": id("eipalloc", 1), "owner": OWNER, "public": NAT_PUBLIC,
                "association": {"id": id("eipassoc", 1), "eni": id("eni", 0xaa), "private": "10.0.2.200"}, "tags": {},
            }),
        ),
        row(
            "nat_gateway",
            json!({
                "id": id("nat", 1), "owner": OWNER, "vpc": id("vpc", 1), "subnet": id("subnet", 2),
                "connectivity": "public", "state": "available", "eni": id("eni", 0xaa),
                "addresses": [{"private": "10.0.2.200", "public": NAT_PUBLIC, "allocation": id("eipalloc", 1),
                    "association": id("eipassoc", 1), "primary": true}],
                "created": 0, "deleted": null, "failure": null, "client_token": null, "tags": {},
            }),
        ),
    ])
}

/// The members of a group.
pub fn in_group(number: u64) -> Value {
    json!({"kind": "group", "id": id("sg", number), "owner": OWNER, "peering": null})
}

/// The VPC's ACL, for both subnets: everything allowed at 100 in both directions and families, with entries
/// `(number, action, traffic, cidr)` before and behind.
pub fn acl(ingress: &[(u16, &str, Value, &str)], egress: &[(u16, &str, Value, &str)]) -> Row {
    let entries = |entries: &[(u16, &str, Value, &str)]| {
        let mut map = serde_json::Map::new();
        for (number, block) in [(100, "0.0.0.0/0"), (101, "::/0")] {
            map.insert(
                number.to_string(),
                json!({"action": "allow", "cidr": block, "traffic": all()}),
            );
        }
        for (number, action, traffic, block) in entries {
            map.insert(
                number.to_string(),
                json!({"action": action, "cidr": block, "traffic": traffic}),
            );
        }
        Value::Object(map)
    };
    row(
        "network_acl",
        json!({
            "id": id("acl", 1), "owner": OWNER, "vpc": id("vpc", 1), "is_default": true,
            "ingress": entries(ingress), "egress": entries(egress),
            "associations": {id("aclassoc", 1): id("subnet", 1), id("aclassoc", 2): id("subnet", 2)}, "tags": {},
        }),
    )
}

/// A group that lets everything out, with more rules.
pub fn group(number: u64, rules: &[(&str, Value, Value)]) -> Row {
    let mut map = serde_json::Map::new();
    let out = [
        ("egress", all(), cidr("0.0.0.0/0")),
        ("egress", all(), cidr("::/0")),
    ];
    for (n, (direction, traffic, peer)) in out.iter().chain(rules).enumerate() {
        map.insert(
            id("sgr", number * 100 + n as u64),
            json!({"direction": direction, "traffic": traffic, "peer": peer, "description": null, "tags": {}}),
        );
    }
    row(
        "security_group",
        json!({
            "id": id("sg", number), "owner": OWNER, "vpc": id("vpc", 1), "name": format!("group-{number}"),
            "description": "", "rules": map, "tags": {},
        }),
    )
}

/// An interface with its running instance.
#[derive(Clone, Debug)]
pub struct Interface {
    pub subnet: u8,
    pub host: u8,
    pub groups: Vec<u64>,
    pub public: Option<Ipv4Addr>,
    pub source_dest_check: bool,
}

impl Default for Interface {
    fn default() -> Interface {
        Interface {
            subnet: 1,
            host: 4,
            groups: Vec::new(),
            public: None,
            source_dest_check: true,
        }
    }
}

impl Interface {
    fn number(&self) -> u64 {
        u64::from(self.subnet) << 8 | u64::from(self.host)
    }

    pub fn id(&self) -> EniId {
        EniId::new(self.number())
    }

    pub fn mac(&self) -> Mac {
        Mac([0x02, 0x10, 0, 0, self.subnet, self.host])
    }

    pub fn v4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, self.subnet, self.host)
    }

    pub fn v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 1, self.subnet.into(), 0, 0, 0, self.host.into())
    }

    pub fn delta(&self) -> Delta {
        let (n, subnet) = (self.number(), SubnetId::new(self.subnet.into()));
        assert_eq!(subnet.digits().bits(), u64::from(self.subnet));
        let groups: Vec<String> = self.groups.iter().map(|g| id("sg", *g)).collect();
        let interface = row(
            "network_interface",
            json!({
                "id": self.id(), "owner": OWNER, "vpc": id("vpc", 1), "subnet": subnet, "zone": "us-east-1a",
                "mac": self.mac(), "interface_type": "interface", "description": "",
                "private_addresses": [{"ip": self.v4(), "public": self.public.map(|ip| json!({"ip": ip, "elastic": null}))}],
                "ipv6_addresses": [self.v6()], "groups": groups, "source_dest_check": self.source_dest_check,
                "attachment": {"id": id("eni-attach", n), "instance": id("i", n), "device_index": 0, "state": "attached",
                    "delete_on_termination": true, "attached": 0},
                "requester_managed": false,
                "connection_tracking": {"tcp_established": null, "udp_stream": null, "udp_timeout": null},
                "client_token": null, "tags": {},
            }),
        );
        let instance = row(
            "instance",
            json!({
                "id": id("i", n), "owner": OWNER, "reservation": id("r", n), "launch_index": 0, "vpc": id("vpc", 1),
                "subnet": subnet, "zone": "us-east-1a", "state": "running", "state_reason": null,
                "image": id("ami", 1), "instance_type": "t3.micro", "key_name": null, "launched": 0, "boots": 1,
                "user_data": null, "user_data_run": {"kind": "none"}, "disable_api_termination": false,
                "disable_api_stop": false, "shutdown_behavior": "stop", "iam_instance_profile": null,
                "ebs_optimized": false, "monitoring": false, "client_token": null, "terminated": null, "tags": {},
            }),
        );
        put(vec![interface, instance])
    }
}
