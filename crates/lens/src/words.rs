//! Places, rules and decisions as text.

use atoll_fabric::{Decision, Place, RuleRef};
use atoll_model::{Direction, RouteTarget};

/// The kind of a component, in kebab case.
pub fn kind(place: Place) -> &'static str {
    match place {
        Place::Interface(_) => "network-interface",
        Place::SecurityGroups(_, Direction::Ingress) => "security-groups-ingress",
        Place::SecurityGroups(_, Direction::Egress) => "security-groups-egress",
        Place::Subnet(_) => "subnet",
        Place::NetworkAcl(_, _, Direction::Ingress) => "network-acl-ingress",
        Place::NetworkAcl(_, _, Direction::Egress) => "network-acl-egress",
        Place::RouteTable(_) => "route-table",
        Place::NatGateway(_) => "nat-gateway",
        Place::InternetGateway(_) => "internet-gateway",
        Place::EgressOnlyGateway(_) => "egress-only-internet-gateway",
        Place::Internet => "internet",
    }
}

/// The id of a component; of an interface's security groups, the interface's.
pub fn id(place: Place) -> String {
    match place {
        Place::Interface(id) | Place::SecurityGroups(id, _) => id.to_string(),
        Place::Subnet(id) => id.to_string(),
        Place::NetworkAcl(id, _, _) => id.to_string(),
        Place::RouteTable(id) => id.to_string(),
        Place::NatGateway(id) => id.to_string(),
        Place::InternetGateway(id) => id.to_string(),
        Place::EgressOnlyGateway(id) => id.to_string(),
        Place::Internet => "internet".into(),
    }
}

/// A rule: the object that holds it and its name there, such as `acl-… ingress 100` or `rtb-… 0.0.0.0/0`.
pub fn rule(rule: RuleRef) -> String {
    match rule {
        RuleRef::NetworkAcl {
            acl,
            direction,
            number: Some(number),
        } => format!("{acl} {direction} {number}"),
        RuleRef::NetworkAcl {
            acl,
            direction,
            number: None,
        } => format!("{acl} {direction} *"),
        RuleRef::SecurityGroup { group, rule } => format!("{group} {rule}"),
        RuleRef::Route { table, destination } => format!("{table} {destination}"),
    }
}

/// What a route leads to.
pub fn target(target: RouteTarget) -> String {
    match target {
        RouteTarget::Local => "local".into(),
        RouteTarget::InternetGateway(id) => id.to_string(),
        RouteTarget::EgressOnlyGateway(id) => id.to_string(),
        RouteTarget::NatGateway(id) => id.to_string(),
        RouteTarget::NetworkInterface(id) => id.to_string(),
    }
}

/// A decision, as a short clause.
pub fn decision(decision: Decision) -> String {
    let translated = |what: &str, to: std::net::IpAddr, port: Option<u16>| match port {
        Some(port) => format!("{what} becomes {to}, port or id {port}"),
        None => format!("{what} becomes {to}"),
    };
    match decision {
        Decision::Sent => "sent".into(),
        Decision::Allowed { tracked: true } => "allowed, tracked from now on".into(),
        Decision::Allowed { tracked: false } => "allowed".into(),
        Decision::Established => "part of a tracked connection".into(),
        Decision::OnLink => "on the same link".into(),
        Decision::Routed(to) => format!("routed to {}", target(to)),
        Decision::SourceTranslated { to, port } => translated("source", to, port),
        Decision::DestinationTranslated { to, port } => translated("destination", to, port),
        Decision::Passed => "passes untranslated".into(),
        Decision::Delivered => "delivered".into(),
        Decision::Exited => "leaves for the internet".into(),
        Decision::Dropped(stage) => format!("dropped: {}", stage.as_str()),
    }
}
