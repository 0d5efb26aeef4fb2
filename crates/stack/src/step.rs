//! Steps: one thing done for a stack. What is to be done is [`crate::next`]'s to say.
//!
//! A [`Step`] is a command: it makes (or deletes) one object *and* records that in the stack's
//! row, in one transaction, after looking again whether it is still to be done. So an interruption loses
//! and doubles nothing, and whoever goes on after a restart, or twice at once, does the same: while there
//! is a step, apply it.

use std::sync::Arc;

use atoll_model::stack::{
    OnFailure, ResourceStatus, Stack, StackId, StackOutput, StackResource, StackStatus, StackTemplate,
};
use atoll_model::{AccountId, Change, Key};
use atoll_region::tag::CreateTags;
use atoll_region::{Command, Context, Error, Region, Transaction};

use crate::error::TemplateError;
use crate::here::{Existing, Here, pseudo_of};
use crate::life::{Created, Doomed, Failure, Given, Make, Progress};
use crate::next::{doomed, is_due, is_gone, is_unawaited, progress, stays};
use crate::plan::{Plan, Warning};
use crate::record::Record;
use crate::resource;
use crate::template::Template;

/// What is said of signals that are wanted where no instance runs anything.
const UNAWAITED: &str = "The data plane is off, so that no user data runs and nothing can signal: the signals that this \
                         resource wants were not awaited";

/// One thing to be done for a stack. As a command it must be applied in the name of [`Step::account`].
#[derive(Clone, Debug)]
pub struct Step {
    /// The stack.
    pub stack: StackId,
    /// Its owner.
    pub account: AccountId,
    /// What is to be done.
    pub action: Action,
    /// The stack's plan, if whoever asks keeps it; else it is made from the stack's rows.
    pub(crate) plan: Option<Arc<Plan>>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make this resource.
    Make(String),
    /// See that this resource is ready, or never will be.
    Conclude(String),
    /// Everything is made.
    FinishCreation,
    /// Something could not be made, or not in time.
    GiveUp,
    /// Delete this resource, or leave it where it is.
    Delete(String),
    /// See that this resource is gone.
    ConcludeDeletion(String),
    /// What could be deleted is.
    FinishDeletion,
}

/// Deletes an object; one that is not there is deleted.
pub(crate) fn delete_object(
    tx: &mut Transaction,
    resource: &StackResource,
    doomed: &Doomed<'_>,
) -> Result<(), Error> {
    match resource::find(&resource.type_name).map(|kind| kind.life.delete(tx, doomed)) {
        None | Some(Ok(())) => Ok(()),
        Some(Err(e)) if e.code.ends_with("NotFound") => Ok(()),
        Some(Err(e)) => Err(e),
    }
}

impl Command for Step {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        // What was right when the step was asked for may not be now.
        let stack = tx.find::<Stack>(self.stack)?;
        if !is_due(tx.region(), &stack, &self.action, tx.now()) {
            return Ok(());
        }
        let plan = || match &self.plan {
            Some(plan) => Ok(Arc::clone(plan)),
            None => plan_of(tx.region(), &stack).map(Arc::new),
        };
        let planned = match &self.action {
            Action::Make(_) | Action::FinishCreation => Some(plan()),
            _ => None,
        };
        let record = Record::new((*stack).clone());
        let record = match (&self.action, planned) {
            (Action::Make(id), Some(planned)) => make(tx, record, id, planned),
            (Action::FinishCreation, Some(planned)) => finish_creation(tx, record, planned),
            (Action::Make(_) | Action::FinishCreation, None) => record,
            (Action::Conclude(id), _) => conclude(tx, record, id),
            (Action::GiveUp, _) => give_up(tx, record),
            (Action::Delete(id), _) => delete(tx, record, id),
            (Action::ConcludeDeletion(id), _) => {
                let mut record = record;
                record.resource_status(tx, id, ResourceStatus::DeleteComplete, None);
                record
            }
            (Action::FinishDeletion, _) => finish_deletion(tx, record),
        };
        record.finish(tx);
        Ok(())
    }
}

/// Applies something to the transaction as a whole or not at all.
fn attempt<R>(
    tx: &mut Transaction,
    change: impl FnOnce(&mut Transaction) -> Result<R, Failure>,
) -> Result<R, Failure> {
    let context = Context {
        account: tx.account(),
        now: tx.now(),
        seed: tx.draw(),
    };
    let mut outcome = Err(Failure {
        property: None,
        message: String::new(),
    });
    let applied = tx.region().clone().apply(&context, |inner: &mut Transaction| {
        outcome = change(inner);
        match &outcome {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::internal("undone")),
        }
    });
    match applied {
        Ok(applied) => {
            for change in applied.delta.changes {
                match change {
                    Change::Put(row) => tx.put(row),
                    Change::Delete(key) => tx.delete(key),
                }
            }
            outcome
        }
        // The change itself failed, or what it changed was too much for one delta.
        Err(e) => outcome.and_then(|_| Err(Failure::from(e))),
    }
}

/// The plan of a stack, from its row and its template's.
pub(crate) fn plan_of(region: &Region, stack: &Stack) -> Result<Plan, TemplateError> {
    let template = region
        .get::<StackTemplate>(stack.id)
        .ok_or_else(|| TemplateError::Format("the template of the stack is gone".to_owned()))?;
    let given = stack
        .parameters
        .iter()
        .map(|p| (p.key.clone(), p.value.clone()))
        .collect();
    let here = Here {
        region,
        account: stack.owner,
    };
    Plan::again(Template::parse(&template.body)?, &given, pseudo_of(stack), &here)
}

fn make(
    tx: &mut Transaction,
    mut record: Record,
    id: &str,
    planned: Result<Arc<Plan>, TemplateError>,
) -> Record {
    let warnings: Vec<Warning> = planned
        .iter()
        .flat_map(|plan| plan.warnings.clone())
        .filter(|w| w.logical_id == id)
        .collect();
    record.resource_status(tx, id, ResourceStatus::CreateInProgress, None);
    for warning in warnings {
        record.resource_status(
            tx,
            id,
            ResourceStatus::CreateInProgress,
            Some(format!("Warning: {warning}")),
        );
    }
    let now = tx.now();
    if let Some(resource) = record.stack.resources.get_mut(id) {
        resource.began = Some(now);
    }
    let stack = record.stack.clone();
    let outcome = planned
        .map_err(|e| Failure {
            property: None,
            message: e.to_string(),
        })
        .and_then(|plan| create(tx, &plan, &stack, id));
    match outcome {
        Err(failure) => {
            record.resource_status(tx, id, ResourceStatus::CreateFailed, Some(failure.to_string()))
        }
        Ok(created) => {
            if let Some(resource) = record.stack.resources.get_mut(id) {
                resource.physical = Some(created.physical);
                resource.detail = created.detail;
                resource.wanted_signals = resource.wanted_signals.or(created.signals);
            }
            let reason = Some("Resource creation Initiated".to_owned());
            record.resource_status(tx, id, ResourceStatus::CreateInProgress, reason);
            if let Some(note) = created.note {
                record.resource_status(
                    tx,
                    id,
                    ResourceStatus::CreateInProgress,
                    Some(format!("Warning: {note}")),
                );
            }
            record = conclude(tx, record, id);
        }
    }
    record
}

fn create(tx: &mut Transaction, plan: &Plan, stack: &Stack, id: &str) -> Result<Created, Failure> {
    let region = tx.region().clone();
    let here = Here {
        region: &region,
        account: stack.owner,
    };
    let existing = Existing {
        region: &region,
        stack,
    };
    let properties = plan.properties(id, &here, &existing).map_err(|e| {
        let message = match e {
            TemplateError::Property { what, .. } => what,
            other => other.to_string(),
        };
        Failure {
            property: None,
            message,
        }
    })?;
    let planned = plan.resources.get(id).ok_or_else(|| Failure {
        property: None,
        message: "It is not in the template".to_owned(),
    })?;
    attempt(tx, |tx| {
        let mut make = Make {
            tx,
            given: Given::new(&properties),
            logical_id: id,
            type_name: &planned.type_name,
            stack,
        };
        let created = planned
            .kind
            .life
            .create(&mut make)
            .map_err(|failure| failure.blaming(&properties))?;
        if let Some(resource) = created.taggable {
            let tags = [
                ("aws:cloudformation:logical-id", id.to_owned()),
                ("aws:cloudformation:stack-id", stack.arn()),
                ("aws:cloudformation:stack-name", stack.name.clone()),
            ];
            let tags = tags
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect();
            CreateTags {
                resources: vec![resource],
                tags,
            }
            .apply(tx)?;
        }
        Ok(created)
    })
}

fn conclude(tx: &mut Transaction, mut record: Record, id: &str) -> Record {
    let Some(resource) = record.stack.resources.get(id) else {
        return record;
    };
    let progress = progress(tx.region(), &record.stack, id, resource, tx.now());
    if progress == Progress::Complete && is_unawaited(tx.region(), &record.stack, id, resource) {
        let reason = Some(format!("Warning: {UNAWAITED}"));
        record.resource_status(tx, id, ResourceStatus::CreateInProgress, reason);
    }
    match progress {
        Progress::Waiting => {}
        Progress::Complete => record.resource_status(tx, id, ResourceStatus::CreateComplete, None),
        Progress::Failed(why) => record.resource_status(tx, id, ResourceStatus::CreateFailed, Some(why)),
    }
    record
}

fn finish_creation(
    tx: &mut Transaction,
    mut record: Record,
    planned: Result<Arc<Plan>, TemplateError>,
) -> Record {
    let stack = &record.stack;
    let region = tx.region();
    let here = Here {
        region,
        account: stack.owner,
    };
    let outputs = planned.and_then(|plan| {
        let values = plan.outputs(&here, &Existing { region, stack })?;
        Ok(values
            .into_iter()
            .map(|(key, value)| StackOutput {
                description: plan
                    .template
                    .outputs
                    .get(&key)
                    .and_then(|output| output.description.clone()),
                export: plan.exports.get(&key).cloned(),
                key,
                value,
            })
            .collect())
    });
    match outputs {
        Ok(outputs) => {
            record.stack.outputs = outputs;
            record.stack_status(tx, StackStatus::CreateComplete, None);
        }
        Err(e) => fail(tx, &mut record, &e.to_string()),
    }
    record
}

fn give_up(tx: &mut Transaction, mut record: Record) -> Record {
    let failed: Vec<&str> = record
        .stack
        .resources
        .iter()
        .filter(|(_, r)| r.status == ResourceStatus::CreateFailed)
        .map(|(id, _)| id.as_str())
        .collect();
    let why = if failed.is_empty() {
        "Stack creation time exceeded the specified timeout.".to_owned()
    } else {
        format!(
            "The following resource(s) failed to create: [{}].",
            failed.join(", ")
        )
    };
    fail(tx, &mut record, &why);
    record
}

fn fail(tx: &mut Transaction, record: &mut Record, why: &str) {
    match record.stack.on_failure {
        OnFailure::Rollback => {
            record.stack_status(
                tx,
                StackStatus::RollbackInProgress,
                Some(format!("{why} Rollback requested by user.")),
            );
        }
        OnFailure::DoNothing => record.stack_status(tx, StackStatus::CreateFailed, Some(why.to_owned())),
        OnFailure::Delete => {
            record.stack.deleted = Some(tx.now());
            record.stack_status(
                tx,
                StackStatus::DeleteInProgress,
                Some(format!("{why} Delete requested by user.")),
            );
        }
    }
}

fn delete(tx: &mut Transaction, mut record: Record, id: &str) -> Record {
    let Some(resource) = record.stack.resources.get(id).cloned() else {
        return record;
    };
    if resource.status == ResourceStatus::CreateInProgress {
        record.resource_status(
            tx,
            id,
            ResourceStatus::CreateFailed,
            Some("Resource creation cancelled".to_owned()),
        );
    }
    if stays(&record.stack, id, &resource) {
        record.resource_status(tx, id, ResourceStatus::DeleteSkipped, None);
        return record;
    }
    record.resource_status(tx, id, ResourceStatus::DeleteInProgress, None);
    let outcome = match doomed(&record.stack, &resource) {
        None => Ok(()),
        Some(doomed) => attempt(tx, |tx| Ok(delete_object(tx, &resource, &doomed)?)),
    };
    match outcome {
        Err(failure) => {
            record.resource_status(tx, id, ResourceStatus::DeleteFailed, Some(failure.to_string()))
        }
        Ok(()) if is_gone(tx.region(), &record.stack, &resource) => {
            record.resource_status(tx, id, ResourceStatus::DeleteComplete, None);
        }
        Ok(()) => {}
    }
    record
}

fn finish_deletion(tx: &mut Transaction, mut record: Record) -> Record {
    let failed: Vec<&str> = record
        .stack
        .resources
        .iter()
        .filter(|(_, r)| r.status == ResourceStatus::DeleteFailed)
        .map(|(id, _)| id.as_str())
        .collect();
    let why = (!failed.is_empty()).then(|| {
        format!(
            "The following resource(s) failed to delete: [{}].",
            failed.join(", ")
        )
    });
    let rollback = record.stack.status == StackStatus::RollbackInProgress;
    let status = match (rollback, why.is_some()) {
        (true, false) => StackStatus::RollbackComplete,
        (true, true) => StackStatus::RollbackFailed,
        (false, false) => StackStatus::DeleteComplete,
        (false, true) => StackStatus::DeleteFailed,
    };
    if status == StackStatus::DeleteComplete {
        tx.delete(Key::StackTemplate(record.stack.id));
        record.stack.exports.clear();
        record.stack.imports.clear();
    }
    record.stack_status(tx, status, why);
    record
}
