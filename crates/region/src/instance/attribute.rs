//! Changing one attribute of an instance.

use std::sync::Arc;

use atoll_model::instance::ShutdownBehavior;
use atoll_model::{Instance, InstanceId, InstanceState, NetworkInterface, SecurityGroupId};

use crate::error::Error;
use crate::instance::launch::{known_type, user_data_allowed};
use crate::network_interface::{address, groups_allowed};
use crate::transaction::{Command, Transaction};

/// The attribute and its new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its type, while it is stopped.
    InstanceType(String),
    /// User data, decoded, while it is stopped; it ran at the first boot and does not run again.
    UserData(Vec<u8>),
    /// Kept without effect; while it is stopped.
    EbsOptimized(bool),
    /// Whether its only interface drops foreign sources and destinations (semantics 65).
    SourceDestCheck(bool),
    /// The groups of its only interface.
    Groups(Vec<SecurityGroupId>),
    /// Whether the API refuses to terminate it.
    DisableApiTermination(bool),
    /// Whether the API refuses to stop it.
    DisableApiStop(bool),
    /// What a shutdown from inside does.
    ShutdownBehavior(ShutdownBehavior),
}

/// ModifyInstanceAttribute.
#[derive(Clone, Debug)]
pub struct ModifyInstanceAttribute {
    /// Which.
    pub id: InstanceId,
    /// What.
    pub change: Change,
}

impl Command for ModifyInstanceAttribute {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let instance = tx.find::<Instance>(self.id)?;
        if matches!(
            instance.state,
            InstanceState::ShuttingDown | InstanceState::Terminated
        ) {
            return Err(Error::new(
                "IncorrectInstanceState",
                format!(
                    "The instance '{}' is {}: its attributes cannot be changed.",
                    self.id, instance.state
                ),
            ));
        }
        match self.change {
            Change::InstanceType(name) => {
                stopped(&instance)?;
                let new = known_type(&name)?;
                let enis = tx.region().enis_of(self.id);
                if enis.len() > usize::from(new.interfaces) {
                    return Err(Error::new(
                        "AttachmentLimitExceeded",
                        format!("Interface count {} exceeds the limit for {name}", enis.len()),
                    ));
                }
                for eni in enis {
                    address::within_limit(Some(new), eni.private_addresses.len(), eni.ipv6_addresses.len())?;
                }
                tx.alter::<Instance>(self.id, |instance| instance.instance_type = name);
            }
            Change::UserData(data) => {
                stopped(&instance)?;
                user_data_allowed(&data)?;
                tx.alter::<Instance>(self.id, |instance| {
                    instance.user_data = (!data.is_empty()).then_some(data);
                });
            }
            Change::EbsOptimized(value) => {
                stopped(&instance)?;
                tx.alter::<Instance>(self.id, |instance| instance.ebs_optimized = value);
            }
            Change::SourceDestCheck(value) => {
                let eni = only_interface(tx, self.id)?;
                tx.alter::<NetworkInterface>(eni.id, |eni| eni.source_dest_check = value);
            }
            Change::Groups(groups) => {
                if groups.is_empty() {
                    return Err(Error::missing("GroupId"));
                }
                let eni = only_interface(tx, self.id)?;
                let groups = groups_allowed(tx, eni.vpc, None, &groups)?;
                tx.alter::<NetworkInterface>(eni.id, |eni| eni.groups = groups);
            }
            Change::DisableApiTermination(value) => {
                tx.alter::<Instance>(self.id, |instance| instance.disable_api_termination = value);
            }
            Change::DisableApiStop(value) => {
                tx.alter::<Instance>(self.id, |instance| instance.disable_api_stop = value);
            }
            Change::ShutdownBehavior(value) => {
                tx.alter::<Instance>(self.id, |instance| instance.shutdown_behavior = value);
            }
        }
        Ok(())
    }
}

fn stopped(instance: &Instance) -> Result<(), Error> {
    if instance.state == InstanceState::Stopped {
        return Ok(());
    }
    Err(Error::new(
        "IncorrectInstanceState",
        format!("The instance '{}' is not in the 'stopped' state.", instance.id),
    ))
}

/// What belongs to an interface can be changed by way of the instance only where that is not ambiguous.
fn only_interface(tx: &Transaction, id: InstanceId) -> Result<Arc<NetworkInterface>, Error> {
    match tx.region().enis_of(id).as_slice() {
        [eni] => Ok(Arc::clone(eni)),
        _ => Err(Error::new(
            "InvalidInstanceID",
            format!(
                "There are multiple interfaces attached to instance '{id}'. Please specify an interface ID for the \
                 operation instead."
            ),
        )),
    }
}
