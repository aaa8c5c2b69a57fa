//! Where a closure was written, read from the code of the executable.
//!
//! A closure that is called through a pointer has a function of the trait `FnOnce` around it. In the compiler's older scheme of names that
//! function's symbol is the same for all closures. Two places in the code tell more: unoptimised, the function calls the closure, whose own symbol
//! has its path; optimised, the closure is gone, but the code of the function in which it was written loads the address.
//!
//! Only what is unmistakable counts: a call must lead to the very begin of a closure, and one function alone may load the address. That
//! function may be one into which the compiler has moved the code of the other.

use object::{Object, ObjectSection, ObjectSymbol, ReadRef, SectionKind, SymbolKind};

/// The symbol of the function around each closure.
pub(crate) const AROUND: &str = "core::ops::function::FnOnce::call_once";

/// How the name of a closure ends.
pub(crate) const CLOSURE: &str = "{{closure}}";

/// Code that comes before a user's function: it may load the address if the compiler saw that it gets no other one.
const NOT_THE_USERS: [&str; 5] = ["multicore::", "<multicore::", "core::", "std::", "alloc::"];

/// A function in the table of symbols.
struct Named<'data> {
    address: u64,
    end: u64,
    symbol: &'data str,
}

impl Named<'_> {
    /// Without the hash that the compiler adds.
    fn name(&self) -> String {
        format!("{:#}", rustc_demangle::demangle(self.symbol))
    }
}

/// The name of the closure that is called by the function at this address, with its path.
pub(super) fn name_around<'data, R: ReadRef<'data>>(file: &object::File<'data, R>, address: u64) -> Option<String> {
    let mut named: Vec<Named<'data>> = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0)
        .filter_map(|symbol| {
            let end = symbol.address().checked_add(symbol.size())?;
            Some(Named { address: symbol.address(), end, symbol: symbol.name().ok()? })
        })
        .collect();
    named.sort_unstable_by_key(|named| named.address);
    let around = at(&named, address)?;
    called_closure(file, &named, around).or_else(|| written_in(file, &named, address))
}

/// The function to which an address belongs.
fn at<'a, 'data>(named: &'a [Named<'data>], address: u64) -> Option<&'a Named<'data>> {
    let behind = named.partition_point(|named| named.address <= address);
    named[..behind].last().filter(|named| address < named.end)
}

/// The closure that this function calls.
fn called_closure<'data, R: ReadRef<'data>>(
    file: &object::File<'data, R>,
    named: &[Named<'data>],
    around: &Named<'data>,
) -> Option<String> {
    let (address, length) = (around.address, around.end - around.address);
    let code = file.sections().find_map(|section| section.data_range(address, length).ok().flatten())?;
    let mut targets = calls(code, address);
    targets.find_map(|target| {
        let called = at(named, target).filter(|called| called.address == target)?;
        Some(called.name()).filter(|name| name.ends_with(CLOSURE))
    })
}

/// The closure's name by the one function that loads this address.
fn written_in<'data, R: ReadRef<'data>>(
    file: &object::File<'data, R>,
    named: &[Named<'data>],
    address: u64,
) -> Option<String> {
    let mut one: Option<&Named<'data>> = None;
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        for place in loads(section.data().ok()?, section.address(), address) {
            let loads = at(named, place)?;
            if one.is_some_and(|one| one.address != loads.address) {
                return None;
            }
            one = Some(loads);
        }
    }
    let name = one?.name();
    let is_users = !NOT_THE_USERS.iter().any(|begin| name.starts_with(begin));
    is_users.then(|| format!("{name}::{CLOSURE}"))
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
        let named = [(10, 20), (20, 25), (40, 41)].map(|(address, end)| Named { address, end, symbol: "f" });
        for (address, expected) in
            [(9, None), (10, Some(10)), (19, Some(10)), (20, Some(20)), (25, None), (40, Some(40)), (41, None)]
        {
            assert_eq!(at(&named, address).map(|named| named.address), expected, "{address}");
        }
    }
}
