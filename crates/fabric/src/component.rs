//! What an answer depends on, and what a delta changed.

use std::net::IpAddr;

use atoll_model::{
    EgressOnlyGatewayId, EniId, InternetGatewayId, NatGatewayId, NetworkAclId, ResourceId, RouteTableId,
    SubnetId, VpcId,
};
use atoll_net::Mac;

use crate::flows::{FlowKey, Mapping, Owner, Slot};
use crate::wire::Site;

/// A component whose meaning may change, or whose absence was consulted: a 64-bit fingerprint of its kind and id.
///
/// Two components that share a fingerprint would only be invalidated together: that costs a walk, never a wrong
/// answer, and keeps the set that an answer depends on in a few cache lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Component(u64);

fn mix(state: u64, word: u64) -> u64 {
    let wide = u128::from(state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (wide as u64) ^ ((wide >> 64) as u64)
}

fn fingerprint(kind: u64, words: [u64; 2], more: u64) -> Component {
    // Each word is mixed before the next one comes: small kinds and small ids must not cancel out.
    let state = mix(mix(mix(0x243f_6a88_85a3_08d3, kind), words[0]), words[1]);
    Component(mix(state, more ^ 0x1319_8a2e_0370_7344))
}

fn of_id<I: ResourceId>(kind: u64, id: I) -> Component {
    Component(mix(mix(0x452_821e_638d_0137, kind), id.digits().bits()))
}

/// IPv4 in its mapped form, which no packet carries as IPv6.
fn words(addr: IpAddr) -> [u64; 2] {
    let bits = match addr {
        IpAddr::V4(a) => u128::from(a.to_ipv6_mapped()),
        IpAddr::V6(a) => u128::from(a),
    };
    [(bits >> 64) as u64, bits as u64]
}

impl Component {
    /// An interface: its addresses, groups, check, attachment and whether its instance runs.
    pub fn interface(id: EniId) -> Component {
        of_id(1, id)
    }

    /// A subnet: its blocks and which table and ACL it has.
    pub fn subnet(id: SubnetId) -> Component {
        of_id(2, id)
    }

    /// A network ACL's rules.
    pub fn network_acl(id: NetworkAclId) -> Component {
        of_id(3, id)
    }

    /// A route table's routes.
    pub fn route_table(id: RouteTableId) -> Component {
        of_id(4, id)
    }

    /// A VPC's blocks.
    pub fn vpc(id: VpcId) -> Component {
        of_id(5, id)
    }

    /// An internet gateway: its attachment and edge table.
    pub fn internet_gateway(id: InternetGatewayId) -> Component {
        of_id(6, id)
    }

    /// Which internet gateway a VPC has, if any.
    pub fn gateway_of(id: VpcId) -> Component {
        of_id(7, id)
    }

    /// An egress-only gateway.
    pub fn egress_only_gateway(id: EgressOnlyGatewayId) -> Component {
        of_id(8, id)
    }

    /// A NAT gateway: its state and addresses.
    pub fn nat_gateway(id: NatGatewayId) -> Component {
        of_id(9, id)
    }

    /// Who has a private address of a VPC, if anyone.
    pub fn address(vpc: VpcId, addr: IpAddr) -> Component {
        fingerprint(10, words(addr), vpc.digits().bits())
    }

    /// Who has a public address (IPv4 public or Elastic, IPv6 of any VPC), if anyone.
    pub fn public(addr: IpAddr) -> Component {
        fingerprint(11, words(addr), 0)
    }

    /// Who has a MAC on a subnet's link, if anyone.
    pub fn station(subnet: SubnetId, mac: Mac) -> Component {
        let [a, b, c, d, e, f] = mac.0;
        fingerprint(
            12,
            [u64::from_be_bytes([0, 0, a, b, c, d, e, f]), 0],
            subnet.digits().bits(),
        )
    }

    /// On which host something is.
    pub fn site(site: Site) -> Component {
        match site {
            Site::Interface(id) => of_id(16, id),
            Site::Gateways => fingerprint(17, [0, 0], 0),
        }
    }

    /// One of 16 shares of an owner's connections: an answer given because a connection was not known depends
    /// on its share, so that answers to a port scan make few cells and a new connection makes few answers stale.
    pub(crate) fn connection(owner: Slot, key: &FlowKey) -> Component {
        let ports =
            u64::from(key.local_port) << 24 | u64::from(key.remote_port) << 8 | u64::from(key.protocol);
        let ([l0, l1], [r0, r1]) = (words(key.local), words(key.remote));
        let share = mix(mix(mix(mix(ports, l0), l1), r0), r1) & 15;
        fingerprint(14, [u64::from(owner.0), share], 0)
    }

    /// The same of a NAT gateway's mappings, as they are found from outside.
    pub(crate) fn mapping(gateway: Slot, mapping: &Mapping) -> Component {
        let ports = u64::from(mapping.outside_port) << 24
            | u64::from(mapping.remote_port) << 8
            | u64::from(mapping.protocol);
        let addresses = u64::from(u32::from(mapping.outside)) << 32 | u64::from(u32::from(mapping.remote));
        fingerprint(15, [u64::from(gateway.0), mix(ports, addresses) & 15], 0)
    }

    /// The rules of a set of security groups.
    pub(crate) fn group_set(set: Slot) -> Component {
        fingerprint(13, [u64::from(set.0), 0], 0)
    }
}

/// The components that an answer depends on: at most [`Dependencies::MOST`]; a longer way depends on everything.
#[derive(Clone, Copy, Debug)]
pub struct Dependencies {
    list: [Component; Dependencies::MOST],
    length: u8,
    everything: bool,
    wants_connection: bool,
}

impl Default for Dependencies {
    fn default() -> Self {
        Dependencies {
            list: [Component(0); Dependencies::MOST],
            length: 0,
            everything: false,
            wants_connection: false,
        }
    }
}

impl Dependencies {
    /// Most components kept.
    pub const MOST: usize = 48;

    /// Adds one; twice does no harm.
    #[inline]
    pub fn add(&mut self, component: Component) {
        match self.list.get_mut(usize::from(self.length)) {
            Some(slot) => {
                *slot = component;
                self.length += 1;
            }
            None => self.everything = true,
        }
    }

    /// Adds a connection for want of which the answer is given.
    pub(crate) fn add_want(&mut self, connection: Component) {
        self.wants_connection = true;
        self.add(connection);
    }

    /// Whether the answer is given for want of a connection.
    pub(crate) fn wants_connection(&self) -> bool {
        self.wants_connection
    }

    /// Adds all of another's.
    pub fn extend(&mut self, other: &Dependencies) {
        for component in other.components() {
            self.add(*component);
        }
        self.everything |= other.everything;
        self.wants_connection |= other.wants_connection;
    }

    /// What was consulted, in order, with repetitions.
    pub fn components(&self) -> &[Component] {
        self.list.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Whether the way was too long to list, so that any change touches the answer.
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// Whether a change touches the answer.
    pub fn meets(&self, changed: &Changed) -> bool {
        (self.everything && !changed.components.is_empty())
            || self
                .components()
                .iter()
                .any(|c| changed.components.binary_search(c).is_ok())
    }
}

impl PartialEq for Dependencies {
    fn eq(&self, other: &Self) -> bool {
        self.everything == other.everything && self.components() == other.components()
    }
}

/// The components whose meaning a delta changed; a row rewritten to the same meaning (a tag) changes nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changed {
    /// Sorted, each once.
    components: Vec<Component>,
    /// Owners of flows that are gone for good.
    pub(crate) gone: Vec<Slot>,
    /// Owners of flows that have come, with their slots.
    pub(crate) came: Vec<(Owner, Slot)>,
    /// The VPCs of those that track connections.
    pub(crate) homes: Vec<(Slot, VpcId)>,
    /// NAT gateways that translate to other addresses than before.
    pub(crate) readdressed: Vec<Slot>,
}

impl Changed {
    pub(crate) fn add(&mut self, component: Component) {
        self.components.push(component);
    }

    /// Things that are on another host than before.
    pub fn of_sites(sites: impl IntoIterator<Item = Site>) -> Changed {
        let mut changed = Changed::default();
        sites
            .into_iter()
            .for_each(|site| changed.add(Component::site(site)));
        changed.seal()
    }

    pub(crate) fn seal(mut self) -> Changed {
        self.components.sort_unstable();
        self.components.dedup();
        self
    }

    /// The components, sorted, each once.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// Owners of flows that have come, with the slots that they have as long as they are there.
    pub fn came(&self) -> &[(Owner, Slot)] {
        &self.came
    }

    /// Slots of owners that are gone for good.
    pub fn gone(&self) -> &[Slot] {
        &self.gone
    }

    /// Whether nothing changed that a packet could notice.
    pub fn is_empty(&self) -> bool {
        self.components.is_empty()
    }

    /// Whether this component changed.
    pub fn contains(&self, component: Component) -> bool {
        self.components.binary_search(&component).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn neighbouring_ids_of_all_kinds_are_different_components() {
        let mut seen = HashSet::new();
        for bits in 0..2000u64 {
            let all = [
                Component::interface(EniId::new(bits)),
                Component::subnet(SubnetId::new(bits)),
                Component::network_acl(NetworkAclId::new(bits)),
                Component::route_table(RouteTableId::new(bits)),
                Component::vpc(VpcId::new(bits)),
                Component::internet_gateway(InternetGatewayId::new(bits)),
                Component::gateway_of(VpcId::new(bits)),
                Component::egress_only_gateway(EgressOnlyGatewayId::new(bits)),
                Component::nat_gateway(NatGatewayId::new(bits)),
                Component::address(VpcId::new(bits), IpAddr::V4(1.into())),
                Component::address(VpcId::new(1), IpAddr::V4((bits as u32 + 2).into())),
                Component::public(IpAddr::V4((bits as u32).into())),
                Component::public(IpAddr::V6(u128::from(bits).into())),
                Component::group_set(Slot(bits as u32)),
                Component::site(Site::Interface(EniId::new(bits))),
            ];
            for component in all {
                assert!(seen.insert(component), "{bits}");
            }
        }
    }
}
