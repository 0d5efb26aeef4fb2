//! Says to the data plane which other hosts there are and what is on them, from the rows: before each change of rows, so
//! that no packet goes to where something was.
//!
//! [`Map`] holds what was said and decides what is to be said next, without any effect; [`Elsewhere`] says it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use atoll_fabric::Site;
use atoll_model::network_interface::InterfaceType;
use atoll_model::row::{Change, Key, Row};
use atoll_model::{Delta, EniId, Host, HostId, NetworkInterface, RegionName, Vpc, VpcId};
use atoll_plane::{Plane, PlaneError, Tunnel, Vni};
use atoll_region::{Region, host};

use crate::handover::Handover;

/// One thing to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The longest IP packet that every host's underlay takes.
    Mtu(u32),
    /// Frames of a host are taken, or not any more.
    Host(IpAddr, bool),
    /// What names a VPC between hosts.
    Network(VpcId, Option<Vni>),
    /// On which other host something is; on none, if `None`.
    Place(Vec<(Site, Option<IpAddr>)>),
}

/// A region's part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OfRegion {
    /// The other hosts, with the longest IP packets of their underlays.
    hosts: Vec<(IpAddr, u32)>,
    /// Where its gateways are, if that is another host.
    gateways: Option<IpAddr>,
}

/// What was said.
#[derive(Debug, Clone)]
pub struct Map {
    /// Which host this is; `None` for the one that serves the regions.
    this: Option<HostId>,
    /// This host's own, as its underlay has it.
    mtu: u32,
    said_mtu: u32,
    regions: BTreeMap<RegionName, OfRegion>,
    hosts: BTreeSet<IpAddr>,
    gateways: Option<IpAddr>,
    networks: HashMap<VpcId, Vni>,
    /// The same the other way round: two regions may have drawn the same number.
    vpcs: HashMap<Vni, VpcId>,
    interfaces: HashMap<EniId, IpAddr>,
}

/// Where what is on a host is reached from this one; `None` if that is here, or nowhere.
fn address(region: &Region, this: Option<HostId>, host: Option<HostId>) -> Option<IpAddr> {
    if host == this {
        return None;
    }
    match host {
        Some(id) => region.get::<Host>(id).map(|host| host.underlay),
        None => host::serving(region).map(|host| host.underlay),
    }
}

/// Where an interface is reached from this host; `None` if that is here, or if it is nowhere: nothing has it.
fn place(region: &Region, this: Option<HostId>, id: EniId) -> Option<IpAddr> {
    let eni = region.get::<NetworkInterface>(id)?;
    let is_free = eni.attachment.is_none() && eni.interface_type == InterfaceType::Interface;
    match is_free {
        true => None,
        false => address(region, this, host::of_interface(region, id)),
    }
}

impl Map {
    /// Of this host, whose underlay takes IP packets of `mtu` bytes.
    pub fn new(this: Option<HostId>, mtu: u32) -> Map {
        Map {
            this,
            mtu,
            said_mtu: mtu,
            regions: BTreeMap::new(),
            hosts: BTreeSet::new(),
            gateways: None,
            networks: HashMap::new(),
            vpcs: HashMap::new(),
            interfaces: HashMap::new(),
        }
    }

    /// What is to be said before a region's rows become these by this delta, all that was told before having been said.
    /// The first delta of a region leads from nothing.
    pub fn step(&mut self, region: &Region, delta: &Delta) -> Vec<Step> {
        let mut steps = Vec::new();
        let keys = || delta.changes.iter().map(Change::key);
        let mut gone = Vec::new();
        let hosts_change = keys().any(|key| matches!(key, Key::Host(_)));
        if hosts_change {
            gone = self.hosts(region, &mut steps);
        }
        self.networks(region, delta, &mut steps);
        let mut sites = Vec::new();
        if hosts_change {
            // Each of the region's interfaces may be elsewhere now.
            region
                .all::<NetworkInterface>()
                .for_each(|eni| self.interface(region, eni.id, &mut sites));
        }
        for change in &delta.changes {
            match change {
                Change::Put(Row::NetworkInterface(eni)) => self.interface(region, eni.id, &mut sites),
                Change::Delete(Key::NetworkInterface(id)) => self.interface(region, *id, &mut sites),
                Change::Put(Row::Instance(instance)) => {
                    for eni in region.enis_of(instance.id) {
                        self.interface(region, eni.id, &mut sites);
                    }
                }
                _ => {}
            }
        }
        let gateways = self.regions.values().find_map(|of_region| of_region.gateways);
        if gateways != self.gateways {
            self.gateways = gateways;
            sites.push((Site::Gateways, gateways));
        }
        if !sites.is_empty() {
            steps.push(Step::Place(sites));
        }
        // Nothing is there any more.
        steps.extend(gone.into_iter().map(|host| Step::Host(host, false)));
        steps
    }

    /// Takes in the hosts of a region; gives those that are none any more.
    fn hosts(&mut self, region: &Region, steps: &mut Vec<Step>) -> Vec<IpAddr> {
        let others = region.all::<Host>().filter(|host| match self.this {
            Some(this) => host.id != this,
            None => !host.serves_region,
        });
        let of_region = OfRegion {
            hosts: others.map(|host| (host.underlay, host.mtu)).collect(),
            gateways: address(region, self.this, None),
        };
        self.regions.insert(region.name(), of_region);
        let all = || self.regions.values().flat_map(|of_region| &of_region.hosts);
        let mtu = all().map(|(_, mtu)| *mtu).fold(self.mtu, u32::min);
        let hosts: BTreeSet<IpAddr> = all().map(|(host, _)| *host).collect();
        if mtu != self.said_mtu {
            self.said_mtu = mtu;
            steps.push(Step::Mtu(mtu));
        }
        let gone = self.hosts.difference(&hosts).copied().collect();
        let new = hosts.difference(&self.hosts);
        steps.extend(new.map(|host| Step::Host(*host, true)));
        self.hosts = hosts;
        gone
    }

    fn networks(&mut self, region: &Region, delta: &Delta, steps: &mut Vec<Step>) {
        for change in &delta.changes {
            let Key::Vpc(id) = change.key() else {
                continue;
            };
            let network = region.get::<Vpc>(id).and_then(|vpc| vpc.network);
            let wanted = network.and_then(|network| Vni::new(network.number()));
            // Regions do not know of each other's: the VPC that has it keeps it, and the other one stays on its host.
            let taken = |vni: &Vni| self.vpcs.get(vni).is_some_and(|other| *other != id);
            if let Some(vni) = wanted.filter(taken) {
                tracing::warn!(vpc = %id, network = vni.number(), "two VPCs have one network: this one does not reach other hosts");
            }
            let wanted = wanted.filter(|vni| !taken(vni));
            let said = self.networks.get(&id).copied();
            if said == wanted {
                continue;
            }
            if let Some(said) = said {
                self.vpcs.remove(&said);
                self.networks.remove(&id);
            }
            if let Some(wanted) = wanted {
                self.vpcs.insert(wanted, id);
                self.networks.insert(id, wanted);
            }
            steps.push(Step::Network(id, wanted));
        }
    }

    fn interface(&mut self, region: &Region, id: EniId, sites: &mut Vec<(Site, Option<IpAddr>)>) {
        let wanted = place(region, self.this, id);
        let said = match wanted {
            Some(host) => self.interfaces.insert(id, host),
            None => self.interfaces.remove(&id),
        };
        if said != wanted {
            sites.push((Site::Interface(id), wanted));
        }
    }
}

/// Says it to the plane; clones are the same one.
#[derive(Clone)]
pub(crate) struct Elsewhere(Arc<Mutex<Said>>);

struct Said {
    map: Map,
    tunnel: Tunnel,
    /// Whether the plane has the tunnel.
    stands: bool,
}

impl Elsewhere {
    /// By this tunnel, from this host.
    pub(crate) fn new(this: Option<HostId>, tunnel: Tunnel) -> Elsewhere {
        Elsewhere(Arc::new(Mutex::new(Said {
            map: Map::new(this, tunnel.mtu),
            tunnel,
            stands: false,
        })))
    }

    /// Before a region's rows become these by this delta. Blocks.
    pub(crate) fn before(&self, plane: &Plane, region: &Region, delta: &Delta) -> Result<(), PlaneError> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for step in said.map.step(region, delta) {
            match step {
                Step::Mtu(mtu) => {
                    said.tunnel.mtu = mtu;
                    if said.stands {
                        plane.set_tunnel(Some(said.tunnel))?;
                    }
                }
                Step::Host(host, is_one) => plane.set_host(host, is_one)?,
                Step::Network(vpc, network) => plane.set_network(vpc, network)?,
                Step::Place(sites) => plane.place(&sites)?,
            }
        }
        Ok(())
    }

    /// When all regions' rows have been applied and before there are ports: what an earlier daemon's program knows is
    /// forwarded by that one until here, and what it does not know waits no longer. Blocks.
    pub(crate) fn begin(&self, plane: &Plane, handover: &Handover) -> Result<(), PlaneError> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        plane.set_tunnel(Some(said.tunnel))?;
        said.stands = true;
        handover.keep_tunnel(plane, said.tunnel.ifindex);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use atoll_model::nat_gateway::Connectivity;
    use atoll_model::vpc::Tenancy;
    use atoll_model::{AccountId, ImageId, InstanceId, InstanceState, NatGateway, SubnetId, Tags, Timestamp};
    use atoll_region::host::{ForgetHost, JoinHost};
    use atoll_region::instance::launch::RunInstances;
    use atoll_region::instance::{InstanceObserved, TerminateInstances};
    use atoll_region::nat_gateway::CreateNatGateway;
    use atoll_region::subnet::NewSubnet;
    use atoll_region::vpc::CreateVpc;
    use atoll_region::{Command, Config, Context, Noun, Transaction};

    use super::*;
    use crate::writer::difference;

    /// What a plane knows that was told all that is to be said.
    #[derive(Debug, Default, PartialEq)]
    struct Told {
        mtu: u32,
        hosts: BTreeSet<IpAddr>,
        gateways: Option<IpAddr>,
        networks: BTreeMap<VpcId, u32>,
        interfaces: BTreeMap<EniId, IpAddr>,
    }

    impl Told {
        fn hear(&mut self, steps: &[Step]) {
            for step in steps {
                match step {
                    Step::Mtu(mtu) => self.mtu = *mtu,
                    Step::Host(host, true) => assert!(self.hosts.insert(*host), "{host} again"),
                    Step::Host(host, false) => {
                        let left = self.interfaces.values().any(|on| on == host);
                        assert!(!left && self.gateways != Some(*host), "something is on {host}");
                        assert!(self.hosts.remove(host));
                    }
                    Step::Network(vpc, Some(vni)) => {
                        let twice = self.networks.values().any(|other| *other == vni.number());
                        assert!(!twice, "{vni:?}");
                        self.networks.insert(*vpc, vni.number());
                    }
                    Step::Network(vpc, None) => drop(self.networks.remove(vpc)),
                    Step::Place(sites) => sites.iter().for_each(|(site, host)| match (site, host) {
                        (_, Some(host)) if !self.hosts.contains(host) => panic!("{host} is no host"),
                        (Site::Gateways, host) => self.gateways = *host,
                        (Site::Interface(id), Some(host)) => drop(self.interfaces.insert(*id, *host)),
                        (Site::Interface(id), None) => drop(self.interfaces.remove(id)),
                    }),
                }
            }
        }
    }

    /// A host that follows the region.
    struct Follower {
        map: Map,
        told: Told,
    }

    const MTU: u32 = 9000;

    impl Follower {
        fn new(this: Option<HostId>, region: &Region) -> Follower {
            let own = this.and_then(|id| region.get::<Host>(id));
            let mtu = own.map_or(MTU, |host| host.mtu);
            let told = Told {
                mtu,
                ..Told::default()
            };
            let mut follower = Follower {
                map: Map::new(this, mtu),
                told,
            };
            follower.follow(region, &difference(&Region::new(region.config().clone()), region));
            follower
        }

        fn follow(&mut self, region: &Region, delta: &Delta) -> Vec<Step> {
            let steps = self.map.step(region, delta);
            self.told.hear(&steps);
            steps
        }

        fn place(&self, eni: EniId) -> Option<String> {
            self.told.interfaces.get(&eni).map(ToString::to_string)
        }
    }

    /// A region, and a host of it for each that is named.
    struct Lab {
        region: Region,
        seed: u64,
        followers: Vec<(Option<HostId>, Follower)>,
    }

    impl Lab {
        fn new() -> Lab {
            let region = Region::new(Config::default_for(RegionName::DEFAULT, 0));
            let mut lab = Lab {
                region,
                seed: 1,
                followers: Vec::new(),
            };
            lab.watch(None);
            lab
        }

        fn watch(&mut self, this: Option<HostId>) {
            self.followers.push((this, Follower::new(this, &self.region)));
        }

        /// Applies a command; each host is told, and knows then what one that starts now would.
        fn run<C: Command>(&mut self, command: C) -> C::Reply {
            self.seed = self.seed.wrapping_add(0x5851_f42d_4c95_7f2d);
            let context = Context {
                account: AccountId::DEFAULT,
                now: Timestamp(1_700_000_000_000),
                seed: self.seed,
            };
            let applied = self.region.apply(&context, command).unwrap();
            self.region = applied.region;
            for (this, follower) in &mut self.followers {
                follower.follow(&self.region, &applied.delta);
                assert_eq!(follower.told, Follower::new(*this, &self.region).told);
            }
            applied.reply
        }

        fn alter<N: Noun + Clone>(&mut self, id: N::Id, change: impl FnOnce(&mut N)) {
            self.run(move |tx: &mut Transaction| {
                let mut row = N::clone(tx.region().get::<N>(id).unwrap());
                change(&mut row);
                tx.put(row);
                Ok(())
            });
        }

        fn join(&mut self, name: &str, last: u8, mtu: u32, zones: &[usize]) -> HostId {
            let all = RegionName::DEFAULT.zones();
            self.run(JoinHost {
                name: name.parse().unwrap(),
                underlay: Ipv4Addr::new(192, 0, 2, last).into(),
                mtu,
                zones: zones.iter().map(|nth| all[*nth]).collect(),
                serves_region: zones.is_empty(),
            })
            .host
        }

        fn vpc(&mut self) -> VpcId {
            self.run(CreateVpc {
                cidr: "10.0.0.0/16".parse().unwrap(),
                amazon_provided_ipv6: false,
                tenancy: Tenancy::Default,
                tags: Tags::new(),
            })
        }

        fn subnet(&mut self, vpc: VpcId, zone: usize) -> SubnetId {
            self.run(NewSubnet {
                vpc,
                zone: Some(RegionName::DEFAULT.zones()[zone]),
                cidr: Some(format!("10.0.{zone}.0/24").parse().unwrap()),
                ipv6_cidr: None,
                ipv6_native: false,
                tags: Tags::new(),
            })
        }

        fn instance(&mut self, subnet: SubnetId) -> (InstanceId, EniId) {
            let mut launch = RunInstances::new(ImageId::new(1));
            launch.subnet = Some(subnet);
            let id = self.run(launch).instances[0].id;
            (id, self.region.enis_of(id)[0].id)
        }

        fn places(&self, eni: EniId) -> Vec<Option<String>> {
            let followers = self.followers.iter();
            followers.map(|(_, follower)| follower.place(eni)).collect()
        }
    }

    fn at(places: &[&str]) -> Vec<Option<String>> {
        let some = |place: &&str| Some(format!("192.0.2.{place}")).filter(|_| *place != "-");
        places.iter().map(some).collect()
    }

    #[test]
    fn a_region_on_one_host_has_nothing_to_say() {
        let mut lab = Lab::new();
        let vpc = lab.vpc();
        let subnet = lab.subnet(vpc, 0);
        lab.instance(subnet);
        let told = &lab.followers[0].1.told;
        assert_eq!((told.hosts.len(), told.interfaces.len(), told.mtu), (0, 0, MTU));
    }

    #[test]
    fn each_host_is_told_what_is_on_the_others() {
        let mut lab = Lab::new();
        let vpc = lab.vpc();
        let (at_a, at_b, at_c) = (lab.subnet(vpc, 0), lab.subnet(vpc, 1), lab.subnet(vpc, 2));
        let (_, own) = lab.instance(at_a);
        lab.join("a", 1, 9000, &[]);
        let b = lab.join("b", 2, 1500, &[1]);
        let c = lab.join("c", 3, 9000, &[2]);
        lab.watch(Some(b));
        lab.watch(Some(c));
        let (_, on_b) = lab.instance(at_b);
        let (last, on_c) = lab.instance(at_c);
        let nat = lab.run(CreateNatGateway {
            subnet: at_b,
            connectivity: Connectivity::Private,
            allocation: None,
            private_ip: None,
            secondary_allocations: Vec::new(),
            secondary_private_ips: Vec::new(),
            secondary_private_ip_count: None,
            client_token: None,
            tags: Tags::new(),
        });
        let of_nat = lab.region.get::<NatGateway>(nat).unwrap().eni.unwrap();
        // As a, b and c have it.
        assert_eq!(lab.places(own), at(&["-", "1", "1"]));
        assert_eq!(lab.places(on_b), at(&["2", "-", "2"]));
        assert_eq!(lab.places(on_c), at(&["3", "3", "-"]));
        assert_eq!(
            lab.places(of_nat),
            at(&["-", "1", "1"]),
            "gateways are on a, whatever their zone"
        );
        let gateways: Vec<_> = lab
            .followers
            .iter()
            .map(|(_, follower)| follower.told.gateways)
            .collect();
        assert_eq!(gateways.iter().flatten().count(), 2);
        for (_, follower) in &lab.followers {
            assert_eq!((follower.told.mtu, follower.told.hosts.len()), (1500, 2));
            assert!(follower.told.networks.contains_key(&vpc));
        }

        // One interface goes to another instance, elsewhere; and is free then.
        lab.alter::<NetworkInterface>(on_b, move |eni| {
            eni.attachment.as_mut().unwrap().instance = last;
        });
        assert_eq!(lab.places(on_b), at(&["3", "3", "-"]));
        lab.alter::<NetworkInterface>(on_b, |eni| eni.attachment = None);
        assert_eq!(
            lab.places(on_b),
            at(&["-", "-", "-"]),
            "nothing has it: it is nowhere"
        );

        // A host has another address, and goes for good.
        lab.join("c", 4, 9000, &[2]);
        assert_eq!(lab.places(on_c), at(&["4", "4", "-"]));
        lab.run(TerminateInstances { ids: vec![last] });
        lab.run(InstanceObserved {
            id: last,
            state: InstanceState::Terminated,
            user_data_run: None,
            failure: None,
        });
        assert_eq!(lab.places(on_c), at(&["-", "-", "-"]));
        lab.followers.pop();
        lab.run(ForgetHost {
            name: "c".parse().unwrap(),
        });
        assert_eq!(
            lab.followers[0].1.told.hosts,
            BTreeSet::from([Ipv4Addr::new(192, 0, 2, 2).into()])
        );
    }

    #[test]
    fn no_network_names_two_vpcs_also_if_two_regions_have_drawn_it() {
        let other = Config::default_for(RegionName::all().nth(1).unwrap(), 1);
        let (mut one, mut two) = (Lab::new(), Lab::new());
        two.seed = 2;
        two.region = Region::new(other);
        two.followers.clear();
        let (first, second) = (one.vpc(), two.vpc());
        let network = one.region.get::<Vpc>(first).unwrap().network;
        two.alter::<Vpc>(second, move |vpc| vpc.network = network);
        let mut host = Follower::new(None, &one.region);
        let rows = |region: &Region| difference(&Region::new(region.config().clone()), region);
        assert_eq!(host.follow(&two.region, &rows(&two.region)), []);
        assert!(host.told.networks.contains_key(&first) && !host.told.networks.contains_key(&second));
    }
}
