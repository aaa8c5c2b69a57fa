//! The C function. This is the only file with unsafe code.

#![allow(unsafe_code)]

unsafe extern "C" {
    // SAFETY: by `leak.c` it takes and gives a number, and uses only a block that it allocates itself. So it may be called
    // with any number, by any thread.
    safe fn leaky_render_label(seed: u64) -> u64;
}

/// Draws a label and gives its checksum. Leaks 1,000 bytes.
pub fn render_label(seed: u64) -> u64 {
    leaky_render_label(seed)
}
