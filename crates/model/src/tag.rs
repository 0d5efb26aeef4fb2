//! Tags.

use std::collections::BTreeMap;

/// Tags of one resource, by key.
pub type Tags = BTreeMap<String, String>;

/// Most tags a resource may carry, AWS's own (`aws:…`) not counted.
pub const MAX_TAGS: usize = 50;
/// Most characters of a key.
pub const MAX_KEY: usize = 128;
/// Most characters of a value.
pub const MAX_VALUE: usize = 256;

/// Why a tag cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// The key is empty or over 128 characters.
    #[error("Tag key {0:?} is not of 1 to 128 characters")]
    Key(String),
    /// The value is over 256 characters.
    #[error("Tag value exceeds the maximum length of 256 characters")]
    Value,
    /// Keys beginning with `aws:` are AWS's own.
    #[error("Tag keys starting with 'aws:' are reserved for internal use")]
    Reserved,
}

/// Whether a key is one of AWS's own (`aws:cloudformation:stack-name`), which only services set.
pub fn is_reserved(key: &str) -> bool {
    key.get(..4).is_some_and(|p| p.eq_ignore_ascii_case("aws:"))
}

/// Whether a person may set this tag.
pub fn check(key: &str, value: &str) -> Result<(), TagError> {
    let length = key.chars().count();
    if length == 0 || length > MAX_KEY {
        return Err(TagError::Key(key.chars().take(MAX_KEY).collect()));
    }
    if value.chars().count() > MAX_VALUE {
        return Err(TagError::Value);
    }
    if is_reserved(key) {
        return Err(TagError::Reserved);
    }
    Ok(())
}
