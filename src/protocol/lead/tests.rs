//! The leader: there is one whenever a caller waits, and it waits itself.

use super::*;

/// The invariant, which must hold whenever the lock is free.
fn check<W>(waiters: &Waiters<W>) {
    let leaders = waiters.waiting.iter().filter(|(id, _)| waiters.leads(*id)).count();
    assert_eq!(
        leaders,
        usize::from(!waiters.waiting.is_empty()),
        "if a caller waits, there is one leader, and it waits"
    );
    assert_eq!(waiters.has_leader(), leaders == 1);
}

#[cfg(not(loom))]
mod ordinary {
    use super::*;

    #[test]
    fn the_first_to_come_leads_and_the_lead_goes_to_the_one_that_waits_longest() {
        let mut waiters = Waiters::new();
        let ids: Vec<_> = ["a", "b", "c", "d"].map(|name| waiters.enter(name)).into();
        // The waiter that leaves, the waiter that must be woken then, and the leader after that.
        for (leaving, woken, leader) in
            [(1, None, Some(0)), (0, Some("c"), Some(2)), (2, Some("d"), Some(3)), (3, None, None)]
        {
            assert_eq!(waiters.leave(ids[leaving]), woken.as_ref());
            check(&waiters);
            assert_eq!(ids.iter().position(|id| waiters.leads(*id)), leader);
        }
        assert!(!waiters.has_leader());
        let late = waiters.enter("e");
        assert!(waiters.leads(late) && !ids.contains(&late));
    }

    #[test]
    fn leaving_twice_changes_nothing() {
        let mut waiters = Waiters::new();
        let (first, second) = (waiters.enter(1), waiters.enter(2));
        assert_eq!(waiters.leave(first), Some(&2));
        assert_eq!(waiters.leave(first), None);
        assert!(waiters.leads(second));
        check(&waiters);
    }

    #[test]
    fn in_whatever_order_they_come_and_go_somebody_leads() {
        let steps = if cfg!(miri) { 300 } else { 100_000 };
        let mut waiters = Waiters::new();
        let mut here = Vec::new();
        let mut random = 88_172_645_463_325_252_u64;
        for step in 0..steps {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if here.len() < 6 && random.is_multiple_of(2) {
                here.push((waiters.enter(step), step));
            } else if !here.is_empty() {
                let (id, _) = here.remove(random as usize / 2 % here.len());
                let led = waiters.leads(id);
                let longest = here.first().map(|(_, step)| *step);
                assert_eq!(waiters.leave(id).copied(), longest.filter(|_| led));
            }
            check(&waiters);
            assert!(waiters.iter().eq(here.iter().map(|(_, step)| step)));
        }
    }
}

#[cfg(loom)]
mod models {
    use super::*;
    use loom::sync::{Condvar, Mutex};
    use loom::thread;
    use std::sync::Arc;

    /// The pool as its waiters see it: one lock, one epoll for the leader, a condvar for each other waiter.
    struct Pool {
        core: Mutex<Core>,
        news: Mutex<bool>,
        comes: Condvar,
    }

    struct Core {
        waiters: Waiters<Arc<Condvar>>,
        /// The results that the leader has collected.
        results: bool,
        /// The number of waiters that left when no other one could become the leader.
        handed_to_supervisor: usize,
    }

    impl Pool {
        fn new() -> Arc<Pool> {
            let core = Core { waiters: Waiters::new(), results: false, handed_to_supervisor: 0 };
            Arc::new(Pool { core: Mutex::new(core), news: Mutex::new(false), comes: Condvar::new() })
        }

        /// The worker's part: its replies and its event stay until the leader comes.
        fn reply(&self) {
            *self.news.lock().unwrap() = true;
            self.comes.notify_one();
        }

        fn leave(core: &mut Core, id: WaiterId) {
            let passed = core.waiters.leave(id).map(|condvar| condvar.notify_one()).is_some();
            if !passed && !core.waiters.has_leader() {
                core.handed_to_supervisor += 1;
            }
            check(&core.waiters);
        }

        /// Waits until the results have come; collects them while it is the leader.
        fn wait(&self) {
            let condvar = Arc::new(Condvar::new());
            let mut core = self.core.lock().unwrap();
            let id = core.waiters.enter(Arc::clone(&condvar));
            check(&core.waiters);
            while !core.results {
                if !core.waiters.leads(id) {
                    core = condvar.wait(core).unwrap();
                    continue;
                }
                drop(core);
                let mut news = self.news.lock().unwrap();
                while !*news {
                    news = self.comes.wait(news).unwrap();
                }
                drop(news);
                core = self.core.lock().unwrap();
                check(&core.waiters);
                assert!(core.waiters.leads(id), "a leader that waits stays the leader");
                core.results = true;
                for condvar in core.waiters.iter() {
                    condvar.notify_one();
                }
            }
            Self::leave(&mut core, id);
        }

        /// Waits, and gives up at a moment that the scheduler picks: it may sleep or not, may have been woken or not, and
        /// may be the leader or not.
        fn time_out(&self) {
            let id = {
                let mut core = self.core.lock().unwrap();
                let id = core.waiters.enter(Arc::new(Condvar::new()));
                check(&core.waiters);
                id
            };
            Self::leave(&mut self.core.lock().unwrap(), id);
        }
    }

    fn model(check: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(4);
        builder.check(check);
    }

    #[test]
    fn a_leader_that_times_out_leaves_nobody_asleep() {
        model(|| {
            let pool = Pool::new();
            pool.reply();
            let other = Arc::clone(&pool);
            let impatient = thread::spawn(move || other.time_out());
            pool.wait();
            impatient.join().unwrap();
            assert!(!pool.core.lock().unwrap().waiters.has_leader());
        });
    }

    #[test]
    fn a_waiter_that_times_out_at_the_hand_over_passes_the_lead_on() {
        model(|| {
            let pool = Pool::new();
            pool.reply();
            // The first leads and leaves. The next becomes the leader and leaves. The last must be woken.
            let leavers: Vec<_> = (0..2)
                .map(|_| {
                    let other = Arc::clone(&pool);
                    thread::spawn(move || other.time_out())
                })
                .collect();
            pool.wait();
            for leaver in leavers {
                leaver.join().unwrap();
            }
            let core = pool.core.lock().unwrap();
            assert!(!core.waiters.has_leader());
            assert!(core.handed_to_supervisor >= 1, "the last to leave hands over to the supervisor");
        });
    }

    #[test]
    fn two_that_wait_are_both_served_though_a_third_gives_up() {
        model(|| {
            let pool = Pool::new();
            let (second, third) = (Arc::clone(&pool), Arc::clone(&pool));
            let patient = thread::spawn(move || second.wait());
            let impatient = thread::spawn(move || third.time_out());
            pool.reply();
            pool.wait();
            patient.join().unwrap();
            impatient.join().unwrap();
            assert!(!pool.core.lock().unwrap().waiters.has_leader());
        });
    }
}
