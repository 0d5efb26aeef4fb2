//! Signing a request: what Atoll's own client does.

use atoll_model::Timestamp;
use hmac::Mac;

use crate::canonical::{self, ALGORITHM, Scope};
use crate::{Credential, RequestParts, SignedDate};

/// The headers that make a request signed. Send both, and every header that was given to [`sign`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The value of `Authorization`.
    pub authorization: String,
    /// The value of `X-Amz-Date`.
    pub x_amz_date: String,
}

/// Signs a request for a service in a region. All of `request.headers` are signed, and `X-Amz-Date`
/// with them; `host` must be among them and `authorization` and `x-amz-date` must not.
pub fn sign(
    request: &RequestParts<'_>,
    body: &[u8],
    credential: &Credential,
    region: &str,
    service: &str,
    now: Timestamp,
) -> Signed {
    let now = SignedDate::from(now);
    let x_amz_date = now.to_string();
    let mut headers = request.headers.to_vec();
    headers.push(("x-amz-date", x_amz_date.as_bytes()));
    let mut names: Vec<String> = headers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    names.sort();
    names.dedup();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let request = RequestParts {
        headers: &headers,
        ..*request
    };
    let scope = Scope {
        day: now.day(),
        region: region.to_owned(),
        service: service.to_owned(),
    };
    let hashed = canonical::canonical_request(&request, service, &names, &canonical::hash(body));
    let mac = canonical::signature(credential.secret.expose(), &scope, &x_amz_date, &hashed);
    let authorization = format!(
        "{ALGORITHM} Credential={}/{}, SignedHeaders={}, Signature={}",
        credential.access_key,
        scope.text(),
        names.join(";"),
        canonical::hex(&mac.finalize().into_bytes()),
    );
    Signed {
        authorization,
        x_amz_date,
    }
}
