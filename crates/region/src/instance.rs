//! Instances: their life from `pending` to `terminated`. Commands of people ask for a state; what a host observes
//! ([`InstanceObserved`]) confirms it. Launching is in [`launch`], attributes in [`attribute`].
//!
//! ```text
//! RunInstances -> pending -> running -> stopping -> stopped -> (StartInstances) pending
//!                    any but terminated -> shutting-down -> terminated
//! ```

pub mod attribute;
pub mod launch;

use atoll_model::instance::{ShutdownBehavior, UserDataRun};
use atoll_model::{Instance, InstanceId, InstanceState, NetworkInterface, Timestamp};

use crate::elastic_ip;
use crate::error::Error;
use crate::network_interface;
use crate::transaction::{Command, Transaction};

/// An instance's state before and after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Which instance.
    pub id: InstanceId,
    /// Before.
    pub previous: InstanceState,
    /// After.
    pub current: InstanceState,
}

/// Whether an instance in that state holds an auto-assigned public address.
pub(crate) fn has_public_address(state: InstanceState) -> bool {
    matches!(state, InstanceState::Pending | InstanceState::Running)
}

/// `User initiated (2026-01-31 08:05:09 GMT)`.
fn user_initiated(now: Timestamp) -> String {
    let text = now.to_iso8601();
    let to_seconds = text.get(..19).unwrap_or(&text).replace('T', " ");
    format!("User initiated ({to_seconds} GMT)")
}

fn reason(code: &str, sentence: &str) -> Option<(String, String)> {
    Some((code.into(), format!("{code}: {sentence}")))
}

fn incorrect_state(id: InstanceId, done: &str) -> Error {
    Error::new(
        "IncorrectInstanceState",
        format!("The instance '{id}' is not in a state from which it can be {done}."),
    )
}

/// Applies one change to each of the named instances: all of them or none.
fn each(
    tx: &mut Transaction,
    ids: &[InstanceId],
    mut change: impl FnMut(&mut Transaction, &Instance) -> Result<(), Error>,
) -> Result<Vec<StateChange>, Error> {
    if ids.is_empty() {
        return Err(Error::missing("InstanceId"));
    }
    let mut changes: Vec<StateChange> = Vec::new();
    for id in ids {
        if changes.iter().any(|c| c.id == *id) {
            continue;
        }
        let instance = tx.find::<Instance>(*id)?;
        change(tx, &instance)?;
        changes.push(StateChange {
            id: *id,
            previous: instance.state,
            current: tx.find::<Instance>(*id)?.state,
        });
    }
    Ok(changes)
}

/// StartInstances. An instance that runs stays as it is.
#[derive(Clone, Debug)]
pub struct StartInstances {
    /// Which.
    pub ids: Vec<InstanceId>,
}

impl Command for StartInstances {
    type Reply = Vec<StateChange>;

    fn apply(self, tx: &mut Transaction) -> Result<Vec<StateChange>, Error> {
        let now = tx.now();
        each(tx, &self.ids, |tx, instance| match instance.state {
            InstanceState::Pending | InstanceState::Running => Ok(()),
            InstanceState::Stopped => {
                tx.alter::<Instance>(instance.id, |instance| {
                    instance.state = InstanceState::Pending;
                    instance.state_reason = None;
                    instance.transition_reason.clear();
                    instance.launched = now;
                    instance.boots = instance.boots.saturating_add(1);
                });
                // A public address comes anew at each start, to an instance with one interface.
                let enis: Vec<_> = tx
                    .region()
                    .enis_of(instance.id)
                    .iter()
                    .map(|eni| eni.id)
                    .collect();
                match enis.as_slice() {
                    [eni] if instance.auto_public => elastic_ip::assign_automatically(tx, *eni),
                    _ => Ok(()),
                }
            }
            InstanceState::Stopping | InstanceState::ShuttingDown | InstanceState::Terminated => {
                Err(incorrect_state(instance.id, "started"))
            }
        })
    }
}

/// StopInstances. An instance that is stopped stays as it is.
#[derive(Clone, Debug)]
pub struct StopInstances {
    /// Which.
    pub ids: Vec<InstanceId>,
}

impl Command for StopInstances {
    type Reply = Vec<StateChange>;

    fn apply(self, tx: &mut Transaction) -> Result<Vec<StateChange>, Error> {
        let now = tx.now();
        each(tx, &self.ids, |tx, instance| match instance.state {
            InstanceState::Stopping | InstanceState::Stopped => Ok(()),
            InstanceState::Running if instance.disable_api_stop => Err(Error::new(
                "OperationNotPermitted",
                format!(
                    "The instance '{}' may not be stopped. Modify its 'disableApiStop' instance attribute and try again.",
                    instance.id
                ),
            )),
            InstanceState::Running => {
                tx.alter::<Instance>(instance.id, |instance| {
                    instance.state = InstanceState::Stopping;
                    instance.state_reason = reason("Client.UserInitiatedShutdown", "User initiated shutdown");
                    instance.transition_reason = user_initiated(now);
                });
                release_public(tx, instance.id);
                Ok(())
            }
            InstanceState::Pending | InstanceState::ShuttingDown | InstanceState::Terminated => {
                Err(incorrect_state(instance.id, "stopped"))
            }
        })
    }
}

fn release_public(tx: &mut Transaction, id: InstanceId) {
    let enis: Vec<_> = tx.region().enis_of(id).iter().map(|eni| eni.id).collect();
    for eni in enis {
        elastic_ip::release_automatic(tx, eni);
    }
}

/// RebootInstances: the instance stays `running` and keeps everything; its number of boots tells the host.
#[derive(Clone, Debug)]
pub struct RebootInstances {
    /// Which.
    pub ids: Vec<InstanceId>,
}

impl Command for RebootInstances {
    type Reply = Vec<StateChange>;

    fn apply(self, tx: &mut Transaction) -> Result<Vec<StateChange>, Error> {
        each(tx, &self.ids, |tx, instance| match instance.state {
            InstanceState::Running => {
                tx.alter::<Instance>(instance.id, |instance| {
                    instance.boots = instance.boots.saturating_add(1);
                });
                Ok(())
            }
            // It boots anyway.
            InstanceState::Pending => Ok(()),
            _ => Err(incorrect_state(instance.id, "rebooted")),
        })
    }
}

/// TerminateInstances. An instance that is gone stays as it is.
#[derive(Clone, Debug)]
pub struct TerminateInstances {
    /// Which.
    pub ids: Vec<InstanceId>,
}

impl Command for TerminateInstances {
    type Reply = Vec<StateChange>;

    fn apply(self, tx: &mut Transaction) -> Result<Vec<StateChange>, Error> {
        let now = tx.now();
        each(tx, &self.ids, |tx, instance| match instance.state {
            InstanceState::ShuttingDown | InstanceState::Terminated => Ok(()),
            _ if instance.disable_api_termination => Err(Error::new(
                "OperationNotPermitted",
                format!(
                    "The instance '{}' may not be terminated. Modify its 'disableApiTermination' instance attribute and \
                     try again.",
                    instance.id
                ),
            )),
            InstanceState::Pending
            | InstanceState::Running
            | InstanceState::Stopping
            | InstanceState::Stopped => {
                tx.alter::<Instance>(instance.id, |instance| {
                    instance.state = InstanceState::ShuttingDown;
                    instance.state_reason = reason("Client.UserInitiatedShutdown", "User initiated shutdown");
                    instance.transition_reason = user_initiated(now);
                });
                release_public(tx, instance.id);
                Ok(())
            }
        })
    }
}

/// What a host sees of an instance; its reconciler says so whenever it changes. A repeated or late observation
/// changes nothing.
#[derive(Clone, Debug)]
pub struct InstanceObserved {
    /// Which instance, whoever owns it.
    pub id: InstanceId,
    /// `Running` once it runs, `Stopped` or `Terminated` once nothing of it runs any more; others say nothing.
    pub state: InstanceState,
    /// How its user data fares, when that is known.
    pub user_data_run: Option<UserDataRun>,
    /// Why it could not be started, as one sentence.
    pub failure: Option<String>,
}

impl Command for InstanceObserved {
    /// The instance's state now; `None` when there is no such instance.
    type Reply = Option<InstanceState>;

    fn apply(self, tx: &mut Transaction) -> Result<Option<InstanceState>, Error> {
        use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
        let Some(instance) = tx.region().get::<Instance>(self.id).cloned() else {
            return Ok(None);
        };
        if let Some(run) = self.user_data_run
            && instance.state != Terminated
        {
            tx.alter::<Instance>(self.id, |instance| instance.user_data_run = run);
        }
        let sentence = match &self.failure {
            Some(failure) => format!(
                "Internal error on launch: {}",
                failure.chars().take(500).collect::<String>()
            ),
            None => "Internal error on launch".into(),
        };
        match (instance.state, self.state) {
            (Pending, Running) => tx.alter::<Instance>(self.id, |instance| {
                instance.state = Running;
                instance.state_reason = None;
            }),
            // It never ran: an instance that did before goes back to its rest.
            (Pending, Stopped | Terminated) if instance.boots > 1 => {
                rest(tx, self.id, reason("Server.InternalError", &sentence));
            }
            (Pending, Stopped | Terminated) => {
                end(tx, self.id, reason("Server.InternalError", &sentence));
            }
            (Running, Stopped | Terminated) => {
                let why = reason("Client.InstanceInitiatedShutdown", "Instance initiated shutdown");
                match instance.shutdown_behavior {
                    ShutdownBehavior::Stop => rest(tx, self.id, why),
                    ShutdownBehavior::Terminate => end(tx, self.id, why),
                }
            }
            (Stopping, Stopped | Terminated) => rest(tx, self.id, instance.state_reason.clone()),
            (ShuttingDown, Stopped | Terminated) => end(tx, self.id, instance.state_reason.clone()),
            (Running | Stopping | Stopped | ShuttingDown | Terminated, _) | (Pending, _) => {}
        }
        Ok(tx
            .region()
            .get::<Instance>(self.id)
            .map(|instance| instance.state))
    }
}

fn rest(tx: &mut Transaction, id: InstanceId, why: Option<(String, String)>) {
    tx.alter::<Instance>(id, |instance| {
        instance.state = InstanceState::Stopped;
        instance.state_reason = why;
    });
    release_public(tx, id);
}

/// The end: interfaces that go with the instance are deleted, the others are free again with all they have.
fn end(tx: &mut Transaction, id: InstanceId, why: Option<(String, String)>) {
    release_public(tx, id);
    let enis: Vec<_> = tx
        .region()
        .enis_of(id)
        .iter()
        .map(|eni| {
            (
                eni.id,
                eni.attachment.as_ref().is_some_and(|a| a.delete_on_termination),
            )
        })
        .collect();
    for (eni, goes) in enis {
        if goes {
            network_interface::remove(tx, eni);
        } else {
            tx.alter::<NetworkInterface>(eni, |eni| eni.attachment = None);
        }
    }
    let now = tx.now();
    tx.alter::<Instance>(id, |instance| {
        instance.state = InstanceState::Terminated;
        instance.state_reason = why;
        instance.auto_public = false;
        instance.terminated = Some(now);
    });
}

#[cfg(test)]
mod tests;
