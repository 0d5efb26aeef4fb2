//! Attributes of instances, one at a time.

use atoll_model::{Instance, InstanceId, SecurityGroupId};
use atoll_region::instance::attribute::{self, Change};
use atoll_shapes::base64;
use atoll_shapes::ec2::{
    AttributeValue, DescribeInstanceAttributeRequest, EnclaveOptions, InstanceAttribute,
    ModifyInstanceAttributeRequest, ModifyInstanceAttributeResult,
};

use super::instance::interfaces;
use super::instance_launch::{shutdown_behavior, user_data};
use super::instance_shape::image_of;
use super::network_interface::group_identifiers;
use crate::wire::{flag, id, ids, text};
use crate::{ApiError, Call, dispatch::Table};

pub(super) fn operations(table: &mut Table) {
    table.add(
        modify_instance_attribute,
        &[
            "InstanceId",
            "Attribute",
            "Value",
            "InstanceType",
            "UserData",
            "EbsOptimized",
            "SourceDestCheck",
            "GroupId",
            "DisableApiTermination",
            "DisableApiStop",
            "InstanceInitiatedShutdownBehavior",
        ],
    );
    table.add(describe_instance_attribute, &["InstanceId", "Attribute"]);
}

async fn modify_instance_attribute(
    call: Call,
    request: ModifyInstanceAttributeRequest,
) -> Result<ModifyInstanceAttributeResult, ApiError> {
    let id = id::<InstanceId>(&request.instance_id)?;
    let mut changes = changes(request)?.into_iter();
    match (changes.next(), changes.next()) {
        (Some(change), None) => {
            call.submit(attribute::ModifyInstanceAttribute { id, change })
                .await?;
            Ok(ModifyInstanceAttributeResult::default())
        }
        (None, _) => Err(ApiError::missing("attribute")),
        (Some(_), Some(_)) => Err(ApiError::invalid_combination(
            "Fields for multiple attribute types specified: one attribute may be modified at a time",
        )),
    }
}

/// The attributes that a request names, each in its own parameter or by name and value.
fn changes(request: ModifyInstanceAttributeRequest) -> Result<Vec<Change>, ApiError> {
    let missing = |name: &'static str| move || ApiError::missing(name);
    let mut changes = Vec::new();
    if let Some(name) = request.attribute.as_deref() {
        let value = request.value.as_deref().ok_or_else(missing("Value"))?;
        changes.push(named(name, value)?);
    } else if request.value.is_some() {
        return Err(ApiError::missing("Attribute"));
    }
    if let Some(kind) = request.instance_type {
        changes.push(Change::InstanceType(
            kind.value.ok_or_else(missing("InstanceType.Value"))?,
        ));
    }
    if let Some(data) = request.user_data {
        changes.push(Change::UserData(
            data.value.map(|blob| blob.0).unwrap_or_default(),
        ));
    }
    if let Some(behavior) = request.instance_initiated_shutdown_behavior {
        let value = behavior
            .value
            .ok_or_else(missing("InstanceInitiatedShutdownBehavior.Value"))?;
        changes.push(Change::ShutdownBehavior(shutdown_behavior(&value)?));
    }
    if !request.groups.is_empty() {
        changes.push(Change::Groups(ids::<SecurityGroupId>(&request.groups)?));
    }
    type OfFlag = fn(bool) -> Change;
    let flags: [(_, &'static str, OfFlag); 4] = [
        (
            request.source_dest_check,
            "SourceDestCheck.Value",
            Change::SourceDestCheck,
        ),
        (request.ebs_optimized, "EbsOptimized.Value", Change::EbsOptimized),
        (
            request.disable_api_termination,
            "DisableApiTermination.Value",
            Change::DisableApiTermination,
        ),
        (
            request.disable_api_stop,
            "DisableApiStop.Value",
            Change::DisableApiStop,
        ),
    ];
    for (given, name, change) in flags {
        if let Some(given) = given {
            changes.push(change(given.value.ok_or_else(missing(name))?));
        }
    }
    Ok(changes)
}

/// An attribute by name and value.
fn named(name: &str, value: &str) -> Result<Change, ApiError> {
    let truth = || match value {
        _ if value.eq_ignore_ascii_case("true") => Ok(true),
        _ if value.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(ApiError::invalid_parameter(
            name,
            value,
            "Expected true or false.",
        )),
    };
    Ok(match name {
        "instanceType" => Change::InstanceType(value.to_owned()),
        "userData" => Change::UserData(user_data(value)?),
        "instanceInitiatedShutdownBehavior" => Change::ShutdownBehavior(shutdown_behavior(value)?),
        "groupSet" => Change::Groups(vec![id(value)?]),
        "sourceDestCheck" => Change::SourceDestCheck(truth()?),
        "ebsOptimized" => Change::EbsOptimized(truth()?),
        "disableApiTermination" => Change::DisableApiTermination(truth()?),
        "disableApiStop" => Change::DisableApiStop(truth()?),
        "kernel" | "ramdisk" | "rootDeviceName" | "blockDeviceMapping" | "productCodes"
        | "sriovNetSupport" | "enaSupport" | "enclaveOptions" => {
            return Err(ApiError::unsupported(format!(
                "The attribute {name} of an instance cannot be modified here"
            )));
        }
        _ => return Err(unknown(name)),
    })
}

fn unknown(name: &str) -> ApiError {
    ApiError::invalid_parameter("attribute", name, "Unknown attribute.")
}

async fn describe_instance_attribute(
    call: Call,
    request: DescribeInstanceAttributeRequest,
) -> Result<InstanceAttribute, ApiError> {
    let region = call.region()?;
    let instance = region.find::<Instance>(call.account, id(&request.instance_id)?)?;
    let enis = interfaces(&region, instance.id);
    let primary = enis.first();
    let mut answer = InstanceAttribute {
        instance_id: Some(instance.id.to_string()),
        ..Default::default()
    };
    let nothing = || Some(AttributeValue::default());
    match request.attribute.as_str() {
        "instanceType" => answer.instance_type = text(instance.instance_type.clone()),
        "userData" => {
            answer.user_data = Some(AttributeValue {
                value: instance.user_data.as_deref().map(base64::encode),
            });
        }
        "disableApiTermination" => answer.disable_api_termination = flag(instance.disable_api_termination),
        "disableApiStop" => answer.disable_api_stop = flag(instance.disable_api_stop),
        "instanceInitiatedShutdownBehavior" => {
            answer.instance_initiated_shutdown_behavior = text(instance.shutdown_behavior.to_string());
        }
        "ebsOptimized" => answer.ebs_optimized = flag(instance.ebs_optimized),
        "sourceDestCheck" => {
            answer.source_dest_check = primary.and_then(|eni| flag(eni.source_dest_check));
        }
        "groupSet" => {
            answer.groups = primary
                .map(|eni| group_identifiers(&region, &eni.groups))
                .unwrap_or_default();
        }
        "enaSupport" => answer.ena_support = flag(true),
        "enclaveOptions" => answer.enclave_options = Some(EnclaveOptions { enabled: Some(false) }),
        // A sandbox has no kernel, volume or product code of its own.
        "kernel" => answer.kernel_id = nothing(),
        "ramdisk" => answer.ramdisk_id = nothing(),
        "rootDeviceName" => {
            answer.root_device_name = text(image_of(instance).publisher.root_device.to_owned());
        }
        "sriovNetSupport" => answer.sriov_net_support = nothing(),
        "blockDeviceMapping" | "productCodes" => {}
        other => return Err(unknown(other)),
    }
    Ok(answer)
}
