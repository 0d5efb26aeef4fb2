//! IP prefixes, both families in one ordered type.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(addr: IpAddr) -> Family {
        if addr.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// Bits of an address: 32 or 128.
    pub fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

/// The bits of an address, left-aligned in 128: IPv4 in the upper 32.
fn aligned(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(a) => u128::from(u32::from(a)) << 96,
        IpAddr::V6(a) => u128::from(a),
    }
}

fn unaligned(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from((bits >> 96) as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(bits)),
    }
}

fn mask(len: u8) -> u128 {
    if len == 0 {
        0
    } else {
        u128::MAX << (128 - u32::from(len))
    }
}

/// A network: an address and a length, whose host bits are always zero.
///
/// Ordered by family, then address, then length (a covering prefix comes before what it covers).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    family: Family,
    bits: u128,
    len: u8,
}

/// Why a text is not a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Not `ADDRESS/LENGTH`.
    #[error("{0:?} is not a CIDR block such as 10.0.0.0/16")]
    Syntax(String),
    /// The address has bits beyond the length; the field is the canonical block.
    #[error("{text:?} has host bits set; the block is {canonical}")]
    HostBits {
        /// What was given.
        text: String,
        /// The block that contains it.
        canonical: Prefix,
    },
}

impl Prefix {
    /// 0.0.0.0/0.
    pub const ALL_V4: Prefix = Prefix {
        family: Family::V4,
        bits: 0,
        len: 0,
    };
    /// ::/0.
    pub const ALL_V6: Prefix = Prefix {
        family: Family::V6,
        bits: 0,
        len: 0,
    };

    /// The prefix of that length which contains `addr`; a length above the family's is cut to it.
    pub fn containing(addr: IpAddr, len: u8) -> Prefix {
        let family = Family::of(addr);
        let len = len.min(family.bits());
        Prefix {
            family,
            bits: aligned(addr) & mask(len),
            len,
        }
    }

    /// The prefix that holds `addr` alone: /32 or /128.
    pub fn host(addr: IpAddr) -> Prefix {
        Prefix::containing(addr, 128)
    }

    /// Parses `ADDRESS/LENGTH`, dropping host bits silently (as network ACLs do: semantics 32).
    pub fn parse_canonical(text: &str) -> Result<Prefix, PrefixError> {
        let wrong = || PrefixError::Syntax(text.chars().take(64).collect());
        let (addr, len) = text.split_once('/').ok_or_else(wrong)?;
        let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
        if len.is_empty()
            || len.len() > 3
            || !len.bytes().all(|b| b.is_ascii_digit())
            || (len.len() > 1 && len.starts_with('0'))
        {
            return Err(wrong());
        }
        let len: u8 = len.parse().map_err(|_| wrong())?;
        if len > Family::of(addr).bits() {
            return Err(wrong());
        }
        Ok(Prefix::containing(addr, len))
    }

    /// The first address.
    pub fn network(self) -> IpAddr {
        unaligned(self.family, self.bits)
    }

    /// The last address.
    pub fn last(self) -> IpAddr {
        unaligned(
            self.family,
            self.bits | (!mask(self.len) & mask(self.family.bits())),
        )
    }

    /// Length in bits.
    pub fn length(self) -> u8 {
        self.len
    }

    /// IP version.
    pub fn family(self) -> Family {
        self.family
    }

    /// Whether the prefix is 0.0.0.0/0 or ::/0.
    pub fn is_all(self) -> bool {
        self.len == 0
    }

    /// Whether `addr` lies inside; never across families.
    pub fn contains(self, addr: IpAddr) -> bool {
        Family::of(addr) == self.family && aligned(addr) & mask(self.len) == self.bits
    }

    /// Whether all of `other` lies inside (a prefix covers itself).
    pub fn covers(self, other: Prefix) -> bool {
        self.family == other.family && self.len <= other.len && other.bits & mask(self.len) == self.bits
    }

    /// Whether the two share an address.
    pub fn overlaps(self, other: Prefix) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The `index`-th address counted from the network address, or `None` past the end.
    pub fn nth(self, index: u128) -> Option<IpAddr> {
        let host_bits = u32::from(self.family.bits() - self.len);
        if host_bits < 128 && index >> host_bits != 0 {
            return None;
        }
        let shift = 128 - u32::from(self.family.bits());
        Some(unaligned(self.family, self.bits | (index << shift)))
    }

    /// How far `addr` is from the network address, when it lies inside.
    pub fn index_of(self, addr: IpAddr) -> Option<u128> {
        let shift = 128 - u32::from(self.family.bits());
        self.contains(addr).then(|| (aligned(addr) ^ self.bits) >> shift)
    }

    /// Number of addresses, saturating at `u128::MAX` for ::/0.
    pub fn size(self) -> u128 {
        1u128
            .checked_shl(u32::from(self.family.bits() - self.len))
            .unwrap_or(u128::MAX)
    }

    /// The `index`-th sub-prefix of length `len`; `None` when there is none.
    pub fn subnet(self, len: u8, index: u128) -> Option<Prefix> {
        if len < self.len || len > self.family.bits() {
            return None;
        }
        let extra = u32::from(len - self.len);
        if extra < 128 && index >> extra != 0 {
            return None;
        }
        let shift = 128 - u32::from(len);
        let bits = if shift >= 128 { 0 } else { index << shift };
        Some(Prefix {
            family: self.family,
            bits: self.bits | bits,
            len,
        })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        let canonical = Prefix::parse_canonical(text)?;
        let given = text
            .split_once('/')
            .and_then(|(addr, _)| addr.parse::<IpAddr>().ok());
        if given == Some(canonical.network()) {
            Ok(canonical)
        } else {
            Err(PrefixError::HostBits {
                text: text.to_owned(),
                canonical,
            })
        }
    }
}

impl serde::Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Prefix, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_prefix() -> impl Strategy<Value = Prefix> {
        prop_oneof![
            (any::<u32>(), 0u8..=32).prop_map(|(a, l)| Prefix::containing(IpAddr::V4(a.into()), l)),
            (any::<u128>(), 0u8..=128).prop_map(|(a, l)| Prefix::containing(IpAddr::V6(a.into()), l)),
        ]
    }

    #[test]
    fn host_bits_are_refused_and_canonicalised() {
        // semantics 32: 100.68.0.18/18 becomes 100.68.0.0/18
        assert_eq!(
            Prefix::parse_canonical("100.68.0.18/18").unwrap().to_string(),
            "100.68.0.0/18"
        );
        assert!(matches!(
            "100.68.0.18/18".parse::<Prefix>(),
            Err(PrefixError::HostBits { .. })
        ));
        for wrong in [
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/016",
            "10.0.0.0/+8",
            "::/129",
            "/8",
            "10.0.0.0/",
        ] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn all_v4_never_covers_v6() {
        // semantics 1
        assert!(!Prefix::ALL_V4.contains("2001:db8::1".parse().unwrap()));
        assert!(!Prefix::ALL_V4.covers(Prefix::ALL_V6));
    }

    proptest! {
        #[test]
        fn text_round_trips(p in any_prefix()) {
            prop_assert_eq!(p.to_string().parse::<Prefix>().unwrap(), p);
        }

        #[test]
        fn first_and_last_lie_inside_and_neighbours_do_not(p in any_prefix(), i in any::<u128>()) {
            prop_assert!(p.contains(p.network()) && p.contains(p.last()));
            if let Some(addr) = p.nth(i) {
                prop_assert!(p.contains(addr));
                prop_assert_eq!(p.index_of(addr), Some(i));
            } else {
                prop_assert!(i >= p.size());
            }
        }

        #[test]
        fn covering_agrees_with_addresses(p in any_prefix(), q in any_prefix()) {
            let by_ends = p.contains(q.network()) && p.contains(q.last());
            prop_assert_eq!(p.covers(q), by_ends);
            prop_assert_eq!(p.overlaps(q), q.overlaps(p));
        }

        #[test]
        fn parser_never_panics(text in ".{0,48}") {
            let _ = text.parse::<Prefix>();
        }
    }
}
