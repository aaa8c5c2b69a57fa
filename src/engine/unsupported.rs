//! What stands in for the engine where no pool can run: outside Linux on x86-64 and 64-bit Arm, and
//! under miri. Every pool is refused there, so a caller's own path runs, and inline tasks work.

use crate::codec::Format;
use crate::codec::bytes::{Handed, Reply};
use crate::codec::call::Call;
use crate::error::{Error, ErrorKind, PieceLabel};
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

/// There is none.
#[derive(Debug)]
pub(crate) enum Shared {}

#[derive(Debug, Clone, Copy)]
pub(crate) enum TaskKey {}

#[derive(Debug)]
pub(crate) enum Hook {}

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) preload: Option<Hook>,
    pub(crate) on_worker_start: Option<Hook>,
    pub(crate) on_worker_exit: Option<Hook>,
    pub(crate) warm_memory_bytes: u64,
    pub(crate) max_result_bytes: Option<u64>,
    pub(crate) core_files: bool,
    pub(crate) no_new_privileges: bool,
}

#[derive(Debug, Default)]
pub(crate) struct TaskSettings {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) format: Format,
    pub(crate) max_unread_bytes: Option<usize>,
    pub(crate) limit_ns: Option<std::num::NonZeroU64>,
    pub(crate) retries: u32,
    pub(crate) retry_panics: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Site {
    pub(crate) call: Call,
    pub(crate) word: u64,
    pub(crate) location: &'static Location<'static>,
}

#[derive(Debug)]
pub(crate) enum Settled {
    Done(Reply),
    Failed(Error),
}

#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) workers: Vec<(Option<u32>, usize, u64, u32)>,
    pub(crate) tasks: usize,
    pub(crate) pieces_waiting: usize,
    pub(crate) pieces_done: u64,
    pub(crate) deaths: u64,
}

fn unsupported() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "no pool can run here: it takes Linux on x86-64 or 64-bit Arm; run the pieces here, as Task::new_or_inline does",
    )
}

pub(crate) fn start<T>(_: usize, settings: &Settings, _: Vec<T>) -> Result<Arc<Shared>, Error> {
    let Settings { preload, on_worker_start, on_worker_exit, .. } = settings;
    match (preload, on_worker_start, on_worker_exit) {
        (None, None, None) => Err(unsupported()),
        (Some(hook), ..) | (_, Some(hook), _) | (.., Some(hook)) => match *hook {},
    }
}

pub(crate) fn hook(_: Call, _: Vec<u8>) -> Result<Hook, Error> {
    Err(unsupported())
}

pub(crate) fn travel_word(_: &Call) -> Option<u64> {
    None
}

pub(crate) fn foreign() -> Error {
    unsupported()
}

pub(crate) fn is_this_process() -> bool {
    true
}

impl Shared {
    pub(crate) fn workers(&self) -> usize {
        match *self {}
    }

    pub(crate) fn open_task(&self) -> Result<TaskKey, Error> {
        match *self {}
    }

    pub(crate) fn set_up(&self, _: TaskKey, _: impl FnOnce(&mut TaskSettings)) {
        match *self {}
    }

    pub(crate) fn add_piece(&self, _: TaskKey, _: Site, _: Handed<'_>) {
        match *self {}
    }

    pub(crate) fn add_pieces(&self, _: TaskKey, _: Site, _: &[u8], _: &[usize], _: usize) {
        match *self {}
    }

    pub(crate) fn add_failed(&self, _: TaskKey, _: Site, _: impl FnOnce(PieceLabel) -> Error) {
        match *self {}
    }

    pub(crate) fn progress(&self, _: TaskKey) -> (usize, usize) {
        match *self {}
    }

    pub(crate) fn label(&self, _: TaskKey, _: usize) -> Option<PieceLabel> {
        match *self {}
    }

    pub(crate) fn close_task(&self, _: TaskKey, _: bool) {
        match *self {}
    }

    pub(crate) fn cancel_task(&self, _: TaskKey) {
        match *self {}
    }

    pub(crate) fn figures(&self) -> Figures {
        match *self {}
    }

    pub(crate) fn take_in_order(&self, _: TaskKey, _: usize, _: bool, _: Option<Instant>) -> Option<Vec<Settled>> {
        match *self {}
    }

    pub(crate) fn take_finished(&self, _: TaskKey) -> Option<(usize, Settled)> {
        match *self {}
    }

    pub(crate) fn reuse(&self, _: Vec<u8>) {
        match *self {}
    }

    pub(crate) fn shut_down(&self, _: bool) {
        match *self {}
    }
}
