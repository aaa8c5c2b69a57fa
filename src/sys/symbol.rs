//! The name of a function, from the executable's own symbol table.
//!
//! It is read only for a message to a person. A stripped program has no names; and where the linker found
//! two equal functions it may have kept one of them, under the name of either.

use crate::sys::executable::Reader;
use crate::sys::image::image;
use object::{Object, ObjectSymbol, ReadCache, SymbolKind};

/// The name of the function that begins at this address of the executable.
pub(crate) fn name_of(address: usize) -> Option<String> {
    // The cache reads only the parts that are needed, not the debug information that is most of the file.
    let cache = ReadCache::new(Reader::open()?);
    let file = object::File::parse(&cache).ok()?;
    let wanted = address.checked_sub(image().base)? as u64;
    let found = file
        .symbols()
        .chain(file.dynamic_symbols())
        .find(|symbol| symbol.kind() == SymbolKind::Text && symbol.address() == wanted)?;
    let name = rustc_demangle::demangle(found.name().ok()?);
    // Without the hash that the compiler adds.
    let name = format!("{name:#}");
    // A closure is called through this function; the place where it was handed out tells which closure it is.
    Some(if name == "core::ops::function::FnOnce::call_once" { "{{closure}}".to_string() } else { name })
}
