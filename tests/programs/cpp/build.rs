//! Compiles the C++ part and has it linked after all Rust code, so that the loader calls one of its
//! constructors before the crate's own and one after.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/statics.cpp");
    println!("cargo::rustc-check-cfg=cfg(without_cpp)");
    let objects = cc::Build::new().cpp(true).file("src/statics.cpp").try_compile_intermediates();
    match objects {
        Ok(objects) => {
            for object in objects {
                println!("cargo::rustc-link-arg-bins={}", object.display());
            }
            println!("cargo::rustc-link-arg-bins=-lstdc++");
        }
        // Whoever checks the whole workspace may have no compiler; the test that runs it says so.
        Err(error) => {
            println!("cargo::warning=no C++ compiler: {error}");
            println!("cargo::rustc-cfg=without_cpp");
        }
    }
}
