//! Reads a journal of arbitrary bytes, and writes on.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| multicore::fuzz::journal(data));
