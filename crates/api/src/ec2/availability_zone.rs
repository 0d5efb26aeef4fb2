//! Availability Zones.

use atoll_model::ZoneName;
use atoll_shapes::ec2::{
    AvailabilityZone, DescribeAvailabilityZonesRequest, DescribeAvailabilityZonesResult,
};

use crate::wire::Filters;
use crate::{ApiError, Call, dispatch::Table};

const NOT_NEEDED: &str = "opt-in-not-required";
const KIND: &str = "availability-zone";

pub(super) fn operations(table: &mut Table) {
    table.add(
        describe_availability_zones,
        &["ZoneName", "ZoneId", "Filter", "AllAvailabilityZones"],
    );
}

async fn describe_availability_zones(
    call: Call,
    request: DescribeAvailabilityZonesRequest,
) -> Result<DescribeAvailabilityZonesResult, ApiError> {
    let zones = call.region_name.zones();
    let keep = Filters::untagged()
        .one("group-name", |zone: &ZoneName| group(*zone))
        .maybe("message", |_| None::<&str>)
        .one("opt-in-status", |_| NOT_NEEDED)
        .maybe("parent-zone-id", |_| None::<&str>)
        .maybe("parent-zone-name", |_| None::<&str>)
        .one("region-name", |zone| zone.region())
        .one("state", |_| "available")
        .one("zone-id", |zone| zone.zone_id())
        .one("zone-name", |zone| *zone)
        .one("zone-type", |_| KIND)
        .parse(&request.filters)?;
    check("ZoneName", &request.zone_names, &zones, |zone| zone.to_string())?;
    check("ZoneId", &request.zone_ids, &zones, |zone| zone.zone_id())?;
    let asked = |zone: &ZoneName| {
        (request.zone_names.is_empty() || request.zone_names.contains(&zone.to_string()))
            && (request.zone_ids.is_empty() || request.zone_ids.contains(&zone.zone_id()))
    };
    let found = zones.iter().filter(|zone| asked(zone) && keep.matches(zone));
    Ok(DescribeAvailabilityZonesResult {
        availability_zones: found
            .map(|zone| AvailabilityZone {
                zone_name: Some(zone.to_string()),
                zone_id: Some(zone.zone_id()),
                region_name: Some(zone.region().to_string()),
                state: Some("available".into()),
                opt_in_status: Some(NOT_NEEDED.into()),
                group_name: Some(group(*zone)),
                network_border_group: Some(zone.region().to_string()),
                zone_type: Some(KIND.into()),
                ..Default::default()
            })
            .collect(),
    })
}

/// The group of a region's own zones: `us-east-1-zg-1`.
fn group(zone: ZoneName) -> String {
    format!("{}-zg-1", zone.region())
}

fn check(
    parameter: &str,
    given: &[String],
    zones: &[ZoneName],
    spelt: impl Fn(&ZoneName) -> String,
) -> Result<(), ApiError> {
    let known: Vec<String> = zones.iter().map(spelt).collect();
    match given.iter().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(unknown) => {
            let why = format!("This region has {}.", known.join(", "));
            Err(ApiError::invalid_parameter(parameter, unknown, &why))
        }
    }
}
