//! The canonical request, from which both the signer and the verifier hash.
//!
//! Rules: "Create a signed AWS API request" in the IAM user guide.

use std::fmt::Write as _;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::RequestParts;

pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub(crate) const TERMINATOR: &str = "aws4_request";
/// The one service whose paths are neither normalised nor encoded twice.
const S3: &str = "s3";

/// Where a signature holds: `day/region/service/aws4_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    pub day: String,
    pub region: String,
    pub service: String,
}

impl Scope {
    pub(crate) fn text(&self) -> String {
        format!("{}/{}/{}/{TERMINATOR}", self.day, self.region, self.service)
    }
}

/// The canonical request. `signed` are lower-case header names in order, all of them present.
pub(crate) fn canonical_request(
    request: &RequestParts<'_>,
    service: &str,
    signed: &[&str],
    body_hash: &str,
) -> Vec<u8> {
    let mut text = Vec::with_capacity(512);
    let mut line = |bytes: &[u8]| {
        text.extend_from_slice(bytes);
        text.push(b'\n');
    };
    line(request.method.as_bytes());
    line(canonical_path(request.path, service).as_bytes());
    line(canonical_query(request.query).as_bytes());
    for name in signed {
        line(&canonical_header(request, name));
    }
    line(b"");
    line(signed.join(";").as_bytes());
    text.extend_from_slice(body_hash.as_bytes());
    text
}

/// The HMAC that makes the signature: its output is the signature, its comparison constant-time.
pub(crate) fn signature(secret: &str, scope: &Scope, date: &str, canonical_request: &[u8]) -> Hmac<Sha256> {
    let hashed = hex(&Sha256::digest(canonical_request));
    let to_sign = format!("{ALGORITHM}\n{date}\n{}\n{hashed}", scope.text());
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [&*scope.day, &scope.region, &scope.service, TERMINATOR] {
        let mut mac = keyed(&key);
        mac.update(part.as_bytes());
        key = mac.finalize().into_bytes().to_vec();
    }
    let mut mac = keyed(&key);
    mac.update(to_sign.as_bytes());
    mac
}

#[expect(
    clippy::expect_used,
    reason = "HMAC takes a key of any length: the error has no way to occur"
)]
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

pub(crate) fn hash(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// `name:value,value`: every header of that name in order, each value trimmed and its runs of spaces
/// folded into one.
fn canonical_header(request: &RequestParts<'_>, name: &str) -> Vec<u8> {
    let mut line = Vec::with_capacity(64);
    line.extend_from_slice(name.as_bytes());
    line.push(b':');
    for (nth, (_, value)) in request
        .headers
        .iter()
        .filter(|(n, _)| n.eq_ignore_ascii_case(name))
        .enumerate()
    {
        if nth > 0 {
            line.push(b',');
        }
        let words = value
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        for (nth, word) in words.enumerate() {
            if nth > 0 {
                line.push(b' ');
            }
            line.extend_from_slice(word);
        }
    }
    line
}

fn canonical_path(path: &str, service: &str) -> String {
    if service == S3 {
        return encode(&decode(path), true);
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len() + 1);
    for segment in &kept {
        normal.push('/');
        normal.push_str(segment);
    }
    let directory = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    if kept.is_empty() || directory {
        normal.push('/');
    }
    // What arrives is encoded once already, and is encoded a second time.
    encode(normal.as_bytes(), true)
}

/// Names and values decoded and encoded in the one right way, sorted by name and then value.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encode(&decode(name), false), encode(&decode(value), false))
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |n: usize| after.get(n).and_then(|&b| char::from(b).to_digit(16));
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

fn encode(bytes: &[u8], is_path: bool) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len()), |mut text, &byte| {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    text.push(char::from(byte));
                }
                b'/' if is_path => text.push('/'),
                _ => {
                    let _ = write!(text, "%{byte:02X}");
                }
            }
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_sorted_by_encoded_name_and_then_value() {
        assert_eq!(canonical_query("b=2&a=2&a=1&a-b=3&A=4&"), "A=4&a=1&a=2&a-b=3&b=2");
        assert_eq!(canonical_query("flag&k=x%2fy%20z"), "flag=&k=x%2Fy%20z");
        assert_eq!(canonical_query("k=a=b+c"), "k=a%3Db%2Bc");
    }

    #[test]
    fn a_path_loses_dots_and_double_slashes_except_for_s3() {
        assert_eq!(canonical_path("", "ec2"), "/");
        assert_eq!(canonical_path("//a/./b/../c/", "ec2"), "/a/c/");
        assert_eq!(canonical_path("/../..", "ec2"), "/");
        assert_eq!(canonical_path("/a%20b", "ec2"), "/a%2520b");
        assert_eq!(canonical_path("//a/../%2f b", "s3"), "//a/..//%20b");
    }

    #[test]
    fn a_stray_percent_sign_stays_itself() {
        assert_eq!(decode("100%&%zz%4"), b"100%&%zz%4");
    }
}
