//! What an instance needs next: a pure decision over its row, what the holder reports, and what was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use atoll_instance::{
    InstanceKind, InstanceReport, InstanceSpec, PortAddress, PortSpec, Resources, UserDataStatus,
};
use atoll_model::instance::UserDataRun;
use atoll_model::subnet::HostnameType;
use atoll_model::{Instance, InstanceState, NetworkInterface, RegionName, Subnet};
use atoll_region::Region;
use atoll_region::instance::InstanceObserved;

/// Inside a VPC, in bytes (semantics 129).
const MTU: u32 = 9001;

/// An instance as its rows want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its row.
    pub instance: Instance,
    /// Its ports, the primary one first.
    pub ports: Vec<PortSpec>,
    /// What the sandbox is given.
    pub spec: InstanceSpec,
}

/// What this process remembers of an instance beside what is reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// It was seen running, so that its end is its own doing and not the host's.
    pub ran: bool,
    /// The row's number of boots that was acted upon.
    pub boots: Option<u32>,
    /// Ports as they were last sent; a port that stands but is not here is sent again.
    pub sent: BTreeMap<String, PortSpec>,
    /// Ports that could not be made, as they were then.
    pub refused: BTreeMap<String, PortSpec>,
    /// Why it could not be started.
    pub failure: Option<String>,
}

/// One step.
#[derive(Debug, Clone)]
pub enum Action {
    /// Start the sandbox.
    Launch,
    /// Stop it, keeping its files.
    Stop,
    /// Stop and start it.
    Reboot,
    /// End it and delete its files.
    Terminate,
    /// Attach a port.
    CreatePort(PortSpec),
    /// Change a port's addresses.
    UpdatePort(PortSpec),
    /// Detach a port.
    DeletePort(String),
    /// Tell the region.
    Observe(InstanceObserved),
}

/// What an instance's rows want.
pub fn wanted(region: &Region, instance: &Instance) -> Wanted {
    let enis = region.enis_of(instance.id);
    let ports = enis
        .iter()
        .filter_map(|eni| port(eni, region.get::<Subnet>(eni.subnet)?));
    let hostname = enis
        .first()
        .and_then(|eni| hostname(eni, region.get::<Subnet>(eni.subnet)?, region.name()));
    let hostname = hostname.unwrap_or_else(|| instance.id.to_string());
    let search_domain = match region.name() {
        RegionName::DEFAULT => "ec2.internal".to_owned(),
        other => format!("{other}.compute.internal"),
    };
    let spec = InstanceSpec {
        id: instance.id.to_string(),
        hostname,
        kind: match atoll_model::image::is_machine(instance.image) {
            true => InstanceKind::Machine,
            false => InstanceKind::Instance,
        },
        user_data: instance.user_data.clone(),
        search_domain: Some(search_domain),
        env: Vec::new(),
        resources: resources(instance),
    };
    Wanted {
        instance: instance.clone(),
        ports: ports.collect(),
        spec,
    }
}

/// What the instance's type has of the host.
fn resources(instance: &Instance) -> Resources {
    atoll_model::instance_type::find(&instance.instance_type).map_or_else(Resources::default, |kind| {
        Resources {
            vcpus: kind.vcpus,
            memory_mib: kind.memory_mib,
            processes: Resources::PROCESSES,
        }
    })
}

/// The first label of the private host name; `None` for a name by resource.
fn hostname(eni: &NetworkInterface, subnet: &Subnet, region: RegionName) -> Option<String> {
    let name = match subnet.hostname_type {
        HostnameType::IpName => Instance::private_dns_name(eni.primary_ip()?, region),
        HostnameType::ResourceName => return None,
    };
    name.split('.').next().map(str::to_owned)
}

/// An interface as its guest sees it: IPv4 with the subnet's length, IPv6 as single addresses with the
/// subnet's block on the link, the routers of semantics 54.
pub fn port(eni: &NetworkInterface, subnet: &Subnet) -> Option<PortSpec> {
    let attachment = eni.attachment.as_ref()?;
    let v4_length = subnet.cidr.map_or(32, |block| block.length());
    let address = |address: IpAddr| PortAddress {
        address,
        prefix_len: if address.is_ipv4() { v4_length } else { 128 },
    };
    let v6_block = subnet.ipv6_cidr();
    let on_link = |block: atoll_net::Prefix| PortAddress {
        address: block.network(),
        prefix_len: block.length(),
    };
    let router_v4 = |router: IpAddr| match router {
        IpAddr::V4(router) => Some(router),
        IpAddr::V6(_) => None,
    };
    Some(PortSpec {
        id: eni.id.to_string(),
        device_index: attachment.device_index,
        mac: eni.mac.0,
        mtu: MTU,
        addresses: eni.addresses().map(address).collect(),
        gateway_v4: subnet.router_v4().and_then(router_v4).filter(|_| has_v4(eni)),
        gateway_v6: (!eni.ipv6_addresses.is_empty()).then(|| subnet.router_link_local()),
        // No resolver answers yet; with none named, a guest's lookups fail at once instead of in seconds.
        dns: Vec::new(),
        on_link: v6_block
            .filter(|_| !eni.ipv6_addresses.is_empty())
            .map(on_link)
            .into_iter()
            .collect(),
    })
}

fn has_v4(eni: &NetworkInterface) -> bool {
    eni.primary_ip().is_some_and(|ip| ip != Ipv4Addr::UNSPECIFIED)
}

/// The next step for an instance; `None` when there is nothing to do now.
pub fn next(wanted: &Wanted, report: Option<&InstanceReport>, memory: &Memory) -> Option<Action> {
    use atoll_instance::InstanceState as Held;
    let row = &wanted.instance;
    let held = report.map(|report| &report.state);
    match (row.state, held) {
        (InstanceState::Pending, Some(Held::Running)) => {
            Some(observe(wanted, report, InstanceState::Running))
        }
        (InstanceState::Pending, None | Some(Held::Stopped | Held::Exited { .. } | Held::Terminated)) => {
            match &memory.failure {
                Some(failure) => Some(Action::Observe(InstanceObserved {
                    id: row.id,
                    state: InstanceState::Stopped,
                    user_data_run: None,
                    failure: Some(failure.clone()),
                })),
                None => Some(Action::Launch),
            }
        }
        (InstanceState::Running, Some(Held::Running)) => running(wanted, report?, memory),
        (InstanceState::Running, None | Some(Held::Stopped | Held::Exited { .. } | Held::Terminated)) => {
            // One that ended while nobody looked ended with the host: it is started again. One that was
            // seen running ended by itself.
            match memory.ran || memory.failure.is_some() {
                true => Some(observe(wanted, report, InstanceState::Stopped)),
                false => Some(Action::Launch),
            }
        }
        (InstanceState::Stopping | InstanceState::Stopped, Some(Held::Running | Held::Starting)) => {
            Some(Action::Stop)
        }
        (InstanceState::Stopping, None | Some(Held::Stopped | Held::Exited { .. } | Held::Terminated)) => {
            Some(observe(wanted, report, InstanceState::Stopped))
        }
        (InstanceState::ShuttingDown | InstanceState::Terminated, Some(Held::Terminated))
            if row.state == InstanceState::Terminated =>
        {
            None
        }
        (InstanceState::ShuttingDown, None | Some(Held::Terminated)) => {
            Some(observe(wanted, report, InstanceState::Terminated))
        }
        (InstanceState::ShuttingDown | InstanceState::Terminated, Some(_)) => Some(Action::Terminate),
        // On its way already, or nothing to do.
        (InstanceState::Pending | InstanceState::Running, Some(Held::Starting | Held::Stopping))
        | (InstanceState::Stopping, Some(Held::Stopping))
        | (
            InstanceState::Stopped,
            None | Some(Held::Stopping | Held::Stopped | Held::Exited { .. } | Held::Terminated),
        )
        | (InstanceState::Terminated, None) => None,
    }
}

fn observe(wanted: &Wanted, report: Option<&InstanceReport>, state: InstanceState) -> Action {
    Action::Observe(InstanceObserved {
        id: wanted.instance.id,
        state,
        user_data_run: report.map(|report| run(report.user_data_status)),
        failure: None,
    })
}

fn run(status: UserDataStatus) -> UserDataRun {
    match status {
        UserDataStatus::None => UserDataRun::None,
        UserDataStatus::Pending => UserDataRun::Pending,
        UserDataStatus::Running => UserDataRun::Running,
        UserDataStatus::Exited(status) => UserDataRun::Exited(status),
    }
}

fn running(wanted: &Wanted, report: &InstanceReport, memory: &Memory) -> Option<Action> {
    let row = &wanted.instance;
    // A number that this process acted upon, else what the host counted: a reboot that was acknowledged
    // before a restart is still done.
    let done = memory.boots.map_or(report.boots, u64::from);
    if u64::from(row.boots) > done {
        return Some(Action::Reboot);
    }
    let stands: BTreeSet<&str> = report.ports.iter().map(|port| port.id.as_str()).collect();
    // What goes makes room for what comes: device indexes are taken once.
    let gone = stands
        .iter()
        .find(|id| !wanted.ports.iter().any(|port| port.id == **id));
    if let Some(gone) = gone {
        return Some(Action::DeletePort((*gone).to_owned()));
    }
    for port in &wanted.ports {
        if memory.refused.get(&port.id) == Some(port) {
            continue;
        }
        if !stands.contains(port.id.as_str()) {
            return Some(Action::CreatePort(port.clone()));
        }
        if memory.sent.get(&port.id) != Some(port) {
            return Some(Action::UpdatePort(port.clone()));
        }
    }
    (run(report.user_data_status) != row.user_data_run)
        .then(|| observe(wanted, Some(report), InstanceState::Running))
}
