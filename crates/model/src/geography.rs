//! Regions and Availability Zones, by AWS's names.

use std::fmt;
use std::str::FromStr;

/// `(name, zone-id stem, zone letters)` of the regions that can be served.
const REGIONS: &[(&str, &str, &str)] = &[
    ("us-east-1", "use1", "abcdef"),
    ("us-east-2", "use2", "abc"),
    ("us-west-1", "usw1", "ab"),
    ("us-west-2", "usw2", "abcd"),
    ("ca-central-1", "cac1", "abd"),
    ("sa-east-1", "sae1", "abc"),
    ("eu-west-1", "euw1", "abc"),
    ("eu-west-2", "euw2", "abc"),
    ("eu-west-3", "euw3", "abc"),
    ("eu-central-1", "euc1", "abc"),
    ("eu-central-2", "euc2", "abc"),
    ("eu-north-1", "eun1", "abc"),
    ("eu-south-1", "eus1", "abc"),
    ("ap-northeast-1", "apne1", "acd"),
    ("ap-northeast-2", "apne2", "abcd"),
    ("ap-northeast-3", "apne3", "abc"),
    ("ap-southeast-1", "apse1", "abc"),
    ("ap-southeast-2", "apse2", "abc"),
    ("ap-south-1", "aps1", "abc"),
    ("ap-east-1", "ape1", "abc"),
    ("me-south-1", "mes1", "abc"),
    ("af-south-1", "afs1", "abc"),
];

/// One of AWS's regions, such as `us-east-1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionName(&'static str);

/// The text names no region that can be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a region that can be served, such as us-east-1 or eu-west-3")]
pub struct RegionNameError(String);

impl RegionName {
    /// Where nothing else is said.
    pub const DEFAULT: RegionName = RegionName("us-east-1");

    /// Every region that can be served.
    pub fn all() -> impl Iterator<Item = RegionName> {
        REGIONS.iter().map(|(name, _, _)| RegionName(name))
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// Its zones, in order of their letters.
    pub fn zones(self) -> Vec<ZoneName> {
        let letters = REGIONS.iter().find(|r| r.0 == self.0).map_or("", |r| r.2);
        letters
            .bytes()
            .map(|letter| ZoneName { region: self, letter })
            .collect()
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl fmt::Debug for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl FromStr for RegionName {
    type Err = RegionNameError;

    fn from_str(text: &str) -> Result<RegionName, RegionNameError> {
        RegionName::all()
            .find(|r| r.0 == text)
            .ok_or_else(|| RegionNameError(text.chars().take(64).collect()))
    }
}

/// An Availability Zone, such as `us-east-1a`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneName {
    region: RegionName,
    letter: u8,
}

impl ZoneName {
    /// The region it lies in.
    pub fn region(self) -> RegionName {
        self.region
    }

    /// The zone id, such as `use1-az1`: numbered in order of the letters here (AWS shuffles them by account).
    pub fn zone_id(self) -> String {
        let region = REGIONS.iter().find(|r| r.0 == self.region.0);
        let stem = region.map_or("", |r| r.1);
        let index = region
            .and_then(|r| r.2.bytes().position(|l| l == self.letter))
            .unwrap_or(0);
        format!("{stem}-az{}", index + 1)
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}{}", self.region, char::from(self.letter)))
    }
}

impl fmt::Debug for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ZoneName {
    type Err = RegionNameError;

    fn from_str(text: &str) -> Result<ZoneName, RegionNameError> {
        let wrong = || RegionNameError(text.chars().take(64).collect());
        let letter = text.chars().last().ok_or_else(wrong)?;
        let region: RegionName = text
            .get(..text.len() - letter.len_utf8())
            .unwrap_or("")
            .parse()
            .map_err(|_| wrong())?;
        region
            .zones()
            .into_iter()
            .find(|z| char::from(z.letter) == letter)
            .ok_or_else(wrong)
    }
}

serde_by_text!(RegionName, ZoneName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_belong_to_their_region() {
        let zone: ZoneName = "us-east-1b".parse().unwrap();
        assert_eq!(
            (zone.region(), zone.zone_id().as_str()),
            (RegionName::DEFAULT, "use1-az2")
        );
        for wrong in ["us-east-1", "us-east-1z", "", "é", "eu-nowhere-1a"] {
            assert!(wrong.parse::<ZoneName>().is_err(), "{wrong}");
        }
    }
}
