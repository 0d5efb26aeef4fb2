//! A template's sections, checked for form. What they mean is `parameter`, `rule`, `intrinsic`, `plan`.

use std::collections::BTreeMap;

use crate::error::TemplateError;
use crate::value::{Map, Path, Value, limit};
use crate::{json, yaml};

/// A template that has the right form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// `Description`.
    pub description: Option<String>,
    /// `Parameters`, as written.
    pub parameters: BTreeMap<String, Map>,
    /// `Rules`.
    pub rules: BTreeMap<String, Map>,
    /// `Mappings`: name, top-level key, second-level key.
    pub mappings: BTreeMap<String, BTreeMap<String, Map>>,
    /// `Conditions`.
    pub conditions: Map,
    /// `Resources` by logical id.
    pub resources: BTreeMap<String, Resource>,
    /// `Outputs`.
    pub outputs: BTreeMap<String, Output>,
}

/// One member of `Resources`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// `Type`.
    pub type_name: String,
    /// `Properties`, not evaluated.
    pub properties: Map,
    /// `DependsOn`.
    pub depends_on: Vec<String>,
    /// `Condition`.
    pub condition: Option<String>,
    /// `DeletionPolicy`.
    pub deletion_policy: DeletionPolicy,
    /// `CreationPolicy`, not evaluated.
    pub creation_policy: Option<Value>,
}

/// What happens to a resource when its stack goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeletionPolicy {
    /// It is deleted.
    #[default]
    Delete,
    /// It stays, also when the stack's creation is rolled back.
    Retain,
    /// It stays when the stack is deleted, and is deleted when the creation is rolled back.
    RetainExceptOnCreate,
}

/// One member of `Outputs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// `Value`, not evaluated.
    pub value: Value,
    /// `Description`.
    pub description: Option<String>,
    /// `Condition`.
    pub condition: Option<String>,
    /// `Export.Name`, not evaluated.
    pub export: Option<Value>,
}

impl Template {
    /// Reads a template: JSON if its first character is `{`, else YAML.
    ///
    /// # Errors
    /// If it is longer than 1 MiB, not well-formed, or a section does not have its form.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > limit::BYTES {
            return Err(TemplateError::TooLong { limit: limit::BYTES });
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let value = if text.trim_start().starts_with('{') {
            // Flow-style YAML also starts with a brace; it is YAML if it is not JSON, but a broken JSON
            // document should be reported as such.
            json::parse(text).or_else(|e| {
                yaml::parse(text)
                    .map_err(|_| e.clone())
                    .and_then(|v| if is_duplicate(&e) { Err(e) } else { Ok(v) })
            })?
        } else {
            yaml::parse(text)?
        };
        Self::from_value(value)
    }

    fn from_value(value: Value) -> Result<Self, TemplateError> {
        let Value::Map(mut sections) = value else {
            return Err(TemplateError::format("unsupported structure."));
        };
        if let Some(transform) = sections.get("Transform") {
            let names: Vec<String> = match transform {
                Value::List(list) => list.iter().filter_map(transform_name).collect(),
                other => transform_name(other).into_iter().collect(),
            };
            return Err(TemplateError::format(format!(
                "transforms are not supported here: [{}]",
                names.join(", ")
            )));
        }
        // Metadata and Hooks are for other readers; nothing here reads them.
        sections.remove("Metadata");
        const KNOWN: &[&str] = &[
            "AWSTemplateFormatVersion",
            "Description",
            "Parameters",
            "Rules",
            "Mappings",
            "Conditions",
            "Resources",
            "Outputs",
        ];
        let unknown: Vec<&str> = sections
            .keys()
            .map(String::as_str)
            .filter(|name| !KNOWN.contains(name))
            .take(20)
            .collect();
        if !unknown.is_empty() {
            return Err(TemplateError::format(format!(
                "Invalid template property or properties [{}]",
                unknown.join(", ")
            )));
        }
        for (name, section) in &sections {
            no_null(section, &Path::of(&[name]))?;
        }
        if let Some(version) = sections.get("AWSTemplateFormatVersion")
            && version.text().as_deref() != Some("2010-09-09")
        {
            let text = version.text().unwrap_or_default();
            return Err(TemplateError::format(format!(
                "Template format version not supported: {text}"
            )));
        }
        let description = sections
            .remove("Description")
            .map(|d| described(&d, "Template"))
            .transpose()?;
        let parameters = maps(sections.remove("Parameters"), "Parameters")?;
        let rules = maps(sections.remove("Rules"), "Rules")?;
        let mappings = mappings(sections.remove("Mappings"))?;
        let conditions = section(sections.remove("Conditions"), "Conditions")?;
        let mut resources = BTreeMap::new();
        for (id, body) in section(sections.remove("Resources"), "Resources")? {
            alphanumeric("Resource", &id)?;
            let resource = Resource::from_value(&id, body)?;
            resources.insert(id, resource);
        }
        if resources.is_empty() {
            return Err(TemplateError::format(
                "At least one Resources member must be defined.",
            ));
        }
        let mut outputs = BTreeMap::new();
        for (id, body) in section(sections.remove("Outputs"), "Outputs")? {
            alphanumeric("Output", &id)?;
            let output = Output::from_value(&id, body)?;
            outputs.insert(id, output);
        }
        for name in parameters.keys() {
            alphanumeric("Parameter", name)?;
            if resources.contains_key(name) {
                return Err(TemplateError::format(format!(
                    "{name} is both a parameter and a resource"
                )));
            }
        }
        for (what, count, most) in [
            ("resources", resources.len(), limit::RESOURCES),
            ("parameters", parameters.len(), limit::PARAMETERS),
            ("outputs", outputs.len(), limit::OUTPUTS),
            ("mappings", mappings.len(), limit::MAPPINGS),
        ] {
            if count > most {
                return Err(TemplateError::format(format!(
                    "Number of {what}, {count}, is greater than maximum allowed, {most}"
                )));
            }
        }
        Ok(Self {
            description,
            parameters,
            rules,
            mappings,
            conditions,
            resources,
            outputs,
        })
    }
}

impl Resource {
    fn from_value(id: &str, body: Value) -> Result<Self, TemplateError> {
        let Value::Map(mut body) = body else {
            return Err(TemplateError::format(format!(
                "[/Resources/{id}] resource definition is malformed"
            )));
        };
        let Some(Value::String(type_name)) = body.remove("Type") else {
            return Err(TemplateError::format(format!(
                "[/Resources/{id}] Every Resources object must contain a Type member."
            )));
        };
        let properties = match body.remove("Properties") {
            None => Map::new(),
            Some(Value::Map(map)) => map,
            Some(_) => {
                return Err(TemplateError::format(format!(
                    "[/Resources/{id}/Properties] must be an object"
                )));
            }
        };
        let depends_on = match body.remove("DependsOn") {
            None => Vec::new(),
            Some(Value::String(one)) => vec![one],
            Some(Value::List(list)) => list
                .iter()
                .map(|item| match item {
                    Value::String(name) => Ok(name.clone()),
                    _ => Err(TemplateError::format(format!(
                        "[/Resources/{id}/DependsOn] every value must be a string"
                    ))),
                })
                .collect::<Result<_, _>>()?,
            Some(_) => {
                return Err(TemplateError::format(format!(
                    "[/Resources/{id}/DependsOn] must be a string or list of strings"
                )));
            }
        };
        let condition = name_of(body.remove("Condition"), &format!("/Resources/{id}/Condition"))?;
        let deletion_policy = policy(id, "DeletionPolicy", body.remove("DeletionPolicy"))?;
        // Stacks are not updated in place here, so what would be replaced does not arise; it is checked
        // for form like its sibling.
        policy(id, "UpdateReplacePolicy", body.remove("UpdateReplacePolicy"))?;
        let creation_policy = body.remove("CreationPolicy");
        body.remove("UpdatePolicy");
        body.remove("Metadata");
        if let Some(unknown) = body.keys().next() {
            return Err(TemplateError::format(format!(
                "[/Resources/{id}] Invalid template resource property '{unknown}'"
            )));
        }
        Ok(Self {
            type_name,
            properties,
            depends_on,
            condition,
            deletion_policy,
            creation_policy,
        })
    }
}

impl Output {
    fn from_value(id: &str, body: Value) -> Result<Self, TemplateError> {
        let Value::Map(mut body) = body else {
            return Err(TemplateError::format(format!(
                "[/Outputs/{id}] output definition is malformed"
            )));
        };
        let Some(value) = body.remove("Value") else {
            return Err(TemplateError::format(format!(
                "Output {id} is missing a Value member."
            )));
        };
        let description = body
            .remove("Description")
            .map(|d| described(&d, id))
            .transpose()?;
        let condition = name_of(body.remove("Condition"), &format!("/Outputs/{id}/Condition"))?;
        let export = match body.remove("Export") {
            None => None,
            Some(Value::Map(mut export)) if export.len() == 1 && export.contains_key("Name") => {
                export.remove("Name")
            }
            Some(_) => {
                return Err(TemplateError::format(format!(
                    "[/Outputs/{id}/Export] must have the one member Name"
                )));
            }
        };
        if let Some(unknown) = body.keys().next() {
            return Err(TemplateError::format(format!(
                "[/Outputs/{id}] Invalid template output property '{unknown}'"
            )));
        }
        Ok(Self {
            value,
            description,
            condition,
            export,
        })
    }
}

fn is_duplicate(e: &TemplateError) -> bool {
    matches!(e, TemplateError::Syntax { what, .. } if what.starts_with("duplicate key"))
}

fn transform_name(value: &Value) -> Option<String> {
    value.text().or_else(|| value.map()?.get("Name")?.text())
}

fn section(value: Option<Value>, name: &str) -> Result<Map, TemplateError> {
    match value {
        None => Ok(Map::new()),
        Some(Value::Map(map)) => Ok(map),
        Some(_) => Err(TemplateError::format(format!("[/{name}] must be an object"))),
    }
}

fn maps(value: Option<Value>, name: &str) -> Result<BTreeMap<String, Map>, TemplateError> {
    section(value, name)?
        .into_iter()
        .map(|(key, value)| match value {
            Value::Map(map) => Ok((key, map)),
            _ => Err(TemplateError::format(format!(
                "[/{name}/{key}] must be an object"
            ))),
        })
        .collect()
}

fn mappings(value: Option<Value>) -> Result<BTreeMap<String, BTreeMap<String, Map>>, TemplateError> {
    let mut mappings = BTreeMap::new();
    for (name, map) in maps(value, "Mappings")? {
        alphanumeric("Mapping", &name)?;
        let mut top = BTreeMap::new();
        for (key, second) in map {
            let Value::Map(second) = second else {
                return Err(TemplateError::format(format!(
                    "Every Mappings attribute must be a String or a List. ([/Mappings/{name}/{key}])"
                )));
            };
            for (attribute, value) in &second {
                let plain = match value {
                    Value::List(list) => list.iter().all(|item| item.text().is_some()),
                    other => other.text().is_some(),
                };
                if !plain {
                    return Err(TemplateError::format(format!(
                        "Every Mappings attribute must be a String or a List. ([/Mappings/{name}/{key}/{attribute}])"
                    )));
                }
            }
            top.insert(key, second);
        }
        mappings.insert(name, top);
    }
    Ok(mappings)
}

fn name_of(value: Option<Value>, path: &str) -> Result<Option<String>, TemplateError> {
    match value {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(name)),
        Some(_) => Err(TemplateError::format(format!("[{path}] must be a string"))),
    }
}

fn policy(id: &str, attribute: &str, value: Option<Value>) -> Result<DeletionPolicy, TemplateError> {
    match value {
        None => Ok(DeletionPolicy::Delete),
        Some(Value::String(text)) => match text.as_str() {
            "Delete" => Ok(DeletionPolicy::Delete),
            "Retain" => Ok(DeletionPolicy::Retain),
            "RetainExceptOnCreate" if attribute == "DeletionPolicy" => {
                Ok(DeletionPolicy::RetainExceptOnCreate)
            }
            other => Err(TemplateError::format(format!(
                "Unrecognized {attribute} {other} for resource {id}"
            ))),
        },
        Some(_) => Err(TemplateError::format(format!(
            "Every {attribute} member must be a string. ([/Resources/{id}/{attribute}])"
        ))),
    }
}

fn described(value: &Value, of: &str) -> Result<String, TemplateError> {
    match value {
        Value::String(text) if text.len() <= limit::DESCRIPTION_BYTES => Ok(text.clone()),
        Value::String(_) => Err(TemplateError::format(format!(
            "'Description' length is greater than {}. ({of})",
            limit::DESCRIPTION_BYTES
        ))),
        Value::Number(_) | Value::Bool(_) => Ok(value.text().unwrap_or_default()),
        _ => Err(TemplateError::format(format!(
            "Every Description member must be a string. ({of})"
        ))),
    }
}

fn alphanumeric(what: &str, name: &str) -> Result<(), TemplateError> {
    if name.is_empty() || name.len() > limit::NAME_CHARS || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(TemplateError::format(format!(
            "{what} name {name} is non alphanumeric."
        )));
    }
    Ok(())
}

fn no_null(value: &Value, path: &Path) -> Result<(), TemplateError> {
    match value {
        Value::Null => Err(TemplateError::format(format!(
            "[{path}] 'null' values are not allowed in templates"
        ))),
        Value::List(list) => list
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| no_null(item, &path.index(index))),
        Value::Map(map) => map
            .iter()
            .try_for_each(|(key, item)| no_null(item, &path.then(key))),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Later => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Template::parse(text).unwrap_err().to_string()
    }

    const VPC: &str = "{Type: 'AWS::EC2::VPC', Properties: {CidrBlock: 10.0.0.0/16}}";

    #[test]
    fn sections_are_checked() {
        for (text, wanted) in [
            ("", "unsupported structure"),
            ("Resources: {}", "At least one Resources member must be defined."),
            (
                "Resources:\n  A:\n",
                "[/Resources/A] 'null' values are not allowed in templates",
            ),
            (
                "Resources: {A: {}}",
                "Every Resources object must contain a Type member.",
            ),
            (
                "Resources: {a-b: {Type: X}}",
                "Resource name a-b is non alphanumeric.",
            ),
            (
                "Resource: {}",
                "Invalid template property or properties [Resource]",
            ),
            (
                "Transform: AWS::Serverless-2016-10-31\nResources: {}",
                "transforms are not supported here: [AWS::Serverless-2016-10-31]",
            ),
            ("Transform: [{Name: 'AWS::Include'}]", "[AWS::Include]"),
            (
                "AWSTemplateFormatVersion: 2011-01-01\nResources: {}",
                "Template format version not supported: 2011-01-01",
            ),
            (
                "Resources: {A: {Type: X, Propertys: {}}}",
                "Invalid template resource property 'Propertys'",
            ),
            (
                "Resources: {A: {Type: X, DeletionPolicy: Snapshot}}",
                "Unrecognized DeletionPolicy Snapshot for resource A",
            ),
            (
                "Mappings: {M: {a: {b: {c: d}}}}\nResources: {}",
                "Every Mappings attribute must be a String or a List.",
            ),
            (
                "{\"Resources\": {\"A\": {\"Type\": \"X\"}, \"A\": {}}}",
                "duplicate key \"A\"",
            ),
            ("{\"Resources\": ", "JSON not well-formed"),
        ] {
            let e = refused(text);
            assert!(e.contains(wanted), "{text}: {e}");
        }
        let many: String = (0..501).map(|n| format!("  R{n}: {VPC}\n")).collect();
        assert!(
            refused(&format!("Resources:\n{many}"))
                .contains("Number of resources, 501, is greater than maximum allowed, 500")
        );
        assert!(
            refused(&format!(
                "Resources:\n  V: {VPC}\nParameters:\n  V: {{Type: String}}\n"
            ))
            .contains("both a parameter and a resource")
        );
        assert!(matches!(
            Template::parse(&" ".repeat(limit::BYTES + 1)),
            Err(TemplateError::TooLong { .. })
        ));
    }

    #[test]
    fn flow_yaml_and_a_date_are_read() {
        let template = Template::parse(&format!(
            "{{AWSTemplateFormatVersion: 2010-09-09, Resources: {{V: {VPC}}}}}"
        ))
        .unwrap();
        assert_eq!(template.resources["V"].type_name, "AWS::EC2::VPC");
    }
}
