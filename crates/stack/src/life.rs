//! What a resource type does: makes its object by the region's commands, says when it is ready, what
//! `Fn::GetAtt` returns, and deletes it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use atoll_model::stack::{Stack, StackResource, WantedSignals};
use atoll_model::{AccountId, Tags};
use atoll_net::Prefix;
use atoll_region::tag::Taggable;
use atoll_region::{Error, Region, Transaction};

use crate::schema;
use crate::value::{Map, Value};

/// A resource type's life.
pub trait Life: Sync {
    /// Makes the object and returns its id, which is also what `Ref` returns.
    ///
    /// # Errors
    /// Why it cannot be. Whatever was done by then is undone by the caller.
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure>;

    /// Whether a made object is ready.
    fn progress(&self, _: &Seen<'_>) -> Progress {
        Progress::Complete
    }

    /// What `Fn::GetAtt` returns; `None` if the object is gone or has no such attribute.
    fn attribute(&self, _: &Seen<'_>, _: &str) -> Option<Value> {
        None
    }

    /// Deletes the object, or begins to.
    ///
    /// # Errors
    /// Why it cannot be now. An object that is not there (an error that says so) is taken as deleted.
    fn delete(&self, _: &mut Transaction, _: &Doomed<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Whether a deleted object is gone.
    fn is_gone(&self, _: &Region, _: &Doomed<'_>) -> bool {
        true
    }
}

/// An object that was made.
#[derive(Debug)]
pub struct Created {
    /// Its id.
    pub physical: String,
    /// What carries the stack's tags; `None` for what carries none.
    pub taggable: Option<Taggable>,
    /// What its type must remember.
    pub detail: Option<String>,
    /// Signals that it waits for by itself.
    pub signals: Option<WantedSignals>,
    /// What a person should know.
    pub note: Option<String>,
}

impl Created {
    /// An object whose id names it wherever tags are set.
    pub fn tagged(id: impl fmt::Display) -> Self {
        let physical = id.to_string();
        let taggable = Taggable::parse(&physical).ok();
        Self {
            physical,
            taggable,
            detail: None,
            signals: None,
            note: None,
        }
    }

    /// Something that is no object of its own.
    pub fn untagged(id: impl fmt::Display) -> Self {
        Self {
            physical: id.to_string(),
            taggable: None,
            detail: None,
            signals: None,
            note: None,
        }
    }

    /// With something to remember.
    pub fn remembering(self, detail: impl fmt::Display) -> Self {
        Self {
            detail: Some(detail.to_string()),
            ..self
        }
    }
}

/// How far a made object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is ready.
    Complete,
    /// Not yet.
    Waiting,
    /// It never will be, for this reason.
    Failed(String),
}

/// A resource being made.
pub struct Make<'a> {
    /// The transaction that its commands change.
    pub tx: &'a mut Transaction,
    /// Its properties.
    pub given: Given<'a>,
    /// Its logical id.
    pub logical_id: &'a str,
    /// Its type.
    pub type_name: &'a str,
    /// Its stack.
    pub stack: &'a Stack,
}

impl Make<'_> {
    /// The resource's tags over the stack's.
    ///
    /// # Errors
    /// If one key is given twice.
    pub fn tags(&self) -> Result<Tags, Failure> {
        let mut own = Tags::new();
        for tag in self.given.objects("Tags") {
            let (key, value) = (
                tag.text("Key").unwrap_or_default(),
                tag.text("Value").unwrap_or_default(),
            );
            if is_reserved(&key) {
                return Err(Failure::of(
                    "Tags",
                    format!("Tag keys starting with 'aws:' are reserved for internal use: {key}"),
                ));
            }
            if own.insert(key.clone(), value).is_some() {
                return Err(Failure::of(
                    "Tags",
                    format!("Duplicate tag keys found. The key '{key}' is there twice"),
                ));
            }
        }
        let mut tags = self.stack.tags.clone();
        tags.extend(own);
        Ok(tags)
    }

    /// A name for what has none: the stack's, the logical id, and letters that make it unique.
    pub fn name(&mut self) -> String {
        const LETTERS: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        let mut bits = self.tx.draw();
        let letters: String = (0..12)
            .map(|_| {
                let letter = LETTERS.get((bits % 36) as usize).copied().unwrap_or(b'0');
                bits /= 36;
                char::from(letter)
            })
            .collect();
        format!("{}-{}-{letters}", self.stack.name, self.logical_id)
    }
}

/// A resource that was made, as a reader sees it.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The region.
    pub region: &'a Region,
    /// Its stack.
    pub stack: &'a Stack,
    /// Its logical id.
    pub logical_id: &'a str,
    /// Its row.
    pub resource: &'a StackResource,
    /// The object's id.
    pub physical: &'a str,
}

impl Seen<'_> {
    /// The row of an object by the id's text, if its owner is the stack's.
    pub fn row<N: atoll_region::Noun>(&self) -> Option<std::sync::Arc<N>>
    where
        N::Id: FromStr,
    {
        let id = self.physical.parse::<N::Id>().ok()?;
        self.region.find::<N>(self.stack.owner, id).ok().cloned()
    }
}

/// A resource being deleted.
#[derive(Clone, Copy)]
pub struct Doomed<'a> {
    /// Whose it is.
    pub account: AccountId,
    /// The object's id.
    pub physical: &'a str,
    /// What its type remembered.
    pub detail: Option<&'a str>,
}

impl Doomed<'_> {
    /// The id, typed. What is no id of that kind cannot have been made.
    ///
    /// # Errors
    /// `InternalError`.
    pub fn id<I: FromStr>(&self) -> Result<I, Error> {
        self.physical
            .parse()
            .map_err(|_| Error::internal(format!("{} is not an id of its kind", self.physical)))
    }

    /// What was remembered, typed.
    ///
    /// # Errors
    /// `InternalError`.
    pub fn detail<I: FromStr>(&self) -> Result<I, Error> {
        let detail = self.detail.unwrap_or_default();
        detail
            .parse()
            .map_err(|_| Error::internal(format!("{detail} is not an id of its kind")))
    }
}

/// Why a resource cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The property at fault, if one is.
    pub property: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl Failure {
    /// A property is wrong.
    pub fn of(property: &str, message: impl Into<String>) -> Self {
        Self {
            property: Some(property.to_owned()),
            message: message.into(),
        }
    }

    /// The failure with the property that an error of the region is about: the one whose value the message
    /// quotes, the longest if several are.
    pub(crate) fn blaming(self, properties: &Map) -> Self {
        if self.property.is_some() {
            return self;
        }
        let mut quoted: Option<(usize, String)> = None;
        for (name, value) in properties {
            let mut texts = Vec::new();
            scalars(value, &mut texts);
            for text in texts {
                // Short values (ports, `true`) are in too many sentences.
                if text.len() >= 6
                    && self.message.contains(&text)
                    && quoted.as_ref().is_none_or(|(length, _)| text.len() > *length)
                {
                    quoted = Some((text.len(), name.clone()));
                }
            }
        }
        Self {
            property: quoted.map(|(_, name)| name),
            ..self
        }
    }
}

fn scalars(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::List(list) => list.iter().for_each(|item| scalars(item, into)),
        Value::Map(map) => map.values().for_each(|item| scalars(item, into)),
        other => into.extend(other.text()),
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self {
            property: None,
            message: format!("{} (Service: Ec2, Error Code: {})", e.message, e.code),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.property {
            Some(property) => write!(f, "Property {property}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Evaluated properties, read by type. Their form was checked before.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    properties: &'a Map,
}

impl<'a> Given<'a> {
    /// Reads these.
    pub fn new(properties: &'a Map) -> Self {
        Self { properties }
    }

    /// Whether the property is there.
    pub fn has(&self, name: &str) -> bool {
        self.properties.contains_key(name)
    }

    /// The value, whatever it is.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.properties.get(name)
    }

    /// Text.
    pub fn text(&self, name: &str) -> Option<String> {
        self.properties.get(name)?.text()
    }

    /// A boolean.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        self.properties.get(name).and_then(schema::boolean)
    }

    /// A whole number in the range of its type.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn integer<T: TryFrom<i64>>(&self, name: &str) -> Result<Option<T>, Failure> {
        match self.properties.get(name).and_then(schema::integer) {
            None => Ok(None),
            Some(number) => T::try_from(number)
                .map(Some)
                .map_err(|_| Failure::of(name, format!("{number} is out of range"))),
        }
    }

    /// An id or an address.
    ///
    /// # Errors
    /// If the text is none.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<Option<T>, Failure> {
        match self.text(name) {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|e| Failure::of(name, format!("'{text}': {e}"))),
        }
    }

    /// An id or an address that must be there.
    ///
    /// # Errors
    /// If it is not, or the text is none.
    pub fn required<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<T, Failure> {
        self.parsed(name)?
            .ok_or_else(|| Failure::of(name, "cannot be empty"))
    }

    /// A block of addresses; host bits are dropped, as EC2 does.
    ///
    /// # Errors
    /// If the text is none.
    pub fn block(&self, name: &str) -> Result<Option<Prefix>, Failure> {
        match self.text(name) {
            None => Ok(None),
            Some(text) => Prefix::parse_canonical(&text).map(Some).map_err(|_| {
                Failure::of(
                    name,
                    format!("Value ({text}) is invalid. This is not a valid CIDR block."),
                )
            }),
        }
    }

    /// A list of texts, each parsed.
    ///
    /// # Errors
    /// If one is malformed.
    pub fn list<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<Vec<T>, Failure> {
        let items = self
            .properties
            .get(name)
            .and_then(Value::list)
            .unwrap_or_default();
        items
            .iter()
            .filter_map(Value::text)
            .map(|text| {
                text.parse()
                    .map_err(|e| Failure::of(name, format!("'{text}': {e}")))
            })
            .collect()
    }

    /// An object.
    pub fn object(&self, name: &str) -> Option<Given<'a>> {
        self.properties.get(name)?.map().map(Given::new)
    }

    /// A list of objects.
    pub fn objects(&self, name: &str) -> Vec<Given<'a>> {
        let items = self
            .properties
            .get(name)
            .and_then(Value::list)
            .unwrap_or_default();
        items.iter().filter_map(Value::map).map(Given::new).collect()
    }
}

/// Whether a tag's key is one that only services set.
pub(crate) fn is_reserved(key: &str) -> bool {
    key.get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
}

/// An IPv4 or IPv6 address as a value, or the empty text where there is none, as CloudFormation returns it.
pub(crate) fn address(ip: Option<impl Into<IpAddr>>) -> Value {
    ip.map_or_else(String::new, |ip| ip.into().to_string()).into()
}
