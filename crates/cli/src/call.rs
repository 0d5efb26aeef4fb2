//! `atoll api ACTION [Key=Value]…`: one signed call of AWS's API, its XML printed; for those without an AWS client at hand.

use std::process::ExitCode;

use crate::api::ApiError;
use crate::connection::Connection;
use crate::{Outcome, arguments, output};

/// The service that has an operation, and the version of its API. No two services here share a name.
fn service(action: &str) -> (&'static str, &'static str) {
    if action.contains("Stack") {
        ("cloudformation", "2010-05-15")
    } else if action == "GetCallerIdentity" {
        ("sts", "2011-06-15")
    } else {
        ("ec2", "2016-11-15")
    }
}

pub fn run(endpoint: Option<String>, arguments: arguments::Api) -> Outcome {
    let region = arguments.region.map(|region| region.to_string());
    let api = Connection::new(endpoint)?.api(region)?;
    let (service, version) = service(&arguments.action);
    match api.text(service, version, &arguments.action, &arguments.parameters) {
        Ok(text) => {
            output::line(text)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ ApiError::Refused { .. }) => {
            output::note(format!("atoll: {error}"));
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}
