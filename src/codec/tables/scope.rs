//! Where a handle of something shared (`Shared`) may be encoded and decoded: in the arguments of a piece, and nowhere else.
//!
//! What travels is the number of its table. Its encoding notes the table, which the piece then keeps, and its decoding finds the table
//! by the number:
//!
//! | who                         | where the table comes from                                         |
//! |-----------------------------|--------------------------------------------------------------------|
//! | the proof of an encoding    | what was noted                                                     |
//! | a piece without a pool      | the tables that it kept ([`given`])                                |
//! | a piece in a worker         | what the worker has received ([`receive_by`])                      |
//!
//! Invariant: each of these words belongs to one thread, and is as it was before once the encoding, the decoding or the piece has ended,
//! also by a panic.

use super::table::{Table, TableId, Tables};
use crate::codec::error::CodecError;
use std::cell::RefCell;
use std::sync::Arc;

/// Finds a table that this worker was sent; or says why it has not come.
type Receive = Box<dyn Fn(TableId) -> Result<Arc<Table>, String>>;

#[derive(Default)]
enum Scope {
    #[default]
    Outside,
    /// The arguments of a piece are encoded; the tables in them so far.
    Encoding(Vec<Arc<Table>>),
    /// The arguments of a piece are decoded. Why one of its tables has not come, if so.
    Decoding(Option<String>),
}

thread_local! {
    static SCOPE: RefCell<Scope> = const { RefCell::new(Scope::Outside) };
    /// The tables of the piece that runs on this thread without a pool.
    static GIVEN: RefCell<Option<Tables>> = const { RefCell::new(None) };
    static RECEIVE: RefCell<Option<Receive>> = const { RefCell::new(None) };
}

/// Puts the scope back that was there before; by [`leave`](Self::leave), or by an unwinding.
struct Within(Option<Scope>);

impl Within {
    #[inline]
    fn enter(scope: Scope) -> Within {
        Within(Some(SCOPE.replace(scope)))
    }

    /// What the scope has become.
    #[inline]
    fn leave(mut self) -> Scope {
        SCOPE.replace(self.0.take().unwrap_or_default())
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        if let Some(outer) = self.0.take() {
            SCOPE.set(outer);
        }
    }
}

/// As [`noting`], but for types that [share nothing](crate::codec::shares_nothing) only the encoding.
#[inline(always)]
pub(crate) fn noting_unless<T>(shares_nothing: bool, encode: impl FnOnce() -> T) -> (T, Option<Tables>) {
    if shares_nothing { (encode(), None) } else { noting(encode) }
}

/// Encodes the arguments of a piece. Gives the tables in them, if any.
#[inline]
pub(crate) fn noting<T>(encode: impl FnOnce() -> T) -> (T, Option<Tables>) {
    let within = Within::enter(Scope::Encoding(Vec::new()));
    let value = encode();
    match within.leave() {
        Scope::Encoding(tables) if !tables.is_empty() => (value, Some(tables.into())),
        _ => (value, None),
    }
}

/// Decodes the arguments of a piece.
#[inline]
pub(crate) fn decoding<T>(decode: impl FnOnce() -> Result<T, CodecError>) -> Result<T, CodecError> {
    let within = Within::enter(Scope::Decoding(None));
    let value = decode();
    match within.leave() {
        Scope::Decoding(Some(why)) if value.is_err() => Err(CodecError::NotReceived(why)),
        _ => value,
    }
}

/// Runs a piece that has these tables, on this thread.
pub(crate) fn given<T>(tables: Option<Tables>, run: impl FnOnce() -> T) -> T {
    struct Outer(Option<Tables>);
    impl Drop for Outer {
        fn drop(&mut self) {
            GIVEN.set(self.0.take());
        }
    }
    let _outer = Outer(GIVEN.replace(tables));
    run()
}

/// The pieces on this thread are a worker's: their tables come by this function.
pub(crate) fn receive_by(receive: Receive) {
    RECEIVE.set(Some(receive));
}

/// Notes the table of a handle that is encoded. False where none may be.
pub(crate) fn note(table: &Arc<Table>) -> bool {
    SCOPE.with_borrow_mut(|scope| match scope {
        Scope::Encoding(tables) => {
            if !tables.iter().any(|noted| Arc::ptr_eq(noted, table)) {
                tables.push(Arc::clone(table));
            }
            true
        }
        _ => false,
    })
}

/// The table of this number, for a handle that is decoded; `None` where none may be, or there is none.
pub(crate) fn find(id: TableId) -> Option<Arc<Table>> {
    let of = |tables: &[Arc<Table>]| tables.iter().find(|table| table.id() == id).cloned();
    let is_decoding = SCOPE.with_borrow(|scope| match scope {
        Scope::Outside => Err(None),
        Scope::Encoding(tables) => Err(of(tables)),
        Scope::Decoding(_) => Ok(()),
    });
    if let Err(found) = is_decoding {
        return found;
    }
    if let Some(found) = GIVEN.with_borrow(|given| given.as_deref().and_then(of)) {
        return Some(found);
    }
    match RECEIVE.with_borrow(|receive| receive.as_ref().map(|receive| receive(id)))? {
        Ok(table) => Some(table),
        Err(why) => {
            SCOPE.with_borrow_mut(|scope| *scope = Scope::Decoding(Some(why)));
            None
        }
    }
}
