//! Everything at once, by seeds: a network that loses, doubles and reorders; agents, masters and the server killed, stopped and cut at random. In the end
//! each piece has exactly one outcome, the right one, and a piece that kills its hosts is lost alone.

use multicore_nats::agent::Outcome as Ended;
use multicore_nats::master::{Outcome, Trouble};
use multicore_nats::simulation::{Ends, Job, MS, Play, SECOND, Started, World};
use multicore_nats::transport::loopback::Faults;

/// How long things go wrong.
const STORM: u64 = 40 * SECOND;

const KILLER: u32 = 33;

fn seeds() -> u64 {
    std::env::var("MULTICORE_STORM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// The number of the piece; a value in forty is long and goes through the object store.
fn value(started: &Started) -> Ends {
    let mut value = started.bytes.to_vec();
    if started.piece % 40 == 9 {
        value.resize(300 << 10, 7);
    }
    Ends::Outcome(Ended::Value(value.into()))
}

/// One thing goes wrong.
fn strike(world: &mut World, master: &mut usize, job: &Job) {
    let agent = world.random(0, world.agents.len() as u64) as usize;
    let (short, kind) = (world.random(10, 8_000) * MS, world.random(0, 10));
    match kind {
        0 if world.agents[agent].is_alive() => {
            world.kill_agent(agent);
            let name = format!("n{}", world.agents.len());
            world.start_agent(&name, 2);
        }
        1 | 2 => world.pause_agent(agent, short),
        3 | 4 => {
            let client = world.agents[agent].client;
            world.loopback.cut(client, short);
        }
        5 => {
            let client = world.masters[*master].client;
            world.loopback.cut(client, short);
        }
        6 => world.pause_master(*master, short),
        7 => world.loopback.kill_server(Some(short / 4 + MS), true),
        8 => world.loopback.kill_server(Some(short / 4 + MS), false),
        _ if job.name.is_some() && world.masters[*master].over.is_none() => {
            world.kill_master(*master);
            *master = world.start_master(job);
        }
        _ => {}
    }
}

/// Without a server a new master ends after 5 s, and somebody starts it again.
fn restart(world: &mut World, master: &mut usize, job: &Job) {
    let actor = &world.masters[*master];
    if actor.outcomes.is_empty() && matches!(&actor.over, Some((_, Err(Trouble::Host(_))))) {
        *master = world.start_master(job);
    }
}

/// Plays one seed. Gives a fault as a sentence.
fn play(seed: u64, has_killer: bool) -> Result<(), String> {
    let mut world = World::new(seed, move |started| match started.bytes[..] == KILLER.to_le_bytes() && has_killer {
        true => Play { takes_ns: 20 * MS, ends: Ends::KillsHost },
        false => Play { takes_ns: u64::from(started.piece % 7 + 1) * 20 * MS, ends: value(started) },
    });
    world.restart_ns = Some(500 * MS);
    for name in ["a", "b", "c"] {
        world.start_agent(name, 2);
    }
    let job = Job { give_up_ns: 200 * SECOND, deliveries: 8, ..Job::new(400) };
    let job = if seed.is_multiple_of(2) { job.named("storm") } else { job };
    let mut master = world.start_master(&job);
    world.loopback.faults =
        Faults { lost: 10_000, doubled: 10_000, least_ns: MS / 10, most_ns: world.random(1, 60) * MS };
    while world.now() < STORM {
        let next = world.now() + world.random(200, 4_000) * MS;
        world.run_until(next);
        strike(&mut world, &mut master, &job);
        restart(&mut world, &mut master, &job);
    }
    world.loopback.faults = Faults::NONE;
    world.run_until(STORM + 6 * SECOND);
    restart(&mut world, &mut master, &job);
    world.run_while(STORM + 400 * SECOND, |world| world.masters[master].over.is_none());
    let actor = &world.masters[master];
    let Some((_, result)) = &actor.over else { return Err(format!("it is not over: {:#?}", actor.master)) };
    let lost: Vec<_> = actor.outcomes.iter().filter(|(_, (it, _))| matches!(it, Outcome::Lost { .. })).collect();
    let is_right = if has_killer { actor.right() == 399 } else { actor.right() == 400 };
    let only_killer = lost.iter().all(|(piece, _)| has_killer && **piece == KILLER);
    match result.is_ok() && is_right && only_killer && actor.outcomes.len() == 400 {
        true => Ok(()),
        false => Err(format!("{result:?}, {} right, lost {lost:?}, {:?}", actor.right(), actor.master.counts())),
    }
}

#[test]
fn every_piece_has_one_outcome_whatever_goes_wrong() {
    for seed in 0..seeds() {
        play(seed, false).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
    }
}

#[test]
fn a_piece_that_kills_its_hosts_is_lost_alone_in_a_storm() {
    for seed in 1000..1000 + seeds() / 4 {
        play(seed, true).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
    }
}
