//! How everybody else reaches a region: read it without blocking, send it commands, follow it.
//!
//! On another host than the region's own it is a copy: read and followed likewise, but changed only by what comes from
//! the region's host (`join.rs`). What reconcilers see of instances goes there ([`RegionHandle::observed`]).

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use atoll_instance::GuestSignal;
use atoll_model::{AccountId, InstanceId, RegionName};
use atoll_region::instance::InstanceObserved;
use atoll_region::{Applied, Command, Context, Error, Region};
use tokio::sync::{broadcast, oneshot, watch};

use crate::entropy;
use crate::obedience::Obedience;
use crate::reconcile::signal;
use crate::upstream::Upstream;
use crate::writer::{Job, MAX_BATCH, Published, Step, Writer};

/// Commands that may wait for the writer; more are refused as AWS throttles.
const QUEUE: usize = 1024;
/// How long an answer waits for the data plane, which has a revision within microseconds; a command is not
/// refused because it lags.
const IN_EFFECT: Duration = Duration::from_secs(30);
/// How long it waits for those of other hosts beside. Who is slower is not waited for until it has caught up.
const ELSEWHERE: Duration = Duration::from_secs(2);
/// Revisions a follower may be behind before it starts again from the current region.
const FOLLOWED: usize = 1024;

/// A region that is served: cheap to clone.
#[derive(Clone)]
pub struct RegionHandle(Arc<Shared>);

struct Shared {
    name: RegionName,
    current: ArcSwap<Region>,
    latest: watch::Sender<Arc<Region>>,
    published: broadcast::Sender<Arc<Published>>,
    jobs: SyncSender<Message>,
    /// The revision that the data plane has; `None` without one.
    in_effect: watch::Sender<Option<u64>>,
    /// What the data planes of other hosts have.
    elsewhere: watch::Sender<Obedience>,
    /// The way to the region's host; `None` on that host itself.
    upstream: Option<Upstream>,
}

enum Message {
    Apply(Job),
    End,
}

/// What a follower of deltas learns.
#[derive(Debug, Clone)]
pub enum Followed {
    /// Where the region stands: first of all, and again whenever the follower fell behind.
    Restart(Arc<Region>),
    /// The next delta.
    Delta(Arc<Published>),
}

/// A follower's place.
pub struct Follower {
    handle: RegionHandle,
    receiver: broadcast::Receiver<Arc<Published>>,
    at: Option<u64>,
}

impl RegionHandle {
    /// Runs the writer in a thread of its own. The thread ends, and with it the store is closed, at
    /// [`RegionHandle::end`] or when the last handle is dropped; what was sent before is made durable first.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(writer: Writer) -> std::io::Result<(Self, JoinHandle<()>)> {
        Self::start_with(writer, None)
    }

    /// Likewise for a copy of a region that is served on another host.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start_copy(writer: Writer, upstream: Upstream) -> std::io::Result<(Self, JoinHandle<()>)> {
        Self::start_with(writer, Some(upstream))
    }

    fn start_with(writer: Writer, upstream: Option<Upstream>) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = sync_channel(QUEUE);
        let region = writer.durable().clone();
        let shared = Arc::new(Shared {
            name: region.name(),
            current: ArcSwap::new(region.clone()),
            latest: watch::Sender::new(region),
            published: broadcast::Sender::new(FOLLOWED),
            jobs,
            in_effect: watch::Sender::new(None),
            elsewhere: watch::Sender::default(),
            upstream,
        });
        let weak = Arc::downgrade(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("writer-{}", shared.name))
            .spawn(move || {
                run(writer, &queue, &mut |published: Published| {
                    if let Some(shared) = weak.upgrade() {
                        shared.current.store(published.region.clone());
                        // Followers first: whoever wakes on `latest` finds their deltas under way.
                        let _ = shared.published.send(Arc::new(published));
                        shared.latest.send_replace(shared.current.load_full());
                    }
                });
            })?;
        Ok((Self(shared), thread))
    }

    /// The region's name.
    pub fn name(&self) -> RegionName {
        self.0.name
    }

    /// The region at its latest durable revision. Never blocks.
    pub fn current(&self) -> Arc<Region> {
        self.0.current.load_full()
    }

    /// Wakes at every change and shows the latest region: for reconcilers, which compare what is with what
    /// ought to be and need no history.
    pub fn latest(&self) -> watch::Receiver<Arc<Region>> {
        self.0.latest.subscribe()
    }

    /// Every delta in order: for copies that are kept up to date.
    pub fn follow(&self) -> Follower {
        Follower {
            receiver: self.0.published.subscribe(),
            handle: self.clone(),
            at: None,
        }
    }

    /// Sends a command; `done` is called from the writer's thread once it is durable or has failed.
    pub fn submit<C>(
        &self,
        context: Context,
        command: C,
        done: impl FnOnce(Result<C::Reply, Error>) + Send + 'static,
    ) where
        C: Command + Send + 'static,
        C::Reply: Send + 'static,
    {
        let job: Job = Box::new(move |region| match region.apply(&context, command) {
            Ok(Applied { region, delta, reply }) => Step {
                next: Some((region, vec![delta])),
                answer: Box::new(move |durable| done(durable.map(|()| reply))),
            },
            Err(error) => Step {
                next: None,
                answer: Box::new(move |durable| done(Err(durable.err().unwrap_or(error)))),
            },
        });
        match self.0.upstream {
            None => self.send(job),
            Some(_) => tracing::error!(region = %self.0.name, "a command for a copy"),
        }
    }

    /// Sends a step for the writer. One that is not taken, since too many wait, is dropped, and its answer with it.
    pub(crate) fn send(&self, job: Job) {
        match self.0.jobs.try_send(Message::Apply(job)) {
            Ok(()) => {}
            // The job, and `done` with it, is dropped: `apply` reads that as a refusal.
            Err(TrySendError::Full(_)) => tracing::warn!(region = %self.0.name, "too many commands wait"),
            Err(TrySendError::Disconnected(_)) => tracing::error!(region = %self.0.name, "the writer ended"),
        }
    }

    /// From now on an answer also waits until the data plane has the revision: it says so by
    /// [`RegionHandle::now_in_effect`].
    pub fn expect_in_effect(&self) {
        self.0
            .in_effect
            .send_if_modified(|at| at.is_none() && at.replace(0).is_none());
    }

    /// The data plane has this revision.
    pub fn now_in_effect(&self, revision: u64) {
        self.0.in_effect.send_replace(Some(revision));
    }

    /// Waits until the data plane, if there is one, has what is durable now.
    pub async fn in_effect(&self) {
        let durable = self.current().revision().0;
        let mut at = self.0.in_effect.subscribe();
        let caught_up = at.wait_for(|at| at.is_none_or(|at| at >= durable));
        if tokio::time::timeout(IN_EFFECT, caught_up).await.is_err() {
            tracing::warn!(region = %self.0.name, durable, "the data plane lags");
        }
        let mut elsewhere = self.0.elsewhere.subscribe();
        let obeyed = elsewhere.wait_for(|hosts| !hosts.lags(durable));
        if tokio::time::timeout(ELSEWHERE, obeyed).await.is_err() {
            let mut slow = Vec::new();
            self.0
                .elsewhere
                .send_modify(|hosts| slow = hosts.give_up(durable));
            for host in slow {
                tracing::warn!(region = %self.0.name, durable, %host, "a host's data plane lags; answers do not wait for it until it has caught up");
            }
        }
    }

    /// The revision that the data plane has, if there is one, else that which is durable; and what wakes at changes of either.
    pub(crate) fn obeyed(&self) -> (watch::Receiver<Option<u64>>, watch::Receiver<Arc<Region>>) {
        (self.0.in_effect.subscribe(), self.0.latest.subscribe())
    }

    /// What is known of other hosts' data planes changes.
    pub(crate) fn elsewhere(&self, change: impl FnOnce(&mut Obedience)) {
        self.0.elsewhere.send_modify(change);
    }

    /// Tells the region what is seen of an instance of this host.
    ///
    /// # Errors
    /// `Unavailable` when it may be told again; else it was refused.
    pub(crate) async fn observed(&self, observed: InstanceObserved) -> Result<(), Error> {
        match &self.0.upstream {
            // The reconciler acts for the region, whoever owns the instance.
            None => self.apply(AccountId::DEFAULT, observed).await.map(drop),
            Some(upstream) => upstream.observed(observed).await,
        }
    }

    /// Brings the region what an instance of this host signals.
    ///
    /// # Errors
    /// As [`RegionHandle::observed`].
    pub(crate) async fn signalled(
        &self,
        instance: InstanceId,
        owner: AccountId,
        signal: &GuestSignal,
    ) -> Result<(), Error> {
        match &self.0.upstream {
            None => self.apply(owner, signal::command(instance, signal)?).await,
            Some(upstream) => upstream.signalled(instance, signal.clone()).await,
        }
    }

    /// Ends the writer after what was sent before; later commands are refused. Blocks while the queue is full.
    pub fn end(&self) {
        let _ = self.0.jobs.send(Message::End);
    }

    /// Applies a command as an account, now; answers when it is durable.
    ///
    /// # Errors
    /// The command's, or `Unavailable` when it could not be made durable.
    pub async fn apply<C>(&self, account: AccountId, command: C) -> Result<C::Reply, Error>
    where
        C: Command + Send + 'static,
        C::Reply: Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.submit(entropy::context(account)?, command, move |reply| {
            let _ = sender.send(reply);
        });
        let reply = receiver.await.unwrap_or_else(|_| {
            Err(Error::new(
                "Unavailable",
                "The region did not take the request: too many wait, or it failed inside. Try again.",
            ))
        });
        if reply.is_ok() {
            self.in_effect().await;
        }
        reply
    }
}

fn run(mut writer: Writer, queue: &Receiver<Message>, publish: &mut dyn FnMut(Published)) {
    let mut open = true;
    while open && let Ok(first) = queue.recv() {
        // While one batch syncs the next gathers: this is all the grouping there is.
        for message in std::iter::once(first).chain(queue.try_iter()).take(MAX_BATCH) {
            match message {
                Message::Apply(job) => writer.take(job),
                Message::End => {
                    open = false;
                    break;
                }
            }
        }
        writer.commit(publish);
    }
}

impl Follower {
    /// The next thing to know; `None` when the region is no longer served.
    pub async fn next(&mut self) -> Option<Followed> {
        loop {
            let Some(at) = self.at else {
                let region = self.handle.current();
                self.at = Some(region.revision().0);
                return Some(Followed::Restart(region));
            };
            match self.receiver.recv().await {
                Ok(published) => {
                    let revision = published.region.revision().0;
                    if revision <= at {
                        continue; // already in the region it started from
                    }
                    if revision != at + 1 {
                        self.at = None; // the store was read again: deltas were not one by one
                        continue;
                    }
                    self.at = Some(revision);
                    return Some(Followed::Delta(published));
                }
                Err(broadcast::error::RecvError::Lagged(_)) => self.at = None,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
