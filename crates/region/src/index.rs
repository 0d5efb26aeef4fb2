//! The index: for each row, the entries under which it is found. Derived by one function, so that a checker can
//! derive it again.

use std::net::{IpAddr, Ipv4Addr};

use atoll_model::client_token::{ClientToken, fingerprint};
use atoll_model::route_table::{AssociationTarget, RouteTarget};
use atoll_model::{
    AccountId, AddressAssociationId, AttachmentId, Key, Peer, Row, SecurityGroupRuleId, SubnetId,
};
use atoll_net::Mac;

/// An entry of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Index {
    /// The row needs the one with this key.
    Dependant(Key),
    /// An interface holds this address of a subnet.
    Address(SubnetId, IpAddr),
    /// A public address is taken, by an Elastic IP or an interface's auto-assigned one.
    Public(Ipv4Addr),
    /// An interface has this MAC.
    Mac(Mac),
    /// An interface's attachment.
    Attachment(AttachmentId),
    /// A rule of a security group.
    Rule(SecurityGroupRuleId),
    /// An Elastic IP's association.
    Association(AddressAssociationId),
    /// An account's idempotency token, by [`fingerprint`]; what is found must still be compared.
    Token(AccountId, u64),
}

/// Every entry of a row.
pub fn index_of(row: &Row) -> Vec<Index> {
    let mut entries = Vec::new();
    let mut needs = |key: Key| entries.push(Index::Dependant(key));
    match row {
        Row::Vpc(_) => {}
        Row::Subnet(subnet) => needs(Key::Vpc(subnet.vpc)),
        Row::RouteTable(table) => {
            needs(Key::Vpc(table.vpc));
            for target in table.associations.values() {
                match target {
                    AssociationTarget::Main => {}
                    AssociationTarget::Subnet(id) => needs(Key::Subnet(*id)),
                    AssociationTarget::InternetGateway(id) => needs(Key::InternetGateway(*id)),
                }
            }
            for route in table.routes.values() {
                match route.target {
                    RouteTarget::Local => {}
                    RouteTarget::InternetGateway(id) => needs(Key::InternetGateway(id)),
                    RouteTarget::EgressOnlyGateway(id) => needs(Key::EgressOnlyGateway(id)),
                    RouteTarget::NatGateway(id) => needs(Key::NatGateway(id)),
                    RouteTarget::NetworkInterface(id) => needs(Key::NetworkInterface(id)),
                }
            }
            entries.extend(token(table.owner, table.client_token.as_ref()));
        }
        Row::InternetGateway(gateway) => {
            if let Some(vpc) = gateway.vpc {
                needs(Key::Vpc(vpc));
            }
        }
        Row::EgressOnlyGateway(gateway) => {
            needs(Key::Vpc(gateway.vpc));
            entries.extend(token(gateway.owner, gateway.client_token.as_ref()));
        }
        Row::NatGateway(gateway) => {
            // A deleted gateway is only a memory: it holds nothing.
            if let Some(eni) = gateway.eni {
                needs(Key::Vpc(gateway.vpc));
                needs(Key::Subnet(gateway.subnet));
                needs(Key::NetworkInterface(eni));
                for address in &gateway.addresses {
                    if let Some(allocation) = address.allocation {
                        needs(Key::ElasticIp(allocation));
                    }
                }
            }
            entries.extend(token(gateway.owner, gateway.client_token.as_ref()));
        }
        Row::ElasticIp(eip) => {
            if let Some(association) = eip.association {
                needs(Key::NetworkInterface(association.eni));
                entries.push(Index::Association(association.id));
            }
            entries.push(Index::Public(eip.public));
        }
        Row::NetworkAcl(acl) => {
            needs(Key::Vpc(acl.vpc));
            for subnet in acl.associations.values() {
                needs(Key::Subnet(*subnet));
            }
            entries.extend(token(acl.owner, acl.client_token.as_ref()));
        }
        Row::SecurityGroup(group) => {
            needs(Key::Vpc(group.vpc));
            for rule in group.rules.values() {
                if let Peer::Group { id, .. } = rule.peer
                    && id != group.id
                {
                    needs(Key::SecurityGroup(id));
                }
            }
            entries.extend(group.rules.keys().map(|id| Index::Rule(*id)));
        }
        Row::NetworkInterface(eni) => {
            needs(Key::Vpc(eni.vpc));
            needs(Key::Subnet(eni.subnet));
            for group in &eni.groups {
                needs(Key::SecurityGroup(*group));
            }
            if let Some(attachment) = &eni.attachment {
                needs(Key::Instance(attachment.instance));
                entries.push(Index::Attachment(attachment.id));
            }
            entries.push(Index::Mac(eni.mac));
            entries.extend(token(eni.owner, eni.client_token.as_ref()));
            for addr in eni.addresses() {
                entries.push(Index::Address(eni.subnet, addr));
            }
            for address in &eni.private_addresses {
                // An Elastic IP's own row holds its address already.
                if let Some(public) = address.public
                    && public.elastic.is_none()
                {
                    entries.push(Index::Public(public.ip));
                }
            }
        }
        Row::Instance(instance) => {
            if instance.state != atoll_model::InstanceState::Terminated {
                needs(Key::Vpc(instance.vpc));
                needs(Key::Subnet(instance.subnet));
                if let Some(host) = instance.host {
                    needs(Key::Host(host));
                }
            }
            entries.extend(token(instance.owner, instance.client_token.as_ref()));
        }
        Row::Host(_) => {}
        Row::Stack(stack) => entries.extend(token(stack.owner, stack.client_token.as_ref())),
        Row::StackTemplate(template) => needs(Key::Stack(template.id)),
        Row::StackEvent(event) => needs(Key::Stack(event.id.stack)),
    }
    entries
}

fn token(owner: AccountId, token: Option<&ClientToken>) -> Option<Index> {
    token.map(|t| Index::Token(owner, fingerprint(&t.token)))
}
