//! The part of `sys` that platforms without pools have.

#[path = "machine.rs"]
pub(crate) mod machine;

#[path = "may_sleep.rs"]
pub(crate) mod may_sleep;

pub(crate) mod symbol {
    /// The executable's symbol table is read on Linux only.
    pub(crate) fn name_of(_: usize) -> Option<String> {
        None
    }
}
