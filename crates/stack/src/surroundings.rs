//! What a template may ask of the world outside it: zones, images, other stacks' exports, objects that
//! exist already.

/// Answers about the region that a stack is made in. Pure: the same region gives the same answers.
pub trait Surroundings {
    /// The names of a region's Availability Zones in order, or `None` if there is no such region.
    fn zones(&self, region: &str) -> Option<Vec<String>>;

    /// The id of the image that stands for every AMI.
    fn default_image(&self) -> String;

    /// The value that another stack exports under this name.
    fn export(&self, name: &str) -> Option<String>;

    /// Every value that a parameter of this AWS-specific type (`AWS::EC2::VPC::Id`) could have here.
    /// `Fn::RefAll` lists them. `None` if the type's objects cannot be listed.
    fn all(&self, parameter_type: &str) -> Option<Vec<String>>;

    /// An attribute (`DefaultSecurityGroup`, `VpcId`, `AvailabilityZone`, `Tags.Name`…) of one object of
    /// an AWS-specific parameter type. `Fn::ValueOf` reads it.
    fn value_of(&self, parameter_type: &str, id: &str, attribute: &str) -> Option<String>;
}

/// The values of the pseudo parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pseudo {
    /// `AWS::AccountId`, 12 digits.
    pub account: String,
    /// `AWS::Region`.
    pub region: String,
    /// `AWS::StackName`.
    pub stack_name: String,
    /// `AWS::StackId`, the ARN.
    pub stack_id: String,
    /// `AWS::NotificationARNs`.
    pub notification_arns: Vec<String>,
}

impl Pseudo {
    /// `AWS::Partition`.
    pub fn partition(&self) -> &'static str {
        if self.region.starts_with("cn-") {
            "aws-cn"
        } else if self.region.starts_with("us-gov-") {
            "aws-us-gov"
        } else {
            "aws"
        }
    }

    /// `AWS::URLSuffix`.
    pub fn url_suffix(&self) -> &'static str {
        if self.region.starts_with("cn-") {
            "amazonaws.com.cn"
        } else {
            "amazonaws.com"
        }
    }
}

/// What a public parameter of Systems Manager holds: an image path is the default image, the version of
/// the CDK bootstrap is 21. Nothing else is stored here.
pub(crate) fn public_parameter(name: &str, surroundings: &dyn Surroundings) -> Option<String> {
    let image = [
        "/aws/service/ami-",
        "/aws/service/canonical/",
        "/aws/service/debian/",
        "/aws/service/bottlerocket/",
        "/aws/service/suse/",
    ];
    if image.iter().any(|path| name.starts_with(path)) {
        Some(surroundings.default_image())
    } else if name.starts_with("/cdk-bootstrap/") {
        Some("21".to_owned())
    } else {
        None
    }
}
