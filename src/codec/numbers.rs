//! Lists of numbers, which travel as their bytes: a copy, where the binary format would write and read each number.
//!
//! Both processes run on one machine, so the bytes are in its own order. A list of `u8` has another way, without a copy.
//!
//! Invariant: every value of bytes of the right length is a list, the same one that was written.

use crate::codec::error::CodecError;
use std::any::{Any, TypeId};

/// Does something for each type of number but `u8`.
macro_rules! for_each_number {
    ($number:ident => $body:block) => {
        for_each_number!(@ $number $body u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64)
    };
    (@ $number:ident $body:block $($type:ty)*) => {
        $({
            type $number = $type;
            $body
        })*
    };
}

/// True for these lists.
#[inline(always)]
pub(super) fn is_list<T: 'static>() -> bool {
    for_each_number!(Number => {
        if TypeId::of::<T>() == TypeId::of::<Vec<Number>>() {
            return true;
        }
    });
    false
}

/// The bytes of such a list; `None` for any other value.
pub(super) fn bytes_of<T: 'static>(value: &T) -> Option<Vec<u8>> {
    let any: &dyn Any = value;
    for_each_number!(Number => {
        // A function of its own is compiled once, and not for each `T`.
        #[inline]
        fn bytes(list: &[Number]) -> Vec<u8> {
            let items: Vec<[u8; size_of::<Number>()]> = list.iter().map(|item| item.to_ne_bytes()).collect();
            items.into_flattened()
        }
        if let Some(list) = any.downcast_ref::<Vec<Number>>() {
            return Some(bytes(list));
        }
    });
    None
}

/// Appends the bytes of items of these types. False: they are others.
pub(super) fn append_items<T: 'static>(items: &[T], buffer: &mut Vec<u8>) -> bool {
    for_each_number!(Number => {
        if TypeId::of::<T>() == TypeId::of::<Number>() {
            // The type is known when this is compiled, so this is one copy.
            let number = |item: &T| (item as &dyn Any).downcast_ref::<Number>().copied().unwrap_or_default();
            let items: Vec<[u8; size_of::<Number>()]> = items.iter().map(|item| number(item).to_ne_bytes()).collect();
            buffer.extend_from_slice(items.as_flattened());
            return true;
        }
    });
    false
}

/// The list with these bytes; `None` if the type is another.
pub(super) fn list_of<T: 'static>(bytes: &[u8]) -> Option<Result<T, CodecError>> {
    let mut slot: Option<T> = None;
    let any: &mut dyn Any = &mut slot;
    for_each_number!(Number => {
        // As above.
        #[inline]
        fn read(bytes: &[u8]) -> Result<Vec<Number>, CodecError> {
            let (items, rest) = bytes.as_chunks();
            if !rest.is_empty() {
                return Err(CodecError::LeftOver { left: rest.len() });
            }
            Ok(items.iter().map(|item| Number::from_ne_bytes(*item)).collect())
        }
        if let Some(list) = any.downcast_mut::<Option<Vec<Number>>>() {
            match read(bytes) {
                Ok(read) => *list = Some(read),
                Err(error) => return Some(Err(error)),
            }
        }
    });
    slot.map(Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Clone + PartialEq + std::fmt::Debug + 'static>(items: &[T], bytes: usize) {
        let list = items.to_vec();
        let written = bytes_of(&list).unwrap();
        assert_eq!(written.len(), bytes, "{list:?}");
        let mut appended = vec![1];
        assert!(append_items(items, &mut appended));
        assert_eq!(appended[1..], written);
        assert!(is_list::<Vec<T>>());
        assert_eq!(list_of::<Vec<T>>(&written).unwrap().unwrap(), list);
        if size_of::<T>() > 1 {
            assert!(list_of::<Vec<T>>(&appended).unwrap().is_err(), "a byte too many");
        }
    }

    #[test]
    fn each_list_of_numbers_comes_back() {
        check(&[1u16, u16::MAX], 4);
        check(&[1u32, u32::MAX], 8);
        check(&[1u64, u64::MAX], 16);
        check(&[1u128, u128::MAX], 32);
        check(&[1usize, usize::MAX], 2 * size_of::<usize>());
        check(&[1i8, i8::MIN], 2);
        check(&[1i16, i16::MIN], 4);
        check(&[1i32, i32::MIN], 8);
        check(&[1i64, i64::MIN], 16);
        check(&[1i128, i128::MIN], 32);
        check(&[1isize, isize::MIN], 2 * size_of::<isize>());
        check(&[1.5f32, f32::NEG_INFINITY, -0.0], 12);
        check(&[1.5f64, f64::MIN_POSITIVE, -0.0], 24);
        check::<f64>(&[], 0);
        let not_a_number = f64::from_bits(0x7ff0_dead_beef_0001);
        let read = list_of::<Vec<f64>>(&bytes_of(&vec![not_a_number]).unwrap()).unwrap().unwrap();
        assert_eq!(read[0].to_bits(), not_a_number.to_bits());
    }

    #[test]
    fn other_values_are_none_of_these_lists() {
        assert!(!is_list::<Vec<u8>>() && !is_list::<Vec<bool>>() && !is_list::<u64>() && !is_list::<Vec<[u64; 2]>>());
        assert!(bytes_of(&vec!["text"]).is_none() && list_of::<String>(b"text").is_none());
        assert!(!append_items(&[true], &mut Vec::new()));
    }
}
