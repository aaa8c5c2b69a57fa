//! The routes: the same list made in three ways, and what the pool does.
//!
//! Invariant: a list that fails is never answered as if it were whole: its client gets an error, or a connection that breaks.

use crate::records::{self, List, MAX_COUNT, RECORD_BYTES};
use crate::tell;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{self, FuturesOrdered, Stream, StreamExt, TryStreamExt};
use multicore::{Error, ErrorKind, Pool, Sink};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::Deserialize;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// The most results of a request that wait for its client, in bytes: enough that a usual client never waits for a worker. It bounds the
/// memory of a client that does not read.
const MAX_UNREAD: usize = 8 << 20;

/// A piece takes a millisecond. One that takes this time hangs.
const PIECE_LIMIT: Duration = Duration::from_secs(5);

/// How often a piece starts again after its worker died: enough that workers which die by chance fail no request, and few enough that a
/// piece which kills each of its workers ends soon; the pauses between its starts are a quarter of a second in all.
const RETRIES: u32 = 8;

/// The routes.
pub fn router(pool: Arc<Pool>) -> Router {
    Router::new()
        .route("/records", get(by_workers).head(head))
        .route("/rayon", get(by_rayon).head(head))
        .route("/rayon-collected", get(by_rayon_collected).head(head))
        .route("/serial", get(serially).head(head))
        .route("/stats", get(stats))
        .with_state(pool)
}

/// What a client asks for: `?count=50000`.
#[derive(Deserialize)]
struct Asked {
    #[serde(default = "usual_count")]
    count: usize,
    /// The number of a record that cannot be read.
    unreadable: Option<usize>,
}

fn usual_count() -> usize {
    50_000
}

impl Asked {
    fn list(&self) -> Result<List, Refused> {
        if self.count > MAX_COUNT {
            let text = format!("count is {}; ask for at most {MAX_COUNT} records", self.count);
            return Err(Refused(StatusCode::BAD_REQUEST, text));
        }
        Ok((self.count, self.unreadable))
    }
}

/// An answer that is no list.
struct Refused(StatusCode, String);

impl Refused {
    /// If the gate is closed, too many pieces wait: the client hears it at once, and may come again. Any other error is the server's.
    fn no_task(error: Error) -> Refused {
        match error.kind() {
            ErrorKind::Busy => Refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            _ => Refused::failed(error),
        }
    }

    fn failed(error: impl Display) -> Refused {
        tell(&error);
        Refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refused(status, text) = self;
        let mut answer = (status, text + "\n").into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        answer
    }
}

/// The piece: it writes some records straight into the memory that server and worker share.
fn write_records(list: List, range: (usize, usize), sink: &mut Sink) -> io::Result<()> {
    records::write(list, range, sink)
}

/// By worker processes, and sent while they work.
async fn by_workers(State(pool): State<Arc<Pool>>, Query(asked): Query<Asked>) -> Result<Response, Refused> {
    let list = asked.list()?;
    let task = pool.try_task::<Vec<u8>>().map_err(Refused::no_task)?;
    // A client that leaves drops the body, and so the task: what runs for it is killed, and what waits never begins.
    let task = task.kill_on_drop(true).retries(RETRIES).timeout(PIECE_LIMIT).max_unread(MAX_UNREAD);
    task.run_all_into(write_records, records::ranges(list.0).map(|range| (list, range)));
    streamed(task.stream_bytes()).await
}

/// By rayon's threads, and sent while they work. A piece that has begun runs to its end, and what the client has not read lies in memory, up
/// to all of the list; once the client has left, no other piece begins.
async fn by_rayon(Query(asked): Query<Asked>) -> Result<Response, Refused> {
    let list = asked.list()?;
    let chunks: FuturesOrdered<_> = records::ranges(list.0)
        .map(|range| {
            let (sender, chunk) = oneshot::channel();
            // The first ones first, since they are sent first.
            rayon::spawn_fifo(move || {
                if !sender.is_closed() {
                    // The client may leave meanwhile.
                    let _left = sender.send(rendered(list, range));
                }
            });
            chunk
        })
        .collect();
    streamed(chunks.map(|chunk| chunk.unwrap_or_else(|gone| Err(io::Error::other(gone))))).await
}

/// By rayon's threads, as handlers usually use them: a parallel iterator is collected, and then the first byte is sent.
async fn by_rayon_collected(Query(asked): Query<Asked>) -> Result<Response, Refused> {
    let list = asked.list()?;
    let (sender, all) = oneshot::channel();
    rayon::spawn(move || {
        let ranges: Vec<_> = records::ranges(list.0).collect();
        let chunks = ranges.into_par_iter().map(|range| rendered(list, range)).collect::<io::Result<Vec<_>>>();
        // The client may leave meanwhile.
        let _left = sender.send(chunks);
    });
    let chunks = all.await.map_err(Refused::failed)?.map_err(Refused::failed)?;
    Ok(json(stream::iter(chunks.into_iter().map(io::Result::Ok))))
}

/// By one thread, as an async program does blocking work: all of it is made before the first byte is sent.
async fn serially(Query(asked): Query<Asked>) -> Result<Response, Refused> {
    let list = asked.list()?;
    let all = move || records::ranges(list.0).map(|range| rendered(list, range)).collect::<io::Result<Vec<_>>>();
    let chunks = tokio::task::spawn_blocking(all).await.map_err(Refused::failed)?;
    let chunks = chunks.map_err(Refused::failed)?;
    Ok(json(stream::iter(chunks.into_iter().map(io::Result::Ok))))
}

/// A piece of a list, made in this process.
fn rendered(list: List, range: (usize, usize)) -> io::Result<Vec<u8>> {
    let mut json = Vec::with_capacity((range.1 - range.0) * RECORD_BYTES + "[]".len());
    records::write(list, range, &mut json)?;
    Ok(json)
}

/// What a client gets that asks for the head of an answer alone. No list is made for it.
async fn head(Query(asked): Query<Asked>) -> Result<Response, Refused> {
    asked.list()?;
    Ok(json(stream::empty::<io::Result<Bytes>>()))
}

/// An answer whose first part is awaited: if that fails, the client still gets an error with a status.
async fn streamed<B, E>(
    mut bytes: impl Stream<Item = Result<B, E>> + Unpin + Send + 'static,
) -> Result<Response, Refused>
where
    B: Into<Bytes> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    match bytes.next().await {
        Some(Err(error)) => Err(Refused::failed(error)),
        first => Ok(json(stream::iter(first).chain(bytes))),
    }
}

/// What the pool does.
async fn stats(State(pool): State<Arc<Pool>>) -> Result<Response, Refused> {
    // It reads files of /proc, which takes some microseconds.
    let stats = serde_json::to_vec(&pool.stats()).map_err(Refused::failed)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], stats).into_response())
}

/// An answer of JSON. An error in the middle of it breaks the connection off, so that the client does not take it for whole.
fn json<B, E>(bytes: impl Stream<Item = Result<B, E>> + Send + 'static) -> Response
where
    B: Into<Bytes> + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let body = Body::from_stream(bytes.inspect_err(|error| tell(error)));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that hears 503 comes again; that helps with a closed gate only.
    #[test]
    fn an_error_that_is_no_closed_gate_is_the_servers() {
        let error = Pool::builder().workers(0).build().err().unwrap();
        assert_eq!(Refused::no_task(error).0, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
