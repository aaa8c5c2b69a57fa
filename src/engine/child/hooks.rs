//! Hooks: the functions of the user's that run in a fork server or a worker and are no pieces.

use super::calls::ParentCalls;
use super::panics::describe_panic;
use crate::codec::Format;
use crate::codec::call::drop_payload;
use crate::codec::sink::Place;
use crate::codec::state;
use crate::engine::wire::message::Hook;
use std::panic::{self, AssertUnwindSafe};

/// Runs a hook in this process. If it fails, gives the text of its panic or of the codec's error.
pub(crate) fn run_hook(hook: &Hook, calls: ParentCalls) -> Result<(), String> {
    let call = calls.of_hook(hook);
    let (mut value, mut result) = (hook.value.clone(), Vec::new());
    match panic::catch_unwind(AssertUnwindSafe(|| {
        call.run(Format::Bincode, &mut value, &mut Place::of_buffer(&mut result))
    })) {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(fault)) => Err(format!("it {fault}")),
        Err(payload) => Err(describe_panic(payload, None)),
    }
}

/// Pieces that ask for a state have it made by this function, with its value.
pub(crate) fn make_state_by(hook: Hook, calls: ParentCalls) {
    let call = calls.of_hook(&hook);
    state::made_by(Box::new(move || {
        let (mut value, mut result) = (hook.value.clone(), Vec::new());
        call.run(Format::Bincode, &mut value, &mut Place::of_buffer(&mut result)).map(drop)
    }));
}

/// The worker leaves: drops its state, if it has one. Nobody listens any more, so a panic is not reported.
pub(crate) fn drop_state() {
    let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(state::take()))).map_err(drop_payload);
}
