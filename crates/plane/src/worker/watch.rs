//! Looks, now and then, what found no free place, and who floods.

use std::time::{Duration, Instant};

use super::{Batch, Core, READ_DROPS, Worker};
use crate::sys::lanes::Came;

/// How often it is looked whether somebody floods.
const WATCH: Duration = Duration::from_millis(5);

impl Core {
    /// Learns what lanes of one EtherType lost.
    fn lost(&mut self, kind: usize, came: &[(usize, Came)]) {
        for (lane, came) in came {
            self.engine.counters.overrun += u64::from(came.lost);
            self.losses
                .add(kind, *lane, u64::from(came.lost), &self.engine.ports);
        }
    }
}

impl Worker {
    /// Counts what found no free place, and gives ports that flood lanes of their own.
    pub(super) fn watch(&self, batch: &mut Batch) {
        let now = Instant::now();
        if now.saturating_duration_since(batch.watched) < WATCH {
            return;
        }
        batch.watched = now;
        let all = now.saturating_duration_since(batch.asked) >= READ_DROPS;
        if all {
            batch.asked = now;
        }
        let mut each = [const { Vec::new() }; 3];
        for inside in &mut self.intakes.take(self.number) {
            for (came, lanes) in each.iter_mut().zip(inside.sockets.lanes_mut()) {
                came.extend(lanes.came(now, all));
            }
        }
        for (kind, came) in each.iter().enumerate() {
            if came.iter().any(|(_, came)| came.lost > 0) {
                self.shared.lock().lost(kind, came);
            }
            if !all && came.is_empty() {
                continue;
            }
            let shares = |ifindex| {
                let core = self.shared.lock();
                let tunnel = core.engine.tunnel().map(|tunnel| tunnel.ifindex);
                core.losses.shares(kind, ifindex, &core.engine.ports, tunnel)
            };
            let tell = |moved| self.shared.lock().losses.moved(kind, moved);
            self.floods.note(kind, now, came, shares, tell);
        }
    }
}
