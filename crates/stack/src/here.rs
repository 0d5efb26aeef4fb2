//! A region, as templates ask about it.

use atoll_model::stack::{Stack, StackStatus};
use atoll_model::{AccountId, Instance, RegionName, SecurityGroup, Subnet, Tags, Vpc};
use atoll_region::Region;

use crate::error::TemplateError;
use crate::intrinsic::Made;
use crate::life::Seen;
use crate::resource;
use crate::surroundings::{Pseudo, Surroundings};
use crate::value::Value;

/// A region, seen by an account.
#[derive(Clone, Copy)]
pub struct Here<'a> {
    /// The region.
    pub region: &'a Region,
    /// Who asks.
    pub account: AccountId,
}

impl Surroundings for Here<'_> {
    fn zones(&self, region: &str) -> Option<Vec<String>> {
        let name: RegionName = region.parse().ok()?;
        Some(name.zones().iter().map(ToString::to_string).collect())
    }

    fn default_image(&self) -> String {
        atoll_model::image::DEFAULT.id().to_string()
    }

    fn export(&self, name: &str) -> Option<String> {
        self.region
            .list::<Stack>(self.account)
            .filter(|stack| stack.status == StackStatus::CreateComplete)
            .flat_map(|stack| &stack.outputs)
            .find(|output| output.export.as_deref() == Some(name))
            .map(|output| output.value.clone())
    }

    fn all(&self, parameter_type: &str) -> Option<Vec<String>> {
        let (region, account) = (self.region, self.account);
        match parameter_type {
            "AWS::EC2::AvailabilityZone::Name" => self.zones(region.name().as_str()),
            "AWS::EC2::Image::Id" => Some(
                atoll_model::image::IMAGES
                    .iter()
                    .map(|image| image.id().to_string())
                    .collect(),
            ),
            "AWS::EC2::Instance::Id" => Some(
                region
                    .list::<Instance>(account)
                    .filter(|row| row.state != atoll_model::InstanceState::Terminated)
                    .map(|row| row.id.to_string())
                    .collect(),
            ),
            "AWS::EC2::SecurityGroup::Id" => Some(
                region
                    .list::<SecurityGroup>(account)
                    .map(|row| row.id.to_string())
                    .collect(),
            ),
            "AWS::EC2::SecurityGroup::GroupName" => Some(
                region
                    .list::<SecurityGroup>(account)
                    .map(|row| row.name.clone())
                    .collect(),
            ),
            "AWS::EC2::Subnet::Id" => Some(
                region
                    .list::<Subnet>(account)
                    .map(|row| row.id.to_string())
                    .collect(),
            ),
            "AWS::EC2::VPC::Id" => Some(
                region
                    .list::<Vpc>(account)
                    .map(|row| row.id.to_string())
                    .collect(),
            ),
            _ => None,
        }
    }

    fn value_of(&self, parameter_type: &str, id: &str, attribute: &str) -> Option<String> {
        let tag = |tags: &Tags| {
            attribute
                .strip_prefix("Tags.")
                .map(|key| tags.get(key).cloned().unwrap_or_default())
        };
        let (region, account) = (self.region, self.account);
        match parameter_type {
            "AWS::EC2::VPC::Id" => {
                let vpc = region.find::<Vpc>(account, id.parse().ok()?).ok()?;
                match attribute {
                    "DefaultNetworkAcl" => Some(vpc.default_network_acl.to_string()),
                    "DefaultSecurityGroup" => Some(vpc.default_security_group.to_string()),
                    _ => tag(&vpc.tags),
                }
            }
            "AWS::EC2::Subnet::Id" => {
                let subnet = region.find::<Subnet>(account, id.parse().ok()?).ok()?;
                match attribute {
                    "AvailabilityZone" => Some(subnet.zone.to_string()),
                    "VpcId" => Some(subnet.vpc.to_string()),
                    _ => tag(&subnet.tags),
                }
            }
            "AWS::EC2::SecurityGroup::Id" => {
                let group = region.find::<SecurityGroup>(account, id.parse().ok()?).ok()?;
                tag(&group.tags)
            }
            "AWS::EC2::Instance::Id" => tag(&region.find::<Instance>(account, id.parse().ok()?).ok()?.tags),
            _ => None,
        }
    }
}

/// What the resources of a stack return now.
pub(crate) struct Existing<'a> {
    pub(crate) region: &'a Region,
    pub(crate) stack: &'a Stack,
}

impl Made for Existing<'_> {
    fn reference(&self, logical_id: &str) -> Option<Value> {
        let resource = self.stack.resources.get(logical_id)?;
        Some(resource.physical.as_deref().map_or(Value::Later, Value::from))
    }

    fn attribute(&self, logical_id: &str, attribute: &str) -> Result<Option<Value>, TemplateError> {
        let Some(resource) = self.stack.resources.get(logical_id) else {
            return Ok(None);
        };
        let Some(physical) = resource.physical.as_deref() else {
            return Ok(Some(Value::Later));
        };
        let (region, stack) = (self.region, self.stack);
        let seen = Seen {
            region,
            stack,
            logical_id,
            resource,
            physical,
        };
        let value =
            resource::find(&resource.type_name).and_then(|kind| kind.life.attribute(&seen, attribute));
        value.map(Some).ok_or_else(|| {
            TemplateError::function(format!(
                "{attribute} of {logical_id} has no value: {physical} is gone or has no such attribute"
            ))
        })
    }
}

/// The pseudo parameters of a stack.
pub fn pseudo_of(stack: &Stack) -> Pseudo {
    Pseudo {
        account: stack.owner.to_string(),
        region: stack.region.to_string(),
        stack_name: stack.name.clone(),
        stack_id: stack.arn(),
        notification_arns: stack.notification_arns.clone(),
    }
}
