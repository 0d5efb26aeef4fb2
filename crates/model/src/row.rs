//! The union of all rows: what is stored, watched and fed to data planes.
//!
//! A region's state is a set of rows; a command's effect is a [`Delta`]: rows put and rows deleted. Rows are
//! stored as JSON by field name, so that old data opens after a field is added (new fields carry
//! `#[serde(default)]`). Between hosts a row travels as an object with one field, its table: `{"vpc":{…}}`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! rows {
    ($($(#[$meta:meta])* $variant:ident($row:ty, $id:ty, $table:literal);)+) => {
        /// One row, shared: cloning is cheap.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub enum Row { $($(#[$meta])* #[serde(rename = $table)] $variant(Arc<$row>)),+ }

        /// The key of a row.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Key { $($(#[$meta])* #[serde(rename = $table)] $variant($id)),+ }

        impl Row {
            /// Its key.
            pub fn key(&self) -> Key {
                match self { $(Row::$variant(row) => Key::$variant(row.id)),+ }
            }

            /// As stored.
            pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
                match self { $(Row::$variant(row) => serde_json::to_vec(&**row)),+ }
            }

            /// From what was stored in `table`.
            pub fn decode(table: &str, bytes: &[u8]) -> Result<Row, DecodeError> {
                let row = match table {
                    $($table => Row::$variant(Arc::new(serde_json::from_slice(bytes)?)),)+
                    other => return Err(DecodeError::Table(other.chars().take(64).collect())),
                };
                Ok(row)
            }
        }

        impl Key {
            /// Before every key, for range scans.
            pub const MIN: Key = Key::Vpc(crate::VpcId::MIN);

            /// The tables there are.
            pub const TABLES: &'static [&'static str] = &[$($table),+];

            /// The table that the row stands in.
            pub fn table(&self) -> &'static str {
                match self { $(Key::$variant(_) => $table),+ }
            }

            /// The key's text within its table: the id.
            pub fn text(&self) -> String {
                match self { $(Key::$variant(id) => id.to_string()),+ }
            }
        }

        $(impl From<$row> for Row {
            fn from(row: $row) -> Row { Row::$variant(Arc::new(row)) }
        })+
    };
}

rows! {
    /// A VPC.
    Vpc(crate::Vpc, crate::VpcId, "vpc");
    /// A subnet.
    Subnet(crate::Subnet, crate::SubnetId, "subnet");
    /// A route table.
    RouteTable(crate::RouteTable, crate::RouteTableId, "route_table");
    /// An internet gateway.
    InternetGateway(crate::InternetGateway, crate::InternetGatewayId, "internet_gateway");
    /// An egress-only internet gateway.
    EgressOnlyGateway(crate::EgressOnlyInternetGateway, crate::EgressOnlyGatewayId, "egress_only_gateway");
    /// A NAT gateway.
    NatGateway(crate::NatGateway, crate::NatGatewayId, "nat_gateway");
    /// An Elastic IP.
    ElasticIp(crate::ElasticIp, crate::AllocationId, "elastic_ip");
    /// A network ACL.
    NetworkAcl(crate::NetworkAcl, crate::NetworkAclId, "network_acl");
    /// A security group.
    SecurityGroup(crate::SecurityGroup, crate::SecurityGroupId, "security_group");
    /// A network interface.
    NetworkInterface(crate::NetworkInterface, crate::EniId, "network_interface");
    /// An instance.
    Instance(crate::Instance, crate::InstanceId, "instance");
    /// A host.
    Host(crate::Host, crate::HostId, "host");
    /// A stack.
    Stack(crate::Stack, crate::StackId, "stack");
    /// A stack's template.
    StackTemplate(crate::StackTemplate, crate::StackId, "stack_template");
    /// An event of a stack.
    StackEvent(crate::StackEvent, crate::StackEventId, "stack_event");
}

/// A stored row that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No such table: written by a newer version.
    #[error("the data holds a table {0:?} which this version does not know; it was written by a newer one")]
    Table(String),
    /// The row's bytes are not what the table holds.
    #[error("a stored row cannot be read: {0}")]
    Row(#[from] serde_json::Error),
}

/// One row's change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The row now stands so.
    Put(Row),
    /// The row is gone.
    Delete(Key),
}

impl Change {
    /// The key of the row that changes.
    pub fn key(&self) -> Key {
        match self {
            Change::Put(row) => row.key(),
            Change::Delete(key) => *key,
        }
    }
}

/// What one command changed: at most one change a key, at most [`Delta::MAX_ROWS`] of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// The changes, in key order.
    pub changes: Vec<Change>,
}

impl Delta {
    /// Most rows a delta may change: what every store can commit at once.
    pub const MAX_ROWS: usize = 128;
}

/// The revision of a region: counts durable deltas, from 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);
