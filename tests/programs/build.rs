//! Picks the linker of the programs that are there to be linked by it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for linker in ["bfd", "lld"] {
        println!("cargo::rustc-link-arg-bin=linked_by_{linker}=-fuse-ld={linker}");
    }
}
