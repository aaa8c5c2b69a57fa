//! The name of a function, from the executable's own symbol table.
//!
//! Read only for a message to a person. A stripped program has no names; and where the linker found
//! two functions alike it may have kept one, under either's name.

use crate::sys::image::image;
use object::{Object, ObjectSymbol, ReadCache, SymbolKind};

/// The name of the function that begins at this address of the executable.
pub(crate) fn name_of(address: usize) -> Option<String> {
    let file = std::fs::File::open("/proc/self/exe").ok()?;
    // Reads the parts that it needs, and not the debug information that is most of the file.
    let cache = ReadCache::new(file);
    let file = object::File::parse(&cache).ok()?;
    let wanted = address.checked_sub(image().base)? as u64;
    let found = file
        .symbols()
        .chain(file.dynamic_symbols())
        .find(|symbol| symbol.kind() == SymbolKind::Text && symbol.address() == wanted)?;
    let name = rustc_demangle::demangle(found.name().ok()?);
    // Without the hash that the compiler adds.
    let name = format!("{name:#}");
    // A closure is called through this; the place where it was handed out says which.
    Some(if name == "core::ops::function::FnOnce::call_once" { "{{closure}}".to_string() } else { name })
}
