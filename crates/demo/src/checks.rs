//! The checks, one story a file, in the order of their numbers.

pub mod acl;
pub mod crash;
pub mod interface;
pub mod ipv6;
pub mod isolation;
pub mod leftovers;
pub mod nat;
pub mod nat_instance;
pub mod routes;
pub mod tiers;
pub mod web;

use crate::Failure;
use crate::api::Element;
use crate::world::World;

/// The name of the demo's stack.
pub const STACK: &str = "two-tier";

/// One story: its title and what it does.
pub struct Check {
    /// What it shows.
    pub title: &'static str,
    /// Tries it; observations go into the world.
    pub run: fn(&mut World) -> Result<(), Failure>,
}

/// Every check on the running stack.
pub const CHECKS: &[Check] = &[
    Check {
        title: "The internet and the two tiers",
        run: web::run,
    },
    Check {
        title: "Between the tiers",
        run: tiers::run,
    },
    Check {
        title: "NAT gateways",
        run: nat::run,
    },
    Check {
        title: "Network ACLs and security groups",
        run: acl::run,
    },
    Check {
        title: "Routes",
        run: routes::run,
    },
    Check {
        title: "A network interface that moves",
        run: interface::run,
    },
    Check {
        title: "A NAT instance",
        run: nat_instance::run,
    },
    Check {
        title: "Another VPC with the same addresses",
        run: isolation::run,
    },
    Check {
        title: "IPv6",
        run: ipv6::run,
    },
    Check {
        title: "A crash",
        run: crash::run,
    },
];

/// Where an instance is to be reached.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Its instance id.
    pub id: String,
    /// Its private IPv4 address.
    pub private: String,
    /// Its public IPv4 address.
    pub public: Option<String>,
    /// Its IPv6 address.
    pub ipv6: Option<String>,
}

impl World {
    /// The description of the instance with that `Name` tag.
    pub fn describe(&self, name: &str) -> Result<Element, Failure> {
        self.api(
            "DescribeInstances",
            &[
                ("Filter.1.Name", "tag:Name"),
                ("Filter.1.Value.1", name),
                ("Filter.2.Name", "instance-state-name"),
                ("Filter.2.Value.1", "running"),
            ],
        )
    }

    /// The addresses of the instance with that `Name` tag.
    pub fn addresses(&self, name: &str) -> Result<Addresses, Failure> {
        let answer = self.describe(name)?;
        Ok(Addresses {
            id: answer.need("instanceId")?,
            private: answer.need("privateIpAddress")?,
            public: answer.text("ipAddress").filter(|a| !a.is_empty()),
            ipv6: answer.text("ipv6Address").filter(|a| !a.is_empty()),
        })
    }

    /// The public address of the instance with that `Name` tag.
    pub fn public(&self, name: &str) -> Result<String, Failure> {
        self.addresses(name)?
            .public
            .ok_or_else(|| format!("{name} has no public address").into())
    }

    /// The IPv6 address of the instance with that `Name` tag.
    pub fn ipv6(&self, name: &str) -> Result<String, Failure> {
        self.addresses(name)?
            .ipv6
            .ok_or_else(|| format!("{name} has no IPv6 address").into())
    }

    /// The value of a stack's output.
    pub fn output(&self, key: &str) -> Result<String, Failure> {
        let answer = self.api("DescribeStacks", &[("StackName", STACK)])?;
        answer
            .all("member")
            .into_iter()
            .find(|m| m.text("OutputKey").as_deref() == Some(key))
            .and_then(|m| m.text("OutputValue"))
            .ok_or_else(|| format!("the stack has no output {key}").into())
    }
}
