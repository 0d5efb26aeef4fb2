//! CreateStack and DeleteStack, as commands of the region.

use std::collections::{BTreeMap, BTreeSet};

use atoll_model::stack::{
    DeletionPolicy, OnFailure, ResourceStatus, Stack, StackId, StackParameter, StackResource, StackStatus,
    StackTemplate, WantedSignals,
};
use atoll_model::{AccountId, Row, Tags};
use atoll_region::idempotency::{Repeated, look_up};
use atoll_region::{Command, Error, Region, Transaction};

use crate::error::TemplateError;
use crate::here::{Here, pseudo_of};
use crate::life::is_reserved;
use crate::plan::Plan;
use crate::record::Record;
use crate::template::{self, Template};

/// Most stacks that an account may have in a region, deleted ones not counted.
pub const STACKS_PER_REGION: usize = 2000;

/// CreateStack: checks everything, then puts the stack with all its resources waiting. Steps
/// ([`crate::steps`]) make them.
#[derive(Clone, Debug)]
pub struct CreateStack {
    /// Its name.
    pub name: String,
    /// The template's text.
    pub template: String,
    /// Values of parameters.
    pub parameters: BTreeMap<String, String>,
    /// What follows when a resource cannot be made.
    pub on_failure: OnFailure,
    /// Minutes after which creation has failed.
    pub timeout_minutes: Option<u32>,
    /// What the caller acknowledges.
    pub capabilities: Vec<String>,
    /// Topics that are to be told; nothing is sent.
    pub notification_arns: Vec<String>,
    /// Whether DeleteStack is to be refused.
    pub termination_protection: bool,
    /// The caller's idempotency token.
    pub client_token: Option<String>,
    /// Tags, which resources inherit.
    pub tags: Tags,
}

impl CreateStack {
    /// A stack of that name and template, with nothing else said.
    pub fn new(name: impl Into<String>, template: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            template: template.into(),
            parameters: BTreeMap::new(),
            on_failure: OnFailure::Rollback,
            timeout_minutes: None,
            capabilities: Vec::new(),
            notification_arns: Vec::new(),
            termination_protection: false,
            client_token: None,
            tags: Tags::new(),
        }
    }

    /// Checks everything without changing anything: what a caller does before it takes the writer's time.
    ///
    /// # Errors
    /// As the command.
    pub fn check(&self, region: &Region, account: AccountId) -> Result<(), Error> {
        let stack = self.stack(StackId::new(0), region, account);
        self.plan(&stack, region).map(|_| ())
    }

    fn stack(&self, id: StackId, region: &Region, account: AccountId) -> Stack {
        Stack {
            id,
            owner: account,
            region: region.name(),
            name: self.name.clone(),
            status: StackStatus::CreateInProgress,
            status_reason: None,
            created: atoll_model::Timestamp(0),
            deleted: None,
            description: None,
            parameters: Vec::new(),
            outputs: Vec::new(),
            exports: Vec::new(),
            imports: Vec::new(),
            on_failure: self.on_failure,
            timeout_minutes: self.timeout_minutes,
            capabilities: self.capabilities.clone(),
            notification_arns: self.notification_arns.clone(),
            termination_protection: self.termination_protection,
            retain: Vec::new(),
            resources: BTreeMap::new(),
            events: 0,
            client_token: None,
            tags: self.tags.clone(),
        }
    }

    fn plan(&self, stack: &Stack, region: &Region) -> Result<Plan, Error> {
        let here = Here {
            region,
            account: stack.owner,
        };
        let plan = Template::parse(&self.template)
            .and_then(|template| Plan::new(template, &self.parameters, pseudo_of(stack), &here))
            .map_err(refusal)?;
        if let Some(capability) = plan.capability() {
            // The named kind acknowledges the other too.
            let given = |name: &str| self.capabilities.iter().any(|given| given == name);
            let named = capability == "CAPABILITY_IAM" && given("CAPABILITY_NAMED_IAM");
            if !(named || given(capability)) {
                return Err(refusal(TemplateError::Capabilities { capability }));
            }
        }
        Ok(plan)
    }
}

impl Command for CreateStack {
    type Reply = StackId;

    fn apply(self, tx: &mut Transaction) -> Result<StackId, Error> {
        check_name(&self.name)?;
        let token = self.client_token.as_deref();
        let request = (&self.name, &self.template, &self.parameters, &self.tags);
        let client_token = match look_up(tx, token, &request, |row| match row {
            Row::Stack(stack) => stack.client_token.as_ref(),
            _ => None,
        })? {
            Repeated::Before(keys) => {
                let before = keys.iter().find_map(|key| match tx.region().row(*key) {
                    Some(Row::Stack(stack)) => Some(stack.id),
                    _ => None,
                });
                return before.ok_or_else(|| Error::internal("a token leads to no stack"));
            }
            Repeated::New(token) => Some(token),
            Repeated::Untokened => None,
        };
        atoll_region::tag::allowed(&self.tags)?;
        if let Some(key) = self.tags.keys().find(|key| is_reserved(key)) {
            return Err(validation(format!(
                "Tag keys starting with 'aws:' are reserved for internal use: {key}"
            )));
        }
        let id = StackId::new(u128::from(tx.draw()) << 64 | u128::from(tx.draw()));
        let live: Vec<_> = tx
            .region()
            .list::<Stack>(tx.account())
            .filter(|stack| stack.status != StackStatus::DeleteComplete)
            .collect();
        if live.iter().any(|stack| stack.name == self.name) {
            return Err(Error::new(
                "AlreadyExistsException",
                format!("Stack [{}] already exists", self.name),
            ));
        }
        if live.len() >= STACKS_PER_REGION {
            return Err(Error::new(
                "LimitExceededException",
                format!("The maximum number of stacks, {STACKS_PER_REGION}, has been reached"),
            ));
        }
        let mut stack = self.stack(id, tx.region(), tx.account());
        let plan = self.plan(&stack, tx.region())?;
        for export in plan.exports.values() {
            if let Some(other) = live.iter().find(|other| other.exports.contains(export)) {
                return Err(validation(format!(
                    "Export with name {export} is already exported by stack {}",
                    other.name
                )));
            }
        }
        stack.created = tx.now();
        stack.client_token = client_token;
        stack.description = plan.template.description.clone();
        stack.exports = plan.exports.values().cloned().collect();
        stack.imports = plan.imports.iter().cloned().collect();
        stack.parameters = plan
            .parameters
            .iter()
            .map(|(key, resolved)| StackParameter {
                key: key.clone(),
                value: resolved.given.clone(),
                resolved: resolved.found.clone(),
                no_echo: resolved.no_echo,
            })
            .collect();
        for (id, planned) in &plan.resources {
            stack.resources.insert(
                id.clone(),
                StackResource {
                    type_name: planned.type_name.clone(),
                    physical: None,
                    status: ResourceStatus::Waiting,
                    reason: None,
                    changed: tx.now(),
                    began: None,
                    depends_on: planned.depends_on.iter().cloned().collect(),
                    deletion_policy: match planned.deletion_policy {
                        template::DeletionPolicy::Delete => DeletionPolicy::Delete,
                        template::DeletionPolicy::Retain => DeletionPolicy::Retain,
                        template::DeletionPolicy::RetainExceptOnCreate => {
                            DeletionPolicy::RetainExceptOnCreate
                        }
                    },
                    wanted_signals: planned.signals.map(|signals| WantedSignals {
                        count: signals.count,
                        timeout_millis: signals.timeout_millis,
                    }),
                    detail: None,
                    signals: Vec::new(),
                },
            );
        }
        tx.put(StackTemplate {
            id,
            owner: stack.owner,
            body: self.template,
            tags: Tags::new(),
        });
        let mut record = Record::new(stack);
        record.stack_status(
            tx,
            StackStatus::CreateInProgress,
            Some("User Initiated".to_owned()),
        );
        record.finish(tx);
        Ok(id)
    }
}

/// DeleteStack: begins the deletion; steps do it. A stack that does not exist is no error.
#[derive(Clone, Debug)]
pub struct DeleteStack {
    /// Its name, ARN or id.
    pub stack: String,
    /// Resources that stay, for a stack whose deletion failed.
    pub retain: Vec<String>,
}

impl Command for DeleteStack {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let Ok(found) = find(tx.region(), tx.account(), &self.stack) else {
            return Ok(());
        };
        let mut stack = found.clone();
        match stack.status {
            StackStatus::DeleteComplete | StackStatus::DeleteInProgress => return Ok(()),
            StackStatus::CreateInProgress
            | StackStatus::CreateComplete
            | StackStatus::CreateFailed
            | StackStatus::RollbackInProgress
            | StackStatus::RollbackComplete
            | StackStatus::RollbackFailed
            | StackStatus::DeleteFailed => {}
        }
        if stack.termination_protection {
            return Err(validation(format!(
                "Stack [{}] cannot be deleted while TerminationProtection is enabled",
                stack.name
            )));
        }
        if !self.retain.is_empty() {
            if stack.status != StackStatus::DeleteFailed {
                return Err(validation(format!(
                    "Invalid operation on stack [{}]. The resources to retain can only be specified for a stack in the DELETE_FAILED state",
                    stack.name
                )));
            }
            let unknown: BTreeSet<&String> = self
                .retain
                .iter()
                .filter(|id| !stack.resources.contains_key(*id))
                .collect();
            if let Some(id) = unknown.first() {
                return Err(validation(format!(
                    "The resource {id} does not exist in stack [{}]",
                    stack.name
                )));
            }
        }
        let in_use = tx
            .region()
            .list::<Stack>(tx.account())
            .filter(|other| other.id != stack.id && other.status != StackStatus::DeleteComplete)
            .find_map(|other| {
                other
                    .imports
                    .iter()
                    .find(|name| stack.exports.contains(name))
                    .map(|name| (name, &other.name))
            });
        if let Some((export, user)) = in_use {
            return Err(validation(format!(
                "Export {export} cannot be deleted as it is in use by {user}"
            )));
        }
        stack.retain = self.retain;
        stack.deleted = Some(tx.now());
        // What could not be deleted before is tried again.
        for resource in stack
            .resources
            .values_mut()
            .filter(|resource| resource.status == ResourceStatus::DeleteFailed)
        {
            resource.status = ResourceStatus::CreateComplete;
        }
        let mut record = Record::new(stack);
        record.stack_status(
            tx,
            StackStatus::DeleteInProgress,
            Some("User Initiated".to_owned()),
        );
        record.finish(tx);
        Ok(())
    }
}

/// A stack by name, ARN or id. A deleted one is found by ARN and id only.
///
/// # Errors
/// `ValidationError`, in CloudFormation's words.
pub fn find<'a>(region: &'a Region, account: AccountId, text: &str) -> Result<&'a Stack, Error> {
    let id = text
        .rsplit('/')
        .next()
        .and_then(|last| last.parse::<StackId>().ok());
    let by_id = id
        .and_then(|id| region.find::<Stack>(account, id).ok())
        .filter(|stack| !text.contains('/') || stack.arn() == text);
    let by_name = || {
        region
            .list::<Stack>(account)
            .find(|stack| stack.name == text && stack.status != StackStatus::DeleteComplete)
    };
    by_id
        .or_else(by_name)
        .map(|stack| &**stack)
        .ok_or_else(|| validation(format!("Stack with id {text} does not exist")))
}

pub(crate) fn validation(message: impl Into<String>) -> Error {
    Error::new("ValidationError", message)
}

fn refusal(e: TemplateError) -> Error {
    Error::new(e.code(), e.to_string())
}

fn check_name(name: &str) -> Result<(), Error> {
    let mut bytes = name.bytes();
    let right = bytes.next().is_some_and(|b| b.is_ascii_alphabetic())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !right {
        return Err(validation(format!(
            "1 validation error detected: Value '{}' at 'stackName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*",
            name.chars().take(128).collect::<String>()
        )));
    }
    if name.len() > 128 {
        return Err(validation(
            "1 validation error detected: Value at 'stackName' failed to satisfy constraint: Member must have length less than or equal to 128",
        ));
    }
    Ok(())
}
