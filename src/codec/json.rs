//! JSON, and a proof for what JSON cannot tell apart.
//!
//! JSON has one word, `null`, for `None`, for `()` and, as `serde_json` writes them, for infinite floats and NaN. So
//! `Some(None)`, `Some(())` and `Some(f64::INFINITY)` would be read back as `None`, silently. Most types never write any of these.
//! A value that does is read back on the spot, and compared: a type may well know what it means by `null`.
//!
//! Invariant: what is written is what `serde_json` writes.

use crate::codec::error::{CodecError, guarded};
use crate::codec::lent::Lend;
use crate::codec::proof;
use crate::codec::value::Value;
use serde::ser::{self, Serialize, Serializer};
use std::any::type_name;
use std::cell::Cell;

/// Writes a value behind what is in the buffer. If it fails, a part may be there.
pub(super) fn append<T: Value>(value: &T, buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    append_lent::<T, T>(value, buffer)
}

/// The same for a value of type `T` that is lent as `Q`.
pub(super) fn append_lent<T: Value, Q: Lend<T> + ?Sized>(value: &Q, buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = buffer.len();
    let doubt = Cell::new(None);
    let part = Part { value, doubt: &doubt, is_in_some: false };
    part.serialize(&mut serde_json::Serializer::new(&mut *buffer))?;
    match doubt.get() {
        None => Ok(()),
        Some(doubt) => prove::<T, Q>(value, &buffer[start..], doubt),
    }
}

/// What a value wrote that may be read back as something else.
#[derive(Debug, Clone, Copy)]
enum Doubt {
    NothingInSome,
    NoFiniteNumber,
}

/// Reads the value back and compares it.
#[cold]
#[inline(never)]
fn prove<T: Value, Q: Lend<T> + ?Sized>(value: &Q, bytes: &[u8], doubt: Doubt) -> Result<(), CodecError> {
    let is_same = guarded(|| {
        let read: Result<T, serde_json::Error> = serde_json::from_slice(bytes);
        Ok(match read {
            Ok(read) => proof::text_digest(Q::lend(&read))? == proof::text_digest(value)?,
            Err(_) => false,
        })
    })?;
    if is_same {
        return Ok(());
    }
    let (finding, cure) = match doubt {
        Doubt::NothingInSome => ("a Some that holds None or () is null in JSON, and so is None", "use Format::Bincode"),
        Doubt::NoFiniteNumber => ("JSON has no infinite numbers and no NaN", "use Format::Bincode"),
    };
    Err(CodecError::NotMirrored { type_name: type_name::<T>(), finding: finding.to_string(), cure })
}

/// A part of a value, or the root.
struct Part<'d, T: ?Sized> {
    value: &'d T,
    doubt: &'d Cell<Option<Doubt>>,
    /// True for what a `Some` holds, also inside a newtype, which JSON does not show.
    is_in_some: bool,
}

impl<T: Serialize + ?Sized> Serialize for Part<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Doubting { inner: serializer, doubt: self.doubt, is_in_some: self.is_in_some })
    }
}

/// Wraps a serializer, or what it returns for values with parts.
struct Doubting<'d, S> {
    inner: S,
    doubt: &'d Cell<Option<Doubt>>,
    is_in_some: bool,
}

impl<'d, S> Doubting<'d, S> {
    #[inline]
    fn nothing(&self) {
        if self.is_in_some {
            self.doubt.set(Some(Doubt::NothingInSome));
        }
    }

    #[inline]
    fn number(&self, is_finite: bool) {
        if !is_finite {
            self.doubt.set(Some(Doubt::NoFiniteNumber));
        }
    }

    #[inline]
    fn part<'v, T: ?Sized>(&self, value: &'v T) -> Part<'v, T>
    where
        'd: 'v,
    {
        Part { value, doubt: self.doubt, is_in_some: false }
    }

    #[inline]
    fn parts<P, E>(self, begin: impl FnOnce(S) -> Result<P, E>) -> Result<Doubting<'d, P>, E> {
        Ok(Doubting { inner: begin(self.inner)?, doubt: self.doubt, is_in_some: false })
    }
}

macro_rules! forward {
    ($($method:ident($($name:ident: $kind:ty),*)),* $(,)?) => {
        $(#[inline]
        fn $method(self, $($name: $kind),*) -> Result<S::Ok, S::Error> {
            self.inner.$method($($name),*)
        })*
    };
}

impl<'d, S: Serializer> Serializer for Doubting<'d, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Doubting<'d, S::SerializeSeq>;
    type SerializeTuple = Doubting<'d, S::SerializeTuple>;
    type SerializeTupleStruct = Doubting<'d, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Doubting<'d, S::SerializeTupleVariant>;
    type SerializeMap = Doubting<'d, S::SerializeMap>;
    type SerializeStruct = Doubting<'d, S::SerializeStruct>;
    type SerializeStructVariant = Doubting<'d, S::SerializeStructVariant>;

    forward! {
        serialize_bool(value: bool), serialize_i8(value: i8), serialize_i16(value: i16), serialize_i32(value: i32),
        serialize_i64(value: i64), serialize_i128(value: i128), serialize_u8(value: u8), serialize_u16(value: u16),
        serialize_u32(value: u32), serialize_u64(value: u64), serialize_u128(value: u128), serialize_char(value: char),
        serialize_str(value: &str), serialize_bytes(value: &[u8]),
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str),
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.number(value.is_finite());
        self.inner.serialize_f32(value)
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.number(value.is_finite());
        self.inner.serialize_f64(value)
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.nothing();
        self.inner.serialize_none()
    }

    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.nothing();
        self.inner.serialize_unit()
    }

    #[inline]
    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.nothing();
        self.inner.serialize_unit_struct(name)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let part = Part { is_in_some: true, ..self.part(value) };
        self.inner.serialize_some(&part)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        let part = Part { is_in_some: self.is_in_some, ..self.part(value) };
        self.inner.serialize_newtype_struct(name, &part)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let part = self.part(value);
        self.inner.serialize_newtype_variant(name, index, variant, &part)
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.parts(|inner| inner.serialize_seq(length))
    }

    #[inline]
    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.parts(|inner| inner.serialize_tuple(length))
    }

    #[inline]
    fn serialize_tuple_struct(self, name: &'static str, length: usize) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.parts(|inner| inner.serialize_tuple_struct(name, length))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.parts(|inner| inner.serialize_tuple_variant(name, index, variant, length))
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.parts(|inner| inner.serialize_map(length))
    }

    #[inline]
    fn serialize_struct(self, name: &'static str, length: usize) -> Result<Self::SerializeStruct, S::Error> {
        self.parts(|inner| inner.serialize_struct(name, length))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.parts(|inner| inner.serialize_struct_variant(name, index, variant, length))
    }

    #[inline]
    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! parts {
    ($($kind:ident: $method:ident($($name:ident: $type:ty)?)),* $(,)?) => {
        $(impl<S: ser::$kind> ser::$kind for Doubting<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, $($name: $type,)? value: &T) -> Result<(), S::Error> {
                let part = self.part(value);
                self.inner.$method($($name,)? &part)
            }

            #[inline]
            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        })*
    };
}

parts! {
    SerializeSeq: serialize_element(),
    SerializeTuple: serialize_element(),
    SerializeTupleStruct: serialize_field(),
    SerializeTupleVariant: serialize_field(),
    SerializeStruct: serialize_field(name: &'static str),
    SerializeStructVariant: serialize_field(name: &'static str),
}

impl<S: ser::SerializeMap> ser::SerializeMap for Doubting<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        let part = self.part(key);
        self.inner.serialize_key(&part)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let part = self.part(value);
        self.inner.serialize_value(&part)
    }

    #[inline]
    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}
