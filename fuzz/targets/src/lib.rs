//! What a tenant's bytes reach first, as functions of any bytes: each ends without a panic and keeps the law that
//! its doc names. `fuzz/fuzz_targets` hands them to libFuzzer; the test here feeds them mutated examples, so that
//! they are run by `make test` too. Only targets and their examples belong here.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(test)]
mod mutate;

use atoll_access::{Credential, RequestParts, verify};
use atoll_api::wire::Query;
use atoll_model::{AccountId, Timestamp};
use atoll_net::Mac;
use atoll_net::packet::{
    Frame, IcmpError, Rewrite, TransportChecksum, arp, clamp_mss, fragment, icmp_error, lower_hop_limit, ndp,
    parse, quote, rewrite, rewrite_quote, segment, set_macs, tcp_reset,
};
use atoll_shapes::ec2::RunInstancesRequest;
use atoll_stack::Template;

/// A frame from a guest: it is read or refused, and what was read can be rewritten in place, answered and cut.
pub fn frame(data: &[u8]) {
    match parse(data) {
        Ok(Frame::Ip(headers)) => {
            assert!(headers.transport_at <= headers.end && headers.end <= data.len());
            let new = Rewrite {
                src: Some(headers.dst),
                dst: Some(headers.src),
                src_port: Some(1024),
                dst_port: Some(65535),
                icmp_id: Some(7),
            };
            let mut frame = data.to_vec();
            if let Some(quote) = quote(data, &headers) {
                let _ = rewrite_quote(&mut frame, &headers, &quote, &new, TransportChecksum::Complete);
            }
            let _ = rewrite(&mut frame, &headers, &new, TransportChecksum::Complete);
            let _ = lower_hop_limit(&mut frame, &headers, 1);
            let _ = clamp_mss(&mut frame, &headers, 1220, TransportChecksum::Partial);
            let _ = set_macs(&mut frame, Mac::BROADCAST, Mac::default());
            assert_eq!(frame.len(), data.len());
            let _ = ndp::parse(data, &headers, true);
            let _ = tcp_reset(data, &headers);
            let _ = icmp_error(data, &headers, headers.dst, IcmpError::PacketTooBig { mtu: 1500 });
            if let Ok(fragments) = fragment(data, &headers, 68) {
                assert!(fragments.iter().all(|cut| parse(cut).is_ok()));
            }
            if let Ok(segments) = segment(data, &headers, 576) {
                assert!(segments.iter().all(|cut| parse(cut).is_ok()));
            }
        }
        Ok(Frame::Arp(question)) => {
            arp::reply(&question, Mac::default());
        }
        Err(_) => {}
    }
}

/// An API body: a query is read into the largest request, or refused.
pub fn query(data: &[u8]) {
    if let Ok(query) = Query::parse("", data) {
        let _ = query.parameters.decode::<RunInstancesRequest>();
    }
}

/// A request: the verifier refuses what is not signed with its key. The bytes are the path, the query, a header a
/// line (`name: value`), and after an empty line the body.
pub fn signature(data: &[u8]) {
    let mut rest = data;
    let mut line = || -> &[u8] {
        let at = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        let (line, after) = rest.split_at(at);
        rest = after.get(1..).unwrap_or_default();
        line
    };
    let path = String::from_utf8_lossy(line()).into_owned();
    let query = String::from_utf8_lossy(line()).into_owned();
    let mut lines = Vec::new();
    loop {
        match line() {
            [] => break,
            line => lines.push(line),
        }
    }
    let parted = lines.iter().map(|line| {
        let at = line.iter().position(|b| *b == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(at);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        (String::from_utf8_lossy(name), value)
    });
    let parted: Vec<_> = parted.collect();
    let headers: Vec<(&str, &[u8])> = parted.iter().map(|(name, value)| (&**name, *value)).collect();
    let request = RequestParts {
        method: "POST",
        path: &path,
        query: &query,
        headers: &headers,
    };
    let key = Credential::generate(AccountId::DEFAULT, &[7; Credential::RANDOM_BYTES]);
    assert!(verify(&request, rest, |_| Some(key), Timestamp(0)).is_err());
}

/// A template: read or refused, within its bounds.
pub fn template(data: &[u8]) {
    let _ = Template::parse(&String::from_utf8_lossy(data));
}
