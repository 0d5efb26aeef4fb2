//! Typed resource ids.
//!
//! AWS shows 8 hexadecimal digits (resources before 2018) or 17 behind a prefix such as `vpc-`. A [`VpcId`] is not
//! a `SubnetId` and neither is a `String`; parsing happens once, at the door.

use std::fmt;
use std::str::FromStr;

/// The digits of an id: 8 or 17 hexadecimal ones.
///
/// Ordered by value, so that listings by key are stable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digits {
    high: u8,
    low: u64,
    short: bool,
}

impl Digits {
    /// A 17-digit id from 64 caller-given bits; AWS's own begin with a zero too.
    pub fn long(bits: u64) -> Digits {
        Digits {
            high: 0,
            low: bits,
            short: false,
        }
    }

    /// The 64 low bits.
    pub fn bits(self) -> u64 {
        self.low
    }

    fn parse(text: &str) -> Option<Digits> {
        if !text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return None;
        }
        match text.len() {
            8 => Some(Digits {
                high: 0,
                low: u64::from_str_radix(text, 16).ok()?,
                short: true,
            }),
            17 => {
                let (high, low) = text.split_at(1);
                Some(Digits {
                    high: u8::from_str_radix(high, 16).ok()?,
                    low: u64::from_str_radix(low, 16).ok()?,
                    short: false,
                })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.short {
            write!(f, "{:08x}", self.low)
        } else {
            write!(f, "{:x}{:016x}", self.high, self.low)
        }
    }
}

/// A text that is not an id of the wanted kind. AWS answers `Invalid…ID.Malformed` to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid id: \"{text}\" (expecting \"{prefix}-...\")")]
pub struct IdError {
    /// What was given, cut to 64 characters.
    pub text: String,
    /// The prefix that was expected, without its dash.
    pub prefix: &'static str,
}

/// What all typed ids have in common.
pub trait ResourceId: Copy + Ord + fmt::Display + FromStr<Err = IdError> {
    /// The prefix without its dash: `vpc`.
    const PREFIX: &'static str;
    /// From the digits.
    fn from_digits(digits: Digits) -> Self;
    /// The digits.
    fn digits(self) -> Digits;
}

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Digits);

        impl ResourceId for $name {
            const PREFIX: &'static str = $prefix;
            fn from_digits(digits: Digits) -> Self { $name(digits) }
            fn digits(self) -> Digits { self.0 }
        }

        impl $name {
            /// Before every id of its kind.
            pub const MIN: $name = $name(Digits { high: 0, low: 0, short: false });

            /// A 17-digit id from 64 caller-given bits.
            pub fn new(bits: u64) -> Self { $name(Digits::long(bits)) }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, concat!($prefix, "-{}"), self.0) }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(self, f) }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "-"))
                    .and_then(Digits::parse)
                    .map($name)
                    .ok_or_else(|| IdError { text: text.chars().take(64).collect(), prefix: $prefix })
            }
        }

        serde_by_text!($name);
    )+};
}

ids! {
    /// A VPC.
    VpcId = "vpc";
    /// Association of a CIDR block with a VPC.
    VpcCidrAssociationId = "vpc-cidr-assoc";
    /// A subnet.
    SubnetId = "subnet";
    /// Association of an IPv6 block with a subnet.
    SubnetCidrAssociationId = "subnet-cidr-assoc";
    /// A route table.
    RouteTableId = "rtb";
    /// Association of a route table with a subnet or gateway.
    RouteTableAssociationId = "rtbassoc";
    /// An internet gateway.
    InternetGatewayId = "igw";
    /// An egress-only internet gateway.
    EgressOnlyGatewayId = "eigw";
    /// A NAT gateway.
    NatGatewayId = "nat";
    /// An Elastic IP allocation.
    AllocationId = "eipalloc";
    /// Association of an Elastic IP with a private address.
    AddressAssociationId = "eipassoc";
    /// A network ACL.
    NetworkAclId = "acl";
    /// Association of a network ACL with a subnet.
    NetworkAclAssociationId = "aclassoc";
    /// A security group.
    SecurityGroupId = "sg";
    /// One rule of a security group.
    SecurityGroupRuleId = "sgr";
    /// A network interface.
    EniId = "eni";
    /// Attachment of a network interface to an instance.
    AttachmentId = "eni-attach";
    /// An instance.
    InstanceId = "i";
    /// The launch that an instance came from.
    ReservationId = "r";
    /// A machine image.
    ImageId = "ami";
    /// A machine that instances run on.
    HostId = "h";
    /// A DHCP option set.
    DhcpOptionsId = "dopt";
    /// A managed prefix list.
    PrefixListId = "pl";
    /// A VPC peering connection.
    PeeringId = "pcx";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_and_seventeen_digits_round_trip() {
        for text in ["vpc-1a2b3c4d", "vpc-0123456789abcdef0", "vpc-f123456789abcdef0"] {
            assert_eq!(text.parse::<VpcId>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn another_kind_length_or_case_is_refused() {
        for text in [
            "subnet-1a2b3c4d",
            "vpc-",
            "vpc-123",
            "vpc-1A2B3C4D",
            "vpc-0123456789abcdef01",
            "vpc-é234567",
            "vpc",
        ] {
            let error = text.parse::<VpcId>().unwrap_err();
            assert_eq!(error.prefix, "vpc");
        }
        // An attachment is not an interface though its prefix begins with one.
        assert!("eni-attach-1a2b3c4d".parse::<EniId>().is_err());
    }
}
