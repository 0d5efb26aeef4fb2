//! Instances: an interface answers only while its instance runs.

use std::sync::Arc;

use atoll_model::{EniId, Instance, InstanceId, InstanceState};

use crate::component::Changed;
use crate::fabric::Fabric;

/// Whether an instance in that state has a guest that sends and receives: from its start to its last word.
pub(crate) fn is_alive(state: InstanceState) -> bool {
    match state {
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Stopping
        | InstanceState::ShuttingDown => true,
        InstanceState::Stopped | InstanceState::Terminated => false,
    }
}

impl Fabric {
    pub(crate) fn put_instance(&mut self, row: &Arc<Instance>, changed: &mut Changed) {
        let alive = is_alive(row.state);
        if self.alive.insert(row.id, alive) != Some(alive) {
            self.rebuild_interfaces_of(row.id, changed);
        }
    }

    pub(crate) fn delete_instance(&mut self, id: InstanceId, changed: &mut Changed) {
        if self.alive.remove(&id).is_some() {
            self.rebuild_interfaces_of(id, changed);
        }
    }

    fn rebuild_interfaces_of(&mut self, id: InstanceId, changed: &mut Changed) {
        let interfaces: Vec<EniId> = self
            .instance_enis
            .get(&id)
            .into_iter()
            .flatten()
            .copied()
            .collect();
        for eni in interfaces {
            self.rebuild_interface(eni, changed);
        }
    }
}
