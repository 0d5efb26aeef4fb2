//! Conditions and rules: the functions that are true or false.
//!
//! `Conditions` may use `Fn::And`, `Fn::Or`, `Fn::Not`, `Fn::Equals` and other conditions; `Rules` may
//! also ask whether lists contain values and look objects up, but not use conditions.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::TemplateError;
use crate::intrinsic::{NothingMade, Scope};
use crate::parameter::Resolved;
use crate::surroundings::{Pseudo, Surroundings};
use crate::template::Template;
use crate::value::{Path, Value};

/// Evaluates every condition, each after those it names.
///
/// # Errors
/// If one is not a boolean function, names a condition that is not there, or conditions wait for each
/// other.
pub fn conditions(
    template: &Template,
    parameters: &BTreeMap<String, Resolved>,
    pseudo: &Pseudo,
    surroundings: &dyn Surroundings,
) -> Result<BTreeMap<String, bool>, TemplateError> {
    // How many conditions each still waits for, and who waits for it: the work is linear in the text, also
    // for a chain of thousands.
    let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
    let mut waiters: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, body) in &template.conditions {
        let mut named = BTreeSet::new();
        named_conditions(body, &mut named);
        if let Some(missing) = named
            .iter()
            .find(|other| !template.conditions.contains_key(*other))
        {
            return Err(TemplateError::format(format!(
                "Unresolved condition dependency {missing} in the Conditions block of the template"
            )));
        }
        waiting.insert(name, named.len());
        for other in named {
            waiters.entry(other).or_default().push(name);
        }
    }
    let mut known = BTreeMap::new();
    let mut ready: Vec<&str> = waiting
        .iter()
        .filter(|(_, count)| **count == 0)
        .map(|(name, _)| *name)
        .collect();
    while let Some(name) = ready.pop() {
        waiting.remove(name);
        let Some(body) = template.conditions.get(name) else {
            continue;
        };
        let scope = Scope::new(
            parameters,
            &template.mappings,
            &known,
            pseudo,
            surroundings,
            &NothingMade,
            "Conditions",
        );
        let holds = Asker {
            scope: &scope,
            rules: false,
        }
        .holds(body, &Path::of(&["Conditions", name]))?;
        drop(scope);
        known.insert(name.to_owned(), holds);
        for waiter in waiters.remove(name).unwrap_or_default() {
            if let Some(count) = waiting.get_mut(waiter) {
                *count -= 1;
                if *count == 0 {
                    ready.push(waiter);
                }
            }
        }
    }
    if !waiting.is_empty() {
        let names: Vec<&str> = waiting.into_keys().take(20).collect();
        return Err(TemplateError::format(format!(
            "Circular dependency between conditions: [{}]",
            names.join(", ")
        )));
    }
    Ok(known)
}

/// Checks every rule of the template.
///
/// # Errors
/// The first assertion that does not hold, or a rule that is malformed.
pub fn check_rules(
    template: &Template,
    parameters: &BTreeMap<String, Resolved>,
    pseudo: &Pseudo,
    surroundings: &dyn Surroundings,
) -> Result<(), TemplateError> {
    let none = BTreeMap::new();
    let scope = Scope::new(
        parameters,
        &template.mappings,
        &none,
        pseudo,
        surroundings,
        &NothingMade,
        "Rules",
    );
    let asker = Asker {
        scope: &scope,
        rules: true,
    };
    for (name, body) in &template.rules {
        let path = Path::of(&["Rules", name]);
        if let Some(unknown) = body
            .keys()
            .find(|key| !matches!(key.as_str(), "RuleCondition" | "Assertions"))
        {
            return Err(TemplateError::format(format!(
                "[{path}] Invalid template rule property '{unknown}'"
            )));
        }
        if let Some(condition) = body.get("RuleCondition")
            && !asker.holds(condition, &path.then("RuleCondition"))?
        {
            continue;
        }
        let Some(Value::List(assertions)) = body.get("Assertions") else {
            return Err(TemplateError::format(format!(
                "[{path}] Every Rules object must contain a list Assertions."
            )));
        };
        for (index, assertion) in assertions.iter().enumerate() {
            let path = path.then("Assertions").index(index);
            let Some(assert) = assertion.map().and_then(|map| map.get("Assert")) else {
                return Err(TemplateError::format(format!(
                    "[{path}] Every assertion must contain an Assert member."
                )));
            };
            if !asker.holds(assert, &path)? {
                let description = assertion
                    .map()
                    .and_then(|map| map.get("AssertDescription"))
                    .and_then(Value::text);
                let description = description.unwrap_or_else(|| assert.to_json().to_string());
                return Err(TemplateError::Rule {
                    rule: name.clone(),
                    description,
                });
            }
        }
    }
    Ok(())
}

/// Conditions that a value names, by `Condition` or `Fn::If`.
fn named_conditions(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::List(list) => list.iter().for_each(|item| named_conditions(item, into)),
        Value::Map(map) => {
            for (key, item) in map {
                match (key.as_str(), item) {
                    ("Condition", Value::String(name)) => {
                        into.insert(name.clone());
                    }
                    ("Fn::If", Value::List(list)) => {
                        if let Some(Value::String(name)) = list.first() {
                            into.insert(name.clone());
                        }
                    }
                    _ => {}
                }
                named_conditions(item, into);
            }
        }
        _ => {}
    }
}

struct Asker<'a> {
    scope: &'a Scope<'a>,
    rules: bool,
}

impl Asker<'_> {
    fn holds(&self, value: &Value, path: &Path) -> Result<bool, TemplateError> {
        let not_boolean = || {
            TemplateError::format(format!(
                "[{path}] Conditions can only be boolean operations on parameters and other conditions"
            ))
        };
        let map = value.map().filter(|map| map.len() == 1).ok_or_else(not_boolean)?;
        let (name, argument) = map.iter().next().ok_or_else(not_boolean)?;
        let path = &path.then(name);
        let several = |least: usize| match argument.list() {
            Some(list) if (least..=10).contains(&list.len()) => Ok(list),
            _ => Err(TemplateError::function(format!(
                "every {name} object requires a list of at least {least} and at most 10 boolean parameters."
            ))),
        };
        let pair = || match argument.list() {
            Some([a, b]) => Ok((a, b)),
            _ => Err(TemplateError::function(format!(
                "every {name} object requires a list of 2 parameters."
            ))),
        };
        match name.as_str() {
            "Fn::And" => several(2)?
                .iter()
                .try_fold(true, |so_far, item| Ok(self.holds(item, path)? && so_far)),
            "Fn::Or" => several(2)?
                .iter()
                .try_fold(false, |so_far, item| Ok(self.holds(item, path)? || so_far)),
            "Fn::Not" => match argument.list() {
                Some([one]) => Ok(!self.holds(one, path)?),
                _ => Err(TemplateError::function(
                    "every Fn::Not object requires one boolean parameter.",
                )),
            },
            "Fn::Equals" => {
                let (a, b) = pair()?;
                Ok(equal(&self.value(a, path)?, &self.value(b, path)?))
            }
            "Condition" if !self.rules => match argument {
                Value::String(name) => self.scope.conditions.get(name).copied().ok_or_else(|| {
                    TemplateError::format(format!(
                        "Unresolved condition dependency {name} in the Conditions block of the template"
                    ))
                }),
                _ => Err(not_boolean()),
            },
            "Fn::Contains" if self.rules => {
                let (list, item) = pair()?;
                let (list, item) = (self.texts(list, path)?, self.value(item, path)?);
                Ok(item.text().is_some_and(|text| list.contains(&text)))
            }
            "Fn::EachMemberEquals" if self.rules => {
                let (list, item) = pair()?;
                let (list, item) = (self.texts(list, path)?, self.value(item, path)?);
                Ok(list.iter().all(|text| item.text().as_ref() == Some(text)))
            }
            "Fn::EachMemberIn" if self.rules => {
                let (list, of) = pair()?;
                let (list, of) = (self.texts(list, path)?, self.texts(of, path)?);
                Ok(list.iter().all(|text| of.contains(text)))
            }
            _ => Err(not_boolean()),
        }
    }

    /// A value, which in rules may also look objects up.
    fn value(&self, value: &Value, path: &Path) -> Result<Value, TemplateError> {
        if self.rules
            && let Some((name @ ("Fn::RefAll" | "Fn::ValueOf" | "Fn::ValueOfAll"), argument)) = value.call()
        {
            return self.look_up(name, argument);
        }
        self.scope
            .evaluate(value, path)?
            .ok_or_else(|| TemplateError::function(format!("AWS::NoValue cannot be used at {path}")))
    }

    fn texts(&self, value: &Value, path: &Path) -> Result<Vec<String>, TemplateError> {
        let wrong = || TemplateError::function(format!("a list of strings is required at {path}"));
        match self.value(value, path)? {
            Value::List(list) => list.iter().map(|item| item.text().ok_or_else(wrong)).collect(),
            other => Ok(vec![other.text().ok_or_else(wrong)?]),
        }
    }

    fn look_up(&self, name: &str, argument: &Value) -> Result<Value, TemplateError> {
        let around = self.scope.surroundings;
        let all = |kind: &str| {
            around.all(kind).ok_or_else(|| {
                TemplateError::function(format!(
                    "{name}: objects of the type {kind} cannot be listed here"
                ))
            })
        };
        match (name, argument, argument.list()) {
            ("Fn::RefAll", Value::String(kind), _) => Ok(all(kind)?.into_iter().collect()),
            ("Fn::ValueOfAll", _, Some([Value::String(kind), Value::String(attribute)])) => Ok(all(kind)?
                .iter()
                .map(|id| around.value_of(kind, id, attribute).unwrap_or_default())
                .collect()),
            ("Fn::ValueOf", _, Some([Value::String(parameter), Value::String(attribute)])) => {
                let resolved = self.scope.parameters.get(parameter).ok_or_else(|| {
                    TemplateError::function(format!("Fn::ValueOf: there is no parameter {parameter}"))
                })?;
                let kind = &resolved.element_type;
                let one = |id: String| {
                    around.value_of(kind, &id, attribute).ok_or_else(|| {
                        TemplateError::function(format!(
                            "Fn::ValueOf: {id} of the type {kind} has no attribute {attribute}"
                        ))
                    })
                };
                match &resolved.value {
                    Value::List(list) => Ok(list
                        .iter()
                        .filter_map(Value::text)
                        .map(one)
                        .collect::<Result<Vec<_>, _>>()?
                        .into_iter()
                        .collect()),
                    value => Ok(one(value.text().unwrap_or_default())?.into()),
                }
            }
            _ => Err(TemplateError::function(format!(
                "{name} does not have the arguments that it requires"
            ))),
        }
    }
}

/// Scalars are equal if their texts are: `Fn::Equals: [true, "true"]` holds.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((ka, a), (kb, b))| ka == kb && equal(a, b))
        }
        _ => a.text().is_some() && a.text() == b.text(),
    }
}
