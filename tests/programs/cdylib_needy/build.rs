//! The plug-in is to call a function that no library of its own has.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(needs_a_function)");
    println!("cargo::rustc-cfg=needs_a_function");
}
