//! The region's host's end of a connection with another host: it is given all rows and each change, says what it sees of
//! its own instances, and which revision its data plane obeys. `join.rs` is the other end.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atoll_instance::GuestSignal;
use atoll_model::{AccountId, Host, HostId, HostName, Instance, InstanceId, ZoneName};
use atoll_region::host::JoinHost;
use atoll_region::instance::InstanceObserved;
use atoll_region::{Command, Error, Region, Transaction};
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::consoles::Console;
use crate::control::follow::{
    self, ALIVE, FULL, Follow, FromHost, FromRegion, MAX_CONSOLES, MAX_FROM_HOST, MAX_ROWS, MAX_UNANSWERED,
    Outcome, PROTOCOL, SILENCE, Welcome, encode, plain, travels,
};
use crate::control::protocol::Reply;
use crate::daemon::Daemon;
use crate::entropy;
use crate::feeds::{Ask, Calls, Seat};
use crate::lines;
use crate::reconcile::signal;
use crate::region_handle::{Followed, RegionHandle};

/// Serves a host until it goes. Its `place` among those who ask is free once it is let in: hosts have one connection each, and
/// it stays.
///
/// # Errors
/// The connection's.
pub(crate) async fn serve<R, W>(
    daemon: &Daemon,
    asked: Follow,
    from: &mut R,
    to: &mut W,
    place: OwnedSemaphorePermit,
) -> io::Result<()>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (handle, (seat, calls)) = match admit(daemon, &asked).await {
        Ok(admitted) => admitted,
        Err(message) => {
            tracing::warn!(host = %Name(&asked.name), "a host was refused: {}", plain(&message));
            return lines::write(to, &encode(&Reply::Error { message })?).await;
        }
    };
    drop(place);
    let name = asked.name;
    tracing::info!(host = %name, "connected");
    let config = handle.current().config().clone();
    let welcome = Reply::Welcome(Welcome {
        protocol: PROTOCOL,
        host: seat.host(),
        region: handle.name(),
        public_pool: config.public_pool,
        ipv6_pool: config.ipv6_pool,
        serving: serving(&handle),
    });
    lines::write(to, &encode(&welcome)?).await?;
    let ended = speak(&handle, seat.host(), calls, from, to).await;
    match &ended {
        Ok(why) => tracing::info!(host = %name, "{why}"),
        Err(error) => tracing::warn!(host = %name, "away: {error}"),
    }
    ended.map(drop)
}

/// Speaks with a host that was let in, until it goes; says how it went.
///
/// # Errors
/// The connection's, and a line of the host's that means nothing.
pub(crate) async fn speak<R, W>(
    handle: &RegionHandle,
    host: HostId,
    calls: Calls,
    from: &mut R,
    to: &mut W,
) -> io::Result<String>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (answers, answered) = mpsc::unbounded_channel();
    let asked = Asked::default();
    let Calls { ended, asks } = calls;
    let (last_word, ended_by) = oneshot::channel();
    let calls = Calls {
        ended: ended_by,
        asks,
    };
    let sent_away = async move {
        let (why, again) = ended.await.unwrap_or(("the region's host ends", true));
        let _ = last_word.send((why, again));
        // Who takes nothing hears no last word, and goes all the same.
        tokio::time::sleep(ALIVE).await;
        Ok(format!("away: {why}"))
    };
    tokio::select! {
        ended = hear(handle, host, from, answers, &asked) => ended,
        ended = tell(handle, host, calls, to, answered, &asked) => ended,
        ended = sent_away => ended,
    }
}

/// What was said to be a name, for the log.
struct Name<'a>(&'a str);

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0.chars().take(64).collect::<String>())
    }
}

/// The host that serves the region, by which regions of one name are told apart.
fn serving(handle: &RegionHandle) -> Option<HostId> {
    atoll_region::host::serving(&handle.current()).map(|host| host.id)
}

/// Checks who asks, and writes the host down. Its earlier connection, if there is one, ends.
async fn admit(daemon: &Daemon, asked: &Follow) -> Result<(RegionHandle, (Seat, Calls)), String> {
    if asked.protocol != PROTOCOL {
        return Err(format!(
            "this host runs atoll {}, whose hosts speak protocol {PROTOCOL}; the other runs atoll {:?} with protocol {}: install the same one on both",
            env!("CARGO_PKG_VERSION"),
            asked.version.chars().take(32).collect::<String>(),
            asked.protocol
        ));
    }
    if let Some(elsewhere) = daemon.served_elsewhere() {
        return Err(elsewhere);
    }
    if daemon.plane.is_some() && daemon.tunnel.is_none() {
        return Err(
            "the region's host has no address for packets of other hosts: start it with `atoll serve --underlay ADDRESS`"
                .into(),
        );
    }
    let served = || {
        let names: Vec<String> = daemon
            .handles()
            .iter()
            .map(|handle| handle.name().to_string())
            .collect();
        names.join(", ")
    };
    let mut handles = daemon.handles().iter();
    let handle = handles.find(|handle| handle.name().as_str() == asked.region);
    let handle = handle.cloned().ok_or_else(|| {
        let region: String = asked.region.chars().take(64).collect();
        format!(
            "the region {region:?} is not served there: name zones of {} with --zone",
            served()
        )
    })?;
    if let (Some(before), Some(now)) = (asked.serving, serving(&handle))
        && before != now
    {
        // It would take these rows for its own, and end all that it runs.
        return Err(format!(
            "this is another {} than the one that the host {} is of: have its command reach that one, or join this one \
             with another --data-dir, or after `atoll down --all` there",
            handle.name(),
            Name(&asked.name)
        ));
    }
    let name: HostName = asked.name.parse().map_err(|error| format!("{error}"))?;
    let underlay = asked.underlay.ok_or("--underlay is missing")?;
    if let Some(own) = daemon.tunnel.map(|tunnel| tunnel.address)
        && own.is_ipv4() != underlay.is_ipv4()
    {
        return Err(format!(
            "its own address for other hosts is {own}: name one of the same family with --underlay"
        ));
    }
    let zones = asked.zones.iter().map(|zone| zone.parse::<ZoneName>());
    let zones: Vec<ZoneName> = zones
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let join = JoinHost {
        name,
        underlay,
        mtu: asked.mtu,
        zones,
        serves_region: false,
    };
    let host = loop {
        let joined = handle.apply(AccountId::DEFAULT, join.clone()).await;
        let joined = joined.map_err(|error| error.message)?;
        // VPCs of before there were several hosts get their networks some at a time.
        if joined.unnumbered == 0 {
            break joined.host;
        }
    };
    let seat = daemon.feeds.take(handle.clone(), host);
    Ok((handle, seat.ok_or("the daemon ends")?))
}

/// Takes in what the host says, until it goes.
async fn hear<R: AsyncBufRead + Unpin>(
    handle: &RegionHandle,
    host: HostId,
    from: &mut R,
    answers: mpsc::UnboundedSender<Answer>,
    asked: &Asked,
) -> io::Result<String> {
    let unanswered = Arc::new(Semaphore::new(MAX_UNANSWERED));
    loop {
        let Some(line) = lines::next(from, MAX_FROM_HOST, SILENCE).await? else {
            return Ok("away: it closed the connection".into());
        };
        let said =
            follow::decode(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let (number, news) = match said {
            FromHost::Alive => continue,
            FromHost::Console { number, console } => {
                let waiting = asked.waiting().remove(&number);
                let console = console.and_then(|written| written.bytes());
                drop(waiting.map(|waiting| waiting.send(console)));
                continue;
            }
            FromHost::Obeyed { revision } => {
                let latest = handle.current().revision().0;
                handle.elsewhere(|hosts| hosts.obeys(host, revision, latest));
                continue;
            }
            FromHost::Observed { number, observation } => (number, HostNews::Observed(observation.into())),
            FromHost::Signal {
                number,
                instance,
                signal,
            } => (number, HostNews::Signal(instance, Box::new(signal))),
        };
        // Nobody closes it; who has so many without an answer waits here for the next one.
        let Ok(permit) = unanswered.clone().acquire_owned().await else {
            return Ok("away".into());
        };
        // The region acts, whoever owns the instance; a signal is its owner's.
        let owner = news.owner(&handle.current());
        let context = match entropy::context(owner) {
            Ok(context) => context,
            Err(error) => return Err(io::Error::other(error)),
        };
        let (answers, region) = (answers.clone(), handle.clone());
        let answer = Answer {
            number,
            revision: 0,
            outcome: Outcome::Later("too many commands wait".into()),
            _permit: permit,
        };
        let mut answer = Answering(Some((answer, answers)));
        handle.submit(context, FromThatHost { host, news }, move |done| {
            // What it changed is in the region that is shown by now.
            answer.with(region.current().revision().0, outcome(done));
        });
    }
}

/// Who waits for what the host was asked, by its number.
#[derive(Debug, Default)]
struct Asked(Mutex<BTreeMap<u64, oneshot::Sender<Option<Console>>>>);

impl Asked {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Option<Console>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, number: u64, answer: oneshot::Sender<Option<Console>>) {
        let mut waiting = self.waiting();
        // Who does not wait any more is not answered; of the others the oldest give way.
        waiting.retain(|_, waits| !waits.is_closed());
        if waiting.len() >= MAX_CONSOLES {
            waiting.pop_first();
        }
        waiting.insert(number, answer);
    }
}

/// What a host may say of instances.
#[derive(Debug)]
enum HostNews {
    Observed(InstanceObserved),
    Signal(InstanceId, Box<GuestSignal>),
}

impl HostNews {
    fn instance(&self) -> InstanceId {
        match self {
            HostNews::Observed(observed) => observed.id,
            HostNews::Signal(instance, _) => *instance,
        }
    }

    fn owner(&self, region: &Region) -> AccountId {
        let instance = region.get::<Instance>(self.instance());
        instance.map_or(AccountId::DEFAULT, |instance| instance.owner)
    }
}

/// It is taken from the host that the instance is on, and from no other.
#[derive(Debug)]
struct FromThatHost {
    host: HostId,
    news: HostNews,
}

impl Command for FromThatHost {
    type Reply = ();

    fn apply(self, tx: &mut Transaction) -> Result<(), Error> {
        let id = self.news.instance();
        let on = tx.region().get::<Instance>(id).map(|instance| instance.host);
        match on {
            // One that was forgotten meanwhile.
            None => return Ok(()),
            Some(on) if on == Some(self.host) => {}
            Some(_) => {
                return Err(Error::new(
                    "UnauthorizedOperation",
                    format!("{id} is not on that host"),
                ));
            }
        }
        match self.news {
            HostNews::Observed(observed) => observed.apply(tx).map(drop),
            HostNews::Signal(_, signal) => signal::command(id, &signal)?.apply(tx),
        }
    }
}

fn outcome(done: Result<(), Error>) -> Outcome {
    match done {
        Ok(()) => Outcome::Taken,
        Err(error) if error.code == "Unavailable" => Outcome::Later(error.message),
        Err(error) => Outcome::Refused(error.message),
    }
}

/// What became of something, on its way.
struct Answer {
    number: u64,
    /// What it changed is in this revision.
    revision: u64,
    outcome: Outcome,
    _permit: OwnedSemaphorePermit,
}

/// Answers in any case: what the writer does not take is dropped.
struct Answering(Option<(Answer, mpsc::UnboundedSender<Answer>)>);

impl Answering {
    fn with(&mut self, revision: u64, outcome: Outcome) {
        if let Some((answer, _)) = &mut self.0 {
            (answer.revision, answer.outcome) = (revision, outcome);
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some((answer, answers)) = self.0.take() {
            let _ = answers.send(answer);
        }
    }
}

/// Tells the host all rows, then what changes, and what became of what it said.
async fn tell<W: AsyncWrite + Unpin>(
    handle: &RegionHandle,
    host: HostId,
    calls: Calls,
    to: &mut W,
    mut answered: mpsc::UnboundedReceiver<Answer>,
    asked: &Asked,
) -> io::Result<String> {
    let Calls { mut ended, mut asks } = calls;
    let mut number = 0;
    let mut follower = handle.follow();
    let mut at = None;
    // An answer is said after what it changed.
    let mut ready = VecDeque::<Answer>::new();
    let mut alive = tokio::time::interval(ALIVE);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            followed = follower.next() => match followed {
                Some(Followed::Restart(region)) => {
                    if region.get::<Host>(host).is_none() {
                        return forgotten(to).await;
                    }
                    let mut all = AllRows::new(&region);
                    while let Some(line) = all.line()? {
                        lines::write(to, &line).await?;
                    }
                    at = Some(region.revision().0);
                }
                Some(Followed::Delta(published)) => {
                    let revision = published.region.revision().0;
                    let changes = published.delta.changes.iter();
                    let changes = changes.filter(|change| travels(change.key().table())).cloned().collect();
                    lines::write(to, &encode(&FromRegion::Delta { revision, changes })?).await?;
                    at = Some(revision);
                    if published.region.get::<Host>(host).is_none() {
                        return forgotten(to).await;
                    }
                }
                None => return Ok("away: the region is no longer served".into()),
            },
            Some(answer) = answered.recv() => ready.push_back(answer),
            Some(Ask { instance, answer }) = asks.recv() => {
                number += 1;
                asked.ask(number, answer);
                lines::write(to, &encode(&FromRegion::Console { number, instance })?).await?;
            }
            _ = alive.tick() => lines::write(to, &encode(&FromRegion::Alive)?).await?,
            told = &mut ended => {
                let (why, again) = told.unwrap_or(("the region's host ends", true));
                end(to, why, again).await?;
                return Ok(format!("away: {why}"));
            }
        }
        while let Some(answer) = ready.pop_front_if(|answer| Some(answer.revision) <= at) {
            let Answer { number, outcome, .. } = answer;
            lines::write(to, &encode(&FromRegion::Answer { number, outcome })?).await?;
        }
    }
}

/// Ends a connection with a host that is none any more.
async fn forgotten<W: AsyncWrite + Unpin>(to: &mut W) -> io::Result<String> {
    end(to, "this host was forgotten (`atoll forget-host`)", false).await?;
    Ok("forgotten".into())
}

/// Says the last word.
async fn end<W: AsyncWrite + Unpin>(to: &mut W, why: &str, again: bool) -> io::Result<()> {
    let line = encode(&FromRegion::End {
        why: why.into(),
        again,
    })?;
    let written = tokio::time::timeout(ALIVE, lines::write(to, &line)).await;
    written.unwrap_or(Ok(()))
}

/// A region as lines of rows, and the line that says that it is whole.
struct AllRows<'a> {
    rows: Box<dyn Iterator<Item = atoll_model::Row> + Send + 'a>,
    revision: Option<u64>,
}

impl<'a> AllRows<'a> {
    fn new(region: &'a Region) -> Self {
        let rows = region.rows().filter(|row| travels(row.key().table()));
        AllRows {
            rows: Box::new(rows),
            revision: Some(region.revision().0),
        }
    }

    fn line(&mut self) -> serde_json::Result<Option<Vec<u8>>> {
        // Written row by row, since how long each is is seen only then.
        let mut line = b"{\"rows\":[".to_vec();
        let mut count = 0;
        while count < MAX_ROWS && line.len() < FULL {
            let Some(row) = self.rows.next() else { break };
            if count > 0 {
                line.push(b',');
            }
            serde_json::to_writer(&mut line, &row)?;
            count += 1;
        }
        if count == 0 {
            let revision = self.revision.take();
            return revision
                .map(|revision| encode(&FromRegion::Whole { revision }))
                .transpose();
        }
        line.extend(b"]}\n");
        Ok(Some(line))
    }
}
