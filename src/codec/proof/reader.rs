//! A deserializer that compares what a type reads with what was written.
//!
//! The binary format has no names: a reader takes the fields as they come. So for each product (a struct, a tuple, or a
//! variant with fields) this compares the names and the number of the fields that were written with those that the reader
//! asks for. A reader and a writer that agree about all products read the same bytes for the same fields, whatever the
//! values are.
//!
//! A reader's list of names has the aliases too, each beside its field. If it is longer than what was written, it does
//! not tell which names are one field. Such a value is read once more *by name*, as JSON would.
//!
//! Invariant: a reader that does not ask for products where they were written (a hand-written one) is no finding. It
//! is then not `in_step`: nothing is known of it but what it made of this value.

use crate::codec::binary;
use crate::codec::proof::plain::is_plain;
use crate::codec::proof::record::{Product, Products};
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use std::any::type_name;
use std::cell::{Cell, RefCell};
use std::fmt;

/// What is known while a value is read.
pub(super) struct Guide<'p> {
    products: &'p Products,
    by_name: bool,
    /// The product that comes next.
    next: Cell<usize>,
    /// How many bytes were read.
    position: Cell<usize>,
    in_step: Cell<bool>,
    /// A list of names was longer than what was written.
    has_aliases: Cell<bool>,
    finding: RefCell<Option<Finding>>,
}

/// Where reading failed, and why if that is known.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) type_name: &'static str,
    /// Empty if only the place is known.
    pub(super) text: String,
}

/// The error of a reading that ends because of a finding.
pub(super) const REFUSED: &str = "the halves do not mirror each other";

/// A product that the reader has found where it was written.
#[derive(Clone, Copy)]
struct Expected<'p> {
    product: &'p Product,
    /// How many fields the reader announced.
    announced: usize,
    names: &'static [&'static str],
}

impl<'p> Guide<'p> {
    pub(super) fn new(products: &'p Products, by_name: bool) -> Self {
        Guide {
            products,
            by_name,
            next: Cell::new(0),
            position: Cell::new(0),
            in_step: Cell::new(true),
            has_aliases: Cell::new(false),
            finding: RefCell::default(),
        }
    }

    /// Where reading failed.
    pub(super) fn finding(&self) -> Option<Finding> {
        self.finding.borrow().clone()
    }

    /// True if all products were read, as they were written.
    pub(super) fn is_in_step(&self) -> bool {
        self.in_step.get() && self.next.get() == self.products.all.len()
    }

    pub(super) fn has_aliases(&self) -> bool {
        self.has_aliases.get()
    }

    fn read(&self, bytes: usize) {
        self.position.set(self.position.get() + bytes);
    }

    /// Notes the first reason; later ones follow from it.
    fn blame(&self, type_name: &'static str, text: impl FnOnce() -> String) {
        self.finding.borrow_mut().get_or_insert_with(|| Finding { type_name, text: text() });
    }

    fn refuse<E: Error>(&self, type_name: &'static str, text: String) -> E {
        self.blame(type_name, || text);
        E::custom(REFUSED)
    }

    /// The reader asks for a product with these names, or for a tuple.
    fn enter<E: Error>(&self, announced: usize, names: &'static [&'static str]) -> Result<Option<Expected<'p>>, E> {
        let here = self.products.all.get(self.next.get()).filter(|(begin, _)| *begin == self.position.get());
        let Some(&(_, kind)) = here.filter(|_| self.in_step.get()) else {
            self.in_step.set(false);
            return Ok(None);
        };
        self.next.set(self.next.get() + 1);
        let product = &self.products.kinds[kind];
        if !names.is_empty() && !product.names.is_empty() {
            if let Some(name) = product.left_out.iter().find(|name| names.contains(name)) {
                let text = format!("its field `{name}` is left out of some values (skip_serializing_if)");
                return Err(self.refuse(product.owner, text));
            }
            let mut rest = names.iter();
            if let Some(name) = product.names.iter().find(|name| !rest.any(|next| next == *name)) {
                let text = if names.contains(name) {
                    format!("its field `{name}` is read in another place than it is written")
                } else {
                    format!("its field `{name}` is written and not read under that name (skip_deserializing, rename)")
                };
                return Err(self.refuse(product.owner, text));
            }
            self.has_aliases.set(self.has_aliases.get() || names.len() > product.names.len());
        }
        Ok(Some(Expected { product, announced, names }))
    }

    /// The reader asks for a field more than was written.
    fn more<E: Error>(&self, Expected { product, names, .. }: Expected<'_>) -> E {
        let missing = names.iter().find(|name| !product.names.contains(name));
        let text = match missing {
            Some(name) => format!("its field `{name}` is read and not written (skip_serializing)"),
            None => format!("{} of its fields are written, and more are read (skip_serializing)", product.fields),
        };
        self.refuse(product.owner, text)
    }

    /// The reader has taken that many fields.
    fn leave<E: Error>(&self, expected: Option<Expected<'_>>, taken: usize) -> Result<(), E> {
        match expected {
            Some(Expected { product, .. }) if taken < product.fields => {
                let text = match product.names.get(taken) {
                    Some(name) => format!("its field `{name}` is written and not read (skip_deserializing)"),
                    None => format!(
                        "{} of its fields are written, and {taken} are read (skip_deserializing)",
                        product.fields
                    ),
                };
                Err(self.refuse(product.owner, text))
            }
            _ => Ok(()),
        }
    }
}

/// Wraps a deserializer, visitor, seed or access.
pub(super) struct Guided<'g, T> {
    inner: T,
    guide: &'g Guide<'g>,
    expected: Option<Expected<'g>>,
    /// True for a list or map, whose length is in the bytes.
    is_list: bool,
}

impl<'g, T> Guided<'g, T> {
    /// The seed of a whole value.
    pub(super) fn new(inner: T, guide: &'g Guide<'g>) -> Self {
        Guided { inner, guide, expected: None, is_list: false }
    }

    fn wrap<U>(&self, inner: U) -> Guided<'g, U> {
        Guided::new(inner, self.guide)
    }

    fn wrap_list<U>(&self, inner: U) -> Guided<'g, U> {
        Guided { is_list: true, ..self.wrap(inner) }
    }

    fn wrap_product<U>(&self, inner: U, expected: Option<Expected<'g>>) -> Guided<'g, U> {
        Guided { expected, ..self.wrap(inner) }
    }
}

macro_rules! forward {
    ($wrap:ident: $($method:ident($($name:ident: $kind:ty),*)),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, $($name: $kind,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = self.$wrap(visitor);
            self.inner.$method($($name,)* visitor)
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Guided<'_, D> {
    type Error = D::Error;

    forward! {
        wrap_list:
        deserialize_seq(),
        deserialize_map(),
    }

    forward! {
        wrap:
        deserialize_any(),
        deserialize_bool(),
        deserialize_i8(),
        deserialize_i16(),
        deserialize_i32(),
        deserialize_i64(),
        deserialize_i128(),
        deserialize_u8(),
        deserialize_u16(),
        deserialize_u32(),
        deserialize_u64(),
        deserialize_u128(),
        deserialize_f32(),
        deserialize_f64(),
        deserialize_char(),
        deserialize_str(),
        deserialize_string(),
        deserialize_byte_buf(),
        deserialize_bytes(),
        deserialize_option(),
        deserialize_unit(),
        deserialize_unit_struct(name: &'static str),
        deserialize_newtype_struct(name: &'static str),
        deserialize_enum(name: &'static str, variants: &'static [&'static str]),
        deserialize_identifier(),
        deserialize_ignored_any(),
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, D::Error> {
        let expected = self.guide.enter(length, &[])?;
        let visitor = self.wrap_product(visitor, expected);
        self.inner.deserialize_tuple(length, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let expected = self.guide.enter(length, &[])?;
        let visitor = self.wrap_product(visitor, expected);
        self.inner.deserialize_tuple_struct(name, length, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let expected = self.guide.enter(fields.len(), fields)?;
        let visitor = self.wrap_product(visitor, expected);
        self.inner.deserialize_struct(name, fields, visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident($value:ident: $kind:ty) takes $bytes:expr),* $(,)?) => {
        $(fn $method<E: Error>(self, $value: $kind) -> Result<V::Value, E> {
            self.guide.read($bytes);
            self.inner.$method($value)
        })*
    };
}

/// The bytes of a length.
fn length(length: usize) -> usize {
    binary::size_of(&(length as u64))
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Guided<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool(value: bool) takes 1,
        visit_i8(value: i8) takes 1,
        visit_i16(value: i16) takes binary::size_of(&value),
        visit_i32(value: i32) takes binary::size_of(&value),
        visit_i64(value: i64) takes binary::size_of(&value),
        visit_i128(value: i128) takes binary::size_of(&value),
        visit_u8(value: u8) takes 1,
        visit_u16(value: u16) takes binary::size_of(&value),
        visit_u32(value: u32) takes binary::size_of(&value),
        visit_u64(value: u64) takes binary::size_of(&value),
        visit_u128(value: u128) takes binary::size_of(&value),
        visit_f32(value: f32) takes 4,
        visit_f64(value: f64) takes 8,
        visit_char(value: char) takes binary::size_of(&value),
        visit_str(value: &str) takes length(value.len()) + value.len(),
        visit_borrowed_str(value: &'de str) takes length(value.len()) + value.len(),
        visit_string(value: String) takes length(value.len()) + value.len(),
        visit_bytes(value: &[u8]) takes length(value.len()) + value.len(),
        visit_borrowed_bytes(value: &'de [u8]) takes length(value.len()) + value.len(),
        visit_byte_buf(value: Vec<u8>) takes length(value.len()) + value.len(),
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.guide.read(1);
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.guide.read(1);
        let deserializer = self.wrap(deserializer);
        self.inner.visit_some(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.wrap(deserializer);
        self.inner.visit_newtype_struct(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        if self.is_list {
            self.guide.read(length(access.size_hint().unwrap_or_default()));
        }
        let mut taken = 0;
        let access = Fields { access: self.wrap_product(access, self.expected), taken: &mut taken };
        let by_name = self.guide.by_name && self.expected.is_some_and(|expected| !expected.product.names.is_empty());
        let value = if by_name { self.inner.visit_map(access)? } else { self.inner.visit_seq(access)? };
        self.guide.leave(self.expected, taken)?;
        Ok(value)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.guide.read(length(access.size_hint().unwrap_or_default()));
        let access = self.wrap(access);
        self.inner.visit_map(access)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        let access = self.wrap(access);
        self.inner.visit_enum(access)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Guided<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let guide = self.guide;
        let deserializer = self.wrap(deserializer);
        self.inner.deserialize(deserializer).inspect_err(|_| {
            // The innermost type that is the user's is blamed, since its error comes back first.
            if !is_plain::<S::Value>() {
                guide.blame(type_name::<S::Value>(), String::new);
            }
        })
    }
}

/// The fields of a product, or the elements of a list.
struct Fields<'g, 't, A> {
    access: Guided<'g, A>,
    /// How many of them were taken.
    taken: &'t mut usize,
}

impl<A> Fields<'_, '_, A> {
    /// The field that comes next cannot be read.
    fn blame(&self) {
        let Some(Expected { product, .. }) = self.access.expected else { return };
        self.access.guide.blame(product.owner, || match product.names.get(*self.taken) {
            Some(name) => format!("its field `{name}` cannot be read back"),
            None => format!("its field {} cannot be read back", *self.taken),
        });
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Fields<'_, '_, A> {
    type Error = A::Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, A::Error> {
        if let Some(expected) = self.access.expected
            && *self.taken >= expected.product.fields
            && expected.announced > expected.product.fields
        {
            return Err(self.access.guide.more(expected));
        }
        let seed = self.access.wrap(seed);
        let element = self.access.inner.next_element_seed(seed).inspect_err(|_| self.blame())?;
        *self.taken += usize::from(element.is_some());
        Ok(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.access.inner.size_hint()
    }
}

/// By name: the names come from what was written, the values from the bytes.
impl<'de, A: SeqAccess<'de>> MapAccess<'de> for Fields<'_, '_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let name = self.access.expected.and_then(|expected| expected.product.names.get(*self.taken));
        let Some(name) = name else { return Ok(None) };
        let name: StrDeserializer<'_, A::Error> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.next_element_seed(seed)?.ok_or_else(|| A::Error::custom("a field without a value"))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Guided<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let seed = self.wrap(seed);
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        let seed = self.wrap(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'g, A: EnumAccess<'de>> EnumAccess<'de> for Guided<'g, A> {
    type Error = A::Error;
    type Variant = Guided<'g, A::Variant>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self::Variant), A::Error> {
        let guide = self.guide;
        let (value, variant) = self.inner.variant_seed(Numbered { seed, guide })?;
        Ok((value, Guided::new(variant, guide)))
    }
}

/// The number of a variant, which counts as read. Its type is nobody's to blame.
struct Numbered<'g, S> {
    seed: S,
    guide: &'g Guide<'g>,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Numbered<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Guided::new(deserializer, self.guide))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Guided<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        let seed = self.wrap(seed);
        self.inner.newtype_variant_seed(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, A::Error> {
        let expected = self.guide.enter(length, &[])?;
        let visitor = self.wrap_product(visitor, expected);
        self.inner.tuple_variant(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let expected = self.guide.enter(fields.len(), fields)?;
        let visitor = self.wrap_product(visitor, expected);
        self.inner.struct_variant(fields, visitor)
    }
}
