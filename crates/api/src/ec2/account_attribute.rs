//! Attributes of the account.

use atoll_model::{Vpc, quota};
use atoll_shapes::ec2::{
    AccountAttribute, AccountAttributeValue, DescribeAccountAttributesRequest,
    DescribeAccountAttributesResult,
};

use crate::{ApiError, Call, dispatch::Table};

const NAMES: [&str; 6] = [
    "supported-platforms",
    "default-vpc",
    "max-instances",
    "vpc-max-security-groups-per-interface",
    "max-elastic-ips",
    "vpc-max-elastic-ips",
];

pub(super) fn operations(table: &mut Table) {
    table.add(describe_account_attributes, &["AttributeName"]);
}

async fn describe_account_attributes(
    call: Call,
    request: DescribeAccountAttributesRequest,
) -> Result<DescribeAccountAttributesResult, ApiError> {
    if let Some(unknown) = request
        .attribute_names
        .iter()
        .find(|name| !NAMES.contains(&name.as_str()))
    {
        let why = format!("Known are {}.", NAMES.join(", "));
        return Err(ApiError::invalid_parameter("AttributeName", unknown, &why));
    }
    let region = call.region()?;
    let default_vpc = region
        .list::<Vpc>(call.account)
        .find(|vpc| vpc.is_default)
        .map(|vpc| vpc.id.to_string());
    let value = |name: &str| match name {
        "supported-platforms" => "VPC".to_owned(),
        "default-vpc" => default_vpc.clone().unwrap_or_else(|| "none".to_owned()),
        "max-instances" => quota::INSTANCES_PER_REGION.to_string(),
        "vpc-max-security-groups-per-interface" => quota::GROUPS_PER_INTERFACE.to_string(),
        // Both names mean Elastic IPs; outside a VPC there are none.
        "max-elastic-ips" | "vpc-max-elastic-ips" => quota::ELASTIC_IPS_PER_REGION.to_string(),
        _ => String::new(),
    };
    let asked = |name: &&&str| {
        request.attribute_names.is_empty() || request.attribute_names.iter().any(|asked| asked == **name)
    };
    Ok(DescribeAccountAttributesResult {
        account_attributes: NAMES
            .iter()
            .filter(asked)
            .map(|name| AccountAttribute {
                attribute_name: Some((*name).to_owned()),
                attribute_values: vec![AccountAttributeValue {
                    attribute_value: Some(value(name)),
                }],
            })
            .collect(),
    })
}
