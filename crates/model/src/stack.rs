//! Stacks: what a template was turned into, and how far.
//!
//! A stack's template and its events stand in rows of their own, so that a step rewrites neither: a template is
//! written once, an event is added.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{AccountId, ClientToken, RegionName, Tags, Timestamp};

/// A stack: a UUID, the last part of its ARN.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackId(u128);

impl StackId {
    /// A version 4 UUID from 128 caller-given bits.
    pub fn new(bits: u128) -> StackId {
        let version = 0xf000_u128 << 64;
        let variant = 0b11_u128 << 62;
        StackId(bits & !version & !variant | 0x4000 << 64 | 0b10 << 62)
    }
}

impl fmt::Display for StackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e] = [96, 80, 64, 48, 0].map(|shift| self.0 >> shift);
        write!(
            f,
            "{a:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            b & 0xffff,
            c & 0xffff,
            d & 0xffff,
            e & 0xffff_ffff_ffff
        )
    }
}

impl fmt::Debug for StackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not a UUID in its usual form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the id of a stack")]
pub struct StackIdError(String);

impl FromStr for StackId {
    type Err = StackIdError;

    fn from_str(text: &str) -> Result<StackId, StackIdError> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        match u128::from_str_radix(&digits, 16) {
            Ok(bits) if StackId(bits).to_string() == text => Ok(StackId(bits)),
            _ => Err(StackIdError(text.chars().take(64).collect())),
        }
    }
}

/// An event of a stack: its number counts from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StackEventId {
    /// The stack.
    pub stack: StackId,
    /// The event's number in it.
    pub number: u32,
}

impl fmt::Display for StackEventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:08}", self.stack, self.number)
    }
}

impl FromStr for StackEventId {
    type Err = StackIdError;

    fn from_str(text: &str) -> Result<StackEventId, StackIdError> {
        let wrong = || StackIdError(text.chars().take(64).collect());
        let (stack, number) = text.split_once('/').ok_or_else(wrong)?;
        Ok(StackEventId {
            stack: stack.parse()?,
            number: number.parse().map_err(|_| wrong())?,
        })
    }
}

serde_by_text!(StackId, StackEventId);

text_enum! {
    /// Where a stack stands.
    pub enum StackStatus {
        /// Its resources are being made.
        CreateInProgress = "CREATE_IN_PROGRESS",
        /// Everything is made.
        CreateComplete = "CREATE_COMPLETE",
        /// Something could not be made, and what was made stays.
        CreateFailed = "CREATE_FAILED",
        /// Something could not be made; what was made is being deleted.
        RollbackInProgress = "ROLLBACK_IN_PROGRESS",
        /// What was made is deleted.
        RollbackComplete = "ROLLBACK_COMPLETE",
        /// Something of it could not be deleted.
        RollbackFailed = "ROLLBACK_FAILED",
        /// Its resources are being deleted.
        DeleteInProgress = "DELETE_IN_PROGRESS",
        /// Everything is deleted; it is still found by its id.
        DeleteComplete = "DELETE_COMPLETE",
        /// Something could not be deleted.
        DeleteFailed = "DELETE_FAILED",
    }
}

impl StackStatus {
    /// Whether steps are to be taken.
    pub fn in_progress(self) -> bool {
        matches!(
            self,
            StackStatus::CreateInProgress | StackStatus::RollbackInProgress | StackStatus::DeleteInProgress
        )
    }
}

text_enum! {
    /// Where a resource of a stack stands.
    pub enum ResourceStatus {
        /// Waits for what it depends on; not shown.
        Waiting = "WAITING",
        /// Being made.
        CreateInProgress = "CREATE_IN_PROGRESS",
        /// Made, and ready.
        CreateComplete = "CREATE_COMPLETE",
        /// Could not be made, or not in time.
        CreateFailed = "CREATE_FAILED",
        /// Being deleted.
        DeleteInProgress = "DELETE_IN_PROGRESS",
        /// Deleted.
        DeleteComplete = "DELETE_COMPLETE",
        /// Could not be deleted.
        DeleteFailed = "DELETE_FAILED",
        /// Left where it is, as its deletion policy says.
        DeleteSkipped = "DELETE_SKIPPED",
    }
}

text_enum! {
    /// What follows when a resource cannot be made.
    pub enum OnFailure {
        /// What was made is deleted.
        Rollback = "ROLLBACK",
        /// What was made stays.
        DoNothing = "DO_NOTHING",
        /// The whole stack is deleted.
        Delete = "DELETE",
    }
}

text_enum! {
    /// What happens to a resource when its stack goes.
    pub enum DeletionPolicy {
        /// It is deleted.
        Delete = "Delete",
        /// It stays, also when the stack's creation is rolled back.
        Retain = "Retain",
        /// It stays when the stack is deleted; it is deleted when the creation is rolled back.
        RetainExceptOnCreate = "RetainExceptOnCreate",
    }
}

/// A parameter as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackParameter {
    /// Its name.
    pub key: String,
    /// What was given, or the default.
    pub value: String,
    /// What the parameter store holds under that name.
    pub resolved: Option<String>,
    /// Whether the value is not to be shown.
    pub no_echo: bool,
}

/// An output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackOutput {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
    /// What it is.
    pub description: Option<String>,
    /// The name under which other stacks find it.
    pub export: Option<String>,
}

/// A signal that a resource got: from `cfn-signal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackSignal {
    /// Who signals: the same twice is one signal.
    pub unique_id: String,
    /// Success or failure.
    pub success: bool,
    /// Why.
    pub reason: Option<String>,
    /// What a wait condition returns.
    pub data: Option<String>,
}

/// A resource of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackResource {
    /// Its type.
    pub type_name: String,
    /// The object's id, once it exists.
    pub physical: Option<String>,
    /// Where it stands.
    pub status: ResourceStatus,
    /// Why.
    pub reason: Option<String>,
    /// Since when.
    pub changed: Timestamp,
    /// When its creation began: timeouts count from here.
    pub began: Option<Timestamp>,
    /// Logical ids of what it depends on.
    pub depends_on: Vec<String>,
    /// What happens to it when the stack goes.
    pub deletion_policy: DeletionPolicy,
    /// Signals that it needs to be complete.
    pub wanted_signals: Option<WantedSignals>,
    /// What its type must remember of its making.
    #[serde(default)]
    pub detail: Option<String>,
    /// Signals that it got.
    pub signals: Vec<StackSignal>,
}

/// How many signals a resource waits for, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedSignals {
    /// So many of success.
    pub count: u32,
    /// So many milliseconds.
    pub timeout_millis: u64,
}

/// A stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Its id.
    pub id: StackId,
    /// Who owns it.
    pub owner: AccountId,
    /// Where it is.
    pub region: RegionName,
    /// Its name, unique among the owner's stacks that are not deleted.
    pub name: String,
    /// Where it stands.
    pub status: StackStatus,
    /// Why.
    pub status_reason: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// When its deletion was asked for.
    pub deleted: Option<Timestamp>,
    /// What the template says of itself.
    pub description: Option<String>,
    /// Its parameters.
    pub parameters: Vec<StackParameter>,
    /// Its outputs, once it is complete.
    pub outputs: Vec<StackOutput>,
    /// Names under which it will export outputs: nobody else may take them meanwhile.
    pub exports: Vec<String>,
    /// Exports of other stacks that it uses: they may not go before it.
    pub imports: Vec<String>,
    /// What follows when a resource cannot be made.
    pub on_failure: OnFailure,
    /// Minutes after which its creation has failed.
    pub timeout_minutes: Option<u32>,
    /// What the caller acknowledged.
    pub capabilities: Vec<String>,
    /// Topics as the caller named them; nothing is sent.
    pub notification_arns: Vec<String>,
    /// Whether DeleteStack is refused.
    pub termination_protection: bool,
    /// Resources that the caller wants left where they are when it goes.
    pub retain: Vec<String>,
    /// Its resources, by logical id.
    pub resources: BTreeMap<String, StackResource>,
    /// How many events it has.
    pub events: u32,
    /// The caller's idempotency token.
    pub client_token: Option<ClientToken>,
    /// Tags, which its resources inherit.
    pub tags: Tags,
}

impl Stack {
    /// Its ARN, which the API calls its id.
    pub fn arn(&self) -> String {
        let (region, owner, name, id) = (self.region, self.owner, &self.name, self.id);
        format!("arn:aws:cloudformation:{region}:{owner}:stack/{name}/{id}")
    }
}

/// The template that a stack was made from; it goes when the stack is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackTemplate {
    /// The stack.
    pub id: StackId,
    /// Who owns it.
    pub owner: AccountId,
    /// The text.
    pub body: String,
    /// None.
    #[serde(default)]
    pub tags: Tags,
}

/// Something that happened to a stack or one of its resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackEvent {
    /// The stack and the event's number.
    pub id: StackEventId,
    /// Who owns the stack.
    pub owner: AccountId,
    /// When.
    pub at: Timestamp,
    /// To what: the resource, or the stack's own name.
    pub logical_id: String,
    /// The object's id, if there was one.
    pub physical: Option<String>,
    /// Its type.
    pub type_name: String,
    /// Where it then stood: one of [`ResourceStatus`] or [`StackStatus`].
    pub status: String,
    /// Why.
    pub reason: Option<String>,
    /// None.
    #[serde(default)]
    pub tags: Tags,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_id_is_a_uuid_of_version_4() {
        let id = StackId::new(u128::MAX);
        assert_eq!(id.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(id.to_string().parse::<StackId>().unwrap(), id);
        assert!("ffffffff-ffff-4fff-bfffffffffffffff".parse::<StackId>().is_err());
        assert!("+".parse::<StackId>().is_err());
        let event = StackEventId { stack: id, number: 7 };
        assert_eq!(event.to_string().parse::<StackEventId>().unwrap(), event);
    }
}
