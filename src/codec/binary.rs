//! The binary format of the feature `bincode`: bincode's, with integers of full width. The only file that names bincode.
//!
//! Where only the feature `postcard` is on, `postcard.rs` takes this file's place, with the same functions.
//!
//! Invariant: decoding reads all bytes or fails, and is [`Bounded`](crate::codec::bounded::Bounded).

use crate::codec::bounded::{self, Budget, Root};
use crate::codec::error::CodecError;
use serde::Serialize;
use serde::de::DeserializeSeed;
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

/// How many bytes a number or a `char` takes.
pub(super) fn size_of<T: Serialize>(value: &T) -> usize {
    write_short(value, &mut [0; 24]).unwrap_or_default()
}

/// Reads a value that takes all the bytes.
#[inline]
pub(super) fn read<'de, S: DeserializeSeed<'de>>(seed: S, bytes: &'de [u8]) -> Result<S::Value, CodecError> {
    let budget = Budget::for_input(bytes.len());
    let decoded = bincode::serde::seed_decode_from_slice(Root::new(seed, &budget), bytes, config());
    bounded::all_of(decoded.map(|(value, read)| (value, bytes.len() - read)).map_err(CodecError::from))
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
