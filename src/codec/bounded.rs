//! A deserializer that does not trust a length in the input.
//!
//! The inner deserializer allocates a string or byte buffer of the stated length before it checks that the bytes exist.
//! This adapter makes it borrow such values from the input instead.
//!
//! Invariant: the memory allocated is limited by the number of bytes received, and the recursion by [`MAX_DEPTH`]. So the
//! adapter refuses sequences that claim more elements than the bytes can represent, and values that nest so deep that
//! decoding them could overflow the stack.

use crate::codec::error::CodecError;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};
use std::any::type_name;
use std::cell::Cell;
use std::fmt;

/// The number of elements beyond the number of bytes that a whole value may claim. Elements without a size take no bytes,
/// so a length field alone could otherwise keep the decoder busy for years.
const MAX_SIZELESS_ELEMENTS: usize = 1 << 20;

/// The deepest nesting of a value. `serde_json` allows about the same depth, and counts only lists and objects. A level
/// takes only a few bytes of input, so without this limit a short input could overflow the decoder's stack.
const MAX_DEPTH: u32 = 256;

/// Wraps a deserializer, visitor, seed or access.
#[derive(Clone, Copy)]
pub(crate) struct Bounded<'b, T> {
    inner: T,
    budget: &'b Budget,
    depth: u32,
    /// True for a list or map, whose length is in the input; false for a tuple or struct.
    is_list: bool,
}

/// The number of elements of lists and maps that the value may still claim. Unless an element has no size, it takes at
/// least one byte of the input that no other element takes, if only a byte of a length inside it.
pub(crate) struct Budget {
    elements: Cell<usize>,
}

impl Budget {
    pub(crate) fn for_input(bytes: usize) -> Self {
        Budget { elements: Cell::new(bytes.saturating_add(MAX_SIZELESS_ELEMENTS)) }
    }
}

/// A value as a whole. It reads through [`Bounded`].
pub(crate) struct Root<'b, S> {
    seed: S,
    budget: &'b Budget,
}

impl<'b, S> Root<'b, S> {
    pub(crate) fn new(seed: S, budget: &'b Budget) -> Self {
        Root { seed, budget }
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Root<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Bounded::new(deserializer, self.budget))
    }
}

/// A value that was read as a whole, if it took all the bytes: with the number of those that it left.
#[inline]
pub(crate) fn all_of<T>(decoded: Result<(T, usize), CodecError>) -> Result<T, CodecError> {
    match decoded {
        Ok((value, 0)) => Ok(value),
        Ok((_, left)) => Err(CodecError::LeftOver { left }),
        Err(CodecError::SelfDescribing { .. }) => Err(CodecError::SelfDescribing { type_name: type_name::<T>() }),
        Err(other) => Err(other),
    }
}

impl<'b, T> Bounded<'b, T> {
    pub(crate) fn new(inner: T, budget: &'b Budget) -> Self {
        Bounded { inner, budget, depth: 0, is_list: false }
    }

    fn wrap<U>(&self, inner: U) -> Bounded<'b, U> {
        Bounded { inner, budget: self.budget, depth: self.depth, is_list: false }
    }

    fn wrap_list<U>(&self, inner: U) -> Bounded<'b, U> {
        Bounded { is_list: true, ..self.wrap(inner) }
    }

    /// Wraps what belongs to a value inside another value.
    fn wrap_inner<U, E: Error>(&self, inner: U) -> Result<Bounded<'b, U>, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("the value nests deeper than {MAX_DEPTH} levels")));
        }
        Ok(Bounded { depth: self.depth + 1, ..self.wrap(inner) })
    }
}

macro_rules! forward {
    ($wrap:ident: $($method:ident => $target:ident ($($name:ident: $kind:ty),*)),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, $($name: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = self.$wrap(visitor);
            self.inner.$target($($name,)* visitor)
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    forward! {
        wrap_list:
        deserialize_seq => deserialize_seq(),
        deserialize_map => deserialize_map(),
    }

    forward! {
        wrap:
        deserialize_any => deserialize_any(),
        deserialize_bool => deserialize_bool(),
        deserialize_i8 => deserialize_i8(),
        deserialize_i16 => deserialize_i16(),
        deserialize_i32 => deserialize_i32(),
        deserialize_i64 => deserialize_i64(),
        deserialize_i128 => deserialize_i128(),
        deserialize_u8 => deserialize_u8(),
        deserialize_u16 => deserialize_u16(),
        deserialize_u32 => deserialize_u32(),
        deserialize_u64 => deserialize_u64(),
        deserialize_u128 => deserialize_u128(),
        deserialize_f32 => deserialize_f32(),
        deserialize_f64 => deserialize_f64(),
        deserialize_char => deserialize_char(),
        deserialize_str => deserialize_str(),
        // The adapter exists for these two.
        deserialize_string => deserialize_str(),
        deserialize_byte_buf => deserialize_bytes(),
        deserialize_bytes => deserialize_bytes(),
        deserialize_option => deserialize_option(),
        deserialize_unit => deserialize_unit(),
        deserialize_unit_struct => deserialize_unit_struct(name: &'static str),
        deserialize_newtype_struct => deserialize_newtype_struct(name: &'static str),
        deserialize_tuple => deserialize_tuple(length: usize),
        deserialize_tuple_struct => deserialize_tuple_struct(name: &'static str, length: usize),
        deserialize_struct => deserialize_struct(name: &'static str, fields: &'static [&'static str]),
        deserialize_enum => deserialize_enum(name: &'static str, variants: &'static [&'static str]),
        deserialize_identifier => deserialize_identifier(),
        deserialize_ignored_any => deserialize_ignored_any(),
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident($kind:ty)),* $(,)?) => {
        $(fn $method<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.inner.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Bounded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool(bool), visit_i8(i8), visit_i16(i16), visit_i32(i32), visit_i64(i64), visit_i128(i128),
        visit_u8(u8), visit_u16(u16), visit_u32(u32), visit_u64(u64), visit_u128(u128),
        visit_f32(f32), visit_f64(f64), visit_char(char),
        visit_str(&str), visit_borrowed_str(&'de str), visit_string(String),
        visit_bytes(&[u8]), visit_borrowed_bytes(&'de [u8]), visit_byte_buf(Vec<u8>),
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.wrap_inner(deserializer)?;
        self.inner.visit_some(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.wrap_inner(deserializer)?;
        self.inner.visit_newtype_struct(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.wrap(access);
        self.spend(access.inner.size_hint())?;
        self.inner.visit_seq(access)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.wrap(access);
        self.spend(access.inner.size_hint())?;
        self.inner.visit_map(access)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.wrap(access);
        self.inner.visit_enum(access)
    }
}

impl<T> Bounded<'_, T> {
    /// Takes a list's elements from the budget.
    fn spend<E: Error>(&self, length: Option<usize>) -> Result<(), E> {
        let (Some(length), true) = (length, self.is_list) else { return Ok(()) };
        let elements = &self.budget.elements;
        match elements.get().checked_sub(length) {
            Some(left) => {
                elements.set(left);
                Ok(())
            }
            None => Err(E::custom(format_args!(
                "the bytes claim {length} elements and have room for {} at most",
                elements.get()
            ))),
        }
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.wrap_inner(deserializer)?;
        self.inner.deserialize(deserializer)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        let seed = self.wrap(seed);
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let seed = self.wrap(seed);
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        let seed = self.wrap(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'b, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'b, A> {
    type Error = A::Error;
    type Variant = Bounded<'b, A::Variant>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self::Variant), A::Error> {
        let Bounded { inner, budget, depth, is_list } = self;
        let (value, variant) = inner.variant_seed(Bounded { inner: seed, budget, depth, is_list })?;
        Ok((value, Bounded { inner: variant, budget, depth, is_list }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        let seed = self.wrap(seed);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, A::Error> {
        let visitor = self.wrap(visitor);
        self.inner.tuple_variant(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.wrap(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}
