//! Functions that other hosts run: each [`remote!`](crate::remote!) of the program adds one to a table, which is the same in every process of the
//! same build. The network carries a row's id, never an address.
//!
//! | step                                                         | who, when                                    |
//! |--------------------------------------------------------------|----------------------------------------------|
//! | a static [`Declared`] holds the function's value, of no size | the compiler, at each `remote!`              |
//! | the static goes to `inventory`                               | constructors, before `main`                  |
//! | the static gives the pointer that the expression is           | the thread that evaluates `remote!`          |
//! | [`functions`] makes the rows, with that very pointer          | the first who asks, once                     |
//!
//! So the address that a task is handed is found in the table: that of a plain `f` may be another one, or that of another function
//! with which the compiler merged it. A function that returns a `Result` has a row for each way to call it, as `run` and as `try_run`,
//! as far as its types can travel.
//!
//! Invariant: of each id there is one row; two functions of one id make the table an error.

pub use crate::codec::call::pointer::InStatic;
use crate::codec::call::{Call, pointer};
use crate::codec::sink::{Outcome, Sink};
use crate::codec::value::Value;
use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

/// A function that other hosts can be asked to run; [`remote!`](crate::remote!) adds it to the table of [`functions`](crate::remote::functions).
pub struct Function {
    name: String,
    place: Place,
    signature: String,
    id: u64,
    call: Call,
}

/// Where a function was given to `remote!`.
#[derive(Debug, Clone, Copy)]
struct Place {
    file: &'static str,
    line: u32,
    column: u32,
}

impl Function {
    /// What stands for it on the network: FNV-1a of its name, place and signature. It holds for one build.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its path, as the compiler writes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its arguments and its result, and before them `try` where an `Err` is an error of the piece.
    #[must_use]
    pub fn signature(&self) -> &str {
        &self.signature
    }

    pub(crate) fn call(&self) -> Call {
        self.call
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, column } = self.place;
        write!(f, "{} at {file}:{line}:{column}, {}", self.name, self.signature)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({self}, {:016x})", self.id)
    }
}

/// All functions that this program has given to [`remote!`](crate::remote!).
#[derive(Debug)]
pub struct Functions {
    /// In the order of their names and places.
    rows: Vec<Function>,
    by_id: HashMap<u64, usize>,
    /// By address and shape. Where several have both, each may stand for the other.
    by_call: HashMap<(usize, (TypeId, &'static str)), usize>,
    by_address: HashMap<usize, usize>,
}

impl Functions {
    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Function> {
        self.rows.iter()
    }

    /// The one with this id.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Function> {
        self.by_id.get(&id).map(|&row| &self.rows[row])
    }

    /// The one that a task was given, if `remote!` gave it.
    pub(crate) fn of_call(&self, call: Call) -> Option<&Function> {
        self.by_call.get(&(call.address(), call.shape())).map(|&row| &self.rows[row])
    }

    fn of_rows(mut rows: Vec<Function>) -> Result<Functions, String> {
        // One macro may give several functions at one place. They are told apart by their order, which is the same in each process of a build.
        let mut known = HashMap::new();
        for row in &mut rows {
            let Place { file, line, column } = row.place;
            let text = (row.name.clone(), row.signature.clone(), file, line, column);
            let number: &mut u64 = known.entry(text).or_default();
            if *number > 0 {
                row.id = hash_of(row.id.to_le_bytes().into_iter().chain(number.to_le_bytes()));
            }
            *number += 1;
        }
        let key = |row: &Function| (row.name.clone(), row.place.file, row.place.line, row.place.column, row.id);
        rows.sort_by_cached_key(key);
        let (mut by_id, mut by_call, mut by_address) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (index, row) in rows.iter().enumerate() {
            if let Some(other) = by_id.insert(row.id, index) {
                return Err(format!(
                    "two functions have one id, so no host could tell them apart: {} and {row}; give one of them to `remote!` on a line of its own",
                    rows[other]
                ));
            }
            by_address.entry(row.call.address()).or_insert(index);
            by_call.entry((row.call.address(), row.call.shape())).or_insert(index);
        }
        Ok(Functions { rows, by_id, by_call, by_address })
    }
}

impl<'a> IntoIterator for &'a Functions {
    type Item = &'a Function;
    type IntoIter = std::slice::Iter<'a, Function>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The table, or why there is none.
pub(crate) fn functions() -> Result<&'static Functions, &'static str> {
    static TABLE: OnceLock<Result<Functions, String>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let declared = inventory::iter::<Submitted>.into_iter();
        Functions::of_rows(declared.flat_map(|Submitted(declared)| declared.rows()).collect())
    });
    table.as_ref().map_err(String::as_str)
}

/// What the function at this address is called, if `remote!` gave it: its symbol is that of code of this crate.
pub(crate) fn name_of(address: usize) -> Option<&'static str> {
    let functions = functions().ok()?;
    functions.by_address.get(&address).map(|&row| functions.rows[row].name())
}

/// FNV-1a (Fowler, Noll and Vo), 64 bits.
fn hash_of(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

// What follows is for the macro alone.

/// A function that can be a pointer of type `S`.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot run on other hosts",
    label = "not a function of one argument, of two, or of two and a `&mut Sink`, that captures nothing and whose arguments can travel",
    note = "arguments must own their data: take a `String` instead of a `&str`, and write the types of a closure's arguments"
)]
pub trait Callable<S>: sealed::Callable<S> {}

impl<F: sealed::Callable<S>, S> Callable<S> for F {}

/// Nobody else can name it, so nobody gets hold of the token.
mod sealed {
    use super::{InStatic, Outcome, Sink, Value, pointer};

    pub trait Callable<S>: Sized + 'static {
        fn pointer(&'static self, made: InStatic) -> S;
    }

    impl<F, A: Value, B: Value, R> Callable<fn(A, B) -> R> for F
    where
        F: Fn(A, B) -> R + Copy + Send + Sync + 'static,
    {
        fn pointer(&'static self, made: InStatic) -> fn(A, B) -> R {
            pointer::of_pair(self, made)
        }
    }

    impl<F, A: Value, R> Callable<fn(A) -> R> for F
    where
        F: Fn(A) -> R + Copy + Send + Sync + 'static,
    {
        fn pointer(&'static self, made: InStatic) -> fn(A) -> R {
            pointer::of_argument(self, made)
        }
    }

    impl<F, A: Value, B: Value, O: Outcome> Callable<fn(A, B, &mut Sink) -> O> for F
    where
        F: Fn(A, B, &mut Sink) -> O + Copy + Send + Sync + 'static,
    {
        fn pointer(&'static self, made: InStatic) -> fn(A, B, &mut Sink) -> O {
            pointer::of_writing_pair(self, made)
        }
    }
}

/// A function of type `F` that is given as a pointer of type `S`.
#[doc(hidden)]
#[derive(Debug)]
pub struct Typed<F, S> {
    function: F,
    made: InStatic,
    place: Place,
    /// A closure in which the compiler knows which ways the types have.
    ways: fn(Pointer<S>) -> [Option<Way>; 2],
}

/// What is asked for its ways.
#[doc(hidden)]
#[derive(Debug)]
pub struct Pointer<S>(S);

/// One way to call a function.
#[doc(hidden)]
#[derive(Debug)]
pub struct Way(Call);

impl<F, S> Typed<F, S> {
    #[doc(hidden)]
    #[must_use]
    pub const fn new(
        function: F,
        made: InStatic,
        (file, line, column): (&'static str, u32, u32),
        ways: fn(Pointer<S>) -> [Option<Way>; 2],
    ) -> Self
    where
        F: Callable<S> + Copy,
    {
        const {
            assert!(
                size_of::<F>() == 0,
                "a function that other hosts run must be a function item, or a closure that captures nothing"
            )
        };
        Typed { function, made, place: Place { file, line, column }, ways }
    }
}

/// A [`Typed`] of whatever types.
#[doc(hidden)]
pub trait Declared: Sync {
    /// Puts the pointer into an `Option` of its type.
    #[doc(hidden)]
    fn give(&'static self, into: &mut dyn Any);

    #[doc(hidden)]
    fn rows(&'static self) -> Vec<Function>;
}

impl<F: Callable<S> + Sync, S: 'static + Sync> Declared for Typed<F, S> {
    fn give(&'static self, into: &mut dyn Any) {
        if let Some(into) = into.downcast_mut::<Option<S>>() {
            *into = Some(self.function.pointer(self.made));
        }
    }

    fn rows(&'static self) -> Vec<Function> {
        let ways = (self.ways)(Pointer(self.function.pointer(self.made)));
        let place = self.place;
        // A closure is that of the function around it.
        let name = type_name::<F>().replace("::MULTICORE_FUNCTION::", "::");
        let row = |(kind, way): (&str, Option<Way>)| {
            let Way(call) = way?;
            let signature = format!("{kind}{}", type_name::<S>());
            let Place { file, line, column } = place;
            let numbers = line.to_le_bytes().into_iter().chain(column.to_le_bytes());
            // What stands between them is in none of them.
            let text = [&name[..], "\0", file, "\0", &signature, "\0"].into_iter().flat_map(str::bytes);
            let id = hash_of(text.chain(numbers));
            Some(Function { name: name.clone(), place, signature, id, call })
        };
        ["", "try "].into_iter().zip(ways).filter_map(row).collect()
    }
}

/// What is collected.
#[doc(hidden)]
pub struct Submitted(pub &'static dyn Declared);

inventory::collect!(Submitted);

/// The pointer of a function that was declared so. `same` is never called: it has its types.
///
/// # Panics
/// If these are others than those of the declared one, which what surrounds them can do to a literal without a type.
#[doc(hidden)]
pub fn pointer_like<F: Callable<S>, S: 'static>(declared: &'static dyn Declared, same: impl FnOnce() -> F) -> S {
    let _ = same;
    let mut pointer: Option<S> = None;
    declared.give(&mut pointer);
    pointer.expect(
        "the function of a `remote!` has another type where it is used: write the types of its literals and of its result, as in `5_u64`",
    )
}

/// Has an answer of `run` or `call` that can travel, or writes it.
#[doc(hidden)]
pub trait Plain {
    fn plain(self) -> Option<Way>;
}

impl<A: Value, B: Value, R: Value> Plain for &Pointer<fn(A, B) -> R> {
    fn plain(self) -> Option<Way> {
        Some(Way(Call::of_pair(self.0)))
    }
}

impl<A: Value, R: Value> Plain for &Pointer<fn(A) -> R> {
    fn plain(self) -> Option<Way> {
        Some(Way(Call::of_argument(self.0)))
    }
}

impl<A: Value, B: Value, O: Outcome> Plain for &Pointer<fn(A, B, &mut Sink) -> O> {
    fn plain(self) -> Option<Way> {
        Some(Way(Call::of_writing_pair(self.0)))
    }
}

/// Is one for `try_run` or `try_call`.
#[doc(hidden)]
pub trait Fallible {
    fn fallible(self) -> Option<Way>;
}

impl<A: Value, B: Value, R: Value, E> Fallible for &Pointer<fn(A, B) -> Result<R, E>>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn fallible(self) -> Option<Way> {
        Some(Way(Call::of_fallible_pair(self.0)))
    }
}

impl<A: Value, R: Value, E> Fallible for &Pointer<fn(A) -> Result<R, E>>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn fallible(self) -> Option<Way> {
        Some(Way(Call::of_fallible_argument(self.0)))
    }
}

/// What the compiler takes of a pointer for which it finds no other `plain` or `fallible`: these take one reference more.
#[doc(hidden)]
pub trait Neither {
    fn plain(&self) -> Option<Way> {
        None
    }

    fn fallible(&self) -> Option<Way> {
        None
    }
}

impl<S> Neither for &Pointer<S> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, id: u64, call: Call) -> Function {
        let place = Place { file: "src/main.rs", line: 7, column: 3 };
        Function { name: name.to_string(), place, signature: "fn()".to_string(), id, call }
    }

    #[test]
    fn two_functions_of_one_id_are_named() {
        let call = Call::of_hook(|| ());
        let rows = |ids: [u64; 3]| {
            ids.into_iter().zip(["app::c", "app::a", "app::b"]).map(|(id, name)| row(name, id, call)).collect()
        };
        let error = Functions::of_rows(rows([1, 2, 1])).unwrap_err();
        assert!(error.contains("app::b at src/main.rs:7:3, fn() and app::c at src/main.rs:7:3, fn();"), "{error}");
        let table = Functions::of_rows(rows([1, 2, 3])).unwrap();
        assert!(table.iter().map(Function::name).eq(["app::a", "app::b", "app::c"]));
        assert_eq!((table.get(1).unwrap().name(), table.get(4).is_none()), ("app::c", true));
    }

    /// As a macro makes them that has two closures.
    #[test]
    fn functions_of_one_place_are_told_apart_by_their_order() {
        let call = Call::of_hook(|| ());
        let rows = || (0..3).map(|_| row("app::f", 7, call)).collect();
        let ids = |table: &Functions| table.iter().map(Function::id).collect::<std::collections::BTreeSet<_>>();
        let (one, other) = (Functions::of_rows(rows()).unwrap(), Functions::of_rows(rows()).unwrap());
        assert_eq!((ids(&one).len(), ids(&one)), (3, ids(&other)));
    }

    /// Two functions of one address are told apart by what they take: the compiler may have merged them.
    #[test]
    fn merged_functions_are_told_apart_by_their_types() {
        fn of<T>(number: T) -> T {
            number
        }
        let unsigned = Call::of_argument(of::<u64>);
        let signed = Call::of_argument(of::<i64>).at_the_address_of(unsigned);
        let table = Functions::of_rows(vec![row("unsigned", 1, unsigned), row("signed", 2, signed)]).unwrap();
        assert_eq!(table.of_call(unsigned).unwrap().name(), "unsigned");
        assert_eq!(table.of_call(signed).unwrap().name(), "signed");
        let fallible = Call::of_fallible_argument(|number: u64| Ok::<u64, String>(number)).at_the_address_of(unsigned);
        assert!(table.of_call(fallible).is_none());
    }

    #[test]
    fn an_id_is_that_of_the_published_test_vectors() {
        for (text, hash) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8)]
        {
            assert_eq!(hash_of(text.bytes()), hash, "{text}");
        }
    }
}
