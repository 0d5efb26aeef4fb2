//! What a caller is told when a request fails: AWS's code, a sentence, an HTTP status.

use std::borrow::Cow;

use atoll_shapes::Service;
use atoll_shapes::query::DecodeError;
use atoll_shapes::xml::Xml;

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// AWS's code; clients branch on it.
    pub code: Cow<'static, str>,
    /// One sentence: what was wrong, with which value, and what would be right.
    pub message: String,
}

impl ApiError {
    /// An error of that code.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> ApiError {
        ApiError {
            code: code.into(),
            message: message.into(),
        }
    }

    /// `InvalidParameterValue`.
    pub fn invalid_value(message: impl Into<String>) -> ApiError {
        ApiError::new("InvalidParameterValue", message)
    }

    /// `InvalidParameterValue` in EC2's words for one parameter.
    pub fn invalid_parameter(parameter: &str, value: &str, why: &str) -> ApiError {
        let value = shortened(value);
        ApiError::invalid_value(format!(
            "Value ({value}) for parameter {parameter} is invalid. {why}"
        ))
    }

    /// `InvalidParameterCombination`.
    pub fn invalid_combination(message: impl Into<String>) -> ApiError {
        ApiError::new("InvalidParameterCombination", message)
    }

    /// `MissingParameter`.
    pub fn missing(parameter: &str) -> ApiError {
        ApiError::new(
            "MissingParameter",
            format!("The request must contain the parameter {parameter}"),
        )
    }

    /// `UnsupportedOperation`: AWS knows it, Atoll does not do it.
    pub fn unsupported(message: impl Into<String>) -> ApiError {
        ApiError::new("UnsupportedOperation", message)
    }

    /// `InternalError`: our fault; nothing was changed.
    pub fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new("InternalError", message)
    }

    /// `Unavailable`: nothing was changed, and trying again may help.
    pub fn unavailable(message: impl Into<String>) -> ApiError {
        ApiError::new("Unavailable", message)
    }

    /// `DryRunOperation`: what `DryRun` answers when the request would have succeeded.
    pub fn dry_run() -> ApiError {
        ApiError::new(
            "DryRunOperation",
            "Request would have succeeded, but DryRun flag is set.",
        )
    }

    /// `InvalidAction` in the service's words.
    pub fn invalid_action(service: Service, action: &str) -> ApiError {
        let action = shortened(action);
        ApiError::new(
            "InvalidAction",
            match service {
                Service::Ec2 => format!("The action {action} is not valid for this web service."),
                Service::Sts | Service::CloudFormation => {
                    format!(
                        "Could not find operation {action} for version {}",
                        service.version()
                    )
                }
            },
        )
    }

    /// What a request that could not be read is answered by a service.
    pub fn undecodable(service: Service, error: &DecodeError) -> ApiError {
        let code = match (service, error) {
            (Service::Sts | Service::CloudFormation, _) => "ValidationError",
            (Service::Ec2, DecodeError::Unknown { .. }) => "UnknownParameter",
            (Service::Ec2, DecodeError::Missing { .. }) => "MissingParameter",
            (Service::Ec2, DecodeError::Invalid { .. }) => "InvalidParameterValue",
            (Service::Ec2, DecodeError::Repeated { .. }) => "InvalidParameterCombination",
            (Service::Ec2, DecodeError::TooMany) => "RequestLimitExceeded",
        };
        ApiError::new(code, error.to_string())
    }

    /// The HTTP status that goes with the code.
    pub fn status(&self) -> u16 {
        match &*self.code {
            "AuthFailure" => 401,
            "UnauthorizedOperation"
            | "AccessDenied"
            | "SignatureDoesNotMatch"
            | "InvalidClientTokenId"
            | "MissingAuthenticationToken"
            | "OptInRequired"
            | "Blocked" => 403,
            "InvalidURI" => 404,
            "MethodNotAllowed" => 405,
            "DryRunOperation" => 412,
            "RequestEntityTooLarge" => 413,
            "InternalError" | "InternalFailure" => 500,
            "RequestLimitExceeded" | "Unavailable" | "ServiceUnavailable" => 503,
            _ => 400,
        }
    }

    /// The error as the service's clients read it.
    pub fn document(&self, service: Service, request_id: &str) -> String {
        let mut xml = Xml::document();
        match service {
            Service::Ec2 => {
                xml.open("Response");
                xml.open("Errors");
                self.error(&mut xml, None);
                xml.close("Errors");
                xml.element("RequestID", request_id);
                xml.close("Response");
            }
            Service::Sts | Service::CloudFormation => {
                xml.open_with_namespace("ErrorResponse", service.namespace());
                self.error(
                    &mut xml,
                    Some(if self.status() < 500 { "Sender" } else { "Receiver" }),
                );
                xml.element("RequestId", request_id);
                xml.close("ErrorResponse");
            }
        }
        xml.finish()
    }

    fn error(&self, xml: &mut Xml, whose: Option<&str>) {
        xml.open("Error");
        if let Some(whose) = whose {
            xml.element("Type", whose);
        }
        xml.element("Code", &*self.code);
        xml.element("Message", &self.message);
        xml.close("Error");
    }
}

impl From<atoll_region::Error> for ApiError {
    fn from(error: atoll_region::Error) -> ApiError {
        ApiError::new(error.code, error.message)
    }
}

/// At most 64 characters of what a client wrote.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_written_in_the_services_form() {
        let error = ApiError::invalid_action(Service::Ec2, "Fly<>");
        assert_eq!(
            error.document(Service::Ec2, "id"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>InvalidAction</Code>\
             <Message>The action Fly&lt;&gt; is not valid for this web service.</Message></Error></Errors>\
             <RequestID>id</RequestID></Response>"
        );
        let error = ApiError::internal("x");
        assert_eq!(
            error.document(Service::Sts, "id"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Receiver</Type>\
             <Code>InternalError</Code><Message>x</Message></Error><RequestId>id</RequestId></ErrorResponse>"
        );
    }

    #[test]
    fn codes_have_awss_statuses() {
        for (code, status) in [
            ("InvalidVpcID.NotFound", 400),
            ("AuthFailure", 401),
            ("UnauthorizedOperation", 403),
            ("SignatureDoesNotMatch", 403),
            ("DryRunOperation", 412),
            ("InternalError", 500),
            ("Unavailable", 503),
        ] {
            assert_eq!(ApiError::new(code, "").status(), status, "{code}");
        }
    }
}
