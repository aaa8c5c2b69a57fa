//! The parent's side of a worker that writes arbitrary words into the shared memory.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| multicore::fuzz::worker(data));
