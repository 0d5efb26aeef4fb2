//! A template: read or refused, within its bounds.
#![no_main]

use atoll_stack::Template;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Template::parse(text);
});
