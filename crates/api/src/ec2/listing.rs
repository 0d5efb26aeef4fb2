//! What all Describe operations over a table have in common.

use std::ops::RangeInclusive;
use std::sync::Arc;

use atoll_model::AccountId;
use atoll_region::{Noun, Region};

use crate::ApiError;
use crate::wire::{Filter, Page, WireId, ids, page};

/// One Describe call over a noun's table.
pub(super) struct Listing<'a> {
    /// The operation, for its page tokens.
    pub(super) action: &'a str,
    /// The rows that are named; all of the account's when none is.
    pub(super) ids: &'a [String],
    /// How many at most.
    pub(super) max_results: Option<i32>,
    /// Where the last page ended.
    pub(super) next_token: Option<&'a str>,
    /// The operation's range of `MaxResults`.
    pub(super) bounds: RangeInclusive<i32>,
}

impl Listing<'_> {
    /// The page of the account's rows that is asked for, in id order.
    ///
    /// # Errors
    /// The noun's codes for an id that is malformed or unknown, and those of [`page`].
    pub(super) fn of<N: Noun>(
        self,
        region: &Region,
        account: AccountId,
        keep: &Filter<'_, Arc<N>>,
    ) -> Result<Page<Arc<N>>, ApiError>
    where
        N::Id: WireId,
    {
        let mut rows: Vec<Arc<N>> = if self.ids.is_empty() {
            region.list::<N>(account).cloned().collect()
        } else {
            let mut named: Vec<N::Id> = ids(self.ids)?;
            named.sort();
            named.dedup();
            named
                .into_iter()
                .map(|id| Ok(region.find::<N>(account, id)?.clone()))
                .collect::<Result<_, ApiError>>()?
        };
        rows.retain(|row| keep.matches(row));
        page(
            self.action,
            rows.into_iter().map(|row| (row.id(), row)),
            self.max_results,
            self.next_token,
            self.bounds,
        )
    }
}

/// The one attribute that a call gives. EC2 takes one at a time.
///
/// # Errors
/// `MissingParameter` for none, `InvalidParameterCombination` for several.
pub(super) fn only_attribute<T>(given: impl IntoIterator<Item = Option<T>>) -> Result<T, ApiError> {
    let mut given = given.into_iter().flatten();
    let first = given.next().ok_or_else(|| {
        ApiError::new(
            "MissingParameter",
            "No attributes specified. The request must contain one.",
        )
    })?;
    match given.next() {
        None => Ok(first),
        Some(_) => Err(ApiError::invalid_combination(
            "Fields for multiple attribute types specified. Only one may be modified at a time.",
        )),
    }
}

/// The value of a flag's structure; `MissingParameter` when the structure has none.
pub(super) fn flag_given(
    parameter: &str,
    given: Option<&atoll_shapes::ec2::AttributeBooleanValue>,
) -> Result<Option<bool>, ApiError> {
    match given {
        None => Ok(None),
        Some(flag) => match flag.value {
            Some(value) => Ok(Some(value)),
            None => Err(ApiError::missing(&format!("{parameter}.Value"))),
        },
    }
}
