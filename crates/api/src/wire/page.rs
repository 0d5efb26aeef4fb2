//! Pages of long lists. A token names the last key that was seen, not a position, so that a page
//! neither repeats nor skips what stood there throughout, whatever came or went between calls.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use atoll_shapes::base64;

use crate::error::ApiError;

/// Longest token in characters.
pub const MAX_TOKEN: usize = 1024;

/// One page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Its items.
    pub items: Vec<T>,
    /// What to ask the next one with; `None` if this is the last.
    pub next_token: Option<String>,
}

/// The page of `items` that is asked for. They come in the order of their keys, already filtered;
/// without `max_results` all that follow the token are given. `listing` is what is listed, such as
/// `DescribeVpcs`: a token is good for its own listing alone. `bounds` is the operation's range of
/// `MaxResults`, mostly 5 to 1000.
///
/// # Errors
/// `InvalidParameterValue` for a number out of bounds, `InvalidNextToken` for a token that this
/// listing did not give.
pub fn page<K: Display + FromStr + Ord, T>(
    listing: &str,
    items: impl IntoIterator<Item = (K, T)>,
    max_results: Option<i32>,
    next_token: Option<&str>,
    bounds: RangeInclusive<i32>,
) -> Result<Page<T>, ApiError> {
    let most = match max_results {
        None => usize::MAX,
        Some(most) if bounds.contains(&most) => usize::try_from(most).unwrap_or(usize::MAX),
        Some(most) => {
            let (low, high) = (bounds.start(), bounds.end());
            let why = format!("Expecting a value from {low} to {high}.");
            return Err(ApiError::invalid_parameter("MaxResults", &most.to_string(), &why));
        }
    };
    let after: Option<K> = next_token.map(|token| last_key(listing, token)).transpose()?;
    let mut rest = items
        .into_iter()
        .skip_while(|(key, _)| after.as_ref().is_some_and(|after| key <= after));
    let mut page = Page {
        items: Vec::new(),
        next_token: None,
    };
    let mut last = None;
    for (key, item) in rest.by_ref().take(most) {
        last = Some(key);
        page.items.push(item);
    }
    if let Some(last) = last
        && rest.next().is_some()
    {
        page.next_token = Some(base64::encode(format!("{listing} {last}").as_bytes()));
    }
    Ok(page)
}

fn last_key<K: FromStr>(listing: &str, token: &str) -> Result<K, ApiError> {
    let key = || {
        let bytes = (token.len() <= MAX_TOKEN).then(|| base64::decode(token))??;
        let text = String::from_utf8(bytes).ok()?;
        text.strip_prefix(listing)?.strip_prefix(' ')?.parse().ok()
    };
    key().ok_or_else(|| {
        ApiError::new(
            "InvalidNextToken",
            format!("The token is not one that {listing} gave; begin without NextToken"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn walk(keys: &BTreeSet<u32>, most: i32) -> Vec<Vec<u32>> {
        let (mut pages, mut token) = (Vec::new(), None);
        loop {
            let items = keys.iter().map(|&key| (key, key));
            let next = page("List", items, Some(most), token.as_deref(), 1..=1000).unwrap();
            pages.push(next.items);
            match next.next_token {
                None => return pages,
                Some(next) => token = Some(next),
            }
        }
    }

    #[test]
    fn a_full_last_page_has_no_token_and_an_empty_list_is_one_page() {
        assert_eq!(walk(&(0..6).collect(), 3), [vec![0, 1, 2], vec![3, 4, 5]]);
        assert_eq!(walk(&BTreeSet::new(), 3), [Vec::<u32>::new()]);
    }

    #[test]
    fn numbers_out_of_bounds_and_foreign_tokens_are_refused() {
        let ask = |most, token| page("List", [(1u32, ())], most, token, 5..=1000);
        assert_eq!(ask(Some(4), None).unwrap_err().code, "InvalidParameterValue");
        assert_eq!(ask(Some(-1), None).unwrap_err().code, "InvalidParameterValue");
        let foreign = base64::encode(b"Other 1");
        let long = "A".repeat(MAX_TOKEN + 4);
        for token in ["", "?", "AAAA", &foreign, &long] {
            assert_eq!(
                ask(None, Some(token)).unwrap_err().code,
                "InvalidNextToken",
                "{token}"
            );
        }
    }

    proptest! {
        #[test]
        fn pages_hold_everything_once_in_order(keys: BTreeSet<u32>, most in 1..20i32) {
            let pages = walk(&keys, most);
            prop_assert!(pages.iter().all(|page| page.len() <= most as usize));
            prop_assert_eq!(pages.concat(), keys.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn what_stands_throughout_is_seen_once_though_others_go(
            keys in prop::collection::btree_set(0..100u32, 1..50), gone in prop::collection::btree_set(0..100u32, 0..50),
        ) {
            let items = |keys: &BTreeSet<u32>| keys.iter().map(|&k| (k, k)).collect::<Vec<_>>();
            let first = page("List", items(&keys), Some(5), None, 1..=10).unwrap();
            let left: BTreeSet<u32> = keys.difference(&gone).copied().collect();
            let mut seen = first.items;
            if let Some(token) = first.next_token {
                seen.extend(page("List", items(&left), None, Some(&token), 1..=10).unwrap().items);
            }
            for key in left {
                prop_assert_eq!(seen.iter().filter(|&&s| s == key).count(), 1);
            }
        }
    }
}
