//! Reads frames of arbitrary bytes, as another host may send them.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| multicore_nats::frame::fuzz::frame(data));
