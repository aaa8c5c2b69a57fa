//! Hooks: the functions of the user's that run in a fork server or a worker and are no pieces.

use super::calls::ParentCalls;
use super::panics::describe_panic;
use crate::codec::Format;
use crate::codec::sink::Place;
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
        Err(payload) => Err(describe_panic(payload)),
    }
}
