//! Who has flows, by a name that outlives a [`crate::Fabric`].

use atoll_model::{EgressOnlyGatewayId, EniId, NatGatewayId, ResourceId};

/// An owner of flows. A [`super::Slot`] is its number within one fabric; ids are never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A network interface.
    Interface(EniId),
    /// A NAT gateway.
    NatGateway(NatGatewayId),
    /// An egress-only internet gateway.
    EgressOnlyGateway(EgressOnlyGatewayId),
}

impl Owner {
    /// As numbers: its kind, 1 to 3, and the bits of its id. `None` for an id that is not made of its bits alone,
    /// which none is that Atoll gave.
    pub fn to_bits(self) -> Option<(u8, u64)> {
        let bits = match self {
            Owner::Interface(id) => (1, id.digits().bits()),
            Owner::NatGateway(id) => (2, id.digits().bits()),
            Owner::EgressOnlyGateway(id) => (3, id.digits().bits()),
        };
        (Owner::from_bits(bits.0, bits.1) == Some(self)).then_some(bits)
    }

    /// What [`Owner::to_bits`] gave.
    pub fn from_bits(kind: u8, bits: u64) -> Option<Owner> {
        match kind {
            1 => Some(Owner::Interface(EniId::new(bits))),
            2 => Some(Owner::NatGateway(NatGatewayId::new(bits))),
            3 => Some(Owner::EgressOnlyGateway(EgressOnlyGatewayId::new(bits))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_its_numbers_and_no_other_ones() {
        for owner in [
            Owner::Interface(EniId::new(7)),
            Owner::NatGateway(NatGatewayId::new(7)),
            Owner::EgressOnlyGateway(EgressOnlyGatewayId::new(u64::MAX)),
        ] {
            let (kind, bits) = owner.to_bits().unwrap();
            assert_eq!(Owner::from_bits(kind, bits), Some(owner));
        }
        // AWS's own old ids have eight digits: another id with the same bits exists.
        assert_eq!(Owner::Interface("eni-00000007".parse().unwrap()).to_bits(), None);
        assert_eq!(Owner::from_bits(0, 7), None);
    }
}
