//! The name of a function, from the executable's own symbol table.
//!
//! It is read only for a message to a person. A stripped program has no names; and where the linker found
//! two equal functions it may have kept one of them, under the name of either.

use super::closure;
use crate::sys::image::image;
use crate::sys::own_file::Reader;
#[cfg(feature = "status")]
use object::ObjectSegment;
use object::{Object, ObjectSymbol, ReadCache, ReadRef, SymbolKind};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};
use std::ops::Range;
use std::sync::{Arc, Mutex};

pub(crate) use super::closure::{AROUND as AROUND_CLOSURE, CLOSURE};

/// How the name of a closure begins in the compiler's newer scheme; its number follows, and a brace.
const NUMBERED: &str = "{closure#";

/// The most bytes of a file that are kept while its names are looked up. The symbols of the largest programs take half of it. A file that tells of
/// more has no names: it may be another program's, which has made it for the one that looks.
const MOST_KEPT: u64 = 256 << 20;

/// The most bytes that are looked through meanwhile: all code is, for a closure that has no other name.
const MOST_READ: u64 = 1 << 30;

/// A name that is read counts as this.
const NAME_BYTES: u64 = 4096;

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

/// A file as the parser of objects reads it. A cache reads only the parts that are needed, not the debug information that is most of the file.
///
/// Invariant: no length in the file makes this process keep or read more than the limits above.
struct Limited<R: Read + Seek> {
    cache: ReadCache<R>,
    kept: RefCell<BTreeSet<(u64, u64)>>,
    may_keep: Cell<u64>,
    may_read: Cell<u64>,
}

impl<R: Read + Seek> Limited<R> {
    fn new(object: R) -> Self {
        let (may_keep, may_read) = (Cell::new(MOST_KEPT), Cell::new(MOST_READ));
        Limited { cache: ReadCache::new(object), kept: RefCell::default(), may_keep, may_read }
    }

    fn take(of: &Cell<u64>, bytes: u64) -> Result<(), ()> {
        of.set(of.get().checked_sub(bytes).ok_or(())?);
        Ok(())
    }
}

impl<'data, R: Read + Seek> ReadRef<'data> for &'data Limited<R> {
    fn len(self) -> Result<u64, ()> {
        (&self.cache).len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'data [u8], ()> {
        Limited::<R>::take(&self.may_read, size)?;
        if !self.kept.borrow().contains(&(offset, size)) {
            Limited::<R>::take(&self.may_keep, size)?;
            self.kept.borrow_mut().insert((offset, size));
        }
        (&self.cache).read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'data [u8], ()> {
        Limited::<R>::take(&self.may_read, NAME_BYTES)?;
        (&self.cache).read_bytes_at_until(range, delimiter)
    }
}

/// The names of the functions that begin at these addresses of an object, as its file counts them. `None` if it cannot be read.
pub(crate) fn names_in(object: impl Read + Seek, wanted: &[u64]) -> Option<Vec<Name>> {
    let limited = Limited::new(object);
    let file = object::File::parse(&limited).ok()?;
    let mut found: BTreeMap<u64, Option<String>> = wanted.iter().map(|&address| (address, None)).collect();
    let mut missing = found.len();
    for symbol in file.symbols().chain(file.dynamic_symbols()) {
        if missing == 0 {
            break;
        }
        let Some(name_of) = found.get_mut(&symbol.address()) else { continue };
        if symbol.kind() != SymbolKind::Text || name_of.is_some() {
            continue;
        }
        if let Ok(name) = symbol.name().map(rustc_demangle::demangle) {
            // Without the hash that the compiler adds.
            *name_of = Some(of_closure(format!("{name:#}")));
            missing -= 1;
        }
    }
    let mut functions = None;
    for (&address, name) in &mut found {
        if let Some(name) = name.as_mut().filter(|name| *name == closure::AROUND) {
            let functions = functions.get_or_insert_with(|| closure::Functions::read(&file, &limited));
            // Else the place where it was handed out tells which closure it is.
            *name = functions.name_around(address).unwrap_or_else(|| closure::CLOSURE.to_string());
        }
    }
    let found: BTreeMap<u64, Name> = found.into_iter().map(|(address, name)| (address, name.map(Arc::from))).collect();
    Some(wanted.iter().map(|address| found.get(address).cloned().flatten()).collect())
}

/// The address, as an object counts it, of what lies at this place of its file.
#[cfg(feature = "status")]
pub(crate) fn address_in(object: impl Read + Seek, place: u64) -> Option<u64> {
    let limited = Limited::new(object);
    let file = object::File::parse(&limited).ok()?;
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
    use std::io::SeekFrom;

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

    /// A file of 16 KiB once made the program that looked at it take 2.4 GB, and more than 40 s: it said so of its symbols, in a hole.
    #[test]
    fn a_length_in_a_file_makes_nobody_read_it() {
        let mut file = std::fs::File::open("/proc/self/exe").unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        fn named() {}
        let address = (named as fn() as usize).wrapping_sub(image().base) as u64;
        let names = |bytes: Vec<u8>, length: u64| names_in(Lengthened { bytes, length, at: 0 }, &[address]);
        let length = bytes.len() as u64;
        assert!(names(bytes.clone(), length).unwrap()[0].as_ref().unwrap().ends_with("::named"));
        // The header of the table of symbols: its place and size.
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let (headers, count) = (word(0x28) as usize, u16::from_le_bytes(bytes[0x3c..0x3e].try_into().unwrap()));
        let header = (0..usize::from(count)).map(|number| headers + 64 * number);
        let header = header.into_iter().find(|at| bytes[at + 4..at + 8] == [2, 0, 0, 0]).expect("it has symbols");
        for (more, is_read) in [(MOST_KEPT - (16 << 20), true), (24 * 100_000_000, false), (1 << 50, false)] {
            let mut lying = bytes.clone();
            lying[header + 24..header + 32].copy_from_slice(&length.next_multiple_of(8).to_le_bytes());
            lying[header + 32..header + 40].copy_from_slice(&(more / 24 * 24).to_le_bytes());
            let found = names(lying, length + more + 64);
            assert_eq!(found.is_some(), is_read, "{more} bytes");
        }
    }

    /// A file with a hole behind its bytes.
    struct Lengthened {
        bytes: Vec<u8>,
        length: u64,
        at: u64,
    }

    impl Read for Lengthened {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let left = self.length.saturating_sub(self.at).min(buffer.len() as u64) as usize;
            buffer[..left].fill(0);
            let own = self.bytes.get(self.at as usize..).unwrap_or_default();
            let count = own.len().min(left);
            buffer[..count].copy_from_slice(&own[..count]);
            self.at += left as u64;
            Ok(left)
        }
    }

    impl Seek for Lengthened {
        fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
            self.at = match to {
                SeekFrom::Start(at) => at,
                SeekFrom::End(by) => self.length.checked_add_signed(by).unwrap(),
                SeekFrom::Current(by) => self.at.checked_add_signed(by).unwrap(),
            };
            Ok(self.at)
        }
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
