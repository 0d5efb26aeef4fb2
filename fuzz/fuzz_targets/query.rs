//! An API body: a query is read into the largest request, or refused.
#![no_main]

use atoll_api::wire::Query;
use atoll_shapes::ec2::RunInstancesRequest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(query) = Query::parse("", data) {
        let _ = query.parameters.decode::<RunInstancesRequest>();
    }
});
