//! A client: one connection, which stays open, and one request at a time.

use crate::problem::{Problem, Result};
use axum::body::Bytes;
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// An answer that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Client {
    sender: SendRequest<Empty<Bytes>>,
    /// The task that reads and writes. It ends with this.
    connection: tokio::task::JoinHandle<()>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Result<Client> {
        let problem =
            |error: &dyn std::fmt::Display| Problem::new(format_args!("cannot connect to {address}: {error}"));
        let stream = TcpStream::connect(address).await.map_err(|error| problem(&error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| problem(&error))?;
        let connection = tokio::spawn(async move {
            // How it ended is told by the request.
            let _ended = connection.await;
        });
        Ok(Client { sender, connection })
    }

    /// Gets an answer, which must be these bytes.
    pub async fn compare(&mut self, path: &str, expected: &[u8]) -> Result<()> {
        let mut rest = expected;
        self.read(path, |bytes| match rest.split_at_checked(bytes.len()) {
            Some((begin, end)) if begin == bytes => {
                rest = end;
                Ok(true)
            }
            _ => Err(Problem::new(format_args!(
                "{path}: byte {} or one soon after is wrong",
                expected.len() - rest.len()
            ))),
        })
        .await?;
        match rest.len() {
            0 => Ok(()),
            left => Err(Problem::new(format_args!("{path}: the last {left} bytes are missing"))),
        }
    }

    /// Gets an answer.
    pub async fn bytes(&mut self, path: &str) -> Result<Bytes> {
        let mut all = Vec::new();
        self.read(path, |bytes| {
            all.extend_from_slice(bytes);
            Ok(true)
        })
        .await?;
        Ok(all.into())
    }

    /// Gets the begin of an answer, and leaves.
    pub async fn leave_after(mut self, path: &str, bytes: usize) -> Result<()> {
        let mut read = 0;
        self.read(path, |part| {
            read += part.len();
            Ok(read < bytes)
        })
        .await
    }

    /// Gets an answer, part by part, until `take` wants no more.
    async fn read(&mut self, path: &str, take: impl FnMut(&[u8]) -> Result<bool>) -> Result<()> {
        let answer = timeout(PATIENCE, self.read_all(path, take)).await;
        answer.unwrap_or_else(|_| Err(Problem::new(format_args!("{path}: no whole answer within {PATIENCE:?}"))))
    }

    async fn read_all(&mut self, path: &str, mut take: impl FnMut(&[u8]) -> Result<bool>) -> Result<()> {
        let problem = |error: &dyn std::fmt::Display| Problem::new(format_args!("{path}: {error}"));
        let mut answer = self.send(path).await.map_err(|error| problem(&error))?;
        let status = answer.status();
        let mut told = Vec::new();
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|error| problem(&error))?;
            let Some(bytes) = frame.data_ref() else { continue };
            if status != StatusCode::OK {
                told.extend_from_slice(bytes);
            } else if !take(bytes)? {
                return Ok(());
            }
        }
        match status {
            StatusCode::OK => Ok(()),
            _ => Err(problem(&format_args!("{status}: {}", String::from_utf8_lossy(&told).trim_end()))),
        }
    }

    async fn send(&mut self, path: &str) -> std::result::Result<Response<Incoming>, Box<dyn std::error::Error>> {
        self.sender.ready().await?;
        let request = Request::get(path).header(header::HOST, "localhost").body(Empty::new())?;
        Ok(self.sender.send_request(request).await?)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The socket is closed with what was not read.
        self.connection.abort();
    }
}
