//! The load: clients of a server that this starts, and what they measured.
//!
//! Invariant: an answer counts only if it was compared, byte by byte, with the list that one thread makes.

mod client;
mod figures;
mod meddling;
mod server;

use crate::options::LoadOptions;
use crate::problem::{Problem, Result};
use crate::{say, tell};
use axum::body::Bytes;
use client::Client;
use figures::{Figures, Round};
use rustix::time::{ClockId, clock_gettime};
use server::Server;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Loads the server, and prints what it measured.
pub fn load(options: &LoadOptions) -> Result<ExitCode> {
    let server = Server::start(options.workers)?;
    // One thread: the clients are to take little of the cores that the server needs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Problem::new(format_args!("cannot start tokio: {error}")))?;
    let failed = runtime.block_on(all_rounds(options, server.address()))?;
    server.end()?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Gives the number of requests that failed.
async fn all_rounds(options: &LoadOptions, address: SocketAddr) -> Result<u64> {
    let expected = expected(options.count, address).await?;
    let (connections, bytes) = (options.connections, expected.len());
    say(&format!("{connections} connections, {} records, {bytes} bytes in an answer\n", options.count))?;
    for route in &options.routes {
        warm_up(options, address, route, &expected).await?;
    }
    let mut figures: Vec<_> = options.routes.iter().map(|route| Figures::new(route)).collect();
    let mut failed = 0;
    for number in 0..options.rounds {
        // So that no route always comes after the same other one.
        let mut in_turn: Vec<_> = figures.iter_mut().collect();
        if number % 2 == 1 {
            in_turn.reverse();
        }
        for figures in in_turn {
            let round = one_round(options, address, figures.route, &expected).await?;
            failed += round.failed;
            say(&format!("{}\n", round.line(figures.route)))?;
            if let Some(warning) = round.warning() {
                tell(&warning);
            }
            figures.rounds.push(round);
        }
    }
    if options.rounds > 1 {
        say(&figures::summary(&figures))?;
    }
    Ok(failed)
}

/// The list, as one thread makes it.
async fn expected(count: usize, address: SocketAddr) -> Result<Bytes> {
    Client::connect(address).await?.bytes(&path("serial", count)).await
}

fn path(route: &str, count: usize) -> String {
    format!("/{route}?count={count}")
}

/// A request for each connection that does not count: the first answers of a route take what later ones find ready, such as memory.
async fn warm_up(options: &LoadOptions, address: SocketAddr, route: &str, expected: &Bytes) -> Result<()> {
    let mut clients = JoinSet::new();
    for _ in 0..options.connections {
        let (path, expected) = (path(route, options.count), expected.clone());
        clients.spawn(async move { Client::connect(address).await?.compare(&path, &expected).await });
    }
    clients.join_all().await.into_iter().collect()
}

/// The time that this process has been on a processor. Its server is another process.
fn own_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Clients of one route, for the time of a round.
async fn one_round(options: &LoadOptions, address: SocketAddr, route: &str, expected: &Bytes) -> Result<Round> {
    let path = path(route, options.count);
    let (begin, cpu_before) = (Instant::now(), own_cpu_time());
    let end = begin + options.round;
    let mut clients = JoinSet::new();
    for _ in 0..options.connections {
        clients.spawn(one_client(address, path.clone(), expected.clone(), end));
    }
    let killer = options.kill_each.map(|each| tokio::spawn(meddling::kill_workers(address, each, end)));
    let mut leavers = JoinSet::new();
    for _ in 0..if options.leave { options.connections } else { 0 } {
        leavers.spawn(meddling::leave_each(address, path.clone(), end));
    }
    let mut round = Round { bytes: expected.len(), ..Round::default() };
    for client in clients.join_all().await {
        round.add(client?);
    }
    // An answer that began within the round counts, and its time does, too.
    round.time = begin.elapsed();
    round.own_cpu = own_cpu_time().saturating_sub(cpu_before);
    if let Some(killer) = killer {
        round.killed = killer.await.map_err(Problem::new)??;
    }
    for left in leavers.join_all().await {
        round.left += left?;
    }
    if options.leave {
        meddling::wait_for_rest(address).await?;
        let after = Client::connect(address).await?.bytes(&path).await?;
        round.failed += u64::from(after != expected);
    }
    Ok(round)
}

/// Requests one after the other over one connection, which is opened anew after a failure.
async fn one_client(address: SocketAddr, path: String, expected: Bytes, end: Instant) -> Result<(Vec<Duration>, u64)> {
    let (mut times, mut failed) = (Vec::new(), 0);
    let mut client = Client::connect(address).await?;
    while Instant::now() < end {
        let begin = Instant::now();
        match client.compare(&path, &expected).await {
            Ok(()) => times.push(begin.elapsed()),
            Err(problem) => {
                tell(&problem);
                failed += 1;
                client = Client::connect(address).await?;
            }
        }
    }
    Ok((times, failed))
}
