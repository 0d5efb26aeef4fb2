//! Attaching interfaces to instances and detaching them. Everything else about an interface follows it: addresses,
//! Elastic IPs, MAC, groups, tags.

use std::sync::Arc;

use atoll_model::network_interface::{Attachment, AttachmentState};
use atoll_model::{
    AttachmentId, EniId, Instance, InstanceId, InstanceState, Key, NetworkInterface, instance_type,
};

use crate::error::Error;
use crate::index::Index;
use crate::network_interface::{address, in_use, managed_by_caller};
use crate::transaction::{Command, Transaction};

/// AttachNetworkInterface: to a running or stopped instance of the same zone.
#[derive(Clone, Debug)]
pub struct AttachNetworkInterface {
    /// Which interface.
    pub eni: EniId,
    /// To which instance.
    pub instance: InstanceId,
    /// As which of its interfaces; 0 is the primary one, which every instance has from its launch on.
    pub device_index: u8,
}

impl Command for AttachNetworkInterface {
    type Reply = AttachmentId;

    fn apply(self, tx: &mut Transaction) -> Result<AttachmentId, Error> {
        let eni = tx.find::<NetworkInterface>(self.eni)?;
        let instance = tx.find::<Instance>(self.instance)?;
        managed_by_caller(&eni)?;
        if eni.attachment.is_some() {
            return Err(in_use(eni.id));
        }
        if !matches!(instance.state, InstanceState::Running | InstanceState::Stopped) {
            return Err(Error::new(
                "IncorrectInstanceState",
                format!(
                    "The instance '{}' is {}; an interface can be attached while it is running or stopped.",
                    instance.id, instance.state
                ),
            ));
        }
        // semantics 64
        if eni.zone != instance.zone {
            return Err(Error::invalid_combination(format!(
                "You may not attach a network interface to an instance if they are not in the same availability zone: \
                 '{}' is in {}, '{}' in {}",
                eni.id, eni.zone, instance.id, instance.zone
            )));
        }
        attach(tx, &eni, &instance, self.device_index, false)
    }
}

/// Attaches a free interface of the right zone, within the limits of the instance's type (semantics 63).
pub(crate) fn attach(
    tx: &mut Transaction,
    eni: &NetworkInterface,
    instance: &Instance,
    device_index: u8,
    delete_on_termination: bool,
) -> Result<AttachmentId, Error> {
    let limits = instance_type::find(&instance.instance_type);
    let others = tx.region().enis_of(instance.id);
    let most = limits.map_or(usize::MAX, |t| usize::from(t.interfaces));
    if others.len() >= most {
        return Err(Error::new(
            "AttachmentLimitExceeded",
            format!(
                "Interface count {} exceeds the limit for {}",
                others.len() + 1,
                instance.instance_type
            ),
        ));
    }
    if usize::from(device_index) >= most {
        return Err(Error::invalid_value(format!(
            "Invalid device index {device_index}: {} has device indexes 0 to {}",
            instance.instance_type,
            most - 1
        )));
    }
    if others.iter().any(|o| {
        o.attachment
            .as_ref()
            .is_some_and(|a| a.device_index == device_index)
    }) {
        return Err(Error::invalid_value(format!(
            "Instance '{}' already has an interface attached at device index '{device_index}'.",
            instance.id
        )));
    }
    address::within_limit(limits, eni.private_addresses.len(), eni.ipv6_addresses.len())?;
    let id = tx.fresh::<AttachmentId>();
    let attached = tx.now();
    let attachment = Attachment {
        id,
        instance: instance.id,
        device_index,
        state: AttachmentState::Attached,
        delete_on_termination,
        attached,
    };
    tx.alter::<NetworkInterface>(eni.id, |eni| eni.attachment = Some(attachment));
    Ok(id)
}

/// The interface of an attachment.
///
/// # Errors
/// `InvalidAttachmentID.NotFound`.
pub(crate) fn find(tx: &Transaction, id: AttachmentId) -> Result<Arc<NetworkInterface>, Error> {
    tx.region()
        .indexed(Index::Attachment(id))
        .find_map(|key| match key {
            Key::NetworkInterface(id) => tx.find::<NetworkInterface>(id).ok(),
            _ => None,
        })
        .ok_or_else(|| not_found(id))
}

pub(crate) fn not_found(id: AttachmentId) -> Error {
    Error::new(
        "InvalidAttachmentID.NotFound",
        format!("The attachment '{id}' does not exist."),
    )
}

/// DetachNetworkInterface; the primary one cannot be (semantics 64).
#[derive(Clone, Debug)]
pub struct DetachNetworkInterface {
    /// Which attachment.
    pub attachment: AttachmentId,
}

impl Command for DetachNetworkInterface {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let eni = find(tx, self.attachment)?;
        if eni.attachment.as_ref().is_some_and(|a| a.device_index == 0) {
            return Err(Error::new(
                "OperationNotPermitted",
                "The network interface at device index 0 and networkCard index 0 cannot be detached.",
            ));
        }
        tx.alter::<NetworkInterface>(eni.id, |eni| eni.attachment = None);
        Ok(())
    }
}
