//! The services that are spoken, and what ties a request to its answer.

use crate::query::Decode;
use crate::xml::{Encode, Xml};

/// A service with an API of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Amazon EC2, the `ec2` protocol.
    Ec2,
    /// AWS STS, the `query` protocol.
    Sts,
    /// AWS CloudFormation, the `query` protocol.
    CloudFormation,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 3] = [Service::Ec2, Service::Sts, Service::CloudFormation];

    /// The name in a SigV4 credential scope.
    pub fn signing_name(self) -> &'static str {
        match self {
            Service::Ec2 => "ec2",
            Service::Sts => "sts",
            Service::CloudFormation => "cloudformation",
        }
    }

    /// The `Version` parameter its clients send.
    pub fn version(self) -> &'static str {
        match self {
            Service::Ec2 => "2016-11-15",
            Service::Sts => "2011-06-15",
            Service::CloudFormation => "2010-05-15",
        }
    }

    /// The namespace of its answers.
    pub fn namespace(self) -> &'static str {
        match self {
            Service::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
            Service::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            Service::CloudFormation => "http://cloudformation.amazonaws.com/doc/2010-05-15/",
        }
    }
}

/// A request of one operation.
pub trait Request: Decode + std::fmt::Debug + Send + 'static {
    /// Whose operation it is.
    const SERVICE: Service;
    /// The operation's name, the `Action` parameter.
    const ACTION: &'static str;
    /// What answers it.
    type Answer: Encode + Send + 'static;

    /// Whether the caller asks only if it could be done.
    fn dry_run(&self) -> bool {
        false
    }

    /// The answer as a document: `<XResponse>` with the request id where the service has it.
    fn document(answer: &Self::Answer, request_id: &str) -> String {
        let (action, mut xml) = (Self::ACTION, Xml::document());
        let response = format!("{action}Response");
        xml.open_with_namespace(&response, Self::SERVICE.namespace());
        match Self::SERVICE {
            Service::Ec2 => {
                xml.element("requestId", request_id);
                answer.encode(&mut xml);
            }
            Service::Sts | Service::CloudFormation => {
                xml.element_unless_empty(&format!("{action}Result"), answer);
                xml.open("ResponseMetadata");
                xml.element("RequestId", request_id);
                xml.close("ResponseMetadata");
            }
        }
        xml.close(&response);
        xml.finish()
    }
}
