//! A region to run commands on.

use atoll_model::vpc::Tenancy;
use atoll_model::{
    AccountId, AllocationId, EniId, ImageId, InstanceId, InstanceState, InternetGatewayId, RegionName,
    SubnetId, Tags, Timestamp, Vpc, VpcId,
};
use atoll_net::Prefix;
use atoll_region::elastic_ip::AllocateAddress;
use atoll_region::instance::InstanceObserved;
use atoll_region::instance::launch::RunInstances;
use atoll_region::internet_gateway::{AttachInternetGateway, CreateInternetGateway};
use atoll_region::invariant::invariants;
use atoll_region::network_interface::{CreateNetworkInterface, NewInterface};
use atoll_region::subnet::CreateSubnet;
use atoll_region::vpc::CreateVpc;
use atoll_region::{Command, Config, Context, Error, Noun, Region};

pub struct World {
    pub region: Region,
    pub now: Timestamp,
    pub account: AccountId,
    seed: u64,
}

impl World {
    pub fn new() -> World {
        World {
            region: Region::new(Config::default_for(RegionName::DEFAULT, 0)),
            now: Timestamp(1_000_000),
            account: AccountId::DEFAULT,
            seed: 0,
        }
    }

    /// Runs a command; whatever comes of it, the region stays sound.
    pub fn run<C: Command>(&mut self, command: C) -> Result<C::Reply, Error> {
        self.seed += 1;
        let context = Context {
            account: self.account,
            now: self.now,
            seed: self.seed,
        };
        let applied = self.region.apply(&context, command)?;
        self.region = applied.region;
        assert_eq!(invariants(&self.region), Vec::<String>::new());
        Ok(applied.reply)
    }

    pub fn row<N: Noun>(&self, id: N::Id) -> &N {
        self.region.get::<N>(id).unwrap()
    }

    pub fn vpc(&mut self, cidr: &str) -> VpcId {
        self.run(create_vpc(cidr)).unwrap()
    }

    pub fn vpc6(&mut self, cidr: &str) -> VpcId {
        let amazon_provided_ipv6 = true;
        self.run(CreateVpc {
            amazon_provided_ipv6,
            ..create_vpc(cidr)
        })
        .unwrap()
    }

    pub fn subnet(&mut self, vpc: VpcId, cidr: &str) -> SubnetId {
        self.run(create_subnet(vpc, cidr)).unwrap()
    }

    /// A subnet with the `index`-th /64 of its VPC beside.
    pub fn subnet6(&mut self, vpc: VpcId, cidr: &str, index: u128) -> SubnetId {
        let block = self.row::<Vpc>(vpc).ipv6_cidrs[0].block.subnet(64, index);
        self.run(CreateSubnet {
            ipv6_cidr: block,
            ..create_subnet(vpc, cidr)
        })
        .unwrap()
    }

    pub fn gateway(&mut self, vpc: VpcId) -> InternetGatewayId {
        let gateway = self.run(CreateInternetGateway::default()).unwrap();
        self.run(AttachInternetGateway { gateway, vpc }).unwrap();
        gateway
    }

    /// An interface with the address `ip`, attached to nothing.
    pub fn eni(&mut self, subnet: SubnetId, ip: &str) -> EniId {
        let new = NewInterface {
            primary: Some(ip.parse().unwrap()),
            ..NewInterface::new(subnet)
        };
        let client_token = None;
        self.run(CreateNetworkInterface { new, client_token }).unwrap().id
    }

    /// An instance that runs.
    pub fn instance(&mut self, subnet: SubnetId) -> InstanceId {
        let launch = RunInstances {
            subnet: Some(subnet),
            instance_type: Some("m5.large".into()),
            ..RunInstances::new(ImageId::new(1))
        };
        let id = self.run(launch).unwrap().instances[0].id;
        self.observe(id, InstanceState::Running);
        id
    }

    pub fn observe(&mut self, id: InstanceId, state: InstanceState) {
        let observed = InstanceObserved {
            id,
            state,
            user_data_run: None,
            failure: None,
        };
        self.run(observed).unwrap();
    }

    pub fn elastic_ip(&mut self) -> AllocationId {
        self.run(AllocateAddress::default()).unwrap().id
    }
}

pub fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub fn create_vpc(cidr: &str) -> CreateVpc {
    CreateVpc {
        cidr: prefix(cidr),
        amazon_provided_ipv6: false,
        tenancy: Tenancy::Default,
        tags: Tags::new(),
    }
}

pub fn create_subnet(vpc: VpcId, cidr: &str) -> CreateSubnet {
    CreateSubnet {
        vpc,
        zone: None,
        cidr: Some(prefix(cidr)),
        ipv6_cidr: None,
        ipv6_native: false,
        tags: Tags::new(),
    }
}

/// The code of what was refused.
pub fn code<T: std::fmt::Debug>(outcome: Result<T, Error>) -> &'static str {
    outcome.unwrap_err().code
}
