//! The regions of a process, as the API and the control socket see them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use atoll_access::{AccessKey, Credential};
use atoll_api::backend::BoxFuture;
use atoll_api::{ApiError, Backend, Submission};
use atoll_instance::{Host, InstanceKind, Limits};
use atoll_model::stack::Stack;
use atoll_model::{
    HostId, Instance, InstanceId, InstanceState, NetworkInterface, RegionName, Row, Timestamp,
};
use atoll_plane::{Plane, Tunnel};
use atoll_region::Region;
use tokio::sync::{Notify, watch};

use crate::consoles::{Console, Consoles};
use crate::control::protocol::{Env, InstanceStatus, MachineStatus, RegionStatus, StackStatus, Status};
use crate::entropy;
use crate::feeds::Feeds;
use crate::flows;
use crate::hosts;
use crate::last_console::LastConsoles;
use crate::member::Member;
use crate::options::{Auth, DataPlane};
use crate::reconcile::hosted::Reports;
use crate::region_handle::RegionHandle;

/// What everything in the process shares.
pub struct Daemon {
    pub(crate) endpoint: SocketAddr,
    pub(crate) auth: Auth,
    pub(crate) data_plane: DataPlane,
    /// Why it is not the fastest one, if nobody asked for that.
    pub(crate) data_plane_reason: Option<String>,
    pub(crate) data_directory: Option<PathBuf>,
    pub(crate) credential: Credential,
    /// The default one first; never empty.
    pub(crate) regions: Vec<RegionHandle>,
    /// This host's instances; `None` without a data plane.
    pub(crate) host: Option<Host>,
    /// Of what instances have a bounded share.
    pub(crate) limits: Limits,
    /// What carries packets; `None` without a data plane.
    pub(crate) plane: Option<Plane>,
    /// The way to other hosts, as it was found at the start; `None` if there is none.
    pub(crate) tunnel: Option<Tunnel>,
    /// Which host this is; `None` for the one that serves the regions.
    pub(crate) this_host: Option<HostId>,
    /// The other hosts that are connected.
    pub(crate) feeds: Feeds,
    /// Of which region served elsewhere this is a host; `None` where regions are served.
    pub(crate) member: Option<Member>,
    /// What the holder reports of them.
    pub(crate) reports: watch::Sender<Reports>,
    /// What terminated instances wrote.
    pub(crate) last_consoles: LastConsoles,
    /// Ends the daemon.
    pub(crate) stop: Notify,
    /// The ports of instances that ran before have been taken up.
    pub(crate) adopted: watch::Sender<bool>,
    /// Everything is being ended.
    pub(crate) going_down: AtomicBool,
    /// Why it cannot go on, if it cannot.
    pub(crate) broken: OnceLock<String>,
}

impl Daemon {
    /// The region of a name.
    pub fn region(&self, name: RegionName) -> Option<&RegionHandle> {
        self.regions.iter().find(|region| region.name() == name)
    }

    /// The regions, the default one first.
    pub fn handles(&self) -> &[RegionHandle] {
        &self.regions
    }

    /// Which limits are in force for instances on this host.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The API's URL.
    pub fn endpoint_url(&self) -> String {
        let mut address = self.endpoint;
        if address.ip().is_unspecified() {
            let loopback: std::net::IpAddr = match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            };
            address.set_ip(loopback);
        }
        format!("http://{address}")
    }

    /// What carries packets, and why not something faster, in a line.
    pub fn data_plane_line(&self) -> String {
        match &self.data_plane_reason {
            Some(reason) => format!("data plane: {}; {reason}", self.data_plane),
            None => format!("data plane: {}", self.data_plane),
        }
    }

    pub(crate) fn env(&self) -> Env {
        Env {
            endpoint: self.endpoint_url(),
            region: self
                .regions
                .first()
                .map_or(RegionName::DEFAULT, RegionHandle::name)
                .to_string(),
            access_key: self.credential.access_key.to_string(),
            secret_key: self.credential.secret.expose().to_owned(),
        }
    }

    /// Of which region this is a host, in a line, if that is served elsewhere.
    pub fn member_line(&self) -> Option<String> {
        self.member.as_ref().map(Member::line)
    }

    /// What this host's instances wrote.
    pub(crate) fn consoles(&self) -> Consoles {
        Consoles {
            host: self.host.clone(),
            last: self.last_consoles.clone(),
        }
    }

    /// Where the region is served, as a sentence, if that is another host.
    pub(crate) fn served_elsewhere(&self) -> Option<String> {
        let member = self.member.as_ref()?;
        Some(member.elsewhere(&self.current()))
    }

    /// Asks the data plane for its numbers, which may wait for it: not to be called on a thread that serves others.
    pub(crate) fn status(&self) -> Status {
        let reports = self.reports.borrow().clone();
        Status {
            endpoint: self.endpoint_url(),
            joined: self
                .member
                .as_ref()
                .map(|member| member.status(&self.current(), self.tunnel.map(|tunnel| tunnel.address))),
            pid: std::process::id(),
            auth: self.auth.to_string(),
            data_plane: self.data_plane.to_string(),
            data_plane_reason: self.data_plane_reason.clone(),
            flows: self
                .plane
                .as_ref()
                .and_then(|plane| flows::numbers(&self.current(), plane)),
            data_directory: self
                .data_directory
                .as_ref()
                .map(|path| path.display().to_string()),
            limits: self.limits.clone(),
            regions: self
                .regions
                .iter()
                .map(|handle| self.region_status(&handle.current(), &reports))
                .collect(),
        }
    }

    fn region_status(&self, region: &Region, reports: &Reports) -> RegionStatus {
        let vpcs = region.rows().filter_map(|row| match row {
            Row::Vpc(vpc) => Some(vpc.id.to_string()),
            _ => None,
        });
        let stacks = region
            .all::<Stack>()
            .filter(|stack| stack.status != atoll_model::stack::StackStatus::DeleteComplete);
        RegionStatus {
            name: region.name().to_string(),
            revision: region.revision().0,
            stacks: stacks.map(|stack| stack_status(stack)).collect(),
            vpcs: vpcs.collect(),
            hosts: self.hosts(region),
            instances: instances(region)
                .map(|instance| instance_status(region, &instance, reports))
                .collect(),
        }
    }

    /// Ends everything and removes what is kept.
    pub(crate) async fn down_all(&self) -> Result<(), String> {
        if let Some(host) = self.host.clone() {
            // That the holder ends is asked for: it is no failure of the daemon's.
            self.going_down.store(true, Ordering::SeqCst);
            let ended = tokio::task::spawn_blocking(move || host.shutdown(true)).await;
            let ended = ended.map_err(|panic| panic.to_string())?;
            ended.map_err(|error| error.to_string())?;
        }
        if let Some(data) = &self.data_directory {
            crate::removal::data_directory(data);
        }
        self.stop.notify_one();
        Ok(())
    }

    /// Waits until the data plane, if there is one, has the rows that are durable and the ports that stand.
    pub(crate) async fn is_in_effect(&self) {
        for region in &self.regions {
            region.in_effect().await;
        }
        if self.plane.is_some() {
            let _ = self.adopted.subscribe().wait_for(|adopted| *adopted).await;
        }
    }

    /// Every region as it is now.
    pub(crate) fn current(&self) -> Vec<Arc<Region>> {
        self.regions.iter().map(RegionHandle::current).collect()
    }
}

fn name_tag(instance: &Instance) -> Option<String> {
    instance.tags.get("Name").map(|name| name.to_string())
}

/// Every instance that is not terminated, whoever owns it: the control socket is the owner's of them all.
pub(crate) fn instances(region: &Region) -> impl Iterator<Item = Arc<Instance>> + '_ {
    region.rows().filter_map(|row| match row {
        Row::Instance(instance) if instance.state != InstanceState::Terminated => Some(instance),
        _ => None,
    })
}

fn stack_status(stack: &Stack) -> StackStatus {
    StackStatus {
        name: stack.name.clone(),
        id: stack.arn(),
        status: stack.status.to_string(),
        reason: stack.status_reason.clone(),
    }
}

/// What is at an instance's TAPs, if it is a machine and on this host.
fn machine_status(instance: &Instance, reports: &Reports) -> Option<MachineStatus> {
    let report = reports.get(&instance.id.to_string())?;
    let machine = report.machine.as_ref();
    (report.kind == InstanceKind::Machine).then(|| MachineStatus {
        pid: machine.map(|machine| machine.pid),
        command: machine.map(|machine| machine.command.clone()),
    })
}

fn instance_status(region: &Region, instance: &Instance, reports: &Reports) -> InstanceStatus {
    let enis: Vec<&Arc<NetworkInterface>> = region.enis_of(instance.id);
    let public = enis
        .iter()
        .flat_map(|eni| &eni.private_addresses)
        .filter_map(|address| address.public);
    InstanceStatus {
        id: instance.id.to_string(),
        name: name_tag(instance),
        state: instance.state.to_string(),
        zone: instance.zone.to_string(),
        subnet: instance.subnet.to_string(),
        host: hosts::name_of(region, instance.host),
        addresses: enis.iter().flat_map(|eni| eni.addresses()).collect(),
        public_addresses: public.map(|public| public.ip.into()).collect(),
        machine: machine_status(instance, reports),
    }
}

impl Backend for Daemon {
    fn regions(&self) -> Vec<RegionName> {
        self.regions.iter().map(RegionHandle::name).collect()
    }

    fn snapshot(&self, region: RegionName) -> Option<Arc<Region>> {
        self.region(region).map(RegionHandle::current)
    }

    fn submit(&self, submission: Submission) -> BoxFuture<'_, Result<(), ApiError>> {
        let Submission {
            region,
            account,
            command,
        } = submission;
        let handle = self.region(region).cloned();
        Box::pin(async move {
            let handle = handle
                .ok_or_else(|| ApiError::unavailable(format!("The region {region} is not served here")))?;
            Ok(handle.apply(account, command).await?)
        })
    }

    fn now(&self) -> Timestamp {
        entropy::now()
    }

    fn console(&self, instance: InstanceId) -> BoxFuture<'_, Option<Console>> {
        let mut regions = self.regions.iter().map(RegionHandle::current);
        let on = regions.find_map(|region| Some(region.get::<Instance>(instance)?.host));
        match on.flatten().filter(|on| Some(*on) != self.this_host) {
            Some(on) => Box::pin(self.feeds.console(on, instance)),
            None => {
                let consoles = self.consoles();
                Box::pin(async move { consoles.of(instance).await })
            }
        }
    }

    fn credential(&self, access_key: &AccessKey) -> Option<Credential> {
        (self.credential.access_key == *access_key).then(|| self.credential.clone())
    }
}
