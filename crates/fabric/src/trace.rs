//! The hops of a walk: what each component decided, by which rule.
//!
//! There is one walk; the live path gives it a recorder that does nothing, a trace gives it a list.

use std::net::IpAddr;

use atoll_model::{
    Direction, EgressOnlyGatewayId, EniId, InternetGatewayId, NatGatewayId, NetworkAclId, RouteTableId,
    RouteTarget, SecurityGroupId, SecurityGroupRuleId, SubnetId,
};
use atoll_net::Prefix;

use crate::packet::L4;
use crate::stage::Stage;

/// A component that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A network interface: MAC, addresses, source/destination check, attachment.
    Interface(EniId),
    /// The security groups of an interface.
    SecurityGroups(EniId, Direction),
    /// A subnet's own link.
    Subnet(SubnetId),
    /// A network ACL, judging a subnet's traffic.
    NetworkAcl(NetworkAclId, SubnetId, Direction),
    /// A route table.
    RouteTable(RouteTableId),
    /// A NAT gateway.
    NatGateway(NatGatewayId),
    /// An internet gateway.
    InternetGateway(InternetGatewayId),
    /// An egress-only internet gateway.
    EgressOnlyGateway(EgressOnlyGatewayId),
    /// The internet's side of all gateways.
    Internet,
}

/// The rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RuleRef {
    /// A rule of a network ACL.
    NetworkAcl {
        /// The ACL.
        acl: NetworkAclId,
        /// Which way.
        direction: Direction,
        /// Its number; `None` for the final `*`.
        number: Option<u16>,
    },
    /// A rule of a security group.
    SecurityGroup {
        /// The group.
        group: SecurityGroupId,
        /// The rule.
        rule: SecurityGroupRuleId,
    },
    /// A route.
    Route {
        /// The table.
        table: RouteTableId,
        /// The destination.
        destination: Prefix,
    },
}

/// What a component decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// An interface sent it: MAC and source are its own, or it need not check.
    Sent,
    /// A rule allows it.
    Allowed {
        /// Whether a connection is tracked from now on; always false at network ACLs.
        tracked: bool,
    },
    /// A tracked connection lets it pass whatever the rules (semantics 43).
    Established,
    /// It stays on the subnet's link (semantics 10).
    OnLink,
    /// A route leads it on.
    Routed(RouteTarget),
    /// Its source is rewritten to this address and port or identifier.
    SourceTranslated {
        /// New source.
        to: IpAddr,
        /// New port or ICMP identifier, where that changes too.
        port: Option<u16>,
    },
    /// Its destination is rewritten to this address and port or identifier.
    DestinationTranslated {
        /// New destination.
        to: IpAddr,
        /// New port or ICMP identifier, where that changes too.
        port: Option<u16>,
    },
    /// Passes untranslated.
    Passed,
    /// It reached the interface.
    Delivered,
    /// It left for the internet.
    Exited,
    /// Dropped here.
    Dropped(Stage),
}

/// One component's decision about the packet as it stood before that component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// Who decided.
    pub place: Place,
    /// What.
    pub decision: Decision,
    /// By which rule.
    pub rule: Option<RuleRef>,
    /// Source as it came here.
    pub src: IpAddr,
    /// Destination as it came here.
    pub dst: IpAddr,
    /// Ports or ICMP type as it came here.
    pub l4: L4,
}

/// Takes down the hops of a walk.
pub trait Recorder {
    /// The next one.
    fn hop(&mut self, hop: Hop);
}

/// The live path's: nothing is kept, and nothing is built for it.
impl Recorder for () {
    #[inline(always)]
    fn hop(&mut self, _: Hop) {}
}

/// The trace's.
impl Recorder for Vec<Hop> {
    fn hop(&mut self, hop: Hop) {
        self.push(hop);
    }
}
