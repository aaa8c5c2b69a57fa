//! Compiles the library that is to lie beside the plug-in.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(needs_a_function)");
    println!("cargo::rerun-if-changed=../plugged/needed.c");
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "../plugged/needed.c", "-o"])
        .arg(folder.join("libneeded.so"))
        .status();
    assert!(compiled.is_ok_and(|status| status.success()), "cc cannot compile ../plugged/needed.c");
    println!("cargo::rustc-cfg=needs_a_function");
    println!("cargo::rustc-link-arg-cdylib=-L{}", folder.display());
    println!("cargo::rustc-link-arg-cdylib=-lneeded");
    println!("cargo::rustc-link-arg-cdylib=-Wl,-rpath,$ORIGIN");
}
