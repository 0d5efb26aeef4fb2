//! Changing one attribute of an interface.

use atoll_model::network_interface::ConnectionTracking;
use atoll_model::{AttachmentId, EniId, Instance, NetworkInterface, SecurityGroupId};

use crate::elastic_ip;
use crate::error::Error;
use crate::network_interface::{
    attachment, description_allowed, groups_allowed, managed_by_caller, tracking_allowed,
};
use crate::transaction::{Command, Transaction};

/// The attribute and its new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// What it is for.
    Description(String),
    /// Its groups, at least one.
    Groups(Vec<SecurityGroupId>),
    /// Whether foreign sources and destinations are dropped (semantics 65).
    SourceDestCheck(bool),
    /// Whether it goes with the instance that it is attached to.
    DeleteOnTermination {
        /// Its present attachment.
        attachment: AttachmentId,
        /// The new value.
        value: bool,
    },
    /// Idle timeouts (semantics 46).
    ConnectionTracking(ConnectionTracking),
    /// Whether a primary interface has an auto-assigned public IPv4 address, now and at later starts.
    AssociatePublicIpAddress(bool),
}

/// ModifyNetworkInterfaceAttribute, and ResetNetworkInterfaceAttribute (which sets the check to true).
#[derive(Clone, Debug)]
pub struct ModifyNetworkInterfaceAttribute {
    /// Which.
    pub eni: EniId,
    /// What.
    pub change: Change,
}

impl Command for ModifyNetworkInterfaceAttribute {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let eni = tx.find::<NetworkInterface>(self.eni)?;
        managed_by_caller(&eni)?;
        match self.change {
            Change::Description(text) => {
                description_allowed(&text)?;
                tx.alter::<NetworkInterface>(eni.id, |eni| eni.description = text);
            }
            Change::Groups(groups) => {
                if groups.is_empty() {
                    return Err(Error::missing("groups"));
                }
                let groups = groups_allowed(tx, eni.vpc, None, &groups)?;
                tx.alter::<NetworkInterface>(eni.id, |eni| eni.groups = groups);
            }
            Change::SourceDestCheck(value) => {
                tx.alter::<NetworkInterface>(eni.id, |eni| eni.source_dest_check = value);
            }
            Change::DeleteOnTermination {
                attachment: id,
                value,
            } => {
                if eni.attachment.as_ref().is_none_or(|a| a.id != id) {
                    return Err(attachment::not_found(id));
                }
                tx.alter::<NetworkInterface>(eni.id, |eni| {
                    if let Some(attachment) = &mut eni.attachment {
                        attachment.delete_on_termination = value;
                    }
                });
            }
            Change::ConnectionTracking(tracking) => {
                tracking_allowed(tracking)?;
                tx.alter::<NetworkInterface>(eni.id, |eni| eni.connection_tracking = tracking);
            }
            Change::AssociatePublicIpAddress(value) => {
                let primary_of = eni
                    .attachment
                    .as_ref()
                    .filter(|a| a.device_index == 0)
                    .and_then(|a| tx.region().get::<Instance>(a.instance).cloned());
                let Some(instance) = primary_of else {
                    return Err(Error::invalid_value(format!(
                        "AssociatePublicIpAddress may be changed for the primary interface of an instance only, which \
                         '{}' is not",
                        eni.id
                    )));
                };
                tx.alter::<Instance>(instance.id, |instance| instance.auto_public = value);
                if !value {
                    elastic_ip::release_automatic(tx, eni.id);
                } else if crate::instance::has_public_address(instance.state) {
                    elastic_ip::assign_automatically(tx, eni.id)?;
                }
            }
        }
        Ok(())
    }
}
