//! Tags of requests and answers.

use atoll_model::Tags;
use atoll_model::tag::{self, MAX_TAGS};
use atoll_shapes::ec2;

use crate::error::{ApiError, shortened};

/// The tags in `TagSpecification` for the one kind of resource that an operation makes, such as
/// `vpc`.
///
/// # Errors
/// As for [`tags_for`].
pub fn tags_of(specifications: &[ec2::TagSpecification], resource: &str) -> Result<Tags, ApiError> {
    let mut tags = tags_for(specifications, &[resource])?;
    Ok(tags.pop().unwrap_or_default())
}

/// The tags in `TagSpecification` for each of the kinds of resource that an operation makes, in
/// their order.
///
/// # Errors
/// `InvalidParameterValue` for another kind, a kind or key that comes twice, a key that is empty,
/// too long or AWS's own, a value that is too long; `MissingParameter` for a tag without a key;
/// `TagLimitExceeded` for more than 50.
pub fn tags_for(specifications: &[ec2::TagSpecification], resources: &[&str]) -> Result<Vec<Tags>, ApiError> {
    let mut found: Vec<Option<Tags>> = vec![None; resources.len()];
    for specification in specifications {
        let Some(kind) = specification.resource_type.as_deref() else {
            return Err(ApiError::missing("TagSpecification.ResourceType"));
        };
        let place = resources.iter().position(|resource| *resource == kind);
        let Some(slot) = place.and_then(|place| found.get_mut(place)) else {
            return Err(ApiError::invalid_value(format!(
                "'{}' is not a valid taggable resource type for this operation.",
                shortened(kind)
            )));
        };
        if slot.is_some() {
            return Err(ApiError::invalid_value(format!(
                "The resource type '{kind}' has more than one TagSpecification; put its tags into one"
            )));
        }
        *slot = Some(tags_in(&specification.tags)?);
    }
    Ok(found.into_iter().map(Option::unwrap_or_default).collect())
}

/// The tags of a list that stands by itself.
///
/// # Errors
/// As for [`tags_for`].
pub fn tags_in(list: &[ec2::Tag]) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for tag in list {
        let Some(key) = tag.key.as_deref() else {
            return Err(ApiError::missing("Tag.Key"));
        };
        let value = tag.value.as_deref().unwrap_or_default();
        tag::check(key, value).map_err(|error| ApiError::invalid_value(error.to_string()))?;
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(ApiError::invalid_value(format!(
                "Duplicate tag key '{key}' specified."
            )));
        }
    }
    if tags.len() > MAX_TAGS {
        return Err(ApiError::new(
            "TagLimitExceeded",
            format!("The maximum number of Tags for a resource has been reached: {MAX_TAGS}"),
        ));
    }
    Ok(tags)
}

/// Tags as answers have them.
pub fn tag_list(tags: &Tags) -> Vec<ec2::Tag> {
    tags.iter()
        .map(|(key, value)| ec2::Tag {
            key: Some(key.clone()),
            value: Some(value.clone()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> ec2::Tag {
        ec2::Tag {
            key: Some(key.into()),
            value: Some(value.into()),
        }
    }

    fn specification(kind: &str, tags: Vec<ec2::Tag>) -> ec2::TagSpecification {
        ec2::TagSpecification {
            resource_type: Some(kind.into()),
            tags,
        }
    }

    #[test]
    fn each_resource_gets_its_own_tags() {
        let given = [specification("b", vec![tag("k", "v")])];
        let found = tags_for(&given, &["a", "b"]).unwrap();
        assert_eq!(found, [Tags::new(), Tags::from([("k".into(), "v".into())])]);
        assert_eq!(tag_list(&found[1]), [tag("k", "v")]);
    }

    #[test]
    fn what_cannot_be_a_tag_is_refused() {
        let code = |tags| {
            tags_of(&[specification("vpc", tags)], "vpc")
                .map(drop)
                .map_err(|e| e.code)
        };
        let many = |n: usize| (0..n).map(|i| tag(&format!("k{i}"), "")).collect::<Vec<_>>();
        let invalid = Err("InvalidParameterValue".into());
        assert_eq!(code(many(50)), Ok(()));
        assert_eq!(code(many(51)), Err("TagLimitExceeded".into()));
        assert_eq!(code(vec![tag(&"é".repeat(128), &"é".repeat(256))]), Ok(()));
        assert_eq!(code(vec![tag(&"k".repeat(129), "")]), invalid);
        assert_eq!(code(vec![tag("k", &"v".repeat(257))]), invalid);
        assert_eq!(code(vec![tag("", "")]), invalid);
        assert_eq!(code(vec![tag("AWS:k", "")]), invalid);
        assert_eq!(code(vec![tag("k", "1"), tag("k", "2")]), invalid);
        assert_eq!(code(vec![ec2::Tag::default()]), Err("MissingParameter".into()));
        let other = tags_of(&[specification("subnet", vec![])], "vpc").unwrap_err();
        assert_eq!(
            other.message,
            "'subnet' is not a valid taggable resource type for this operation."
        );
        let twice = tags_of(
            &[specification("vpc", vec![]), specification("vpc", vec![])],
            "vpc",
        );
        assert_eq!(twice.unwrap_err().code, "InvalidParameterValue");
    }
}
