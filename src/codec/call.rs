//! A piece's function and the code around it: decode, call, encode.
//!
//! A call has two addresses in the same image: the function's, and that of an entry compiled for the function's types,
//! which decodes the arguments and encodes the result. Both travel as offsets from a symbol of the image, since the loader
//! may load the same image at another address in another process.
//!
//! Invariant: this file made both addresses of a [`Call`] together, for the same types, in this process or in a parent
//! that runs the same image. No other code makes a `Call`. This is why calling it is sound.

#![allow(unsafe_code)]

use crate::codec::messages;
use crate::codec::sink::{Outcome, Place, Sink, TooLong};
use crate::codec::state;
use crate::codec::value::Value;
use crate::codec::{self, Encoded, Format};
use std::error::Error as StdError;

pub(crate) use crate::codec::error::{Fault, drop_payload, panic_text};

/// Decodes `arguments`, calls the function, and encodes its result into the place for it.
type Entry =
    fn(function: Function, format: Format, arguments: &mut Vec<u8>, place: &mut Place<'_>) -> Result<Encoded, Fault>;

/// What the error of a function becomes first.
type Failed = Box<dyn StdError + Send + Sync>;

/// A function's address. Only its entry knows its type.
#[derive(Clone, Copy)]
pub(crate) struct Function(*const ());

/// A function with the entry for its types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    function: usize,
    entry: usize,
}

impl Call {
    /// A call of `run`.
    pub(crate) fn of_pair<A: Value, B: Value, R: Value>(function: fn(A, B) -> R) -> Self {
        let entry: Entry = pair_entry::<A, B, R>;
        Call { function: function as *const () as usize, entry: entry as *const () as usize }
    }

    /// A call of `call`.
    pub(crate) fn of_argument<A: Value, R: Value>(function: fn(A) -> R) -> Self {
        let entry: Entry = argument_entry::<A, R>;
        Call { function: function as *const () as usize, entry: entry as *const () as usize }
    }

    /// A call of `try_run`.
    pub(crate) fn of_fallible_pair<A: Value, B: Value, R: Value, E: Into<Failed>>(
        function: fn(A, B) -> Result<R, E>,
    ) -> Self {
        let entry: Entry = fallible_pair_entry::<A, B, R, E>;
        Call { function: function as *const () as usize, entry: entry as *const () as usize }
    }

    /// A call of `try_call`.
    pub(crate) fn of_fallible_argument<A: Value, R: Value, E: Into<Failed>>(function: fn(A) -> Result<R, E>) -> Self {
        let entry: Entry = fallible_argument_entry::<A, R, E>;
        Call { function: function as *const () as usize, entry: entry as *const () as usize }
    }

    /// A call of `run_into`.
    pub(crate) fn of_writing_pair<A: Value, B: Value, O: Outcome>(function: fn(A, B, &mut Sink) -> O) -> Self {
        let entry: Entry = writing_pair_entry::<A, B, O>;
        Call { function: function as *const () as usize, entry: entry as *const () as usize }
    }

    /// A call of `call_with`.
    pub(crate) fn of_argument_with_state<S: 'static, A: Value, R: Value>(function: fn(&mut S, A) -> R) -> Self {
        let entry: Entry = argument_with_state_entry::<S, A, R>;
        Call { function: function as *const () as usize, entry: entry as *const () as usize }
    }

    /// A call of `run_with`.
    pub(crate) fn of_pair_with_state<S: 'static, A: Value, B: Value, R: Value>(
        function: fn(&mut S, A, B) -> R,
    ) -> Self {
        let entry: Entry = pair_with_state_entry::<S, A, B, R>;
        Call { function: function as *const () as usize, entry: entry as *const () as usize }
    }

    /// A call that makes a worker's state.
    pub(crate) fn of_state<V: Value, S: 'static, E: Into<Failed>>(function: fn(V) -> Result<S, E>) -> Self {
        let entry: Entry = state_entry::<V, S, E>;
        Call { function: function as *const () as usize, entry: entry as *const () as usize }
    }

    /// A call of a hook without a value.
    pub(crate) fn of_hook(function: fn()) -> Self {
        let entry: Entry = hook_entry;
        Call { function: function as *const () as usize, entry: entry as *const () as usize }
    }

    /// The function's address, which identifies the function in an error.
    pub(crate) fn address(&self) -> usize {
        self.function
    }

    /// Runs the function in this process.
    #[inline]
    pub(crate) fn run(&self, format: Format, arguments: &mut Vec<u8>, place: &mut Place<'_>) -> Result<Encoded, Fault> {
        // SAFETY: by the invariant of `Call`, this is the address of an `Entry` in this image.
        let entry = unsafe { std::mem::transmute::<*const (), Entry>(std::ptr::with_exposed_provenance(self.entry)) };
        entry(Function(std::ptr::with_exposed_provenance(self.function)), format, arguments, place)
    }

    /// Both addresses as offsets from `base`, in one word; `None` if one does not fit.
    pub(crate) fn to_word(self, base: usize) -> Option<u64> {
        let offset = |address: usize| i32::try_from(address.wrapping_sub(base) as isize).ok();
        let (function, entry) = (offset(self.function)?, offset(self.entry)?);
        Some(u64::from(function as u32) | u64::from(entry as u32) << 32)
    }

    /// The call that [`to_word`](Self::to_word) encoded, with the addresses of this process.
    ///
    /// # Safety
    /// The word must come from `to_word` in a process that runs the same image, and `base` must be the address of the same
    /// symbol in this process.
    pub(crate) unsafe fn from_word(word: u64, base: usize) -> Self {
        let address = |offset: u32| base.wrapping_add_signed(offset as i32 as isize);
        Call { function: address(word as u32), entry: address((word >> 32) as u32) }
    }
}

// All entries have the same type, so this one takes a `Vec` too.
#[allow(clippy::ptr_arg)]
fn pair_entry<A: Value, B: Value, R: Value>(
    function: Function,
    format: Format,
    arguments: &mut Vec<u8>,
    place: &mut Place<'_>,
) -> Result<Encoded, Fault> {
    // SAFETY: by the invariant of `Call`, the function that is given to this entry has this type.
    let function = unsafe { std::mem::transmute::<*const (), fn(A, B) -> R>(function.0) };
    let (start, end) = codec::decode_pair(format, arguments).map_err(Fault::Decode)?;
    codec::encode_result(format, function(start, end), place.buffer).map_err(Fault::Encode)
}

fn argument_entry<A: Value, R: Value>(
    function: Function,
    format: Format,
    arguments: &mut Vec<u8>,
    place: &mut Place<'_>,
) -> Result<Encoded, Fault> {
    // SAFETY: by the invariant of `Call`, the function that is given to this entry has this type.
    let function = unsafe { std::mem::transmute::<*const (), fn(A) -> R>(function.0) };
    let argument = codec::decode_argument(format, arguments).map_err(Fault::Decode)?;
    codec::encode_result(format, function(argument), place.buffer).map_err(Fault::Encode)
}

// As above.
#[allow(clippy::ptr_arg)]
fn fallible_pair_entry<A: Value, B: Value, R: Value, E: Into<Failed>>(
    function: Function,
    format: Format,
    arguments: &mut Vec<u8>,
    place: &mut Place<'_>,
) -> Result<Encoded, Fault> {
    // SAFETY: by the invariant of `Call`, the function that is given to this entry has this type.
    let function = unsafe { std::mem::transmute::<*const (), fn(A, B) -> Result<R, E>>(function.0) };
    let (start, end) = codec::decode_pair(format, arguments).map_err(Fault::Decode)?;
    encode_answer(format, function(start, end), place)
}

fn fallible_argument_entry<A: Value, R: Value, E: Into<Failed>>(
    function: Function,
    format: Format,
    arguments: &mut Vec<u8>,
    place: &mut Place<'_>,
) -> Result<Encoded, Fault> {
    // SAFETY: by the invariant of `Call`, the function that is given to this entry has this type.
    let function = unsafe { std::mem::transmute::<*const (), fn(A) -> Result<R, E>>(function.0) };
    let argument = codec::decode_argument(format, arguments).map_err(Fault::Decode)?;
    encode_answer(format, function(argument), place)
}

/// The result, or the messages of the error, whose own code runs here: a panic of it is the piece's.
fn encode_answer<R: Value, E: Into<Failed>>(
    format: Format,
    answer: Result<R, E>,
    place: &mut Place<'_>,
) -> Result<Encoded, Fault> {
    match answer {
        Ok(value) => codec::encode_result(format, value, place.buffer).map_err(Fault::Encode),
        Err(error) => Err(Fault::Failed(messages::of_error(&*error.into()))),
    }
}

// As above.
#[allow(clippy::ptr_arg)]
fn writing_pair_entry<A: Value, B: Value, O: Outcome>(
    function: Function,
    format: Format,
    arguments: &mut Vec<u8>,
    place: &mut Place<'_>,
) -> Result<Encoded, Fault> {
    // SAFETY: by the invariant of `Call`, the function that is given to this entry has this type.
    let function = unsafe { std::mem::transmute::<*const (), fn(A, B, &mut Sink) -> O>(function.0) };
    let (start, end) = codec::decode_pair(format, arguments).map_err(Fault::Decode)?;
    let mut sink = Sink::new(place);
    let outcome = function(start, end, &mut sink);
    sink.end(place).map_err(|TooLong { most }| Fault::TooLong { most })?;
    match outcome.into_result() {
        Ok(()) => Ok(Encoded::InBuffer),
        // The error's own code runs here: a panic of it is the piece's.
        Err(error) => Err(Fault::Failed(messages::of_error(&*error))),
    }
}

fn argument_with_state_entry<S: 'static, A: Value, R: Value>(
    function: Function,
    format: Format,
    arguments: &mut Vec<u8>,
    place: &mut Place<'_>,
) -> Result<Encoded, Fault> {
    // SAFETY: by the invariant of `Call`, the function that is given to this entry has this type.
    let function = unsafe { std::mem::transmute::<*const (), fn(&mut S, A) -> R>(function.0) };
    let argument = codec::decode_argument(format, arguments).map_err(Fault::Decode)?;
    let result = state::with(|state| function(state, argument))?;
    codec::encode_result(format, result, place.buffer).map_err(Fault::Encode)
}

// As above.
#[allow(clippy::ptr_arg)]
fn pair_with_state_entry<S: 'static, A: Value, B: Value, R: Value>(
    function: Function,
    format: Format,
    arguments: &mut Vec<u8>,
    place: &mut Place<'_>,
) -> Result<Encoded, Fault> {
    // SAFETY: by the invariant of `Call`, the function that is given to this entry has this type.
    let function = unsafe { std::mem::transmute::<*const (), fn(&mut S, A, B) -> R>(function.0) };
    let (start, end) = codec::decode_pair(format, arguments).map_err(Fault::Decode)?;
    let result = state::with(|state| function(state, start, end))?;
    codec::encode_result(format, result, place.buffer).map_err(Fault::Encode)
}

fn state_entry<V: Value, S: 'static, E: Into<Failed>>(
    function: Function,
    format: Format,
    arguments: &mut Vec<u8>,
    _: &mut Place<'_>,
) -> Result<Encoded, Fault> {
    // SAFETY: by the invariant of `Call`, the function that is given to this entry has this type.
    let function = unsafe { std::mem::transmute::<*const (), fn(V) -> Result<S, E>>(function.0) };
    let value = codec::decode_argument(format, arguments).map_err(Fault::Decode)?;
    match function(value) {
        Ok(made) => state::put(made),
        Err(error) => return Err(Fault::Failed(messages::of_error(&*error.into()))),
    }
    Ok(Encoded::InBuffer)
}

fn hook_entry(function: Function, _: Format, _: &mut Vec<u8>, _: &mut Place<'_>) -> Result<Encoded, Fault> {
    // SAFETY: by the invariant of `Call`, the function that is given to this entry has this type.
    let function = unsafe { std::mem::transmute::<*const (), fn()>(function.0) };
    function();
    Ok(Encoded::InBuffer)
}

#[cfg(test)]
mod tests;
