//! A region to run commands on.

use atoll_model::network_interface::{InterfaceType, PrivateAddress, PublicAddress};
use atoll_model::vpc::Tenancy;
use atoll_model::{
    AccountId, AllocationId, ElasticIp, EniId, InternetGatewayId, NetworkInterface, RegionName, Subnet,
    SubnetId, Tags, Timestamp, Vpc, VpcId,
};
use atoll_net::{Mac, Prefix};
use atoll_region::internet_gateway::{AttachInternetGateway, CreateInternetGateway};
use atoll_region::invariant::invariants;
use atoll_region::subnet::CreateSubnet;
use atoll_region::vpc::CreateVpc;
use atoll_region::{Command, Config, Context, Error, Noun, Region, Transaction};

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

    /// An interface with the address `ip`, attached to nothing, put as a row: what this file tests does not make
    /// interfaces.
    pub fn eni(&mut self, subnet: SubnetId, ip: &str, public: Option<&str>) -> EniId {
        let ip = ip.parse().unwrap();
        let public = public.map(|p| PublicAddress {
            ip: p.parse().unwrap(),
            elastic: None,
        });
        self.run(move |tx: &mut Transaction| {
            let subnet = tx.find::<Subnet>(subnet)?;
            let group = tx.find::<Vpc>(subnet.vpc)?.default_security_group;
            let id = tx.fresh_id::<NetworkInterface>();
            let mac = Mac::local(tx.draw() & !(1 << 32));
            tx.put(NetworkInterface {
                id,
                owner: tx.account(),
                vpc: subnet.vpc,
                subnet: subnet.id,
                zone: subnet.zone,
                mac,
                interface_type: InterfaceType::Interface,
                description: String::new(),
                private_addresses: vec![PrivateAddress { ip, public }],
                ipv6_addresses: Vec::new(),
                groups: vec![group],
                source_dest_check: true,
                attachment: None,
                requester_managed: false,
                connection_tracking: Default::default(),
                client_token: None,
                tags: Tags::new(),
            });
            Ok(id)
        })
        .unwrap()
    }

    /// An Elastic IP, put as a row.
    pub fn elastic_ip(&mut self, public: &str) -> AllocationId {
        let public = public.parse().unwrap();
        self.run(move |tx: &mut Transaction| {
            let id = tx.fresh_id::<ElasticIp>();
            tx.put(ElasticIp {
                id,
                owner: tx.account(),
                public,
                association: None,
                tags: Tags::new(),
            });
            Ok(id)
        })
        .unwrap()
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
