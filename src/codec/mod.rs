//! Encodes values to bytes and decodes them. The only file that knows the wire format.
//!
//! | format    | argument of `call`                           | pair of `run`  | result                                       |
//! |-----------|----------------------------------------------|----------------|----------------------------------------------|
//! | `Bincode` | a `String`/`Vec<u8>` unchanged, else bincode | bincode        | a `String`/`Vec<u8>` unchanged, else bincode |
//! | `Json`    | JSON                                         | JSON, an array | JSON                                         |
//! | `Raw`     | as `Bincode`                                 | bincode        | only a `String`/`Vec<u8>`, unchanged         |
//!
//! Bincode writes integers at their full width. This needs no branch for an integer, and two `u64` take 16 bytes.
//!
//! Invariant: decoding allocates at most a small multiple of the bytes received, and never panics, whatever the bytes are.

pub(crate) mod bounded;
pub(crate) mod bytes;
pub(crate) mod call;
pub(crate) mod value;

use self::bounded::{Bounded, Budget};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::{Any, TypeId};

/// The format in which arguments and results travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Format {
    /// Compact and fast; the default. It cannot carry values that describe their own shape (such as untagged enums or
    /// `serde_json::Value`), nor values that nest deeper than about a hundred levels.
    #[default]
    Bincode,
    /// Carries every value that JSON can represent.
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

/// The reason why a value could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    /// A type that needs the format to describe the value, such as an untagged enum.
    #[error("bincode cannot decode a value that describes its own shape, such as an untagged enum: use Format::Json")]
    SelfDescribing,
    #[error("{missing} bytes are missing at the end")]
    CutOff { missing: usize },
    #[error("{0}")]
    Bincode(String),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("the value's serde code panicked: {0}")]
    Panicked(String),
    #[error("the bytes are not text: {0}")]
    NotText(#[from] std::string::FromUtf8Error),
    #[error("Format::Raw carries only a String or Vec<u8> as a result; use Format::Bincode or Format::Json")]
    NotBytes,
}

impl From<bincode::error::EncodeError> for CodecError {
    fn from(error: bincode::error::EncodeError) -> Self {
        match error {
            bincode::error::EncodeError::OtherString(text) => CodecError::Bincode(text),
            // bincode's other messages are only the names of its variants.
            other => CodecError::Bincode(format!("bincode says {other}")),
        }
    }
}

impl From<bincode::error::DecodeError> for CodecError {
    fn from(error: bincode::error::DecodeError) -> Self {
        use bincode::error::DecodeError;
        match error {
            DecodeError::OtherString(text) => CodecError::Bincode(text),
            DecodeError::UnexpectedEnd { additional } => CodecError::CutOff { missing: additional },
            DecodeError::Serde(bincode::serde::DecodeError::AnyNotSupported) => CodecError::SelfDescribing,
            other => CodecError::Bincode(format!("bincode says {other}")),
        }
    }
}

/// Where an encoded value is: in the buffer that the caller lent, or in the value's own buffer.
pub(crate) enum Encoded {
    InBuffer,
    Own(Vec<u8>),
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_fixed_int_encoding()
}

/// True for the types that travel unchanged.
pub(crate) fn is_bytes<T: 'static>() -> bool {
    let id = TypeId::of::<T>();
    id == TypeId::of::<String>() || id == TypeId::of::<Vec<u8>>()
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

/// Encodes the argument of `call`.
pub(crate) fn encode_argument<A: Serialize + 'static>(
    format: Format,
    argument: A,
    buffer: &mut Vec<u8>,
) -> Result<Encoded, CodecError> {
    if format == Format::Json {
        return encode_json(&argument, buffer);
    }
    match into_bytes(argument) {
        Ok(bytes) => Ok(Encoded::Own(bytes)),
        Err(argument) => encode_bincode(&argument, buffer),
    }
}

/// Encodes the pair of `run`.
pub(crate) fn encode_pair<A: Serialize, B: Serialize>(
    format: Format,
    pair: &(A, B),
    buffer: &mut Vec<u8>,
) -> Result<Encoded, CodecError> {
    match format {
        Format::Json => encode_json(pair, buffer),
        Format::Bincode | Format::Raw => encode_bincode(pair, buffer),
    }
}

/// Encodes the pair of `run` behind what is in the buffer. If that fails, a part may be there.
pub(crate) fn append_pair<A: Serialize, B: Serialize>(
    format: Format,
    pair: &(A, B),
    buffer: &mut Vec<u8>,
) -> Result<(), CodecError> {
    match format {
        Format::Json => serde_json::to_writer(buffer, pair)?,
        Format::Bincode | Format::Raw => {
            bincode::serde::encode_into_writer(pair, Append(buffer), config())?;
        }
    }
    Ok(())
}

/// Encodes a result.
pub(crate) fn encode_result<R: Serialize + 'static>(
    format: Format,
    result: R,
    buffer: &mut Vec<u8>,
) -> Result<Encoded, CodecError> {
    match format {
        Format::Json => encode_json(&result, buffer),
        Format::Bincode => match into_bytes(result) {
            Ok(bytes) => Ok(Encoded::Own(bytes)),
            Err(result) => encode_bincode(&result, buffer),
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
    decode_value(format, bytes)
}

/// Decodes the pair of `run`.
pub(crate) fn decode_pair<A: DeserializeOwned, B: DeserializeOwned>(
    format: Format,
    bytes: &[u8],
) -> Result<(A, B), CodecError> {
    decode_value(format, bytes)
}

/// Decodes a result that owns its buffer.
pub(crate) fn decode_result_owned<R: DeserializeOwned + 'static>(
    format: Format,
    bytes: Vec<u8>,
) -> Result<R, CodecError> {
    if format != Format::Json && is_bytes::<R>() { from_bytes(bytes) } else { decode_value(format, &bytes) }
}

/// Decodes a result from a borrowed buffer.
pub(crate) fn decode_result<R: DeserializeOwned + 'static>(format: Format, bytes: &[u8]) -> Result<R, CodecError> {
    if format != Format::Json && is_bytes::<R>() { from_bytes(bytes.to_vec()) } else { decode_value(format, bytes) }
}

fn decode_value<T: DeserializeOwned>(format: Format, bytes: &[u8]) -> Result<T, CodecError> {
    match format {
        Format::Json => Ok(serde_json::from_slice(bytes)?),
        Format::Bincode | Format::Raw => decode_bincode(bytes),
    }
}

/// Encodes a message between the parent and the fork server.
pub(crate) fn encode_message<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    let mut buffer = Vec::new();
    encode_bincode(message, &mut buffer).map(|_| buffer)
}

/// Decodes a message between the parent and the fork server.
pub(crate) fn decode_message<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_bincode(bytes)
}

fn encode_json<T: Serialize>(value: &T, buffer: &mut Vec<u8>) -> Result<Encoded, CodecError> {
    buffer.clear();
    serde_json::to_writer(buffer, value)?;
    Ok(Encoded::InBuffer)
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

fn encode_bincode<T: Serialize>(value: &T, buffer: &mut Vec<u8>) -> Result<Encoded, CodecError> {
    buffer.clear();
    bincode::serde::encode_into_writer(value, Append(buffer), config())?;
    Ok(Encoded::InBuffer)
}

fn decode_bincode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, CodecError> {
    let mut decoder = bincode::serde::BorrowedSerdeDecoder::from_slice(bytes, config(), ());
    let budget = Budget::for_input(bytes.len());
    let bounded = Bounded::new(decoder.as_deserializer(), &budget);
    Ok(T::deserialize(bounded)?)
}

#[cfg(test)]
mod tests;
