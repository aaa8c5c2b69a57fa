//! The name of a function, from the executable's own symbol table.
//!
//! It is read only for a message to a person. A stripped program has no names; and where the linker found
//! two equal functions it may have kept one of them, under the name of either.

use crate::sys::executable::Reader;
use crate::sys::image::image;
use object::{Object, ObjectSymbol, ReadCache, SymbolKind};

/// The name of the function that begins at this address of the executable.
pub(crate) fn name_of(address: usize) -> Option<String> {
    names_of(&[address]).pop()?
}

/// The names of the functions that begin at these addresses, by one reading: in a large program it takes some 10 ms.
pub(crate) fn names_of(addresses: &[usize]) -> Vec<Option<String>> {
    let mut names = vec![None; addresses.len()];
    if !addresses.is_empty() {
        // What cannot be read has no names.
        let _ = find_names(addresses, &mut names);
    }
    names
}

fn find_names(addresses: &[usize], names: &mut [Option<String>]) -> Option<()> {
    // The cache reads only the parts that are needed, not the debug information that is most of the file.
    let cache = ReadCache::new(Reader::open()?);
    let file = object::File::parse(&cache).ok()?;
    let base = image().base;
    let wanted: Vec<u64> = addresses.iter().map(|address| address.wrapping_sub(base) as u64).collect();
    for symbol in file.symbols().chain(file.dynamic_symbols()) {
        if symbol.kind() != SymbolKind::Text || !wanted.contains(&symbol.address()) {
            continue;
        }
        let name = rustc_demangle::demangle(symbol.name().ok()?);
        for (name_of, _) in names.iter_mut().zip(&wanted).filter(|(_, wanted)| **wanted == symbol.address()) {
            // Without the hash that the compiler adds.
            name_of.get_or_insert_with(|| of_closure(format!("{name:#}")));
        }
        if names.iter().all(Option::is_some) {
            break;
        }
    }
    Some(())
}

/// A closure is called through a function of the trait `FnOnce`. Its name then has the closure's (in the compiler's newer scheme
/// of names), or none: the place where it was handed out tells which closure it is.
fn of_closure(name: String) -> String {
    if name == "core::ops::function::FnOnce::call_once" {
        return "{{closure}}".to_string();
    }
    let inner = name.strip_prefix('<').and_then(|name| name.strip_suffix(">::call_once"));
    match inner.and_then(|inner| inner.split_once(" as core::ops::function::FnOnce<")) {
        Some((closure, _)) => closure.to_string(),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closure_has_its_own_name_in_both_schemes() {
        for name in ["plain::main", "printf", "plain::main::{closure#0}"] {
            assert_eq!(of_closure(name.to_string()), name);
        }
        assert_eq!(of_closure("core::ops::function::FnOnce::call_once".to_string()), "{{closure}}");
        let newer = "<adv::plain::{closure#2} as core::ops::function::FnOnce<((), ())>>::call_once";
        assert_eq!(of_closure(newer.to_string()), "adv::plain::{closure#2}");
        let other = "<a::Type as a::Trait<core::ops::function::FnOnce<()>>>::call_once";
        assert_eq!(of_closure(other.to_string()), other);
    }
}
