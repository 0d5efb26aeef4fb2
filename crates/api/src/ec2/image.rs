//! Images: built-in ones, and any other id, which stands for the default one.
//!
//! There are no volumes: the root is the host's own, read-only. Yet images are shown with an EBS root, as all current
//! ones on AWS are: configurations choose them by it, and put the size of the root under its name.

use atoll_model::ImageId;
use atoll_model::image::{self, DEFAULT, IMAGES, Image};
use atoll_shapes::ec2::{
    self, BlockDeviceMapping, DescribeImagesRequest, DescribeImagesResult, EbsBlockDevice,
};

use crate::wire::{Filters, ids, page};
use crate::{ApiError, Call, dispatch::Table};

/// The size of a root that is shown, in GiB.
const ROOT_SIZE: i32 = 8;
const CREATED: &str = "2026-01-01T00:00:00.000Z";

pub(super) fn operations(table: &mut Table) {
    table.add(
        describe_images,
        &[
            "ImageId",
            "Owner",
            "ExecutableBy",
            "IncludeDeprecated",
            "IncludeDisabled",
            "Filter",
            "MaxResults",
            "NextToken",
        ],
    );
}

/// An image under the id it was asked by.
struct Item {
    id: ImageId,
    image: Image,
}

async fn describe_images(_: Call, request: DescribeImagesRequest) -> Result<DescribeImagesResult, ApiError> {
    let keep = Filters::untagged()
        .one("architecture", |item: &Item| item.image.architecture)
        .one("block-device-mapping.delete-on-termination", |_| true)
        .one("block-device-mapping.device-name", |item| {
            item.image.publisher.root_device
        })
        .one("block-device-mapping.encrypted", |_| false)
        .one("block-device-mapping.volume-size", |_| ROOT_SIZE)
        .one("block-device-mapping.volume-type", |item| volume_type(item.image))
        .one("creation-date", |_| CREATED)
        .one("description", description)
        .one("ena-support", |_| true)
        .one("hypervisor", |_| "xen")
        .one("image-id", |item| item.id)
        .one("image-type", |_| "machine")
        .one("is-public", |_| true)
        .one("name", |item| item.image.name)
        .maybe("owner-alias", |item| item.image.publisher.alias)
        .one("owner-id", |item| item.image.publisher.account)
        .maybe("platform", |_| None::<&str>)
        .one("root-device-name", |item| item.image.publisher.root_device)
        .one("root-device-type", |_| "ebs")
        .one("state", |_| "available")
        .one("virtualization-type", |_| "hvm")
        .parse(&request.filters)?;
    let asked: Vec<ImageId> = ids(&request.image_ids)?;
    let owned = |item: &Item| {
        let publisher = item.image.publisher;
        let is = |owner: &String| owner == publisher.account || Some(owner.as_str()) == publisher.alias;
        request.owners.is_empty() || request.owners.iter().any(is)
    };
    // Launch permission is everybody's, nobody's in particular.
    let executable =
        request.executable_users.is_empty() || request.executable_users.iter().any(|u| u == "all");
    let mut items: Vec<Item> = match asked.as_slice() {
        [] => IMAGES
            .iter()
            .map(|&image| Item {
                id: image.id(),
                image,
            })
            .collect(),
        asked => asked
            .iter()
            .map(|&id| Item {
                id,
                image: image_of(id),
            })
            .collect(),
    };
    items.retain(|item| owned(item) && executable && keep.matches(item));
    items.sort_by_key(|item| item.id);
    items.dedup_by_key(|item| item.id);
    let items = items.into_iter().map(|item| (item.id, item));
    let page = page(
        "DescribeImages",
        items,
        request.max_results,
        request.next_token.as_deref(),
        1..=1000,
    )?;
    Ok(DescribeImagesResult {
        images: page.items.iter().map(shape).collect(),
        next_token: page.next_token,
    })
}

fn image_of(id: ImageId) -> Image {
    image::find(id).unwrap_or(DEFAULT)
}

fn description(item: &Item) -> String {
    match (image::own(item.id), image::find(item.id)) {
        (Some(own), _) => own.description.to_owned(),
        (None, Some(named)) => format!(
            "{}: {} stands for {} ({})",
            named.description,
            item.id,
            DEFAULT.id(),
            DEFAULT.description
        ),
        (None, None) => format!(
            "Not a built-in image: {} stands for {} ({})",
            item.id,
            DEFAULT.id(),
            DEFAULT.description
        ),
    }
}

fn volume_type(image: Image) -> &'static str {
    if image.name.ends_with("gp2") { "gp2" } else { "gp3" }
}

fn shape(item: &Item) -> ec2::Image {
    let publisher = item.image.publisher;
    ec2::Image {
        image_id: Some(item.id.to_string()),
        name: Some(item.image.name.to_owned()),
        description: Some(description(item)),
        architecture: Some(item.image.architecture.to_owned()),
        image_location: Some(format!(
            "{}/{}",
            publisher.alias.unwrap_or(publisher.account),
            item.image.name
        )),
        image_owner_alias: publisher.alias.map(str::to_owned),
        owner_id: Some(publisher.account.to_owned()),
        image_type: Some("machine".to_owned()),
        state: Some("available".to_owned()),
        public: Some(true),
        creation_date: Some(CREATED.to_owned()),
        root_device_type: Some("ebs".to_owned()),
        root_device_name: Some(publisher.root_device.to_owned()),
        block_device_mappings: vec![BlockDeviceMapping {
            device_name: Some(publisher.root_device.to_owned()),
            ebs: Some(EbsBlockDevice {
                delete_on_termination: Some(true),
                volume_size: Some(ROOT_SIZE),
                volume_type: Some(volume_type(item.image).to_owned()),
                encrypted: Some(false),
                ..Default::default()
            }),
            ..Default::default()
        }],
        virtualization_type: Some("hvm".to_owned()),
        hypervisor: Some("xen".to_owned()),
        ena_support: Some(true),
        platform_details: Some("Linux/UNIX".to_owned()),
        usage_operation: Some("RunInstances".to_owned()),
        ..Default::default()
    }
}
