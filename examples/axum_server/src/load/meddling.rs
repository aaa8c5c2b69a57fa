//! What is done to the server while it answers: workers are killed, and clients leave.

use super::client::Client;
use crate::problem::{Problem, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What a client reads before it leaves.
const BEFORE_LEAVING: usize = 64 << 10;

/// The pool comes to rest within that time after the last client has left.
const REST: Duration = Duration::from_secs(10);

/// Kills a worker at random, again and again. Gives how many. The server is this program's own, so its workers may be killed.
pub async fn kill_workers(address: SocketAddr, each: Duration, end: Instant) -> Result<u64> {
    let (mut client, random) = (Client::connect(address).await?, RandomState::new());
    let (mut killed, mut next) = (0, Instant::now() + each);
    while next < end {
        tokio::time::sleep_until(next.into()).await;
        next += each;
        let stats = stats(&mut client).await?;
        let workers: Vec<_> = stats["workers"].as_array().into_iter().flatten().filter_map(pid).collect();
        if let Some(&worker) = workers.get(random.hash_one(killed) as usize % workers.len().max(1)) {
            // It may be gone by itself.
            killed += u64::from(kill_process(worker, Signal::KILL).is_ok());
        }
    }
    Ok(killed)
}

fn pid(worker: &Value) -> Option<Pid> {
    Pid::from_raw(i32::try_from(worker["pid"].as_i64()?).ok()?)
}

async fn stats(client: &mut Client) -> Result<Value> {
    let stats = client.bytes("/stats").await?;
    serde_json::from_slice(&stats).map_err(|error| Problem::new(format_args!("/stats: {error}")))
}

/// Reads the begin of an answer and leaves, again and again. Gives how often.
pub async fn leave_each(address: SocketAddr, path: String, end: Instant) -> Result<u64> {
    let mut left = 0;
    while Instant::now() < end {
        Client::connect(address).await?.leave_after(&path, BEFORE_LEAVING).await?;
        left += 1;
    }
    Ok(left)
}

/// Waits until no task is open, no piece waits and none runs.
pub async fn wait_for_rest(address: SocketAddr) -> Result<()> {
    let (mut client, end) = (Client::connect(address).await?, Instant::now() + REST);
    loop {
        let stats = stats(&mut client).await?;
        let held = |worker: &Value| worker["pieces_held"].as_u64().unwrap_or(1);
        let held: u64 = stats["workers"].as_array().into_iter().flatten().map(held).sum();
        if stats["tasks"] == 0 && stats["pieces_waiting"] == 0 && held == 0 {
            return Ok(());
        }
        if Instant::now() > end {
            let (tasks, waiting) = (&stats["tasks"], &stats["pieces_waiting"]);
            let left = format!("{tasks} tasks, {waiting} pieces that wait and {held} that workers hold");
            return Err(Problem::new(format_args!("{REST:?} after the last client has left there are {left}")));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
