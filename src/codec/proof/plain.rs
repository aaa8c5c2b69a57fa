//! Types that need no proof.
//!
//! A type is plain if it is built from types of the standard library alone: their two halves mirror each other. It is
//! recognised by its name, which is a constant, so the answer is one too once the code is optimised. A type that is
//! plain and not listed here costs a look-up, and no more.

use std::any::type_name;

/// True for the plain types that pieces use most.
#[inline(always)]
pub(super) fn is_plain<T: ?Sized>() -> bool {
    is_plain_name(name_of::<T>())
}

/// The type's name without the sign of a reference: lists hand out references to their elements.
#[inline(always)]
pub(super) fn name_of<T: ?Sized>() -> &'static str {
    let name = type_name::<T>();
    if name.as_bytes()[0] == b'&' { &name[1..] } else { name }
}

/// True for those of them that are lists or text.
pub(super) fn is_plain_list<T: ?Sized>() -> bool {
    is_plain::<T>() && (name_of::<T>().starts_with("alloc::") || name_of::<T>() == "str")
}

/// Optimised, it is a constant where it is asked. Without optimisation these comparisons, in each function that asks and for each type, would be a
/// large part of a program's code, and of the time to compile it.
#[cfg_attr(not(debug_assertions), inline(always))]
#[cfg_attr(debug_assertions, inline(never))]
fn is_plain_name(name: &str) -> bool {
    macro_rules! any {
        ($($leaf:literal)*) => {
            match name.as_bytes()[0] {
                b'(' => name == "()" $(
                    || name == concat!("(", $leaf, ", ", $leaf, ")")
                    || name == concat!("(", $leaf, ", ", $leaf, ", ", $leaf, ")")
                )*,
                b'a' => name == "alloc::string::String" || name == "alloc::vec::Vec<alloc::string::String>" $(
                    || name == concat!("alloc::vec::Vec<", $leaf, ">")
                    || name == concat!("alloc::vec::Vec<(", $leaf, ", ", $leaf, ")>")
                )*,
                b'c' => name == "core::option::Option<alloc::string::String>" || name == "char" $(
                    || name == concat!("core::option::Option<", $leaf, ">")
                )*,
                _ => name == "str" $(|| name == $leaf)*,
            }
        };
    }
    any!("u8" "u16" "u32" "u64" "u128" "usize" "i8" "i16" "i32" "i64" "i128" "isize" "f32" "f64" "bool")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Other;

    #[test]
    fn only_types_of_the_standard_library_are_plain() {
        assert!(is_plain::<u64>() && is_plain::<bool>() && is_plain::<char>() && is_plain::<()>());
        assert!(is_plain::<str>() && is_plain::<&str>() && is_plain::<String>() && is_plain::<Vec<u8>>());
        assert!(is_plain::<(u64, u64)>() && is_plain::<Option<f64>>() && is_plain::<Vec<String>>());
        assert!(is_plain::<&u64>() && is_plain::<&String>() && !is_plain_list::<&u64>());
        assert!(!is_plain::<Other>() && !is_plain::<Vec<Other>>() && !is_plain::<Option<Other>>());
        assert!(is_plain_list::<Vec<u8>>() && is_plain_list::<&str>() && !is_plain_list::<u8>());
        assert!(!is_plain_list::<Option<String>>() && !is_plain_list::<Vec<Other>>());
        assert!(!is_plain::<(Other, u64)>() && !is_plain::<[Other]>() && !is_plain::<&Other>());
    }
}
