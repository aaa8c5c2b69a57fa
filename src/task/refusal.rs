//! Pieces that never begin because of their task's settings.
//!
//! Invariant: a setting holds for all pieces of its task or for none.

use super::Task;
use crate::backend::{Site, Stop, TaskSettings};
use crate::codec::error::CodecError;
use crate::codec::value::Value;
use crate::codec::{self, Format};
use crate::error::ErrorKind;

/// Why a task refuses its pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The time limit is zero.
    NoTime,
    /// This setting came after the first piece.
    Late(&'static str),
}

impl<R> Task<R> {
    /// Changes a setting that all pieces must have from their start.
    pub(super) fn set(&mut self, setting: &'static str, change: impl FnOnce(&mut TaskSettings)) {
        if self.is_in_time(setting) {
            self.configure(change);
        }
    }

    /// True before the first piece. A setting that comes later would hold for some pieces and not for others: what has not begun then
    /// never begins.
    pub(super) fn is_in_time(&mut self, setting: &'static str) -> bool {
        if !self.is_empty() && !matches!(self.refusal, Some(Refusal::Late(_))) {
            self.refusal = Some(Refusal::Late(setting));
            self.backend.stop(self.key, Stop::Config(late(setting)));
        }
        self.is_empty()
    }

    /// True if no piece can begin, whatever its arguments.
    pub(super) fn refuses(&self) -> bool
    where
        R: Value,
    {
        self.refusal.is_some() || self.gives_no_bytes()
    }

    /// True if the format carries only bytes, and the results are none.
    fn gives_no_bytes(&self) -> bool
    where
        R: Value,
    {
        self.settings.format == Format::Raw && !codec::is_bytes::<R>()
    }

    #[cold]
    pub(super) fn refuse(&self, site: Site)
    where
        R: Value,
    {
        let (kind, message) = match self.refusal {
            Some(Refusal::Late(setting)) => (ErrorKind::Config, late(setting)),
            Some(Refusal::NoTime) if !self.gives_no_bytes() => {
                (ErrorKind::TimedOut, "never began: its time limit is zero".to_string())
            }
            _ => (ErrorKind::Encode, format!("never began: {}", CodecError::NotBytes)),
        };
        self.backend.add_failed(self.key, site, kind, message);
    }
}

/// What happened to a piece whose task got this setting after its first piece.
fn late(setting: &str) -> String {
    format!("never began: {setting} came after the first piece: set it before")
}
