//! Selects the linker for the programs that must be linked by a certain one, and names the special builds.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A program with functions in C that gcc counts.
    println!("cargo::rustc-check-cfg=cfg(gcov)");
    for linker in ["bfd", "lld"] {
        println!("cargo::rustc-link-arg-bin=linked_by_{linker}=-fuse-ld={linker}");
    }
}
