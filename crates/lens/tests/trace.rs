//! Traces over regions that were made by commands: what a person asks, and what they are told.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use atoll_fabric::packet::{protocol, tcp};
use atoll_fabric::{Fabric, Flows, L4, Limits, NoFlows, Packet, Port, Verdict, walk};
use atoll_lens::{Outside, PlaceError, Protocol, Query, Trace, find_instance, find_ports, trace};
use atoll_model::{
    AccountId, Change, Delta, Direction, ImageId, Instance, InstanceId, InstanceState, RegionName,
    SecurityGroup, SubnetId, Tags, Timestamp,
};
use atoll_region::elastic_ip::AllocateAddress;
use atoll_region::instance::InstanceObserved;
use atoll_region::instance::launch::RunInstances;
use atoll_region::nat_gateway::{CreateNatGateway, NatGatewayReady};
use atoll_region::route::{CreateRoute, NewTarget};
use atoll_region::route_table::{AssociateRouteTable, CreateRouteTable, NewAssociation};
use atoll_region::security_group::{GroupRef, RevokeSecurityGroup};
use atoll_region::state::Config;
use atoll_region::vpc::CreateDefaultVpc;
use atoll_region::{Command, Context, Region};

const NOW: Timestamp = Timestamp(1_000_000);

struct Lab {
    region: Region,
    seed: u64,
}

impl Lab {
    fn new(name: RegionName, index: usize) -> Lab {
        let mut lab = Lab {
            region: Region::new(Config::default_for(name, index)),
            seed: index as u64,
        };
        lab.run(CreateDefaultVpc);
        lab
    }

    fn run<C: Command>(&mut self, command: C) -> C::Reply {
        self.seed += 7;
        let context = Context {
            account: AccountId::DEFAULT,
            now: NOW,
            seed: self.seed,
        };
        let applied = self.region.apply(&context, command).unwrap();
        self.region = applied.region;
        applied.reply
    }

    fn instance(&mut self, name: &str) -> InstanceId {
        self.instance_in(name, None)
    }

    fn instance_in(&mut self, name: &str, subnet: Option<SubnetId>) -> InstanceId {
        let mut launch = RunInstances::new(ImageId::new(1));
        launch.subnet = subnet;
        launch.tags = Tags::from([("Name".to_owned(), name.to_owned())]);
        let id = self.run(launch).instances[0].id;
        self.run(InstanceObserved {
            id,
            state: InstanceState::Running,
            user_data_run: None,
            failure: None,
        });
        id
    }
}

fn fabric(regions: &[Arc<Region>]) -> Fabric {
    let mut fabric = Fabric::new();
    for region in regions {
        fabric.apply(&Delta {
            changes: region.rows().map(Change::Put).collect(),
        });
    }
    fabric
}

const OUTSIDE: Outside = Outside {
    v4: std::net::Ipv4Addr::new(198, 51, 100, 10),
    v6: std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10),
};

fn query(from: &str, to: &str, source_port: Option<u16>) -> Query {
    Query {
        from: from.into(),
        to: to.into(),
        protocol: Protocol::Tcp,
        port: 443,
        source_port,
    }
}

fn ask(regions: &[Arc<Region>], from: &str, to: &str) -> Result<Trace, PlaceError> {
    let query = query(from, to, Some(40000));
    trace(regions, &fabric(regions), &NoFlows, OUTSIDE, &query, NOW)
}

fn two() -> Vec<Arc<Region>> {
    let mut lab = Lab::new(RegionName::DEFAULT, 0);
    lab.instance("one");
    lab.instance("two");
    vec![Arc::new(lab.region)]
}

#[test]
fn members_of_the_default_group_reach_each_other_and_the_answer_comes_back() {
    // semantics 37
    let told = ask(&two(), "one", "two").unwrap();
    assert!(told.is_delivered(), "{told:#?}");
    assert_eq!(told.stage, "delivered");
    let answer = told.answer.unwrap();
    assert_eq!(answer.stage, "delivered");
    assert!(
        answer
            .hops
            .iter()
            .any(|hop| hop.decision.contains("tracked connection")),
        "semantics 43: {answer:#?}"
    );
    assert!(
        told.hops
            .iter()
            .any(|hop| hop.rule.as_deref().is_some_and(|rule| rule.contains("sgr-")))
    );
    assert!(told.hops.iter().any(|hop| hop.name.as_deref() == Some("two")));
}

#[test]
fn a_drop_names_its_stage_place_and_that_there_is_no_answer() {
    let told = ask(&two(), "internet", "one").unwrap();
    assert_eq!(
        (told.verdict.as_str(), told.stage.as_str()),
        ("dropped", "security-group-ingress")
    );
    assert!(told.at.starts_with("eni-"));
    assert!(told.answer.is_none());
    // It was asked for by its public address and told by its private one behind the gateway (semantics 66).
    assert!(
        told.hops.first().unwrap().destination.starts_with("203.0.113."),
        "{told:#?}"
    );
    assert!(
        told.hops.last().unwrap().destination.starts_with("172.31."),
        "{told:#?}"
    );
}

#[test]
fn a_way_out_ends_at_the_internet_and_the_answer_is_delivered() {
    let told = ask(&two(), "one", "internet").unwrap();
    assert_eq!(
        (told.stage.as_str(), told.at.as_str()),
        ("exits-to-internet", "internet")
    );
    assert_eq!(told.answer.unwrap().stage, "delivered");
}

#[test]
fn an_address_that_two_regions_have_is_ambiguous_as_a_source_and_the_senders_own_as_a_destination() {
    let regions: Vec<Arc<Region>> = [(RegionName::DEFAULT, 0), ("eu-west-1".parse().unwrap(), 1)]
        .into_iter()
        .map(|(name, index)| {
            let mut lab = Lab {
                region: Region::new(Config::default_for(name, index)),
                seed: 1,
            };
            lab.run(CreateDefaultVpc);
            // The same seed in both: the same private addresses.
            lab.instance("one");
            lab.instance("two");
            Arc::new(lab.region)
        })
        .collect();
    let address = |region: &Region, name: &str| {
        let instance = find_instance(&[Arc::new(region.clone())], name).unwrap();
        region.enis_of(instance.id)[0].primary_ip().unwrap().to_string()
    };
    let (first, second) = (address(&regions[0], "two"), address(&regions[1], "two"));
    assert_eq!(first, second, "the premise: equal addresses");
    assert!(matches!(
        ask(&regions, &first, "internet"),
        Err(PlaceError::Ambiguous { .. })
    ));
    assert!(matches!(
        find_instance(&regions, "one"),
        Err(PlaceError::Ambiguous { .. })
    ));
    let from = regions[1].enis_of(find_instance(&regions[1..], "one").unwrap().id)[0]
        .id
        .to_string();
    let told = ask(&regions, &from, &first).unwrap();
    let own = regions[1].enis_of(find_instance(&regions[1..], "two").unwrap().id)[0]
        .id
        .to_string();
    assert_eq!(told.at, own);
}

#[test]
fn a_name_means_all_ports_of_an_instance() {
    let regions = two();
    let instance = find_instance(&regions, "one").unwrap();
    let enis = regions.iter().flat_map(|region| region.enis_of(instance.id));
    let enis: Vec<Port> = enis.map(|eni| Port::Eni(eni.id)).collect();
    assert_eq!(enis.len(), 1);
    let [Port::Eni(eni)] = enis[..] else {
        panic!("{enis:?}")
    };
    for name in ["one", &instance.id.to_string(), &eni.to_string()] {
        assert_eq!(find_ports(&regions, name).unwrap(), enis, "{name}");
    }
    assert_eq!(find_ports(&regions, "internet").unwrap(), [Port::Internet]);
    for name in ["three", "203.0.113.200"] {
        assert_eq!(find_ports(&regions, name), Err(PlaceError::Unknown(name.into())));
    }
}

#[test]
fn names_lead_nowhere_in_words() {
    let regions = two();
    let error = ask(&regions, "three", "internet").unwrap_err();
    assert!(error.to_string().contains("\"three\""), "{error}");
    assert!(matches!(
        ask(&regions, "one", "2001:db8::1"),
        Err(PlaceError::Family { .. })
    ));
    assert!(ask(&regions, "i-00000000", "one").is_err());
    assert!(
        matches!(ask(&regions, &"x".repeat(5000), "one"), Err(PlaceError::Unknown(name)) if name.len() <= 128)
    );
}

#[test]
fn json_has_the_words_of_the_contract() {
    let told = serde_json::to_value(ask(&two(), "one", "two").unwrap()).unwrap();
    for key in ["verdict", "stage", "at", "rule", "hops", "return"] {
        assert!(told.get(key).is_some(), "{key}");
    }
    let back: Trace = serde_json::from_value(told.clone()).unwrap();
    assert_eq!(serde_json::to_value(back).unwrap(), told);
}

#[test]
fn a_terminated_instance_is_found_by_id_only_and_has_no_interface() {
    let mut lab = Lab::new(RegionName::DEFAULT, 0);
    let id = lab.instance("gone");
    lab.run(atoll_region::instance::TerminateInstances { ids: vec![id] });
    lab.run(InstanceObserved {
        id,
        state: InstanceState::Terminated,
        user_data_run: None,
        failure: None,
    });
    assert_eq!(
        lab.region.get::<Instance>(id).unwrap().state,
        InstanceState::Terminated
    );
    let regions = [Arc::new(lab.region)];
    assert!(matches!(
        ask(&regions, "gone", "internet"),
        Err(PlaceError::Unknown(_))
    ));
    assert!(matches!(
        ask(&regions, &id.to_string(), "internet"),
        Err(PlaceError::NoInterface(_))
    ));
}

/// A region, and the flows of a host that carries its packets.
struct Live {
    regions: Vec<Arc<Region>>,
    fabric: Fabric,
    flows: Flows,
}

impl Live {
    fn new(region: Region, limits: Limits) -> Live {
        let regions = vec![Arc::new(region)];
        Live {
            fabric: fabric(&regions),
            flows: Flows::new(limits, NOW),
            regions,
        }
    }

    /// A live SYN to port 443; the stage that it comes to.
    fn connect(&mut self, from: &str, to: &str, source_port: u16) -> &'static str {
        let region = &self.regions[0];
        let eni = |name: &str| {
            let instance = find_instance(&self.regions, name).unwrap();
            region.enis_of(instance.id)[0].clone()
        };
        let from = eni(from);
        let dst = match to {
            "internet" => OUTSIDE.v4.into(),
            name => eni(name).primary_ip().unwrap().into(),
        };
        let subnet = region.get::<atoll_model::Subnet>(from.subnet).unwrap();
        let packet = Packet {
            ingress: Port::Eni(from.id),
            src_mac: from.mac,
            dst_mac: self.fabric.neighbour(from.id, dst).unwrap_or(subnet.router_mac()),
            src: from.primary_ip().unwrap().into(),
            dst,
            protocol: protocol::TCP,
            l4: L4::Ports {
                src: source_port,
                dst: 443,
                tcp_flags: tcp::SYN,
            },
            hop_limit: 64,
            length: 60,
            dont_fragment: true,
            fragment: None,
            quote: None,
        };
        let outcome = walk(&self.fabric, &self.flows, &packet, NOW, &mut Vec::new());
        if let Verdict::Forward(_) = outcome.verdict {
            self.flows.commit(&outcome.effects, NOW, outcome.hold).unwrap();
        }
        outcome.stage().as_str()
    }

    fn trace(&self, from: &str, to: &str, source_port: Option<u16>) -> Trace {
        let query = query(from, to, source_port);
        let before = (self.flows.connections(), self.flows.mappings());
        let told = trace(&self.regions, &self.fabric, &self.flows, OUTSIDE, &query, NOW).unwrap();
        assert_eq!((self.flows.connections(), self.flows.mappings()), before);
        told
    }
}

const FOLLOWS: &str = "is known: this is a packet of it";

fn follows(told: &Trace) -> bool {
    told.notes.iter().any(|note| note.contains(FOLLOWS))
}

#[test]
fn a_full_table_drops_a_traced_connection_as_it_drops_a_live_one() {
    // semantics 48
    let mut lab = Lab::new(RegionName::DEFAULT, 0);
    lab.instance("one");
    lab.instance("two");
    let limits = Limits {
        ipv4: 2,
        ..Limits::SMALL
    };
    let mut live = Live::new(lab.region, limits);
    assert!(live.trace("one", "two", None).is_delivered());
    assert_eq!(live.connect("one", "two", 40000), "delivered");
    assert_eq!(live.connect("one", "two", 40001), "table-full");
    for source_port in [None, Some(40001)] {
        let told = live.trace("one", "two", source_port);
        assert_eq!(
            (told.verdict.as_str(), told.stage.as_str()),
            ("dropped", "table-full")
        );
        assert!(told.answer.is_none() && !follows(&told));
    }
    let standing = live.trace("one", "two", Some(40000));
    assert!(standing.is_delivered() && follows(&standing), "{standing:#?}");
}

#[test]
fn a_nat_gateway_without_ports_drops_a_traced_connection_as_it_drops_a_live_one() {
    // semantics 80
    let mut lab = Lab::new(RegionName::DEFAULT, 0);
    let subnets: Vec<_> = lab
        .region
        .all::<atoll_model::Subnet>()
        .map(|subnet| (subnet.id, subnet.vpc))
        .collect();
    let [(inside, vpc), (outside, _), ..] = subnets[..] else {
        panic!("the default VPC has a subnet in each zone")
    };
    let allocation = lab.run(AllocateAddress::default()).id;
    let nat = lab.run(CreateNatGateway {
        subnet: outside,
        connectivity: atoll_model::nat_gateway::Connectivity::Public,
        allocation: Some(allocation),
        secondary_allocations: vec![],
        private_ip: None,
        secondary_private_ips: vec![],
        secondary_private_ip_count: None,
        client_token: None,
        tags: Tags::new(),
    });
    lab.run(NatGatewayReady { gateway: nat });
    let table = lab.run(CreateRouteTable {
        vpc,
        client_token: None,
        tags: Tags::new(),
    });
    lab.run(AssociateRouteTable {
        table,
        target: NewAssociation::Subnet(inside),
    });
    lab.run(CreateRoute {
        table,
        destination: "0.0.0.0/0".parse().unwrap(),
        target: NewTarget::NatGateway(nat),
    });
    lab.instance_in("one", Some(inside));
    let limits = Limits {
        per_gateway: 3,
        ..Limits::SMALL
    };
    let mut live = Live::new(lab.region, limits);
    for source_port in [49152, 2, 3] {
        let told = live.trace("one", "internet", None);
        assert!(told.is_delivered() && !follows(&told), "{told:#?}");
        assert_eq!(live.connect("one", "internet", source_port), "exits-to-internet");
    }
    assert_eq!(live.connect("one", "internet", 4), "nat-port-exhausted");
    for source_port in [None, Some(4)] {
        let told = live.trace("one", "internet", source_port);
        assert_eq!(
            (told.verdict.as_str(), told.stage.as_str(), told.at.clone()),
            ("dropped", "nat-port-exhausted", nat.to_string())
        );
    }
    for source_port in [49152, 2, 3] {
        let standing = live.trace("one", "internet", Some(source_port));
        assert!(standing.is_delivered() && follows(&standing), "{standing:#?}");
    }
}

#[test]
fn a_trace_is_of_a_new_connection_although_one_stands_that_outlived_its_rule() {
    // semantics 43
    let mut lab = Lab::new(RegionName::DEFAULT, 0);
    lab.instance("one");
    lab.instance("two");
    let mut live = Live::new(lab.region.clone(), Limits::SMALL);
    // The first ports that a trace would choose, all taken.
    let own = |told: &Trace| -> u16 {
        let (_, port) = told.hops[0].source.rsplit_once(':').unwrap();
        port.parse().unwrap()
    };
    let mut taken = Vec::new();
    for _ in 0..3 {
        let port = own(&live.trace("one", "two", None));
        assert!(!taken.contains(&port) && (49152..61000).contains(&port));
        assert_eq!(live.connect("one", "two", port), "delivered");
        taken.push(port);
    }
    let group = lab.region.all::<SecurityGroup>().next().unwrap().clone();
    let ids = group.rules_of(Direction::Ingress).map(|(id, _)| id).collect();
    lab.run(RevokeSecurityGroup {
        group: GroupRef::Id(group.id),
        direction: Direction::Ingress,
        rules: vec![],
        ids,
    });
    live.regions = vec![Arc::new(lab.region)];
    live.fabric.apply(&Delta {
        changes: live.regions[0].rows().map(Change::Put).collect(),
    });
    let told = live.trace("one", "two", None);
    assert_eq!(told.stage, "security-group-empty");
    for port in taken {
        let standing = live.trace("one", "two", Some(port));
        assert!(standing.is_delivered() && follows(&standing), "{standing:#?}");
    }
}
