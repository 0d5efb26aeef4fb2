//! Resource identifiers as callers write them.

use atoll_model::id::{self as ids_of, ResourceId};

use crate::error::ApiError;

/// An id with AWS's code for one that is malformed. The spelling follows no rule; it is that of
/// EC2's list of error codes.
pub trait WireId: ResourceId {
    /// The code.
    const MALFORMED: &'static str;
}

macro_rules! malformed {
    ($($id:ident: $code:literal;)+) => {
        $(impl WireId for ids_of::$id { const MALFORMED: &'static str = $code; })+
    };
}

malformed! {
    VpcId: "InvalidVpcID.Malformed";
    VpcCidrAssociationId: "InvalidVpcCidrBlockAssociationId.Malformed";
    SubnetId: "InvalidSubnetID.Malformed";
    SubnetCidrAssociationId: "InvalidSubnetCidrBlockAssociationId.Malformed";
    RouteTableId: "InvalidRouteTableId.Malformed";
    RouteTableAssociationId: "InvalidRouteTableAssociationId.Malformed";
    InternetGatewayId: "InvalidInternetGatewayId.Malformed";
    EgressOnlyGatewayId: "InvalidEgressOnlyInternetGatewayId.Malformed";
    NatGatewayId: "NatGatewayMalformed";
    AllocationId: "InvalidAllocationID.Malformed";
    AddressAssociationId: "InvalidAssociationID.Malformed";
    NetworkAclId: "InvalidNetworkAclId.Malformed";
    NetworkAclAssociationId: "InvalidNetworkAclAssociationId.Malformed";
    SecurityGroupId: "InvalidGroupId.Malformed";
    SecurityGroupRuleId: "InvalidSecurityGroupRuleId.Malformed";
    EniId: "InvalidNetworkInterfaceId.Malformed";
    AttachmentId: "InvalidNetworkInterfaceAttachmentId.Malformed";
    InstanceId: "InvalidInstanceID.Malformed";
    ReservationId: "InvalidReservationID.Malformed";
    ImageId: "InvalidAMIID.Malformed";
    DhcpOptionsId: "InvalidDhcpOptionsId.Malformed";
    PrefixListId: "InvalidPrefixListId.Malformed";
    PeeringId: "InvalidVpcPeeringConnectionId.Malformed";
}

/// The id in a parameter.
///
/// # Errors
/// `Invalid…ID.Malformed` with what was expected.
pub fn id<I: WireId>(text: &str) -> Result<I, ApiError> {
    text.parse()
        .map_err(|error: ids_of::IdError| ApiError::new(I::MALFORMED, error.to_string()))
}

/// The id in a parameter that may be absent.
///
/// # Errors
/// As for [`id`].
pub fn optional_id<I: WireId>(text: Option<&str>) -> Result<Option<I>, ApiError> {
    text.map(id).transpose()
}

/// The ids in a list.
///
/// # Errors
/// As for [`id`], for the first that is malformed.
pub fn ids<I: WireId>(texts: &[String]) -> Result<Vec<I>, ApiError> {
    texts.iter().map(|text| id(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_model::{SecurityGroupId, VpcId};

    #[test]
    fn malformed_ids_are_refused_with_their_nouns_code() {
        let error = id::<VpcId>("subnet-12345678").unwrap_err();
        assert_eq!(error.code, "InvalidVpcID.Malformed");
        assert_eq!(
            error.message,
            "Invalid id: \"subnet-12345678\" (expecting \"vpc-...\")"
        );
        assert_eq!(
            id::<SecurityGroupId>("sg-1").unwrap_err().code,
            "InvalidGroupId.Malformed"
        );
        assert_eq!(id::<VpcId>("vpc-12345678").unwrap().to_string(), "vpc-12345678");
    }
}
