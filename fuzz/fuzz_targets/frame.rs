//! A tenant's frame: reading never panics, and what was read can be rewritten in place.
#![no_main]

use atoll_net::packet::{lower_hop_limit, parse, set_macs, Frame};
use atoll_net::Mac;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(Frame::Ip(headers)) = parse(data) {
        let mut frame = data.to_vec();
        let _ = lower_hop_limit(&mut frame, &headers, 1);
        let _ = set_macs(&mut frame, Mac::BROADCAST, Mac::default());
    }
});
