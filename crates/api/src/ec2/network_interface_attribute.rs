//! Attaching and detaching interfaces; their attributes.

use atoll_model::{AttachmentId, EniId, Instance, InstanceId, NetworkInterface, SecurityGroupId};
use atoll_region::network_interface::attachment;
use atoll_region::network_interface::attribute::{self, Change};
use atoll_shapes::ec2::{
    AttachNetworkInterfaceRequest, AttachNetworkInterfaceResult, DescribeNetworkInterfaceAttributeRequest,
    DescribeNetworkInterfaceAttributeResult, DetachNetworkInterfaceRequest, DetachNetworkInterfaceResult,
    ModifyNetworkInterfaceAttributeRequest, ModifyNetworkInterfaceAttributeResult,
    ResetNetworkInterfaceAttributeRequest, ResetNetworkInterfaceAttributeResult,
};

use super::network_interface::{attachment_shape, group_identifiers, tracking};
use crate::wire::{flag, id, ids, text};
use crate::{ApiError, Call, dispatch::Table};

pub(super) fn operations(table: &mut Table) {
    table.add(
        attach_network_interface,
        &[
            "NetworkInterfaceId",
            "InstanceId",
            "DeviceIndex",
            "NetworkCardIndex",
        ],
    );
    // `Force` means nothing here: nothing has to agree to a detachment.
    table.add(detach_network_interface, &["AttachmentId", "Force"]);
    table.add(
        modify_network_interface_attribute,
        &[
            "NetworkInterfaceId",
            "Description",
            "SourceDestCheck",
            "SecurityGroupId",
            "Attachment.AttachmentId",
            "Attachment.DeleteOnTermination",
            "ConnectionTrackingSpecification",
            "AssociatePublicIpAddress",
        ],
    );
    table.add(
        describe_network_interface_attribute,
        &["NetworkInterfaceId", "Attribute"],
    );
    table.add(
        reset_network_interface_attribute,
        &["NetworkInterfaceId", "SourceDestCheck"],
    );
}

async fn attach_network_interface(
    call: Call,
    request: AttachNetworkInterfaceRequest,
) -> Result<AttachNetworkInterfaceResult, ApiError> {
    one_card(request.network_card_index)?;
    let attached = call
        .submit(attachment::AttachNetworkInterface {
            eni: id::<EniId>(&request.network_interface_id)?,
            instance: id::<InstanceId>(&request.instance_id)?,
            device_index: device_index(request.device_index)?,
        })
        .await?;
    Ok(AttachNetworkInterfaceResult {
        attachment_id: Some(attached.to_string()),
        network_card_index: Some(0),
    })
}

/// Instances here have one network card.
pub(super) fn one_card(index: Option<i32>) -> Result<(), ApiError> {
    match index {
        None | Some(0) => Ok(()),
        Some(other) => Err(ApiError::invalid_parameter(
            "NetworkCardIndex",
            &other.to_string(),
            "The instance has one network card, 0.",
        )),
    }
}

pub(super) fn device_index(index: i32) -> Result<u8, ApiError> {
    u8::try_from(index).map_err(|_| {
        ApiError::invalid_parameter(
            "DeviceIndex",
            &index.to_string(),
            "Expecting a value from 0 to 255.",
        )
    })
}

async fn detach_network_interface(
    call: Call,
    request: DetachNetworkInterfaceRequest,
) -> Result<DetachNetworkInterfaceResult, ApiError> {
    let attachment = id::<AttachmentId>(&request.attachment_id)?;
    call.submit(attachment::DetachNetworkInterface { attachment })
        .await?;
    Ok(DetachNetworkInterfaceResult::default())
}

async fn modify_network_interface_attribute(
    call: Call,
    request: ModifyNetworkInterfaceAttributeRequest,
) -> Result<ModifyNetworkInterfaceAttributeResult, ApiError> {
    let eni = id::<EniId>(&request.network_interface_id)?;
    let mut changes = Vec::new();
    if let Some(description) = request.description {
        changes.push(Change::Description(description.value.unwrap_or_default()));
    }
    if let Some(check) = request.source_dest_check {
        let value = check
            .value
            .ok_or_else(|| ApiError::missing("SourceDestCheck.Value"))?;
        changes.push(Change::SourceDestCheck(value));
    }
    if !request.groups.is_empty() {
        changes.push(Change::Groups(ids::<SecurityGroupId>(&request.groups)?));
    }
    if let Some(attachment) = request.attachment {
        let attachment_id = attachment.attachment_id.as_deref();
        changes.push(Change::DeleteOnTermination {
            attachment: id(attachment_id.ok_or_else(|| ApiError::missing("Attachment.AttachmentId"))?)?,
            value: attachment
                .delete_on_termination
                .ok_or_else(|| ApiError::missing("Attachment.DeleteOnTermination"))?,
        });
    }
    if let Some(asked) = request.connection_tracking_specification {
        changes.push(Change::ConnectionTracking(tracking(Some(asked))?));
    }
    if let Some(value) = request.associate_public_ip_address {
        changes.push(Change::AssociatePublicIpAddress(value));
    }
    let mut changes = changes.into_iter();
    match (changes.next(), changes.next()) {
        (Some(change), None) => {
            call.submit(attribute::ModifyNetworkInterfaceAttribute { eni, change })
                .await?;
            Ok(ModifyNetworkInterfaceAttributeResult::default())
        }
        (None, _) => Err(ApiError::missing("attribute")),
        (Some(_), Some(_)) => Err(ApiError::invalid_combination(
            "Only one attribute of a network interface may be modified at a time",
        )),
    }
}

async fn reset_network_interface_attribute(
    call: Call,
    request: ResetNetworkInterfaceAttributeRequest,
) -> Result<ResetNetworkInterfaceAttributeResult, ApiError> {
    if request.source_dest_check.is_none() {
        return Err(ApiError::missing("SourceDestCheck"));
    }
    call.submit(attribute::ModifyNetworkInterfaceAttribute {
        eni: id(&request.network_interface_id)?,
        change: Change::SourceDestCheck(true),
    })
    .await?;
    Ok(ResetNetworkInterfaceAttributeResult::default())
}

async fn describe_network_interface_attribute(
    call: Call,
    request: DescribeNetworkInterfaceAttributeRequest,
) -> Result<DescribeNetworkInterfaceAttributeResult, ApiError> {
    let region = call.region()?;
    let eni = region.find::<NetworkInterface>(call.account, id(&request.network_interface_id)?)?;
    let mut answer = DescribeNetworkInterfaceAttributeResult {
        network_interface_id: Some(eni.id.to_string()),
        ..Default::default()
    };
    match request.attribute.as_deref() {
        None => return Err(ApiError::missing("Attribute")),
        Some("description") => answer.description = text(eni.description.clone()),
        Some("groupSet") => answer.groups = group_identifiers(&region, &eni.groups),
        Some("sourceDestCheck") => answer.source_dest_check = flag(eni.source_dest_check),
        Some("attachment") => answer.attachment = attachment_shape(eni),
        Some("associatePublicIpAddress") => {
            let primary_of = eni.attachment.as_ref().filter(|a| a.device_index == 0);
            let instance = primary_of.and_then(|a| region.get::<Instance>(a.instance));
            answer.associate_public_ip_address = Some(instance.is_some_and(|i| i.auto_public));
        }
        Some(other) => {
            return Err(ApiError::invalid_parameter(
                "Attribute",
                other,
                "Known are description, groupSet, sourceDestCheck, attachment and associatePublicIpAddress.",
            ));
        }
    }
    Ok(answer)
}
