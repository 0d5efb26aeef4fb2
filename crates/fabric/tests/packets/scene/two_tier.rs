//! The VPC that most tests are about.

use std::net::IpAddr;

use atoll_model::nat_gateway::Connectivity;
use atoll_model::*;

use super::{OUT_ALL, Scene, VpcIds};

/// A VPC in two zones' worth of subnets: public with an internet gateway, private with a NAT gateway and, for
/// IPv6, an egress-only one; a web and a database tier.
pub struct TwoTier {
    pub scene: Scene,
    pub vpc: VpcIds,
    pub public: SubnetId,
    pub private: SubnetId,
    pub public_table: RouteTableId,
    pub private_table: RouteTableId,
    pub igw: InternetGatewayId,
    pub eigw: EgressOnlyGatewayId,
    pub nat: NatGatewayId,
    pub nat_eni: EniId,
    pub web_group: SecurityGroupId,
    pub db_group: SecurityGroupId,
    pub web: EniId,
    pub web_public: IpAddr,
    pub db: EniId,
}

pub fn two_tier() -> TwoTier {
    two_tier_in(Scene::new())
}

/// The same in a scene that remembers so much.
pub fn two_tier_in(mut s: Scene) -> TwoTier {
    let vpc = s.vpc("10.0.0.0/16", Some("2001:db8:1::/56"));
    let public = s.subnet(vpc, "10.0.0.0/24", Some("2001:db8:1::/64"));
    let private = s.subnet(vpc, "10.0.1.0/24", Some("2001:db8:1:1::/64"));
    let (igw, eigw) = (s.igw(vpc), s.eigw(vpc));
    let (public_table, private_table) = (s.table_for(public), s.table_for(private));
    s.route(public_table, "0.0.0.0/0", RouteTarget::InternetGateway(igw));
    s.route(public_table, "::/0", RouteTarget::InternetGateway(igw));
    let (nat, nat_eni) = s.nat(public, Connectivity::Public);
    s.route(private_table, "0.0.0.0/0", RouteTarget::NatGateway(nat));
    s.route(private_table, "::/0", RouteTarget::EgressOnlyGateway(eigw));
    let web_group = s.group(
        vpc,
        &[
            "in tcp/80 0.0.0.0/0",
            "in tcp/80 ::/0",
            "in tcp/22 203.0.113.1/32",
            OUT_ALL[0],
            OUT_ALL[1],
        ],
    );
    let reference = format!("in tcp/5432 {web_group}");
    let db_group = s.group(vpc, &[&reference, OUT_ALL[0], OUT_ALL[1]]);
    let web = s.eni(public, &[web_group]);
    let db = s.eni(private, &[db_group]);
    let web_public = s.elastic(web);
    TwoTier {
        scene: s,
        vpc,
        public,
        private,
        public_table,
        private_table,
        igw,
        eigw,
        nat,
        nat_eni,
        web_group,
        db_group,
        web,
        web_public,
        db,
    }
}
