//! Images: built-in ones, and any other id, which stands for the default one.

use atoll_model::ImageId;
use atoll_model::image::{DEFAULT, IMAGES, Image};
use atoll_shapes::ec2::{self, DescribeImagesRequest, DescribeImagesResult};

use crate::wire::{Filters, ids, page};
use crate::{ApiError, Call, dispatch::Table};

/// Whose they are: nobody's account.
const OWNER: &str = "000000000000";
const OWNER_ALIAS: &str = "amazon";
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
        .one("creation-date", |_| CREATED)
        .one("description", description)
        .one("ena-support", |_| true)
        .one("hypervisor", |_| "xen")
        .one("image-id", |item| item.id)
        .one("image-type", |_| "machine")
        .one("is-public", |_| true)
        .one("name", |item| item.image.name)
        .one("owner-alias", |_| OWNER_ALIAS)
        .one("owner-id", |_| OWNER)
        .maybe("platform", |_| None::<&str>)
        .maybe("root-device-name", |_| None::<&str>)
        .one("root-device-type", |_| "instance-store")
        .one("state", |_| "available")
        .one("virtualization-type", |_| "hvm")
        .parse(&request.filters)?;
    let asked: Vec<ImageId> = ids(&request.image_ids)?;
    let owned = request.owners.is_empty() || request.owners.iter().any(|o| o == OWNER_ALIAS || o == OWNER);
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
    items.retain(|item| owned && executable && keep.matches(item));
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
    IMAGES
        .iter()
        .find(|image| image.id() == id)
        .copied()
        .unwrap_or(DEFAULT)
}

fn description(item: &Item) -> String {
    if item.id == item.image.id() {
        return item.image.description.to_owned();
    }
    format!(
        "Not a built-in image: {} stands for {} ({})",
        item.id,
        item.image.id(),
        item.image.description
    )
}

fn shape(item: &Item) -> ec2::Image {
    ec2::Image {
        image_id: Some(item.id.to_string()),
        name: Some(item.image.name.to_owned()),
        description: Some(description(item)),
        architecture: Some(item.image.architecture.to_owned()),
        image_location: Some(format!("{OWNER_ALIAS}/{}", item.image.name)),
        image_owner_alias: Some(OWNER_ALIAS.to_owned()),
        owner_id: Some(OWNER.to_owned()),
        image_type: Some("machine".to_owned()),
        state: Some("available".to_owned()),
        public: Some(true),
        creation_date: Some(CREATED.to_owned()),
        // There are no volumes: the root is the host's own, read-only.
        root_device_type: Some("instance-store".to_owned()),
        virtualization_type: Some("hvm".to_owned()),
        hypervisor: Some("xen".to_owned()),
        ena_support: Some(true),
        platform_details: Some("Linux/UNIX".to_owned()),
        usage_operation: Some("RunInstances".to_owned()),
        ..Default::default()
    }
}
