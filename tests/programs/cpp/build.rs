//! Compiles the C++ part and links it after all Rust code. So the loader calls one of its constructors before the crate's
//! constructor and one after it.

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
        // A check of the whole workspace must work without a C++ compiler. The test that runs the program reports that.
        Err(error) => {
            println!("cargo::warning=no C++ compiler: {error}");
            println!("cargo::rustc-cfg=without_cpp");
        }
    }
}
