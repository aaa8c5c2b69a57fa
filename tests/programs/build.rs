//! Selects the linker for the programs that must be linked by a certain one.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for linker in ["bfd", "lld"] {
        println!("cargo::rustc-link-arg-bin=linked_by_{linker}=-fuse-ld={linker}");
    }
}
