//! A ring whose words are anything.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| multicore::fuzz::ring(data));
