//! A serializer that tells an observer the shape of each value that passes through it.
//!
//! A *shape* is a word that stands for how one value is written: its type, its place in the type that holds it, its kind,
//! the names and types of its fields and their number, and the variant. What a field contains has a shape of its own,
//! and so has each element of a list. The same type in the same place has few shapes, however many values there are.
//!
//! Invariant: the inner serializer, that of the binary format, gets what the value would have written without this one.
//! Only the observer of a proof takes elements of lists away (`record.rs`).

use crate::codec::error::USE_JSON;
use crate::codec::proof::plain::{is_plain, is_plain_list, name_of};
use crate::codec::proof::words::{mix, word};
use serde::ser::{self, Error, Serialize, Serializer};

/// What is told to an observer. In brackets, what the observer of the usual encoding does.
pub(super) trait Observer {
    /// What it keeps of a struct, tuple or variant with fields while this is written.
    type Product;
    /// What it keeps of a list or map while this is written.
    type List;

    /// True if values of this plain type are not followed further.
    fn skips_plain(&self, name: &'static str) -> bool;
    /// True if an empty list takes the place of a plain one.
    fn empties_plain(&self) -> bool;
    fn is_human_readable(&self) -> bool;
    /// True if the number of a list's elements must be known before they are written.
    fn needs_lengths(&self) -> bool;
    /// A value begins. (Nothing.)
    fn begin(&self) -> usize;
    /// The value that began there has no parts, and has been written. (Looks the shape up.)
    fn leaf(&self, begin: usize, shape: u64);
    /// As a leaf, for a value that is not followed further. (Nothing.)
    fn plain(&self, begin: usize);
    /// The value around the one that was written last has been written. (Looks the shape up.)
    fn around(&self, shape: u64);

    /// The fields of a value of this type begin; what stands before them has been written.
    fn product(&self, owner: &'static str) -> Self::Product;
    /// A field will be written; a tuple's has no name.
    fn field(&self, product: &mut Self::Product, name: Option<&'static str>);
    fn field_written(&self, product: &mut Self::Product);
    /// A field is left out because of its value.
    fn field_left_out(&self, product: &mut Self::Product, name: &'static str);
    /// (Looks the shape up.)
    fn product_written(&self, product: Self::Product, shape: u64);

    /// A list or map of that length begins; the length has been written.
    fn list(&self, length: usize) -> Self::List;
    fn element(&self, list: &mut Self::List);
    /// A map's key has been written; its value follows.
    fn key_written(&self, list: &mut Self::List);
    fn element_written(&self, list: &mut Self::List);
    /// (Looks the shape up.)
    fn list_written(&self, list: Self::List, shape: u64);
}

/// A part of a value, or the root.
pub(super) struct Part<'o, T: ?Sized, O> {
    value: &'o T,
    observer: &'o O,
    /// The type that holds it, and its place there.
    place: u64,
}

impl<'o, T: ?Sized, O> Part<'o, T, O> {
    pub(super) fn root(value: &'o T, observer: &'o O) -> Self {
        Part { value, observer, place: 0 }
    }
}

impl<T: Serialize + ?Sized, O: Observer> Serialize for Part<'_, T, O> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let observer = self.observer;
        if is_plain::<T>() && observer.skips_plain(name_of::<T>()) {
            let begin = observer.begin();
            let written = if observer.empties_plain() && is_plain_list::<T>() {
                // All lists, texts among them, begin with their length, which is 0 here.
                serializer.serialize_bytes(&[])?
            } else {
                self.value.serialize(serializer)?
            };
            observer.plain(begin);
            return Ok(written);
        }
        let name = name_of::<T>();
        let place = mix(self.place, word(name));
        self.value.serialize(Traced { inner: serializer, observer, place, name })
    }
}

/// The serializer of one value.
pub(super) struct Traced<'o, S, O> {
    inner: S,
    observer: &'o O,
    place: u64,
    /// The value's type.
    name: &'static str,
}

/// The kinds of values, as arbitrary words.
mod kind {
    pub(super) const LEAF: u64 = 0x8ebc_6af0_9c88_c6e3;
    pub(super) const UNIT: u64 = 0x5899_65cc_7537_4cc3;
    pub(super) const NONE: u64 = 0x1d8e_4e27_c47d_124f;
    pub(super) const SOME: u64 = 0xeb44_acca_b455_d165;
    pub(super) const NEWTYPE: u64 = 0x9c6e_6877_736c_46e3;
    pub(super) const VARIANT: u64 = 0xa5cb_9243_d56d_1a2b;
    pub(super) const STRUCT: u64 = 0x71f2_d0ab_1c27_9e37;
    pub(super) const TUPLE: u64 = 0x3c79_ac49_2ba7_b653;
    pub(super) const SEQ: u64 = 0x4be9_8134_a5fe_c0a1;
    pub(super) const MAP: u64 = 0xd3a2_646c_7a6d_9a45;
    pub(super) const LEFT_OUT: u64 = 0x6a09_e667_f3bc_c909;
}

/// Places in a tuple differ up to this one. A longer one is an array, which must not fill the table of shapes.
const PLACES: u64 = 63;

impl<S: Serializer, O: Observer> Traced<'_, S, O> {
    #[inline]
    fn leaf(self, kind: u64, write: impl FnOnce(S) -> Result<S::Ok, S::Error>) -> Result<S::Ok, S::Error> {
        let begin = self.observer.begin();
        let written = write(self.inner)?;
        self.observer.leaf(begin, mix(self.place, kind));
        Ok(written)
    }

    /// A value around one other.
    #[inline]
    fn around<T: Serialize + ?Sized>(
        self,
        kind: u64,
        value: &T,
        write: impl FnOnce(S, &Part<'_, T, O>) -> Result<S::Ok, S::Error>,
    ) -> Result<S::Ok, S::Error> {
        let Traced { inner, observer, place, name } = self;
        let written = write(inner, &Part { value, observer, place: mix(word(name), kind) })?;
        observer.around(mix(mix(place, kind), word(name_of::<T>())));
        Ok(written)
    }
}

/// A variant, as part of a shape.
#[inline]
fn variant_kind(index: u32, name: &'static str) -> u64 {
    mix(kind::VARIANT ^ u64::from(index), word(name))
}

impl<'o, O: Observer> Fields<'o, (), O> {
    #[inline]
    fn begin<I>(observer: &'o O, name: &'static str, shape: u64, inner: I) -> Fields<'o, I, O> {
        Fields { inner, observer, own: word(name), shape, place: 0, product: observer.product(name) }
    }
}

macro_rules! leaves {
    ($($method:ident($kind:ty)),* $(,)?) => {
        $(#[inline]
        fn $method(self, value: $kind) -> Result<S::Ok, S::Error> {
            self.leaf(kind::LEAF ^ word(stringify!($kind)), |inner| inner.$method(value))
        })*
    };
}

impl<'o, S: Serializer, O: Observer> Serializer for Traced<'o, S, O> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Elements<'o, S::SerializeSeq, O>;
    type SerializeTuple = Fields<'o, S::SerializeTuple, O>;
    type SerializeTupleStruct = Fields<'o, S::SerializeTupleStruct, O>;
    type SerializeTupleVariant = Fields<'o, S::SerializeTupleVariant, O>;
    type SerializeMap = Elements<'o, S::SerializeMap, O>;
    type SerializeStruct = Fields<'o, S::SerializeStruct, O>;
    type SerializeStructVariant = Fields<'o, S::SerializeStructVariant, O>;

    leaves! {
        serialize_bool(bool), serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_i128(i128), serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64),
        serialize_u128(u128), serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]),
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        let value = if value.is_nan() && self.observer.is_human_readable() { f32::NAN } else { value };
        self.leaf(kind::LEAF ^ word("f32"), |inner| inner.serialize_f32(value))
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        // Text knows one NaN only.
        let value = if value.is_nan() && self.observer.is_human_readable() { f64::NAN } else { value };
        self.leaf(kind::LEAF ^ word("f64"), |inner| inner.serialize_f64(value))
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.leaf(kind::NONE, S::serialize_none)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.around(kind::SOME, value, |inner, part| inner.serialize_some(part))
    }

    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.leaf(kind::UNIT, S::serialize_unit)
    }

    #[inline]
    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.leaf(kind::UNIT, |inner| inner.serialize_unit_struct(name))
    }

    #[inline]
    fn serialize_unit_variant(self, name: &'static str, index: u32, variant: &'static str) -> Result<S::Ok, S::Error> {
        self.leaf(variant_kind(index, variant), |inner| inner.serialize_unit_variant(name, index, variant))
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        self.around(kind::NEWTYPE, value, |inner, part| inner.serialize_newtype_struct(name, part))
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.around(variant_kind(index, variant), value, |inner, part| {
            inner.serialize_newtype_variant(name, index, variant, part)
        })
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        let Traced { inner, observer, place, name } = self;
        let length = known_length(observer, length, name)?;
        Ok(Elements::begin(observer, name, mix(place, kind::SEQ), length, inner.serialize_seq(Some(length))?))
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let Traced { inner, observer, place, name } = self;
        let length = known_length(observer, length, name)?;
        Ok(Elements::begin(observer, name, mix(place, kind::MAP), length, inner.serialize_map(Some(length))?))
    }

    #[inline]
    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, S::Error> {
        let Traced { inner, observer, place, name } = self;
        Ok(Fields::begin(observer, name, mix(place, kind::TUPLE), inner.serialize_tuple(length)?))
    }

    #[inline]
    fn serialize_tuple_struct(self, own: &'static str, length: usize) -> Result<Self::SerializeTupleStruct, S::Error> {
        let Traced { inner, observer, place, name } = self;
        Ok(Fields::begin(observer, name, mix(place, kind::TUPLE), inner.serialize_tuple_struct(own, length)?))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        own: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let Traced { inner, observer, place, name } = self;
        let inner = inner.serialize_tuple_variant(own, index, variant, length)?;
        Ok(Fields::begin(observer, name, mix(place, variant_kind(index, variant)), inner))
    }

    #[inline]
    fn serialize_struct(self, own: &'static str, length: usize) -> Result<Self::SerializeStruct, S::Error> {
        let Traced { inner, observer, place, name } = self;
        Ok(Fields::begin(observer, name, mix(place, kind::STRUCT), inner.serialize_struct(own, length)?))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        own: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let Traced { inner, observer, place, name } = self;
        let inner = inner.serialize_struct_variant(own, index, variant, length)?;
        Ok(Fields::begin(observer, name, mix(place, variant_kind(index, variant)), inner))
    }

    fn is_human_readable(&self) -> bool {
        self.observer.is_human_readable()
    }
}

/// The length of a list or map, or 0 if it is neither told nor needed.
#[inline]
fn known_length<O: Observer, E: Error>(observer: &O, length: Option<usize>, name: &'static str) -> Result<usize, E> {
    if length.is_none() && observer.needs_lengths() {
        return Err(E::custom(format_args!(
            "`{name}` is written as a list or map that does not tell its length before, as with #[serde(flatten)]{USE_JSON}"
        )));
    }
    Ok(length.unwrap_or_default())
}

/// The fields of a struct, tuple or variant.
pub(super) struct Fields<'o, S, O: Observer> {
    inner: S,
    observer: &'o O,
    /// The word of the type that has the fields.
    own: u64,
    shape: u64,
    /// The place of the next field.
    place: u64,
    product: O::Product,
}

impl<S, O: Observer> Fields<'_, S, O> {
    #[inline]
    fn add<T: Serialize + ?Sized, E>(
        &mut self,
        name: Option<&'static str>,
        value: &T,
        write: impl FnOnce(&mut S, &Part<'_, T, O>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.shape = mix(self.shape, name.map_or(0, word) ^ word(name_of::<T>()).rotate_left(32));
        let place = mix(self.own, self.place);
        self.place = (self.place + 1).min(PLACES);
        self.observer.field(&mut self.product, name);
        write(&mut self.inner, &Part { value, observer: self.observer, place })?;
        self.observer.field_written(&mut self.product);
        Ok(())
    }

    #[inline]
    fn left_out(&mut self, name: &'static str) {
        self.shape = mix(self.shape, word(name) ^ kind::LEFT_OUT);
        self.observer.field_left_out(&mut self.product, name);
    }

    #[inline]
    fn end<K>(self, end: impl FnOnce(S) -> K) -> K {
        self.observer.product_written(self.product, self.shape);
        end(self.inner)
    }
}

macro_rules! fields {
    ($($kind:ident: $method:ident),*) => {
        $(impl<S: ser::$kind, O: Observer> ser::$kind for Fields<'_, S, O> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.add(None, value, |inner, part| inner.$method(part))
            }

            #[inline]
            fn end(self) -> Result<S::Ok, S::Error> {
                self.end(S::end)
            }
        })*
    };
}

macro_rules! named_fields {
    ($($kind:ident),*) => {
        $(impl<S: ser::$kind, O: Observer> ser::$kind for Fields<'_, S, O> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), S::Error> {
                self.add(Some(name), value, |inner, part| inner.serialize_field(name, part))
            }

            #[inline]
            fn skip_field(&mut self, name: &'static str) -> Result<(), S::Error> {
                self.left_out(name);
                self.inner.skip_field(name)
            }

            #[inline]
            fn end(self) -> Result<S::Ok, S::Error> {
                self.end(S::end)
            }
        })*
    };
}

fields!(SerializeTuple: serialize_element, SerializeTupleStruct: serialize_field, SerializeTupleVariant: serialize_field);
named_fields!(SerializeStruct, SerializeStructVariant);

/// The elements of a list or map.
pub(super) struct Elements<'o, S, O: Observer> {
    inner: S,
    observer: &'o O,
    own: u64,
    shape: u64,
    /// The types of the last key and element, which all others share as a rule.
    last: [u64; 2],
    list: O::List,
}

impl<'o, S, O: Observer> Elements<'o, S, O> {
    #[inline]
    fn begin(observer: &'o O, name: &'static str, shape: u64, length: usize, inner: S) -> Self {
        let list = observer.list(length);
        Elements { inner, observer, own: word(name), shape, last: [0; 2], list }
    }

    /// A part in the role of a key (0) or element (1).
    #[inline]
    fn part<'v, T: ?Sized>(&mut self, role: usize, value: &'v T) -> Part<'v, T, O>
    where
        'o: 'v,
    {
        let kind = word(name_of::<T>());
        if self.last[role] != kind {
            self.last[role] = kind;
            self.shape = mix(self.shape, kind);
        }
        Part { value, observer: self.observer, place: mix(self.own, kind::SEQ ^ role as u64) }
    }

    #[inline]
    fn end<K>(self, end: impl FnOnce(S) -> K) -> K {
        self.observer.list_written(self.list, self.shape);
        end(self.inner)
    }
}

impl<S: ser::SerializeSeq, O: Observer> ser::SerializeSeq for Elements<'_, S, O> {
    type Ok = S::Ok;
    type Error = S::Error;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.observer.element(&mut self.list);
        let part = self.part(1, value);
        self.inner.serialize_element(&part)?;
        self.observer.element_written(&mut self.list);
        Ok(())
    }

    #[inline]
    fn end(self) -> Result<S::Ok, S::Error> {
        self.end(S::end)
    }
}

impl<S: ser::SerializeMap, O: Observer> ser::SerializeMap for Elements<'_, S, O> {
    type Ok = S::Ok;
    type Error = S::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.observer.element(&mut self.list);
        let part = self.part(0, key);
        self.inner.serialize_key(&part)?;
        self.observer.key_written(&mut self.list);
        Ok(())
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let part = self.part(1, value);
        self.inner.serialize_value(&part)?;
        self.observer.element_written(&mut self.list);
        Ok(())
    }

    #[inline]
    fn end(self) -> Result<S::Ok, S::Error> {
        self.end(S::end)
    }
}
