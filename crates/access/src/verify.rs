//! Verifying a signed request.

use atoll_model::{AccountId, Timestamp};
use hmac::Mac;

use crate::authorization::Authorization;
use crate::canonical;
use crate::error::{AuthError, Reason};
use crate::{AccessKey, Credential, SignedDate};

/// How far a request's date may be from now, in seconds: AWS's 15 minutes.
const MAX_SKEW: u64 = 15 * 60;

/// What of a request is signed, beside its body.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    /// The method, upper-case.
    pub method: &'a str,
    /// The path as it was on the wire, encoded.
    pub path: &'a str,
    /// The query as it was on the wire, without `?`.
    pub query: &'a str,
    /// The headers in their order, duplicates included; names in any case.
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl RequestParts<'_> {
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }
}

/// Who calls, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub account: AccountId,
    /// The access key's id.
    pub access_key: AccessKey,
    /// The region of the credential's scope.
    pub region: String,
    /// The service of the credential's scope: `ec2`, `sts`, `cloudformation`.
    pub service: String,
    /// The caller's ARN: the account's root, as long as there are no users.
    pub arn: String,
}

impl Caller {
    fn new(account: AccountId, access_key: AccessKey, scope: canonical::Scope) -> Self {
        let arn = format!("arn:aws:iam::{account}:root");
        Self {
            account,
            access_key,
            region: scope.region,
            service: scope.service,
            arn,
        }
    }
}

/// Verifies the signature of a request. The body is hashed here; what the request says its hash were is
/// only ever an additional reason to refuse.
///
/// # Errors
/// The first thing that is wrong. A wrong secret and a changed request are indistinguishable.
pub fn verify(
    request: &RequestParts<'_>,
    body: &[u8],
    credential: impl FnOnce(&AccessKey) -> Option<Credential>,
    now: Timestamp,
) -> Result<Caller, AuthError> {
    let authorization = parse(request).map_err(|reason| AuthError {
        reason,
        service: None,
    })?;
    let service = Some(authorization.scope.service.clone());
    checked(request, body, authorization, credential, now).map_err(|reason| AuthError { reason, service })
}

/// Reads who a request says it is from, and verifies nothing: `--auth none`. A request without a legible
/// `Authorization` header counts as one to `region` and `service`.
pub fn identify(request: &RequestParts<'_>, account: AccountId, region: &str, service: &str) -> Caller {
    match parse(request) {
        Ok(authorization) => Caller::new(account, authorization.access_key, authorization.scope),
        Err(_) => {
            let scope = canonical::Scope {
                day: String::new(),
                region: region.to_owned(),
                service: service.to_owned(),
            };
            Caller::new(account, AccessKey::anonymous(), scope)
        }
    }
}

fn parse<'a>(request: &RequestParts<'a>) -> Result<Authorization<'a>, Reason> {
    let mut headers = request
        .headers
        .iter()
        .filter(|(n, _)| n.eq_ignore_ascii_case("authorization"));
    let Some((_, header)) = headers.next() else {
        let presigned = request
            .query
            .split('&')
            .any(|pair| pair.starts_with("X-Amz-Algorithm="));
        return Err(if presigned {
            Reason::Presigned
        } else {
            Reason::Missing
        });
    };
    if headers.next().is_some() {
        return Err(Reason::Incomplete(
            "There is more than one Authorization header.".into(),
        ));
    }
    let header = str::from_utf8(header)
        .map_err(|_| Reason::Incomplete("The Authorization header is not text.".into()))?;
    Authorization::parse(header)
}

fn checked(
    request: &RequestParts<'_>,
    body: &[u8],
    authorization: Authorization<'_>,
    credential: impl FnOnce(&AccessKey) -> Option<Credential>,
    now: Timestamp,
) -> Result<Caller, Reason> {
    let Authorization {
        access_key,
        scope,
        signed_headers,
        signature,
    } = authorization;
    if request.header("x-amz-security-token").is_some() {
        return Err(Reason::SessionToken);
    }
    let signed = |name: &str| signed_headers.binary_search(&name).is_ok();
    if !signed("host") {
        return Err(Reason::Unsigned("Host"));
    }
    let (date_header, unsigned) = match request.header("x-amz-date") {
        Some(_) => ("x-amz-date", Reason::Unsigned("X-Amz-Date")),
        None => ("date", Reason::Unsigned("Date")),
    };
    let date_text = request.header(date_header).ok_or_else(|| {
        Reason::Incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.".into(),
        )
    })?;
    if !signed(date_header) {
        return Err(unsigned);
    }
    let date = str::from_utf8(date_text).unwrap_or_default();
    let now = SignedDate::from(now);
    let date = SignedDate::parse(date.trim()).map_err(|e| Reason::Incomplete(e.to_string()))?;
    if date.0.abs_diff(now.0) > MAX_SKEW {
        return Err(Reason::Skewed { date, now });
    }
    if scope.day != date.day() {
        return Err(Reason::WrongDay {
            scope: scope.day,
            date: date.day(),
        });
    }

    let body_hash = canonical::hash(body);
    if let Some(claimed) = request.header("x-amz-content-sha256") {
        if claimed == b"UNSIGNED-PAYLOAD" || claimed.starts_with(b"STREAMING-") {
            return Err(Reason::UnsignedBody);
        }
        if claimed != body_hash.as_bytes() {
            return Err(Reason::BodyHash);
        }
    }

    if signed_headers.iter().any(|name| request.header(name).is_none()) {
        return Err(Reason::Mismatch);
    }
    let Some(credential) = credential(&access_key) else {
        return Err(Reason::UnknownKey);
    };
    let hashed = canonical::canonical_request(request, &scope.service, &signed_headers, &body_hash);
    let mac = canonical::signature(credential.secret.expose(), &scope, &date.to_string(), &hashed);
    mac.verify_slice(&signature).map_err(|_| Reason::Mismatch)?;
    Ok(Caller::new(credential.account, access_key, scope))
}
