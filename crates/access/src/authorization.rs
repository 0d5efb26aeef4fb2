//! The `Authorization` header of Signature Version 4.

use crate::AccessKey;
use crate::canonical::{ALGORITHM, Scope, TERMINATOR};
use crate::error::Reason;

/// No honest header is longer: a 128-character key, a scope, some tens of header names.
const MAX_LENGTH: usize = 4096;
const MAX_SIGNED_HEADERS: usize = 128;

/// The header's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authorization<'a> {
    pub access_key: AccessKey,
    pub scope: Scope,
    /// Lower-case, ascending, each once.
    pub signed_headers: Vec<&'a str>,
    pub signature: [u8; 32],
}

impl<'a> Authorization<'a> {
    pub(crate) fn parse(header: &'a str) -> Result<Self, Reason> {
        if header.len() > MAX_LENGTH {
            return Err(incomplete(format!(
                "The Authorization header has {} bytes; at most {MAX_LENGTH} are read.",
                header.len()
            )));
        }
        let header = header.trim();
        let (algorithm, fields) = header.split_once(' ').unwrap_or((header, ""));
        if algorithm != ALGORITHM {
            return Err(incomplete(format!(
                "Unsupported AWS 'algorithm': use {ALGORITHM}."
            )));
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let Some((name, value)) = field.trim().split_once('=') else {
                return Err(incomplete(
                    "The Authorization header is not a list of key=value pairs (missing equal-sign).".into(),
                ));
            };
            let slot = match name.trim() {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => {
                    return Err(incomplete(
                        "The Authorization header has a parameter that is not known.".into(),
                    ));
                }
            };
            if slot.replace(value.trim()).is_some() {
                return Err(incomplete(format!(
                    "Authorization header has '{}' twice.",
                    name.trim()
                )));
            }
        }
        let required = |value: Option<&'a str>, name: &str| {
            value
                .filter(|v| !v.is_empty())
                .ok_or_else(|| incomplete(format!("Authorization header requires '{name}' parameter.")))
        };
        let (access_key, scope) = parse_credential(required(credential, "Credential")?)?;
        Ok(Self {
            access_key,
            scope,
            signed_headers: parse_signed_headers(required(signed_headers, "SignedHeaders")?)?,
            signature: parse_signature(required(signature, "Signature")?)?,
        })
    }
}

fn incomplete(why: String) -> Reason {
    Reason::Incomplete(why)
}

fn parse_credential(text: &str) -> Result<(AccessKey, Scope), Reason> {
    let parts: Vec<&str> = text.split('/').collect();
    let &[key, day, region, service, terminator] = parts.as_slice() else {
        return Err(incomplete(format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got {}.",
            parts.len()
        )));
    };
    let access_key = key
        .parse()
        .map_err(|e: crate::AccessKeyError| incomplete(e.to_string()))?;
    if terminator != TERMINATOR {
        return Err(incomplete(format!(
            "Credential should be scoped with a valid terminator: '{TERMINATOR}'."
        )));
    }
    if day.len() != 8 || !day.bytes().all(|b| b.is_ascii_digit()) {
        return Err(incomplete(
            "Credential should be scoped with a date of the form YYYYMMDD.".into(),
        ));
    }
    for part in [region, service] {
        let fits = (1..=64).contains(&part.len());
        if !fits || !part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(incomplete(
                "Credential should be scoped with a region and a service.".into(),
            ));
        }
    }
    let scope = Scope {
        day: day.into(),
        region: region.into(),
        service: service.into(),
    };
    Ok((access_key, scope))
}

fn parse_signed_headers(text: &str) -> Result<Vec<&str>, Reason> {
    let names: Vec<&str> = text.split(';').collect();
    let token = |name: &&str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase() && b != b':')
    };
    let ascending = names.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
    if names.len() > MAX_SIGNED_HEADERS || !names.iter().all(token) || !ascending {
        return Err(incomplete(
            "SignedHeaders must be lower-case header names in ascending order, each once, between semicolons."
                .into(),
        ));
    }
    Ok(names)
}

fn parse_signature(text: &str) -> Result<[u8; 32], Reason> {
    let wrong = || incomplete("Signature must be 64 hexadecimal digits.".into());
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| {
            c.to_digit(16)
                .filter(|_| !c.is_ascii_uppercase())
                .map(|d| d as u8)
        })
        .collect();
    let digits = digits.filter(|d| d.len() == 64).ok_or_else(wrong)?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |n, d| n << 4 | d))
        .collect();
    bytes.try_into().map_err(|_| wrong())
}
