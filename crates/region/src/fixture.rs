//! A region for tests: every command that runs in it leaves it sound, or the test fails.

use std::sync::Arc;

use atoll_model::instance::UserDataRun;
use atoll_model::{
    AccountId, ImageId, Instance, InstanceId, InstanceState, InternetGatewayId, NetworkInterface, RegionName,
    SubnetId, Tags, Timestamp, VpcId, ZoneName,
};

use crate::error::Error;
use crate::instance::InstanceObserved;
use crate::instance::launch::RunInstances;
use crate::internet_gateway::{AttachInternetGateway, CreateInternetGateway};
use crate::invariant::invariants;
use crate::state::{Config, Noun, Region};
use crate::subnet::NewSubnet;
use crate::transaction::{Command, Context};
use crate::vpc::CreateVpc;

pub(crate) struct Lab {
    pub region: Region,
    pub now: Timestamp,
    seed: u64,
}

impl Lab {
    pub fn new() -> Lab {
        Lab::seeded(1)
    }

    pub fn seeded(seed: u64) -> Lab {
        Lab::with(Config::default_for(RegionName::DEFAULT, 0), seed)
    }

    pub fn with(config: Config, seed: u64) -> Lab {
        Lab {
            region: Region::new(config),
            now: Timestamp(1_700_000_000_000),
            seed,
        }
    }

    pub fn try_run<C: Command>(&mut self, command: C) -> Result<C::Reply, Error> {
        self.seed = self.seed.wrapping_add(0x5851_f42d_4c95_7f2d);
        let context = Context {
            account: AccountId::DEFAULT,
            now: self.now,
            seed: self.seed,
        };
        let applied = self.region.apply(&context, command)?;
        self.region = applied.region;
        let broken = invariants(&self.region);
        assert!(broken.is_empty(), "{broken:?}");
        Ok(applied.reply)
    }

    #[track_caller]
    pub fn run<C: Command>(&mut self, command: C) -> C::Reply {
        match self.try_run(command) {
            Ok(reply) => reply,
            Err(error) => panic!("{error}"),
        }
    }

    /// The code of the refusal.
    #[track_caller]
    pub fn refused<C: Command>(&mut self, command: C) -> &'static str {
        let before = self.region.revision();
        match self.try_run(command) {
            Ok(_) => panic!("it was not refused"),
            Err(error) => {
                assert_eq!(self.region.revision(), before);
                assert!(!error.message.is_empty());
                error.code
            }
        }
    }

    #[track_caller]
    pub fn get<N: Noun>(&self, id: N::Id) -> Arc<N> {
        self.region.find::<N>(AccountId::DEFAULT, id).cloned().unwrap()
    }

    /// A VPC 10.0.0.0/16.
    pub fn vpc(&mut self, ipv6: bool) -> VpcId {
        self.run(CreateVpc {
            cidr: "10.0.0.0/16".parse().unwrap(),
            amazon_provided_ipv6: ipv6,
            tenancy: atoll_model::vpc::Tenancy::Default,
            tags: Tags::new(),
        })
    }

    /// A subnet, in zone `a` if not said otherwise; with the VPC's first /64 when it has an IPv6 block and the
    /// third octet as its number.
    pub fn subnet(&mut self, vpc: VpcId, cidr: &str, zone: &str) -> SubnetId {
        let cidr: atoll_net::Prefix = cidr.parse().unwrap();
        let block = self
            .get::<atoll_model::Vpc>(vpc)
            .blocks()
            .find(|b| b.family() == atoll_net::Family::V6);
        let number = match cidr.network() {
            std::net::IpAddr::V4(v4) => v4.octets()[2],
            std::net::IpAddr::V6(_) => 0,
        };
        self.run(NewSubnet {
            vpc,
            zone: Some(format!("us-east-1{zone}").parse::<ZoneName>().unwrap()),
            cidr: Some(cidr),
            ipv6_cidr: block.and_then(|b| b.subnet(64, number.into())),
            ipv6_native: false,
            tags: Tags::new(),
        })
    }

    pub fn gateway(&mut self, vpc: VpcId) -> InternetGatewayId {
        let gateway = self.run(CreateInternetGateway { tags: Tags::new() });
        self.run(AttachInternetGateway { gateway, vpc });
        gateway
    }

    /// A running instance.
    pub fn instance(&mut self, subnet: SubnetId, change: impl FnOnce(&mut RunInstances)) -> InstanceId {
        let mut launch = RunInstances::new(ImageId::new(1));
        launch.subnet = Some(subnet);
        change(&mut launch);
        let id = self.run(launch).instances[0].id;
        self.observe(id, InstanceState::Running);
        id
    }

    pub fn observe(&mut self, id: InstanceId, state: InstanceState) {
        self.run(InstanceObserved {
            id,
            state,
            user_data_run: Some(UserDataRun::None),
            failure: None,
        });
    }

    pub fn primary(&self, id: InstanceId) -> Arc<NetworkInterface> {
        Arc::clone(self.region.enis_of(id)[0])
    }

    pub fn state(&self, id: InstanceId) -> InstanceState {
        self.get::<Instance>(id).state
    }
}
