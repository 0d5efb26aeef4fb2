//! Regions.

use atoll_model::RegionName;
use atoll_shapes::ec2::{DescribeRegionsRequest, DescribeRegionsResult, Region};

use crate::wire::Filters;
use crate::{ApiError, Call, dispatch::Table};

const NOT_NEEDED: &str = "opt-in-not-required";

pub(super) fn operations(table: &mut Table) {
    table.add(describe_regions, &["RegionName", "Filter", "AllRegions"]);
}

/// The regions of this process, whether `AllRegions` is given or not: none needs opting in.
async fn describe_regions(
    call: Call,
    request: DescribeRegionsRequest,
) -> Result<DescribeRegionsResult, ApiError> {
    let keep = Filters::untagged()
        .one("endpoint", |region: &RegionName| endpoint(*region))
        .one("opt-in-status", |_| NOT_NEEDED)
        .one("region-name", |region| *region)
        .parse(&request.filters)?;
    let mut served = call.backend.regions();
    served.sort();
    let unknown: Vec<&str> = request
        .region_names
        .iter()
        .map(String::as_str)
        .filter(|name| !served.iter().any(|region| region.as_str() == *name))
        .collect();
    if !unknown.is_empty() {
        let served: Vec<&str> = served.iter().map(|region| region.as_str()).collect();
        return Err(ApiError::invalid_parameter(
            "RegionName",
            &unknown.join(", "),
            &format!("Served here: {}.", served.join(", ")),
        ));
    }
    let asked = |region: &RegionName| {
        request.region_names.is_empty() || request.region_names.iter().any(|name| name == region.as_str())
    };
    let regions = served
        .into_iter()
        .filter(|region| asked(region) && keep.matches(region));
    Ok(DescribeRegionsResult {
        regions: regions
            .map(|region| Region {
                region_name: Some(region.to_string()),
                endpoint: Some(endpoint(region)),
                opt_in_status: Some(NOT_NEEDED.into()),
                ..Default::default()
            })
            .collect(),
    })
}

fn endpoint(region: RegionName) -> String {
    format!("ec2.{region}.amazonaws.com")
}
