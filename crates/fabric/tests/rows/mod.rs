//! Plain rows, such as `region` leaves them: everything that packets do not feel is here, what a test is about it
//! writes itself (`Subnet { cidr, ..rows::subnet(id, vpc) }`). The tests and the bench of this crate share them.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use atoll_model::elastic_ip::AddressAssociation;
use atoll_model::instance::{ShutdownBehavior, UserDataRun};
use atoll_model::nat_gateway::{Connectivity, NatGatewayAddress};
use atoll_model::network_interface::{
    Attachment, AttachmentState, ConnectionTracking, InterfaceType, PrivateAddress,
};
use atoll_model::route_table::RouteOrigin;
use atoll_model::subnet::{HostnameType, SubnetCidrAssociation};
use atoll_model::vpc::Tenancy;
use atoll_model::*;
use atoll_net::{Mac, Prefix};

/// The first zone of the default region.
pub fn zone() -> ZoneName {
    RegionName::DEFAULT.zones()[0]
}

/// A VPC without blocks.
pub fn vpc(id: VpcId, main: RouteTableId, acl: NetworkAclId, group: SecurityGroupId) -> Vpc {
    Vpc {
        id,
        owner: AccountId::DEFAULT,
        region: RegionName::DEFAULT,
        cidrs: Vec::new(),
        ipv6_cidrs: Vec::new(),
        is_default: false,
        tenancy: Tenancy::Default,
        enable_dns_support: true,
        enable_dns_hostnames: false,
        enable_network_address_usage_metrics: false,
        dhcp_options: None,
        main_route_table: main,
        default_network_acl: acl,
        default_security_group: group,
        created: Timestamp(0),
        network: None,
        tags: Tags::new(),
    }
}

/// A block of a VPC.
pub fn vpc_block(id: u64, block: Prefix) -> CidrAssociation {
    CidrAssociation {
        id: VpcCidrAssociationId::new(id),
        block,
        state: CidrState::Associated,
    }
}

/// A subnet without blocks.
pub fn subnet(id: SubnetId, vpc: VpcId) -> Subnet {
    Subnet {
        id,
        owner: AccountId::DEFAULT,
        vpc,
        zone: zone(),
        cidr: None,
        ipv6_cidrs: Vec::new(),
        default_for_az: false,
        map_public_ip_on_launch: false,
        assign_ipv6_on_creation: false,
        enable_dns64: false,
        hostname_type: HostnameType::IpName,
        resource_name_a_record: false,
        resource_name_aaaa_record: false,
        tags: Tags::new(),
    }
}

/// An IPv6 block of a subnet.
pub fn subnet_block(id: u64, block: Prefix) -> SubnetCidrAssociation {
    SubnetCidrAssociation {
        id: SubnetCidrAssociationId::new(id),
        block,
        state: CidrState::Associated,
    }
}

/// An ACL without rules and subnets: it denies everything (semantics 26).
pub fn network_acl(id: NetworkAclId, vpc: VpcId) -> NetworkAcl {
    NetworkAcl {
        id,
        owner: AccountId::DEFAULT,
        vpc,
        is_default: false,
        ingress: BTreeMap::new(),
        egress: BTreeMap::new(),
        associations: BTreeMap::new(),
        client_token: None,
        tags: Tags::new(),
    }
}

/// A table with a VPC's local routes (semantics 6).
pub fn route_table(id: RouteTableId, vpc: &Vpc) -> RouteTable {
    let local = Route {
        target: RouteTarget::Local,
        origin: RouteOrigin::CreateRouteTable,
    };
    RouteTable {
        id,
        owner: AccountId::DEFAULT,
        vpc: vpc.id,
        routes: vpc.blocks().map(|block| (block, local)).collect(),
        associations: BTreeMap::new(),
        client_token: None,
        tags: Tags::new(),
    }
}

/// A route made by hand.
pub fn route(target: RouteTarget) -> Route {
    Route {
        target,
        origin: RouteOrigin::CreateRoute,
    }
}

/// A group without rules.
pub fn security_group(id: SecurityGroupId, vpc: VpcId) -> SecurityGroup {
    SecurityGroup {
        id,
        owner: AccountId::DEFAULT,
        vpc,
        name: id.to_string(),
        description: String::new(),
        rules: BTreeMap::new(),
        tags: Tags::new(),
    }
}

/// A rule of a group.
pub fn rule(direction: Direction, traffic: Traffic, peer: Peer) -> SecurityGroupRule {
    SecurityGroupRule {
        direction,
        traffic,
        peer,
        description: None,
        tags: Tags::new(),
    }
}

/// A group of the same account as a rule's peer.
pub fn group_peer(id: SecurityGroupId) -> Peer {
    Peer::Group {
        id,
        owner: AccountId::DEFAULT,
        peering: None,
    }
}

/// An interface without addresses, groups and attachment, that checks. MACs of interfaces have an even second
/// octet.
pub fn network_interface(id: EniId, vpc: VpcId, subnet: SubnetId) -> NetworkInterface {
    let [.., a, b] = id.digits().bits().to_be_bytes();
    NetworkInterface {
        id,
        owner: AccountId::DEFAULT,
        vpc,
        subnet,
        zone: zone(),
        mac: Mac([0x02, 0x00, 0x5e, 0x10, a, b]),
        interface_type: InterfaceType::Interface,
        description: String::new(),
        private_addresses: Vec::new(),
        ipv6_addresses: Vec::new(),
        groups: Vec::new(),
        source_dest_check: true,
        attachment: None,
        requester_managed: false,
        connection_tracking: ConnectionTracking::default(),
        client_token: None,
        tags: Tags::new(),
    }
}

/// A private address that nothing outside stands for.
pub fn private(ip: Ipv4Addr) -> PrivateAddress {
    PrivateAddress { ip, public: None }
}

/// What makes an interface the first one of an instance.
pub fn attachment(id: AttachmentId, instance: InstanceId) -> Attachment {
    Attachment {
        id,
        instance,
        device_index: 0,
        state: AttachmentState::Attached,
        delete_on_termination: true,
        attached: Timestamp(0),
    }
}

/// A running instance.
pub fn instance(id: InstanceId, vpc: VpcId, subnet: SubnetId) -> Instance {
    Instance {
        id,
        owner: AccountId::DEFAULT,
        reservation: ReservationId::new(id.digits().bits()),
        launch_index: 0,
        vpc,
        subnet,
        zone: zone(),
        host: None,
        state: InstanceState::Running,
        state_reason: None,
        transition_reason: String::new(),
        auto_public: false,
        metadata: Default::default(),
        image: ImageId::new(1),
        instance_type: "t3.large".to_owned(),
        key_name: None,
        launched: Timestamp(0),
        boots: 1,
        user_data: None,
        user_data_run: UserDataRun::None,
        disable_api_termination: false,
        disable_api_stop: false,
        shutdown_behavior: ShutdownBehavior::Stop,
        iam_instance_profile: None,
        ebs_optimized: false,
        monitoring: false,
        client_token: None,
        terminated: None,
        tags: Tags::new(),
    }
}

/// An Elastic IP, standing for what it is associated with.
pub fn elastic_ip(id: AllocationId, public: Ipv4Addr, association: Option<AddressAssociation>) -> ElasticIp {
    ElasticIp {
        id,
        owner: AccountId::DEFAULT,
        public,
        association,
        tags: Tags::new(),
    }
}

/// An internet gateway, attached or not.
pub fn internet_gateway(id: InternetGatewayId, vpc: Option<VpcId>) -> InternetGateway {
    InternetGateway {
        id,
        owner: AccountId::DEFAULT,
        vpc,
        tags: Tags::new(),
    }
}

/// An egress-only internet gateway.
pub fn egress_only_gateway(id: EgressOnlyGatewayId, vpc: VpcId) -> EgressOnlyInternetGateway {
    EgressOnlyInternetGateway {
        id,
        owner: AccountId::DEFAULT,
        vpc,
        client_token: None,
        tags: Tags::new(),
    }
}

/// An available NAT gateway behind an interface, whose addresses it takes; public if one of them is.
pub fn nat_gateway(id: NatGatewayId, eni: &NetworkInterface) -> NatGateway {
    let addresses = eni.private_addresses.iter().enumerate();
    let addresses: Vec<NatGatewayAddress> = addresses
        .map(|(i, own)| NatGatewayAddress {
            private: own.ip,
            public: own.public.map(|p| p.ip),
            allocation: own.public.and_then(|p| p.elastic).map(|e| e.0),
            association: own.public.and_then(|p| p.elastic).map(|e| e.1),
            primary: i == 0,
        })
        .collect();
    let public = addresses.iter().any(|a| a.public.is_some());
    NatGateway {
        id,
        owner: AccountId::DEFAULT,
        vpc: eni.vpc,
        subnet: eni.subnet,
        connectivity: match public {
            true => Connectivity::Public,
            false => Connectivity::Private,
        },
        state: NatGatewayState::Available,
        eni: Some(eni.id),
        addresses,
        created: Timestamp(0),
        deleted: None,
        failure: None,
        client_token: None,
        tags: Tags::new(),
    }
}

/// What is particular about the interface of a NAT gateway.
pub fn of_nat_gateway(eni: NetworkInterface) -> NetworkInterface {
    NetworkInterface {
        interface_type: InterfaceType::NatGateway,
        requester_managed: true,
        source_dest_check: false,
        groups: Vec::new(),
        ipv6_addresses: Vec::new(),
        ..eni
    }
}
