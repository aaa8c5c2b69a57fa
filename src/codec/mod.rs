//! Encodes values to bytes and decodes them.
//!
//! | format    | argument of `call`                           | pair of `run`  | result                                       |
//! |-----------|----------------------------------------------|----------------|----------------------------------------------|
//! | `Bincode` | a `String`/`Vec<u8>` unchanged, a list of numbers as its bytes, else binary | binary | as the argument of `call` |
//! | `Json`    | JSON                                         | JSON, an array | JSON                                         |
//! | `Raw`     | as `Bincode`                                 | binary         | only a `String`/`Vec<u8>`, unchanged         |
//!
//! Binary is bincode's format, or postcard's where only that feature is on: a file for each is the module `binary`. Each is a value that
//! comes back as it is, or an error: in binary by `proof`, in JSON by `json.rs`.
//!
//! Invariant: decoding allocates at most a small multiple of the bytes received, and never panics, whatever the bytes are.

#[cfg_attr(all(feature = "postcard", not(feature = "bincode")), path = "postcard.rs")]
#[cfg_attr(not(any(feature = "bincode", feature = "postcard")), path = "no_binary.rs")]
mod binary;
mod bounded;
pub(crate) mod bytes;
pub(crate) mod call;
pub(crate) mod error;
#[cfg(feature = "remote")]
pub(crate) mod function;
mod json;
pub(crate) mod lent;
pub(crate) mod messages;
pub(crate) mod note;
mod numbers;
mod proof;
pub(crate) mod sink;
pub(crate) mod state;
pub(crate) mod tables;
pub(crate) mod value;

use self::error::CodecError;
use self::lent::Lend;
use self::tables::scope;
use self::value::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::{Any, TypeId};
use std::marker::PhantomData;

/// The format in which arguments and results travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Format {
    /// The compact binary format, which is the default: bincode's, or postcard's where only that feature is on. It cannot carry values that describe their own shape (such as untagged enums or
    /// `serde_json::Value`), nor values that nest deeper than about a hundred levels. Names of fields do not travel, so
    /// both halves of a type must treat the same fields: see [`Value`]. What it cannot carry is refused.
    #[default]
    Bincode,
    /// Carries every value that JSON can represent, with the names of the fields. JSON has only `null` for `None`, `()`,
    /// infinity and NaN: a value that would come back as another one for that reason is refused, such as `Some(None)`. An
    /// untagged enum comes back as the first variant that fits, as serde defines it.
    Json,
    /// A result that is a `String` or `Vec<u8>` travels unchanged; any other result is an
    /// [`Encode`](crate::ErrorKind::Encode) error. Arguments travel as in [`Bincode`](Format::Bincode).
    Raw,
}

impl Format {
    pub(crate) const fn to_bits(self) -> u8 {
        match self {
            Format::Bincode => 0,
            Format::Json => 1,
            Format::Raw => 2,
        }
    }

    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Format::Bincode),
            1 => Some(Format::Json),
            2 => Some(Format::Raw),
            _ => None,
        }
    }
}

/// How a journal names results of this type: those that a build with another binary format has written are others.
#[cfg(feature = "journal")]
pub(crate) fn recorded_type<R>() -> String {
    let name = std::any::type_name::<R>();
    if IS_POSTCARD { format!("{name} in {}", error::BINARY) } else { name.to_string() }
}

/// True if this build's binary format is postcard's.
#[cfg(any(test, feature = "journal"))]
pub(crate) const IS_POSTCARD: bool = cfg!(not(feature = "bincode"));

/// Where an encoded value is: in the buffer that the caller lent, or in the value's own buffer.
pub(crate) enum Encoded {
    InBuffer,
    Own(Vec<u8>),
}

/// True for the types that travel unchanged.
pub(crate) fn is_bytes<T: 'static>() -> bool {
    let id = TypeId::of::<T>();
    id == TypeId::of::<String>() || id == TypeId::of::<Vec<u8>>()
}

/// The bytes of a value that travels as its bytes: a `String` or `Vec<u8>`, or a list of numbers. Any other value is returned as the error.
fn to_own_bytes<T: 'static>(value: T) -> Result<Vec<u8>, T> {
    if numbers::is_list::<T>() { numbers::bytes_of(&value).ok_or(value) } else { into_bytes(value) }
}

/// The bytes of a `String` or `Vec<u8>`, moved out of it. Any other value is returned as the error.
fn into_bytes<T: 'static>(value: T) -> Result<Vec<u8>, T> {
    let mut slot = Some(value);
    let any: &mut dyn Any = &mut slot;
    if let Some(text) = any.downcast_mut::<Option<String>>() {
        return Ok(text.take().unwrap_or_default().into_bytes());
    }
    if let Some(bytes) = any.downcast_mut::<Option<Vec<u8>>>() {
        return Ok(bytes.take().unwrap_or_default());
    }
    Err(slot.expect("no downcast took the value"))
}

/// The `String` or `Vec<u8>` with these bytes, which are moved into it.
fn from_bytes<T: 'static>(bytes: Vec<u8>) -> Result<T, CodecError> {
    let mut slot: Option<T> = None;
    let any: &mut dyn Any = &mut slot;
    if let Some(text) = any.downcast_mut::<Option<String>>() {
        *text = Some(String::from_utf8(bytes)?);
    } else if let Some(own) = any.downcast_mut::<Option<Vec<u8>>>() {
        *own = Some(bytes);
    }
    slot.ok_or(CodecError::NotBytes)
}

/// A pair of numbers or short texts fits.
pub(crate) const SHORT_PAIR_BYTES: usize = 64;

/// True for types that certainly contain no handle of something shared: numbers, text, and lists and pairs of them.
#[inline(always)]
pub(crate) fn shares_nothing<T>() -> bool {
    proof::is_plain::<T>()
}

/// Encodes the argument of `call`.
pub(crate) fn encode_argument<A: Value>(
    format: Format,
    argument: A,
    buffer: &mut Vec<u8>,
) -> Result<Encoded, CodecError> {
    if format == Format::Json {
        return encode_json(&argument, buffer);
    }
    match to_own_bytes(argument) {
        Ok(bytes) => Ok(Encoded::Own(bytes)),
        Err(argument) => encode_binary(&argument, buffer),
    }
}

/// Encodes an argument of `call` that was lent.
pub(crate) fn encode_lent<A: Value, Q: Lend<A> + ?Sized>(
    format: Format,
    argument: &Q,
    buffer: &mut Vec<u8>,
) -> Result<Encoded, CodecError> {
    buffer.clear();
    match format {
        Format::Json => json::append_lent::<A, Q>(argument, buffer)?,
        Format::Bincode | Format::Raw if argument.append_bytes(buffer) => {}
        Format::Bincode | Format::Raw => proof::append_lent::<A, Q>(argument, buffer)?,
    }
    Ok(Encoded::InBuffer)
}

/// Encodes the value of a hook, and makes sure that the type reads it: each process of the pool will, and none could say so to
/// the value's owner. It always travels in the binary format.
pub(crate) fn encode_hook_value<A: Value>(value: A) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    if let Encoded::Own(own) = encode_argument(Format::Bincode, value, &mut bytes)? {
        // A `String` or `Vec<u8>`.
        return Ok(own);
    }
    if !proof::is_plain::<A>() {
        error::guarded(|| decode_value::<A>(Format::Bincode, &bytes).map(drop))?;
    }
    Ok(bytes)
}

/// Encodes a value that all workers share.
pub(crate) fn encode_table<T: Value>(format: Format, value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    match format {
        Format::Json => json::append(value, &mut bytes)?,
        Format::Bincode | Format::Raw if value.append_bytes(&mut bytes) => {}
        Format::Bincode | Format::Raw => proof::append(value, &mut bytes)?,
    }
    Ok(bytes)
}

/// Encodes the pair of `run` at the start of the buffer, and gives its length, if it is short and of a type that the binary
/// format always carries. Then no code of the caller's runs, and nothing is allocated.
#[inline(always)]
pub(crate) fn encode_short_pair<A: Value, B: Value>(
    format: Format,
    pair: &(A, B),
    buffer: &mut [u8; SHORT_PAIR_BYTES],
) -> Option<usize> {
    let is_plain = proof::is_plain::<A>() && proof::is_plain::<B>();
    if is_plain && format != Format::Json { binary::write_short(pair, buffer) } else { None }
}

/// Encodes the pair of `run`.
pub(crate) fn encode_pair<A: Value, B: Value>(
    format: Format,
    pair: &(A, B),
    buffer: &mut Vec<u8>,
) -> Result<Encoded, CodecError> {
    buffer.clear();
    buffer.reserve(SHORT_PAIR_BYTES);
    append_pair(format, pair, buffer)?;
    Ok(Encoded::InBuffer)
}

/// Encodes the pair of `run` behind what is in the buffer. If that fails, a part may be there.
#[inline]
pub(crate) fn append_pair<A: Value, B: Value>(
    format: Format,
    pair: &(A, B),
    buffer: &mut Vec<u8>,
) -> Result<(), CodecError> {
    match format {
        Format::Json => json::append(pair, buffer),
        Format::Bincode | Format::Raw if proof::is_plain::<A>() && proof::is_plain::<B>() => {
            binary::append(pair, buffer)
        }
        Format::Bincode | Format::Raw => proof::append(pair, buffer),
    }
}

/// Encodes the argument of `call` behind what is in the buffer, or gives it if it travels as it is. If that fails, a part may be
/// there.
#[inline]
pub(crate) fn append_argument<A: Value>(
    format: Format,
    argument: A,
    buffer: &mut Vec<u8>,
) -> Result<Option<Vec<u8>>, CodecError> {
    if format == Format::Json {
        return json::append(&argument, buffer).map(|()| None);
    }
    match to_own_bytes(argument) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(argument) => proof::append(&argument, buffer).map(|()| None),
    }
}

/// Encodes a result.
pub(crate) fn encode_result<R: Value>(format: Format, result: R, buffer: &mut Vec<u8>) -> Result<Encoded, CodecError> {
    match format {
        Format::Json => encode_json(&result, buffer),
        Format::Bincode => match to_own_bytes(result) {
            Ok(bytes) => Ok(Encoded::Own(bytes)),
            Err(result) => encode_binary(&result, buffer),
        },
        Format::Raw => match into_bytes(result) {
            Ok(bytes) => Ok(Encoded::Own(bytes)),
            Err(_) => Err(CodecError::NotBytes),
        },
    }
}

/// Decodes the argument of `call`. It may take the contents of `bytes`.
pub(crate) fn decode_argument<A: DeserializeOwned + 'static>(
    format: Format,
    bytes: &mut Vec<u8>,
) -> Result<A, CodecError> {
    if format != Format::Json && is_bytes::<A>() {
        return from_bytes(std::mem::take(bytes));
    }
    if proof::is_plain::<A>() { decode_unmoved(format, bytes) } else { scope::decoding(|| decode_value(format, bytes)) }
}

/// Decodes the pair of `run`.
#[inline]
pub(crate) fn decode_pair<A: DeserializeOwned, B: DeserializeOwned>(
    format: Format,
    bytes: &[u8],
) -> Result<(A, B), CodecError> {
    let is_plain = proof::is_plain::<A>() && proof::is_plain::<B>();
    if is_plain { decode_value(format, bytes) } else { scope::decoding(|| decode_value(format, bytes)) }
}

/// Decodes a result that owns its buffer.
pub(crate) fn decode_result_owned<R: DeserializeOwned + 'static>(
    format: Format,
    bytes: Vec<u8>,
) -> Result<R, CodecError> {
    if format != Format::Json && is_bytes::<R>() { from_bytes(bytes) } else { decode_unmoved(format, &bytes) }
}

/// Decodes a result from a borrowed buffer.
#[inline]
pub(crate) fn decode_result<R: DeserializeOwned + 'static>(format: Format, bytes: &[u8]) -> Result<R, CodecError> {
    if format != Format::Json && is_bytes::<R>() { from_bytes(bytes.to_vec()) } else { decode_unmoved(format, bytes) }
}

/// Decodes an argument of `call`, or a result, that is not moved out of its buffer.
#[inline]
fn decode_unmoved<T: DeserializeOwned + 'static>(format: Format, bytes: &[u8]) -> Result<T, CodecError> {
    if format != Format::Json && numbers::is_list::<T>() {
        return numbers::list_of(bytes).unwrap_or(Err(CodecError::NotBytes));
    }
    decode_value(format, bytes)
}

#[inline]
fn decode_value<T: DeserializeOwned>(format: Format, bytes: &[u8]) -> Result<T, CodecError> {
    match format {
        Format::Json => Ok(serde_json::from_slice(bytes)?),
        Format::Bincode | Format::Raw => binary::read(PhantomData, bytes),
    }
}

/// Encodes a message between the parent and the fork server. Its type is ours, so it needs no proof.
pub(crate) fn encode_message<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    let mut buffer = Vec::new();
    binary::append(message, &mut buffer)?;
    Ok(buffer)
}

/// Decodes a message between the parent and the fork server.
pub(crate) fn decode_message<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    binary::read(PhantomData, bytes)
}

fn encode_json<T: Value>(value: &T, buffer: &mut Vec<u8>) -> Result<Encoded, CodecError> {
    buffer.clear();
    json::append(value, buffer)?;
    Ok(Encoded::InBuffer)
}

fn encode_binary<T: Value>(value: &T, buffer: &mut Vec<u8>) -> Result<Encoded, CodecError> {
    buffer.clear();
    proof::append(value, buffer)?;
    Ok(Encoded::InBuffer)
}

#[cfg(test)]
mod tests;
