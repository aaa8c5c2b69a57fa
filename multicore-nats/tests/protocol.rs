//! What masters and agents refuse, count and split: outcomes that are forged, values of all sizes, two masters of one name, agents that come and go.

use bytes::Bytes;
use multicore_nats::agent::Outcome as Ended;
use multicore_nats::frame::results::{Answer, Head};
use multicore_nats::frame::{Control, Results, Status, Word};
use multicore_nats::identity::{ChunkId, JobId};
use multicore_nats::master::canceller::Canceller;
use multicore_nats::master::{MAX_ARGUMENT_BYTES, Outcome, Trouble};
use multicore_nats::simulation::{BUILD, Ends, Job, MS, Play, SECOND, World};
use multicore_nats::transport::loopback::ClientId;
use multicore_nats::transport::{Event, Request, Stream, Token};

fn world(seed: u64) -> World {
    World::new(seed, |started| Play::echo(started, 10 * MS))
}

/// Publishes a frame of results, as a host that lies.
fn forge(world: &mut World, client: ClientId, to: JobId, head: &Head<'_>, pieces: &[(u32, &[u8])]) {
    let answer = |&(piece, bytes)| Answer { piece, status: Status::Value, bytes };
    let payload = Results::write(head, pieces.iter().map(answer));
    let (id, subject) = (String::new(), World::namespace().results(to));
    world.loopback.send(client, Request::Publish { token: Token(1), subject, payload, id, expected: None });
    world.run_until(world.now() + 10 * MS);
}

#[test]
fn forged_outcomes_are_refused_and_counted() {
    let mut world = world(1);
    let liar = world.loopback.connect(BUILD);
    let master = world.start_master(&Job::new(3));
    world.run_until(SECOND);
    // There is no agent: the liar takes the first chunk itself.
    world.loopback.send(liar, Request::Pull { token: Token(9), expires_ns: SECOND });
    let heard = world.loopback.advance(SECOND + 10 * MS);
    world.run_until(SECOND + 10 * MS);
    let Some(Event::Work { payload, delivery, .. }) = heard.into_iter().find(|(to, _)| *to == liar).map(|(_, it)| it)
    else {
        panic!("it gets no work");
    };
    let work = multicore_nats::frame::Work::read(&payload).unwrap();
    assert_eq!(work.count(), 1);
    let (job, mine) = (work.job, work.pieces().next().unwrap().piece);
    let head = Head { job, chunk: work.chunk, delivery: 1, last: false, busy_ns: 1, host: "liar" };
    let counts = |world: &World| world.masters[master].master.counts();
    // A chunk that was not given out.
    forge(&mut world, liar, job, &Head { chunk: ChunkId([7; 16]), ..head }, &[(mine, b"forged")]);
    assert_eq!(counts(&world).unknown_chunk, 1);
    // Another job, under this one's subject.
    forge(&mut world, liar, job, &Head { job: JobId::unnamed([1; 16]), ..head }, &[(mine, b"forged")]);
    assert_eq!(counts(&world).other_job, 1);
    // Pieces that this chunk does not have, and one that the job does not have.
    forge(&mut world, liar, job, &head, &[((mine + 1) % 3, b"forged"), ((mine + 2) % 3, b"forged"), (99, b"forged")]);
    assert_eq!(counts(&world).foreign_piece, 3);
    // No frame at all.
    let (id, subject) = (String::new(), World::namespace().results(job));
    let payload = Bytes::from_static(b"MCR1 and no more");
    world.loopback.send(liar, Request::Publish { token: Token(2), subject, payload, id, expected: None });
    world.run_until(world.now() + 10 * MS);
    assert_eq!(counts(&world).garbage, 1);
    assert!(world.masters[master].outcomes.is_empty(), "{:?}", world.masters[master].outcomes);
    // Its own piece, twice in one frame and once in another: the first counts.
    forge(&mut world, liar, job, &head, &[(mine, b"first"), (mine, b"second")]);
    forge(&mut world, liar, job, &Head { last: true, ..head }, &[(mine, b"third")]);
    assert_eq!(counts(&world).duplicates, 2);
    assert_eq!(world.masters[master].outcomes[&mine], (Outcome::Value(b"first"[..].into()), "liar".into()));
    world.loopback.send(liar, Request::Mark { delivery, mark: multicore_nats::transport::Mark::Ack });
    // The rest comes from an honest host.
    world.start_agent("a", 1);
    world.run_to_end(master, 10 * SECOND);
    assert_eq!(world.masters[master].right(), 2);
}

#[test]
fn values_of_all_sizes_arrive_whole() {
    const KIB: usize = 1 << 10;
    let sizes = [0, 1, 256 * KIB - 1, 256 * KIB, 256 * KIB + 1, KIB * KIB - 1, KIB * KIB, KIB * KIB + 1, 8 * KIB * KIB];
    let value = move |piece: u32| vec![piece as u8; sizes[piece as usize % sizes.len()]];
    let mut world = World::new(2, move |started| Play {
        takes_ns: 10 * MS,
        ends: Ends::Outcome(Ended::Value(value(started.piece).into())),
    });
    world.start_agent("a", 1);
    let master = world.start_master(&Job::new(27));
    world.run_to_end(master, 20 * SECOND);
    for piece in 0..27 {
        let (Outcome::Value(bytes), _) = &world.masters[master].outcomes[&piece] else { panic!("piece {piece}") };
        assert!(*bytes == value(piece), "piece {piece} has {} bytes", bytes.len());
    }
}

#[test]
fn arguments_of_all_sizes_arrive_whole() {
    let mut world = World::new(3, |started| Play::echo(started, MS));
    world.start_agent("a", 1);
    let sizes = [MAX_ARGUMENT_BYTES, 0, 256 << 10, 1, (256 << 10) + 1, MAX_ARGUMENT_BYTES];
    let pieces = (0..60usize).map(|piece| (1, vec![piece as u8; sizes[piece % sizes.len()]].into())).collect();
    let job = Job { pieces, ..Job::new(0) };
    let master = world.start_master(&job);
    world.run_to_end(master, 20 * SECOND);
    for (piece, (_, sent)) in job.pieces.iter().enumerate() {
        assert!(world.masters[master].outcomes[&(piece as u32)].0 == Outcome::Value(sent.clone()), "piece {piece}");
    }
}

#[test]
fn a_value_over_the_limit_is_told_and_a_long_error_is_cut() {
    let mut world = World::new(4, |started| Play {
        takes_ns: MS,
        ends: Ends::Outcome(match started.piece {
            0 => Ended::Value(vec![0; 2 << 20].into()),
            _ => Ended::Error(vec![1; 2 << 20].into()),
        }),
    });
    world.start_agent("a", 1);
    let master = world.start_master(&Job { max_result: 1 << 20, ..Job::new(2) });
    world.run_to_end(master, 10 * SECOND);
    let outcomes = &world.masters[master].outcomes;
    assert_eq!(outcomes[&0].0, Outcome::TooLong { bytes: 2 << 20 });
    assert_eq!(outcomes[&1].0, Outcome::Error(vec![1; 64 << 10].into()));
}

#[test]
fn two_masters_of_one_name_exclude_each_other() {
    let mut world = world(5);
    world.start_agent("a", 1);
    world.start_agent("b", 1);
    let job = Job::new(600).named("import");
    let first = world.start_master(&job);
    world.run_until(1_300 * MS);
    let second = world.start_master(&job);
    world.run_to_end(second, 4 * SECOND);
    assert_eq!(world.masters[second].over.as_ref().unwrap().1, Err(Trouble::Taken));
    assert!(world.masters[second].outcomes.is_empty());
    world.run_to_end(first, 6 * SECOND);
    assert_eq!((world.masters[first].right(), world.begun_again()), (600, 0));
}

#[test]
fn two_masters_that_start_at_once_do_not_both_run() {
    for seed in 0..20 {
        let mut world = world(seed);
        world.loopback.faults.most_ns = 50 * MS;
        world.start_agent("a", 1);
        let job = Job::new(60).named("import");
        let both = [world.start_master(&job), world.start_master(&job)];
        world.run_until(30 * SECOND);
        let mut ends = both.map(|at| world.masters[at].over.clone().map(|(_, result)| result));
        ends.sort_by_key(|end| end != &Some(Ok(())));
        // The second may also come after the end of the first: then it runs all again.
        assert_eq!(ends[0], Some(Ok(())), "seed {seed}");
        assert_eq!(ends[1], Some(Err(Trouble::Taken)), "seed {seed}");
        assert_eq!(world.begun_again(), 0, "seed {seed}");
    }
}

#[test]
fn a_master_that_was_paused_while_another_took_its_job_ends() {
    let mut world = world(6);
    world.start_agent("a", 1);
    let job = Job::new(1200).named("import");
    let first = world.start_master(&job);
    world.run_until(SECOND);
    world.pause_master(first, 6 * SECOND);
    let second = world.start_master(&job);
    world.run_until(8 * SECOND);
    assert_eq!(world.masters[first].over.as_ref().unwrap().1, Err(Trouble::Taken));
    world.run_to_end(second, 20 * SECOND);
    assert_eq!((world.masters[second].right(), world.masters[second].over.as_ref().unwrap().1.is_ok()), (1200, true));
}

#[test]
fn other_pieces_under_the_same_name_are_refused() {
    let job = Job::new(600).named("import");
    let fewer = Job { pieces: job.pieces[..100].to_vec(), ..job.clone() };
    let mut other = job.clone();
    other.pieces[300].1 = b"other"[..].into();
    for changed in [fewer, other] {
        let mut world = world(7);
        world.start_agent("a", 1);
        let first = world.start_master(&job);
        world.run_until(SECOND);
        world.kill_master(first);
        let second = world.start_master(&changed);
        world.run_to_end(second, 5 * SECOND);
        assert_eq!(world.masters[second].over.as_ref().unwrap().1, Err(Trouble::Differs));
        // The job is still there for who has its pieces.
        let third = world.start_master(&job);
        world.run_to_end(third, 15 * SECOND);
        assert_eq!(world.masters[third].right(), 600);
    }
}

#[test]
fn late_outcomes_of_a_job_s_last_run_count_for_nothing() {
    let mut world = World::new(8, |started| Play::echo(started, 400 * MS));
    world.start_agent("a", 1);
    world.start_agent("b", 1);
    let job = Job::new(20).named("import");
    let first = world.start_master(&job);
    world.run_until(SECOND);
    // It holds chunks of the first run, and is back in the second.
    world.pause_agent(0, 4 * SECOND);
    world.run_until(world.now() + 100 * MS);
    world.cancel(first);
    world.run_to_end(first, 3 * SECOND);
    let second = world.start_master(&job);
    world.run_to_end(second, 30 * SECOND);
    assert_eq!((world.masters[second].right(), world.masters[second].master.counts().found), (20, 0));
}

#[test]
fn agents_join_while_a_job_runs_and_drain_on_a_stop() {
    let mut world = world(9);
    world.start_agent("a", 1);
    let master = world.start_master(&Job::new(600));
    world.run_until(SECOND);
    let late = world.start_agent("b", 1);
    world.run_until(2 * SECOND);
    assert!(world.masters[master].outcomes.values().any(|(_, host)| host == "b"));
    world.stop_agent(late);
    world.run_until(world.now() + 3 * SECOND);
    assert!(!world.agents[late].is_alive(), "two chunks of 100 ms, and a pull that ends");
    world.run_to_end(master, 10 * SECOND);
    assert_eq!((world.masters[master].right(), world.begun_again()), (600, 0));
}

#[test]
fn what_does_not_end_within_the_drain_goes_back() {
    let mut world = World::new(10, |started| Play::echo(started, if started.host == 0 { 100 * SECOND } else { MS }));
    let slow = world.start_agent("a", 2);
    let master = world.start_master(&Job::new(4));
    world.run_until(SECOND);
    world.start_agent("b", 1);
    world.stop_agent(slow);
    world.run_until(30 * SECOND);
    assert!(world.agents[slow].is_alive());
    world.run_until(32 * SECOND);
    assert!(!world.agents[slow].is_alive() && world.holdings().is_empty());
    world.run_to_end(master, 2 * SECOND);
    assert_eq!(world.masters[master].right(), 4);
}

#[test]
fn a_chunk_that_was_delivered_before_runs_alone() {
    // Each host dies of its first piece with this number, once, after the others of its chunks have had time to end.
    let mut world = World::new(11, |started| match (started.host, started.bytes[0]) {
        (0, 5) => Play { takes_ns: 300 * MS, ends: Ends::KillsHost },
        _ => Play::echo(started, 100 * MS),
    });
    world.start_agent("a", 1);
    let master = world.start_master(&Job::new(12));
    world.run_until(8 * SECOND);
    let before = world.starts.values().sum::<u32>();
    world.start_agent("b", 4);
    // Both chunks of the dead host come again; with four free workers, they still take turns.
    let mut most = 0;
    for _ in 0..400 {
        world.run_until(world.now() + 10 * MS);
        let counts = world.masters[master].master.counts();
        if counts.redelivered < 2 {
            most = most.max(world.holdings().len());
        }
    }
    assert!(world.starts.values().sum::<u32>() > before && most == 1, "{most} chunks at once");
    world.run_to_end(master, 10 * SECOND);
    assert_eq!(world.masters[master].right(), 12);
}

#[test]
fn an_agent_that_hears_of_a_job_says_at_once_that_it_is_there() {
    let mut world = world(12);
    let agent = world.start_agent("a", 3);
    world.run_until(7 * SECOND);
    let master = world.start_master(&Job::new(1));
    world.run_until(world.now() + 600 * MS);
    let (hosts, workers) = world.masters[master].master.hosts().serving(world.now(), BUILD);
    assert_eq!((hosts, workers, world.agents[agent].is_alive()), (1, 3, true));
}

#[test]
fn words_of_other_jobs_end_none() {
    let mut world = world(13);
    world.start_agent("a", 1);
    let master = world.start_master(&Job::new(60));
    let other = world.loopback.connect(BUILD);
    world.run_until(SECOND);
    let job = JobId::unnamed([3; 16]);
    let (subject, payload) = (World::namespace().control(job), Control { job, word: Word::Cancel }.write());
    world.loopback.send(other, Request::Say { subject, payload });
    world.run_to_end(master, 5 * SECOND);
    assert_eq!((world.masters[master].right(), world.loopback.messages(Stream::Work)), (60, 0));
}

#[test]
fn a_job_is_cancelled_by_its_name_also_where_its_master_hears_nothing() {
    for is_cut in [false, true] {
        let mut world = world(14);
        world.start_agent("a", 1);
        let master = world.start_master(&Job::new(600).named("import"));
        world.run_until(SECOND);
        if is_cut {
            let client = world.masters[master].client;
            world.loopback.cut(client, 3 * SECOND);
        }
        let client = world.loopback.connect(BUILD);
        let mut canceller = Canceller::new(World::namespace(), world.masters[master].job, world.now());
        canceller.handle(world.now(), Event::Connected);
        world.run_until(world.now() + MS);
        for _ in 0..60 {
            while let Some(request) = canceller.next_request() {
                world.loopback.send(client, request);
            }
            // Its answers are not looked at here: the purges are carried out.
            world.run_until(world.now() + 10 * MS);
            canceller.tick(world.now());
        }
        world.late_after = world.now();
        world.run_until(world.now() + 10 * SECOND);
        assert_eq!(world.masters[master].over.as_ref().unwrap().1, Err(Trouble::Cancelled), "cut: {is_cut}");
        assert_eq!((world.late_starts, world.loopback.messages(Stream::Work)), (0, 0));
    }
}
