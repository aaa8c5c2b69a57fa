//! The binary format: bincode with integers of full width. The only file that names bincode.
//!
//! Invariant: decoding reads all bytes or fails, and is [`Bounded`].

use crate::codec::bounded::{Bounded, Budget};
use crate::codec::error::CodecError;
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer};
use std::any::type_name;
use std::cell::RefCell;

/// Full width needs no branch for an integer, and two `u64` take 16 bytes.
fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_fixed_int_encoding()
}

/// Writes a value behind what is in the buffer. If that fails, a part may be there.
#[inline]
pub(super) fn append<T: Serialize + ?Sized>(value: &T, buffer: &mut Vec<u8>) -> Result<(), CodecError> {
    Ok(bincode::serde::encode_into_writer(value, Append(buffer), config())?)
}

/// Writes a value at the start of a buffer, and gives its length; `None` if it does not fit.
#[inline]
pub(super) fn write_short<T: Serialize>(value: &T, buffer: &mut [u8]) -> Option<usize> {
    let whole = buffer.len();
    let mut rest = Rest(buffer);
    bincode::serde::encode_into_writer(value, &mut rest, config()).ok()?;
    Some(whole - rest.0.len())
}

/// As [`append`], into a buffer that others look at meanwhile.
pub(super) fn append_shared<T: Serialize>(value: &T, buffer: &RefCell<Vec<u8>>) -> Result<(), CodecError> {
    Ok(bincode::serde::encode_into_writer(value, AppendShared(buffer), config())?)
}

/// Reads a value that takes all the bytes.
#[inline]
pub(super) fn read<'de, S: DeserializeSeed<'de>>(seed: S, bytes: &'de [u8]) -> Result<S::Value, CodecError> {
    let budget = Budget::for_input(bytes.len());
    let decoded = bincode::serde::seed_decode_from_slice(Root { seed, budget: &budget }, bytes, config());
    let (value, read) = decoded.map_err(|error| match error.into() {
        CodecError::SelfDescribing { .. } => CodecError::SelfDescribing { type_name: type_name::<S::Value>() },
        other => other,
    })?;
    match bytes.len() - read {
        0 => Ok(value),
        left => Err(CodecError::LeftOver { left }),
    }
}

/// A value as a whole. It reads through [`Bounded`].
struct Root<'b, S> {
    seed: S,
    budget: &'b Budget,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Root<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Bounded::new(deserializer, self.budget))
    }
}

/// Appends to a vector. bincode's own writer copies through a slice of fixed length.
struct Append<'a>(&'a mut Vec<u8>);

impl bincode::enc::write::Writer for Append<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// The part of a buffer that is yet to be filled. It takes a value as a whole or fails.
struct Rest<'a>(&'a mut [u8]);

impl bincode::enc::write::Writer for &mut Rest<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        let (place, rest) = std::mem::take(&mut self.0)
            .split_at_mut_checked(bytes.len())
            .ok_or(bincode::error::EncodeError::UnexpectedEnd)?;
        place.copy_from_slice(bytes);
        self.0 = rest;
        Ok(())
    }
}

struct AppendShared<'a>(&'a RefCell<Vec<u8>>);

impl bincode::enc::write::Writer for AppendShared<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }
}

impl From<bincode::error::EncodeError> for CodecError {
    fn from(error: bincode::error::EncodeError) -> Self {
        match error {
            bincode::error::EncodeError::OtherString(text) => CodecError::Custom(text),
            // bincode's other messages are only the names of its variants.
            other => CodecError::Binary(format!("bincode says {other}")),
        }
    }
}

impl From<bincode::error::DecodeError> for CodecError {
    fn from(error: bincode::error::DecodeError) -> Self {
        use bincode::error::DecodeError;
        match error {
            DecodeError::OtherString(text) => CodecError::Custom(text),
            DecodeError::UnexpectedEnd { additional } => CodecError::CutOff { missing: additional },
            DecodeError::Serde(
                bincode::serde::DecodeError::AnyNotSupported
                | bincode::serde::DecodeError::IdentifierNotSupported
                | bincode::serde::DecodeError::IgnoredAnyNotSupported,
            ) => CodecError::SelfDescribing { type_name: "the value" },
            other => CodecError::Binary(format!("bincode says {other}")),
        }
    }
}

/// Replaces the length of a list or map, which the bytes end with.
pub(super) fn rewrite_length(bytes: &mut [u8], length: usize) {
    let Some(place) = bytes.last_chunk_mut::<8>() else { return };
    *place = (length as u64).to_le_bytes();
}
