//! The name of a function, from the executable's own symbol table.
//!
//! It is read only for a message to a person. A stripped program has no names; and where the linker found
//! two equal functions it may have kept one of them, under the name of either.

use super::closure;
use crate::sys::image::image;
use crate::sys::own_file::Reader;
#[cfg(feature = "status")]
use object::ObjectSegment;
use object::{Object, ObjectSymbol, ReadCache, SymbolKind};
use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::sync::{Arc, Mutex};

pub(crate) use super::closure::{AROUND as AROUND_CLOSURE, CLOSURE};

/// How the name of a closure begins in the compiler's newer scheme; its number follows, and a brace.
const NUMBERED: &str = "{closure#";

/// `None` where the executable has no name.
type Name = Option<Arc<str>>;

/// What this process has read. It has no more entries than the program has functions that run as pieces.
static KEPT: Kept = Kept(Mutex::new(BTreeMap::new()));

/// The name of the function that begins at this address of the executable.
pub(crate) fn name_of(address: usize) -> Name {
    names_of(&[address]).pop()?
}

/// The names of the functions that begin at these addresses, by one reading: in a large program it takes some 10 ms. Each address is looked
/// up once in a process.
pub(crate) fn names_of(addresses: &[usize]) -> Vec<Name> {
    KEPT.or_find(addresses, find_names)
}

/// Names by the addresses of their functions, so that a thousand errors of one function cost one reading.
///
/// Invariant: nobody waits for the lock. A process that is forked while another thread holds it has no such thread, and the lock stays
/// taken for ever; such a process reads each time.
struct Kept(Mutex<BTreeMap<usize, Name>>);

impl Kept {
    /// The names that are kept, and those that `find` gives for the other addresses. If it gives none, they cannot be read now, and may be
    /// another time.
    fn or_find(&self, addresses: &[usize], find: impl FnOnce(&[usize]) -> Option<Vec<Name>>) -> Vec<Name> {
        let mut names: Vec<Option<Name>> = match self.0.try_lock() {
            Ok(kept) => addresses.iter().map(|address| kept.get(address).cloned()).collect(),
            Err(_) => vec![None; addresses.len()],
        };
        let unknown: Vec<usize> =
            addresses.iter().zip(&names).filter(|(_, name)| name.is_none()).map(|(&address, _)| address).collect();
        if !unknown.is_empty()
            && let Some(found) = find(&unknown)
        {
            for (name, found) in names.iter_mut().filter(|name| name.is_none()).zip(&found) {
                *name = Some(found.clone());
            }
            if let Ok(mut kept) = self.0.try_lock() {
                kept.extend(unknown.into_iter().zip(found));
            }
        }
        names.into_iter().map(Option::flatten).collect()
    }
}

/// `None` if the executable cannot be read.
fn find_names(addresses: &[usize]) -> Option<Vec<Name>> {
    let base = image().base;
    let wanted: Vec<u64> = addresses.iter().map(|address| address.wrapping_sub(base) as u64).collect();
    names_in(Reader::open()?, &wanted)
}

/// The names of the functions that begin at these addresses of an object, as its file counts them. `None` if it cannot be read.
pub(crate) fn names_in(object: impl Read + Seek, wanted: &[u64]) -> Option<Vec<Name>> {
    // The cache reads only the parts that are needed, not the debug information that is most of the file.
    let cache = ReadCache::new(object);
    let file = object::File::parse(&cache).ok()?;
    let mut names: Vec<Option<String>> = vec![None; wanted.len()];
    for symbol in file.symbols().chain(file.dynamic_symbols()) {
        if symbol.kind() != SymbolKind::Text || !wanted.contains(&symbol.address()) {
            continue;
        }
        let Ok(name) = symbol.name().map(rustc_demangle::demangle) else { continue };
        for (name_of, _) in names.iter_mut().zip(wanted).filter(|(_, wanted)| **wanted == symbol.address()) {
            // Without the hash that the compiler adds.
            name_of.get_or_insert_with(|| of_closure(format!("{name:#}")));
        }
        if names.iter().all(Option::is_some) {
            break;
        }
    }
    let mut functions = None;
    for (name, &address) in names.iter_mut().zip(wanted) {
        if let Some(name) = name.as_mut().filter(|name| *name == closure::AROUND) {
            let functions = functions.get_or_insert_with(|| closure::Functions::read(&file, &cache));
            // Else the place where it was handed out tells which closure it is.
            *name = functions.name_around(address).unwrap_or_else(|| closure::CLOSURE.to_string());
        }
    }
    Some(names.into_iter().map(|name| name.map(Arc::from)).collect())
}

/// The address, as an object counts it, of what lies at this place of its file.
#[cfg(feature = "status")]
pub(crate) fn address_in(object: impl Read + Seek, place: u64) -> Option<u64> {
    let cache = ReadCache::new(object);
    let file = object::File::parse(&cache).ok()?;
    file.segments().find_map(|segment| {
        let (start, length) = segment.file_range();
        let within = place.checked_sub(start).filter(|within| *within < length)?;
        segment.address().checked_add(within)
    })
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

    /// Each error of a thousand read the executable anew.
    #[test]
    fn each_address_is_looked_up_once() {
        let kept = Kept(Mutex::new(BTreeMap::new()));
        let name = |address: &usize| (*address != 2).then(|| Arc::from(format!("f{address}")));
        let find = |addresses: &[usize]| Some(addresses.iter().map(name).collect());
        // What cannot be read now may be read later.
        assert_eq!(kept.or_find(&[1, 2], |_| None), [None, None]);
        let first = kept.or_find(&[1, 2], find);
        assert_eq!(first, [name(&1), None]);
        let again = kept.or_find(&[2, 1, 1], |_| unreachable!("they are kept"));
        assert!(
            again[0].is_none()
                && again[1..].iter().flatten().all(|again| Arc::ptr_eq(again, first[0].as_ref().unwrap()))
        );
        let more = kept.or_find(&[3, 1, 4], |unknown| {
            assert_eq!(unknown, [3, 4]);
            find(unknown)
        });
        assert_eq!(more, [3, 1, 4].map(|address| name(&address)));
        // As in a process that was forked while another thread held the lock.
        let _held = kept.0.lock().unwrap();
        assert_eq!(kept.or_find(&[1, 2], find), [name(&1), None]);
    }

    #[test]
    fn a_function_is_named_by_the_executable() {
        fn named() {}
        let address = named as fn() as usize;
        let expected = format!("{}::a_function_is_named_by_the_executable::named", module_path!());
        assert_eq!(names_of(&[address, 1]), [Some(Arc::from(expected)), None]);
    }

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
