//! A stack being changed: every change of a status is an event.

use atoll_model::Tags;
use atoll_model::stack::{ResourceStatus, Stack, StackEvent, StackEventId, StackStatus};
use atoll_region::Transaction;

/// Most characters of a reason.
const REASON_CHARS: usize = 1024;

/// A stack's row in the hands of a step.
pub(crate) struct Record {
    pub(crate) stack: Stack,
}

impl Record {
    pub(crate) fn new(stack: Stack) -> Self {
        Self { stack }
    }

    /// Puts the row.
    pub(crate) fn finish(self, tx: &mut Transaction) {
        tx.put(self.stack);
    }

    /// Changes the stack's own status.
    pub(crate) fn stack_status(&mut self, tx: &mut Transaction, status: StackStatus, reason: Option<String>) {
        self.stack.status = status;
        self.stack.status_reason = reason.as_deref().map(shortened);
        let (name, arn) = (self.stack.name.clone(), self.stack.arn());
        self.event(
            tx,
            name,
            Some(arn),
            "AWS::CloudFormation::Stack".to_owned(),
            status.to_string(),
            reason,
        );
    }

    /// Changes a resource's status.
    pub(crate) fn resource_status(
        &mut self,
        tx: &mut Transaction,
        id: &str,
        status: ResourceStatus,
        reason: Option<String>,
    ) {
        let now = tx.now();
        let Some(resource) = self.stack.resources.get_mut(id) else {
            return;
        };
        resource.status = status;
        resource.reason = reason.as_deref().map(shortened);
        resource.changed = now;
        let (physical, type_name) = (resource.physical.clone(), resource.type_name.clone());
        self.event(tx, id.to_owned(), physical, type_name, status.to_string(), reason);
    }

    fn event(
        &mut self,
        tx: &mut Transaction,
        logical_id: String,
        physical: Option<String>,
        type_name: String,
        status: String,
        reason: Option<String>,
    ) {
        let id = StackEventId {
            stack: self.stack.id,
            number: self.stack.events,
        };
        self.stack.events = self.stack.events.saturating_add(1);
        let reason = reason.as_deref().map(shortened);
        let (owner, at, tags) = (self.stack.owner, tx.now(), Tags::new());
        tx.put(StackEvent {
            id,
            owner,
            at,
            logical_id,
            physical,
            type_name,
            status,
            reason,
            tags,
        });
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(REASON_CHARS).collect()
}
