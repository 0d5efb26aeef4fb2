//! Which address blocks a VPC may have: sizes, ranges that do not mix, routes in the way, and the blocks that
//! are associated and disassociated after creation.

use std::net::{IpAddr, Ipv4Addr};

use atoll_model::route_table::RouteOrigin;
use atoll_model::{
    CidrAssociation, CidrState, Key, RouteTable, Subnet, Vpc, VpcCidrAssociationId, VpcId, quota,
};
use atoll_net::{Family, Prefix};

use crate::error::Error;
use crate::state::Region;
use crate::transaction::{Command, Transaction};
use crate::{route_table, vpc};

/// Length of every IPv6 block of a VPC (semantics 53).
pub const IPV6_VPC_LENGTH: u8 = 56;
/// IPv6 blocks a VPC.
pub const IPV6_CIDRS_PER_VPC: usize = 5;

const fn v4(a: u8, b: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, 0, 0))
}

/// Ranges from which no VPC takes addresses: this network, loopback, link-local (semantics 57), multicast and
/// what lies above it.
fn is_forbidden(block: Prefix) -> bool {
    [
        (v4(0, 0), 8),
        (v4(127, 0), 8),
        (v4(169, 254), 16),
        (v4(224, 0), 3),
    ]
    .iter()
    .any(|(addr, len)| Prefix::containing(*addr, *len).overlaps(block))
}

/// The kinds of ranges that semantics 56 tells apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Range {
    Ten,
    OneSevenTwo,
    OneNineTwo,
    /// 198.19.0.0/16.
    Benchmark,
    /// 100.64.0.0/10 and public space.
    Other,
}

impl Range {
    fn of(block: Prefix) -> Range {
        let within = |addr, len| Prefix::containing(addr, len).covers(block);
        if within(v4(10, 0), 8) {
            Range::Ten
        } else if within(v4(172, 16), 12) {
            Range::OneSevenTwo
        } else if within(v4(192, 168), 16) {
            Range::OneNineTwo
        } else if within(v4(198, 19), 16) {
            Range::Benchmark
        } else {
            Range::Other
        }
    }
}

/// Checks the size and place of a VPC's IPv4 block (semantics 53, 57).
pub fn check_block(block: Prefix) -> Result<(), Error> {
    let sized = block.family() == Family::V4 && (16..=28).contains(&block.length());
    if !sized || is_forbidden(block) {
        return Err(Error::new(
            "InvalidVpc.Range",
            format!("The CIDR '{block}' is invalid."),
        ));
    }
    Ok(())
}

/// Whether a block may be added to a VPC with those blocks, the primary one first (semantics 56).
fn is_restricted(held: &[Prefix], block: Prefix) -> bool {
    let Some(primary) = held.first() else { return false };
    let range = Range::of(block);
    if range != Range::Other && range != Range::of(*primary) {
        return true;
    }
    let within = |addr, len| Prefix::containing(addr, len).covers(block);
    let low = Prefix::containing(v4(10, 0), 15);
    (range == Range::OneSevenTwo && within(v4(172, 31), 16))
        || (within(v4(10, 0), 16) && held.iter().any(|h| low.covers(*h)))
}

/// Checks a secondary block against the VPC's blocks and routes (semantics 53, 56-58).
fn check_secondary(region: &Region, vpc: &Vpc, block: Prefix) -> Result<(), Error> {
    check_block(block)?;
    let held: Vec<Prefix> = vpc.cidrs.iter().map(|c| c.block).collect();
    if held.len() >= quota::CIDRS_PER_VPC {
        return Err(limit_exceeded(vpc.id, quota::CIDRS_PER_VPC));
    }
    if let Some(other) = held.iter().find(|h| h.overlaps(block)) {
        return Err(Error::new(
            "InvalidVpc.Range",
            format!(
                "The CIDR '{block}' conflicts with the CIDR '{other}' of the VPC '{}'.",
                vpc.id
            ),
        ));
    }
    if is_restricted(&held, block) {
        return Err(Error::new(
            "InvalidVpc.Range",
            format!(
                "The CIDR '{block}' is restricted. Use a CIDR from the same private address range as the current VPC \
                 CIDR, or use a publicly-routable CIDR."
            ),
        ));
    }
    for table in route_table::of_vpc(region, vpc.id) {
        // semantics 58: neither equal to nor larger than a route's destination; smaller is fine.
        let in_the_way = table.routes.iter().find(|(destination, route)| {
            route.origin != RouteOrigin::CreateRouteTable && block.covers(**destination)
        });
        if let Some((destination, _)) = in_the_way {
            return Err(Error::new(
                "InvalidVpc.Range",
                format!(
                    "The CIDR '{block}' is the same as or larger than the destination '{destination}' of a route in \
                     the route table '{}'.",
                    table.id
                ),
            ));
        }
    }
    Ok(())
}

fn limit_exceeded(vpc: VpcId, limit: usize) -> Error {
    Error::new(
        "CidrLimitExceeded",
        format!("This network '{vpc}' has met its maximum number of allowed CIDRs: {limit}"),
    )
}

/// The lowest /56 of the region's pool that no VPC holds.
pub(crate) fn free_ipv6_block(region: &Region) -> Result<Prefix, Error> {
    let used: std::collections::BTreeSet<Prefix> = region
        .all::<Vpc>()
        .flat_map(|vpc| vpc.ipv6_cidrs.iter().map(|c| c.block))
        .collect();
    let pool = region.config().ipv6_pool;
    (0u128..)
        .map_while(|index| pool.subnet(IPV6_VPC_LENGTH, index))
        .find(|block| !used.contains(block))
        .ok_or_else(|| {
            Error::new(
                "InsufficientCidrBlocks",
                format!("No IPv6 CIDR block is left in the pool {pool} of the Region."),
            )
        })
}

/// An association of a block, in effect at once.
pub(crate) fn association(tx: &mut Transaction, block: Prefix) -> CidrAssociation {
    CidrAssociation {
        id: tx.fresh(),
        block,
        state: CidrState::Associated,
    }
}

/// What is to be associated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewBlock {
    /// A secondary IPv4 block.
    Ipv4(Prefix),
    /// A /56 from the region's pool.
    AmazonProvidedIpv6,
}

/// AssociateVpcCidrBlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociateVpcCidrBlock {
    /// The VPC.
    pub vpc: VpcId,
    /// The block.
    pub block: NewBlock,
}

impl Command for AssociateVpcCidrBlock {
    type Reply = CidrAssociation;

    fn apply(self, tx: &mut Transaction) -> Result<CidrAssociation, Error> {
        let mut vpc = (*tx.find::<Vpc>(self.vpc)?).clone();
        let added = match self.block {
            NewBlock::Ipv4(block) => {
                check_secondary(tx.region(), &vpc, block)?;
                let added = association(tx, block);
                vpc.cidrs.push(added.clone());
                added
            }
            NewBlock::AmazonProvidedIpv6 => {
                if vpc.ipv6_cidrs.len() >= IPV6_CIDRS_PER_VPC {
                    return Err(limit_exceeded(vpc.id, IPV6_CIDRS_PER_VPC));
                }
                let block = free_ipv6_block(tx.region())?;
                let added = association(tx, block);
                vpc.ipv6_cidrs.push(added.clone());
                added
            }
        };
        tx.put(vpc.clone());
        if added.block.family() == Family::V6 {
            vpc::open_defaults_to_ipv6(tx, &vpc)?;
        }
        // semantics 6: one local route a block in every table.
        for table in tables(tx, self.vpc) {
            let mut table = (*table).clone();
            table.routes.insert(added.block, route_table::LOCAL_ROUTE);
            tx.put(table);
        }
        Ok(added)
    }
}

fn tables(tx: &Transaction, vpc: VpcId) -> Vec<std::sync::Arc<RouteTable>> {
    route_table::of_vpc(tx.region(), vpc).collect()
}

/// DisassociateVpcCidrBlock. The reply is the VPC and the association as it was, now disassociated; the VPC no
/// longer lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisassociateVpcCidrBlock {
    /// The association.
    pub association: VpcCidrAssociationId,
}

impl Command for DisassociateVpcCidrBlock {
    type Reply = (VpcId, CidrAssociation);

    fn apply(self, tx: &mut Transaction) -> Result<(VpcId, CidrAssociation), Error> {
        let id = self.association;
        let holds = |vpc: &Vpc| vpc.cidrs.iter().chain(&vpc.ipv6_cidrs).any(|c| c.id == id);
        let vpc = tx
            .region()
            .list::<Vpc>(tx.account())
            .find(|vpc| holds(vpc))
            .cloned();
        let Some(vpc) = vpc else {
            return Err(Error::new(
                "InvalidVpcCidrBlockAssociationID.NotFound",
                format!("The vpc CIDR block association ID '{id}' does not exist"),
            ));
        };
        if vpc.cidrs.first().is_some_and(|c| c.id == id) {
            return Err(Error::new(
                "OperationNotPermitted",
                format!(
                    "The vpc CIDR block with association ID {id} may not be disassociated. It is the primary IPv4 CIDR \
                     block of the VPC"
                ),
            ));
        }
        let mut vpc = (*vpc).clone();
        let found = vpc
            .cidrs
            .iter()
            .chain(&vpc.ipv6_cidrs)
            .find(|c| c.id == id)
            .cloned();
        let Some(mut gone) = found else {
            return Err(Error::internal("an association was lost while it was read"));
        };
        let used = tx
            .region()
            .dependants_of::<Subnet>(Key::Vpc(vpc.id))
            .any(|subnet| subnet.blocks().any(|b| gone.block.covers(b)));
        if used {
            return Err(Error::new(
                "InvalidCidrBlock.InUse",
                format!(
                    "The vpc {} currently has a subnet within CIDR block {}",
                    vpc.id, gone.block
                ),
            ));
        }
        vpc.cidrs.retain(|c| c.id != id);
        vpc.ipv6_cidrs.retain(|c| c.id != id);
        let vpc_id = vpc.id;
        tx.put(vpc);
        for table in tables(tx, vpc_id) {
            let mut table = (*table).clone();
            // Also where the local route was led elsewhere: it is the block's own.
            table.routes.remove(&gone.block);
            tx.put(table);
        }
        gone.state = CidrState::Disassociated;
        Ok((vpc_id, gone))
    }
}
