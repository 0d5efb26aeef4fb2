//! Checks 7 and 8: rule order of a network ACL, while running; stateless ACLs against stateful groups.

use crate::Failure;
use crate::traffic::{ExpectedDrop, INTERNET, INTERNET_V4, REQUEST, Seen};
use crate::world::World;

/// An ACL made for a check, in the place of the one its subnet had; undone at the end.
struct Borrowed {
    acl: String,
    old: String,
    association: String,
}

impl Borrowed {
    fn put(world: &World, subnet: &str) -> Result<Borrowed, Failure> {
        let vpc = world.id("Vpc")?;
        let acl = world
            .api("CreateNetworkAcl", &[("VpcId", &vpc)])?
            .need("networkAclId")?;
        let standing = world.api(
            "DescribeNetworkAcls",
            &[
                ("Filter.1.Name", "association.subnet-id"),
                ("Filter.1.Value.1", subnet),
            ],
        )?;
        let old = standing.need("networkAclId")?;
        // The innermost item that names the subnet is its association; those around it are the ACL's.
        let items = standing.all("item");
        let association = items
            .iter()
            .find(|i| i.all("item").is_empty() && i.text("subnetId").as_deref() == Some(subnet))
            .and_then(|i| i.text("networkAclAssociationId"))
            .ok_or("the subnet has no ACL association")?;
        Ok(Borrowed {
            acl,
            old,
            association,
        })
    }

    fn swap(&mut self, world: &World) -> Result<(), Failure> {
        let answer = world.api(
            "ReplaceNetworkAclAssociation",
            &[("AssociationId", &self.association), ("NetworkAclId", &self.acl)],
        )?;
        self.association = answer.need("newAssociationId")?;
        Ok(())
    }

    fn undo(self, world: &World) -> Result<(), Failure> {
        world.api(
            "ReplaceNetworkAclAssociation",
            &[("AssociationId", &self.association), ("NetworkAclId", &self.old)],
        )?;
        world.api("DeleteNetworkAcl", &[("NetworkAclId", &self.acl)])?;
        Ok(())
    }

    /// Protocol -1 for everything, else TCP with the port.
    fn entry(
        &self,
        world: &World,
        number: &str,
        egress: bool,
        action: &str,
        port: Option<&str>,
    ) -> Result<(), Failure> {
        let mut parameters = vec![
            ("NetworkAclId", self.acl.as_str()),
            ("RuleNumber", number),
            ("Egress", if egress { "true" } else { "false" }),
            ("RuleAction", action),
            ("CidrBlock", "0.0.0.0/0"),
            ("Protocol", if port.is_some() { "6" } else { "-1" }),
        ];
        if let Some(port) = port {
            parameters.extend([("PortRange.From", port), ("PortRange.To", port)]);
        }
        world.api("CreateNetworkAclEntry", &parameters)?;
        Ok(())
    }
}

/// Runs the checks.
pub fn run(world: &mut World) -> Result<(), Failure> {
    let public = world.public("web-a")?;
    let private = world.addresses("web-a")?.private;
    let subnet = world.id("PublicSubnetA")?;

    // 7: 100 denies HTTP, 110 allows it: the lower number wins (semantics 22).
    let mut acl = Borrowed::put(world, &subnet)?;
    acl.entry(world, "100", false, "deny", Some("80"))?;
    acl.entry(world, "110", false, "allow", Some("80"))?;
    acl.entry(world, "100", true, "allow", None)?;
    acl.swap(world)?;
    let to_web = ExpectedDrop {
        check: 7,
        tried: "internet → web-a port 80; ACL rule 100 denies, 110 allows",
        from: INTERNET,
        to: &public,
        port: 80,
        stage: "nacl-ingress",
        on_return: false,
        answering: None,
    };
    world.expect_drop(&to_web)?;

    world.api(
        "DeleteNetworkAclEntry",
        &[
            ("NetworkAclId", &acl.acl),
            ("RuleNumber", "100"),
            ("Egress", "false"),
        ],
    )?;
    let seen = world.page(INTERNET, &public)?;
    world.expect_answer(
        7,
        "the same, rule 100 deleted while running",
        &seen,
        &["web-a answers", INTERNET_V4][1..],
    );

    // An open connection with half a request: put the rule back, and the rest of it gets no answer (semantics 28).
    let mut open = world.connect(INTERNET, &public, 80)?;
    acl.entry(world, "100", false, "deny", Some("80"))?;
    let said = open.say(REQUEST)?;
    let seen = if said == "silence" {
        Seen::Silence
    } else {
        Seen::Other(said)
    };
    let cut = ExpectedDrop {
        tried: "an open connection, rule 100 put back",
        ..to_web
    };
    world.judge_drop(&cut, &seen)?;
    drop(open);
    acl.undo(world)?;

    // 8: without an outbound rule the reply dies at the ACL (semantics 24).
    let mut acl = Borrowed::put(world, &subnet)?;
    acl.entry(world, "100", false, "allow", None)?;
    acl.swap(world)?;
    world.expect_drop(&ExpectedDrop {
        check: 8,
        tried: "internet → web-a port 80; the ACL has no outbound rule",
        stage: "nacl-egress",
        on_return: true,
        answering: Some(&private),
        ..to_web
    })?;
    acl.undo(world)?;

    // A security group without any outbound rule still lets replies out (semantics 43).
    let group = world.id("WebSecurityGroup")?;
    let rules = world.api(
        "DescribeSecurityGroupRules",
        &[("Filter.1.Name", "group-id"), ("Filter.1.Value.1", &group)],
    )?;
    let egress: Vec<(String, Option<String>, Option<String>)> = rules
        .all("item")
        .into_iter()
        .filter(|r| r.text("isEgress").as_deref() == Some("true"))
        .map(|r| {
            Ok((
                r.need("securityGroupRuleId")?,
                r.text("cidrIpv4"),
                r.text("cidrIpv6"),
            ))
        })
        .collect::<Result<_, Failure>>()?;
    for (rule, _, _) in &egress {
        world.api(
            "RevokeSecurityGroupEgress",
            &[("GroupId", &group), ("SecurityGroupRuleId.1", rule)],
        )?;
    }
    let seen = world.page(INTERNET, &public)?;
    world.expect_answer(
        8,
        "internet → web-a port 80; its group has no outbound rule",
        &seen,
        &[INTERNET_V4],
    );
    world.expect_drop(&ExpectedDrop {
        check: 8,
        tried: "web-a → internet port 7000; its group has no outbound rule",
        from: "web-a",
        to: INTERNET_V4,
        port: 7000,
        stage: "security-group-empty",
        on_return: false,
        answering: None,
    })?;
    for (_, v4, v6) in egress {
        let (name, block) = match (v4, v6) {
            (Some(block), _) => ("IpPermissions.1.IpRanges.1.CidrIp", block),
            (None, Some(block)) => ("IpPermissions.1.Ipv6Ranges.1.CidrIpv6", block),
            (None, None) => continue,
        };
        world.api(
            "AuthorizeSecurityGroupEgress",
            &[
                ("GroupId", &group),
                ("IpPermissions.1.IpProtocol", "-1"),
                (name, &block),
            ],
        )?;
    }
    Ok(())
}
