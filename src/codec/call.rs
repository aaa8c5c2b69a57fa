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
#[cfg(feature = "remote")]
use std::any::TypeId;
use std::error::Error as StdError;
use std::fmt;
#[cfg(feature = "remote")]
use std::marker::PhantomData;

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
#[derive(Clone, Copy)]
pub(crate) struct Call {
    function: usize,
    entry: usize,
    /// What is called, and how: two functions that the compiler has merged may have one address.
    #[cfg(feature = "remote")]
    shape: Shape,
}

/// Gives what stands for a function's type and for the way in which it is called.
#[cfg(feature = "remote")]
type Shape = fn() -> (TypeId, &'static str);

/// The function's type less what need not be `'static`, and the name of that.
#[cfg(feature = "remote")]
fn shape<F: 'static, E>() -> (TypeId, &'static str) {
    (TypeId::of::<F>(), std::any::type_name::<E>())
}

/// Ways to call a function that do not follow from its type.
#[cfg(feature = "remote")]
struct Fallible<F>(PhantomData<F>);

#[cfg(feature = "remote")]
struct Writing<F>(PhantomData<F>);

/// A call that never leaves this machine.
#[cfg(feature = "remote")]
struct Local;

/// The addresses alone: they say it, and the shape of one call may have several addresses.
impl PartialEq for Call {
    #[inline]
    fn eq(&self, other: &Call) -> bool {
        self.function == other.function && self.entry == other.entry
    }
}

impl Eq for Call {}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({:#x} by {:#x})", self.function, self.entry)
    }
}

/// A call of a function by an entry, with its shape where the build needs one.
macro_rules! call {
    ($function:expr, $entry:expr, $($shape:ty),+) => {{
        let entry: Entry = $entry;
        Call {
            function: $function as *const () as usize,
            entry: entry as *const () as usize,
            #[cfg(feature = "remote")]
            shape: shape::<$($shape),+>,
        }
    }};
}

impl Call {
    /// A call of `run`.
    pub(crate) fn of_pair<A: Value, B: Value, R: Value>(function: fn(A, B) -> R) -> Self {
        call!(function, pair_entry::<A, B, R>, fn(A, B) -> R, ())
    }

    /// A call of `call`.
    pub(crate) fn of_argument<A: Value, R: Value>(function: fn(A) -> R) -> Self {
        call!(function, argument_entry::<A, R>, fn(A) -> R, ())
    }

    /// A call of `try_run`.
    pub(crate) fn of_fallible_pair<A: Value, B: Value, R: Value, E: Into<Failed>>(
        function: fn(A, B) -> Result<R, E>,
    ) -> Self {
        call!(function, fallible_pair_entry::<A, B, R, E>, Fallible<fn(A, B) -> R>, E)
    }

    /// A call of `try_call`.
    pub(crate) fn of_fallible_argument<A: Value, R: Value, E: Into<Failed>>(function: fn(A) -> Result<R, E>) -> Self {
        call!(function, fallible_argument_entry::<A, R, E>, Fallible<fn(A) -> R>, E)
    }

    /// A call of `run_into`.
    pub(crate) fn of_writing_pair<A: Value, B: Value, O: Outcome>(function: fn(A, B, &mut Sink) -> O) -> Self {
        call!(function, writing_pair_entry::<A, B, O>, Writing<fn(A, B)>, O)
    }

    /// A call of `call_with`.
    pub(crate) fn of_argument_with_state<S: 'static, A: Value, R: Value>(function: fn(&mut S, A) -> R) -> Self {
        call!(function, argument_with_state_entry::<S, A, R>, Local, ())
    }

    /// A call of `run_with`.
    pub(crate) fn of_pair_with_state<S: 'static, A: Value, B: Value, R: Value>(
        function: fn(&mut S, A, B) -> R,
    ) -> Self {
        call!(function, pair_with_state_entry::<S, A, B, R>, Local, ())
    }

    /// A call that makes a worker's state.
    pub(crate) fn of_state<V: Value, S: 'static, E: Into<Failed>>(function: fn(V) -> Result<S, E>) -> Self {
        call!(function, state_entry::<V, S, E>, Local, ())
    }

    /// A call of a hook without a value.
    pub(crate) fn of_hook(function: fn()) -> Self {
        call!(function, hook_entry, Local, ())
    }

    /// The function's address, which identifies the function in an error.
    pub(crate) fn address(&self) -> usize {
        self.function
    }

    /// What is called, and how.
    #[cfg(feature = "remote")]
    pub(crate) fn shape(&self) -> (TypeId, &'static str) {
        (self.shape)()
    }

    /// The same call of a function with which the compiler has merged another one.
    #[cfg(all(test, feature = "remote"))]
    pub(crate) fn at_the_address_of(self, other: Call) -> Call {
        Call { function: other.function, ..self }
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
        Call {
            function: address(word as u32),
            entry: address((word >> 32) as u32),
            #[cfg(feature = "remote")]
            shape: shape::<Local, ()>,
        }
    }
}

/// A function that other hosts run, as a pointer: what `remote!` gives. `F` has no size, so that the pointer has nothing to carry.
#[cfg(feature = "remote")]
pub(crate) mod pointer {
    use super::Sink;

    /// Says that a function's value was made in the initialiser of a static: in no process has it depended on what ran there before.
    #[derive(Debug, Clone, Copy)]
    pub struct InStatic(());

    impl InStatic {
        /// # Safety
        /// It must go, in the initialiser of a static, into a value that also has the function that it speaks of.
        #[must_use]
        pub const unsafe fn new() -> Self {
            InStatic(())
        }
    }

    /// A value of a type that has no size.
    ///
    /// # Safety
    /// A value of `F` must have been made in the initialiser of a static.
    unsafe fn another<F: Copy + Send + Sync + 'static>() -> F {
        const {
            assert!(
                size_of::<F>() == 0,
                "a function that other hosts run must be a function item, or a closure that captures nothing"
            )
        };
        // SAFETY: no byte is read, at an address that is aligned and not null. The type has values, since one was made; it may be copied,
        // used by any thread and kept for ever; and what the initialiser of a static makes holds in each process and at any time.
        unsafe { std::ptr::NonNull::<F>::dangling().read() }
    }

    /// The function as a pointer.
    pub(crate) fn of_pair<F, A, B, R>(_: &'static F, _: InStatic) -> fn(A, B) -> R
    where
        F: Fn(A, B) -> R + Copy + Send + Sync + 'static,
    {
        // SAFETY: the first argument is a value, and the second says where it was made.
        |start, end| unsafe { another::<F>() }(start, end)
    }

    /// The same, of one argument.
    pub(crate) fn of_argument<F, A, R>(_: &'static F, _: InStatic) -> fn(A) -> R
    where
        F: Fn(A) -> R + Copy + Send + Sync + 'static,
    {
        // SAFETY: as above.
        |argument| unsafe { another::<F>() }(argument)
    }

    /// The same, of one that writes its result.
    pub(crate) fn of_writing_pair<F, A, B, O>(_: &'static F, _: InStatic) -> fn(A, B, &mut Sink) -> O
    where
        F: Fn(A, B, &mut Sink) -> O + Copy + Send + Sync + 'static,
    {
        // SAFETY: as above.
        |start, end, sink| unsafe { another::<F>() }(start, end, sink)
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

/// A function that other hosts may be asked to run: gives `$function` as a plain `fn(A, B) -> R`, `fn(A) -> R`, or one that
/// takes a `&mut Sink` last, for every method of a [`Task`](crate::Task). With a task of this machine alone it changes nothing.
///
/// It takes the path of a function, or a closure that captures nothing and writes the types of its arguments. The compiler refuses all else: a captured
/// variable (E0435), arguments that borrow, a pointer, and a generic function of a type parameter of the function around it (E0401).
///
/// ```
/// use multicore::{Task, remote};
///
/// fn sum(start: u64, end: u64) -> u64 {
///     (start..end).sum()
/// }
///
/// let task = Task::<u64>::new_or_inline();
/// task.run(remote!(sum), 0, 100);
/// task.call(remote!(|number: u64| number * number), 4);
/// assert_eq!(task.get()?, [4950, 16]);
/// # Ok::<(), multicore::Error>(())
/// ```
///
/// ```compile_fail,E0435
/// let factor = 3;
/// let _ = multicore::remote!(|number: u64| number * factor);
/// ```
///
/// ```compile_fail,E0401
/// fn make<T: multicore::Value>() -> fn(T) -> T {
///     multicore::remote!(std::convert::identity::<T>)
/// }
/// ```
///
/// ```compile_fail
/// let _ = multicore::remote!(|text: &str| text.len());
/// ```
///
/// ```compile_fail
/// fn half(number: u64) -> u64 { number / 2 }
/// let _ = multicore::remote!(half as fn(u64) -> u64);
/// ```
#[cfg(feature = "remote")]
#[macro_export]
macro_rules! remote {
    ($function:expr $(,)?) => {{
        static MULTICORE_FUNCTION: &dyn $crate::remote::declare::Declared = &$crate::remote::declare::Typed::new(
            $function,
            // SAFETY: this is the initialiser of a static.
            unsafe { $crate::remote::declare::InStatic::new() },
            (::std::file!(), ::std::line!(), ::std::column!()),
            |pointer| {
                #[allow(unused_imports)]
                use $crate::remote::declare::{Fallible as _, Neither as _, Plain as _};
                [(&pointer).plain(), (&pointer).fallible()]
            },
        );
        $crate::remote::declare::submit! { $crate::remote::declare::Submitted(MULTICORE_FUNCTION) }
        $crate::remote::declare::pointer_like(MULTICORE_FUNCTION, || $function)
    }};
}

#[cfg(test)]
mod tests;
