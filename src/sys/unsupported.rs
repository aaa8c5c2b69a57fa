//! What stands in for `sys` on platforms without pools.

#[path = "machine.rs"]
pub(crate) mod machine;

pub(crate) mod symbol {
    /// The executable's symbol table is read on Linux only.
    pub(crate) fn name_of(_: usize) -> Option<String> {
        None
    }
}
