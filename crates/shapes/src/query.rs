//! Reading requests: parameters as a tree by the dots in their names, taken apart by the
//! generated types. What no field took is an error that names it, so nothing is ever ignored.

use std::borrow::Cow;
use std::collections::BTreeMap;

use thiserror::Error;

use crate::{Blob, Timestamp};

/// Most parameters in one request.
pub const MAX_PARAMETERS: usize = 20_000;
/// Most parts of a name (`Filter.1.Value.2` has four); the deepest the models have is nine.
pub const MAX_DEPTH: usize = 16;
/// Longest name in bytes.
pub const MAX_NAME: usize = 512;
/// How much of a wrong name or value an error repeats, in characters.
const QUOTED: usize = 128;

/// Why a request could not be read. Names are as the client wrote them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// No operation parameter has this name.
    #[error("The parameter {parameter} is not recognized")]
    Unknown {
        /// Its full name.
        parameter: String,
    },
    /// The operation cannot do without it.
    #[error("The request must contain the parameter {parameter}")]
    Missing {
        /// Its full name.
        parameter: String,
    },
    /// The value is not of the parameter's type.
    #[error("Value ({value}) for parameter {parameter} is invalid. Expected {expected}.")]
    Invalid {
        /// Its full name.
        parameter: String,
        /// The value, shortened.
        value: String,
        /// What it should have been, with its article.
        expected: &'static str,
    },
    /// It was given twice.
    #[error("The parameter {parameter} may only be specified once")]
    Repeated {
        /// Its full name.
        parameter: String,
    },
    /// More than [`MAX_PARAMETERS`].
    #[error("The request holds more than {MAX_PARAMETERS} parameters")]
    TooMany,
}

impl DecodeError {
    fn within(mut self, outer: &str) -> DecodeError {
        match &mut self {
            DecodeError::Unknown { parameter }
            | DecodeError::Missing { parameter }
            | DecodeError::Invalid { parameter, .. }
            | DecodeError::Repeated { parameter } => {
                *parameter = match parameter.as_str() {
                    "" => outer.to_owned(),
                    inner => format!("{outer}.{inner}"),
                }
            }
            DecodeError::TooMany => {}
        }
        self
    }
}

/// A parameter with what its name leads to: `X=1` is the value of `X`, `X.Y=2` one of its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    value: Option<String>,
    members: BTreeMap<String, Parameters>,
}

/// Something a request holds.
pub trait Decode: Sized {
    /// Takes from `from` what belongs to it. What it leaves is refused by the caller.
    fn decode(from: &mut Parameters) -> Result<Self, DecodeError>;
}

impl Parameters {
    /// The tree of decoded names and values.
    ///
    /// # Errors
    /// More than [`MAX_PARAMETERS`]; a name longer than [`MAX_NAME`], deeper than [`MAX_DEPTH`],
    /// empty or with an empty part; a name that comes twice.
    pub fn collect<'a>(
        pairs: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
    ) -> Result<Parameters, DecodeError> {
        let mut root = Parameters::default();
        for (count, (name, value)) in pairs.into_iter().enumerate() {
            if count == MAX_PARAMETERS {
                return Err(DecodeError::TooMany);
            }
            let parts = name.split('.');
            if name.len() > MAX_NAME || parts.clone().count() > MAX_DEPTH || parts.clone().any(str::is_empty)
            {
                return Err(DecodeError::Unknown {
                    parameter: quoted(&name),
                });
            }
            let mut node = &mut root;
            for part in parts {
                node = node.members.entry(part.to_owned()).or_default();
            }
            if node.value.replace(value.into_owned()).is_some() {
                return Err(DecodeError::Repeated {
                    parameter: name.into_owned(),
                });
            }
        }
        Ok(root)
    }

    /// Decodes everything; what is left over is [`DecodeError::Unknown`].
    pub fn decode<T: Decode>(mut self) -> Result<T, DecodeError> {
        let decoded = T::decode(&mut self)?;
        match self.leftover() {
            None => Ok(decoded),
            Some(parameter) => Err(DecodeError::Unknown {
                parameter: quoted(&parameter),
            }),
        }
    }

    /// Takes the value of a parameter that is not part of the operation (`Action`, `Version`).
    pub fn take_value(&mut self, name: &str) -> Option<String> {
        let node = self.members.get_mut(name)?;
        let value = node.value.take();
        if node.members.is_empty() {
            self.members.remove(name);
        }
        value
    }

    /// Every name that has a value, list indices left out (`Filter.1.Value.2` gives
    /// `Filter.Value`), in order. An empty one says nothing: clients send `X=` for no `X`.
    pub fn names(&self) -> Vec<String> {
        fn walk(node: &Parameters, name: &str, names: &mut Vec<String>) {
            if node.value.as_deref().is_some_and(|value| !value.is_empty())
                && names.last().is_none_or(|last| last != name)
            {
                names.push(name.to_owned());
            }
            for (part, member) in &node.members {
                if part.bytes().all(|b| b.is_ascii_digit()) {
                    walk(member, name, names);
                } else if name.is_empty() {
                    walk(member, part, names);
                } else {
                    walk(member, &format!("{name}.{part}"), names);
                }
            }
        }
        let mut names = Vec::new();
        walk(self, "", &mut names);
        names
    }

    /// A member that may be absent.
    pub fn optional<T: Decode>(&mut self, name: &str) -> Result<Option<T>, DecodeError> {
        match self.members.remove(name) {
            None => Ok(None),
            Some(member) => member.decode().map(Some).map_err(|e| e.within(name)),
        }
    }

    /// A member that may not be absent, nor empty: the ec2 protocol takes `X=` for no `X`.
    pub fn required<T: Decode>(&mut self, name: &str) -> Result<T, DecodeError> {
        let empty = |m: &Parameters| m.members.is_empty() && m.value.as_deref() == Some("");
        if self.members.get(name).is_some_and(empty) {
            return Err(DecodeError::Missing {
                parameter: name.to_owned(),
            });
        }
        self.present(name)
    }

    /// A member that may not be absent, but empty.
    pub fn present<T: Decode>(&mut self, name: &str) -> Result<T, DecodeError> {
        self.optional(name)?.ok_or_else(|| DecodeError::Missing {
            parameter: name.to_owned(),
        })
    }

    /// `name.1`, `name.2`, …: a list of the ec2 protocol. Gaps are passed over.
    pub fn list<T: Decode>(&mut self, name: &str) -> Result<Vec<T>, DecodeError> {
        match self.members.remove(name) {
            None => Ok(Vec::new()),
            Some(list) => list.items().map_err(|e| e.within(name)),
        }
    }

    /// [`Parameters::list`] of at least one.
    pub fn required_list<T: Decode>(&mut self, name: &str) -> Result<Vec<T>, DecodeError> {
        let list = self.list(name)?;
        if list.is_empty() {
            return Err(DecodeError::Missing {
                parameter: name.to_owned(),
            });
        }
        Ok(list)
    }

    /// `name.member.1`, …: a list of the query protocol, where `name=` is an empty one.
    pub fn members<T: Decode>(&mut self, name: &str, item: &str) -> Result<Vec<T>, DecodeError> {
        let Some(mut list) = self.members.remove(name) else {
            return Ok(Vec::new());
        };
        if list.value.as_deref() == Some("") {
            list.value = None;
        }
        let items = list.list(item).map_err(|e| e.within(name))?;
        match list.leftover() {
            None => Ok(items),
            Some(rest) => Err(DecodeError::Unknown { parameter: rest }.within(name)),
        }
    }

    /// [`Parameters::members`] of a list that must be given, if only as empty.
    pub fn required_members<T: Decode>(&mut self, name: &str, item: &str) -> Result<Vec<T>, DecodeError> {
        if !self.members.contains_key(name) {
            return Err(DecodeError::Missing {
                parameter: name.to_owned(),
            });
        }
        self.members(name, item)
    }

    fn items<T: Decode>(self) -> Result<Vec<T>, DecodeError> {
        if self.value.is_some() {
            return Err(DecodeError::Unknown {
                parameter: String::new(),
            });
        }
        let mut items = Vec::with_capacity(self.members.len());
        for (index, item) in self.members {
            // Bounded, so that the order is by number and `1` and `01` cannot both be there.
            let place = index.parse::<u16>().ok().filter(|&place| {
                place > 0 && usize::from(place) <= MAX_PARAMETERS && place.to_string() == index
            });
            let Some(place) = place else {
                return Err(DecodeError::Unknown {
                    parameter: item.leftover().unwrap_or_default(),
                }
                .within(&index));
            };
            items.push((place, item));
        }
        items.sort_unstable_by_key(|(place, _)| *place);
        items
            .into_iter()
            .map(|(place, item)| item.decode().map_err(|e| e.within(&place.to_string())))
            .collect()
    }

    /// The name of some parameter that is still here.
    fn leftover(&self) -> Option<String> {
        if self.value.is_some() {
            return Some(String::new());
        }
        self.members.iter().find_map(|(part, member)| {
            member.leftover().map(|rest| match rest.as_str() {
                "" => part.clone(),
                rest => format!("{part}.{rest}"),
            })
        })
    }

    /// The value, read by `read`; `expected` says what that wants.
    fn scalar<T>(
        &mut self,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, DecodeError> {
        let Some(value) = self.value.take() else {
            // Only members: `X.Y=1` where `X` is a plain value.
            return Err(DecodeError::Unknown {
                parameter: self.leftover().unwrap_or_default(),
            });
        };
        read(&value).ok_or_else(|| DecodeError::Invalid {
            parameter: String::new(),
            value: quoted(&value),
            expected,
        })
    }
}

/// At most [`QUOTED`] characters of a client's text.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

impl Decode for String {
    fn decode(from: &mut Parameters) -> Result<Self, DecodeError> {
        from.scalar("a text", |text| Some(text.to_owned()))
    }
}

impl Decode for i32 {
    fn decode(from: &mut Parameters) -> Result<Self, DecodeError> {
        from.scalar("an integer", |text| text.parse().ok())
    }
}

impl Decode for i64 {
    fn decode(from: &mut Parameters) -> Result<Self, DecodeError> {
        from.scalar("an integer", |text| text.parse().ok())
    }
}

impl Decode for f64 {
    fn decode(from: &mut Parameters) -> Result<Self, DecodeError> {
        from.scalar("a number", |text| {
            text.parse().ok().filter(|n: &f64| n.is_finite())
        })
    }
}

impl Decode for bool {
    fn decode(from: &mut Parameters) -> Result<Self, DecodeError> {
        from.scalar("true or false", |text| match text {
            _ if text.eq_ignore_ascii_case("true") => Some(true),
            _ if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        })
    }
}

impl Decode for Timestamp {
    fn decode(from: &mut Parameters) -> Result<Self, DecodeError> {
        from.scalar("a time in UTC like 2026-01-31T09:30:00Z", Timestamp::parse)
    }
}

impl Decode for Blob {
    fn decode(from: &mut Parameters) -> Result<Self, DecodeError> {
        from.scalar("base 64", |text| crate::base64::decode(text).map(Blob))
    }
}
