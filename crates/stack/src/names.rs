//! Names: every one that a template mentions is declared in it, in branches that are not taken too.

use std::collections::BTreeSet;

use crate::error::TemplateError;
use crate::graph::References;
use crate::template::Template;
use crate::value::Value;

/// Every name that is mentioned anywhere is declared, in branches that are not taken too.
pub(crate) fn names_are_known(template: &Template) -> Result<(), TemplateError> {
    let mut unresolved = BTreeSet::new();
    for (id, body) in &template.resources {
        unresolved.extend(
            body.depends_on
                .iter()
                .filter(|id| !template.resources.contains_key(*id))
                .cloned(),
        );
        if let Some(condition) = body
            .condition
            .as_ref()
            .filter(|name| !template.conditions.contains_key(*name))
        {
            return Err(TemplateError::format(format!(
                "Unresolved condition dependency {condition} in the Resources block of the template ({id})"
            )));
        }
        for value in body.properties.values().chain(&body.creation_policy) {
            unresolved.extend(unknown_names(template, value)?);
        }
    }
    if !unresolved.is_empty() {
        return Err(TemplateError::Unresolved {
            names: unresolved,
            section: "Resources",
        });
    }
    for (name, output) in &template.outputs {
        if let Some(condition) = output
            .condition
            .as_ref()
            .filter(|name| !template.conditions.contains_key(*name))
        {
            return Err(TemplateError::format(format!(
                "Unresolved condition dependency {condition} in the Outputs block of the template ({name})"
            )));
        }
        for value in std::iter::once(&output.value).chain(&output.export) {
            unresolved.extend(unknown_names(template, value)?);
        }
    }
    if unresolved.is_empty() {
        Ok(())
    } else {
        Err(TemplateError::Unresolved {
            names: unresolved,
            section: "Outputs",
        })
    }
}

fn unknown_names(template: &Template, value: &Value) -> Result<BTreeSet<String>, TemplateError> {
    const PSEUDO: &[&str] = &[
        "AWS::AccountId",
        "AWS::NoValue",
        "AWS::NotificationARNs",
        "AWS::Partition",
        "AWS::Region",
        "AWS::StackId",
        "AWS::StackName",
        "AWS::URLSuffix",
    ];
    let found = References::of(value)?;
    if let Some(name) = found
        .conditions
        .iter()
        .find(|name| !template.conditions.contains_key(*name))
    {
        return Err(TemplateError::function(format!(
            "unresolved condition dependency: {name}"
        )));
    }
    if let Some((id, _)) = found
        .attributes
        .iter()
        .find(|(id, _)| !template.resources.contains_key(id))
    {
        return Err(TemplateError::function(format!(
            "instance of Fn::GetAtt references undefined resource {id}"
        )));
    }
    let known = |name: &String| {
        template.resources.contains_key(name)
            || template.parameters.contains_key(name)
            || PSEUDO.contains(&name.as_str())
    };
    Ok(found.names.into_iter().filter(|name| !known(name)).collect())
}
