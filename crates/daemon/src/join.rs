//! A host's end of the connection with its region's host: keeps the copy of the region's rows, says what is seen of
//! instances, and connects again whenever it must. `feed.rs` is the other end.

pub(crate) mod command;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atoll_model::{HostId, InstanceId, Timestamp};
use atoll_region::Error;
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use self::command::{Command, Running};
use crate::consoles::Consoles;
use crate::control::follow::{
    self, ALIVE, Follow, FromHost, FromRegion, MAX_CONSOLES, MAX_FROM_HOST, MAX_FROM_REGION, MAX_ROWS,
    MAX_UNANSWERED, Outcome, PROTOCOL, SILENCE, Welcome, Written, beginning, encode,
};
use crate::control::protocol::{MAX_REQUEST, Reply, Request};
use crate::entropy;
use crate::lines;
use crate::region_handle::RegionHandle;
use crate::replica::{self, Arrived, Arriving, Stands};
use crate::upstream::{News, Telling, Upstream};
use crate::writer::{Answer, Job, Step};

/// How long a command may take until the region's host has answered: it may ask a person something first.
const ANSWERED: Duration = Duration::from_secs(60);
/// Before the first other attempt; each one after it waits twice as long, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(1);
/// Between two attempts at most.
const LONGEST: Duration = Duration::from_secs(30);
/// Changes that may be on their way to the disk.
const AT_ONCE: usize = 256;
/// How long an answer waits for what it changed to be durable here.
const DURABLE: Duration = Duration::from_secs(10);

/// How it stands with the region's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) connected: bool,
    pub(crate) since: Timestamp,
    /// Why it is not.
    pub(crate) why: Option<String>,
}

impl Contact {
    fn now(why: Option<String>) -> Contact {
        Contact {
            connected: why.is_none(),
            since: entropy::now(),
            why,
        }
    }

    /// Before the first attempt.
    pub(crate) fn none() -> Contact {
        Contact::now(Some("it has not been reached yet".into()))
    }

    /// It stands so now, and since when depends on how it stood before.
    fn becomes(&mut self, why: Option<String>) {
        let next = Contact::now(why);
        let since = match self.connected == next.connected {
            true => self.since,
            false => next.since,
        };
        *self = Contact { since, ..next };
    }
}

/// How to reach the region's host, and what to say there.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    command: Command,
    follow: Follow,
}

/// The region's host has answered.
#[derive(Debug)]
pub(crate) struct Connected {
    running: Running,
    pub(crate) welcome: Welcome,
}

/// How a connection came to its end.
struct Ended {
    why: String,
    /// Whether to connect again.
    again: bool,
    /// Whether all rows had come.
    whole: bool,
}

impl Join {
    pub(crate) fn new(command: Command, follow: Follow) -> Join {
        Join { command, follow }
    }

    /// Runs the command and asks to be one of the region's hosts.
    ///
    /// # Errors
    /// Why that came to nothing, as one sentence.
    pub(crate) async fn connect(&self) -> Result<Connected, String> {
        let text = self.command.text();
        let started = self.command.start().await;
        let mut running = started.map_err(|error| {
            format!(
                "cannot run `{text}`: {error}; the words after -- are a command that reaches `atoll feed` on the region's host, such as `ssh host-a atoll feed`"
            )
        })?;
        let request =
            encode(&Request::Follow(Box::new(self.follow.clone()))).map_err(|error| error.to_string())?;
        // One that ends at once may not take it; what it says then tells more.
        let written = lines::write(&mut running.input, &request).await;
        let line = lines::next(&mut running.output, MAX_REQUEST as usize, ANSWERED).await;
        let line = match line {
            Ok(Some(line)) => line,
            Ok(None) => return Err(format!("`{text}` said nothing and {}", running.end().await)),
            Err(error) => {
                let error = written.err().unwrap_or(error);
                return Err(format!(
                    "`{text}` is not answered: {error}; is it `atoll feed` on the region's host?"
                ));
            }
        };
        match follow::decode(&line) {
            Ok(Reply::Welcome(welcome)) if welcome.protocol == PROTOCOL => Ok(Connected { running, welcome }),
            Ok(Reply::Error { message }) => Err(format!("the region's host refuses: {message}")),
            Ok(_) => {
                Err("the region's host runs another version of atoll: install the same one on both".into())
            }
            Err(_) => Err(format!(
                "`{text}` said {:?}, which is no answer of atoll's: it is to end in `atoll feed` on the region's host and to print nothing itself",
                beginning(&line)
            )),
        }
    }

    /// Keeps a copy for `this` host, over the `first` connection and others after it. Ends with the region's host's answer
    /// when that has this host as another one by now.
    pub(crate) async fn run(
        self,
        this: HostId,
        handle: RegionHandle,
        upstream: Upstream,
        first: Option<Connected>,
        contact: watch::Sender<Contact>,
        consoles: Consoles,
    ) -> Welcome {
        let (mut wait, mut next, mut said) = (FIRST, first, String::new());
        loop {
            let connected = match next.take() {
                Some(connected) => Ok(connected),
                None => self.connect().await,
            };
            let ended = match connected {
                Ok(connected) if connected.welcome.region != handle.name() => Ended {
                    why: format!(
                        "{} is served there, and this host is one of {}",
                        connected.welcome.region,
                        handle.name()
                    ),
                    again: true,
                    whole: false,
                },
                Ok(connected) if connected.welcome.host != this => return connected.welcome,
                Ok(connected) => {
                    contact.send_modify(|contact| contact.becomes(None));
                    converse(&handle, &upstream, &consoles, connected).await
                }
                Err(why) => Ended {
                    why,
                    again: true,
                    whole: false,
                },
            };
            contact.send_modify(|contact| contact.becomes(Some(ended.why.clone())));
            if !ended.again {
                tracing::error!(
                    "the region's host sent this host away: {}; what is here goes on as it is until this daemon is started again",
                    ended.why
                );
                return std::future::pending().await;
            }
            if ended.whole {
                wait = FIRST;
            }
            if said != ended.why {
                tracing::warn!(
                    "the region's host is away, what is here goes on, and it is tried again every {} s at least: {}",
                    LONGEST.as_secs(),
                    ended.why
                );
                said = ended.why;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST);
        }
    }
}

/// What both directions of a connection share.
struct Conversation<'a> {
    handle: &'a RegionHandle,
    consoles: &'a Consoles,
    /// Who reads one has a place.
    reading: Arc<Semaphore>,
    stands: watch::Sender<Stands>,
    /// Who waits for what becomes of news.
    unanswered: Mutex<BTreeMap<u64, oneshot::Sender<Result<(), Error>>>>,
    /// An answer has come.
    answered: Notify,
    whole: watch::Sender<bool>,
}

/// Until it ends.
async fn converse(
    handle: &RegionHandle,
    upstream: &Upstream,
    consoles: &Consoles,
    connected: Connected,
) -> Ended {
    let mut running = connected.running;
    let (last, whole) = speak(
        handle,
        upstream,
        consoles,
        &mut running.output,
        &mut running.input,
    )
    .await;
    let (why, again) = match last {
        Ok(Some(end)) => end,
        // The command has closed one of them: it says why.
        Ok(None) => (running.end().await, true),
        Err(error) => (error.to_string(), true),
    };
    Ended { why, again, whole }
}

/// What the region's host said last: why it ends, and whether to come again.
type LastWord = (String, bool);

/// Speaks with the region's host over a connection until that ends: with its last word, or without one. Says whether all rows
/// had come, too.
async fn speak<R, W>(
    handle: &RegionHandle,
    upstream: &Upstream,
    consoles: &Consoles,
    from: &mut R,
    to: &mut W,
) -> (io::Result<Option<LastWord>>, bool)
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let conversation = Conversation {
        handle,
        consoles,
        reading: Arc::new(Semaphore::new(MAX_CONSOLES)),
        stands: watch::Sender::default(),
        unanswered: Mutex::default(),
        answered: Notify::new(),
        whole: watch::Sender::new(false),
    };
    let news = upstream.connect();
    let (read, readings) = mpsc::channel(MAX_CONSOLES);
    let last = tokio::select! {
        last = conversation.hear(from, read) => last,
        // What cannot be told any more is told by why the other direction ends.
        _ = conversation.tell(to, news, readings) => Ok(None),
    };
    (last, *conversation.whole.borrow())
}

impl Conversation<'_> {
    /// Takes in what the region's host says. Ends with its last word, or with nothing when the connection is closed.
    async fn hear<R: AsyncBufRead + Unpin>(
        &self,
        from: &mut R,
        read: mpsc::Sender<FromHost>,
    ) -> io::Result<Option<LastWord>> {
        let meaningless = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut arriving = Arriving::default();
        // The copy's revision once all that has come is durable.
        let mut own = 0;
        let on_their_way = Arc::new(Semaphore::new(AT_ONCE));
        let (failed, mut failure) = mpsc::unbounded_channel::<Error>();
        loop {
            let line = tokio::select! {
                line = lines::next(from, MAX_FROM_REGION, SILENCE) => line?,
                Some(error) = failure.recv() => return Err(io::Error::other(error)),
            };
            let Some(line) = line else { return Ok(None) };
            let said = follow::decode(&line).map_err(|error| meaningless(error.to_string()))?;
            let arrived = match said {
                FromRegion::Alive => continue,
                FromRegion::Console { number, instance } => {
                    self.read(number, instance, read.clone());
                    continue;
                }
                FromRegion::End { why, again } => return Ok(Some((why.chars().take(200).collect(), again))),
                FromRegion::Answer { number, outcome } => {
                    self.answer(number, outcome, own);
                    continue;
                }
                FromRegion::Rows(rows) if rows.len() <= MAX_ROWS => {
                    arriving
                        .rows(rows)
                        .map_err(|error| meaningless(error.to_string()))?;
                    continue;
                }
                FromRegion::Rows(rows) => return Err(meaningless(format!("{} rows in a line", rows.len()))),
                FromRegion::Whole { revision } => arriving.whole(revision),
                FromRegion::Delta { revision, changes } => arriving
                    .delta(revision, changes)
                    .map_err(|error| meaningless(error.to_string()))?,
            };
            match arrived {
                Arrived::Whole { revision, rows } => {
                    let count = rows.len();
                    let (done, durable) = oneshot::channel();
                    self.handle.send(replace(rows, done));
                    own = durable
                        .await
                        .map_err(|_| io::Error::other("the copy did not take all rows"))?
                        .map_err(io::Error::other)?;
                    self.stands.send_modify(|stands| stands.took(own, revision));
                    tracing::info!(revision, rows = count, "the region's rows are here");
                    self.whole.send_replace(true);
                }
                // Nothing in it is this host's.
                Arrived::Delta { revision, delta } if delta.changes.is_empty() => {
                    self.stands.send_modify(|stands| stands.took(own, revision));
                }
                Arrived::Delta { revision, delta } => {
                    // Nobody closes it.
                    let permit = on_their_way
                        .clone()
                        .acquire_owned()
                        .await
                        .map_err(io::Error::other)?;
                    let (before, failed) = (own, failed.clone());
                    own += 1;
                    self.stands.send_modify(|stands| stands.took(own, revision));
                    let done = Done(Some(Box::new(move |durable| {
                        drop(permit);
                        if let Err(error) = durable {
                            let _ = failed.send(error);
                        }
                    })));
                    self.handle.send(follow_on(before, delta, done));
                }
            }
        }
    }

    /// Tells who waits what became of their news, once what it changed is durable here: else they would look at a row
    /// of before and say it again.
    fn answer(&self, number: u64, outcome: Outcome, own: u64) {
        let waiting = self
            .unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
        let Some(waiting) = waiting else { return };
        self.answered.notify_one();
        let outcome = match outcome {
            Outcome::Taken => Ok(()),
            Outcome::Later(why) => Err(Error::new("Unavailable", why)),
            Outcome::Refused(why) => Err(Error::new("UnauthorizedOperation", why)),
        };
        let mut latest = self.handle.latest();
        tokio::spawn(async move {
            let durable = latest.wait_for(|region| region.revision().0 >= own);
            let _ = tokio::time::timeout(DURABLE, durable).await;
            let _ = waiting.send(outcome);
        });
    }

    /// Reads a console; one too many is not answered.
    fn read(&self, number: u64, instance: InstanceId, read: mpsc::Sender<FromHost>) {
        let Ok(place) = self.reading.clone().try_acquire_owned() else {
            return;
        };
        let consoles = self.consoles.clone();
        tokio::spawn(async move {
            let console = consoles.of(instance).await;
            let console = console.map(|(bytes, at)| Written::new(&bytes, at));
            let _ = read.send(FromHost::Console { number, console }).await;
            drop(place);
        });
    }

    fn waiting(&self) -> usize {
        self.unanswered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Says what there is to say.
    async fn tell<W: AsyncWrite + Unpin>(
        &self,
        to: &mut W,
        mut news: mpsc::Receiver<Telling>,
        mut readings: mpsc::Receiver<FromHost>,
    ) -> io::Result<()> {
        let (mut in_effect, mut durable) = self.handle.obeyed();
        let mut stands = self.stands.subscribe();
        let mut alive = tokio::time::interval(ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut number, mut said) = (0, None);
        loop {
            tokio::select! {
                telling = news.recv(), if self.waiting() < MAX_UNANSWERED => {
                    let Some(telling) = telling else { return Ok(()) };
                    number += 1;
                    let line = encode(&self.asked(number, telling.news))?;
                    if line.len() > MAX_FROM_HOST {
                        let error = Error::invalid_value(format!("{} bytes are too many to be told", line.len()));
                        let _ = telling.answer.send(Err(error));
                        continue;
                    }
                    self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).insert(number, telling.answer);
                    lines::write(to, &line).await?;
                }
                () = self.answered.notified() => {}
                Some(console) = readings.recv() => {
                    let line = encode(&console)?;
                    if line.len() <= MAX_FROM_HOST {
                        lines::write(to, &line).await?;
                    }
                }
                _ = alive.tick() => lines::write(to, &encode(&FromHost::Alive)?).await?,
                changed = in_effect.changed() => changed.map_err(io::Error::other)?,
                changed = durable.changed() => changed.map_err(io::Error::other)?,
                changed = stands.changed() => changed.map_err(io::Error::other)?,
            }
            let durable = durable.borrow_and_update().revision().0;
            let own = in_effect.borrow_and_update().unwrap_or(durable);
            stands.mark_unchanged();
            let mut obeys = None;
            self.stands.send_if_modified(|stands| {
                obeys = stands.of(own);
                false
            });
            if obeys.is_some() && obeys != said {
                said = obeys;
                let revision = obeys.unwrap_or_default();
                lines::write(to, &encode(&FromHost::Obeyed { revision })?).await?;
            }
        }
    }

    fn asked(&self, number: u64, news: News) -> FromHost {
        match news {
            News::Observed(observed) => FromHost::Observed {
                number,
                observation: observed.into(),
            },
            News::Signal(instance, signal) => FromHost::Signal {
                number,
                instance,
                signal,
            },
        }
    }
}

/// Makes the copy what the rows are, in one commit that is shown once; says which of its revisions that is.
fn replace(rows: Vec<atoll_model::Row>, done: oneshot::Sender<Result<u64, Error>>) -> Job {
    Box::new(move |copy| {
        let deltas = replica::difference(copy, rows);
        let region = deltas.iter().fold(copy.clone(), |copy, delta| copy.after(delta));
        let own = region.revision().0;
        Step {
            next: Some((region, deltas)),
            answer: Box::new(move |durable| drop(done.send(durable.map(|()| own)))),
        }
    })
}

/// Told what became of a change; one that is dropped has come to nothing.
struct Done(Option<Answer>);

impl Done {
    fn tell(mut self, outcome: Result<(), Error>) {
        if let Some(done) = self.0.take() {
            done(outcome);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(Error::internal("the copy did not take a change")));
        }
    }
}

/// Changes the copy, if it stands where the change begins.
fn follow_on(before: u64, delta: atoll_model::Delta, done: Done) -> Job {
    Box::new(move |copy| {
        let found = copy.revision().0;
        if found != before {
            let why = Error::internal(format!("the copy stands at {found} and not at {before}"));
            return Step {
                next: None,
                answer: Box::new(move |_| done.tell(Err(why))),
            };
        }
        Step {
            next: Some((copy.after(&delta), vec![delta])),
            answer: Box::new(move |durable| done.tell(durable)),
        }
    })
}

#[cfg(test)]
mod tests;
