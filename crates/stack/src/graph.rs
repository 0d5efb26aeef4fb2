//! Which resource waits for which.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::TemplateError;
use crate::sub::{Piece, pieces};
use crate::value::Value;

/// Names that a value refers to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct References {
    /// By `Ref` or `${Name}`.
    pub names: BTreeSet<String>,
    /// By `Fn::GetAtt` or `${Name.Attribute}`, with the attribute if it is written out.
    pub attributes: BTreeSet<(String, Option<String>)>,
    /// Conditions, by `Fn::If`.
    pub conditions: BTreeSet<String>,
}

impl References {
    /// Everything that a value refers to, in branches of `Fn::If` that are not taken too.
    ///
    /// # Errors
    /// If the text of a `Fn::Sub` cannot be taken apart.
    pub fn of(value: &Value) -> Result<Self, TemplateError> {
        let mut found = Self::default();
        found.visit(value)?;
        Ok(found)
    }

    /// Logical ids of resources among the names.
    pub fn logical_ids(&self) -> BTreeSet<&str> {
        self.names
            .iter()
            .map(String::as_str)
            .chain(self.attributes.iter().map(|(id, _)| id.as_str()))
            .collect()
    }

    fn visit(&mut self, value: &Value) -> Result<(), TemplateError> {
        match (value.call(), value) {
            (Some(("Ref", Value::String(name))), _) => {
                self.names.insert(name.clone());
                Ok(())
            }
            (Some(("Fn::GetAtt", argument)), _) => self.visit_get_att(argument),
            (Some(("Fn::Sub", argument)), _) => self.visit_sub(argument),
            (Some(("Fn::If", Value::List(list))), _) => {
                if let Some(Value::String(name)) = list.first() {
                    self.conditions.insert(name.clone());
                }
                list.iter().try_for_each(|item| self.visit(item))
            }
            (_, Value::List(list)) => list.iter().try_for_each(|item| self.visit(item)),
            (_, Value::Map(map)) => map.values().try_for_each(|item| self.visit(item)),
            _ => Ok(()),
        }
    }

    fn visit_get_att(&mut self, argument: &Value) -> Result<(), TemplateError> {
        match argument {
            Value::String(text) => {
                if let Some((id, attribute)) = text.split_once('.') {
                    self.attributes
                        .insert((id.to_owned(), Some(attribute.to_owned())));
                }
                Ok(())
            }
            Value::List(list) => match &list[..] {
                [Value::String(id), Value::String(attribute)] => {
                    self.attributes.insert((id.clone(), Some(attribute.clone())));
                    Ok(())
                }
                [Value::String(id), attribute] => {
                    self.attributes.insert((id.clone(), None));
                    self.visit(attribute)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn visit_sub(&mut self, argument: &Value) -> Result<(), TemplateError> {
        let (text, variables) = match argument {
            Value::String(text) => (text, None),
            Value::List(list) => match &list[..] {
                [Value::String(text), Value::Map(variables)] => (text, Some(variables)),
                _ => return Ok(()),
            },
            _ => return Ok(()),
        };
        for piece in pieces(text)? {
            if let Piece::Variable(name) = piece
                && !variables.is_some_and(|variables| variables.contains_key(name))
            {
                match name.split_once('.') {
                    Some((id, attribute)) => {
                        self.attributes
                            .insert((id.to_owned(), Some(attribute.to_owned())));
                    }
                    None => {
                        self.names.insert(name.to_owned());
                    }
                }
            }
        }
        variables.map_or(Ok(()), |variables| {
            variables.values().try_for_each(|item| self.visit(item))
        })
    }
}

/// What each node waits for.
pub type Dependencies = BTreeMap<String, BTreeSet<String>>;

/// Refuses nodes that wait for each other. Names exactly those that lie on a cycle or between two.
///
/// # Errors
/// [`TemplateError::Circular`].
pub fn refuse_cycles(dependencies: &Dependencies) -> Result<(), TemplateError> {
    let mut left = dependencies.clone();
    // Take away what waits for nothing, until nothing more goes; then, the other way round, what nothing
    // waits for.
    loop {
        let free: BTreeSet<String> = left
            .iter()
            .filter(|(_, needs)| needs.iter().all(|need| !left.contains_key(need)))
            .map(|(name, _)| name.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        left.retain(|name, _| !free.contains(name));
    }
    loop {
        let needed: BTreeSet<String> = left.values().flatten().cloned().collect();
        let before = left.len();
        left.retain(|name, _| needed.contains(name));
        if left.len() == before {
            break;
        }
    }
    if left.is_empty() {
        Ok(())
    } else {
        Err(TemplateError::Circular {
            names: left.into_keys().collect(),
        })
    }
}

/// Whether `from` waits for `to`, also through others.
pub fn reaches(dependencies: &Dependencies, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(name) = next.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name) {
            next.extend(dependencies.get(name).into_iter().flatten().map(String::as_str));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> Dependencies {
        edges
            .iter()
            .map(|(name, needs)| {
                (
                    (*name).to_owned(),
                    needs.iter().map(|n| (*n).to_owned()).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn only_the_members_of_a_cycle_are_named() {
        let e = refuse_cycles(&graph(&[
            ("A", &["B"]),
            ("B", &["C"]),
            ("C", &["B"]),
            ("D", &[]),
            ("B2", &["D"]),
        ]))
        .unwrap_err();
        assert_eq!(e.to_string(), "Circular dependency between resources: [B, C]");
        let e = refuse_cycles(&graph(&[("A", &["A"])])).unwrap_err();
        assert_eq!(e.to_string(), "Circular dependency between resources: [A]");
        assert!(
            refuse_cycles(&graph(&[
                ("A", &["B"]),
                ("B", &["D"]),
                ("C", &["B", "A"]),
                ("D", &[])
            ]))
            .is_ok()
        );
    }
}
