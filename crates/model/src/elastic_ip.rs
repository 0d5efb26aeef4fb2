//! Elastic IPs: public addresses that an account holds.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::id::{AddressAssociationId, AllocationId, EniId};
use crate::{AccountId, Tags};

/// What an Elastic IP is associated with.
///
/// The interface's own [`crate::network_interface::PublicAddress`] says the same from the other side; `region`
/// changes both in one delta and its checker holds them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressAssociation {
    /// The association.
    pub id: AddressAssociationId,
    /// The interface.
    pub eni: EniId,
    /// The private address of that interface.
    pub private: Ipv4Addr,
}

/// An Elastic IP address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElasticIp {
    /// The allocation.
    pub id: AllocationId,
    /// Who holds it.
    pub owner: AccountId,
    /// The public address, from the region's pool.
    pub public: Ipv4Addr,
    /// What it stands for now.
    pub association: Option<AddressAssociation>,
    /// Tags.
    pub tags: Tags,
}
