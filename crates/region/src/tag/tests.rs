use super::*;
use crate::fixture::Lab;
use atoll_model::tag::MAX_TAGS;
use atoll_model::{AccountId, ImageId, Subnet, Vpc};

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

#[test]
fn every_kind_of_id_is_known_and_others_are_not() {
    for (id, kind) in [
        ("vpc-12345678", "vpc"),
        ("subnet-12345678", "subnet"),
        ("rtb-12345678", "route-table"),
        ("igw-12345678", "internet-gateway"),
        ("eigw-12345678", "egress-only-internet-gateway"),
        ("nat-12345678", "natgateway"),
        ("eipalloc-12345678", "elastic-ip"),
        ("acl-12345678", "network-acl"),
        ("sg-12345678", "security-group"),
        ("sgr-12345678", "security-group-rule"),
        ("eni-12345678", "network-interface"),
        ("i-12345678", "instance"),
    ] {
        let on = Taggable::parse(id).unwrap();
        assert_eq!((on.kind(), on.text().as_str()), (kind, id));
    }
    for wrong in ["", "vpc-", "ami-12345678", "eni-attach-12345678", "vpc-1234567g"] {
        assert_eq!(Taggable::parse(wrong).unwrap_err().code, "InvalidID", "{wrong}");
    }
}

#[test]
fn tags_are_set_replaced_and_taken_off() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let subnet = lab.subnet(vpc, "10.0.1.0/24", "a");
    let group = lab.get::<Vpc>(vpc).default_security_group;
    let rule = *lab.get::<SecurityGroup>(group).rules.keys().next().unwrap();
    let all = vec![
        Taggable::Row(Key::Vpc(vpc)),
        Taggable::Row(Key::Subnet(subnet)),
        Taggable::Rule(rule),
    ];
    let set = |pairs: &[(&str, &str)]| CreateTags {
        resources: all.clone(),
        tags: tags(pairs),
    };
    lab.run(set(&[("a", "1"), ("b", "2"), ("aws:own", "3")]));
    lab.run(set(&[("b", "3")]));
    assert_eq!(
        lab.get::<Subnet>(subnet).tags,
        tags(&[("a", "1"), ("aws:own", "3"), ("b", "3")])
    );
    assert_eq!(lab.get::<SecurityGroup>(group).rules[&rule].tags.len(), 3);
    assert_eq!(every(&lab.region, AccountId::DEFAULT).len(), 9);
    let take = |pairs: &[(&str, Option<&str>)]| DeleteTags {
        resources: all.clone(),
        tags: pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned)))
            .collect(),
    };
    lab.run(take(&[("a", Some("other")), ("b", Some("3")), ("c", None)]));
    assert_eq!(lab.get::<Vpc>(vpc).tags, tags(&[("a", "1"), ("aws:own", "3")]));
    assert_eq!(lab.refused(take(&[("aws:own", None)])), "InvalidParameterValue");
    // No tag named: every tag but AWS's own.
    lab.run(take(&[]));
    assert_eq!(lab.get::<Vpc>(vpc).tags, tags(&[("aws:own", "3")]));
}

#[test]
fn one_unknown_resource_or_one_tag_too_many_and_none_is_tagged() {
    let mut lab = Lab::new();
    let vpc = lab.vpc(false);
    let set = |resources: &[Taggable], n: usize| CreateTags {
        resources: resources.to_vec(),
        tags: (0..n).map(|i| (format!("k{i}"), String::new())).collect(),
    };
    let this = Taggable::Row(Key::Vpc(vpc));
    let unknown = Taggable::Row(Key::Instance(InstanceId::new(1)));
    assert_eq!(
        lab.refused(set(&[this, unknown], 1)),
        "InvalidInstanceID.NotFound"
    );
    let no_rule = Taggable::Rule(SecurityGroupRuleId::new(1));
    assert_eq!(
        lab.refused(set(&[this, no_rule], 1)),
        "InvalidSecurityGroupRuleId.NotFound"
    );
    assert_eq!(lab.refused(set(&[this], MAX_TAGS + 1)), "TagLimitExceeded");
    assert_eq!(lab.refused(set(&[this], 0)), "MissingParameter");
    assert_eq!(lab.refused(set(&[], 1)), "MissingParameter");
    assert_eq!(
        lab.refused(set(&[this; MAX_RESOURCES + 1], 1)),
        "TooManyResources"
    );
    lab.run(set(&[this], MAX_TAGS));
    let one_more = CreateTags {
        resources: vec![this],
        tags: tags(&[("one", "more")]),
    };
    assert_eq!(lab.refused(one_more), "TagLimitExceeded");
    assert_eq!(lab.get::<Vpc>(vpc).tags.len(), MAX_TAGS);
    // An image's id is an id, but of nothing that is kept here.
    assert_eq!(
        Taggable::parse(&ImageId::new(1).to_string()).unwrap_err().code,
        "InvalidID"
    );
}
