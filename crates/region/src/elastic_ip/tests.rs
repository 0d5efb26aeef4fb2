use super::*;
use crate::fixture::Lab;
use crate::instance::{StartInstances, StopInstances};
use crate::state::Config;
use atoll_model::{RegionName, SubnetId};
use proptest::prelude::*;

fn associate_with(address: AllocationId, target: AssociateTarget) -> AssociateAddress {
    AssociateAddress {
        address: AddressRef::Allocation(address),
        target,
        private: None,
        allow_reassociation: true,
    }
}

fn public_subnet(lab: &mut Lab) -> SubnetId {
    let vpc = lab.vpc(false);
    lab.gateway(vpc);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    lab.run(move |tx: &mut Transaction| {
        tx.update::<atoll_model::Subnet>(subnet, |subnet| subnet.map_public_ip_on_launch = true)
    });
    subnet
}

fn public_of(lab: &Lab, instance: InstanceId) -> Option<PublicAddress> {
    lab.primary(instance).private_addresses[0].public
}

/// semantics 73
#[test]
fn an_elastic_ip_takes_the_place_of_the_automatic_address_which_comes_back_at_the_next_start() {
    let mut lab = Lab::new();
    let subnet = public_subnet(&mut lab);
    let instance = lab.instance(subnet, |_| {});
    let automatic = public_of(&lab, instance).unwrap();
    assert_eq!(automatic.elastic, None);
    let eip = lab.run(AllocateAddress::default());
    let association = lab.run(associate_with(eip.id, AssociateTarget::Instance(instance)));
    assert_eq!(public_of(&lab, instance).unwrap().ip, eip.public);
    assert!(!is_taken(&lab.region, automatic.ip));
    assert_eq!(
        lab.refused(ReleaseAddress {
            address: AddressRef::Allocation(eip.id)
        }),
        "InvalidIPAddress.InUse"
    );
    lab.run(DisassociateAddress {
        association: AssociationRef::Association(association),
    });
    assert_eq!(public_of(&lab, instance), None);
    lab.run(StopInstances { ids: vec![instance] });
    lab.observe(instance, InstanceState::Stopped);
    assert_eq!(public_of(&lab, instance), None);
    lab.run(StartInstances { ids: vec![instance] });
    assert!(public_of(&lab, instance).is_some());
    lab.run(ReleaseAddress {
        address: AddressRef::Public(eip.public),
    });
    assert_eq!(
        lab.refused(ReleaseAddress {
            address: AddressRef::Public(eip.public)
        }),
        "InvalidAddress.NotFound"
    );
}

#[test]
fn an_elastic_ip_stays_over_a_stop_and_moves_when_it_may() {
    let mut lab = Lab::new();
    let subnet = public_subnet(&mut lab);
    let (one, two) = (lab.instance(subnet, |_| {}), lab.instance(subnet, |_| {}));
    let eip = lab.run(AllocateAddress::default()).id;
    let first = lab.run(associate_with(eip, AssociateTarget::Instance(one)));
    // The same again is the same.
    assert_eq!(
        lab.run(associate_with(eip, AssociateTarget::Instance(one))),
        first
    );
    lab.run(StopInstances { ids: vec![one] });
    lab.observe(one, InstanceState::Stopped);
    assert!(public_of(&lab, one).is_some());
    let careful = AssociateAddress {
        allow_reassociation: false,
        ..associate_with(eip, AssociateTarget::Instance(two))
    };
    assert_eq!(lab.refused(careful), "Resource.AlreadyAssociated");
    let second = lab.run(associate_with(eip, AssociateTarget::Instance(two)));
    assert_ne!(first, second);
    assert_eq!(public_of(&lab, one), None);
    assert_eq!(
        lab.refused(DisassociateAddress {
            association: AssociationRef::Association(first)
        }),
        "InvalidAssociationID.NotFound"
    );
    // Another address in its place sets it free.
    let other = lab.run(AllocateAddress::default()).id;
    lab.run(associate_with(other, AssociateTarget::Instance(two)));
    assert_eq!(lab.get::<ElasticIp>(eip).association, None);
}

#[test]
fn what_cannot_be_associated_is_refused() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let instance = lab.instance(subnet, |_| {});
    let eip = lab.run(AllocateAddress::default()).id;
    let to = associate_with(eip, AssociateTarget::Instance(instance));
    assert_eq!(lab.refused(to.clone()), "Gateway.NotAttached");
    lab.gateway(vpc);
    let elsewhere = AssociateAddress {
        private: Some("10.0.1.99".parse().unwrap()),
        ..to.clone()
    };
    assert_eq!(lab.refused(elsewhere), "InvalidParameterValue");
    let unknown = associate_with(AllocationId::new(1), AssociateTarget::Instance(instance));
    assert_eq!(lab.refused(unknown), "InvalidAllocationID.NotFound");
    let nobody = associate_with(eip, AssociateTarget::NetworkInterface(EniId::new(1)));
    assert_eq!(lab.refused(nobody), "InvalidNetworkInterfaceID.NotFound");
    // Two interfaces: which one is meant?
    let eni = lab.run(crate::network_interface::CreateNetworkInterface {
        new: crate::network_interface::NewInterface::new(subnet),
        client_token: None,
    });
    lab.run(crate::network_interface::attachment::AttachNetworkInterface {
        eni: eni.id,
        instance,
        device_index: 1,
    });
    assert_eq!(lab.refused(to), "InvalidInstanceID");
    let pending = {
        let mut launch = crate::instance::launch::RunInstances::new(atoll_model::ImageId::new(1));
        launch.subnet = Some(subnet);
        lab.run(launch).instances[0].id
    };
    assert_eq!(
        lab.refused(associate_with(eip, AssociateTarget::Instance(pending))),
        "InvalidInstanceID"
    );
}

#[test]
fn a_certain_address_of_the_pool_can_be_had_while_it_is_free() {
    let mut lab = Lab::new();
    let ask = |text: &str| AllocateAddress {
        address: Some(text.parse().unwrap()),
        tags: Tags::new(),
    };
    assert_eq!(
        lab.run(ask("203.0.113.77")).public,
        "203.0.113.77".parse::<Ipv4Addr>().unwrap()
    );
    assert_eq!(lab.refused(ask("203.0.113.77")), "InvalidIPAddress.InUse");
    for outside in ["203.0.113.0", "203.0.113.255", "198.51.100.1"] {
        assert_eq!(lab.refused(ask(outside)), "InvalidAddress.NotFound");
    }
}

#[test]
fn a_hundred_addresses_and_no_more() {
    let mut lab = Lab::new();
    for _ in 0..quota::ELASTIC_IPS_PER_REGION {
        lab.run(AllocateAddress::default());
    }
    assert_eq!(lab.refused(AllocateAddress::default()), "AddressLimitExceeded");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The pool allocator: every address but the first and the last, each once, whatever was given back between.
    #[test]
    fn the_pool_gives_every_address_once(seed: u64, length in 27u8..=28, released in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let pool = atoll_net::Prefix::containing("192.0.2.64".parse().unwrap(), length);
        let config = Config { public_pool: pool, ..Config::default_for(RegionName::DEFAULT, 0) };
        let mut lab = Lab::with(config, seed);
        let usable = pool.size() - 2;
        let mut held = std::collections::BTreeSet::new();
        let fill = |lab: &mut Lab, held: &mut std::collections::BTreeSet<(Ipv4Addr, AllocationId)>| {
            while (held.len() as u128) < usable {
                let eip = lab.run(AllocateAddress::default());
                let place = pool.index_of(eip.public.into()).unwrap();
                assert!(place > 0 && place + 1 < pool.size());
                assert!(held.iter().all(|(public, _)| *public != eip.public));
                held.insert((eip.public, eip.id));
            }
            assert_eq!(lab.refused(AllocateAddress::default()), "InsufficientAddressCapacity");
        };
        fill(&mut lab, &mut held);
        for index in released {
            let (public, id) = *index.get(&held.iter().copied().collect::<Vec<_>>());
            lab.run(ReleaseAddress { address: AddressRef::Allocation(id) });
            held.remove(&(public, id));
        }
        fill(&mut lab, &mut held);
    }
}
