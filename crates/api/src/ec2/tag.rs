//! Tags of any resource.

use atoll_model::Tags;
use atoll_region::tag::{self, Taggable};
use atoll_shapes::ec2::{
    self, CreateTagsRequest, CreateTagsResult, DeleteTagsRequest, DeleteTagsResult, DescribeTagsRequest,
    DescribeTagsResult, TagDescription,
};

use crate::wire::{Filters, page, tags_in};
use crate::{ApiError, Call, dispatch::Table};

pub(super) fn operations(table: &mut Table) {
    table.add(create_tags, &["ResourceId", "Tag"]);
    table.add(delete_tags, &["ResourceId", "Tag"]);
    table.add(describe_tags, &["Filter", "MaxResults", "NextToken"]);
}

async fn create_tags(call: Call, request: CreateTagsRequest) -> Result<CreateTagsResult, ApiError> {
    let (resources, tags) = (resources(&request.resources)?, tags_in(&request.tags)?);
    call.submit(tag::CreateTags { resources, tags }).await?;
    Ok(CreateTagsResult::default())
}

async fn delete_tags(call: Call, request: DeleteTagsRequest) -> Result<DeleteTagsResult, ApiError> {
    let resources = resources(&request.resources)?;
    let key_and_value = |tag: ec2::Tag| Some((tag.key?, tag.value));
    let tags: Option<Vec<_>> = request.tags.into_iter().map(key_and_value).collect();
    let tags = tags.ok_or_else(|| ApiError::missing("Tag.Key"))?;
    call.submit(tag::DeleteTags { resources, tags }).await?;
    Ok(DeleteTagsResult::default())
}

fn resources(ids: &[String]) -> Result<Vec<Taggable>, ApiError> {
    ids.iter().map(|id| Ok(Taggable::parse(id)?)).collect()
}

/// One tag on one resource.
struct Item {
    on: Taggable,
    /// The tag alone, so that the filter `tag:KEY` means this one.
    tag: Tags,
}

async fn describe_tags(call: Call, request: DescribeTagsRequest) -> Result<DescribeTagsResult, ApiError> {
    let keep = Filters::tagged(|item: &Item| &item.tag)
        .many("key", |item| item.tag.keys().cloned().collect::<Vec<_>>())
        .one("resource-id", |item| item.on.text())
        .one("resource-type", |item| item.on.kind())
        .many("value", |item| item.tag.values().cloned().collect::<Vec<_>>())
        .parse(&request.filters)?;
    let every = tag::every(&*call.region()?, call.account).into_iter();
    let mut found: Vec<(String, Item)> = every
        .map(|(on, key, value)| {
            (
                format!("{} {key}", on.text()),
                Item {
                    on,
                    tag: Tags::from([(key, value)]),
                },
            )
        })
        .filter(|(_, item)| keep.matches(item))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let page = page(
        "DescribeTags",
        found,
        request.max_results,
        request.next_token.as_deref(),
        5..=1000,
    )?;
    let describe = |item: Item| {
        item.tag.into_iter().map(move |(key, value)| TagDescription {
            key: Some(key),
            value: Some(value),
            resource_id: Some(item.on.text()),
            resource_type: Some(item.on.kind().to_owned()),
        })
    };
    Ok(DescribeTagsResult {
        tags: page.items.into_iter().flat_map(describe).collect(),
        next_token: page.next_token,
    })
}
