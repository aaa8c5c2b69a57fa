//! What happened in a pool since it was made, as counts: `stats()` reads them.

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Counts {
    /// Pieces that workers have answered.
    pub(crate) pieces_done: u64,
    /// Pieces that ended in an error of their own, and not because somebody ended their task.
    pub(crate) pieces_failed: u64,
    /// Workers that died before their time.
    pub(crate) workers_lost: u64,
    /// Workers that were killed because of their memory.
    pub(crate) workers_over_limit: u64,
    /// Workers that were replaced because they were due.
    pub(crate) workers_recycled: u64,
    /// Workers that ended because they had nothing to do.
    pub(crate) workers_idle_ended: u64,
}
