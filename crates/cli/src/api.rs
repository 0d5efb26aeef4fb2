//! Calling AWS's query API, signed.

use std::time::Duration;

use atoll_access::{Credential, RequestParts, sign};
use atoll_daemon::entropy;

use crate::xml::Element;

/// Longer than any call takes: those that take long answer at once and are asked about later.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest answer that is read.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The API answered with an error of its own.
    #[error("{message} ({code})")]
    Refused {
        /// AWS's code.
        code: String,
        /// AWS's message.
        message: String,
    },
    /// There was no answer.
    #[error("no answer from {endpoint}: {why}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// What happened.
        why: String,
    },
    /// The answer was not AWS's XML.
    #[error("{endpoint} answered {status} with something that is no answer of AWS's API: {why}")]
    Illegible {
        /// Where.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// What was amiss.
        why: String,
    },
}

/// An endpoint with a key and a region.
pub struct Api {
    endpoint: String,
    credential: Credential,
    region: String,
    agent: ureq::Agent,
}

impl Api {
    /// No connection is made yet.
    pub fn new(endpoint: String, credential: Credential, region: String) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .proxy(None)
            .build();
        Self {
            endpoint,
            credential,
            region,
            agent: ureq::Agent::new_with_config(config),
        }
    }

    /// The region that is called.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Calls an operation of CloudFormation; gives its result element.
    ///
    /// # Errors
    /// What the API answers, or that it does not.
    pub fn cloudformation(&self, action: &str, parameters: &[(String, String)]) -> Result<Element, ApiError> {
        let answer = self.call("cloudformation", "2010-05-15", action, parameters)?;
        Ok(answer
            .child(&format!("{action}Result"))
            .cloned()
            .unwrap_or_default())
    }

    fn call(
        &self,
        service: &str,
        version: &str,
        action: &str,
        parameters: &[(String, String)],
    ) -> Result<Element, ApiError> {
        self.exchange(service, version, action, parameters)
            .map(|(root, _)| root)
    }

    /// Calls an operation; gives its answer as it came.
    ///
    /// # Errors
    /// What the API answers, or that it does not.
    pub fn text(
        &self,
        service: &str,
        version: &str,
        action: &str,
        parameters: &[(String, String)],
    ) -> Result<String, ApiError> {
        self.exchange(service, version, action, parameters)
            .map(|(_, text)| text)
    }

    fn exchange(
        &self,
        service: &str,
        version: &str,
        action: &str,
        parameters: &[(String, String)],
    ) -> Result<(Element, String), ApiError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action)
            .append_pair("Version", version)
            .extend_pairs(parameters);
        let body = form.finish();
        let host = self.endpoint.strip_prefix("http://").unwrap_or(&self.endpoint);
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        let headers = [("host", host.as_bytes()), ("content-type", kind.as_bytes())];
        let parts = RequestParts {
            method: "POST",
            path: "/",
            query: "",
            headers: &headers,
        };
        let now = entropy::now();
        let signed = sign(
            &parts,
            body.as_bytes(),
            &self.credential,
            &self.region,
            service,
            now,
        );
        let unreachable = |e: ureq::Error| ApiError::Unreachable {
            endpoint: self.endpoint.clone(),
            why: e.to_string(),
        };
        let mut answer = self
            .agent
            .post(&self.endpoint)
            .header("Content-Type", kind)
            .header("X-Amz-Date", &signed.x_amz_date)
            .header("Authorization", &signed.authorization)
            .send(&body)
            .map_err(unreachable)?;
        let status = answer.status().as_u16();
        let text = answer
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER)
            .read_to_string()
            .map_err(unreachable)?;
        let root = Element::parse(&text).map_err(|why| ApiError::Illegible {
            endpoint: self.endpoint.clone(),
            status,
            why,
        })?;
        if (200..300).contains(&status) {
            return Ok((root, text));
        }
        let error = root.find("Error").ok_or_else(|| ApiError::Illegible {
            endpoint: self.endpoint.clone(),
            status,
            why: "an error without <Error>".into(),
        })?;
        Err(ApiError::Refused {
            code: error.text_of("Code"),
            message: error.text_of("Message"),
        })
    }
}
