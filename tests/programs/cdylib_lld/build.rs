//! Selects the linker.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(needs_a_function)");
    println!("cargo::rustc-link-arg-cdylib=-fuse-ld=lld");
    // Then a file is compared by its code.
    println!("cargo::rustc-link-arg-cdylib=-Wl,--build-id=none");
}
