//! Security groups, interfaces, Elastic IPs and instances on the wire.
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod elastic_ip;
mod instance;
mod network_interface;
mod security_group;

use std::sync::Arc;

use atoll_model::instance::UserDataRun;
use atoll_model::{InstanceId, InstanceState};
use atoll_region::instance::InstanceObserved;
use support::{Memory, call, elements, run};

/// A region with a VPC, two subnets in two zones and an internet gateway.
struct Lab {
    memory: Arc<Memory>,
    vpc: String,
    a: String,
    b: String,
}

impl Lab {
    fn new() -> Lab {
        let memory = Memory::new();
        let one = |query: &str, name: &str| {
            let document = run(&memory, query).unwrap();
            elements(&document, name)[0].to_owned()
        };
        let vpc = one(
            "Action=CreateVpc&CidrBlock=10.0.0.0/16&AmazonProvidedIpv6CidrBlock=true",
            "vpcId",
        );
        let block = one(&format!("Action=DescribeVpcs&VpcId.1={vpc}"), "ipv6CidrBlock");
        let block = block.replace("::/56", "");
        let subnet = |number: u8, zone: char| {
            // The second /64 of a /56 differs in the last two digits of the fourth group.
            let ipv6 = if block.matches(':').count() == 3 {
                format!("{}{number:02x}::/64", block.strip_suffix("00").unwrap_or(&block))
            } else {
                format!("{block}:{number:x}::/64")
            };
            one(
                &format!(
                    "Action=CreateSubnet&VpcId={vpc}&CidrBlock=10.0.{number}.0/24&Ipv6CidrBlock={ipv6}\
                     &AvailabilityZone=us-east-1{zone}"
                ),
                "subnetId",
            )
        };
        let (a, b) = (subnet(1, 'a'), subnet(2, 'b'));
        let igw = one("Action=CreateInternetGateway", "internetGatewayId");
        one(
            &format!("Action=AttachInternetGateway&InternetGatewayId={igw}&VpcId={vpc}"),
            "return",
        );
        Lab { memory, vpc, a, b }
    }

    #[track_caller]
    fn ok(&self, query: &str) -> String {
        match run(&self.memory, query) {
            Ok(document) => document,
            Err(error) => panic!("{query}: {error}"),
        }
    }

    /// The text of the first element of that name in the answer.
    #[track_caller]
    fn one(&self, query: &str, name: &str) -> String {
        let document = self.ok(query);
        match elements(&document, name).first() {
            Some(text) => (*text).to_owned(),
            None => panic!("no <{name}> in {document}"),
        }
    }

    #[track_caller]
    fn all(&self, query: &str, name: &str) -> Vec<String> {
        elements(&self.ok(query), name)
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    /// The code of the refusal.
    #[track_caller]
    fn refused(&self, query: &str) -> String {
        match run(&self.memory, query) {
            Ok(document) => panic!("{query} was not refused: {document}"),
            Err(error) => error.code.into_owned(),
        }
    }

    fn observe(&self, id: &str, state: InstanceState) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let observed = InstanceObserved {
            id: id.parse::<InstanceId>().unwrap(),
            state,
            user_data_run: Some(UserDataRun::None),
            failure: None,
        };
        runtime.block_on(call(&self.memory).submit(observed)).unwrap();
    }

    fn instance(&self, more: &str) -> String {
        let query = format!("Action=RunInstances&ImageId=ami-12345678&MinCount=1&MaxCount=1&{more}");
        let id = self.one(&query, "instanceId");
        self.observe(&id, InstanceState::Running);
        id
    }

    fn group(&self, name: &str) -> String {
        let vpc = &self.vpc;
        self.one(
            &format!("Action=CreateSecurityGroup&GroupName={name}&GroupDescription=d&VpcId={vpc}"),
            "groupId",
        )
    }
}
