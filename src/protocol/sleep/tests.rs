//! Sleeping and waking: the table of who is signalled, and (under loom) that no wake-up is lost.

use super::*;

#[cfg(not(loom))]
mod ordinary {
    use super::*;
    use Interest::{LowWater, NextReply, Nothing};
    use Listening::{Caller, Supervisor};

    const INTERESTS: [Interest; 5] =
        [Nothing, LowWater(Supervisor), LowWater(Caller), NextReply(Supervisor), NextReply(Caller)];

    #[test]
    fn an_interest_reads_as_it_was_announced() {
        let word = AtomicU32::new(0);
        let mut announcer = Announcer::new();
        assert_eq!(announcer.interest(), Nothing);
        for interest in INTERESTS.iter().chain(INTERESTS.iter().rev()) {
            announcer.announce(&word, *interest);
            assert_eq!(announcer.interest(), *interest);
            assert_eq!(Interest::from_bits(word.load(Relaxed)), *interest);
        }
    }

    #[test]
    fn a_worker_tells_whom_the_interest_names_and_only_of_what_it_names() {
        for (interest, of_a_plain_reply, of_a_notable_one, when_blocked) in [
            (Nothing, None, None, Supervisor),
            (LowWater(Supervisor), None, Some(Supervisor), Supervisor),
            (LowWater(Caller), None, Some(Caller), Caller),
            (NextReply(Supervisor), Some(Supervisor), Some(Supervisor), Supervisor),
            (NextReply(Caller), Some(Caller), Some(Caller), Caller),
        ] {
            let word = AtomicU32::new(0);
            Announcer::new().announce(&word, interest);
            assert_eq!(Listener::new().after_reply(&word, false), of_a_plain_reply, "{interest:?}");
            assert_eq!(Listener::new().after_reply(&word, true), of_a_notable_one, "{interest:?}");
            assert_eq!(Listener::new().when_blocked(&word), when_blocked, "{interest:?}");
        }
    }

    #[test]
    fn many_replies_cost_one_signal_until_the_interest_is_announced_again() {
        let word = AtomicU32::new(0);
        let (mut announcer, mut listener) = (Announcer::new(), Listener::new());
        for _ in 0..5 {
            announcer.announce(&word, LowWater(Caller));
            let told: Vec<_> = [false, false, true, true, false, true]
                .iter()
                .map(|&notable| listener.after_reply(&word, notable).is_some())
                .collect();
            assert_eq!(told, [false, false, true, false, false, false]);
        }
    }

    #[test]
    fn a_blocked_worker_tells_every_time() {
        let word = AtomicU32::new(0);
        let (mut announcer, mut listener) = (Announcer::new(), Listener::new());
        announcer.announce(&word, NextReply(Caller));
        assert_eq!(listener.after_reply(&word, false), Some(Caller));
        for _ in 0..3 {
            assert_eq!(listener.when_blocked(&word), Caller);
        }
    }

    #[test]
    fn epochs_go_round_without_taking_one_for_another() {
        let word = AtomicU32::new(0);
        let mut announcer = Announcer { value: u32::MAX << INTEREST_BITS };
        let mut listener = Listener::new();
        for _ in 0..3 {
            announcer.announce(&word, NextReply(Caller));
            assert_eq!(listener.after_reply(&word, false), Some(Caller));
            assert_eq!(listener.after_reply(&word, false), None);
        }
    }

    #[test]
    fn every_word_reads_as_some_interest() {
        for bits in 0..64 {
            let again = Interest::from_bits(bits).to_bits();
            assert!(again == bits & 7 || again == 0);
        }
    }

    #[test]
    fn one_sleep_is_woken_once() {
        let word = AtomicU32::new(0);
        assert!(!worker_sleeps(&word), "it has not said so yet");
        for _ in 0..3 {
            announce_sleep(&word);
            assert_eq!(word.load(Relaxed), SLEEPING);
            assert!(worker_sleeps(&word));
            assert!(!worker_sleeps(&word), "once is enough");
        }
        announce_sleep(&word);
        announce_awake(&word);
        assert!(!worker_sleeps(&word), "it woke by itself");
    }

    #[test]
    fn whatever_a_worker_writes_into_its_sleep_word_wakes_or_does_not() {
        for value in [0, 1, 2, 77, u32::MAX] {
            let word = AtomicU32::new(value);
            assert_eq!(worker_sleeps(&word), value == ASLEEP);
        }
    }
}

/// The two sides as they run, with a futex and an eventfd made of loom's locks. After a lost wake-up all threads sleep,
/// which loom reports as a deadlock.
#[cfg(loom)]
mod models {
    use super::*;
    use crate::protocol::claim;
    use crate::protocol::ring::{Consumer, Header, Producer};
    use crate::protocol::sync::AtomicU64;
    use crate::protocol::told::{tell_head, told_head};
    use loom::sync::{Condvar, Mutex};
    use loom::thread;
    use std::sync::Arc;

    const PIECE: u8 = 1;
    const LEAVE: u8 = 4;
    const REPLY: u8 = 5;

    /// Reads the word under the futex's lock, as the kernel does under the lock of the hash bucket.
    struct Futex {
        bucket: Mutex<()>,
        sleeper: Condvar,
    }

    impl Futex {
        fn new() -> Self {
            Futex { bucket: Mutex::new(()), sleeper: Condvar::new() }
        }

        fn wait(&self, word: &AtomicU32, value: u32) {
            let bucket = self.bucket.lock().unwrap();
            if word.load(Relaxed) == value {
                drop(self.sleeper.wait(bucket).unwrap());
            }
        }

        fn wake(&self) {
            let _bucket = self.bucket.lock().unwrap();
            self.sleeper.notify_one();
        }
    }

    /// Stays signalled until a thread has waited.
    struct Event {
        signalled: Mutex<bool>,
        sleeper: Condvar,
    }

    impl Event {
        fn new() -> Self {
            Event { signalled: Mutex::new(false), sleeper: Condvar::new() }
        }

        fn signal(&self) {
            *self.signalled.lock().unwrap() = true;
            self.sleeper.notify_one();
        }

        fn wait(&self) {
            let mut signalled = self.signalled.lock().unwrap();
            while !*signalled {
                signalled = self.sleeper.wait(signalled).unwrap();
            }
            *signalled = false;
        }
    }

    /// A small pair.
    struct Pair {
        interest: AtomicU32,
        back_head: AtomicU64,
        out_ring: Vec<AtomicU64>,
        worker_sleep: AtomicU32,
        states: Vec<AtomicU32>,
        back_ring: Vec<AtomicU64>,
        futex: Futex,
        caller: Event,
    }

    impl Pair {
        fn new(out_words: usize, back_words: usize) -> Arc<Pair> {
            let words = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
            Arc::new(Pair {
                interest: AtomicU32::new(0),
                back_head: AtomicU64::new(0),
                out_ring: words(out_words),
                worker_sleep: AtomicU32::new(0),
                states: (0..4).map(|_| AtomicU32::new(0)).collect(),
                back_ring: words(back_words),
                futex: Futex::new(),
                caller: Event::new(),
            })
        }
    }

    /// The steps of `engine/child/worker.rs`, without spinning.
    struct Worker {
        pair: Arc<Pair>,
        work: Consumer,
        replies: Producer,
        listener: Listener,
    }

    impl Worker {
        fn new(pair: &Arc<Pair>) -> Self {
            Worker {
                pair: Arc::clone(pair),
                work: Consumer::new(),
                replies: Producer::new(),
                listener: Listener::new(),
            }
        }

        /// The next record's header; sleeps until there is one.
        fn next(&mut self) -> Header {
            let Worker { pair, work, .. } = self;
            loop {
                if let Some(record) = work.peek(&pair.out_ring).unwrap() {
                    work.pass(&record);
                    return record.header;
                }
                let word = &pair.worker_sleep;
                sleep_unless(word, || work.is_ready(&pair.out_ring), || pair.futex.wait(word, SLEEPING));
            }
        }

        fn reply(&mut self, sequence: u32, notable: bool) {
            let Worker { pair, replies, listener, .. } = self;
            let header = Header { kind: REPLY, flags: 0, sequence };
            while replies.push(&pair.back_ring, header, &[u64::from(sequence)], &[]).is_err() {
                let told = |replies: &Producer| told_head(&pair.back_head) > replies.consumed();
                while !told(replies) {
                    let word = &pair.worker_sleep;
                    sleep_unless(
                        word,
                        || told(replies),
                        || {
                            Self::signal(pair, listener.when_blocked(&pair.interest));
                            pair.futex.wait(word, SLEEPING);
                        },
                    );
                }
                replies.consumed_to(told_head(&pair.back_head));
            }
            replies.publish(&pair.back_ring);
            if let Some(whom) = listener.after_reply(&pair.interest, notable) {
                Self::signal(pair, whom);
            }
        }

        /// Nobody waits for the supervisor's event here: the caller must not depend on it.
        fn signal(pair: &Pair, whom: Listening) {
            if whom == Listening::Caller {
                pair.caller.signal();
            }
        }
    }

    /// The steps of `engine/link`.
    struct Parent {
        pair: Arc<Pair>,
        work: Producer,
        replies: Consumer,
        announcer: Announcer,
    }

    impl Parent {
        fn new(pair: &Arc<Pair>) -> Self {
            Parent {
                pair: Arc::clone(pair),
                work: Producer::new(),
                replies: Consumer::new(),
                announcer: Announcer::new(),
            }
        }

        fn give(&mut self, kind: u8, sequence: u32) {
            self.work.push(&self.pair.out_ring, Header { kind, flags: 0, sequence }, &[], &[]).unwrap();
        }

        fn publish(&mut self) {
            if self.work.publish(&self.pair.out_ring) {
                self.wake();
            }
        }

        fn wake(&self) {
            if worker_sleeps(&self.pair.worker_sleep) {
                self.pair.futex.wake();
            }
        }

        /// The next reply, if it has come.
        fn collect(&mut self) -> Option<u32> {
            let Parent { pair, replies, .. } = self;
            let record = replies.peek(&pair.back_ring).unwrap()?;
            assert_eq!(record.word(&pair.back_ring, 0), Some(u64::from(record.header.sequence)));
            replies.pass(&record);
            tell_head(&pair.back_head, replies.head());
            self.wake();
            Some(record.header.sequence)
        }

        /// The next reply; sleeps with this interest until it has come.
        fn wait(&mut self, interest: Interest) -> u32 {
            loop {
                if let Some(sequence) = self.collect() {
                    return sequence;
                }
                self.announcer.announce(&self.pair.interest, interest);
                if let Some(sequence) = self.collect() {
                    self.announcer.announce(&self.pair.interest, Interest::Nothing);
                    return sequence;
                }
                self.pair.caller.wait();
                self.announcer.announce(&self.pair.interest, Interest::Nothing);
            }
        }
    }

    fn model(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.check(check);
    }

    #[test]
    fn a_worker_that_goes_to_sleep_sees_work_or_is_woken() {
        model(5, || {
            let pair = Pair::new(8, 4);
            let mut worker = Worker::new(&pair);
            let worker = thread::spawn(move || [worker.next().sequence, worker.next().sequence]);
            let mut parent = Parent::new(&pair);
            for sequence in [1, 2] {
                parent.give(PIECE, sequence);
                parent.publish();
            }
            assert_eq!(worker.join().unwrap(), [1, 2]);
        });
    }

    #[test]
    fn a_caller_that_goes_to_sleep_sees_the_reply_or_is_told() {
        model(5, || {
            let pair = Pair::new(4, 8);
            let mut worker = Worker::new(&pair);
            let worker = thread::spawn(move || {
                worker.reply(1, false);
                worker.reply(2, false);
            });
            let mut parent = Parent::new(&pair);
            for sequence in [1, 2] {
                assert_eq!(parent.wait(Interest::NextReply(Listening::Caller)), sequence);
            }
            worker.join().unwrap();
        });
    }

    #[test]
    fn a_caller_that_waits_for_low_water_is_told_of_it() {
        model(5, || {
            let pair = Pair::new(4, 8);
            let mut worker = Worker::new(&pair);
            let worker = thread::spawn(move || {
                worker.reply(1, false);
                worker.reply(2, true);
            });
            let mut parent = Parent::new(&pair);
            for sequence in [1, 2] {
                assert_eq!(parent.wait(Interest::LowWater(Listening::Caller)), sequence);
            }
            worker.join().unwrap();
        });
    }

    #[test]
    fn a_worker_that_lacks_room_and_a_caller_that_waits_for_low_water_do_not_wait_for_each_other() {
        model(4, || {
            // One reply fills the ring, and only the last one needs a signal.
            let pair = Pair::new(4, 4);
            let mut worker = Worker::new(&pair);
            let worker = thread::spawn(move || {
                worker.reply(1, false);
                worker.reply(2, false);
                worker.reply(3, true);
            });
            let mut parent = Parent::new(&pair);
            for sequence in 1..=3 {
                assert_eq!(parent.wait(Interest::LowWater(Listening::Caller)), sequence);
            }
            worker.join().unwrap();
        });
    }

    #[test]
    fn a_worker_that_lacks_room_is_seen_or_tells_though_nothing_it_said_was_worth_telling() {
        model(5, || {
            let pair = Pair::new(4, 8);
            let Worker { replies: mut produced, listener, .. } = Worker::new(&pair);
            let shared = Arc::clone(&pair);
            let worker = thread::spawn(move || {
                let header = Header { kind: REPLY, flags: 0, sequence: 1 };
                produced.push(&shared.back_ring, header, &[1], &[]).unwrap();
                produced.publish(&shared.back_ring);
                Worker::signal(&shared, listener.when_blocked(&shared.interest));
            });
            assert_eq!(Parent::new(&pair).wait(Interest::LowWater(Listening::Caller)), 1);
            worker.join().unwrap();
        });
    }

    #[test]
    fn a_piece_that_is_revoked_runs_once_on_one_side() {
        model(3, || {
            let pair = Pair::new(16, 16);
            let mut worker = Worker::new(&pair);
            let worker = thread::spawn(move || {
                let mut ran = Vec::new();
                loop {
                    let Header { kind, sequence, .. } = worker.next();
                    if kind == LEAVE {
                        return ran;
                    }
                    if claim::claim(&worker.pair.states, sequence) {
                        ran.push(sequence);
                        worker.reply(sequence, false);
                    }
                }
            });
            let mut parent = Parent::new(&pair);
            for sequence in 1..=3 {
                parent.give(PIECE, sequence);
            }
            parent.publish();
            // The newest first, until the worker has begun one.
            let revoked: Vec<_> = [3, 2].into_iter().take_while(|&s| claim::revoke(&pair.states, s)).collect();
            let held: Vec<_> = (1..=3).filter(|sequence| !revoked.contains(sequence)).collect();
            for &sequence in &held {
                assert_eq!(parent.wait(Interest::NextReply(Listening::Caller)), sequence);
            }
            parent.give(LEAVE, 0);
            parent.publish();
            assert_eq!(worker.join().unwrap(), held);
            assert_eq!(parent.collect(), None, "a hole has no reply");
        });
    }
}
