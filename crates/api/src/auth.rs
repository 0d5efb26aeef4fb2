//! Who calls: the one place where the API asks `access`.

use atoll_access::{Caller, RequestParts, identify, verify};
use atoll_model::AccountId;
use atoll_shapes::Service;
use axum::http::request::Parts;

use crate::backend::Backend;
use crate::error::ApiError;

/// Which callers are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Any, as account 123456789012 (`--auth none`).
    None,
    /// Those whose Signature Version 4 is right.
    SigV4,
}

/// Who a request is from, and for which region and service.
///
/// # Errors
/// The code that `service`, as the request's version has it, uses for what is wrong.
pub fn authenticate(
    auth: Auth,
    backend: &dyn Backend,
    service: Service,
    parts: &Parts,
    body: &[u8],
) -> Result<Caller, ApiError> {
    let headers: Vec<(&str, &[u8])> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let request = RequestParts {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &headers,
    };
    match auth {
        Auth::None => {
            let region = backend.regions().first().map_or("", |region| region.as_str());
            Ok(identify(
                &request,
                AccountId::DEFAULT,
                region,
                service.signing_name(),
            ))
        }
        Auth::SigV4 => {
            verify(&request, body, |key| backend.credential(key), backend.now()).map_err(|mut error| {
                error
                    .service
                    .get_or_insert_with(|| service.signing_name().to_owned());
                ApiError::new(error.code(), error.to_string())
            })
        }
    }
}
