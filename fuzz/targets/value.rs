//! Decodes results of several types from arbitrary bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| multicore::fuzz::value(data));
