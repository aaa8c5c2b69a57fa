//! Each line of what may fail, in virtual time, with its deadline: what happens, what the caller sees, and by when.
//!
//! Lease 3 s, deliveries 3, 600 pieces of 10 ms on two hosts of one worker each: 3.0 s of work for each.

use multicore_nats::agent::Outcome as Ended;
use multicore_nats::frame::{Limits, Work, work::Given};
use multicore_nats::identity::{Build, ChunkId, JobId};
use multicore_nats::master::{Outcome, Trouble};
use multicore_nats::simulation::{BUILD, Ends, Job, MS, Play, SECOND, World};
use multicore_nats::transport::{Request, Stream, Token};

const LEASE: u64 = 3 * SECOND;

/// Two hosts of one worker, and pieces of 10 ms.
fn world() -> World {
    let mut world = World::new(1, |started| Play::echo(started, 10 * MS));
    world.start_agent("a", 1);
    world.start_agent("b", 1);
    world.run_until(SECOND);
    world
}

/// The job ends in time, and each piece gave what it should.
fn check_right(world: &mut World, master: usize, pieces: usize, at_most_ns: u64) -> u64 {
    let began = world.now();
    let took = world.run_to_end(master, at_most_ns) - began;
    assert_eq!(world.masters[master].over.as_ref().unwrap().1, Ok(()));
    assert_eq!(world.masters[master].right(), pieces, "{:?}", world.masters[master].master.counts());
    took
}

#[test]
fn an_undisturbed_job_takes_little_more_than_its_work() {
    let mut world = world();
    let master = world.start_master(&Job::new(600));
    let took = check_right(&mut world, master, 600, 10 * SECOND);
    assert!(took <= 3_600 * MS, "{} ms", took / MS);
    assert_eq!((world.starts.len(), world.begun_again()), (600, 0));
    // Nothing of the job is left on the server.
    world.run_until(world.now() + SECOND);
    assert_eq!((world.loopback.messages(Stream::Work), world.loopback.messages(Stream::Results)), (0, 0));
}

#[test]
fn a_piece_that_fails_gives_its_error_with_its_host_and_no_other_is_affected() {
    let mut world = World::new(2, |started| match started.piece {
        7 => Play { takes_ns: MS, ends: Ends::Outcome(Ended::Error(b"killed by SIGABRT"[..].into())) },
        _ => Play::echo(started, 10 * MS),
    });
    world.start_agent("a", 1);
    let master = world.start_master(&Job::new(20));
    world.run_to_end(master, 5 * SECOND);
    let actor = &world.masters[master];
    assert_eq!((actor.right(), actor.outcomes.len()), (19, 20));
    assert_eq!(actor.outcomes[&7], (Outcome::Error(b"killed by SIGABRT"[..].into()), "a".into()));
}

#[test]
fn an_agent_that_is_killed_costs_a_lease() {
    let mut world = world();
    let master = world.start_master(&Job::new(600));
    world.run_until(world.now() + 1_200 * MS);
    world.kill_agent(0);
    // The rest takes one host 4 s.
    let took = check_right(&mut world, master, 600, 3_600 * MS + LEASE + SECOND);
    assert!(took >= 3 * SECOND && world.begun_again() <= 30, "{} ms, {} again", took / MS, world.begun_again());
    assert!(world.masters[master].master.counts().redelivered > 0);
}

#[test]
fn an_agent_that_is_stopped_and_goes_on_does_no_harm() {
    let mut world = world();
    let master = world.start_master(&Job::new(600));
    world.run_until(world.now() + 1_200 * MS);
    world.pause_agent(0, 5 * SECOND);
    check_right(&mut world, master, 600, 3_600 * MS + LEASE + SECOND);
    assert!(world.begun_again() <= 30, "{} again", world.begun_again());
    // A second job runs on both, once the first one's late outcomes were dropped.
    world.run_until(world.now() + 5 * SECOND);
    let second = world.start_master(&Job::new(600));
    check_right(&mut world, second, 600, 3_600 * MS);
}

#[test]
fn an_agent_whose_link_is_cut_does_no_harm() {
    let mut world = world();
    let master = world.start_master(&Job::new(800));
    world.run_until(world.now() + 1_200 * MS);
    let client = world.agents[0].client;
    world.loopback.cut(client, 6 * SECOND);
    check_right(&mut world, master, 800, 4_600 * MS + LEASE + SECOND);
}

#[test]
fn a_server_that_is_killed_and_comes_back_with_its_store_costs_little() {
    let mut world = world();
    let master = world.start_master(&Job::new(600));
    world.run_until(world.now() + 1_200 * MS);
    world.loopback.kill_server(Some(SECOND), true);
    world.run_until(world.now() + SECOND);
    check_right(&mut world, master, 600, 5 * SECOND);
    assert!(world.begun_again() <= 40, "{} again", world.begun_again());
}

#[test]
fn a_server_that_comes_back_without_its_store_is_filled_again() {
    for name in [None, Some("import")] {
        let mut world = world();
        let job = Job::new(600);
        let master = world.start_master(&Job { name: name.map(String::from), ..job });
        world.run_until(world.now() + 1_200 * MS);
        world.loopback.kill_server(Some(SECOND), false);
        world.run_until(world.now() + SECOND);
        check_right(&mut world, master, 600, 10 * SECOND);
    }
}

#[test]
fn a_server_that_stays_away_ends_the_job_at_its_time() {
    let mut world = world();
    let master = world.start_master(&Job { give_up_ns: 20 * SECOND, ..Job::new(600) });
    world.run_until(world.now() + 1_200 * MS);
    world.loopback.kill_server(None, true);
    let began = world.now();
    let took = world.run_to_end(master, 21 * SECOND) - began;
    assert!(took >= 20 * SECOND, "{} ms", took / MS);
    let Some((_, Err(Trouble::Host(text)))) = &world.masters[master].over else { panic!("it went well") };
    assert_eq!(text, "no use of the server for 20 s: the connection was lost");
}

#[test]
fn a_named_job_whose_master_is_killed_is_taken_up_and_nothing_runs_twice() {
    let mut world = world();
    let job = Job::new(600).named("import");
    let first = world.start_master(&job);
    world.run_until(world.now() + 1_200 * MS);
    let done = world.masters[first].outcomes.len() as u64;
    world.kill_master(first);
    let second = world.start_master(&job);
    let took = check_right(&mut world, second, 600, 8 * SECOND);
    let counts = world.masters[second].master.counts();
    assert!(counts.found >= done && done > 100, "{done} done, {counts:?}");
    assert_eq!((world.starts.len(), world.begun_again()), (600, 0), "after {} ms", took / MS);
    // The job has ended: the same name begins anew.
    world.run_until(world.now() + SECOND);
    let third = world.start_master(&job);
    check_right(&mut world, third, 600, 4 * SECOND);
    assert_eq!(world.masters[third].master.counts().found, 0);
}

#[test]
fn partial_frames_of_a_dead_master_s_chunks_are_found_too() {
    // 4 pieces of 1.5 s a chunk: outcomes come in partial frames.
    let mut world = World::new(4, |started| Play::echo(started, 1_500 * MS));
    world.start_agent("a", 4);
    world.run_until(SECOND);
    let job = Job::new(40).named("slow");
    let first = world.start_master(&job);
    world.run_until(world.now() + 6 * SECOND);
    world.kill_master(first);
    let second = world.start_master(&job);
    check_right(&mut world, second, 40, 30 * SECOND);
    assert_eq!(world.begun_again(), 0);
    assert!(world.masters[second].master.counts().found > 4);
}

#[test]
fn a_job_without_a_master_is_dropped_after_a_minute_and_a_named_one_is_not() {
    for (job, is_dropped) in [(Job::new(60), true), (Job::new(60).named("kept"), false)] {
        let mut world = World::new(3, |started| Play::echo(started, 40 * SECOND));
        world.start_agent("a", 1);
        let master = world.start_master(&job);
        world.run_until(30 * SECOND);
        world.kill_master(master);
        // Its last word came between 25 and 30 s.
        world.run_until(84 * SECOND);
        let begun = world.starts.len();
        assert!(world.agents[0].agent.held() > 0);
        world.run_until(170 * SECOND);
        assert_eq!((world.loopback.messages(Stream::Work) == 0, world.starts.len() == begun), (is_dropped, is_dropped));
        assert_eq!(world.holdings().is_empty(), is_dropped);
    }
}

#[test]
fn a_master_whose_link_is_cut_goes_on_after_it() {
    for name in [None, Some("import")] {
        let mut world = world();
        let master = world.start_master(&Job { name: name.map(String::from), ..Job::new(800) });
        world.run_until(world.now() + 1_200 * MS);
        let client = world.masters[master].client;
        world.loopback.cut(client, 4 * SECOND);
        world.run_until(world.now() + 4 * SECOND);
        check_right(&mut world, master, 800, 10 * SECOND);
    }
}

#[test]
fn a_piece_that_kills_its_hosts_is_lost_alone() {
    let mut world = World::new(5, |started| match started.bytes[..] == 17u32.to_le_bytes() {
        true => Play { takes_ns: 5 * MS, ends: Ends::KillsHost },
        false => Play::echo(started, 10 * MS),
    });
    world.restart_ns = Some(500 * MS);
    world.start_agent("a", 1);
    world.start_agent("b", 1);
    world.run_until(SECOND);
    let job = Job::new(60);
    let master = world.start_master(&job);
    let deadline = 2 * u64::from(job.deliveries) * (job.lease_ns + SECOND);
    world.run_to_end(master, deadline);
    let actor = &world.masters[master];
    assert_eq!((actor.right(), actor.outcomes.len()), (59, 60), "{:?}", actor.outcomes);
    let (Outcome::Lost { deliveries, hosts }, _) = &actor.outcomes[&17] else { panic!("{:?}", actor.outcomes[&17]) };
    assert_eq!(*deliveries, 3);
    assert!(!hosts.is_empty() && hosts.iter().all(|host| host == "a" || host == "b"), "{hosts:?}");
}

#[test]
fn a_cancelled_job_begins_nothing_more() {
    for by_master in [true, false] {
        let mut world = world();
        let master = world.start_master(&Job::new(600).named("import"));
        world.run_until(world.now() + 1_200 * MS);
        if by_master {
            world.cancel(master);
        } else {
            // Somebody else says it, as `Hosts::job(name).cancel()` does.
            let job = world.masters[master].job;
            let control = multicore_nats::frame::Control { job, word: multicore_nats::frame::Word::Cancel };
            let (client, subject) = (world.loopback.connect(BUILD), World::namespace().control(job));
            world.run_until(world.now() + SECOND / 2);
            world.loopback.send(client, Request::Say { subject, payload: control.write() });
        }
        world.late_after = world.now() + MS;
        world.run_to_end(master, SECOND);
        assert_eq!(world.masters[master].over.as_ref().unwrap().1, Err(Trouble::Cancelled));
        world.run_until(world.now() + 10 * SECOND);
        assert_eq!((world.late_starts, world.holdings().len()), (0, 0));
        assert_eq!((world.loopback.messages(Stream::Work), world.loopback.messages(Stream::Records)), (0, 0));
        // The same name begins anew.
        world.late_after = u64::MAX;
        let again = world.start_master(&Job::new(600).named("import"));
        check_right(&mut world, again, 600, 4 * SECOND);
    }
}

#[test]
fn a_wrong_password_and_a_missing_server_are_told() {
    let mut world = World::new(6, |started| Play::echo(started, MS));
    world.loopback.refuses = Some("authorization violation".into());
    let master = world.start_master(&Job::new(1));
    let took = world.run_to_end(master, SECOND);
    assert!(took <= 100 * MS);
    let expected = Trouble::Host("the server refuses it: authorization violation".into());
    assert_eq!(world.masters[master].over.as_ref().unwrap().1, Err(expected));

    let mut world = World::new(6, |started| Play::echo(started, MS));
    world.loopback.kill_server(None, true);
    let master = world.start_master(&Job::new(1));
    assert!(world.run_to_end(master, 6 * SECOND) <= 5 * SECOND);
    let expected = Trouble::Host("no use of the server for 5 s: no server has answered".into());
    assert_eq!(world.masters[master].over.as_ref().unwrap().1, Err(expected));
}

/// Publishes to W as somebody who may.
fn publish(world: &mut World, subject: String, payload: &[u8]) {
    let client = world.loopback.connect(BUILD);
    world.run_until(world.now() + SECOND / 2);
    let (id, payload) = (String::new(), payload.to_vec().into());
    world.loopback.send(client, Request::Publish { token: Token(1), subject, payload, id, expected: None });
}

#[test]
fn garbage_in_the_work_queue_is_removed_counted_and_told_once() {
    let mut world = world();
    let master = world.start_master(&Job::new(600));
    let subject = World::namespace().work(BUILD, JobId::unnamed([7; 16]));
    publish(&mut world, subject.clone(), b"garbage");
    publish(&mut world, subject.clone(), b"");
    let given = Given { piece: 0, function: 1, bytes: b"x" };
    let cut = Work::write(JobId([7; 16]), ChunkId([1; 16]), Limits::default(), std::iter::once(given));
    publish(&mut world, subject, &cut[..cut.len() - 1]);
    check_right(&mut world, master, 600, 4 * SECOND);
    world.run_until(world.now() + SECOND);
    let garbage: u64 = world.agents.iter().map(|agent| agent.agent.counts().garbage).sum();
    let all = world.agents.iter().flat_map(|agent| &agent.notices);
    let told =
        all.filter(|text| text.contains("a message in the work queue was removed: this is no frame MCW1")).count();
    assert!(garbage == 3 && (1..=2).contains(&told), "{garbage} counted, {told} told");
    assert_eq!(world.loopback.messages(Stream::Work), 0);
}

#[test]
fn full_streams_make_publishers_wait() {
    let mut world = world();
    world.loopback.set_most(Some(3));
    let master = world.start_master(&Job::new(600));
    world.run_until(world.now() + 10 * SECOND);
    assert!(world.masters[master].over.is_none());
    assert_eq!(world.masters[master].notices, ["the server takes no further work: W is full"]);
    assert!(world.agents.iter().all(|agent| agent.agent.held() <= 2));
    world.loopback.set_most(None);
    check_right(&mut world, master, 600, 6 * SECOND);
}

#[test]
fn without_an_agent_of_its_build_a_job_stands_still_and_says_why() {
    let mut world = World::new(8, |started| Play::echo(started, 10 * MS));
    let other = Build([0x34; 32]);
    for name in ["a", "b", "c"] {
        world.start_agent_of(name, 1, other);
    }
    let master = world.start_master(&Job::new(60));
    world.run_until(9 * SECOND);
    assert!(world.masters[master].notices.is_empty());
    world.run_until(30 * SECOND);
    let expected = "3 agents serve build 34343434…, this is b1b1b1b1…: start agents with these bytes";
    assert_eq!(world.masters[master].notices, [expected]);
    assert_eq!(world.starts.len(), 0);
    world.start_agent("d", 1);
    check_right(&mut world, master, 60, 3 * SECOND);
}
