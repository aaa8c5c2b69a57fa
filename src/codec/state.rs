//! The state of a worker: a value that its pieces share, made before the first of them that asks for it.
//!
//! Invariant: it is never used after a panic. A piece takes it out of its place, and only a piece that returns puts it back.

use crate::codec::error::Fault;
use std::any::{Any, TypeId, type_name};
use std::cell::RefCell;

/// Makes the state, and gives it to [`put`].
type Maker = Box<dyn Fn() -> Result<(), Fault>>;

thread_local! {
    static MAKER: RefCell<Option<Maker>> = const { RefCell::new(None) };
    static STATE: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// Names a type of state: its identity, and its name for messages.
pub(crate) type StateType = fn() -> (TypeId, &'static str);

pub(crate) fn type_of<S: 'static>() -> (TypeId, &'static str) {
    (TypeId::of::<S>(), type_name::<S>())
}

/// Pieces on this thread have a state, which is made so.
pub(crate) fn made_by(maker: Maker) {
    MAKER.set(Some(maker));
}

pub(crate) fn put<S: 'static>(state: S) {
    STATE.set(Some(Box::new(state)));
}

/// Runs a piece with the state, which is made first if there is none.
pub(crate) fn with<S: 'static, T>(run: impl FnOnce(&mut S) -> T) -> Result<T, Fault> {
    let mut state = match STATE.take() {
        Some(state) => state,
        None => make()?,
    };
    let Some(own) = state.downcast_mut::<S>() else {
        // The task has compared the types before.
        return Err(Fault::Failed(format!("its worker has no state of type `{}`", type_name::<S>())));
    };
    let result = run(own);
    STATE.set(Some(state));
    Ok(result)
}

#[cold]
fn make() -> Result<Box<dyn Any>, Fault> {
    let made = MAKER.with_borrow(|maker| maker.as_ref().map_or(Ok(()), |maker| maker()));
    made.map_err(|fault| Fault::Failed(format!("its worker's state could not be made: {fault}")))?;
    STATE.take().ok_or_else(|| Fault::Failed("its worker has no state".to_string()))
}

/// Takes the state away, to be dropped.
pub(crate) fn take() -> Option<Box<dyn Any>> {
    STATE.take()
}
