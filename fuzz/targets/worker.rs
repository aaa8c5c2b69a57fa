//! The parent's side of a worker that writes what it likes into the memory they share.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| multicore::fuzz::worker(data));
