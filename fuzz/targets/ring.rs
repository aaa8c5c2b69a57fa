//! Reads a ring whose words are arbitrary.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| multicore::fuzz::ring(data));
