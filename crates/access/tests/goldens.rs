//! Requests that others signed: AWS's published Signature Version 4 test suite, and botocore
//! (`tests/data/sign_goldens.py` makes its file). Each must verify, and must stop doing so when any signed
//! part of it changes.
#![allow(clippy::unwrap_used)]

use atoll_access::{
    AuthError, Caller, Credential, Reason, RequestParts, SecretKey, SignedDate, identify, sign, verify,
};
use atoll_model::{AccountId, Timestamp};
use serde::Deserialize;

#[derive(Deserialize)]
struct Suite {
    access_key: String,
    secret: String,
    requests: Vec<Request>,
}

#[derive(Deserialize, Clone)]
struct Request {
    name: String,
    service: String,
    region: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.push((name.into(), value.into()));
    }

    fn date(&self) -> Timestamp {
        SignedDate::parse(self.header("x-amz-date").unwrap())
            .unwrap()
            .into()
    }

    fn verify(&self, credential: &Credential, now: Timestamp) -> Result<Caller, AuthError> {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_bytes()))
            .collect();
        let parts = RequestParts {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &headers,
        };
        let lookup = |key: &_| (*key == credential.access_key).then(|| credential.clone());
        verify(&parts, self.body.as_bytes(), lookup, now)
    }
}

fn suite(text: &str) -> (Credential, Vec<Request>) {
    let suite: Suite = serde_json::from_str(text).unwrap();
    let credential = Credential {
        account: AccountId::DEFAULT,
        access_key: suite.access_key.parse().unwrap(),
        secret: SecretKey::new(suite.secret),
    };
    (credential, suite.requests)
}

fn suites() -> [(Credential, Vec<Request>); 2] {
    [
        suite(include_str!("data/aws-suite.json")),
        suite(include_str!("data/botocore.json")),
    ]
}

/// The suite's paths are written raw; a request on the wire has them encoded, and is then the same.
fn ec2() -> (Credential, Request) {
    let (credential, requests) = suite(include_str!("data/botocore.json"));
    (
        credential,
        requests.into_iter().find(|r| r.name == "ec2 describe").unwrap(),
    )
}

#[test]
fn what_aws_and_botocore_signed_is_verified() {
    for (credential, requests) in suites() {
        assert!(requests.len() > 5);
        for request in requests {
            let caller = request.verify(&credential, request.date());
            let caller = caller.unwrap_or_else(|e| panic!("{}: {:?}", request.name, e.reason));
            assert_eq!(caller.region, request.region);
            assert_eq!(caller.service, request.service);
            assert_eq!(caller.account, AccountId::DEFAULT);
            assert_eq!(caller.arn, "arn:aws:iam::123456789012:root");
        }
    }
}

#[test]
fn a_change_of_any_signed_part_is_seen() {
    type Change = fn(&mut Request);
    let changes: [(&str, Change); 6] = [
        ("method", |r| r.method = "PUT".into()),
        ("path", |r| r.path = "/other".into()),
        ("query", |r| r.query.push_str("&Extra=1")),
        ("body", |r| r.body.push('&')),
        ("host", |r| r.set("Host", "elsewhere.example")),
        ("duplicate host", |r| {
            r.headers.push(("host".into(), "elsewhere.example".into()))
        }),
    ];
    for (credential, requests) in suites() {
        for request in requests {
            for (what, change) in changes {
                let mut changed = request.clone();
                change(&mut changed);
                let refused = changed.verify(&credential, request.date()).map_err(|e| e.reason);
                assert_eq!(refused, Err(Reason::Mismatch), "{}: {what}", request.name);
            }
        }
    }
}

#[test]
fn a_signature_of_another_secret_or_key_is_refused_in_the_services_own_words() {
    let (credential, request) = ec2();
    let now = request.date();
    let ec2_says = "AWS was not able to validate the provided access credentials";
    let wrong = Credential {
        secret: SecretKey::new("wrong"),
        ..credential.clone()
    };
    let unknown = Credential {
        access_key: "AKIAOTHER".parse().unwrap(),
        ..credential.clone()
    };
    for other in [wrong.clone(), unknown.clone()] {
        let refused = request.verify(&other, now).unwrap_err();
        assert_eq!(
            (refused.code(), refused.status(), &*refused.to_string()),
            ("AuthFailure", 401, ec2_says)
        );
    }
    let (credential, requests) = suite(include_str!("data/botocore.json"));
    let sts = requests.into_iter().find(|r| r.name == "sts").unwrap();
    let wrong = Credential {
        secret: wrong.secret,
        ..credential.clone()
    };
    let refused = sts.verify(&wrong, now).unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("SignatureDoesNotMatch", 403));
    let refused = sts.verify(&unknown, now).unwrap_err();
    assert_eq!((refused.code(), refused.status()), ("InvalidClientTokenId", 403));
}

#[test]
fn a_date_more_than_fifteen_minutes_off_is_refused_both_ways() {
    let (credential, request) = ec2();
    let at = |seconds: i64| {
        request.verify(
            &credential,
            Timestamp(request.date().0.strict_add_signed(seconds * 1000)),
        )
    };
    assert!(at(15 * 60).is_ok() && at(-15 * 60).is_ok());
    for seconds in [15 * 60 + 1, -15 * 60 - 1] {
        let refused = at(seconds).unwrap_err();
        assert_eq!((refused.code(), refused.status()), ("RequestExpired", 400));
    }
}

#[test]
fn a_request_without_or_with_half_a_signature_says_what_is_missing() {
    let (credential, mut request) = ec2();
    let now = request.date();
    let whole = request.header("authorization").unwrap().to_owned();
    let refused = |request: &Request| {
        let refused = request.verify(&credential, now).unwrap_err();
        (refused.code(), refused.to_string())
    };
    for part in ["Credential", "SignedHeaders", "Signature"] {
        request.set(
            "Authorization",
            &whole.replace(&format!("{part}="), &format!("{part}=, X-{part}=")),
        );
        assert_eq!(refused(&request).0, "IncompleteSignature", "{part}");
        let fields: Vec<_> = whole["AWS4-HMAC-SHA256 ".len()..]
            .split(", ")
            .filter(|f| !f.starts_with(&format!("{part}=")))
            .collect();
        request.set(
            "Authorization",
            &format!("AWS4-HMAC-SHA256 {}", fields.join(", ")),
        );
        let expected = format!("Authorization header requires '{part}' parameter.");
        assert_eq!(refused(&request), ("IncompleteSignature", expected));
    }
    request.set(
        "Authorization",
        &whole.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
    );
    assert_eq!(refused(&request).0, "IncompleteSignature");
    request
        .headers
        .retain(|(n, _)| !n.eq_ignore_ascii_case("authorization"));
    assert_eq!(refused(&request).0, "MissingAuthenticationToken");
    request.query = "X-Amz-Algorithm=AWS4-HMAC-SHA256".into();
    assert!(refused(&request).1.contains("presigned"));
}

#[test]
fn a_session_token_is_refused_clearly() {
    let (credential, mut request) = ec2();
    request.set("X-Amz-Security-Token", "t");
    let refused = request.verify(&credential, request.date()).unwrap_err();
    assert_eq!(refused.code(), "AuthFailure");
    assert!(refused.to_string().contains("X-Amz-Security-Token"), "{refused}");
}

#[test]
fn the_bodys_hash_is_never_taken_from_the_request() {
    let (credential, mut request) = ec2();
    let now = request.date();
    for claimed in ["UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"] {
        request.set("X-Amz-Content-SHA256", claimed);
        let refused = request.verify(&credential, now).map_err(|e| e.reason);
        assert_eq!(refused, Err(Reason::UnsignedBody));
    }
    request.set("X-Amz-Content-SHA256", &"0".repeat(64));
    assert_eq!(
        request.verify(&credential, now).map_err(|e| e.reason),
        Err(Reason::BodyHash)
    );
}

#[test]
fn host_and_date_must_be_signed() {
    let (credential, request) = ec2();
    let whole = request.header("authorization").unwrap().to_owned();
    for (name, unsigned) in [("host;", "Host"), (";x-amz-date", "X-Amz-Date")] {
        let mut request = request.clone();
        request.set("Authorization", &whole.replace(name, ""));
        let refused = request.verify(&credential, request.date()).map_err(|e| e.reason);
        assert_eq!(refused, Err(Reason::Unsigned(unsigned)));
    }
}

#[test]
fn the_scopes_day_must_be_the_requests() {
    let (credential, mut request) = ec2();
    let whole = request
        .header("authorization")
        .unwrap()
        .replace("/20260228/", "/20260301/");
    request.set("Authorization", &whole);
    let refused = request.verify(&credential, request.date()).map_err(|e| e.reason);
    assert!(matches!(refused, Err(Reason::WrongDay { .. })));
}

#[test]
fn our_own_signature_is_botocores() {
    let (credential, requests) = suite(include_str!("data/botocore.json"));
    for request in requests {
        let headers: Vec<_> = request
            .headers
            .iter()
            .filter(|(n, _)| {
                !["authorization", "x-amz-date", "user-agent"].contains(&&*n.to_ascii_lowercase())
            })
            .map(|(n, v)| (n.as_str(), v.as_bytes()))
            .collect();
        let parts = RequestParts {
            method: &request.method,
            path: &request.path,
            query: &request.query,
            headers: &headers,
        };
        let (region, service) = (&request.region, &request.service);
        let signed = sign(
            &parts,
            request.body.as_bytes(),
            &credential,
            region,
            service,
            request.date(),
        );
        assert_eq!(
            Some(&*signed.authorization),
            request.header("authorization"),
            "{}",
            request.name
        );
        assert_eq!(Some(&*signed.x_amz_date), request.header("x-amz-date"));
    }
}

#[test]
fn without_verification_region_and_service_are_still_the_scopes() {
    let (_, request) = ec2();
    let headers: Vec<_> = request
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_bytes()))
        .collect();
    let mut parts = RequestParts {
        method: "POST",
        path: "/",
        query: "",
        headers: &headers,
    };
    let caller = identify(&parts, AccountId::DEFAULT, "eu-west-1", "ec2");
    assert_eq!((&*caller.region, &*caller.service), ("us-east-1", "ec2"));
    parts.headers = &[];
    let caller = identify(&parts, AccountId::DEFAULT, "eu-west-1", "ec2");
    assert_eq!((&*caller.region, &*caller.service), ("eu-west-1", "ec2"));
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever arrives is answered, not died of; and nothing that nobody signed passes.
        #[test]
        fn nothing_made_up_panics_or_passes(
            method in "[A-Z]{0,8}", path in ".{0,60}", query in ".{0,60}",
            headers in prop::collection::vec(
                ("host|date|x-amz-date|X-Amz-Content-Sha256|[a-z]{1,5}", prop::collection::vec(any::<u8>(), 0..40)),
                0..6,
            ),
            authorization in prop_oneof![
                ".{0,200}",
                "AWS4-HMAC-SHA256 (Credential=[A-Z/0-9a-z]{0,40}|SignedHeaders=[a-z;-]{0,20}|Signature=[0-9a-f]{0,65}|, ?|=){0,6}",
                "AWS4-HMAC-SHA256 Credential=K/20150830/r/ec2/aws4_request, SignedHeaders=host;x-amz-date, Signature=[0-9a-f]{64}",
            ],
            body in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
            headers.push(("Authorization", authorization.as_bytes()));
            headers.push(("X-Amz-Date", b"20150830T123600Z"));
            let parts = RequestParts { method: &method, path: &path, query: &query, headers: &headers };
            let lookup = |key: &atoll_access::AccessKey| Some(Credential {
                account: AccountId::DEFAULT, access_key: key.clone(), secret: SecretKey::new("s"),
            });
            prop_assert!(verify(&parts, &body, lookup, Timestamp(1_440_938_160_000)).is_err());
        }
    }
}
