//! Tells the linker of some platforms that the functions of Node-API come with the program that loads the add-on.

fn main() {
    napi_build::setup();
}
