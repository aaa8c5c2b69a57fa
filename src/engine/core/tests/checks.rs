//! Checks of memory, with played workers whose figures are made up.

use super::*;
use crate::backend::MemoryLimits;

/// Checks stopped once two of them in a row found no worker at work. Those who give tiny pieces straight to a worker never began them
/// again: it could take all memory.
#[test]
fn checks_begin_where_all_pieces_take_the_direct_lane() {
    let mut pool = PlayedPool::new(1);
    let limits = MemoryLimits { max: Some(1 << 40), checks: 2, ..MemoryLimits::default() };
    let task = pool.task::<u64>();
    // From one place: pieces of another site do not take the lane.
    let run = || task.run(add, 1, 2);
    while pool.shared.lock().lane.seat().is_none() {
        run();
        pool.pieces_are_tiny();
        pool.work(usize::MAX);
    }
    let mut core = pool.shared.lock();
    // As after such checks.
    core.watched = Watched::new(limits, None);
    pool.shared.release(core);
    run();
    let mut core = pool.shared.lock();
    assert!(core.lane.seat().is_some() && core.limits_due_ns().is_none());
    assert!(core.should_poll(), "the supervisor looks each half millisecond meanwhile");
    assert!(core.limits_due_ns().is_some());
}
