//! What instances look like in answers, and by what they are filtered.

use std::sync::Arc;

use atoll_model::image::{self, DEFAULT, Image};
use atoll_model::instance_type;
use atoll_model::network_interface::PrivateAddress;
use atoll_model::{Instance, InstanceState, NetworkInterface, Tags};
use atoll_region::Region;
use atoll_region::network_interface::status;
use atoll_shapes::ec2::{
    self, ConnectionTrackingSpecificationResponse, CpuOptions, IamInstanceProfile, InstanceIpv6Address,
    InstanceNetworkInterface, InstanceNetworkInterfaceAssociation, InstanceNetworkInterfaceAttachment,
    InstancePrivateIpAddress, Monitoring, Placement, Reservation, StateReason,
};

use super::instance::interfaces;
use super::instance_metadata;
use super::network_interface::{group_identifiers, ip_owner, public_dns_name, tracking_shape};
use crate::wire::{Filters, tag_list, time};

/// An instance with its interfaces.
pub(super) struct Item {
    pub instance: Arc<Instance>,
    /// By device index.
    pub enis: Vec<Arc<NetworkInterface>>,
}

impl Item {
    pub fn new(region: &Region, instance: Arc<Instance>) -> Item {
        let enis = interfaces(region, instance.id);
        Item { instance, enis }
    }

    fn primary(&self) -> Option<&NetworkInterface> {
        self.enis.first().map(|eni| &**eni)
    }

    fn private_addresses(&self) -> impl Iterator<Item = (&NetworkInterface, &PrivateAddress)> {
        self.enis
            .iter()
            .flat_map(|eni| eni.private_addresses.iter().map(move |address| (&**eni, address)))
    }
}

fn tags(item: &Item) -> &Tags {
    &item.instance.tags
}

/// The filters of DescribeInstances.
pub(super) fn filters(region: &Region) -> Filters<'_, Item> {
    let name = region.name();
    let dns_name = move |ip| Instance::private_dns_name(ip, name);
    let none = |_: &Item| None::<&str>;
    let of_instance = Filters::tagged(tags)
        .maybe("affinity", none)
        .one("architecture", |item| image_of(&item.instance).architecture)
        .one("availability-zone", |item| item.instance.zone)
        .one("availability-zone-id", |item| item.instance.zone.zone_id())
        .maybe("client-token", |item| {
            item.instance.client_token.as_ref().map(|t| t.token.clone())
        })
        .maybe("dns-name", |item| public_name(region, item))
        .one("ebs-optimized", |item| item.instance.ebs_optimized)
        .one("hypervisor", |_| "xen")
        .maybe("iam-instance-profile.arn", |item| profile_arn(&item.instance))
        .maybe("iam-instance-profile.name", |item| {
            let arn = profile_arn(&item.instance)?;
            arn.rsplit('/').next().map(str::to_owned)
        })
        .one("image-id", |item| item.instance.image)
        .one("instance-id", |item| item.instance.id)
        .maybe("instance-lifecycle", none)
        .one("instance-state-code", |item| item.instance.state.code())
        .one("instance-state-name", |item| item.instance.state)
        .one("instance-type", |item| item.instance.instance_type.clone())
        .many("instance.group-id", |item| {
            item.primary().map(|eni| eni.groups.clone()).unwrap_or_default()
        })
        .many("instance.group-name", |item| group_names(region, item.primary()))
        .maybe("ip-address", |item| {
            item.primary()
                .and_then(|eni| eni.private_addresses.first()?.public)
                .map(|p| p.ip)
        })
        .many("ipv6-address", |item| {
            item.enis
                .iter()
                .flat_map(|eni| eni.ipv6_addresses.clone())
                .collect::<Vec<_>>()
        })
        .maybe("kernel-id", none)
        .maybe("key-name", |item| item.instance.key_name.clone())
        .one("launch-index", |item| item.instance.launch_index)
        .one("launch-time", |item| item.instance.launched.to_iso8601())
        .one("metadata-options.http-endpoint", |item| {
            instance_metadata::enabled(item.instance.metadata.endpoint)
        })
        .one("metadata-options.http-protocol-ipv6", |item| {
            instance_metadata::enabled(item.instance.metadata.ipv6)
        })
        .one("metadata-options.http-put-response-hop-limit", |item| {
            item.instance.metadata.hop_limit
        })
        .one("metadata-options.http-tokens", |item| {
            instance_metadata::tokens(item.instance.metadata)
        })
        .one("metadata-options.instance-metadata-tags", |item| {
            instance_metadata::enabled(item.instance.metadata.tags)
        })
        .one("monitoring-state", |item| monitoring(&item.instance))
        .one("owner-id", |item| item.instance.owner)
        .maybe("placement-group-name", none)
        .maybe("platform", none)
        .one("platform-details", |_| "Linux/UNIX")
        .maybe("private-dns-name", move |item| {
            item.primary()?.primary_ip().map(dns_name)
        })
        .maybe("private-ip-address", |item| item.primary()?.primary_ip())
        .maybe("product-code", none)
        .maybe("ramdisk-id", none)
        .one("reason", |item| item.instance.transition_reason.clone())
        .maybe("requester-id", none)
        .one("reservation-id", |item| item.instance.reservation)
        .one("root-device-name", |item| {
            image_of(&item.instance).publisher.root_device
        })
        .one("root-device-type", |_| "ebs")
        .maybe("source-dest-check", |item| {
            item.primary().map(|eni| eni.source_dest_check)
        })
        .maybe("spot-instance-request-id", none)
        .maybe("state-reason-code", |item| {
            item.instance.state_reason.as_ref().map(|(code, _)| code.clone())
        })
        .maybe("state-reason-message", |item| {
            item.instance
                .state_reason
                .as_ref()
                .map(|(_, message)| message.clone())
        })
        .maybe("subnet-id", |item| {
            placed(&item.instance).then_some(item.instance.subnet)
        })
        .one("tenancy", |_| "default")
        .one("usage-operation", |_| "RunInstances")
        .one("virtualization-type", |_| "hvm")
        .maybe("vpc-id", |item| {
            placed(&item.instance).then_some(item.instance.vpc)
        });
    of_interfaces(of_instance, region)
}

/// Filters on any interface of an instance.
fn of_interfaces<'a>(filters: Filters<'a, Item>, region: &'a Region) -> Filters<'a, Item> {
    fn each<T>(item: &Item, value: impl Fn(&NetworkInterface) -> T) -> Vec<T> {
        item.enis.iter().map(|eni| value(eni)).collect()
    }
    fn every<T>(item: &Item, values: impl Fn(&NetworkInterface) -> Vec<T>) -> Vec<T> {
        item.enis.iter().flat_map(|eni| values(eni)).collect()
    }
    let name = region.name();
    filters
        .many("network-interface.addresses.association.ip-owner-id", |item| {
            let owner = |(eni, a): (&NetworkInterface, &PrivateAddress)| a.public.map(|_| ip_owner(eni, a));
            item.private_addresses().filter_map(owner).collect::<Vec<_>>()
        })
        .many("network-interface.addresses.association.public-ip", |item| {
            item.private_addresses()
                .filter_map(|(_, a)| Some(a.public?.ip))
                .collect::<Vec<_>>()
        })
        .many("network-interface.addresses.primary", |item| {
            every(item, |eni| {
                (0..eni.private_addresses.len()).map(|i| i == 0).collect()
            })
        })
        .many("network-interface.addresses.private-ip-address", |item| {
            item.private_addresses().map(|(_, a)| a.ip).collect::<Vec<_>>()
        })
        .many("network-interface.association.allocation-id", |item| {
            let of = |a: &PrivateAddress| Some(a.public?.elastic?.0);
            item.private_addresses()
                .filter_map(|(_, a)| of(a))
                .collect::<Vec<_>>()
        })
        .many("network-interface.association.association-id", |item| {
            let of = |a: &PrivateAddress| Some(a.public?.elastic?.1);
            item.private_addresses()
                .filter_map(|(_, a)| of(a))
                .collect::<Vec<_>>()
        })
        .many("network-interface.association.ip-owner-id", |item| {
            let owner = |(eni, a): (&NetworkInterface, &PrivateAddress)| a.public.map(|_| ip_owner(eni, a));
            item.private_addresses().filter_map(owner).collect::<Vec<_>>()
        })
        .many("network-interface.association.public-ip", |item| {
            item.private_addresses()
                .filter_map(|(_, a)| Some(a.public?.ip))
                .collect::<Vec<_>>()
        })
        .many("network-interface.attachment.attach-time", |item| {
            every(item, |eni| {
                eni.attachment.iter().map(|a| a.attached.to_iso8601()).collect()
            })
        })
        .many("network-interface.attachment.attachment-id", |item| {
            every(item, |eni| eni.attachment.iter().map(|a| a.id).collect())
        })
        .many("network-interface.attachment.delete-on-termination", |item| {
            every(item, |eni| {
                eni.attachment.iter().map(|a| a.delete_on_termination).collect()
            })
        })
        .many("network-interface.attachment.device-index", |item| {
            every(item, |eni| {
                eni.attachment.iter().map(|a| a.device_index).collect()
            })
        })
        .many("network-interface.attachment.instance-id", |item| {
            each(item, |_| item.instance.id)
        })
        .many("network-interface.attachment.instance-owner-id", |item| {
            each(item, |eni| eni.owner)
        })
        .many("network-interface.attachment.status", |item| {
            every(item, |eni| eni.attachment.iter().map(|a| a.state).collect())
        })
        .many("network-interface.availability-zone", |item| {
            each(item, |eni| eni.zone)
        })
        .many("network-interface.description", |item| {
            each(item, |eni| eni.description.clone())
        })
        .many("network-interface.group-id", |item| {
            every(item, |eni| eni.groups.clone())
        })
        .many("network-interface.group-name", |item| {
            every(item, |eni| group_names(region, Some(eni)))
        })
        .many("network-interface.ipv6-addresses.ipv6-address", |item| {
            every(item, |eni| eni.ipv6_addresses.clone())
        })
        .many("network-interface.mac-address", |item| each(item, |eni| eni.mac))
        .many("network-interface.network-interface-id", |item| {
            each(item, |eni| eni.id)
        })
        .many("network-interface.owner-id", |item| each(item, |eni| eni.owner))
        .many("network-interface.private-dns-name", move |item| {
            every(item, |eni| {
                eni.primary_ip()
                    .map(|ip| Instance::private_dns_name(ip, name))
                    .into_iter()
                    .collect()
            })
        })
        .many("network-interface.requester-managed", |item| {
            each(item, |eni| eni.requester_managed)
        })
        .many("network-interface.source-dest-check", |item| {
            each(item, |eni| eni.source_dest_check)
        })
        .many("network-interface.status", |item| each(item, status))
        .many("network-interface.subnet-id", |item| each(item, |eni| eni.subnet))
        .many("network-interface.vpc-id", |item| each(item, |eni| eni.vpc))
}

fn group_names(region: &Region, eni: Option<&NetworkInterface>) -> Vec<String> {
    let groups = eni
        .map(|eni| group_identifiers(region, &eni.groups))
        .unwrap_or_default();
    groups.into_iter().filter_map(|group| group.group_name).collect()
}

/// Whether it still has its place in a subnet.
fn placed(instance: &Instance) -> bool {
    instance.state != InstanceState::Terminated
}

/// What describes its image; of an id that is not listed, the default one's.
pub(super) fn image_of(instance: &Instance) -> Image {
    image::find(instance.image).unwrap_or(DEFAULT)
}

/// Its type's cores and threads a core, which are all that a launch may ask for.
fn cpu_options(instance: &Instance) -> Option<CpuOptions> {
    let kind = instance_type::find(&instance.instance_type)?;
    Some(CpuOptions {
        core_count: i32::try_from(kind.cores()).ok(),
        threads_per_core: i32::try_from(kind.threads_per_core()).ok(),
        ..Default::default()
    })
}

fn monitoring(instance: &Instance) -> &'static str {
    if instance.monitoring {
        "enabled"
    } else {
        "disabled"
    }
}

/// The ARN of an instance profile that was named by it or by name.
fn profile_arn(instance: &Instance) -> Option<String> {
    let given = instance.iam_instance_profile.as_deref()?;
    Some(if given.starts_with("arn:") {
        given.to_owned()
    } else {
        format!("arn:aws:iam::{}:instance-profile/{given}", instance.owner)
    })
}

fn public_name(region: &Region, item: &Item) -> Option<String> {
    let eni = item.primary()?;
    public_dns_name(region, eni.vpc, eni.private_addresses.first()?.public?.ip)
}

/// A state by number and name.
pub(super) fn state_shape(state: InstanceState) -> ec2::InstanceState {
    ec2::InstanceState {
        code: Some(state.code()),
        name: Some(state.to_string()),
    }
}

/// Instances by the launch they came from, in the order in which the launches come up.
pub(super) fn reservations(region: &Region, items: &[Item]) -> Vec<Reservation> {
    let mut reservations: Vec<Reservation> = Vec::new();
    for item in items {
        let id = item.instance.reservation.to_string();
        let shape = shape(region, item);
        match reservations
            .iter_mut()
            .find(|r| r.reservation_id.as_deref() == Some(id.as_str()))
        {
            Some(reservation) => reservation.instances.push(shape),
            None => reservations.push(Reservation {
                reservation_id: Some(id),
                owner_id: Some(item.instance.owner.to_string()),
                instances: vec![shape],
                ..Default::default()
            }),
        }
    }
    for reservation in &mut reservations {
        reservation
            .instances
            .sort_by_key(|instance| instance.ami_launch_index);
    }
    reservations
}

fn shape(region: &Region, item: &Item) -> ec2::Instance {
    let instance = &*item.instance;
    let primary = item.primary();
    let place = placed(instance);
    let primary_ip = primary.and_then(|eni| eni.primary_ip());
    let public = primary.and_then(|eni| eni.private_addresses.first()?.public);
    ec2::Instance {
        instance_id: Some(instance.id.to_string()),
        image_id: Some(instance.image.to_string()),
        instance_type: Some(instance.instance_type.clone()),
        state: Some(state_shape(instance.state)),
        state_reason: instance.state_reason.as_ref().map(|(code, message)| StateReason {
            code: Some(code.clone()),
            message: Some(message.clone()),
        }),
        // EC2 writes an empty element where there is no reason or name.
        state_transition_reason: Some(instance.transition_reason.clone()),
        private_dns_name: Some(
            primary_ip.map_or(String::new(), |ip| Instance::private_dns_name(ip, region.name())),
        ),
        public_dns_name: Some(public_name(region, item).unwrap_or_default()),
        private_ip_address: primary_ip.map(|ip| ip.to_string()),
        public_ip_address: public.map(|public| public.ip.to_string()),
        ipv6_address: primary
            .and_then(|eni| eni.ipv6_addresses.first())
            .map(|ip| ip.to_string()),
        vpc_id: place.then(|| instance.vpc.to_string()),
        subnet_id: place.then(|| instance.subnet.to_string()),
        key_name: instance.key_name.clone(),
        ami_launch_index: i32::try_from(instance.launch_index).ok(),
        launch_time: Some(time(instance.launched)),
        placement: Some(Placement {
            availability_zone: Some(instance.zone.to_string()),
            availability_zone_id: Some(instance.zone.zone_id()),
            tenancy: Some("default".into()),
            group_name: Some(String::new()),
            ..Default::default()
        }),
        monitoring: Some(Monitoring {
            state: Some(monitoring(instance).into()),
        }),
        architecture: Some(image_of(instance).architecture.into()),
        // As its image has it; no volume is shown, since there is none to be described.
        root_device_type: Some("ebs".into()),
        root_device_name: Some(image_of(instance).publisher.root_device.into()),
        cpu_options: cpu_options(instance),
        virtualization_type: Some("hvm".into()),
        hypervisor: Some("xen".into()),
        platform_details: Some("Linux/UNIX".into()),
        usage_operation: Some("RunInstances".into()),
        ebs_optimized: Some(instance.ebs_optimized),
        ena_support: Some(true),
        metadata_options: Some(instance_metadata::shape(instance.metadata)),
        client_token: instance.client_token.as_ref().map(|t| t.token.clone()),
        iam_instance_profile: profile_arn(instance).map(|arn| IamInstanceProfile {
            arn: Some(arn),
            id: None,
        }),
        security_groups: primary
            .map(|eni| group_identifiers(region, &eni.groups))
            .unwrap_or_default(),
        source_dest_check: primary.map(|eni| eni.source_dest_check),
        network_interfaces: item.enis.iter().map(|eni| interface(region, eni)).collect(),
        tags: tag_list(&instance.tags),
        ..Default::default()
    }
}

fn association(
    region: &Region,
    eni: &NetworkInterface,
    address: &PrivateAddress,
) -> Option<InstanceNetworkInterfaceAssociation> {
    let public = address.public?;
    Some(InstanceNetworkInterfaceAssociation {
        ip_owner_id: Some(ip_owner(eni, address)),
        public_dns_name: Some(public_dns_name(region, eni.vpc, public.ip).unwrap_or_default()),
        public_ip: Some(public.ip.to_string()),
        ..Default::default()
    })
}

fn interface(region: &Region, eni: &NetworkInterface) -> InstanceNetworkInterface {
    let dns_name = |ip| Instance::private_dns_name(ip, region.name());
    InstanceNetworkInterface {
        network_interface_id: Some(eni.id.to_string()),
        subnet_id: Some(eni.subnet.to_string()),
        vpc_id: Some(eni.vpc.to_string()),
        description: Some(eni.description.clone()),
        owner_id: Some(eni.owner.to_string()),
        status: Some(status(eni).into()),
        mac_address: Some(eni.mac.to_string()),
        interface_type: Some(eni.interface_type.to_string()),
        private_ip_address: eni.primary_ip().map(|ip| ip.to_string()),
        private_dns_name: eni.primary_ip().map(dns_name),
        source_dest_check: Some(eni.source_dest_check),
        groups: group_identifiers(region, &eni.groups),
        attachment: eni
            .attachment
            .as_ref()
            .map(|attachment| InstanceNetworkInterfaceAttachment {
                attach_time: Some(time(attachment.attached)),
                attachment_id: Some(attachment.id.to_string()),
                delete_on_termination: Some(attachment.delete_on_termination),
                device_index: Some(attachment.device_index.into()),
                status: Some(attachment.state.to_string()),
                network_card_index: Some(0),
                ..Default::default()
            }),
        association: eni
            .private_addresses
            .first()
            .and_then(|first| association(region, eni, first)),
        private_ip_addresses: eni
            .private_addresses
            .iter()
            .enumerate()
            .map(|(place, address)| InstancePrivateIpAddress {
                association: association(region, eni, address),
                primary: Some(place == 0),
                private_dns_name: Some(dns_name(address.ip)),
                private_ip_address: Some(address.ip.to_string()),
            })
            .collect(),
        ipv6_addresses: eni
            .ipv6_addresses
            .iter()
            .map(|ip| InstanceIpv6Address {
                ipv6_address: Some(ip.to_string()),
                is_primary_ipv6: Some(false),
            })
            .collect(),
        connection_tracking_configuration: tracking_shape(eni.connection_tracking).map(|tracking| {
            ConnectionTrackingSpecificationResponse {
                tcp_established_timeout: tracking.tcp_established_timeout,
                udp_stream_timeout: tracking.udp_stream_timeout,
                udp_timeout: tracking.udp_timeout,
            }
        }),
        ..Default::default()
    }
}
