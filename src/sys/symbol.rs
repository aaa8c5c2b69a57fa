//! The name of a function, from the executable's own symbol table.
//!
//! It is read only for a message to a person. A stripped program has no names; and where the linker found
//! two equal functions it may have kept one of them, under the name of either.

use super::closure;
use crate::sys::executable::Reader;
use crate::sys::image::image;
use object::{Object, ObjectSymbol, ReadCache, SymbolKind};

pub(crate) use super::closure::{AROUND as AROUND_CLOSURE, CLOSURE};

/// How the name of a closure begins in the compiler's newer scheme; its number follows, and a brace.
const NUMBERED: &str = "{closure#";

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
    for (name, &address) in names.iter_mut().zip(&wanted) {
        if let Some(name) = name.as_mut().filter(|name| *name == closure::AROUND) {
            // Else the place where it was handed out tells which closure it is.
            *name = closure::name_around(&file, address).unwrap_or_else(|| closure::CLOSURE.to_string());
        }
    }
    Some(())
}

/// A closure is called through a function of the trait `FnOnce`. In the compiler's newer scheme of names that function's name has the
/// closure's, with its number; here a closure is called the same in both schemes, and its place tells which one it is.
fn of_closure(name: String) -> String {
    let inner = name.strip_prefix('<').and_then(|name| name.strip_suffix(">::call_once"));
    let name = match inner.and_then(|inner| inner.split_once(" as core::ops::function::FnOnce<")) {
        Some((closure, _)) => closure.to_string(),
        None => name,
    };
    let mut parts = name.split(NUMBERED);
    let mut plain = parts.next().unwrap_or_default().to_string();
    for part in parts {
        match part.split_once('}') {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                plain = plain + closure::CLOSURE + rest
            }
            _ => plain = plain + NUMBERED + part,
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closure_has_its_path_in_both_schemes() {
        let of = |mangled: &str| of_closure(format!("{:#}", rustc_demangle::demangle(mangled)));
        for (mangled, expected) in [
            // The older scheme: a closure, one in a method, and the function around each.
            ("_ZN3app4main28_$u7b$$u7b$closure$u7d$$u7d$17hf18b1caba55e802dE", "app::main::{{closure}}"),
            (
                "_ZN3app5mod_a10S$LT$T$GT$1g28_$u7b$$u7b$closure$u7d$$u7d$17h04fea5c327a4719cE",
                "app::mod_a::S<T>::g::{{closure}}",
            ),
            ("_ZN4core3ops8function6FnOnce9call_once17h51a68b2b738084ceE", closure::AROUND),
            // The newer one.
            ("_RNCNvCse0t5XC0jcx_3app4main0B3_", "app::main::{{closure}}"),
            ("_RNCNvNtCse0t5XC0jcx_3app5mod_a5inners_0B5_", "app::mod_a::inner::{{closure}}"),
            (
                "_RNvYNCNvCse0t5XC0jcx_3app4main0INtNtNtCsgEmfK2I1SDS_4core3ops8function6FnOnceTyyEE9call_onceB6_",
                "app::main::{{closure}}",
            ),
            ("_RNvCse0t5XC0jcx_3app4main", "app::main"),
            ("printf", "printf"),
        ] {
            assert_eq!(of(mangled), expected, "{mangled}");
        }
        for (name, expected) in [
            (
                "<adv::plain::{closure#2} as core::ops::function::FnOnce<((), ())>>::call_once",
                "adv::plain::{{closure}}",
            ),
            ("a::{closure#0}::{closure#12}::b", "a::{{closure}}::{{closure}}::b"),
            (
                "<a::Type as a::Trait<core::ops::function::FnOnce<()>>>::call_once",
                "<a::Type as a::Trait<core::ops::function::FnOnce<()>>>::call_once",
            ),
            ("a::{closure#x}", "a::{closure#x}"),
            ("a::{closure#", "a::{closure#"),
        ] {
            assert_eq!(of_closure(name.to_string()), expected);
        }
    }
}
