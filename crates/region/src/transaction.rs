//! Commands and the transaction that they change.

use std::collections::BTreeSet;
use std::sync::Arc;

use atoll_model::id::{Digits, ResourceId};
use atoll_model::{AccountId, Change, Delta, Key, Row, Timestamp};

use crate::error::Error;
use crate::state::{Noun, Region};

/// What a command is given beside its own parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Who calls.
    pub account: AccountId,
    /// Now.
    pub now: Timestamp,
    /// Where ids, MACs and free addresses come from: the same seed on the same region gives the same reply.
    pub seed: u64,
}

/// A change of a region's state: one struct an action.
pub trait Command {
    /// What the caller learns.
    type Reply;

    /// Checks everything, then changes the transaction. An error leaves no trace: the transaction is dropped.
    fn apply(self, tx: &mut Transaction) -> Result<Self::Reply, Error>;
}

impl<R, F: FnOnce(&mut Transaction) -> Result<R, Error>> Command for F {
    type Reply = R;

    fn apply(self, tx: &mut Transaction) -> Result<R, Error> {
        self(tx)
    }
}

/// The result of a command that succeeded.
#[derive(Clone, Debug)]
pub struct Applied<R> {
    /// The region after it: speculative until the delta is durable.
    pub region: Region,
    /// What changed; may be empty.
    pub delta: Delta,
    /// What the caller learns once the delta is durable.
    pub reply: R,
}

/// A region being changed by one command.
#[derive(Debug)]
pub struct Transaction {
    base: Region,
    region: Region,
    touched: BTreeSet<Key>,
    context: Context,
    drawn: u64,
}

impl Transaction {
    fn new(region: &Region, context: &Context) -> Transaction {
        Transaction {
            base: region.clone(),
            region: region.clone(),
            touched: BTreeSet::new(),
            context: context.clone(),
            drawn: 0,
        }
    }

    /// The region as changed so far.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Who calls.
    pub fn account(&self) -> AccountId {
        self.context.account
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.context.now
    }

    /// A row of the caller's, shared; AWS's error when there is none.
    pub fn find<N: Noun>(&self, id: N::Id) -> Result<Arc<N>, Error> {
        self.region.find::<N>(self.context.account, id).cloned()
    }

    /// Puts a row.
    pub fn put(&mut self, row: impl Into<Row>) {
        let row = row.into();
        self.touched.insert(row.key());
        self.region.put(row);
    }

    /// Deletes a row; no error when there is none.
    pub fn delete(&mut self, key: Key) {
        self.touched.insert(key);
        self.region.delete(key);
    }

    /// Changes a row in place: `tx.update::<Vpc>(id, |vpc| vpc.enable_dns_support = false)`.
    pub fn update<N: Noun>(&mut self, id: N::Id, change: impl FnOnce(&mut N)) -> Result<(), Error> {
        let mut row = (*self.find::<N>(id)?).clone();
        change(&mut row);
        self.put(row);
        Ok(())
    }

    /// Changes a row whoever owns it: what goes with another row's change, or what a host observed. Nothing when
    /// it is gone.
    pub(crate) fn alter<N: Noun>(&mut self, id: N::Id, change: impl FnOnce(&mut N)) {
        if let Some(row) = self.region.get::<N>(id) {
            let mut row = N::clone(row);
            change(&mut row);
            self.put(row);
        }
    }

    /// Tries something that is undone if it fails, while the command goes on.
    pub(crate) fn attempt<R>(
        &mut self,
        something: impl FnOnce(&mut Transaction) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let (region, touched) = (self.region.clone(), self.touched.clone());
        let result = something(self);
        if result.is_err() {
            self.region = region;
            self.touched = touched;
        }
        result
    }

    /// 64 bits that depend on nothing but the seed and how many were drawn before (splitmix64).
    pub fn draw(&mut self) -> u64 {
        self.drawn += 1;
        let mut z = self
            .context
            .seed
            .wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A fresh id for something that is no row of its own (associations, rules, attachments).
    pub fn fresh<I: ResourceId>(&mut self) -> I {
        I::from_digits(Digits::long(self.draw()))
    }

    /// A fresh id of a row, taken by none.
    pub fn fresh_id<N: Noun>(&mut self) -> N::Id
    where
        N::Id: ResourceId,
    {
        loop {
            let id = self.fresh::<N::Id>();
            if self.region.get::<N>(id).is_none() {
                return id;
            }
        }
    }

    fn finish<R>(self, reply: R) -> Result<Applied<R>, Error> {
        let Transaction {
            base,
            region,
            touched,
            ..
        } = self;
        let mut changes = Vec::new();
        for key in touched {
            match (base.row(key), region.row(key)) {
                (before, Some(row)) if before.as_ref() != Some(&row) => changes.push(Change::Put(row)),
                (Some(_), None) => changes.push(Change::Delete(key)),
                _ => {}
            }
        }
        if changes.len() > Delta::MAX_ROWS {
            return Err(Error::new(
                "RequestLimitExceeded",
                format!(
                    "The request would change {} objects at once; at most {} can change together. Split it.",
                    changes.len(),
                    Delta::MAX_ROWS
                ),
            ));
        }
        let delta = Delta { changes };
        let region = if delta.changes.is_empty() {
            base
        } else {
            base.after(&delta)
        };
        Ok(Applied { region, delta, reply })
    }
}

impl Region {
    /// Applies a command: the region after it, what changed, and the reply; or why not, with nothing changed.
    pub fn apply<C: Command>(&self, context: &Context, command: C) -> Result<Applied<C::Reply>, Error> {
        let mut tx = Transaction::new(self, context);
        let reply = command.apply(&mut tx)?;
        tx.finish(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Config;
    use atoll_model::{InternetGateway, InternetGatewayId, RegionName};

    fn context(seed: u64) -> Context {
        Context {
            account: AccountId::DEFAULT,
            now: Timestamp(0),
            seed,
        }
    }

    fn gateway(tx: &mut Transaction) -> Result<InternetGatewayId, Error> {
        let id = tx.fresh_id::<InternetGateway>();
        tx.put(InternetGateway {
            id,
            owner: tx.account(),
            vpc: None,
            tags: Default::default(),
        });
        Ok(id)
    }

    #[test]
    fn the_same_seed_gives_the_same_reply_and_a_taken_id_is_not_given_again() {
        let region = Region::new(Config::default_for(RegionName::DEFAULT, 0));
        let first = region.apply(&context(7), gateway).unwrap();
        assert_eq!(first.reply, region.apply(&context(7), gateway).unwrap().reply);
        let second = first.region.apply(&context(7), gateway).unwrap();
        assert_ne!(first.reply, second.reply);
        assert_eq!(second.region.revision().0, 2);
        assert!(second.region.index_is_true());
    }

    #[test]
    fn a_failed_command_leaves_no_trace() {
        let region = Region::new(Config::default_for(RegionName::DEFAULT, 0));
        let failed = region.apply(&context(7), |tx: &mut Transaction| {
            gateway(tx)?;
            Err::<(), _>(Error::internal("on purpose"))
        });
        assert!(failed.is_err());
        assert_eq!(region.rows().count(), 0);
    }

    #[test]
    fn a_row_put_and_deleted_is_no_change() {
        let region = Region::new(Config::default_for(RegionName::DEFAULT, 0));
        let applied = region
            .apply(&context(7), |tx: &mut Transaction| {
                let id = gateway(tx)?;
                tx.delete(Key::InternetGateway(id));
                Ok(())
            })
            .unwrap();
        assert_eq!(applied.delta, Delta::default());
        assert_eq!(applied.region.revision().0, 0);
    }
}
