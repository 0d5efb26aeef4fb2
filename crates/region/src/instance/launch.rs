//! RunInstances.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use atoll_model::instance::{ShutdownBehavior, UserDataRun};
use atoll_model::instance_type::{self, InstanceType};
use atoll_model::network_interface::ConnectionTracking;
use atoll_model::{
    Delta, EniId, ImageId, Instance, InstanceState, Key, MetadataOptions, NetworkInterface, ReservationId,
    Row, SecurityGroupId, Subnet, SubnetId, Tags, ZoneName, quota,
};

use crate::elastic_ip;
use crate::error::Error;
use crate::host;
use crate::idempotency::{self, Repeated};
use crate::network_interface::{self, NewInterface, attachment};
use crate::security_group::GroupRef;
use crate::state::Region;
use crate::subnet;
use crate::tag;
use crate::transaction::{Command, Transaction};

/// An interface of a launch.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchInterface {
    /// As which of the instance's interfaces; 0 is the primary one and must be there.
    pub device_index: u8,
    /// Whether it goes with the instance; by default a new one does, an existing one does not.
    pub delete_on_termination: Option<bool>,
    /// Which.
    pub interface: LaunchInterfaceKind,
}

/// Where an interface of a launch comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum LaunchInterfaceKind {
    /// It exists and is free.
    Existing(EniId),
    /// It is made.
    New(LaunchNew),
}

/// An interface that a launch makes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaunchNew {
    /// Its subnet; the default one when `None`.
    pub subnet: Option<SubnetId>,
    /// Its groups; the VPC's default group when there is none.
    pub groups: Vec<SecurityGroupId>,
    /// What it is for.
    pub description: String,
    /// Its primary private address; a free one when `None`.
    pub primary: Option<Ipv4Addr>,
    /// Certain secondary addresses.
    pub secondary: Vec<Ipv4Addr>,
    /// So many free secondary addresses more.
    pub secondary_count: u32,
    /// Certain IPv6 addresses.
    pub ipv6: Vec<Ipv6Addr>,
    /// So many free IPv6 addresses; `None` leaves it to the subnet.
    pub ipv6_count: Option<u32>,
    /// Whether it gets a public IPv4 address; `None` leaves it to the subnet.
    pub associate_public: Option<bool>,
    /// Idle timeouts.
    pub connection_tracking: ConnectionTracking,
}

/// RunInstances: at least `min_count` instances, up to `max_count`, or none.
#[derive(Clone, Debug)]
pub struct RunInstances {
    /// The image, any id; see `model::image`.
    pub image: ImageId,
    /// The type; the default one when `None`.
    pub instance_type: Option<String>,
    /// At least so many.
    pub min_count: u32,
    /// At most so many.
    pub max_count: u32,
    /// Interfaces; when there is none, one is made from the five fields that follow.
    pub interfaces: Vec<LaunchInterface>,
    /// The subnet; the default VPC's when `None`.
    pub subnet: Option<SubnetId>,
    /// Groups.
    pub groups: Vec<GroupRef>,
    /// The private address.
    pub private_ip: Option<Ipv4Addr>,
    /// Certain IPv6 addresses.
    pub ipv6: Vec<Ipv6Addr>,
    /// So many free IPv6 addresses.
    pub ipv6_count: Option<u32>,
    /// The zone wanted.
    pub zone: Option<ZoneName>,
    /// User data, decoded; a script when it begins with `#!`.
    pub user_data: Option<Vec<u8>>,
    /// The key pair's name, kept without effect.
    pub key_name: Option<String>,
    /// The instance profile, kept without effect.
    pub iam_instance_profile: Option<String>,
    /// How metadata is asked for; without effect.
    pub metadata: MetadataOptions,
    /// Kept without effect.
    pub ebs_optimized: bool,
    /// Kept without effect.
    pub monitoring: bool,
    /// Whether the API refuses to terminate it.
    pub disable_api_termination: bool,
    /// Whether the API refuses to stop it.
    pub disable_api_stop: bool,
    /// What a shutdown from inside does.
    pub shutdown_behavior: ShutdownBehavior,
    /// Tags of the instances.
    pub tags: Tags,
    /// Tags of the interfaces that are made.
    pub interface_tags: Tags,
    /// The caller's idempotency token.
    pub client_token: Option<String>,
}

impl RunInstances {
    /// One instance of an image, everything else by default.
    pub fn new(image: ImageId) -> RunInstances {
        RunInstances {
            image,
            instance_type: None,
            min_count: 1,
            max_count: 1,
            interfaces: Vec::new(),
            subnet: None,
            groups: Vec::new(),
            private_ip: None,
            ipv6: Vec::new(),
            ipv6_count: None,
            zone: None,
            user_data: None,
            key_name: None,
            iam_instance_profile: None,
            metadata: MetadataOptions::default(),
            ebs_optimized: false,
            monitoring: false,
            disable_api_termination: false,
            disable_api_stop: false,
            shutdown_behavior: ShutdownBehavior::Stop,
            tags: Tags::new(),
            interface_tags: Tags::new(),
            client_token: None,
        }
    }
}

/// A launch: instances that were asked for together.
#[derive(Clone, Debug, PartialEq)]
pub struct Reservation {
    /// Its id.
    pub id: ReservationId,
    /// The instances, by launch index.
    pub instances: Vec<Instance>,
}

/// The type of that name.
///
/// # Errors
/// `InvalidParameterValue`.
pub(crate) fn known_type(name: &str) -> Result<InstanceType, Error> {
    instance_type::find(name).ok_or_else(|| {
        Error::invalid_value(format!(
            "Invalid value '{}' for InstanceType.",
            name.chars().take(64).collect::<String>()
        ))
    })
}

/// Whether user data may be kept.
///
/// # Errors
/// `InvalidParameterValue` over 16 KiB.
pub(crate) fn user_data_allowed(data: &[u8]) -> Result<(), Error> {
    if data.len() > quota::USER_DATA_BYTES {
        return Err(Error::invalid_value(format!(
            "User data is limited to {} bytes",
            quota::USER_DATA_BYTES
        )));
    }
    Ok(())
}

impl Command for RunInstances {
    type Reply = Reservation;

    fn apply(mut self, tx: &mut Transaction) -> Result<Reservation, Error> {
        let token = self.client_token.take();
        let token = match idempotency::look_up(tx, token.as_deref(), &self, |row| match row {
            Row::Instance(instance) => instance.client_token.as_ref(),
            _ => None,
        })? {
            Repeated::Untokened => None,
            Repeated::New(token) => Some(token),
            Repeated::Before(keys) => return launched_before(tx, &keys),
        };
        let instance_type = known_type(self.instance_type.as_deref().unwrap_or(instance_type::DEFAULT))?;
        self.counts_allowed()?;
        tag::allowed(&self.tags)?;
        tag::allowed(&self.interface_tags)?;
        user_data_allowed(self.user_data.as_deref().unwrap_or_default())?;
        let interfaces = self.interfaces(tx)?;
        let (primary, zone) = self.place(tx, &interfaces)?;

        let reservation = tx.fresh::<ReservationId>();
        let live = tx
            .region()
            .list::<Instance>(tx.account())
            .filter(|i| i.state != InstanceState::Terminated)
            .count();
        let mut instances: Vec<Instance> = Vec::new();
        for launch_index in 0..self.max_count {
            let launched = if live + instances.len() >= quota::INSTANCES_PER_REGION {
                Err(Error::new(
                    "InstanceLimitExceeded",
                    format!(
                        "You have requested more instances than your current limit of {} allows.",
                        quota::INSTANCES_PER_REGION
                    ),
                ))
            } else if (instances.len() + 1) * (1 + interfaces.len()) > Delta::MAX_ROWS {
                Err(Error::new(
                    "InstanceLimitExceeded",
                    format!(
                        "One call launches at most {} such instances.",
                        Delta::MAX_ROWS / (1 + interfaces.len())
                    ),
                ))
            } else {
                tx.attempt(|tx| {
                    let instance = Instance {
                        id: tx.fresh_id::<Instance>(),
                        owner: tx.account(),
                        reservation,
                        launch_index,
                        vpc: primary.vpc,
                        subnet: primary.id,
                        zone,
                        host: host::for_zone(tx.region(), zone),
                        state: InstanceState::Pending,
                        state_reason: Some(("pending".into(), "pending".into())),
                        transition_reason: String::new(),
                        auto_public: false,
                        metadata: self.metadata,
                        image: self.image,
                        instance_type: instance_type.name.into(),
                        key_name: self.key_name.clone(),
                        launched: tx.now(),
                        boots: 1,
                        user_data: self.user_data.clone(),
                        user_data_run: match &self.user_data {
                            Some(data) if data.starts_with(b"#!") => UserDataRun::Pending,
                            _ => UserDataRun::None,
                        },
                        disable_api_termination: self.disable_api_termination,
                        disable_api_stop: self.disable_api_stop,
                        shutdown_behavior: self.shutdown_behavior,
                        iam_instance_profile: self.iam_instance_profile.clone(),
                        ebs_optimized: self.ebs_optimized,
                        monitoring: self.monitoring,
                        client_token: token.clone(),
                        terminated: None,
                        tags: self.tags.clone(),
                    };
                    self.launch(tx, instance, &interfaces)
                })
            };
            match launched {
                Ok(instance) => instances.push(instance),
                // As many as there is room for, once there are enough.
                Err(error) if is_for_want(&error) && instances.len() as u64 >= u64::from(self.min_count) => {
                    break;
                }
                Err(error) if error.code == "InsufficientFreeAddressesInSubnet" && self.min_count > 1 => {
                    let subnet = fullest(tx.region(), &interfaces).unwrap_or(primary.id);
                    return Err(Error::new(
                        error.code,
                        format!(
                            "The subnet '{subnet}' does not have enough free addresses to satisfy the request for {} \
                             instances: there is room for {}.",
                            self.min_count,
                            instances.len()
                        ),
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Reservation {
            id: reservation,
            instances,
        })
    }
}

/// Of the subnets that new interfaces are asked for in, the one with the fewest free addresses.
fn fullest(region: &Region, interfaces: &[LaunchInterface]) -> Option<SubnetId> {
    let of = |interface: &LaunchInterface| match &interface.interface {
        LaunchInterfaceKind::New(new) => region.get::<Subnet>(new.subnet?),
        LaunchInterfaceKind::Existing(_) => None,
    };
    let subnets = interfaces.iter().filter_map(of);
    subnets
        .min_by_key(|row| subnet::available_ips(region, row))
        .map(|row| row.id)
}

fn is_for_want(error: &Error) -> bool {
    matches!(
        error.code,
        "InsufficientFreeAddressesInSubnet" | "InsufficientAddressCapacity" | "InstanceLimitExceeded"
    )
}

fn launched_before(tx: &Transaction, keys: &[Key]) -> Result<Reservation, Error> {
    let mut instances: Vec<Instance> = keys
        .iter()
        .filter_map(|key| match key {
            Key::Instance(id) => tx.find::<Instance>(*id).ok(),
            _ => None,
        })
        .map(|instance| (*instance).clone())
        .collect();
    instances.sort_by_key(|instance| instance.launch_index);
    match instances.first() {
        Some(first) => Ok(Reservation {
            id: first.reservation,
            instances,
        }),
        None => Err(Error::internal("a client token leads to no instance")),
    }
}

impl RunInstances {
    fn counts_allowed(&self) -> Result<(), Error> {
        if self.min_count == 0 || self.max_count == 0 {
            return Err(Error::invalid_value(
                "Value (0) for parameter instanceCount is invalid. Expecting a positive number.",
            ));
        }
        if self.min_count > self.max_count {
            return Err(Error::invalid_combination(format!(
                "The minimum instance count ({}) may not be larger than the maximum instance count ({})",
                self.min_count, self.max_count
            )));
        }
        Ok(())
    }

    /// The interfaces of each instance, by device index.
    fn interfaces(&self, tx: &Transaction) -> Result<Vec<LaunchInterface>, Error> {
        let mut interfaces = self.interfaces.clone();
        if interfaces.is_empty() {
            let by_name = self.groups.iter().any(|g| matches!(g, GroupRef::Name(_)));
            if by_name && self.subnet.is_some() {
                return Err(Error::invalid_combination(
                    "The parameter groupName cannot be used with the parameter subnet",
                ));
            }
            let groups = self
                .groups
                .iter()
                .map(|group| group.find(tx.region(), tx.account()).map(|group| group.id))
                .collect::<Result<_, _>>()?;
            interfaces.push(LaunchInterface {
                device_index: 0,
                delete_on_termination: None,
                interface: LaunchInterfaceKind::New(LaunchNew {
                    subnet: self.subnet,
                    groups,
                    primary: self.private_ip,
                    ipv6: self.ipv6.clone(),
                    ipv6_count: self.ipv6_count,
                    ..LaunchNew::default()
                }),
            });
        } else {
            for (given, what) in [
                (self.subnet.is_some(), "subnet ID"),
                (!self.groups.is_empty(), "security groups"),
                (self.private_ip.is_some(), "private IP address"),
                (
                    !self.ipv6.is_empty() || self.ipv6_count.is_some(),
                    "IPv6 addresses",
                ),
            ] {
                if given {
                    return Err(Error::invalid_combination(format!(
                        "Network interfaces and an instance-level {what} may not be specified on the same request"
                    )));
                }
            }
        }
        interfaces.sort_by_key(|i| i.device_index);
        if interfaces
            .windows(2)
            .any(|w| matches!(w, [a, b] if a.device_index == b.device_index))
        {
            return Err(Error::invalid_value(
                "Each network interface requires a unique device index.",
            ));
        }
        if interfaces.first().is_none_or(|i| i.device_index != 0) {
            return Err(Error::invalid_value(
                "The primary network interface must be specified: one with device index 0.",
            ));
        }
        let alone = interfaces.len() == 1;
        for interface in &interfaces {
            let certain = match &interface.interface {
                LaunchInterfaceKind::Existing(_) if interface.delete_on_termination == Some(true) => {
                    return Err(Error::invalid_combination(
                        "A network interface may not specify both a network interface ID and delete on termination as \
                         true",
                    ));
                }
                LaunchInterfaceKind::Existing(_) => true,
                LaunchInterfaceKind::New(new) => {
                    if new.associate_public.is_some() && !alone {
                        return Err(Error::invalid_combination(
                            "The associatePublicIPAddress parameter cannot be specified when launching with multiple \
                             network interfaces.",
                        ));
                    }
                    new.primary.is_some() || !new.secondary.is_empty() || !new.ipv6.is_empty()
                }
            };
            if certain && self.max_count > 1 {
                return Err(Error::invalid_combination(
                    "Network interface IDs and certain private IP addresses may not be specified when launching more \
                     than one instance",
                ));
            }
        }
        Ok(interfaces)
    }

    /// The primary interface's subnet and the zone, which all interfaces must lie in (semantics 64).
    fn place(
        &self,
        tx: &Transaction,
        interfaces: &[LaunchInterface],
    ) -> Result<(Arc<Subnet>, ZoneName), Error> {
        let mut primary: Option<Arc<Subnet>> = None;
        for interface in interfaces {
            let subnet = match &interface.interface {
                LaunchInterfaceKind::Existing(id) => {
                    let eni = tx.find::<NetworkInterface>(*id)?;
                    network_interface::managed_by_caller(&eni)?;
                    if eni.attachment.is_some() {
                        return Err(network_interface::in_use(*id));
                    }
                    tx.find::<Subnet>(eni.subnet)?
                }
                LaunchInterfaceKind::New(new) => self.subnet_of(tx, new)?,
            };
            match &primary {
                None => primary = Some(subnet),
                Some(first) if first.zone != subnet.zone => {
                    return Err(Error::invalid_combination(format!(
                        "Network interfaces must be in the same availability zone: the subnets {} and {} are in {} \
                         and {}",
                        first.id, subnet.id, first.zone, subnet.zone
                    )));
                }
                Some(_) => {}
            }
        }
        let Some(primary) = primary else {
            return Err(Error::internal("a launch without interfaces"));
        };
        if let Some(zone) = self.zone.filter(|zone| *zone != primary.zone) {
            return Err(Error::invalid_value(format!(
                "Invalid availability zone: [{zone}]. The subnet {} is in {}.",
                primary.id, primary.zone
            )));
        }
        let zone = primary.zone;
        Ok((primary, zone))
    }

    fn subnet_of(&self, tx: &Transaction, new: &LaunchNew) -> Result<Arc<Subnet>, Error> {
        match new.subnet {
            Some(id) => tx.find::<Subnet>(id),
            None => self.default_subnet(tx),
        }
    }

    /// The default subnet of the wanted zone, or of the first one that has one.
    fn default_subnet(&self, tx: &Transaction) -> Result<Arc<Subnet>, Error> {
        let vpc = crate::security_group::default_vpc(tx.region(), tx.account())?;
        tx.region()
            .dependants(Key::Vpc(vpc.id))
            .filter_map(|key| match key {
                Key::Subnet(id) => tx.find::<Subnet>(id).ok(),
                _ => None,
            })
            .filter(|subnet| subnet.default_for_az && self.zone.is_none_or(|zone| zone == subnet.zone))
            .min_by_key(|subnet| subnet.zone)
            .ok_or_else(|| {
                Error::new(
                    "MissingInput",
                    format!(
                        "No subnets found for the default VPC '{}'. Please specify a subnet.",
                        vpc.id
                    ),
                )
            })
    }

    /// Puts one instance with its interfaces.
    fn launch(
        &self,
        tx: &mut Transaction,
        mut instance: Instance,
        interfaces: &[LaunchInterface],
    ) -> Result<Instance, Error> {
        tx.put(instance.clone());
        for interface in interfaces {
            let is_new = matches!(interface.interface, LaunchInterfaceKind::New(_));
            let eni = match &interface.interface {
                LaunchInterfaceKind::Existing(id) => (*tx.find::<NetworkInterface>(*id)?).clone(),
                LaunchInterfaceKind::New(new) => {
                    let subnet = self.subnet_of(tx, new)?;
                    // By default a public address comes with a single interface only.
                    if interfaces.len() == 1 && new.associate_public.unwrap_or(subnet.map_public_ip_on_launch)
                    {
                        instance.auto_public = true;
                    }
                    network_interface::make(tx, self.new_interface(new, subnet.id))?
                }
            };
            let goes = interface.delete_on_termination.unwrap_or(is_new);
            attachment::attach(tx, &eni, &instance, interface.device_index, goes)?;
            if instance.auto_public {
                if eni.private_addresses.is_empty() {
                    // An IPv6-only subnet: there is nothing for a public IPv4 address to stand for.
                    instance.auto_public = false;
                } else {
                    elastic_ip::assign_automatically(tx, eni.id)?;
                }
            }
        }
        tx.put(instance.clone());
        Ok(instance)
    }

    fn new_interface(&self, new: &LaunchNew, subnet: SubnetId) -> NewInterface {
        NewInterface {
            description: new.description.clone(),
            primary: new.primary,
            secondary: new.secondary.clone(),
            secondary_count: new.secondary_count,
            ipv6: new.ipv6.clone(),
            ipv6_count: new.ipv6_count,
            groups: new.groups.clone(),
            connection_tracking: new.connection_tracking,
            tags: self.interface_tags.clone(),
            ..NewInterface::new(subnet)
        }
    }
}
