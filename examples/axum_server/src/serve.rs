//! The server: its pool first, then its socket, and at Ctrl-C their end in order.
//!
//! Invariant: no request is accepted before there are workers, and no worker is left when this returns.

use crate::options::ServeOptions;
use crate::problem::{Problem, Result};
use crate::{answers, say, tell};
use multicore::Pool;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// How long clients get to read the answers that they wait for, after a request to end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Serves until Ctrl-C, or a request to end.
pub fn serve(options: &ServeOptions) -> Result<()> {
    // Before there are other threads, and before the first client waits for it.
    let pool = Arc::new(start_pool(options)?);
    let threads = rayon::ThreadPoolBuilder::new().num_threads(pool.workers()).build_global();
    threads.map_err(|error| Problem::new(format_args!("cannot start rayon's threads: {error}")))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Problem::new(format_args!("cannot start tokio's threads: {error}")))?;
    let served = runtime.block_on(listen(options, &pool));
    // Connections that are still open end here.
    runtime.shutdown_timeout(Duration::from_secs(1));
    if let Some(pool) = Arc::into_inner(pool) {
        pool.shutdown();
    }
    served
}

fn start_pool(options: &ServeOptions) -> Result<Pool> {
    let mut pool = Pool::builder().max_pieces_waiting(options.max_waiting);
    if let Some(workers) = options.workers {
        pool = pool.workers(workers);
    }
    pool.build().map_err(|error| Problem::new(format_args!("cannot start the workers: {error}")))
}

async fn listen(options: &ServeOptions, pool: &Arc<Pool>) -> Result<()> {
    // Before anybody is told that it listens: from now on a signal ends it in order.
    let signalled = signalled()?;
    let port = options.port;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.map_err(|error| Problem::new(format_args!("cannot listen on port {port}: {error}")))?;
    let address = listener.local_addr().map_err(Problem::new)?;
    say(&format!("listening on http://{address}\n"))?;
    let ending = Arc::new(Notify::new());
    let begin_end = {
        let ending = Arc::clone(&ending);
        async move {
            signalled.await;
            ending.notify_one();
        }
    };
    let served = axum::serve(listener, answers::router(Arc::clone(pool))).with_graceful_shutdown(begin_end);
    let out_of_time = async {
        ending.notified().await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        served = served => served.map_err(|error| Problem::new(format_args!("the server ended: {error}"))),
        () = out_of_time => {
            tell(&"some clients did not read their answers to the end; their connections are broken off");
            Ok(())
        }
    }
}

/// Ends with Ctrl-C, or a request to end.
fn signalled() -> Result<impl Future<Output = ()> + Send + 'static> {
    let listen = |kind| signal(kind).map_err(|error| Problem::new(format_args!("cannot listen for Ctrl-C: {error}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
