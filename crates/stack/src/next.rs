//! What is to be done next for a stack: looks at a region and says what can be done now, everything that is
//! independent at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use atoll_model::stack::{DeletionPolicy, ResourceStatus, Stack, StackId, StackResource, StackStatus};
use atoll_model::{AccountId, Timestamp};
use atoll_region::{Context, Noun, Region, Transaction};

use crate::life::{Doomed, Progress, Seen};
use crate::plan::Plan;
use crate::resource;
use crate::step::{Action, Step, delete_object, plan_of};

/// The stacks for which steps may be to be done, with their owners.
pub fn in_progress(region: &Region) -> Vec<(AccountId, StackId)> {
    Stack::table(region)
        .values()
        .filter(|stack| stack.status.in_progress())
        .map(|stack| (stack.owner, stack.id))
        .collect()
}

/// What can be done for a stack now; empty while it waits, and when it is done.
pub fn steps(region: &Region, id: StackId, now: Timestamp) -> Vec<Step> {
    let Some(stack) = region.get::<Stack>(id) else {
        return Vec::new();
    };
    let actions = match stack.status {
        StackStatus::CreateInProgress => creation(region, stack, now),
        StackStatus::RollbackInProgress | StackStatus::DeleteInProgress => deletion(region, stack, now),
        _ => Vec::new(),
    };
    actions
        .into_iter()
        .map(|action| Step {
            stack: id,
            account: stack.owner,
            action,
            plan: None,
        })
        .collect()
}

/// Says what is to be done like [`steps`], and keeps the plans of stacks that are being made, so that a template is
/// not read again for each of its resources. Whoever takes the steps of many stacks keeps one; losing it loses
/// nothing.
#[derive(Debug, Default)]
pub struct Planner {
    plans: BTreeMap<StackId, Arc<Plan>>,
}

impl Planner {
    /// What can be done now, for every stack of the region.
    pub fn steps(&mut self, region: &Region, now: Timestamp) -> Vec<Step> {
        let stacks = in_progress(region);
        self.plans
            .retain(|id, _| stacks.iter().any(|(_, stack)| stack == id));
        let mut all = Vec::new();
        for (_, id) in stacks {
            let plan = self.plan(region, id);
            all.extend(steps(region, id, now).into_iter().map(|step| Step {
                plan: plan.clone(),
                ..step
            }));
        }
        all
    }

    fn plan(&mut self, region: &Region, id: StackId) -> Option<Arc<Plan>> {
        let stack = region
            .get::<Stack>(id)
            .filter(|stack| stack.status == StackStatus::CreateInProgress)?;
        if let Some(plan) = self.plans.get(&id) {
            return Some(Arc::clone(plan));
        }
        let plan = Arc::new(plan_of(region, stack).ok()?);
        self.plans.insert(id, Arc::clone(&plan));
        Some(plan)
    }
}

/// When to look again even if nothing changes: the next timeout of a stack in progress.
pub fn next_deadline(region: &Region, id: StackId) -> Option<Timestamp> {
    let stack = region
        .get::<Stack>(id)
        .filter(|stack| stack.status == StackStatus::CreateInProgress)?;
    let waits = stack
        .resources
        .values()
        .filter(|r| r.status == ResourceStatus::CreateInProgress)
        .filter_map(signal_deadline);
    waits.chain(creation_deadline(stack)).min()
}

fn creation_deadline(stack: &Stack) -> Option<Timestamp> {
    stack
        .timeout_minutes
        .map(|minutes| stack.created.plus_millis(u64::from(minutes) * 60_000))
}

fn signal_deadline(resource: &StackResource) -> Option<Timestamp> {
    Some(
        resource
            .began?
            .plus_millis(resource.wanted_signals?.timeout_millis),
    )
}

fn creation(region: &Region, stack: &Stack, now: Timestamp) -> Vec<Action> {
    let failed = stack
        .resources
        .values()
        .any(|r| r.status == ResourceStatus::CreateFailed);
    if failed || creation_deadline(stack).is_some_and(|deadline| deadline <= now) {
        return vec![Action::GiveUp];
    }
    let mut actions = Vec::new();
    let complete = |id: &String| {
        stack
            .resources
            .get(id)
            .is_none_or(|r| r.status == ResourceStatus::CreateComplete)
    };
    for (id, resource) in &stack.resources {
        match resource.status {
            ResourceStatus::Waiting if resource.depends_on.iter().all(complete) => {
                actions.push(Action::Make(id.clone()))
            }
            ResourceStatus::CreateInProgress
                if progress(region, stack, id, resource, now) != Progress::Waiting =>
            {
                actions.push(Action::Conclude(id.clone()));
            }
            _ => {}
        }
    }
    if actions.is_empty() && stack.resources.keys().all(complete) {
        actions.push(Action::FinishCreation);
    }
    actions
}

/// How far a resource is whose object is made: the object itself, and the signals that it waits for.
pub(crate) fn progress(
    region: &Region,
    stack: &Stack,
    logical_id: &str,
    resource: &StackResource,
    now: Timestamp,
) -> Progress {
    match life_progress(region, stack, logical_id, resource) {
        Progress::Waiting if is_unawaited(region, stack, logical_id, resource) => Progress::Complete,
        Progress::Waiting if signal_deadline(resource).is_some_and(|deadline| deadline <= now) => {
            let wanted = resource.wanted_signals.map_or(0, |wanted| wanted.count);
            let got = resource.signals.iter().filter(|signal| signal.success).count();
            Progress::Failed(format!(
                "Failed to receive {} resource signal(s) within the specified duration",
                (wanted as usize).saturating_sub(got)
            ))
        }
        progress => progress,
    }
}

fn life_progress(region: &Region, stack: &Stack, logical_id: &str, resource: &StackResource) -> Progress {
    let (Some(physical), Some(kind)) = (resource.physical.as_deref(), resource::find(&resource.type_name))
    else {
        return Progress::Failed("The object is not there".to_owned());
    };
    kind.life.progress(&Seen {
        region,
        stack,
        logical_id,
        resource,
        physical,
    })
}

/// Whether a resource would be complete but for signals that nobody can send, because no instance runs anything.
pub(crate) fn is_unawaited(
    region: &Region,
    stack: &Stack,
    logical_id: &str,
    resource: &StackResource,
) -> bool {
    if region.config().runs_instances || resource.wanted_signals.is_none() {
        return false;
    }
    let unasked = StackResource {
        wanted_signals: None,
        ..resource.clone()
    };
    life_progress(region, stack, logical_id, resource) == Progress::Waiting
        && life_progress(region, stack, logical_id, &unasked) == Progress::Complete
}

/// Whether nothing is left of a resource that a deletion must see to.
fn is_over(resource: &StackResource) -> bool {
    matches!(
        resource.status,
        ResourceStatus::Waiting | ResourceStatus::DeleteComplete | ResourceStatus::DeleteSkipped
    )
}

fn deletion(region: &Region, stack: &Stack, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut blocked = Vec::new();
    let mut busy = false;
    let still_needed: BTreeSet<&String> = stack
        .resources
        .values()
        .filter(|r| !is_over(r))
        .flat_map(|r| &r.depends_on)
        .collect();
    for (id, resource) in &stack.resources {
        match resource.status {
            ResourceStatus::DeleteInProgress => {
                busy = true;
                if is_gone(region, stack, resource) {
                    actions.push(Action::ConcludeDeletion(id.clone()));
                }
            }
            ResourceStatus::CreateInProgress
            | ResourceStatus::CreateComplete
            | ResourceStatus::CreateFailed
                if !still_needed.contains(id) =>
            {
                if in_the_way(region, stack, id, resource, now) {
                    blocked.push(Action::Delete(id.clone()));
                } else {
                    actions.push(Action::Delete(id.clone()));
                }
            }
            _ => {}
        }
    }
    if actions.is_empty() && !busy {
        // Nothing else will move what is in the way: let it fail and say so.
        actions = blocked;
    }
    if actions.is_empty() && !busy {
        actions.push(Action::FinishDeletion);
    }
    actions
}

/// Whether others stand in the way of a resource's deletion that nothing in the template connects with it (an
/// address in use, of the gateway's detachment): they go first.
fn in_the_way(region: &Region, stack: &Stack, id: &str, resource: &StackResource, now: Timestamp) -> bool {
    if stays(stack, id, resource) {
        return false;
    }
    let Some(doomed) = doomed(stack, resource) else {
        return false;
    };
    let context = Context {
        account: stack.owner,
        now,
        seed: 0,
    };
    let attempt = region.apply(&context, |tx: &mut Transaction| {
        delete_object(tx, resource, &doomed)
    });
    attempt.is_err_and(|e| e.code == "DependencyViolation" || e.code.ends_with(".InUse"))
}

/// Whether an action that was right when it was asked for is so still.
pub(crate) fn is_due(region: &Region, stack: &Stack, action: &Action, now: Timestamp) -> bool {
    let status_of = |id: &String| stack.resources.get(id).map(|resource| resource.status);
    let all = |stack: &Stack| match stack.status {
        StackStatus::CreateInProgress => creation(region, stack, now).contains(action),
        StackStatus::RollbackInProgress | StackStatus::DeleteInProgress => {
            deletion(region, stack, now).contains(action)
        }
        _ => false,
    };
    // The actions that there are many of are looked at by themselves, so that a large stack is not looked through
    // for each of its resources.
    match action {
        Action::Make(id) => {
            let failed = |resource: &StackResource| resource.status == ResourceStatus::CreateFailed;
            let complete =
                |id: &String| status_of(id).is_none_or(|status| status == ResourceStatus::CreateComplete);
            stack.status == StackStatus::CreateInProgress
                && creation_deadline(stack).is_none_or(|deadline| deadline > now)
                && !stack.resources.values().any(failed)
                && stack.resources.get(id).is_some_and(|resource| {
                    resource.status == ResourceStatus::Waiting && resource.depends_on.iter().all(complete)
                })
        }
        Action::Delete(id) => {
            let needed = |other: &StackResource| !is_over(other) && other.depends_on.contains(id);
            stack.resources.get(id).is_some_and(|resource| {
                matches!(
                    stack.status,
                    StackStatus::RollbackInProgress | StackStatus::DeleteInProgress
                ) && matches!(
                    resource.status,
                    ResourceStatus::CreateInProgress
                        | ResourceStatus::CreateComplete
                        | ResourceStatus::CreateFailed
                ) && !stack.resources.values().any(needed)
                    && (!in_the_way(region, stack, id, resource, now) || all(stack))
            })
        }
        Action::Conclude(_)
        | Action::FinishCreation
        | Action::GiveUp
        | Action::ConcludeDeletion(_)
        | Action::FinishDeletion => all(stack),
    }
}

/// Whether a resource is left where it is.
pub(crate) fn stays(stack: &Stack, id: &str, resource: &StackResource) -> bool {
    stack.retain.iter().any(|retained| retained == id)
        || match resource.deletion_policy {
            DeletionPolicy::Delete => false,
            DeletionPolicy::Retain => true,
            DeletionPolicy::RetainExceptOnCreate => stack.status != StackStatus::RollbackInProgress,
        }
}

pub(crate) fn doomed<'a>(stack: &Stack, resource: &'a StackResource) -> Option<Doomed<'a>> {
    let physical = resource.physical.as_deref()?;
    Some(Doomed {
        account: stack.owner,
        physical,
        detail: resource.detail.as_deref(),
    })
}

pub(crate) fn is_gone(region: &Region, stack: &Stack, resource: &StackResource) -> bool {
    match (doomed(stack, resource), resource::find(&resource.type_name)) {
        (Some(doomed), Some(kind)) => kind.life.is_gone(region, &doomed),
        _ => true,
    }
}
