//! Arbitrary bytes as messages on the socket between parent and fork server, and as the marker in the environment.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| multicore::fuzz::message(data));
