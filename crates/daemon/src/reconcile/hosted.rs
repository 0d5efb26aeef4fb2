//! Runs what [`super::instance`] decides on this host. Steps of different instances go on at once, steps of
//! one follow each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use atoll_instance::{Change, Error as HostError, Host, InstanceReport, InstanceState as Held};
use atoll_model::{HostId, Instance, InstanceId};
use tokio::sync::{Semaphore, mpsc, watch};

use super::instance::{Action, Memory, Wanted, next, wanted};
use super::internet;
use crate::entropy;
use crate::last_console::LastConsoles;
use crate::region_handle::RegionHandle;

/// Sandboxes that start or stop at a time: each is a handful of processes.
const AT_ONCE: usize = 8;
/// How long processes of an instance may take to end before they are killed.
const GRACE: Duration = Duration::from_secs(10);
/// After a step that failed without saying anything about the instance.
const RETRY: Duration = Duration::from_secs(2);

/// What all instances' reports are, shown to whoever needs ports or signals.
pub type Reports = Arc<BTreeMap<String, InstanceReport>>;

enum Event {
    Internet(Result<Box<InstanceReport>, HostError>),
    Host(Change),
    HostGone(String),
    Done {
        id: InstanceId,
        action: Action,
        result: Result<Outcome, Failed>,
    },
    Region,
}

/// What a step left behind.
enum Outcome {
    Report(Box<InstanceReport>),
    Gone,
    Observed,
}

enum Failed {
    Host(HostError),
    Region(atoll_region::Error),
}

/// Reconciles the instances of all regions that are on this host until the holder ends; gives the reason. With `this` as
/// `None` it is the host that serves the regions, where the internet is too.
pub(crate) async fn run(
    host: Host,
    this: Option<HostId>,
    regions: Vec<RegionHandle>,
    reports: watch::Sender<Reports>,
    consoles: LastConsoles,
) -> String {
    let (events, mut queue) = mpsc::unbounded_channel();
    if let Err(error) = listen(&host, events.clone()) {
        return error.to_string();
    }
    for region in &regions {
        let (mut latest, events) = (region.latest(), events.clone());
        tokio::spawn(
            async move { while latest.changed().await.is_ok() && events.send(Event::Region).is_ok() {} },
        );
    }
    let mut reconciler = Reconciler {
        host,
        this,
        regions,
        consoles,
        events,
        places: Arc::new(Semaphore::new(AT_ONCE)),
        reports: BTreeMap::new(),
        memories: BTreeMap::new(),
        busy: BTreeSet::new(),
        known: false,
        internet_busy: false,
    };
    while let Some(event) = queue.recv().await {
        if let Event::HostGone(reason) = event {
            return reason;
        }
        let mut told = reconciler.take(event);
        // What has queued up meanwhile is one more look, not many.
        while let Ok(event) = queue.try_recv() {
            if let Event::HostGone(reason) = event {
                return reason;
            }
            told |= reconciler.take(event);
        }
        if told {
            reports.send_replace(Arc::new(reconciler.reports.clone()));
        }
        reconciler.look();
    }
    "the daemon ends".into()
}

fn listen(host: &Host, events: mpsc::UnboundedSender<Event>) -> Result<(), HostError> {
    let mut changes = host.subscribe()?;
    let thread = move || {
        loop {
            let event = match changes.next(None) {
                Ok(Some(change)) => Event::Host(change),
                Ok(None) => continue,
                Err(error) => Event::HostGone(error.to_string()),
            };
            let last = matches!(event, Event::HostGone(_));
            if events.send(event).is_err() || last {
                return;
            }
        }
    };
    let spawned = std::thread::Builder::new()
        .name("holder-changes".into())
        .spawn(thread);
    spawned.map(drop).map_err(|error| HostError::Io {
        what: "start a thread".into(),
        reason: error.to_string(),
    })
}

struct Reconciler {
    host: Host,
    /// Whose instances are looked after.
    this: Option<HostId>,
    regions: Vec<RegionHandle>,
    /// What terminated instances wrote.
    consoles: LastConsoles,
    events: mpsc::UnboundedSender<Event>,
    places: Arc<Semaphore>,
    reports: BTreeMap<String, InstanceReport>,
    memories: BTreeMap<InstanceId, Memory>,
    /// Instances with a step under way.
    busy: BTreeSet<InstanceId>,
    /// The holder has said what there is.
    known: bool,
    internet_busy: bool,
}

impl Reconciler {
    /// Takes in what happened; says whether reports changed.
    fn take(&mut self, event: Event) -> bool {
        match event {
            Event::Host(Change::Snapshot(reports)) => {
                self.reports = reports
                    .into_iter()
                    .map(|report| (report.id.clone(), report))
                    .collect();
                self.known = true;
                true
            }
            Event::Host(Change::Instance(report)) => self.hear(report),
            Event::Host(Change::Gone(id)) => self.reports.remove(&id).is_some(),
            Event::Done { id, action, result } => {
                let result = result.map(|outcome| match outcome {
                    Outcome::Report(report) => self.hear(*report),
                    Outcome::Gone => self.reports.remove(&id.to_string()).is_some(),
                    Outcome::Observed => false,
                });
                let told = result.is_ok();
                self.done(id, &action, result.map(drop));
                told
            }
            Event::Internet(result) => {
                self.internet_busy = false;
                match result {
                    Ok(report) => drop(self.hear(*report)),
                    Err(error) => tracing::error!(%error, "the internet's namespace did not start"),
                }
                true
            }
            Event::Region | Event::HostGone(_) => false,
        }
    }

    /// Keeps a report unless a later one is known: answers to steps and announcements come by different ways, so
    /// that an answer may be older than what was announced meanwhile.
    fn hear(&mut self, report: InstanceReport) -> bool {
        let known = self.reports.get(&report.id).map(|known| known.version);
        if known.is_some_and(|known| known > report.version) {
            return false;
        }
        self.reports.insert(report.id.clone(), report);
        true
    }

    /// Starts a step for each instance that needs one and has none under way.
    fn look(&mut self) {
        if !self.known {
            return;
        }
        if self.this.is_none() {
            self.look_at_the_internet();
        }
        let mut there = BTreeSet::new();
        for handle in self.regions.clone() {
            let region = handle.current();
            for row in region.all::<Instance>() {
                there.insert(row.id);
                if self.busy.contains(&row.id) {
                    continue;
                }
                let report = self.reports.get(&row.id.to_string());
                if row.host != self.this {
                    // It was on this one while that was another host of the region's, which was forgotten.
                    if report.is_some() {
                        self.busy.insert(row.id);
                        self.step(&handle, wanted(&region, row), Action::Terminate);
                    }
                    continue;
                }
                let memory = self.memories.entry(row.id).or_default();
                if report.is_some_and(|report| report.state == Held::Running) {
                    memory.ran = true;
                    memory.failure = None;
                }
                let wanted = wanted(&region, row);
                if let Some(action) = next(&wanted, report, memory) {
                    self.busy.insert(row.id);
                    self.step(&handle, wanted, action);
                }
            }
        }
        self.memories.retain(|id, _| there.contains(id));
        // Where a region is served, one may be left out for once (--region); a copy is of all there is.
        let has_rows = |region: &RegionHandle| region.current().revision().0 > 0;
        if self.this.is_some() && self.regions.iter().all(has_rows) {
            let unknown = self.reports.keys().filter_map(|id| id.parse::<InstanceId>().ok());
            let unknown: Vec<InstanceId> = unknown
                .filter(|id| !there.contains(id) && !self.busy.contains(id))
                .collect();
            unknown.into_iter().for_each(|id| self.end(id));
        }
    }

    /// Ends what the region has forgotten while its host was away.
    fn end(&mut self, id: InstanceId) {
        self.busy.insert(id);
        tracing::info!(%id, "the region has forgotten it");
        let (host, events, places) = (self.host.clone(), self.events.clone(), self.places.clone());
        tokio::spawn(async move {
            let _place = places.acquire_owned().await;
            let ended = tokio::task::spawn_blocking(move || host.terminate(&id.to_string())).await;
            let result = match ended {
                Ok(Ok(()) | Err(HostError::NoSuchInstance(_))) => Ok(Outcome::Gone),
                Ok(Err(error)) => Err(Failed::Host(error)),
                Err(panic) => Err(Failed::Host(HostError::Protocol(format!(
                    "a step broke off: {panic}"
                )))),
            };
            if result.is_err() {
                tokio::time::sleep(RETRY).await;
            }
            let action = Action::Terminate;
            let _ = events.send(Event::Done { id, action, result });
        });
    }

    /// The outside is always there while there is a data plane, beside the gateways.
    fn look_at_the_internet(&mut self) {
        let there = self
            .reports
            .get(internet::ID)
            .is_some_and(|report| matches!(report.state, Held::Running | Held::Starting | Held::Stopping));
        if there || self.internet_busy {
            return;
        }
        self.internet_busy = true;
        let (host, events) = (self.host.clone(), self.events.clone());
        tokio::spawn(async move {
            let launch = move || host.launch(&internet::spec(), &[internet::port()]);
            let result = match tokio::task::spawn_blocking(launch).await {
                Ok(result) => result.map(Box::new),
                Err(panic) => Err(HostError::Protocol(format!("a step broke off: {panic}"))),
            };
            if result.is_err() {
                tokio::time::sleep(RETRY).await;
            }
            let _ = events.send(Event::Internet(result));
        });
    }

    fn step(&self, region: &RegionHandle, wanted: Wanted, action: Action) {
        let (host, events, places) = (self.host.clone(), self.events.clone(), self.places.clone());
        let (region, consoles) = (region.clone(), self.consoles.clone());
        let id = wanted.instance.id;
        tracing::debug!(%id, ?action, "step");
        tokio::spawn(async move {
            let result = match action.clone() {
                Action::Observe(observed) => {
                    let told = region.observed(observed).await;
                    told.map(|()| Outcome::Observed).map_err(Failed::Region)
                }
                action => {
                    let _place = places.acquire_owned().await;
                    let step = tokio::task::spawn_blocking(move || {
                        if matches!(action, Action::Terminate)
                            && let Ok(text) = host.console(&wanted.spec.id)
                            && !text.is_empty()
                        {
                            consoles.keep(id, text, entropy::now());
                        }
                        on_host(&host, &wanted, action)
                    })
                    .await;
                    match step {
                        Ok(result) => result.map_err(Failed::Host),
                        Err(panic) => Err(Failed::Host(HostError::Protocol(format!(
                            "a step broke off: {panic}"
                        )))),
                    }
                }
            };
            if let Err(failed) = &result
                && !settles(&action, failed)
            {
                tokio::time::sleep(RETRY).await;
            }
            let _ = events.send(Event::Done { id, action, result });
        });
    }

    fn done(&mut self, id: InstanceId, action: &Action, result: Result<(), Failed>) {
        self.busy.remove(&id);
        let row = self
            .regions
            .iter()
            .find_map(|region| region.current().get::<Instance>(id).cloned());
        let memory = self.memories.entry(id).or_default();
        match result {
            Ok(()) => match action {
                Action::Launch | Action::Reboot => {
                    // All ports are new; they are sent once more, which changes nothing that is right.
                    memory.boots = row.map(|row| row.boots).or(memory.boots);
                    memory.sent.clear();
                    memory.refused.clear();
                }
                Action::Stop | Action::Terminate => {
                    *memory = Memory {
                        ran: memory.ran,
                        ..Memory::default()
                    }
                }
                Action::CreatePort(port) | Action::UpdatePort(port) => {
                    memory.sent.insert(port.id.clone(), port.clone());
                }
                Action::DeletePort(port) => {
                    memory.sent.remove(port);
                }
                Action::Observe(observed) => {
                    if observed.state != atoll_model::InstanceState::Running {
                        (memory.ran, memory.failure) = (false, None);
                    }
                }
            },
            // The region's host is away, as the log says once; it is told again.
            Err(Failed::Region(error)) if error.code == "Unavailable" && self.this.is_some() => {
                tracing::debug!(%id, %error, "an observation was not taken");
            }
            Err(Failed::Region(error)) => tracing::warn!(%id, %error, "an observation was not taken"),
            Err(Failed::Host(error)) => {
                tracing::warn!(%id, %error, "a step failed");
                match action {
                    // What is asked for stands: the report that says so is on its way.
                    _ if matches!(error, HostError::AlreadyRunning(_) | HostError::PortExists { .. }) => {}
                    Action::Launch => memory.failure = Some(error.to_string()),
                    Action::CreatePort(port) | Action::UpdatePort(port) => {
                        memory.refused.insert(port.id.clone(), port.clone());
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Whether a failure of this step is an answer, after which there is something else to do.
fn settles(action: &Action, failed: &Failed) -> bool {
    match (action, failed) {
        (_, Failed::Host(HostError::AlreadyRunning(_) | HostError::PortExists { .. })) => false,
        (Action::Launch | Action::CreatePort(_) | Action::UpdatePort(_), _) => true,
        _ => false,
    }
}

fn on_host(host: &Host, wanted: &Wanted, action: Action) -> Result<Outcome, HostError> {
    let id = wanted.spec.id.as_str();
    let report = match action {
        Action::Launch => host.launch(&wanted.spec, &wanted.ports)?,
        Action::Stop => host.stop(id, GRACE)?,
        Action::Reboot => host.reboot(id, GRACE)?,
        Action::Terminate => {
            return match host.terminate(id) {
                Ok(()) | Err(HostError::NoSuchInstance(_)) => Ok(Outcome::Gone),
                Err(error) => Err(error),
            };
        }
        Action::CreatePort(port) => host.port_create(id, &port)?,
        Action::UpdatePort(port) => host.port_update(id, &port)?,
        Action::DeletePort(port) => match host.port_delete(id, &port) {
            Err(HostError::NoSuchPort { .. }) => host.instance(id)?,
            result => result?,
        },
        Action::Observe(_) => return Ok(Outcome::Observed),
    };
    Ok(Outcome::Report(Box::new(report)))
}
