//! Headers and body of a request: the verifier refuses, and never panics.
#![no_main]

use atoll_access::{verify, Credential, RequestParts};
use atoll_model::{AccountId, Timestamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (String, String, Vec<(String, Vec<u8>)>, Vec<u8>)| {
    let (path, query, headers, body) = input;
    let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let request = RequestParts { method: "POST", path: &path, query: &query, headers: &headers };
    let key = Credential::generate(AccountId::DEFAULT, &[7; Credential::RANDOM_BYTES]);
    assert!(verify(&request, &body, |_| Some(key), Timestamp(0)).is_err());
});
