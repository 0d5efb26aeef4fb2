//! What time does: things that are over are listed for about an hour, then forgotten.

use atoll_model::{Instance, InstanceState, Key, NatGateway, NatGatewayState, Timestamp};

use crate::error::Error;
use crate::state::Region;
use crate::transaction::{Command, Transaction};

/// How long a terminated instance, a deleted or a failed NAT gateway is listed.
pub const LISTED_MILLIS: u64 = 60 * 60 * 1000;
/// Rows that one tick forgets at most: a delta is bounded, the next tick takes the rest.
const AT_ONCE: usize = 100;

/// When a row that is over will be forgotten, and its key.
fn over(region: &Region) -> impl Iterator<Item = (Timestamp, Key)> + '_ {
    let gateways = region.all::<NatGateway>().filter_map(|gateway| {
        let over = matches!(gateway.state, NatGatewayState::Deleted | NatGatewayState::Failed);
        let since = gateway.deleted.filter(|_| over)?;
        Some((since, Key::NatGateway(gateway.id)))
    });
    let instances = region.all::<Instance>().filter_map(|instance| {
        let over = instance.state == InstanceState::Terminated;
        let since = instance.terminated.filter(|_| over)?;
        Some((since, Key::Instance(instance.id)))
    });
    gateways
        .chain(instances)
        .map(|(since, key)| (since.plus_millis(LISTED_MILLIS), key))
}

/// When the next [`Tick`] will have something to do.
pub fn next_due(region: &Region) -> Option<Timestamp> {
    over(region).map(|(due, _)| due).min()
}

/// Forgets what has been over for an hour, whoever owned it. The reply is how many rows went; a hundred may mean
/// that more are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick;

impl Command for Tick {
    type Reply = usize;

    fn apply(self, tx: &mut Transaction) -> Result<usize, Error> {
        let now = tx.now();
        let due: Vec<Key> = over(tx.region())
            .filter(|(due, _)| *due <= now)
            .map(|(_, key)| key)
            .take(AT_ONCE)
            .collect();
        // Routes to a forgotten gateway stay, as blackholes.
        for key in &due {
            tx.delete(*key);
        }
        Ok(due.len())
    }
}
