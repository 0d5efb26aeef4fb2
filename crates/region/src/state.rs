//! The state of a region: a table a noun, in persistent maps.

use std::sync::Arc;

use atoll_model as model;
use atoll_model::row::Revision;
use atoll_model::{AccountId, Change, Delta, Key, RegionName, Row, Tags};
use atoll_net::Prefix;
use imbl::{OrdMap, OrdSet};

use crate::error::Error;
use crate::index::{Index, index_of};

/// What a region is configured with; not part of its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its name.
    pub name: RegionName,
    /// Where public IPv4 addresses come from, Elastic ones and auto-assigned ones (/28 or shorter).
    pub public_pool: Prefix,
    /// Where IPv6 blocks of VPCs (/56) come from.
    pub ipv6_pool: Prefix,
    /// Whether instances have processes, which run user data and may signal. Without a data plane they have none.
    pub runs_instances: bool,
}

impl Config {
    /// The defaults of the `index`-th region of a process: documentation and benchmark ranges (RFC 5737, 3849,
    /// 2544), so that no address here is anybody's.
    pub fn default_for(name: RegionName, index: usize) -> Config {
        let v4 = |text: &str| text.parse::<Prefix>().unwrap_or(Prefix::ALL_V4);
        let benchmark = v4("198.18.0.0/15")
            .subnet(24, index as u128)
            .unwrap_or(Prefix::ALL_V4);
        let public_pool = match index {
            0 => v4("203.0.113.0/24"),
            1 => v4("192.0.2.0/24"),
            _ => benchmark,
        };
        // 2001:db8:0::/40 is the outside's; regions follow, a /40 each.
        let documentation = "2001:db8::/32".parse::<Prefix>().unwrap_or(Prefix::ALL_V6);
        let ipv6_pool = documentation
            .subnet(40, index as u128 + 1)
            .unwrap_or(documentation);
        Config {
            name,
            public_pool,
            ipv6_pool,
            runs_instances: true,
        }
    }
}

/// A noun that has a table.
pub trait Noun: Clone + Into<Row> + 'static {
    /// Its typed id.
    type Id: Copy + Ord + std::fmt::Display + std::fmt::Debug;
    /// What AWS answers to an id of this kind that is not there.
    const NOT_FOUND: &'static str;
    /// The noun in AWS's sentences: `vpc ID`, `subnet ID`.
    const TITLE: &'static str;
    /// The key of a row.
    fn key(id: Self::Id) -> Key;
    /// The row, if it is of this noun.
    fn from_row(row: Row) -> Option<Arc<Self>>;
    /// Its id.
    fn id(&self) -> Self::Id;
    /// Who owns it: nobody else sees it.
    fn owner(&self) -> AccountId;
    /// Its tags.
    fn tags(&self) -> &Tags;
    /// Its tags, to change.
    fn tags_mut(&mut self) -> &mut Tags;
    /// Its table.
    fn table(region: &Region) -> &OrdMap<Self::Id, Arc<Self>>;
    /// Its table, to change; only this room changes tables, so that indexes stay true.
    #[doc(hidden)]
    fn table_mut(region: &mut Region) -> &mut OrdMap<Self::Id, Arc<Self>>;
}

macro_rules! tables {
    ($($field:ident: $variant:ident($row:ty, $id:ty, $not_found:literal, $title:literal);)+) => {
        /// A region at a revision. Cloning shares everything.
        #[derive(Clone, Debug)]
        pub struct Region {
            config: Arc<Config>,
            revision: Revision,
            $($field: OrdMap<$id, Arc<$row>>,)+
            index: OrdSet<(Index, Key)>,
        }

        impl Region {
            /// A region without rows, at revision 0.
            pub fn new(config: Config) -> Region {
                Region {
                    config: Arc::new(config),
                    revision: Revision(0),
                    $($field: OrdMap::new(),)+
                    index: OrdSet::new(),
                }
            }

            /// The row of a key.
            pub fn row(&self, key: Key) -> Option<Row> {
                match key { $(Key::$variant(id) => self.$field.get(&id).cloned().map(Row::$variant)),+ }
            }

            /// Every row, table by table, in key order.
            pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
                std::iter::empty()$(.chain(self.$field.values().cloned().map(Row::$variant)))+
            }

            /// The owner of a row.
            pub fn owner_of(&self, key: Key) -> Option<AccountId> {
                match key { $(Key::$variant(id) => self.$field.get(&id).map(|row| row.owner)),+ }
            }

            fn insert(&mut self, row: Row) {
                match row { $(Row::$variant(row) => { self.$field.insert(row.id, row); })+ }
            }

            fn remove(&mut self, key: Key) {
                match key { $(Key::$variant(id) => { self.$field.remove(&id); })+ }
            }
        }

        $(impl Noun for $row {
            type Id = $id;
            const NOT_FOUND: &'static str = $not_found;
            const TITLE: &'static str = $title;
            fn key(id: $id) -> Key { Key::$variant(id) }
            fn from_row(row: Row) -> Option<Arc<Self>> { match row { Row::$variant(row) => Some(row), _ => None } }
            fn id(&self) -> $id { self.id }
            fn owner(&self) -> AccountId { self.owner }
            fn tags(&self) -> &Tags { &self.tags }
            fn tags_mut(&mut self) -> &mut Tags { &mut self.tags }
            fn table(region: &Region) -> &OrdMap<$id, Arc<Self>> { &region.$field }
            fn table_mut(region: &mut Region) -> &mut OrdMap<$id, Arc<Self>> { &mut region.$field }
        })+
    };
}

tables! {
    vpcs: Vpc(model::Vpc, model::VpcId, "InvalidVpcID.NotFound", "vpc ID");
    subnets: Subnet(model::Subnet, model::SubnetId, "InvalidSubnetID.NotFound", "subnet ID");
    route_tables: RouteTable(model::RouteTable, model::RouteTableId, "InvalidRouteTableID.NotFound", "routeTable ID");
    internet_gateways: InternetGateway(
        model::InternetGateway, model::InternetGatewayId, "InvalidInternetGatewayID.NotFound", "internetGateway ID");
    egress_only_gateways: EgressOnlyGateway(
        model::EgressOnlyInternetGateway, model::EgressOnlyGatewayId, "InvalidGatewayID.NotFound", "egressOnlyInternetGateway ID");
    nat_gateways: NatGateway(model::NatGateway, model::NatGatewayId, "NatGatewayNotFound", "NatGateway");
    elastic_ips: ElasticIp(model::ElasticIp, model::AllocationId, "InvalidAllocationID.NotFound", "allocation ID");
    network_acls: NetworkAcl(model::NetworkAcl, model::NetworkAclId, "InvalidNetworkAclID.NotFound", "networkAcl ID");
    security_groups: SecurityGroup(model::SecurityGroup, model::SecurityGroupId, "InvalidGroup.NotFound", "security group");
    network_interfaces: NetworkInterface(
        model::NetworkInterface, model::EniId, "InvalidNetworkInterfaceID.NotFound", "networkInterface ID");
    instances: Instance(model::Instance, model::InstanceId, "InvalidInstanceID.NotFound", "instance ID");
    hosts: Host(model::Host, model::HostId, "InvalidHostID.NotFound", "host ID");
    stacks: Stack(model::Stack, model::StackId, "ValidationError", "stack");
    stack_templates: StackTemplate(model::StackTemplate, model::StackId, "ValidationError", "template of the stack");
    stack_events: StackEvent(model::StackEvent, model::StackEventId, "ValidationError", "event");
}

impl Region {
    /// A region from stored rows; indexes are derived anew.
    pub fn load(config: Config, revision: Revision, rows: impl IntoIterator<Item = Row>) -> Region {
        let mut region = Region::new(config);
        for row in rows {
            region.put(row);
        }
        region.revision = revision;
        region
    }

    /// What it is configured with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its name.
    pub fn name(&self) -> RegionName {
        self.config.name
    }

    /// The number of deltas in it.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// A row by id, whoever owns it.
    pub fn get<N: Noun>(&self, id: N::Id) -> Option<&Arc<N>> {
        N::table(self).get(&id)
    }

    /// A row by id that the account owns; else AWS's error for an unknown id.
    pub fn find<N: Noun>(&self, account: AccountId, id: N::Id) -> Result<&Arc<N>, Error> {
        match self.get::<N>(id) {
            Some(row) if row.owner() == account => Ok(row),
            _ => Err(Error::new(
                N::NOT_FOUND,
                format!("The {} '{id}' does not exist", N::TITLE),
            )),
        }
    }

    /// Every row of a noun, whoever owns it, in id order.
    pub fn all<N: Noun>(&self) -> impl Iterator<Item = &Arc<N>> + '_ {
        N::table(self).values()
    }

    /// Every row of a noun that the account owns, in id order.
    pub fn list<N: Noun>(&self, account: AccountId) -> impl Iterator<Item = &Arc<N>> + '_ {
        N::table(self).values().filter(move |row| row.owner() == account)
    }

    /// The keys that an index entry leads to, in key order.
    pub fn indexed(&self, index: Index) -> impl Iterator<Item = Key> + '_ {
        let from = (index, Key::MIN);
        self.index
            .range(from..)
            .take_while(move |(i, _)| *i == index)
            .map(|(_, key)| *key)
    }

    /// What depends on a row: it may not go while something does, unless it goes with it.
    pub fn dependants(&self, key: Key) -> impl Iterator<Item = Key> + '_ {
        self.indexed(Index::Dependant(key))
    }

    /// The dependants of one noun.
    pub fn dependants_of<N: Noun>(&self, key: Key) -> impl Iterator<Item = Arc<N>> + '_ {
        self.dependants(key)
            .filter_map(|key| self.row(key))
            .filter_map(N::from_row)
    }

    /// The interface that holds an address in a subnet.
    pub fn eni_at(
        &self,
        subnet: model::SubnetId,
        addr: std::net::IpAddr,
    ) -> Option<&Arc<model::NetworkInterface>> {
        self.indexed(Index::Address(subnet, addr))
            .find_map(|key| match key {
                Key::NetworkInterface(id) => self.get::<model::NetworkInterface>(id),
                _ => None,
            })
    }

    /// The addresses that interfaces hold in a subnet, IPv4 first, in order.
    pub fn addresses_in(&self, subnet: model::SubnetId) -> impl Iterator<Item = std::net::IpAddr> + '_ {
        let first = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        self.index
            .range((Index::Address(subnet, first), Key::MIN)..)
            .map_while(move |(index, _)| match index {
                Index::Address(id, addr) if *id == subnet => Some(*addr),
                _ => None,
            })
    }

    /// The interfaces attached to an instance, by device index.
    pub fn enis_of(&self, instance: model::InstanceId) -> Vec<&Arc<model::NetworkInterface>> {
        let mut enis: Vec<_> = self
            .dependants(Key::Instance(instance))
            .filter_map(|key| match key {
                Key::NetworkInterface(id) => self.get::<model::NetworkInterface>(id),
                _ => None,
            })
            .collect();
        enis.sort_by_key(|eni| eni.attachment.as_ref().map(|a| a.device_index));
        enis
    }

    pub(crate) fn put(&mut self, row: Row) {
        let key = row.key();
        self.unindex(key);
        for index in index_of(&row) {
            self.index.insert((index, key));
        }
        self.insert(row);
    }

    pub(crate) fn delete(&mut self, key: Key) {
        self.unindex(key);
        self.remove(key);
    }

    fn unindex(&mut self, key: Key) {
        if let Some(old) = self.row(key) {
            for index in index_of(&old) {
                self.index.remove(&(index, key));
            }
        }
    }

    /// The region after a delta that became durable: how readers and watchers follow.
    pub fn after(&self, delta: &Delta) -> Region {
        let mut next = self.clone();
        for change in &delta.changes {
            match change {
                Change::Put(row) => next.put(row.clone()),
                Change::Delete(key) => next.delete(*key),
            }
        }
        next.revision = Revision(self.revision.0 + 1);
        next
    }

    /// Whether the index is what the rows derive to; for tests and the start after a crash.
    pub fn index_is_true(&self) -> bool {
        let derived: OrdSet<(Index, Key)> = self
            .rows()
            .flat_map(|row| {
                let key = row.key();
                index_of(&row).into_iter().map(move |index| (index, key))
            })
            .collect();
        derived == self.index
    }
}
