use atoll_model::{
    AclEntry, Direction, IcmpMatch, NetworkAcl, NetworkAclId, RuleAction, Traffic, Vpc, VpcId,
};
use atoll_region::network_acl::*;

use crate::world::*;

fn acl(world: &mut World, vpc: VpcId) -> NetworkAclId {
    world
        .run(CreateNetworkAcl {
            vpc,
            client_token: None,
            tags: Default::default(),
        })
        .unwrap()
}

fn entry(cidr: &str) -> AclEntry {
    AclEntry {
        action: RuleAction::Deny,
        cidr: prefix(cidr),
        traffic: Traffic::All,
    }
}

fn create(acl: NetworkAclId, number: u16, entry: AclEntry) -> CreateNetworkAclEntry {
    CreateNetworkAclEntry {
        acl,
        direction: Direction::Ingress,
        number,
        entry,
    }
}

#[test]
fn a_new_acl_has_no_rules_and_so_denies_all() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let acl = acl(&mut world, vpc);
    let row = world.row::<NetworkAcl>(acl);
    // semantics 26
    assert!(
        !row.is_default && row.ingress.is_empty() && row.egress.is_empty() && row.associations.is_empty()
    );
}

#[test]
fn rules_are_numbered_and_the_last_is_not_to_be_touched() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let acl = acl(&mut world, vpc);
    world.run(create(acl, 100, entry("0.0.0.0/0"))).unwrap();
    let error = world.run(create(acl, 100, entry("::/0"))).unwrap_err();
    assert_eq!(error.code, "NetworkAclEntryAlreadyExists");
    assert_eq!(
        error.message,
        "The network acl entry identified by 100 already exists."
    );
    // semantics 22
    for number in [0, 32767, 32768] {
        assert_eq!(
            code(world.run(create(acl, number, entry("0.0.0.0/0")))),
            "InvalidParameterValue"
        );
        let delete = DeleteNetworkAclEntry {
            acl,
            direction: Direction::Ingress,
            number,
        };
        assert_eq!(code(world.run(delete)), "InvalidParameterValue");
    }
    let replace = |direction, number| ReplaceNetworkAclEntry {
        acl,
        direction,
        number,
        entry: entry("10.0.0.0/8"),
    };
    assert_eq!(
        code(world.run(replace(Direction::Egress, 100))),
        "InvalidNetworkAclEntry.NotFound"
    );
    world.run(replace(Direction::Ingress, 100)).unwrap();
    assert_eq!(world.row::<NetworkAcl>(acl).ingress[&100], entry("10.0.0.0/8"));
    let delete = DeleteNetworkAclEntry {
        acl,
        direction: Direction::Ingress,
        number: 100,
    };
    world.run(delete.clone()).unwrap();
    assert_eq!(code(world.run(delete)), "InvalidNetworkAclEntry.NotFound");
}

#[test]
fn rules_are_counted_by_direction_and_family_with_the_final_deny() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let acl = acl(&mut world, vpc);
    // semantics 33: 40, the final deny among them
    for number in 1..=39 {
        world.run(create(acl, number, entry("0.0.0.0/0"))).unwrap();
    }
    assert_eq!(
        code(world.run(create(acl, 40, entry("0.0.0.0/0")))),
        "NetworkAclEntryLimitExceeded"
    );
    world.run(create(acl, 40, entry("::/0"))).unwrap();
    let replace = |number, entry| ReplaceNetworkAclEntry {
        acl,
        direction: Direction::Ingress,
        number,
        entry,
    };
    world.run(replace(39, entry("10.0.0.0/8"))).unwrap();
    assert_eq!(
        code(world.run(replace(40, entry("10.0.0.0/8")))),
        "NetworkAclEntryLimitExceeded"
    );
}

#[test]
fn icmp_rules_are_of_their_family() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let acl = acl(&mut world, vpc);
    let icmp = IcmpMatch::ANY;
    for (cidr, traffic) in [
        ("::/0", Traffic::Icmp { icmp }),
        ("0.0.0.0/0", Traffic::Icmpv6 { icmp }),
    ] {
        let entry = AclEntry {
            traffic,
            ..entry(cidr)
        };
        assert_eq!(code(world.run(create(acl, 1, entry))), "InvalidParameterValue");
    }
}

#[test]
fn a_subnet_goes_from_one_acl_to_another() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.0.0/24");
    let default = world.row::<Vpc>(vpc).default_network_acl;
    let mine = acl(&mut world, vpc);
    let association = *world
        .row::<NetworkAcl>(default)
        .associations
        .keys()
        .next()
        .unwrap();
    let replace = ReplaceNetworkAclAssociation {
        association,
        acl: mine,
    };
    let new = world.run(replace.clone()).unwrap();
    assert_eq!(of_subnet(&world.region, subnet).unwrap().id, mine);
    assert_eq!(code(world.run(replace)), "InvalidAssociationID.NotFound");
    assert_eq!(
        code(world.run(DeleteNetworkAcl { acl: mine })),
        "DependencyViolation"
    );
    let other = world.vpc("10.0.0.0/16");
    let foreign = acl(&mut world, other);
    let wrong = ReplaceNetworkAclAssociation {
        association: new,
        acl: foreign,
    };
    assert_eq!(code(world.run(wrong)), "InvalidParameterValue");
    let back = ReplaceNetworkAclAssociation {
        association: new,
        acl: default,
    };
    world.run(back).unwrap();
    world.run(DeleteNetworkAcl { acl: mine }).unwrap();
    let error = world.run(DeleteNetworkAcl { acl: default }).unwrap_err();
    assert_eq!(
        error.message,
        format!("cannot delete default network ACL {default}")
    );
}
