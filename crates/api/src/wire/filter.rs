//! Filters of the Describe operations.

use std::fmt::Display;

use atoll_model::Tags;
use atoll_shapes::ec2;

use crate::error::{ApiError, shortened};

/// Most values one filter may have.
pub const MAX_VALUES: usize = 200;

type ValuesOf<'a, T> = Box<dyn Fn(&T) -> Vec<String> + Send + 'a>;
type TagsOf<'a, T> = Box<dyn Fn(&T) -> &Tags + Send + 'a>;

/// The filters that a listing knows: names, and which values an item has under each.
///
/// ```ignore
/// let keep = Filters::tagged(|vpc: &Arc<Vpc>| &vpc.tags)
///     .one("vpc-id", |vpc| vpc.id)
///     .many("cidr-block-association.cidr-block", |vpc| vpc.cidrs.iter().map(|c| c.block).collect::<Vec<_>>())
///     .parse(&request.filters)?;
/// let vpcs = region.list::<Vpc>(account).filter(|vpc| keep.matches(vpc));
/// ```
pub struct Filters<'a, T> {
    known: Vec<(&'static str, ValuesOf<'a, T>)>,
    tags: Option<TagsOf<'a, T>>,
}

impl<'a, T> Filters<'a, T> {
    /// For items with tags: `tag:KEY` and `tag-key` are known.
    pub fn tagged(tags: impl Fn(&T) -> &Tags + Send + 'a) -> Self {
        Filters {
            known: Vec::new(),
            tags: Some(Box::new(tags)),
        }
    }

    /// For items without tags.
    pub fn untagged() -> Self {
        Filters {
            known: Vec::new(),
            tags: None,
        }
    }

    /// A filter on something that every item has.
    #[must_use]
    pub fn one<D: Display>(self, name: &'static str, value: impl Fn(&T) -> D + Send + 'a) -> Self {
        self.many(name, move |item| [value(item)])
    }

    /// A filter on something that an item may have.
    #[must_use]
    pub fn maybe<D: Display>(self, name: &'static str, value: impl Fn(&T) -> Option<D> + Send + 'a) -> Self {
        self.many(name, value)
    }

    /// A filter on something that an item may have several of: any of them may match.
    #[must_use]
    pub fn many<D: Display, V: IntoIterator<Item = D>>(
        mut self,
        name: &'static str,
        values: impl Fn(&T) -> V + Send + 'a,
    ) -> Self {
        let values = move |item: &T| values(item).into_iter().map(|value| value.to_string()).collect();
        self.known.push((name, Box::new(values)));
        self
    }

    /// The filters of a request.
    ///
    /// # Errors
    /// `InvalidParameterValue` for a filter that is not known or has no values,
    /// `FilterLimitExceeded` for too many values.
    pub fn parse(self, asked: &[ec2::Filter]) -> Result<Filter<'a, T>, ApiError> {
        let mut conditions = Vec::new();
        for filter in asked {
            let name = filter.name.as_deref().unwrap_or("null");
            let invalid = || ApiError::invalid_value(format!("The filter '{}' is invalid", shortened(name)));
            if filter.values.is_empty() {
                return Err(ApiError::invalid_value(format!(
                    "The filter '{}' has no values; give it at least one",
                    shortened(name)
                )));
            }
            if filter.values.len() > MAX_VALUES {
                return Err(ApiError::new(
                    "FilterLimitExceeded",
                    format!("The maximum number of filter values specified on a single call is {MAX_VALUES}"),
                ));
            }
            let subject = match name.strip_prefix("tag:") {
                Some(key) if self.tags.is_some() => Subject::Tag(key.to_owned()),
                None if name == "tag-key" && self.tags.is_some() => Subject::TagKey,
                _ => Subject::Known(
                    self.known
                        .iter()
                        .position(|(known, _)| *known == name)
                        .ok_or_else(invalid)?,
                ),
            };
            conditions.push(Condition {
                subject,
                patterns: filter.values.clone(),
            });
        }
        Ok(Filter {
            filters: self,
            conditions,
        })
    }
}

enum Subject {
    Known(usize),
    Tag(String),
    TagKey,
}

struct Condition {
    subject: Subject,
    patterns: Vec<String>,
}

impl Condition {
    fn accepts(&self, value: &str) -> bool {
        self.patterns
            .iter()
            .any(|pattern| pattern_matches(pattern, value))
    }
}

/// The filters of one request: an item must match each, by any of its values.
pub struct Filter<'a, T> {
    filters: Filters<'a, T>,
    conditions: Vec<Condition>,
}

impl<T> Filter<'_, T> {
    /// Whether the item is asked for.
    pub fn matches(&self, item: &T) -> bool {
        let tags = self.filters.tags.as_ref().map(|tags| tags(item));
        self.conditions.iter().all(|condition| match &condition.subject {
            Subject::Known(place) => self
                .filters
                .known
                .get(*place)
                .is_some_and(|(_, values)| values(item).iter().any(|value| condition.accepts(value))),
            Subject::Tag(key) => tags
                .and_then(|tags| tags.get(key))
                .is_some_and(|value| condition.accepts(value)),
            Subject::TagKey => tags.is_some_and(|tags| tags.keys().any(|key| condition.accepts(key))),
        })
    }
}

/// Whether `text` is what `pattern` says: `*` is any number of characters, `?` one, and a backslash
/// takes the meaning from what follows it. Case counts. At most `pattern × text` steps.
pub fn pattern_matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<Piece> = pieces(pattern);
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on if the last star has to take one character more.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(&c) = text.get(t) {
        match pattern.get(p) {
            Some(Piece::Any) => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(Piece::One) => (p, t) = (p + 1, t + 1),
            Some(Piece::Exactly(wanted)) if *wanted == c => (p, t) = (p + 1, t + 1),
            _ => match retry {
                None => return false,
                Some((after_star, taken)) => {
                    retry = Some((after_star, taken + 1));
                    (p, t) = (after_star, taken + 1);
                }
            },
        }
    }
    pattern.iter().skip(p).all(|piece| *piece == Piece::Any)
}

#[derive(PartialEq, Eq)]
enum Piece {
    Any,
    One,
    Exactly(char),
}

fn pieces(pattern: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut letters = pattern.chars();
    while let Some(c) = letters.next() {
        pieces.push(match c {
            '*' => Piece::Any,
            '?' => Piece::One,
            '\\' => Piece::Exactly(letters.next().unwrap_or('\\')),
            c => Piece::Exactly(c),
        });
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Item {
        id: u32,
        zones: Vec<&'static str>,
        tags: Tags,
    }

    fn asked(name: &str, values: &[&str]) -> ec2::Filter {
        ec2::Filter {
            name: Some(name.into()),
            values: values.iter().map(|v| (*v).into()).collect(),
        }
    }

    fn filters<'a>() -> Filters<'a, Item> {
        Filters::tagged(|item: &Item| &item.tags)
            .one("id", |item| item.id)
            .many("zone", |item| item.zones.clone())
            .maybe("first-zone", |item| item.zones.first().copied())
    }

    #[test]
    fn values_are_alternatives_and_filters_all_hold() {
        let tags = Tags::from([("Name".into(), "web 1".into()), ("Env".into(), String::new())]);
        let item = Item {
            id: 7,
            zones: vec!["a", "b"],
            tags,
        };
        for (expected, asked) in [
            (true, vec![]),
            (true, vec![asked("id", &["6", "7"])]),
            (false, vec![asked("id", &["7"]), asked("zone", &["c"])]),
            (true, vec![asked("id", &["7"]), asked("zone", &["c", "b"])]),
            (false, vec![asked("first-zone", &["b"])]),
            (true, vec![asked("tag:Name", &["web*"])]),
            (false, vec![asked("tag:Name", &["Web*"])]),
            (false, vec![asked("tag:Other", &["*"])]),
            (true, vec![asked("tag:Env", &[""])]),
            (true, vec![asked("tag-key", &["En?"])]),
        ] {
            let names: Vec<_> = asked.iter().map(|f| f.name.clone()).collect();
            assert_eq!(
                filters().parse(&asked).unwrap().matches(&item),
                expected,
                "{names:?}"
            );
        }
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let code = |asked: ec2::Filter| filters().parse(&[asked]).map(|_| ()).unwrap_err();
        assert_eq!(code(asked("x", &["1"])).message, "The filter 'x' is invalid");
        assert_eq!(
            code(asked("tag-value", &["1"])).message,
            "The filter 'tag-value' is invalid"
        );
        assert_eq!(code(asked("id", &[])).code, "InvalidParameterValue");
        assert_eq!(
            code(asked("id", &["1"; MAX_VALUES + 1])).code,
            "FilterLimitExceeded"
        );
        let untagged = Filters::<Item>::untagged().parse(&[asked("tag:x", &["1"])]);
        assert_eq!(
            untagged.map(|_| ()).unwrap_err().message,
            "The filter 'tag:x' is invalid"
        );
    }

    #[test]
    fn patterns_have_stars_question_marks_and_escapes() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("?", "é", true),
            ("?", "", false),
            (r"\*", "*", true),
            (r"\*", "x", false),
            (r"\?\\", r"?\", true),
            (r"a\", r"a\", true),
            ("**a", "bba", true),
        ] {
            assert_eq!(
                pattern_matches(pattern, text),
                expected,
                "{pattern} against {text}"
            );
        }
    }

    /// By definition, without regard to cost.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            (['*', rest @ ..], text) => (0..=text.len()).any(|n| naive(rest, &text[n..])),
            (['?', rest @ ..], [_, text @ ..]) => naive(rest, text),
            (['\\', c, rest @ ..], [t, text @ ..]) => c == t && naive(rest, text),
            ([c, rest @ ..], [t, text @ ..]) => c == t && naive(rest, text),
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_mean_what_their_definition_says(pattern in "[ab*?\\\\]{0,8}", text in "[ab*?\\\\]{0,8}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(pattern_matches(&pattern, &text), naive(&p, &t));
        }
    }
}
