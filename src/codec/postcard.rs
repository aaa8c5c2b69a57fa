//! The binary format where the feature `postcard` is on and `bincode` is not: postcard's. The only file that names postcard.
//!
//! postcard's error keeps no text, and so not what a type's own code says. Hence postcard writes and reads the single numbers, texts
//! and lengths, and this file puts them together as its specification says, with an error of ours.
//!
//! | value                                                        | its bytes                                              |
//! |--------------------------------------------------------------|--------------------------------------------------------|
//! | integers of more than 8 bits, lengths, numbers of variants    | 7 bits each, the lowest first; of signed ones zigzag   |
//! | `u8`, `i8`, `bool`, floats                                     | their own, little endian                               |
//! | lists, maps, text, bytes; a `char` is a text of one            | the length, then what they contain                     |
//! | an `Option`                                                  | 0, or 1 and the value                                  |
//! | structs, tuples, `()`                                          | their fields'                                          |
//!
//! Invariant: decoding reads all bytes or fails, and is [`Bounded`](crate::codec::bounded::Bounded).

use crate::codec::bounded::{self, Budget, Root};
use crate::codec::error::CodecError;
use postcard::ser_flavors::Flavor;
use serde::de::value::U32Deserializer;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde::ser::{self, Serializer};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::fmt::Display;

/// Writes a value behind what is in the buffer. If that fails, a part may be there.
#[inline]
pub(super) fn append<T: Serialize + ?Sized>(value: &T, buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    value.serialize(&mut Writer::new(Append(buffer)))
}

/// Writes a value at the start of a buffer, and gives its length; `None` if it does not fit.
#[inline]
pub(super) fn write_short<T: Serialize>(value: &T, buffer: &mut [u8]) -> Option<usize> {
    let whole = buffer.len();
    let mut writer = Writer::new(Rest(buffer));
    value.serialize(&mut writer).ok()?;
    Some(whole - writer.0.output.0.len())
}

/// As [`append`], into a buffer that others look at meanwhile.
pub(super) fn append_shared<T: Serialize>(value: &T, buffer: &RefCell<Vec<u8>>) -> Result<(), CodecError> {
    value.serialize(&mut Writer::new(AppendShared(buffer)))
}

/// How many bytes a number or a `char` takes.
pub(super) fn size_of<T: Serialize>(value: &T) -> usize {
    write_short(value, &mut [0; 24]).unwrap_or_default()
}

/// Reads a value that takes all the bytes.
#[inline]
pub(super) fn read<'de, S: DeserializeSeed<'de>>(seed: S, bytes: &'de [u8]) -> Result<S::Value, CodecError> {
    let budget = Budget::for_input(bytes.len());
    let mut reader = Reader { rest: bytes };
    let decoded = Root::new(seed, &budget).deserialize(&mut reader);
    bounded::all_of(decoded.map(|value| (value, reader.rest.len())))
}

struct Writer<F: Flavor>(postcard::Serializer<F>);

impl<F: Flavor> Writer<F> {
    #[inline]
    fn new(output: F) -> Self {
        Writer(postcard::Serializer { output })
    }

    #[inline]
    fn list(&mut self, length: Option<usize>) -> Result<&mut Self, CodecError> {
        let length = length.ok_or(postcard::Error::SerializeSeqLengthUnknown)?;
        self.serialize_u64(length as u64)?;
        Ok(self)
    }

    #[inline]
    fn variant(&mut self, number: u32) -> Result<&mut Self, CodecError> {
        self.serialize_u32(number)?;
        Ok(self)
    }
}

macro_rules! written_by_postcard {
    ($($method:ident($kind:ty)),* $(,)?) => {
        $(#[inline]
        fn $method(self, value: $kind) -> Result<(), CodecError> {
            Ok((&mut self.0).$method(value)?)
        })*
    };
}

impl<F: Flavor> Serializer for &mut Writer<F> {
    type Ok = ();
    type Error = CodecError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    written_by_postcard! {
        serialize_bool(bool), serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]),
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64), serialize_i128(i128),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_u128(u128),
        serialize_f32(f32), serialize_f64(f64),
    }

    #[inline]
    fn serialize_none(self) -> Result<(), CodecError> {
        self.serialize_u8(0)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), CodecError> {
        self.serialize_u8(1)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), CodecError> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), CodecError> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, number: u32, _: &'static str) -> Result<(), CodecError> {
        self.variant(number).map(drop)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), CodecError> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        number: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), CodecError> {
        value.serialize(self.variant(number)?)
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Self, CodecError> {
        self.list(length)
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Self, CodecError> {
        self.list(length)
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self, CodecError> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, CodecError> {
        Ok(self)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, CodecError> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        number: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, CodecError> {
        self.variant(number)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _: &'static str,
        number: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, CodecError> {
        self.variant(number)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

macro_rules! parts_are_written_one_by_one {
    ($($compound:ident { $($method:ident($($name:ident: $kind:ty)?)),* }),* $(,)?) => {
        $(impl<F: Flavor> ser::$compound for &mut Writer<F> {
            type Ok = ();
            type Error = CodecError;

            $(#[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, $($name: $kind,)? value: &T) -> Result<(), CodecError> {
                value.serialize(&mut **self)
            })*

            #[inline]
            fn end(self) -> Result<(), CodecError> {
                Ok(())
            }
        })*
    };
}

parts_are_written_one_by_one! {
    SerializeSeq { serialize_element() },
    SerializeTuple { serialize_element() },
    SerializeTupleStruct { serialize_field() },
    SerializeTupleVariant { serialize_field() },
    SerializeMap { serialize_key(), serialize_value() },
    SerializeStruct { serialize_field(_name: &'static str) },
    SerializeStructVariant { serialize_field(_name: &'static str) },
}

/// Appends to a vector.
struct Append<'a>(&'a mut Vec<u8>);

/// The part of a buffer that is yet to be filled. It takes a number or a text as a whole or fails.
struct Rest<'a>(&'a mut [u8]);

struct AppendShared<'a>(&'a RefCell<Vec<u8>>);

macro_rules! written_at_once {
    ($($output:ident: |$own:ident, $bytes:ident| $write:expr),* $(,)?) => {
        $(impl Flavor for $output<'_> {
            type Output = ();

            #[inline]
            fn try_extend(&mut self, $bytes: &[u8]) -> postcard::Result<()> {
                let $own = self;
                $write
            }

            #[inline]
            fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
                self.try_extend(&[byte])
            }

            fn finalize(self) -> postcard::Result<()> {
                Ok(())
            }
        })*
    };
}

written_at_once! {
    Append: |own, bytes| {
        own.0.extend_from_slice(bytes);
        Ok(())
    },
    AppendShared: |own, bytes| {
        own.0.borrow_mut().extend_from_slice(bytes);
        Ok(())
    },
    Rest: |own, bytes| {
        let parts = std::mem::take(&mut own.0).split_at_mut_checked(bytes.len());
        let (place, rest) = parts.ok_or(postcard::Error::SerializeBufferFull)?;
        place.copy_from_slice(bytes);
        own.0 = rest;
        Ok(())
    },
}

struct Reader<'de> {
    rest: &'de [u8],
}

impl<'de> Reader<'de> {
    /// A number that takes at least `least` bytes.
    #[inline]
    fn number<T: Deserialize<'de>>(&mut self, least: usize) -> Result<T, CodecError> {
        match postcard::take_from_bytes(self.rest) {
            Ok((number, rest)) => {
                self.rest = rest;
                Ok(number)
            }
            Err(postcard::Error::DeserializeUnexpectedEnd) => {
                Err(CodecError::CutOff { missing: least.saturating_sub(self.rest.len()).max(1) })
            }
            Err(error) => Err(error.into()),
        }
    }

    #[inline]
    fn length(&mut self) -> Result<usize, CodecError> {
        let length: u64 = self.number(1)?;
        usize::try_from(length).map_err(|_| CodecError::CutOff { missing: usize::MAX })
    }

    /// The bytes of a text or list of bytes, in the input: no memory is made for a length that lies.
    #[inline]
    fn bytes(&mut self) -> Result<&'de [u8], CodecError> {
        let length = self.length()?;
        let missing = length.saturating_sub(self.rest.len());
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(CodecError::CutOff { missing })?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn text(&mut self) -> Result<&'de str, CodecError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| postcard::Error::DeserializeBadUtf8.into())
    }

    /// Postcard's own reader ignores what follows the first character.
    fn character(&mut self) -> Result<char, CodecError> {
        let mut characters = self.text()?.chars();
        match (characters.next(), characters.next()) {
            (Some(character), None) => Ok(character),
            _ => Err(postcard::Error::DeserializeBadChar.into()),
        }
    }
}

macro_rules! read_numbers {
    ($($method:ident, $visit:ident, at least $least:literal),* $(,)?) => {
        $(#[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
            visitor.$visit(self.number($least)?)
        })*
    };
}

macro_rules! read_as {
    ($($method:ident($($kind:ty),*) as $same:ident($($argument:expr)?)),* $(,)?) => {
        $(#[inline]
        fn $method<V: Visitor<'de>>(self, $(_: $kind,)* visitor: V) -> Result<V::Value, CodecError> {
            self.$same($($argument,)? visitor)
        })*
    };
}

macro_rules! not_in_the_bytes {
    ($($method:ident),*) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, CodecError> {
            Err(postcard::Error::WontImplement.into())
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = CodecError;

    read_numbers! {
        deserialize_bool, visit_bool, at least 1,
        deserialize_i8, visit_i8, at least 1,
        deserialize_i16, visit_i16, at least 1,
        deserialize_i32, visit_i32, at least 1,
        deserialize_i64, visit_i64, at least 1,
        deserialize_i128, visit_i128, at least 1,
        deserialize_u8, visit_u8, at least 1,
        deserialize_u16, visit_u16, at least 1,
        deserialize_u32, visit_u32, at least 1,
        deserialize_u64, visit_u64, at least 1,
        deserialize_u128, visit_u128, at least 1,
        deserialize_f32, visit_f32, at least 4,
        deserialize_f64, visit_f64, at least 8,
    }

    read_as! {
        deserialize_string() as deserialize_str(),
        deserialize_byte_buf() as deserialize_bytes(),
        deserialize_unit_struct(&'static str) as deserialize_unit(),
    }

    not_in_the_bytes!(deserialize_any, deserialize_identifier, deserialize_ignored_any);

    #[inline]
    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        visitor.visit_char(self.character()?)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        visitor.visit_borrowed_str(self.text()?)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        match self.number::<u8>(1)? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            _ => Err(postcard::Error::DeserializeBadOption.into()),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, CodecError> {
        visitor.visit_newtype_struct(self)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        let left = self.length()?;
        visitor.visit_seq(Elements { reader: self, left })
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, CodecError> {
        let left = self.length()?;
        visitor.visit_map(Elements { reader: self, left })
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value, CodecError> {
        visitor.visit_seq(Elements { reader: self, left })
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        self.deserialize_tuple(length, visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        visitor.visit_enum(self)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The elements of a list or map, or the fields of a product.
struct Elements<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: usize,
}

impl<'de> Elements<'_, 'de> {
    #[inline]
    fn next<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, CodecError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = CodecError;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, CodecError> {
        self.next(seed)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, 'de> {
    type Error = CodecError;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, CodecError> {
        self.next(seed)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, CodecError> {
        seed.deserialize(&mut *self.reader)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::EnumAccess<'de> for &mut Reader<'de> {
    type Error = CodecError;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), CodecError> {
        let number: U32Deserializer<CodecError> = self.number::<u32>(1)?.into_deserializer();
        Ok((seed.deserialize(number)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Reader<'de> {
    type Error = CodecError;

    #[inline]
    fn unit_variant(self) -> Result<(), CodecError> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, CodecError> {
        seed.deserialize(self)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, CodecError> {
        self.deserialize_tuple(length, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, CodecError> {
        self.deserialize_tuple(fields.len(), visitor)
    }
}

impl ser::Error for CodecError {
    fn custom<T: Display>(text: T) -> Self {
        CodecError::Custom(text.to_string())
    }
}

impl de::Error for CodecError {
    fn custom<T: Display>(text: T) -> Self {
        CodecError::Custom(text.to_string())
    }
}

impl From<postcard::Error> for CodecError {
    fn from(error: postcard::Error) -> Self {
        match error {
            postcard::Error::WontImplement => CodecError::SelfDescribing { type_name: "the value" },
            other => CodecError::Binary(format!("postcard says {other:?}")),
        }
    }
}

#[cfg(test)]
#[path = "postcard/tests.rs"]
mod tests;
