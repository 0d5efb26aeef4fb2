//! `Fn::Cidr`: consecutive blocks from the start of a block.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::error::TemplateError;

/// The first `count` blocks of 2^`bits` addresses in `block`, as text.
///
/// `count` is 1–256. `bits` counts host bits: 8 makes /24 of IPv4, 64 makes /64 of IPv6.
///
/// # Errors
/// If the block is malformed, an argument out of range, or the blocks do not fit.
pub fn blocks(block: &str, count: &str, bits: &str) -> Result<Vec<String>, TemplateError> {
    let wrong = |what: String| TemplateError::function(format!("Fn::Cidr {what}"));
    let count: u32 = count
        .parse()
        .ok()
        .filter(|count| (1..=256).contains(count))
        .ok_or_else(|| wrong(format!("requires a count between 1 and 256, not {count:?}")))?;
    let malformed = || wrong(format!("requires a valid CIDR block, not {block:?}"));
    let (address, length) = block.split_once('/').ok_or_else(malformed)?;
    let length: u32 = length.parse().map_err(|_| malformed())?;
    let (base, width) = if let Ok(v4) = address.parse::<Ipv4Addr>() {
        (u128::from(u32::from(v4)), 32)
    } else {
        (
            u128::from(address.parse::<Ipv6Addr>().map_err(|_| malformed())?),
            128,
        )
    };
    if length > width {
        return Err(malformed());
    }
    let bits: u32 = bits
        .parse()
        .ok()
        .filter(|bits| (1..=width).contains(bits))
        .ok_or_else(|| {
            wrong(format!(
                "requires subnet bits between 1 and {width}, not {bits:?}"
            ))
        })?;
    let room = width - length;
    if bits > room || u128::from(count) > 1_u128.checked_shl(room - bits).unwrap_or(u128::MAX) {
        return Err(wrong(format!(
            "cannot make {count} blocks of /{} in {block}",
            width - bits
        )));
    }
    let host = if room == 128 {
        u128::MAX
    } else {
        (1_u128 << room) - 1
    };
    let start = base & !host;
    let blocks = (0..u128::from(count)).map(|index| {
        let address = start | index.checked_shl(bits).unwrap_or(0);
        let prefix = width - bits;
        if width == 32 {
            format!(
                "{}/{prefix}",
                Ipv4Addr::from(u32::try_from(address).unwrap_or(u32::MAX))
            )
        } else {
            format!("{}/{prefix}", Ipv6Addr::from(address))
        }
    });
    Ok(blocks.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_documented_example() {
        let six = blocks("192.168.0.0/24", "6", "5").unwrap();
        assert_eq!(
            six,
            [
                "192.168.0.0/27",
                "192.168.0.32/27",
                "192.168.0.64/27",
                "192.168.0.96/27",
                "192.168.0.128/27",
                "192.168.0.160/27"
            ]
        );
        assert_eq!(
            blocks("2001:db8:1:ff00::/56", "2", "64").unwrap(),
            ["2001:db8:1:ff00::/64", "2001:db8:1:ff01::/64"]
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(
            blocks("10.0.0.0/24", "2", "8")
                .unwrap_err()
                .to_string()
                .contains("cannot make 2 blocks of /24 in 10.0.0.0/24")
        );
        for (block, count, bits) in [
            ("10.0.0.0/16", "0", "8"),
            ("10.0.0.0/16", "257", "8"),
            ("10.0.0.0/33", "1", "8"),
            ("10.0.0.0", "1", "8"),
            ("10.0.0.0/16", "1", "33"),
            ("x/1", "1", "1"),
        ] {
            assert!(blocks(block, count, bits).is_err(), "{block} {count} {bits}");
        }
        assert_eq!(blocks("::/0", "1", "128").unwrap(), ["::/0"]);
        assert_eq!(blocks("0.0.0.0/0", "1", "32").unwrap(), ["0.0.0.0/0"]);
    }

    proptest! {
        #[test]
        fn total(address: u32, length in 0_u32..40, count in 0_u32..300, bits in 0_u32..40) {
            let block = format!("{}/{length}", Ipv4Addr::from(address));
            if let Ok(made) = blocks(&block, &count.to_string(), &bits.to_string()) {
                prop_assert_eq!(made.len(), count as usize);
            }
        }
    }
}
