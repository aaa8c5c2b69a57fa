//! Where a closure was written, read from the code of the executable.
//!
//! A closure that is called through a pointer has a function of the trait `FnOnce` around it. In the compiler's older scheme of names that
//! function's symbol is the same for all closures. Two places in the code tell more: unoptimised, the function calls the closure, whose own symbol
//! has its path; optimised, the closure is gone, but the code of the function in which it was written loads the address.
//!
//! Only what is unmistakable counts: a short function must call one closure, at its very begin, and one function alone may load the
//! address. That function may be one into which the compiler has moved the code of the other.

use object::{Object, ObjectSection, ObjectSymbol, ReadRef, SectionKind, SymbolIndex, SymbolKind};

/// The symbol of the function around each closure.
pub(crate) const AROUND: &str = "core::ops::function::FnOnce::call_once";

/// How the name of a closure ends.
pub(crate) const CLOSURE: &str = "{{closure}}";

/// Code that comes before a user's function: it may load the address if the compiler saw that it gets no other one.
const NOT_THE_USERS: [&str; 5] = ["multicore::", "<multicore::", "core::", "std::", "alloc::"];

/// A function that only calls its closure, and drops it on a panic, is shorter. A longer one has the closure's own code in it, and what that
/// calls are other closures, such as a library's.
const MAX_AROUND_BYTES: u64 = 256;

/// A function in the table of symbols. Its name is read only where it counts: each one is a system call.
struct Named {
    address: u64,
    end: u64,
    symbol: SymbolIndex,
}

/// All functions of an executable.
pub(super) struct Functions<'file, 'data, R: ReadRef<'data>> {
    file: &'file object::File<'data, R>,
    data: R,
    /// By their addresses.
    named: Vec<Named>,
}

impl<'file, 'data, R: ReadRef<'data>> Functions<'file, 'data, R> {
    /// The file comes with the data of which it was parsed.
    pub(super) fn read(file: &'file object::File<'data, R>, data: R) -> Self {
        let symbols = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0);
        let mut named: Vec<Named> = symbols
            .filter_map(|symbol| {
                let end = symbol.address().checked_add(symbol.size())?;
                Some(Named { address: symbol.address(), end, symbol: symbol.index() })
            })
            .collect();
        named.sort_unstable_by_key(|named| named.address);
        Functions { file, data, named }
    }

    /// The name of the closure that is called by the function at this address, with its path.
    pub(super) fn name_around(&self, address: u64) -> Option<String> {
        let around = at(&self.named, address)?;
        match self.called_closure(around) {
            Some(name) if is_users(&name) => Some(name),
            // One of this crate's own, or of std: to read all code for the place where it was written takes seconds without optimisation.
            Some(_) => None,
            None => self.written_in(address),
        }
    }

    /// The closure that this function calls, if it is its own.
    fn called_closure(&self, around: &Named) -> Option<String> {
        let (address, length) = (around.address, around.end - around.address);
        if length > MAX_AROUND_BYTES {
            return None;
        }
        let called = calls(self.code(address, length)?, address).filter_map(|target| {
            let called = at(&self.named, target).filter(|called| called.address == target)?;
            self.name(called).filter(|name| name.ends_with(CLOSURE))
        });
        own_closure(called)
    }

    /// The closure's name by the one function that loads this address.
    fn written_in(&self, address: u64) -> Option<String> {
        let mut one: Option<&Named> = None;
        for section in self.file.sections().filter(|section| section.kind() == SectionKind::Text) {
            for place in loads(section.data().ok()?, section.address(), address) {
                let loads = at(&self.named, place)?;
                if one.is_some_and(|one| one.address != loads.address) {
                    return None;
                }
                one = Some(loads);
            }
        }
        let name = self.name(one?)?;
        is_users(&name).then(|| format!("{name}::{CLOSURE}"))
    }

    /// Without the hash that the compiler adds.
    fn name(&self, named: &Named) -> Option<String> {
        let symbol = self.file.symbol_by_index(named.symbol).ok()?;
        Some(format!("{:#}", rustc_demangle::demangle(symbol.name().ok()?)))
    }

    /// This code alone, and not all of its section.
    fn code(&self, address: u64, length: u64) -> Option<&'data [u8]> {
        self.file.sections().find_map(|section| {
            let (offset, size) = section.file_range()?;
            let before = address.checked_sub(section.address()).filter(|before| *before < size)?;
            self.data.read_bytes_at(offset.checked_add(before)?, length.min(size - before)).ok()
        })
    }
}

/// The function to which an address belongs.
fn at(named: &[Named], address: u64) -> Option<&Named> {
    let behind = named.partition_point(|named| named.address <= address);
    named[..behind].last().filter(|named| address < named.end)
}

/// Of the closures that a function calls, its own: the only one, called once. If there are more calls, the closure's code is a part of the
/// function and calls others.
fn own_closure(mut called: impl Iterator<Item = String>) -> Option<String> {
    called.next().filter(|_| called.next().is_none())
}

fn is_users(name: &str) -> bool {
    !NOT_THE_USERS.iter().any(|begin| name.starts_with(begin))
}

/// Where the calls and jumps of this code lead, and some numbers that only look like one.
#[cfg(target_arch = "x86_64")]
fn calls(code: &[u8], address: u64) -> impl Iterator<Item = u64> {
    addresses(address, 1).zip(code.windows(5)).filter_map(|(at, bytes)| match bytes {
        [0xe8 | 0xe9, offset @ ..] => Some(behind(at, 5, offset)),
        _ => None,
    })
}

/// Where the calls and jumps of this code lead.
#[cfg(target_arch = "aarch64")]
fn calls(code: &[u8], address: u64) -> impl Iterator<Item = u64> {
    addresses(address, 4).zip(code.chunks_exact(4)).filter_map(|(at, bytes)| {
        let word = u32::from_le_bytes(bytes.try_into().ok()?);
        // `b` and `bl` have 26 bits of a signed offset in words.
        let offset = i64::from((word << 6) as i32 >> 6) * 4;
        (word & 0x7c00_0000 == 0x1400_0000).then(|| at.wrapping_add_signed(offset))
    })
}

/// The places in this code that load the address `wanted`.
#[cfg(target_arch = "x86_64")]
fn loads(code: &[u8], address: u64, wanted: u64) -> impl Iterator<Item = u64> {
    // `lea` into any of the sixteen registers, from the address of the next instruction on.
    addresses(address, 1).zip(code.windows(7)).filter_map(move |(at, bytes)| match bytes {
        [0x48 | 0x4c, 0x8d, register, offset @ ..] if register & 0xc7 == 5 && behind(at, 7, offset) == wanted => {
            Some(at)
        }
        _ => None,
    })
}

/// Here an address is loaded by two instructions that need not follow each other.
#[cfg(target_arch = "aarch64")]
fn loads(_: &[u8], _: u64, _: u64) -> impl Iterator<Item = u64> {
    std::iter::empty()
}

/// The addresses of instructions that stand this far apart.
fn addresses(first: u64, apart: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(first), move |at| Some(at.wrapping_add(apart)))
}

/// An address that an instruction gives by the distance from its end.
#[cfg(target_arch = "x86_64")]
fn behind(at: u64, length: u64, distance: &[u8]) -> u64 {
    let distance = distance.first_chunk().map_or(0, |bytes| i32::from_le_bytes(*bytes));
    at.wrapping_add(length).wrapping_add_signed(i64::from(distance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn calls_and_loads_are_found_in_code() {
        // push rax; call 0x2000; lea rdi, [0x1800]; jmp 0x1000; lea r12, [0x1800]; ret
        let code = [
            0x50, 0xe8, 0xfa, 0x0f, 0, 0, 0x48, 0x8d, 0x3d, 0xf3, 0x07, 0, 0, 0xe9, 0xee, 0xff, 0xff, 0xff, 0x4c, 0x8d,
            0x25, 0xe7, 0x07, 0, 0, 0xc3,
        ];
        assert_eq!(calls(&code, 0x1000).collect::<Vec<_>>(), [0x2000, 0x1000]);
        assert_eq!(loads(&code, 0x1000, 0x1800).collect::<Vec<_>>(), [0x1006, 0x1012]);
        assert_eq!(loads(&code, 0x1000, 0x1801).count(), 0);
        // Where it ends in the middle of one.
        for length in 0..code.len() {
            calls(&code[..length], u64::MAX).chain(loads(&code[..length], u64::MAX, 0)).for_each(drop);
        }
    }

    #[cfg(target_arch = "aarch64")]
    #[test]
    fn calls_are_found_in_code() {
        // bl +0x1000; ret; b -8
        let code: Vec<u8> =
            [0x9400_0400_u32, 0xd65f_03c0, 0x17ff_fffe].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(calls(&code, 0x1000).collect::<Vec<_>>(), [0x2000, 0x1000]);
    }

    #[test]
    fn an_address_belongs_to_the_function_around_it() {
        let named = [(10, 20), (20, 25), (40, 41)].map(|(address, end)| Named { address, end, symbol: SymbolIndex(0) });
        for (address, expected) in
            [(9, None), (10, Some(10)), (19, Some(10)), (20, Some(20)), (25, None), (40, Some(40)), (41, None)]
        {
            assert_eq!(at(&named, address).map(|named| named.address), expected, "{address}");
        }
    }
    /// The name of a library's closure was given where the user's own had become a part of the function around it.
    #[test]
    fn the_only_closure_called_is_the_functions_own() {
        for (called, expected) in [
            (["app::main::{{closure}}"].as_slice(), Some("app::main::{{closure}}")),
            (&[], None),
            (&["library::parse::{{closure}}", "library::parse::{{closure}}"], None),
            (&["app::main::{{closure}}", "library::parse::{{closure}}"], None),
        ] {
            let own = own_closure(called.iter().map(ToString::to_string));
            assert_eq!(own.as_deref(), expected, "{called:?}");
        }
        let names = ["app::main", "core::iter::map_fold::{{closure}}", "<multicore::Task<u8>>::call::{{closure}}"];
        assert_eq!(names.map(is_users), [true, false, false]);
    }
}
