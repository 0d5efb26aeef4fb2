//! What an answer depends on, and what a delta changed.

use std::net::IpAddr;

use atoll_model::{
    EgressOnlyGatewayId, EniId, InternetGatewayId, NatGatewayId, NetworkAclId, ResourceId, RouteTableId,
    SubnetId, VpcId,
};
use atoll_net::Mac;

use crate::flows::Slot;

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
    let state = mix(
        mix(0x243f_6a88_85a3_08d3 ^ kind, words[0]),
        words[1].rotate_left(17),
    );
    Component(mix(state, more ^ 0x1319_8a2e_0370_7344))
}

fn of_id<I: ResourceId>(kind: u64, id: I) -> Component {
    fingerprint(kind, [id.digits().bits(), 0], 0)
}

fn words(addr: IpAddr) -> [u64; 2] {
    match addr {
        IpAddr::V4(a) => [u64::from(u32::from(a)), 4],
        IpAddr::V6(a) => {
            let bits = u128::from(a);
            [(bits >> 64) as u64, bits as u64 ^ 6]
        }
    }
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
}

impl Default for Dependencies {
    fn default() -> Self {
        Dependencies {
            list: [Component(0); Dependencies::MOST],
            length: 0,
            everything: false,
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

    /// Adds all of another's.
    pub fn extend(&mut self, other: &Dependencies) {
        for component in other.components() {
            self.add(*component);
        }
        self.everything |= other.everything;
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
}

impl Changed {
    pub(crate) fn add(&mut self, component: Component) {
        self.components.push(component);
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

    /// Whether nothing changed that a packet could notice.
    pub fn is_empty(&self) -> bool {
        self.components.is_empty()
    }

    /// Whether this component changed.
    pub fn contains(&self, component: Component) -> bool {
        self.components.binary_search(&component).is_ok()
    }
}
