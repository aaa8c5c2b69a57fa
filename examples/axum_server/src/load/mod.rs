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
    let mut figures: Vec<_> = options.routes.iter().map(|route| Figures::new(route)).collect();
    let mut failed = 0;
    for _ in 0..options.rounds {
        for figures in &mut figures {
            let round = one_round(options, address, figures.route, &expected).await?;
            failed += round.failed;
            say(&format!("{}\n", round.line(figures.route)))?;
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

/// Clients of one route, for the time of a round.
async fn one_round(options: &LoadOptions, address: SocketAddr, route: &str, expected: &Bytes) -> Result<Round> {
    let path = path(route, options.count);
    let begin = Instant::now();
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
