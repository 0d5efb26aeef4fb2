//! The intrinsic functions, evaluated.
//!
//! One evaluator serves twice: before anything exists, when what a resource would return is
//! [`Value::Later`] and everything else is checked; and when a resource is about to be made, when
//! everything it refers to has a value.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use crate::error::TemplateError;
use crate::parameter::Resolved;
use crate::sub::{Piece, pieces};
use crate::surroundings::{Pseudo, Surroundings, public_parameter};
use crate::value::{Map, Path, Value, limit};
use crate::{base64, cidr};

/// What resources return.
pub trait Made {
    /// What `Ref` to a resource returns: `None` if the template makes no such resource,
    /// [`Value::Later`] if it does not exist yet.
    fn reference(&self, logical_id: &str) -> Option<Value>;

    /// What `Fn::GetAtt` returns, as [`Made::reference`].
    ///
    /// # Errors
    /// If the resource has no such attribute.
    fn attribute(&self, logical_id: &str, attribute: &str) -> Result<Option<Value>, TemplateError>;
}

/// No resources at all: in `Conditions`, `Rules` and parameters.
pub(crate) struct NothingMade;

impl Made for NothingMade {
    fn reference(&self, _: &str) -> Option<Value> {
        None
    }

    fn attribute(&self, _: &str, _: &str) -> Result<Option<Value>, TemplateError> {
        Ok(None)
    }
}

/// Where names are looked up.
pub struct Scope<'a> {
    /// Values of the parameters.
    pub parameters: &'a BTreeMap<String, Resolved>,
    /// `Mappings`.
    pub mappings: &'a BTreeMap<String, BTreeMap<String, Map>>,
    /// Values of the conditions so far.
    pub conditions: &'a BTreeMap<String, bool>,
    /// The pseudo parameters.
    pub pseudo: &'a Pseudo,
    /// The world outside.
    pub surroundings: &'a dyn Surroundings,
    /// What resources return.
    pub made: &'a dyn Made,
    /// Names that were found nowhere are reported for this section.
    pub section: &'static str,
    produced: Cell<usize>,
    imports: RefCell<BTreeSet<String>>,
}

impl<'a> Scope<'a> {
    /// A scope in which nothing was evaluated yet.
    pub fn new(
        parameters: &'a BTreeMap<String, Resolved>,
        mappings: &'a BTreeMap<String, BTreeMap<String, Map>>,
        conditions: &'a BTreeMap<String, bool>,
        pseudo: &'a Pseudo,
        surroundings: &'a dyn Surroundings,
        made: &'a dyn Made,
        section: &'static str,
    ) -> Self {
        let (produced, imports) = (Cell::new(0), RefCell::default());
        Self {
            parameters,
            mappings,
            conditions,
            pseudo,
            surroundings,
            made,
            section,
            produced,
            imports,
        }
    }

    /// Names of exports that were imported so far.
    pub fn imports(&self) -> BTreeSet<String> {
        self.imports.borrow().clone()
    }

    /// Evaluates a value. `None` is `AWS::NoValue`: the property is as if it were not there.
    ///
    /// # Errors
    /// If a function is used wrongly or a name is unknown.
    pub(crate) fn evaluate(&self, value: &Value, path: &Path) -> Result<Option<Value>, TemplateError> {
        match value {
            Value::Null | Value::Bool(_) | Value::Later => Ok(Some(value.clone())),
            Value::Number(text) => self.charge(text.len()).map(|()| Some(value.clone())),
            Value::String(text) => self.dynamic(text, path).map(Some),
            Value::List(list) => {
                self.charge(list.len())?;
                let mut items = Vec::with_capacity(list.len());
                for (index, item) in list.iter().enumerate() {
                    items.extend(self.evaluate(item, &path.index(index))?);
                }
                Ok(Some(Value::List(items)))
            }
            Value::Map(map) => match value.call() {
                Some((name, argument)) => self.call(name, argument, path),
                None => {
                    if let Some(name) = map.keys().find(|key| key.starts_with("Fn::") || *key == "Ref") {
                        return Err(TemplateError::format(format!(
                            "[{path}] the function {name} must be the only key of its map"
                        )));
                    }
                    self.charge(map.len())?;
                    let mut entries = Map::new();
                    for (key, item) in map {
                        if let Some(item) = self.evaluate(item, &path.then(key))? {
                            entries.insert(key.clone(), item);
                        }
                    }
                    Ok(Some(Value::Map(entries)))
                }
            },
        }
    }

    /// Evaluates what must have a value.
    fn wanted(&self, value: &Value, path: &Path) -> Result<Value, TemplateError> {
        self.evaluate(value, path)?
            .ok_or_else(|| TemplateError::function(format!("AWS::NoValue cannot be used at {path}")))
    }

    fn call(&self, name: &str, argument: &Value, path: &Path) -> Result<Option<Value>, TemplateError> {
        let path = &path.then(name);
        match name {
            "Ref" => match argument {
                Value::String(name) if name == "AWS::NoValue" => Ok(None),
                Value::String(name) => self.reference(name).map(Some),
                _ => Err(TemplateError::function(
                    "every Ref object must have a single String value.",
                )),
            },
            "Fn::GetAtt" => self.get_att(argument, path).map(Some),
            "Fn::Sub" => self.sub(argument, path).map(Some),
            "Fn::Join" => self.join(argument, path).map(Some),
            "Fn::Split" => self.split(argument, path).map(Some),
            "Fn::Select" => self.select(argument, path).map(Some),
            "Fn::GetAZs" => self.get_azs(argument, path).map(Some),
            "Fn::Cidr" => self.cidr(argument, path).map(Some),
            "Fn::FindInMap" => self.find_in_map(argument, path).map(Some),
            "Fn::Base64" => {
                let wrong =
                    || TemplateError::function("every Fn::Base64 object must have a String-typed value.");
                match self.wanted(argument, path)? {
                    Value::Later => Ok(Some(Value::Later)),
                    value => {
                        let coded = base64::encode(value.text().ok_or_else(wrong)?.as_bytes());
                        self.charge(coded.len())?;
                        Ok(Some(coded.into()))
                    }
                }
            }
            "Fn::If" => {
                let Value::List(list) = argument else {
                    return Err(TemplateError::function("Fn::If requires a list argument"));
                };
                let [Value::String(condition), then, otherwise] = &list[..] else {
                    return Err(TemplateError::function(
                        "Fn::If requires a list argument with three elements, the first of them the name of a condition",
                    ));
                };
                let holds = self.conditions.get(condition).ok_or_else(|| {
                    TemplateError::function(format!("unresolved condition dependency: {condition}"))
                })?;
                self.evaluate(if *holds { then } else { otherwise }, path)
            }
            "Fn::ImportValue" => self.import_value(argument, path).map(Some),
            "Fn::And"
            | "Fn::Or"
            | "Fn::Not"
            | "Fn::Equals"
            | "Fn::Contains"
            | "Fn::EachMemberIn"
            | "Fn::EachMemberEquals"
            | "Fn::RefAll"
            | "Fn::ValueOf"
            | "Fn::ValueOfAll" => Err(TemplateError::function(format!(
                "{name} is not supported in the {} section (at {path})",
                self.section
            ))),
            _ => Err(TemplateError::function(format!(
                "unsupported intrinsic function {name} (at {path})"
            ))),
        }
    }

    /// What `Ref` returns.
    fn reference(&self, name: &str) -> Result<Value, TemplateError> {
        let pseudo = self.pseudo;
        let value = match name {
            "AWS::AccountId" => pseudo.account.as_str().into(),
            "AWS::Region" => pseudo.region.as_str().into(),
            "AWS::StackName" => pseudo.stack_name.as_str().into(),
            "AWS::StackId" => pseudo.stack_id.as_str().into(),
            "AWS::Partition" => pseudo.partition().into(),
            "AWS::URLSuffix" => pseudo.url_suffix().into(),
            "AWS::NotificationARNs" => pseudo.notification_arns.iter().cloned().collect(),
            _ => match self.parameters.get(name) {
                Some(parameter) => parameter.value.clone(),
                None => self.made.reference(name).ok_or_else(|| self.unresolved(name))?,
            },
        };
        self.charge(size(&value))?;
        Ok(value)
    }

    fn attribute(&self, id: &str, attribute: &str) -> Result<Value, TemplateError> {
        let value = self
            .made
            .attribute(id, attribute)?
            .ok_or_else(|| self.unresolved(id))?;
        self.charge(size(&value))?;
        Ok(value)
    }

    fn unresolved(&self, name: &str) -> TemplateError {
        match self.section {
            "Resources" | "Outputs" => TemplateError::Unresolved {
                names: BTreeSet::from([name.to_owned()]),
                section: self.section,
            },
            section => TemplateError::format(format!(
                "Unresolved dependencies [{name}]. Cannot reference resources in the {section} block of the template"
            )),
        }
    }

    fn get_att(&self, argument: &Value, path: &Path) -> Result<Value, TemplateError> {
        let wrong = || {
            TemplateError::function(
                "every Fn::GetAtt object requires two non-empty parameters, the resource name and the resource attribute",
            )
        };
        match argument {
            Value::String(text) => {
                let (id, attribute) = text.split_once('.').ok_or_else(wrong)?;
                self.attribute(id, attribute)
            }
            Value::List(list) => match &list[..] {
                [Value::String(id), attribute] if !id.is_empty() => match self.wanted(attribute, path)? {
                    Value::String(attribute) if !attribute.is_empty() => self.attribute(id, &attribute),
                    _ => Err(wrong()),
                },
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }

    fn sub(&self, argument: &Value, path: &Path) -> Result<Value, TemplateError> {
        let wrong = || {
            TemplateError::function(
                "One or more Fn::Sub intrinsic functions don't specify expected arguments. Specify a string as first argument, \
                 and an optional second argument to specify a mapping of values to replace in the string",
            )
        };
        let empty = Map::new();
        let (text, variables) = match argument {
            Value::String(text) => (text, &empty),
            Value::List(list) => match &list[..] {
                [Value::String(text), Value::Map(variables)] => (text, variables),
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        };
        // Each variable is evaluated once, however often it is named.
        let mut known = BTreeMap::new();
        let mut later = false;
        let mut out = String::new();
        for piece in pieces(text)? {
            let name = match piece {
                Piece::Text(text) => {
                    self.charge(text.len())?;
                    out.push_str(text);
                    continue;
                }
                Piece::Literal(text) => {
                    self.charge(text.len())?;
                    out.push_str("${");
                    out.push_str(text);
                    out.push('}');
                    continue;
                }
                Piece::Variable(name) => name,
            };
            if !known.contains_key(name) {
                let value = match variables.get(name) {
                    Some(value) => self.wanted(value, &path.then(name))?,
                    None => match name.split_once('.') {
                        Some((id, attribute)) => self.attribute(id, attribute)?,
                        None => self.reference(name)?,
                    },
                };
                known.insert(name, value);
            }
            match known.get(name) {
                Some(Value::Later) | None => later = true,
                Some(value) => {
                    let text = value.text().ok_or_else(|| {
                        TemplateError::function(format!("Fn::Sub requires that ${{{name}}} is a string, not a list or an object (at {path})"))
                    })?;
                    self.charge(text.len())?;
                    out.push_str(&text);
                }
            }
        }
        if later {
            Ok(Value::Later)
        } else {
            self.dynamic(&out, path)
        }
    }

    fn join(&self, argument: &Value, path: &Path) -> Result<Value, TemplateError> {
        let wrong = || {
            TemplateError::function(
                "every Fn::Join object requires two parameters, (1) a string delimiter and (2) a list of strings to be joined \
                 or a function that returns a list of strings (such as Fn::GetAZs) to be joined.",
            )
        };
        let Some([Value::String(separator), list]) = argument.list() else {
            return Err(wrong());
        };
        let list = match self.wanted(list, path)? {
            Value::Later => return Ok(Value::Later),
            Value::List(list) => list,
            _ => return Err(wrong()),
        };
        let mut out = String::new();
        let mut later = false;
        for (index, item) in list.iter().enumerate() {
            if *item == Value::Later {
                later = true;
                continue;
            }
            let text = item.text().ok_or_else(wrong)?;
            self.charge(text.len() + separator.len())?;
            if index > 0 {
                out.push_str(separator);
            }
            out.push_str(&text);
        }
        if later {
            Ok(Value::Later)
        } else {
            self.dynamic(&out, path)
        }
    }

    fn split(&self, argument: &Value, path: &Path) -> Result<Value, TemplateError> {
        let wrong = || {
            TemplateError::function(
                "every Fn::Split object requires two parameters, (1) a string delimiter and (2) a string to be split or a function \
                 that returns a string to be split.",
            )
        };
        let Some([Value::String(separator), text]) = argument.list() else {
            return Err(wrong());
        };
        if separator.is_empty() {
            return Err(wrong());
        }
        match self.wanted(text, path)? {
            Value::Later => Ok(Value::Later),
            value => {
                let text = value.text().ok_or_else(wrong)?;
                let items: Vec<Value> = text.split(separator.as_str()).map(Value::from).collect();
                self.charge(text.len() + items.len())?;
                Ok(Value::List(items))
            }
        }
    }

    fn select(&self, argument: &Value, path: &Path) -> Result<Value, TemplateError> {
        let wrong = || {
            TemplateError::function(
                "Fn::Select requires a list argument with two elements: an integer index and a list",
            )
        };
        let Some([index, list]) = argument.list() else {
            return Err(wrong());
        };
        let index = self.wanted(index, path)?;
        let list = self.wanted(list, path)?;
        if index == Value::Later || list == Value::Later {
            return Ok(Value::Later);
        }
        let index = index.text().ok_or_else(wrong)?;
        let Value::List(list) = list else {
            return Err(wrong());
        };
        let place: usize = index.trim().parse().map_err(|_| wrong())?;
        list.into_iter().nth(place).ok_or_else(|| {
            TemplateError::function(format!(
                "Fn::Select cannot select nonexistent value at index {index}"
            ))
        })
    }

    fn get_azs(&self, argument: &Value, path: &Path) -> Result<Value, TemplateError> {
        let region = match self.wanted(argument, path)? {
            Value::Later => return Ok(Value::Later),
            value => value.text().ok_or_else(|| {
                TemplateError::function("every Fn::GetAZs object must have a String-typed value.")
            })?,
        };
        let region = if region.is_empty() {
            &self.pseudo.region
        } else {
            &region
        };
        let zones = self.surroundings.zones(region).ok_or_else(|| {
            TemplateError::function(format!("Fn::GetAZs: the region {region} is not available"))
        })?;
        Ok(zones.into_iter().collect())
    }

    fn cidr(&self, argument: &Value, path: &Path) -> Result<Value, TemplateError> {
        let wrong = || {
            TemplateError::function(
                "every Fn::Cidr object requires three parameters: ipBlock, count and cidrBits",
            )
        };
        let list = argument
            .list()
            .filter(|list| matches!(list.len(), 2 | 3))
            .ok_or_else(wrong)?;
        let mut texts = Vec::with_capacity(3);
        let mut later = false;
        for item in list {
            match self.wanted(item, path)? {
                Value::Later => later = true,
                value => texts.push(value.text().ok_or_else(wrong)?),
            }
        }
        if later {
            return Ok(Value::Later);
        }
        let mut texts = texts.into_iter();
        let (block, count) = texts.next().zip(texts.next()).ok_or_else(wrong)?;
        // Without cidrBits a block of IPv4 gets eight, one of IPv6 a whole subnet.
        let bits = texts
            .next()
            .unwrap_or_else(|| if block.contains(':') { "64" } else { "8" }.to_owned());
        let blocks = cidr::blocks(block.trim(), count.trim(), bits.trim())?;
        self.charge(blocks.len() * 16)?;
        Ok(blocks.into_iter().collect())
    }

    fn find_in_map(&self, argument: &Value, path: &Path) -> Result<Value, TemplateError> {
        let wrong = || {
            TemplateError::function(
                "every Fn::FindInMap object requires three parameters, the map name, map key and the attribute for return value",
            )
        };
        let Some([map, top, second]) = argument.list() else {
            return Err(wrong());
        };
        let mut names = Vec::with_capacity(3);
        for item in [map, top, second] {
            match self.wanted(item, path)? {
                Value::Later => return Ok(Value::Later),
                value => names.push(value.text().ok_or_else(wrong)?),
            }
        }
        let [map, top, second] = &names[..] else {
            return Err(wrong());
        };
        let mapping = self.mappings.get(map).ok_or_else(|| {
            TemplateError::function(format!(
                "Mapping named '{map}' is not present in the 'Mappings' section of template."
            ))
        })?;
        let value = mapping
            .get(top)
            .and_then(|keys| keys.get(second))
            .ok_or_else(|| {
                TemplateError::function(format!("Unable to get mapping for {map}::{top}::{second}"))
            })?;
        self.charge(size(value))?;
        Ok(value.clone())
    }

    fn import_value(&self, argument: &Value, path: &Path) -> Result<Value, TemplateError> {
        let name = match self.wanted(argument, path)? {
            Value::Later => {
                return Err(TemplateError::function(format!(
                    "Fn::ImportValue must not depend on resources of this template (at {path})"
                )));
            }
            value => value.text().ok_or_else(|| {
                TemplateError::function("every Fn::ImportValue object must have a String-typed value.")
            })?,
        };
        let value = self
            .surroundings
            .export(&name)
            .ok_or_else(|| TemplateError::Parameter(format!("No export named {name} found.")))?;
        self.charge(value.len())?;
        self.imports.borrow_mut().insert(name);
        Ok(value.into())
    }

    /// Replaces `{{resolve:ssm:NAME}}` by what is stored under the name, and refuses other dynamic
    /// references, which would otherwise arrive as text in a resource.
    fn dynamic(&self, text: &str, path: &Path) -> Result<Value, TemplateError> {
        self.charge(text.len())?;
        if !text.contains("{{resolve:") {
            return Ok(text.into());
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{resolve:") {
            out.push_str(before);
            let Some((reference, tail)) = after.split_once("}}") else {
                return Err(TemplateError::function(format!(
                    "the dynamic reference at {path} has no end"
                )));
            };
            let value = reference
                .strip_prefix("ssm:")
                .map(|name| {
                    name.rsplit_once(':')
                        .filter(|(_, version)| version.bytes().all(|b| b.is_ascii_digit()))
                        .map_or(name, |(name, _)| name)
                })
                .and_then(|name| public_parameter(name, self.surroundings))
                .ok_or_else(|| {
                    TemplateError::function(format!(
                        "the dynamic reference {{{{resolve:{reference}}}}} at {path} is not supported here"
                    ))
                })?;
            self.charge(value.len())?;
            out.push_str(&value);
            rest = tail;
        }
        out.push_str(rest);
        Ok(out.into())
    }

    fn charge(&self, bytes: usize) -> Result<(), TemplateError> {
        let produced = self.produced.get().saturating_add(bytes).saturating_add(1);
        self.produced.set(produced);
        if produced > limit::EVALUATED {
            return Err(TemplateError::function(format!(
                "the evaluated template is larger than {} bytes",
                limit::EVALUATED
            )));
        }
        Ok(())
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Later => 1,
        Value::Number(text) | Value::String(text) => text.len(),
        Value::List(list) => list.iter().map(size).sum(),
        Value::Map(map) => map.iter().map(|(key, value)| key.len() + size(value)).sum(),
    }
}
