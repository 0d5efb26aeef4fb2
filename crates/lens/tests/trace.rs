//! Traces over regions that were made by commands: what a person asks, and what they are told.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use atoll_fabric::Fabric;
use atoll_lens::{Outside, PlaceError, Protocol, Query, Trace, find_instance, trace};
use atoll_model::{
    AccountId, Change, Delta, ImageId, Instance, InstanceId, InstanceState, RegionName, Tags, Timestamp,
};
use atoll_region::instance::InstanceObserved;
use atoll_region::instance::launch::RunInstances;
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
        let mut launch = RunInstances::new(ImageId::new(1));
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

fn ask(regions: &[Arc<Region>], from: &str, to: &str) -> Result<Trace, PlaceError> {
    let mut fabric = Fabric::new();
    for region in regions {
        fabric.apply(&Delta {
            changes: region.rows().map(Change::Put).collect(),
        });
    }
    let outside = Outside {
        v4: "198.51.100.10".parse().unwrap(),
        v6: "2001:db8::10".parse().unwrap(),
    };
    let query = Query {
        from: from.into(),
        to: to.into(),
        protocol: Protocol::Tcp,
        port: 443,
        source_port: 40000,
    };
    trace(regions, &fabric, outside, &query, NOW)
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
