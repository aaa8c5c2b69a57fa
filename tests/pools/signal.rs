//! `PoolBuilder::recycle_on_signal`. Signals concern the whole process, so this test is alone in one.

use crate::support::{self, Process, assert_well, wait_for, watchdog};
use multicore::{ErrorKind, Pool};

fn raise(signal: i32) {
    // SAFETY: a system call that takes no pointer.
    #[allow(unsafe_code)]
    unsafe {
        libc::raise(signal);
    }
}

#[test]
fn a_signal_has_all_workers_replaced_and_ends_nobody() {
    support::alone!();
    let _watch = watchdog();
    for signal in [libc::SIGKILL, libc::SIGSEGV, 999, -1] {
        let error = Pool::builder().workers(1).recycle_on_signal(signal).build().unwrap_err();
        let expected = format!("signal {signal} cannot have the workers replaced, since it cannot be handled");
        assert!(error.kind() == ErrorKind::Config && error.to_string().starts_with(&expected), "{error}");
    }
    let build = || Pool::builder().workers(2).recycle_on_signal(libc::SIGUSR1).recycle_on_signal(libc::SIGUSR2).build();
    let (pool, other) = (build().unwrap(), support::pool(1));
    let others = support::workers(&other);
    for (signal, recycled) in [(libc::SIGUSR1, 2), (libc::SIGUSR2, 4), (libc::SIGUSR1, 6)] {
        let before = support::workers(&pool);
        raise(signal);
        // It may also go to all processes of the program, as `systemctl kill` sends it.
        before.iter().for_each(|process| process.kill(signal));
        wait_for("all are replaced", || pool.stats().workers_recycled == recycled);
        support::assert_gone(&before);
    }
    assert!(others.iter().all(Process::is_running), "that pool did not ask for it");
    assert_eq!((pool.stats().workers_lost, other.stats().workers_recycled), (0, 0));

    // In a forked child the signal does not reach the parent's pool.
    let recycled = pool.stats().workers_recycled;
    // SAFETY: the child makes two system calls and ends.
    #[allow(unsafe_code)]
    let child = unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::raise(libc::SIGUSR1);
            libc::_exit(0);
        }
        child
    };
    // SAFETY: the status is not asked for.
    #[allow(unsafe_code)]
    let waited = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    assert_eq!(waited, child);
    support::assert_works(&pool);
    assert_eq!(pool.stats().workers_recycled, recycled);
    assert_well(pool);
    // The program has asked for the signal: it does not end it now either.
    raise(libc::SIGUSR1);
    assert_well(other);
}
