//! What runs the pieces of a task.

pub(crate) mod inline;
