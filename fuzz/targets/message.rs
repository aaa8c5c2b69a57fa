//! What comes over the socket to the fork server, and what the environment holds.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| multicore::fuzz::message(data));
