//! A template with its parameters: everything checked that can be known before a resource exists, and
//! the order in which resources are made.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::creation_policy::{Signals, signals};
use crate::error::TemplateError;
use crate::graph::{Dependencies, References, reaches, refuse_cycles};
use crate::intrinsic::{Made, Scope};
use crate::names::names_are_known;
use crate::parameter::Resolved;
use crate::schema::{self, ResourceType};
use crate::surroundings::{Pseudo, Surroundings};
use crate::template::{DeletionPolicy, Template};
use crate::value::{Map, Path, Value};
use crate::{parameter, resource, rule};

/// A template that can be deployed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The template.
    pub template: Template,
    /// Its parameters' values.
    pub parameters: BTreeMap<String, Resolved>,
    /// Its conditions' values.
    pub conditions: BTreeMap<String, bool>,
    /// Who and where the stack is.
    pub pseudo: Pseudo,
    /// The resources whose condition holds, by logical id.
    pub resources: BTreeMap<String, Planned>,
    /// What was accepted and will not be in effect.
    pub warnings: Vec<Warning>,
    /// Names under which outputs are exported, by output.
    pub exports: BTreeMap<String, String>,
    /// Exports of other stacks that this one uses.
    pub imports: BTreeSet<String>,
}

/// A resource that will be made.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its type's name.
    pub type_name: String,
    /// Its type.
    pub kind: &'static ResourceType,
    /// Logical ids of the resources that must be complete before it.
    pub depends_on: BTreeSet<String>,
    /// What happens to it when the stack goes.
    pub deletion_policy: DeletionPolicy,
    /// What its creation waits for.
    pub signals: Option<Signals>,
}

/// Something that was accepted and is not in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The resource.
    pub logical_id: String,
    /// The property's path, or `None` for the whole resource.
    pub property: Option<String>,
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.property {
            Some(property) => write!(f, "Property {property} is not in effect"),
            None => f.write_str("This resource is not in effect"),
        }
    }
}

impl Plan {
    /// Gives a template its parameters and checks all of it.
    ///
    /// # Errors
    /// The first thing that is wrong. Nothing has been made then.
    pub fn new(
        template: Template,
        given: &BTreeMap<String, String>,
        pseudo: Pseudo,
        surroundings: &dyn Surroundings,
    ) -> Result<Self, TemplateError> {
        let plan = Self::again(template, given, pseudo, surroundings)?;
        parameter::exist(&plan.parameters, surroundings)?;
        rule::check_rules(&plan.template, &plan.parameters, &plan.pseudo, surroundings)?;
        Ok(plan)
    }

    /// Plans what was planned before, with the same parameters. Objects that parameters name and
    /// the `Rules` may have changed since; they are not asked again.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn again(
        template: Template,
        given: &BTreeMap<String, String>,
        pseudo: Pseudo,
        surroundings: &dyn Surroundings,
    ) -> Result<Self, TemplateError> {
        names_are_known(&template)?;
        let parameters = parameter::resolve(&template, given, surroundings, &pseudo.region)?;
        let conditions = rule::conditions(&template, &parameters, &pseudo, surroundings)?;
        let mut plan = Self {
            template,
            parameters,
            conditions,
            pseudo,
            resources: BTreeMap::new(),
            warnings: Vec::new(),
            exports: BTreeMap::new(),
            imports: BTreeSet::new(),
        };
        plan.plan_resources(surroundings)?;
        plan.plan_outputs(surroundings)?;
        Ok(plan)
    }

    /// The properties of a resource, once everything that it depends on exists.
    ///
    /// # Errors
    /// If a function has no value, or a property now turns out to be wrong.
    pub fn properties(
        &self,
        logical_id: &str,
        surroundings: &dyn Surroundings,
        made: &dyn Made,
    ) -> Result<Map, TemplateError> {
        let (Some(planned), Some(resource)) = (
            self.resources.get(logical_id),
            self.template.resources.get(logical_id),
        ) else {
            return Err(TemplateError::Unresolved {
                names: BTreeSet::from([logical_id.to_owned()]),
                section: "Resources",
            });
        };
        let scope = self.scope(surroundings, made, "Resources");
        let properties = evaluate_map(
            &scope,
            &resource.properties,
            &Path::of(&["Resources", logical_id, "Properties"]),
        )?;
        if let Some((name, _)) = properties.iter().find(|(_, value)| value.is_later()) {
            return Err(TemplateError::Property {
                logical_id: logical_id.to_owned(),
                type_name: planned.type_name.clone(),
                what: format!("Value of property {name} is not known"),
            });
        }
        schema::check(&properties, planned.kind.properties).map_err(|what| TemplateError::Property {
            logical_id: logical_id.to_owned(),
            type_name: planned.type_name.clone(),
            what,
        })?;
        Ok(properties)
    }

    /// The outputs, once every resource exists, by name.
    ///
    /// # Errors
    /// If a function has no value or an output is not text.
    pub fn outputs(
        &self,
        surroundings: &dyn Surroundings,
        made: &dyn Made,
    ) -> Result<BTreeMap<String, String>, TemplateError> {
        let scope = self.scope(surroundings, made, "Outputs");
        let mut outputs = BTreeMap::new();
        for (name, output) in &self.template.outputs {
            if !self.holds(output.condition.as_deref()) {
                continue;
            }
            let value = scope.evaluate(&output.value, &Path::of(&["Outputs", name, "Value"]))?;
            let text = value
                .as_ref()
                .and_then(Value::text)
                .ok_or_else(|| not_text(name))?;
            outputs.insert(name.clone(), text);
        }
        Ok(outputs)
    }

    /// The acknowledgement that CloudFormation asks for before it makes resources of IAM.
    pub fn capability(&self) -> Option<&'static str> {
        const NAMES: &[&str] = &[
            "GroupName",
            "InstanceProfileName",
            "ManagedPolicyName",
            "PolicyName",
            "RoleName",
            "UserName",
        ];
        let mut needed = None;
        for (id, planned) in &self.resources {
            if !planned.type_name.starts_with("AWS::IAM::") {
                continue;
            }
            let named = self.template.resources.get(id).is_some_and(|r| {
                // A policy's name is required and names nothing by itself.
                planned.type_name != "AWS::IAM::Policy"
                    && NAMES.iter().any(|name| r.properties.contains_key(*name))
            });
            if named {
                return Some("CAPABILITY_NAMED_IAM");
            }
            needed = Some("CAPABILITY_IAM");
        }
        needed
    }

    fn scope<'a>(
        &'a self,
        surroundings: &'a dyn Surroundings,
        made: &'a dyn Made,
        section: &'static str,
    ) -> Scope<'a> {
        Scope::new(
            &self.parameters,
            &self.template.mappings,
            &self.conditions,
            &self.pseudo,
            surroundings,
            made,
            section,
        )
    }

    fn holds(&self, condition: Option<&str>) -> bool {
        condition.is_none_or(|name| self.conditions.get(name).copied().unwrap_or(false))
    }

    fn plan_resources(&mut self, surroundings: &dyn Surroundings) -> Result<(), TemplateError> {
        let mut kinds = BTreeMap::new();
        let mut unknown = BTreeSet::new();
        for (id, body) in &self.template.resources {
            match resource::find(&body.type_name) {
                Some(kind) => {
                    kinds.insert(id.clone(), kind);
                }
                None => {
                    unknown.insert(body.type_name.clone());
                }
            }
        }
        if !unknown.is_empty() {
            return Err(TemplateError::UnknownTypes { types: unknown });
        }
        kinds.retain(|id, _| {
            self.template
                .resources
                .get(id)
                .is_some_and(|body| self.holds(body.condition.as_deref()))
        });
        let mut planned = BTreeMap::new();
        let mut warnings = Vec::new();
        let mut imports = BTreeSet::new();
        for (id, kind) in &kinds {
            let Some(body) = self.template.resources.get(id) else {
                continue;
            };
            let recorder = Recorder {
                kinds: &kinds,
                asked: RefCell::default(),
            };
            let scope = self.scope(surroundings, &recorder, "Resources");
            let path = Path::of(&["Resources", id]);
            let properties = evaluate_map(&scope, &body.properties, &path.then("Properties"))?;
            let wrong = |what| TemplateError::Property {
                logical_id: id.clone(),
                type_name: body.type_name.clone(),
                what,
            };
            let not_in_effect = schema::check(&properties, kind.properties).map_err(wrong)?;
            if kind.placeholder {
                warnings.push(Warning {
                    logical_id: id.clone(),
                    property: None,
                });
            }
            warnings.extend(not_in_effect.into_iter().map(|p| Warning {
                logical_id: id.clone(),
                property: Some(p),
            }));
            if body.type_name == resource::placeholder::LAMBDA_FUNCTION.name
                && !self.restricts_default_group(id)
            {
                return Err(TemplateError::UnknownTypes {
                    types: BTreeSet::from([body.type_name.clone()]),
                });
            }
            let signals = signals(id, body, &scope, &path)?;
            imports.extend(scope.imports());
            drop(scope);
            let mut depends_on = recorder.asked.into_inner();
            // A dependency whose condition does not hold is none.
            depends_on.extend(
                body.depends_on
                    .iter()
                    .filter(|id| kinds.contains_key(*id))
                    .cloned(),
            );
            let deletion_policy = body.deletion_policy;
            let type_name = body.type_name.clone();
            planned.insert(
                id.clone(),
                Planned {
                    type_name,
                    kind,
                    depends_on,
                    deletion_policy,
                    signals,
                },
            );
        }
        self.resources = planned;
        self.warnings = warnings;
        self.imports = imports;
        self.add_implied();
        refuse_cycles(&self.dependencies())
    }

    /// What each resource waits for.
    pub fn dependencies(&self) -> Dependencies {
        self.resources
            .iter()
            .map(|(id, planned)| (id.clone(), planned.depends_on.clone()))
            .collect()
    }

    /// Dependencies that no function shows: a route to an internet gateway, an address for the internet
    /// and a public NAT gateway need the gateway's attachment, where that does not itself wait for them.
    fn add_implied(&mut self) {
        let attached = |id: &str, property: &str| -> BTreeSet<String> {
            let value = self
                .template
                .resources
                .get(id)
                .and_then(|body| body.properties.get(property));
            let found = value.and_then(|value| References::of(value).ok());
            found
                .map(|found| found.logical_ids().into_iter().map(str::to_owned).collect())
                .unwrap_or_default()
        };
        let attachments: Vec<(String, BTreeSet<String>)> = self
            .resources
            .iter()
            .filter(|(_, planned)| {
                planned.kind.name == resource::internet_gateway::VPC_GATEWAY_ATTACHMENT.name
            })
            .map(|(id, _)| (id.clone(), attached(id, "InternetGatewayId")))
            .collect();
        let mut implied: Vec<(String, String)> = Vec::new();
        for (id, planned) in &self.resources {
            let wanted: Option<BTreeSet<String>> = match planned.kind.name {
                "AWS::EC2::Route" => Some(attached(id, "GatewayId")),
                "AWS::EC2::EIP" | "AWS::EC2::EIPAssociation" | "AWS::EC2::NatGateway" => None,
                _ => continue,
            };
            for (attachment, gateways) in &attachments {
                if wanted.as_ref().is_none_or(|wanted| !wanted.is_disjoint(gateways)) {
                    implied.push((id.clone(), attachment.clone()));
                }
            }
        }
        let mut dependencies = self.dependencies();
        for (id, attachment) in implied {
            if !reaches(&dependencies, &attachment, &id) {
                if let Some(needs) = dependencies.get_mut(&id) {
                    needs.insert(attachment.clone());
                }
                if let Some(planned) = self.resources.get_mut(&id) {
                    planned.depends_on.insert(attachment);
                }
            }
        }
    }

    /// Whether a Lambda function is the handler of `Custom::VpcRestrictDefaultSG`, the only one that is
    /// accepted, since that is done here.
    fn restricts_default_group(&self, function: &str) -> bool {
        self.template.resources.values().any(|body| {
            body.type_name == resource::restrict_default_group::RESTRICT_DEFAULT_GROUP.name
                && body
                    .properties
                    .get("ServiceToken")
                    .and_then(|token| References::of(token).ok())
                    .is_some_and(|found| found.logical_ids().contains(function))
        })
    }

    fn plan_outputs(&mut self, surroundings: &dyn Surroundings) -> Result<(), TemplateError> {
        let kinds = self
            .resources
            .iter()
            .map(|(id, planned)| (id.clone(), planned.kind))
            .collect();
        let recorder = Recorder {
            kinds: &kinds,
            asked: RefCell::default(),
        };
        let scope = self.scope(surroundings, &recorder, "Outputs");
        let mut exports: BTreeMap<String, String> = BTreeMap::new();
        for (name, output) in &self.template.outputs {
            if !self.holds(output.condition.as_deref()) {
                continue;
            }
            let path = Path::of(&["Outputs", name]);
            match scope.evaluate(&output.value, &path.then("Value"))? {
                Some(Value::Later) => {}
                value if value.as_ref().and_then(Value::text).is_some() => {}
                _ => return Err(not_text(name)),
            }
            if let Some(export) = &output.export {
                let export = scope
                    .evaluate(export, &path.then("Export"))?
                    .and_then(|value| value.text())
                    .ok_or_else(|| {
                        TemplateError::format(format!(
                            "[{path}/Export/Name] must be a string that does not depend on resources"
                        ))
                    })?;
                if exports.values().any(|other| *other == export) {
                    return Err(TemplateError::format(format!(
                        "Duplicate Export names: [{export}]"
                    )));
                }
                exports.insert(name.clone(), export);
            }
        }
        let imports = scope.imports();
        drop(scope);
        self.exports = exports;
        self.imports.extend(imports);
        Ok(())
    }
}

/// Before anything is made: every resource that will be made returns [`Value::Later`]. Remembers what was
/// asked for.
struct Recorder<'a> {
    kinds: &'a BTreeMap<String, &'static ResourceType>,
    asked: RefCell<BTreeSet<String>>,
}

impl Made for Recorder<'_> {
    fn reference(&self, logical_id: &str) -> Option<Value> {
        self.kinds.get(logical_id)?;
        self.asked.borrow_mut().insert(logical_id.to_owned());
        Some(Value::Later)
    }

    fn attribute(&self, logical_id: &str, attribute: &str) -> Result<Option<Value>, TemplateError> {
        let Some(kind) = self.kinds.get(logical_id) else {
            return Ok(None);
        };
        if !kind.has_attribute(attribute) {
            return Err(TemplateError::function(format!(
                "resource {logical_id} does not support attribute type {attribute} in Fn::GetAtt"
            )));
        }
        self.asked.borrow_mut().insert(logical_id.to_owned());
        Ok(Some(Value::Later))
    }
}

fn evaluate_map(scope: &Scope<'_>, map: &Map, path: &Path) -> Result<Map, TemplateError> {
    let mut evaluated = Map::new();
    for (name, value) in map {
        if let Some(value) = scope.evaluate(value, &path.then(name))? {
            evaluated.insert(name.clone(), value);
        }
    }
    Ok(evaluated)
}

fn not_text(output: &str) -> TemplateError {
    TemplateError::format(format!(
        "The Value field of every Outputs member must evaluate to a String. ({output})"
    ))
}
