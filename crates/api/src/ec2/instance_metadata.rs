//! The metadata options of a launch: kept and shown, so that a client finds what it asked for.

use atoll_model::MetadataOptions;
use atoll_shapes::ec2::{InstanceMetadataOptionsRequest, InstanceMetadataOptionsResponse};

use crate::error::ApiError;

/// What a launch asks for; EC2's defaults where it says nothing.
///
/// # Errors
/// `InvalidParameterValue` for a word or a number that EC2 does not know there.
pub(super) fn asked(request: &InstanceMetadataOptionsRequest) -> Result<MetadataOptions, ApiError> {
    let default = MetadataOptions::default();
    let flag =
        |parameter: &str, text: &Option<String>, yes: &str, no: &str, default: bool| match text.as_deref() {
            None | Some("") => Ok(default),
            Some(word) if word == yes => Ok(true),
            Some(word) if word == no => Ok(false),
            Some(word) => Err(ApiError::invalid_parameter(
                &format!("MetadataOptions.{parameter}"),
                word,
                &format!("Known are {yes} and {no}."),
            )),
        };
    let switch = |parameter: &str, text, default| flag(parameter, text, "enabled", "disabled", default);
    let hop_limit = match request.http_put_response_hop_limit {
        None => default.hop_limit,
        Some(hops) => u8::try_from(hops)
            .ok()
            .filter(|hops| (1..=64).contains(hops))
            .ok_or_else(|| {
                let parameter = "MetadataOptions.HttpPutResponseHopLimit";
                ApiError::invalid_parameter(parameter, &hops.to_string(), "It must be from 1 to 64.")
            })?,
    };
    Ok(MetadataOptions {
        endpoint: switch("HttpEndpoint", &request.http_endpoint, default.endpoint)?,
        tokens_required: flag(
            "HttpTokens",
            &request.http_tokens,
            "required",
            "optional",
            default.tokens_required,
        )?,
        hop_limit,
        ipv6: switch("HttpProtocolIpv6", &request.http_protocol_ipv6, default.ipv6)?,
        tags: switch(
            "InstanceMetadataTags",
            &request.instance_metadata_tags,
            default.tags,
        )?,
    })
}

/// EC2's word for a switch.
pub(super) fn enabled(yes: bool) -> &'static str {
    if yes { "enabled" } else { "disabled" }
}

/// EC2's word for whether tokens are required.
pub(super) fn tokens(options: MetadataOptions) -> &'static str {
    if options.tokens_required {
        "required"
    } else {
        "optional"
    }
}

/// As a description shows them.
pub(super) fn shape(options: MetadataOptions) -> InstanceMetadataOptionsResponse {
    InstanceMetadataOptionsResponse {
        state: Some("applied".into()),
        http_tokens: Some(tokens(options).into()),
        http_put_response_hop_limit: Some(options.hop_limit.into()),
        http_endpoint: Some(enabled(options.endpoint).into()),
        http_protocol_ipv6: Some(enabled(options.ipv6).into()),
        instance_metadata_tags: Some(enabled(options.tags).into()),
    }
}
