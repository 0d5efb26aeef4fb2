//! Which region of this data directory takes which part of the public address ranges.
//!
//! A region's pools follow from its number; the number is given at the region's first start and kept, so
//! that addresses stay what they are however `--region` is written later.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use atoll_model::RegionName;
use atoll_region::Config;

/// The file's name in the data directory.
pub const FILE: &str = "regions.json";

/// The configuration of each region, new ones numbered after those there are.
///
/// # Errors
/// When the file cannot be read, is illegible, or cannot be written.
pub fn configure(data: Option<&Path>, regions: &[RegionName]) -> io::Result<Vec<Config>> {
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let path = data.map(|data| data.join(FILE));
    if let Some(path) = &path {
        match std::fs::read(path) {
            Ok(bytes) => numbers = serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let known = numbers.len();
    let configs = regions.iter().map(|name| {
        let next = numbers.values().max().map_or(0, |last| last + 1);
        let number = *numbers.entry(name.to_string()).or_insert(next);
        Config::default_for(*name, number)
    });
    let configs = configs.collect();
    if let Some(path) = path
        && numbers.len() != known
    {
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, serde_json::to_vec(&numbers)?)?;
        std::fs::File::open(&unfinished)?.sync_all()?;
        std::fs::rename(&unfinished, &path)?;
    }
    Ok(configs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_keeps_its_pool_whatever_the_order_of_the_options() {
        let data = tempfile::tempdir().unwrap();
        let names = |text: &[&str]| {
            text.iter()
                .map(|r| r.parse().unwrap())
                .collect::<Vec<RegionName>>()
        };
        let first = configure(Some(data.path()), &names(&["us-east-1", "eu-west-1"])).unwrap();
        assert_ne!(first[0].public_pool, first[1].public_pool);
        let second = configure(
            Some(data.path()),
            &names(&["eu-west-1", "us-west-2", "us-east-1"]),
        )
        .unwrap();
        assert_eq!((&second[0], &second[2]), (&first[1], &first[0]));
        assert!(
            first
                .iter()
                .all(|config| config.public_pool != second[1].public_pool)
        );
    }
}
