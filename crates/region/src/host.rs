//! Hosts: which there are, which runs a new instance, and what names a VPC between them.
//!
//! These are no actions of EC2: the daemon gives them, for the person who runs the hosts.

use std::collections::BTreeSet;
use std::net::IpAddr;

use atoll_model::id::ResourceId;
use atoll_model::{
    EniId, Host, HostId, HostName, Instance, InstanceId, InstanceState, Key, Network, NetworkInterface, Tags,
    Vpc, VpcId, ZoneName,
};

use crate::error::Error;
use crate::state::Region;
use crate::transaction::{Command, Transaction};

/// Most hosts of a region.
pub const HOSTS_PER_REGION: usize = 64;
/// The shortest packets that an underlay may take, in bytes: IPv6's least (RFC 8200, 5) within VXLAN over IPv6.
pub const LEAST_MTU: u32 = 1350;
/// VPCs that one command gives a network: what a delta holds, with room for the host's own row.
const NUMBERED_AT_ONCE: usize = 100;

/// The host of that name.
pub fn by_name<'a>(region: &'a Region, name: &HostName) -> Option<&'a Host> {
    region
        .all::<Host>()
        .map(|host| &**host)
        .find(|host| host.name == *name)
}

/// The host that serves the region, once there are others.
pub fn serving(region: &Region) -> Option<&Host> {
    region
        .all::<Host>()
        .map(|host| &**host)
        .find(|host| host.serves_region)
}

/// Instances on a host that are not terminated.
pub fn instances_on(region: &Region, host: HostId) -> impl Iterator<Item = InstanceId> + '_ {
    region.dependants(Key::Host(host)).filter_map(|key| match key {
        Key::Instance(id) => Some(id),
        _ => None,
    })
}

/// The host that an interface is on: its instance's. `None` is the one that serves the region, where those of gateways and those
/// that are free are, too.
pub fn of_interface(region: &Region, eni: EniId) -> Option<HostId> {
    let attachment = region.get::<NetworkInterface>(eni)?.attachment.as_ref()?;
    region.get::<Instance>(attachment.instance)?.host
}

/// The host for a new instance in a zone: of those that have the zone, the one with the fewest instances; `None`, the one
/// that serves the region, when none has it.
pub(crate) fn for_zone(region: &Region, zone: ZoneName) -> Option<HostId> {
    let having = region.all::<Host>().filter(|host| host.zones.contains(&zone));
    having
        .map(|host| host.id)
        .min_by_key(|id| (instances_on(region, *id).count(), *id))
}

/// A network that names no VPC yet, always the same one for the same VPC among the same others.
pub(crate) fn free_network(region: &Region, vpc: VpcId) -> Option<Network> {
    let taken: BTreeSet<Network> = region.all::<Vpc>().filter_map(|vpc| vpc.network).collect();
    free_beside(&taken, vpc)
}

fn free_beside(taken: &BTreeSet<Network>, vpc: VpcId) -> Option<Network> {
    let first = (vpc.digits().bits() % u64::from(Network::COUNT)) as u32;
    // One more than there are taken is enough to find a free one.
    (0..=taken.len() as u32)
        .filter_map(|step| Network::new((first + step) % Network::COUNT + 1))
        .find(|network| !taken.contains(network))
}

/// A host joins, or joins again: whoever has its name is it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinHost {
    /// Its name.
    pub name: HostName,
    /// Its address for the others.
    pub underlay: IpAddr,
    /// The longest IP packet that its underlay takes, in bytes.
    pub mtu: u32,
    /// The zones whose new instances run on it.
    pub zones: Vec<ZoneName>,
    /// Whether it is the one that serves the region.
    pub serves_region: bool,
}

/// What became of [`JoinHost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The host's id.
    pub host: HostId,
    /// How many VPCs have no network yet: the command is to be given again while there are.
    pub unnumbered: usize,
}

impl Command for JoinHost {
    type Reply = Joined;

    fn apply(self, tx: &mut Transaction) -> Result<Joined, Error> {
        let zones = self.allowed(tx.region())?;
        let before = by_name(tx.region(), &self.name).cloned();
        let host = match before {
            Some(before) => Host {
                underlay: self.underlay,
                mtu: self.mtu,
                zones,
                ..before
            },
            None => Host {
                id: tx.fresh_id::<Host>(),
                owner: tx.account(),
                name: self.name,
                underlay: self.underlay,
                mtu: self.mtu,
                zones,
                serves_region: self.serves_region,
                joined: tx.now(),
                tags: Tags::new(),
            },
        };
        let id = host.id;
        tx.put(host);
        let unnumbered = number_vpcs(tx);
        Ok(Joined { host: id, unnumbered })
    }
}

impl JoinHost {
    /// Its zones in order, if it may join.
    fn allowed(&self, region: &Region) -> Result<Vec<ZoneName>, Error> {
        let named = by_name(region, &self.name);
        if named.is_none() && region.all::<Host>().count() >= HOSTS_PER_REGION {
            return Err(Error::new(
                "HostLimitExceeded",
                format!("A region has at most {HOSTS_PER_REGION} hosts."),
            ));
        }
        if named.is_some_and(|host| host.serves_region != self.serves_region) {
            return Err(Error::invalid_value(match self.serves_region {
                false => format!(
                    "The host '{}' serves the region: give this one another name.",
                    self.name
                ),
                true => format!(
                    "A host '{}' has joined: give the one that serves another name.",
                    self.name
                ),
            }));
        }
        if self.serves_region
            && let Some(other) = serving(region).filter(|host| host.name != self.name)
        {
            return Err(Error::invalid_value(format!(
                "The region is served at the host '{}'; a host keeps its name.",
                other.name
            )));
        }
        let same = |host: &&std::sync::Arc<Host>| host.underlay == self.underlay && host.name != self.name;
        if let Some(other) = region.all::<Host>().find(same) {
            return Err(Error::invalid_value(format!(
                "The address {} is the host '{}'.",
                self.underlay, other.name
            )));
        }
        if self.underlay.is_unspecified() || self.underlay.is_loopback() || self.underlay.is_multicast() {
            return Err(Error::invalid_value(format!(
                "{} is no address that other hosts can reach.",
                self.underlay
            )));
        }
        if self.mtu < LEAST_MTU {
            return Err(Error::invalid_value(format!(
                "Packets between hosts may have {} bytes at {}; at least {LEAST_MTU} are needed.",
                self.mtu, self.underlay
            )));
        }
        let zones: BTreeSet<ZoneName> = self.zones.iter().copied().collect();
        if let Some(zone) = zones.iter().find(|zone| zone.region() != region.name()) {
            return Err(Error::invalid_value(format!(
                "The zone {zone} is not one of {}.",
                region.name()
            )));
        }
        if self.serves_region && !zones.is_empty() {
            return Err(Error::invalid_combination(
                "The host that serves the region has all zones that no other host has.",
            ));
        }
        Ok(zones.into_iter().collect())
    }
}

/// Gives VPCs that have none a network, as many as go at once; says how many are left.
fn number_vpcs(tx: &mut Transaction) -> usize {
    let mut taken: BTreeSet<Network> = tx.region().all::<Vpc>().filter_map(|vpc| vpc.network).collect();
    let without: Vec<VpcId> = tx
        .region()
        .all::<Vpc>()
        .filter(|vpc| vpc.network.is_none())
        .map(|vpc| vpc.id)
        .collect();
    for id in without.iter().take(NUMBERED_AT_ONCE) {
        let network = free_beside(&taken, *id);
        taken.extend(network);
        tx.alter::<Vpc>(*id, |vpc| vpc.network = network);
    }
    without.len().saturating_sub(NUMBERED_AT_ONCE)
}

/// A host is no more. What runs on it is to be terminated before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgetHost {
    /// Its name.
    pub name: HostName,
}

impl Command for ForgetHost {
    type Reply = HostId;

    fn apply(self, tx: &mut Transaction) -> Result<HostId, Error> {
        let Some(host) = by_name(tx.region(), &self.name) else {
            return Err(Error::new(
                "InvalidHostID.NotFound",
                format!("There is no host '{}'.", self.name),
            ));
        };
        let (id, serves) = (host.id, host.serves_region);
        if serves {
            return Err(Error::invalid_value(format!(
                "The host '{}' serves the region.",
                self.name
            )));
        }
        let live = instances_on(tx.region(), id).count();
        if live > 0 {
            return Err(Error::dependency(format!(
                "The host '{}' has {live} instance{} that {} not terminated.",
                self.name,
                if live == 1 { "" } else { "s" },
                if live == 1 { "is" } else { "are" },
            )));
        }
        tx.delete(Key::Host(id));
        Ok(id)
    }
}

/// Whether a host may say something of an instance: it runs there. `None` is the host that serves the region.
pub fn runs_on(instance: &Instance, host: Option<HostId>) -> bool {
    instance.host == host && instance.state != InstanceState::Terminated
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use atoll_model::RegionName;

    use super::*;
    use crate::fixture::Lab;
    use crate::instance::{InstanceObserved, TerminateInstances};

    fn host(name: &str, last: u8, zones: &[usize]) -> JoinHost {
        let all = RegionName::DEFAULT.zones();
        JoinHost {
            name: name.parse().unwrap(),
            underlay: Ipv4Addr::new(192, 0, 2, last).into(),
            mtu: 1500,
            zones: zones.iter().map(|nth| all[*nth]).collect(),
            serves_region: false,
        }
    }

    fn serving_host() -> JoinHost {
        JoinHost {
            serves_region: true,
            ..host("main", 1, &[])
        }
    }

    fn over(lab: &mut Lab, id: InstanceId) {
        lab.run(TerminateInstances { ids: vec![id] });
        lab.run(InstanceObserved {
            id,
            state: InstanceState::Terminated,
            user_data_run: None,
            failure: None,
        });
    }

    #[test]
    fn instances_go_to_the_emptiest_host_of_their_zone_and_stay_there() {
        let mut lab = Lab::new();
        let vpc = lab.vpc(false);
        let subnet = lab.subnet(vpc, "10.0.1.0/24", "b");
        let zone = 1;
        let before = lab.instance(subnet, |_| {});
        lab.run(serving_host());
        let elsewhere = lab.run(host("far", 9, &[zone + 1])).host;
        let a = lab.run(host("a", 2, &[zone])).host;
        let b = lab.run(host("b", 3, &[zone])).host;
        let on = |lab: &Lab, id: InstanceId| lab.region.get::<Instance>(id).unwrap().host;
        assert_eq!(on(&lab, before), None);
        let (one, two) = (lab.instance(subnet, |_| {}), lab.instance(subnet, |_| {}));
        let hosts: BTreeSet<_> = [on(&lab, one), on(&lab, two)].into();
        assert_eq!(hosts, BTreeSet::from([Some(a), Some(b)]));
        assert_eq!(instances_on(&lab.region, elsewhere).count(), 0);
        let eni = lab.region.enis_of(one)[0].id;
        assert_eq!(of_interface(&lab.region, eni), on(&lab, one));

        // It joins again with another address and without the zone: what runs there stays.
        assert_eq!(lab.run(host("a", 4, &[])).host, a);
        assert_eq!(
            lab.region.get::<Host>(a).unwrap().underlay,
            Ipv4Addr::new(192, 0, 2, 4)
        );
        assert_eq!(on(&lab, one).or(on(&lab, two)), on(&lab, one));
        let third = lab.instance(subnet, |_| {});
        assert_eq!(on(&lab, third), Some(b));
    }

    #[test]
    fn a_host_is_forgotten_once_nothing_runs_on_it() {
        let mut lab = Lab::new();
        let vpc = lab.vpc(false);
        let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
        let zones: Vec<usize> = (0..RegionName::DEFAULT.zones().len()).collect();
        lab.run(host("b", 2, &zones));
        let id = lab.instance(subnet, |_| {});
        let name: HostName = "b".parse().unwrap();
        assert_eq!(
            lab.refused(ForgetHost { name: name.clone() }),
            "DependencyViolation"
        );
        over(&mut lab, id);
        lab.run(ForgetHost { name: name.clone() });
        assert_eq!(lab.refused(ForgetHost { name }), "InvalidHostID.NotFound");
        assert_eq!(lab.region.all::<Host>().count(), 0);
    }

    #[test]
    fn what_cannot_be_a_host_is_refused() {
        let mut lab = Lab::new();
        lab.run(serving_host());
        lab.run(host("b", 2, &[1]));
        for (join, why) in [
            (host("c", 2, &[]), "the address of b"),
            (host("main", 5, &[]), "the name of the one that serves"),
            (
                JoinHost {
                    serves_region: true,
                    ..host("d", 6, &[])
                },
                "a second one that serves",
            ),
            (
                JoinHost {
                    serves_region: true,
                    ..host("main", 1, &[0])
                },
                "the one that serves with zones",
            ),
            (
                JoinHost {
                    mtu: LEAST_MTU - 1,
                    ..host("e", 7, &[])
                },
                "a narrow underlay",
            ),
            (
                JoinHost {
                    underlay: Ipv4Addr::LOCALHOST.into(),
                    ..host("f", 8, &[])
                },
                "loopback",
            ),
            (
                JoinHost {
                    zones: RegionName::all().nth(1).unwrap().zones(),
                    ..host("g", 9, &[])
                },
                "zones of another region",
            ),
        ] {
            assert!(lab.refused(join).starts_with("InvalidParameter"), "{why}");
        }
        for n in 3..=HOSTS_PER_REGION {
            lab.run(host(&format!("n{n}"), n as u8 + 20, &[]));
        }
        assert_eq!(lab.refused(host("more", 250, &[])), "HostLimitExceeded");
    }

    #[test]
    fn every_vpc_has_a_network_of_its_own() {
        let mut lab = Lab::new();
        for _ in 0..3 {
            lab.vpc(false);
        }
        // As an earlier version left them, and two ids that lead to the same number.
        lab.run(|tx: &mut Transaction| {
            let ids: Vec<VpcId> = tx.region().all::<Vpc>().map(|vpc| vpc.id).collect();
            ids.iter()
                .for_each(|id| tx.alter::<Vpc>(*id, |vpc| vpc.network = None));
            Ok(())
        });
        assert_eq!(lab.run(host("b", 2, &[])).unnumbered, 0);
        let numbers =
            |lab: &Lab| -> Vec<Network> { lab.region.all::<Vpc>().filter_map(|vpc| vpc.network).collect() };
        let given = numbers(&lab);
        assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 3);
        lab.run(host("b", 2, &[]));
        assert_eq!(numbers(&lab), given);
        let taken = BTreeSet::from([Network::new(6).unwrap(), Network::new(7).unwrap()]);
        assert_eq!(free_beside(&taken, VpcId::new(5)), Network::new(8));
        let last = u64::from(Network::COUNT) - 1;
        let taken = BTreeSet::from([Network::new(Network::COUNT).unwrap()]);
        assert_eq!(free_beside(&taken, VpcId::new(last)), Network::new(1));
    }
}
