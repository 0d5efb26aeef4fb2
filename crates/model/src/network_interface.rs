//! Elastic network interfaces (ENIs).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_net::Mac;
use serde::{Deserialize, Serialize};

use crate::id::{
    AddressAssociationId, AllocationId, AttachmentId, EniId, InstanceId, SecurityGroupId, SubnetId, VpcId,
};
use crate::{AccountId, ClientToken, Tags, Timestamp, ZoneName};

text_enum! {
    /// What an interface serves.
    pub enum InterfaceType {
        /// Instances.
        Interface = "interface",
        /// A NAT gateway; no security group (semantics 83).
        NatGateway = "nat_gateway",
    }
}

/// A public IPv4 address that stands for a private one at the internet gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicAddress {
    /// The public address.
    pub ip: Ipv4Addr,
    /// The Elastic IP it is; `None` for an auto-assigned one, which goes when the instance stops.
    pub elastic: Option<(AllocationId, AddressAssociationId)>,
}

/// A private IPv4 address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateAddress {
    /// The address, of the subnet's block.
    pub ip: Ipv4Addr,
    /// The public address that stands for it.
    pub public: Option<PublicAddress>,
}

text_enum! {
    /// Where an attachment stands.
    pub enum AttachmentState {
        /// Being attached.
        Attaching = "attaching",
        /// Attached.
        Attached = "attached",
        /// Being detached.
        Detaching = "detaching",
    }
}

/// The attachment of an interface to an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The attachment.
    pub id: AttachmentId,
    /// The instance.
    pub instance: InstanceId,
    /// Which of the instance's interfaces: 0 is the primary, `eth0` (semantics 64).
    pub device_index: u8,
    /// Where it stands.
    pub state: AttachmentState,
    /// Whether the interface goes with the instance.
    pub delete_on_termination: bool,
    /// Since when.
    pub attached: Timestamp,
}

/// Idle timeouts of tracked connections, in seconds; `None` is the default (semantics 46).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionTracking {
    /// TCP established: 60 to 432000, default 432000.
    pub tcp_established: Option<u32>,
    /// UDP with traffic both ways more than once: 60 to 180, default 180.
    pub udp_stream: Option<u32>,
    /// UDP one way or a single exchange: 30 to 60, default 30.
    pub udp_timeout: Option<u32>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInterface {
    /// Its id.
    pub id: EniId,
    /// Who owns it.
    pub owner: AccountId,
    /// Its VPC.
    pub vpc: VpcId,
    /// Its subnet, for life (semantics 64).
    pub subnet: SubnetId,
    /// Its subnet's zone.
    pub zone: ZoneName,
    /// Its MAC, for life. Octets `02` and then an even one (see [`crate::Subnet::router_mac`]).
    pub mac: Mac,
    /// What it serves.
    pub interface_type: InterfaceType,
    /// What it is for.
    pub description: String,
    /// Private IPv4 addresses, the primary one first; empty in an IPv6-only subnet.
    pub private_addresses: Vec<PrivateAddress>,
    /// IPv6 addresses, the primary one first.
    pub ipv6_addresses: Vec<Ipv6Addr>,
    /// Security groups; none for a NAT gateway's (semantics 83).
    pub groups: Vec<SecurityGroupId>,
    /// Whether foreign sources and destinations are dropped (semantics 65).
    pub source_dest_check: bool,
    /// The instance it is attached to.
    pub attachment: Option<Attachment>,
    /// Whether a service made it, so that a person may not delete it.
    pub requester_managed: bool,
    /// Idle timeouts.
    pub connection_tracking: ConnectionTracking,
    /// The caller's idempotency token.
    pub client_token: Option<ClientToken>,
    /// Tags.
    pub tags: Tags,
}

impl NetworkInterface {
    /// The primary private IPv4 address.
    pub fn primary_ip(&self) -> Option<Ipv4Addr> {
        self.private_addresses.first().map(|a| a.ip)
    }

    /// Every private address, both families.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.private_addresses
            .iter()
            .map(|a| IpAddr::V4(a.ip))
            .chain(self.ipv6_addresses.iter().map(|a| IpAddr::V6(*a)))
    }

    /// Whether an address is one of its own.
    pub fn has_address(&self, addr: IpAddr) -> bool {
        self.addresses().any(|a| a == addr)
    }
}
