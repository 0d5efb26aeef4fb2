//! `AWS::EC2::Instance`.

use atoll_model::instance::{Instance, InstanceState, ShutdownBehavior, UserDataRun};
use atoll_model::{ImageId, SecurityGroupId};
use atoll_region::instance::TerminateInstances;
use atoll_region::instance::attribute::{Change, ModifyInstanceAttribute};
use atoll_region::instance::launch::{LaunchInterface, LaunchInterfaceKind, LaunchNew, RunInstances};
use atoll_region::security_group::GroupRef;
use atoll_region::{Command, Error, Region, Transaction};

use crate::base64;
use crate::life::{Created, Doomed, Failure, Given, Life, Make, Progress, Seen, address};
use crate::resource::network_interface::{IPV6_ADDRESSES, PRIVATE_ADDRESSES};
use crate::resource::network_interface::{ipv6_addresses, private_addresses};
use crate::schema::{Kind, Property, ResourceType, TAGS};
use crate::signal::heard;
use crate::value::Value;

/// An instance. `Ref` is its id.
pub const INSTANCE: ResourceType = ResourceType {
    name: "AWS::EC2::Instance",
    properties: &[
        Property::new("AdditionalInfo", Kind::String).not_in_effect(),
        Property::new("Affinity", Kind::String).only(&["default"]),
        Property::new("AvailabilityZone", Kind::String),
        Property::new("BlockDeviceMappings", Kind::Json).not_in_effect(),
        Property::new("CpuOptions", Kind::Json).not_in_effect(),
        Property::new("CreditSpecification", Kind::Json).not_in_effect(),
        Property::new("DisableApiTermination", Kind::Boolean),
        Property::new("EbsOptimized", Kind::Boolean).not_in_effect(),
        Property::new("ElasticGpuSpecifications", Kind::Json).refused("there are no elastic GPUs here"),
        Property::new("ElasticInferenceAccelerators", Kind::Json)
            .refused("there are no inference accelerators here"),
        Property::new("EnclaveOptions", Kind::Json).not_in_effect(),
        Property::new("HibernationOptions", Kind::Json).not_in_effect(),
        Property::new("HostId", Kind::String).refused("there are no dedicated hosts here"),
        Property::new("HostResourceGroupArn", Kind::String).refused("there are no dedicated hosts here"),
        Property::new("IamInstanceProfile", Kind::String).not_in_effect(),
        Property::new("ImageId", Kind::String),
        Property::new("InstanceInitiatedShutdownBehavior", Kind::String),
        Property::new("InstanceType", Kind::String),
        Property::new("Ipv6AddressCount", Kind::Integer),
        Property::new("Ipv6Addresses", IPV6_ADDRESSES),
        Property::new("KernelId", Kind::String).not_in_effect(),
        Property::new("KeyName", Kind::String).not_in_effect(),
        Property::new("LaunchTemplate", Kind::Json).refused("there are no launch templates here"),
        Property::new("LicenseSpecifications", Kind::Json).not_in_effect(),
        Property::new("MetadataOptions", Kind::Json).not_in_effect(),
        Property::new("Monitoring", Kind::Boolean).not_in_effect(),
        Property::new(
            "NetworkInterfaces",
            Kind::Objects(&[
                Property::new("AssociateCarrierIpAddress", Kind::Boolean)
                    .refused("there are no carrier gateways here"),
                Property::new("AssociatePublicIpAddress", Kind::Boolean),
                Property::new("DeleteOnTermination", Kind::Boolean),
                Property::new("Description", Kind::String),
                Property::new("DeviceIndex", Kind::Integer).required(),
                Property::new("EnaSrdSpecification", Kind::Json).not_in_effect(),
                Property::new("GroupSet", Kind::Strings),
                Property::new("Ipv6AddressCount", Kind::Integer),
                Property::new("Ipv6Addresses", IPV6_ADDRESSES),
                Property::new("NetworkInterfaceId", Kind::String),
                Property::new("PrivateIpAddress", Kind::String),
                Property::new("PrivateIpAddresses", PRIVATE_ADDRESSES),
                Property::new("SecondaryPrivateIpAddressCount", Kind::Integer),
                Property::new("SubnetId", Kind::String),
            ]),
        ),
        Property::new("PlacementGroupName", Kind::String).not_in_effect(),
        Property::new("PrivateDnsNameOptions", Kind::Json).not_in_effect(),
        Property::new("PrivateIpAddress", Kind::String),
        Property::new("PropagateTagsToVolumeOnCreation", Kind::Boolean).not_in_effect(),
        Property::new("RamdiskId", Kind::String).not_in_effect(),
        Property::new("SecurityGroupIds", Kind::Strings),
        Property::new("SecurityGroups", Kind::Strings),
        Property::new("SourceDestCheck", Kind::Boolean),
        Property::new("SsmAssociations", Kind::Json).not_in_effect(),
        Property::new("SubnetId", Kind::String),
        TAGS,
        Property::new("Tenancy", Kind::String).only(&["default"]),
        Property::new("UserData", Kind::String),
        Property::new("Volumes", Kind::Json).refused("there are no EBS volumes here"),
    ],
    attributes: &[
        "AvailabilityZone",
        "InstanceId",
        "PrivateDnsName",
        "PrivateIp",
        "PublicDnsName",
        "PublicIp",
        "State.Code",
        "State.Name",
        "VpcId",
    ],
    placeholder: false,
    life: &InstanceLife,
};

struct InstanceLife;

impl InstanceLife {
    fn interface(given: Given<'_>) -> Result<LaunchInterface, Failure> {
        let interface = match given.parsed("NetworkInterfaceId")? {
            Some(eni) => LaunchInterfaceKind::Existing(eni),
            None => {
                let (primary, secondary) = private_addresses(given)?;
                LaunchInterfaceKind::New(LaunchNew {
                    subnet: given.parsed("SubnetId")?,
                    groups: given.list("GroupSet")?,
                    description: given.text("Description").unwrap_or_default(),
                    primary,
                    secondary,
                    secondary_count: given.integer("SecondaryPrivateIpAddressCount")?.unwrap_or(0),
                    ipv6: ipv6_addresses(given)?,
                    ipv6_count: given.integer("Ipv6AddressCount")?,
                    associate_public: given.boolean("AssociatePublicIpAddress"),
                    connection_tracking: Default::default(),
                })
            }
        };
        Ok(LaunchInterface {
            device_index: given
                .integer("DeviceIndex")?
                .ok_or_else(|| Failure::of("DeviceIndex", "cannot be empty"))?,
            delete_on_termination: given.boolean("DeleteOnTermination"),
            interface,
        })
    }

    fn groups(given: Given<'_>) -> Result<Vec<GroupRef>, Failure> {
        let ids: Vec<SecurityGroupId> = given.list("SecurityGroupIds")?;
        let mut groups: Vec<GroupRef> = ids.into_iter().map(GroupRef::Id).collect();
        // What `Ref` of a group returns stands in either list.
        let names: Vec<String> = given.list("SecurityGroups")?;
        groups.extend(
            names
                .into_iter()
                .map(|name| name.parse().map_or(GroupRef::Name(name), GroupRef::Id)),
        );
        Ok(groups)
    }
}

impl Life for InstanceLife {
    fn create(&self, make: &mut Make<'_>) -> Result<Created, Failure> {
        let given = make.given;
        let image: ImageId = given.required("ImageId")?;
        let user_data = match given.text("UserData") {
            None => None,
            Some(text) => Some(
                base64::decode(&text)
                    .ok_or_else(|| Failure::of("UserData", "Invalid BASE64 encoding of user data."))?,
            ),
        };
        let interfaces = given
            .objects("NetworkInterfaces")
            .into_iter()
            .map(Self::interface)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|failure| Failure {
                property: Some("NetworkInterfaces".to_owned()),
                ..failure
            })?;
        let launch = RunInstances {
            instance_type: given.text("InstanceType"),
            interfaces,
            subnet: given.parsed("SubnetId")?,
            groups: Self::groups(given)?,
            private_ip: given.parsed("PrivateIpAddress")?,
            ipv6: ipv6_addresses(given)?,
            ipv6_count: given.integer("Ipv6AddressCount")?,
            zone: given.parsed("AvailabilityZone")?,
            user_data,
            key_name: given.text("KeyName"),
            iam_instance_profile: given.text("IamInstanceProfile"),
            ebs_optimized: given.boolean("EbsOptimized").unwrap_or(false),
            monitoring: given.boolean("Monitoring").unwrap_or(false),
            disable_api_termination: given.boolean("DisableApiTermination").unwrap_or(false),
            shutdown_behavior: given
                .parsed("InstanceInitiatedShutdownBehavior")?
                .unwrap_or(ShutdownBehavior::Stop),
            tags: make.tags()?,
            ..RunInstances::new(image)
        };
        let launched = launch.apply(make.tx)?;
        let id = launched
            .instances
            .first()
            .map(|instance| instance.id)
            .ok_or_else(|| Error::internal("a launch without instances"))?;
        if given.boolean("SourceDestCheck") == Some(false) {
            ModifyInstanceAttribute {
                id,
                change: Change::SourceDestCheck(false),
            }
            .apply(make.tx)?;
        }
        let note = atoll_model::image::own(image).is_none().then(|| {
            format!(
                "{image} is not one of the images here; the default one, {}, is run",
                atoll_model::image::DEFAULT.id()
            )
        });
        Ok(Created {
            note,
            ..Created::tagged(id)
        })
    }

    fn progress(&self, seen: &Seen<'_>) -> Progress {
        let Some(instance) = seen.row::<Instance>() else {
            return Progress::Failed(format!("Instance {} was not found", seen.physical));
        };
        let wanted = seen.resource.wanted_signals;
        let signals = wanted.map_or(Progress::Complete, |wanted| heard(&seen.resource.signals, wanted));
        match (instance.state, signals) {
            (_, failed @ Progress::Failed(_)) => failed,
            (InstanceState::Running, Progress::Complete) => Progress::Complete,
            // A creation policy is also satisfied by user data that ends well.
            (InstanceState::Running, Progress::Waiting) => match instance.user_data_run {
                UserDataRun::Exited(0) => Progress::Complete,
                UserDataRun::Exited(status) => Progress::Failed(format!(
                    "Property CreationPolicy: The user data of {} ended with exit status {status}",
                    instance.id
                )),
                UserDataRun::None | UserDataRun::Pending | UserDataRun::Running => Progress::Waiting,
            },
            (InstanceState::Pending, _) => Progress::Waiting,
            (state, _) => {
                let why = instance.state_reason.as_ref().map_or("", |(_, message)| message);
                Progress::Failed(format!(
                    "Instance {} did not stabilize. Current state: {state}. Reason: {why}",
                    instance.id
                ))
            }
        }
    }

    fn attribute(&self, seen: &Seen<'_>, name: &str) -> Option<Value> {
        let instance = seen.row::<Instance>()?;
        let enis = seen.region.enis_of(instance.id);
        let primary = enis.first();
        let private = primary.and_then(|eni| eni.primary_ip());
        let public = primary
            .and_then(|eni| eni.private_addresses.first()?.public)
            .map(|public| public.ip);
        let vpc = seen
            .region
            .find::<atoll_model::Vpc>(seen.stack.owner, instance.vpc)
            .ok();
        Some(match name {
            "InstanceId" => seen.physical.into(),
            "VpcId" => instance.vpc.to_string().into(),
            "AvailabilityZone" => instance.zone.to_string().into(),
            "PrivateIp" => address(private),
            "PublicIp" => address(public),
            "PrivateDnsName" => private
                .map(|ip| Instance::private_dns_name(ip, seen.stack.region))
                .unwrap_or_default()
                .into(),
            "PublicDnsName" => match (public, vpc.is_some_and(|vpc| vpc.enable_dns_hostnames)) {
                (Some(ip), true) => public_dns_name(ip, seen.stack.region).into(),
                _ => "".into(),
            },
            "State.Code" => instance.state.code().to_string().into(),
            "State.Name" => instance.state.as_str().into(),
            _ => return None,
        })
    }

    fn delete(&self, tx: &mut Transaction, doomed: &Doomed<'_>) -> Result<(), Error> {
        TerminateInstances {
            ids: vec![doomed.id()?],
        }
        .apply(tx)
        .map(|_| ())
    }

    fn is_gone(&self, region: &Region, doomed: &Doomed<'_>) -> bool {
        let instance = doomed
            .id()
            .ok()
            .and_then(|id| region.find::<Instance>(doomed.account, id).ok());
        instance.is_none_or(|instance| instance.state == InstanceState::Terminated)
    }
}

/// The public host name of an address, such as `ec2-203-0-113-5.compute-1.amazonaws.com`.
fn public_dns_name(ip: std::net::Ipv4Addr, region: atoll_model::RegionName) -> String {
    let dashed = ip.to_string().replace('.', "-");
    if region == atoll_model::RegionName::DEFAULT {
        format!("ec2-{dashed}.compute-1.amazonaws.com")
    } else {
        format!("ec2-{dashed}.{region}.compute.amazonaws.com")
    }
}
