//! In place of the binary format where no feature names one: the only error of such a build, which says what to name.
//!
//! Invariant: it has the functions of `binary.rs`. Were they missing, the errors about them would hide that one.

use crate::codec::error::CodecError;
use serde::Serialize;
use serde::de::DeserializeSeed;
use std::cell::RefCell;

compile_error!(
    "multicore needs a binary format: name its feature `bincode`, which is on by default, or its feature `postcard`, as in \
     `default-features = false, features = [\"postcard\"]`"
);

fn none<T>() -> Result<T, CodecError> {
    Err(CodecError::Binary("there is no binary format".to_string()))
}

pub(super) fn append<T: Serialize + ?Sized>(_: &T, _: &mut Vec<u8>) -> Result<(), CodecError> {
    none()
}

pub(super) fn write_short<T: Serialize>(_: &T, _: &mut [u8]) -> Option<usize> {
    None
}

pub(super) fn append_shared<T: Serialize>(_: &T, _: &RefCell<Vec<u8>>) -> Result<(), CodecError> {
    none()
}

pub(super) fn size_of<T: Serialize>(_: &T) -> usize {
    0
}

pub(super) fn read<'de, S: DeserializeSeed<'de>>(_: S, _: &'de [u8]) -> Result<S::Value, CodecError> {
    none()
}
