//! Compiles the C function that leaks.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/leak.c");
    cc::Build::new().file("src/leak.c").warnings_into_errors(true).extra_warnings(true).compile("leak");
}
