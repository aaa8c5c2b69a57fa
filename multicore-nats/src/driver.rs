//! The clock, chance and the lines for people: what the machines are brought from outside.

use ring::rand::{SecureRandom, SystemRandom};
use std::io::Write;
use std::time::{Duration, Instant};

/// The time of the machines: ns since the driver began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock(Instant::now())
    }

    pub(crate) fn now(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    /// Waits until that time; for ever without one.
    pub(crate) async fn wait_until(self, at: Option<u64>) {
        match at {
            None => std::future::pending().await,
            Some(at) => tokio::time::sleep(Duration::from_nanos(at.saturating_sub(self.now()))).await,
        }
    }
}

/// Random bytes that nobody can guess.
pub(crate) fn random<const BYTES: usize>() -> Result<[u8; BYTES], String> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random numbers".to_string())?;
    Ok(bytes)
}

/// A line for people. Nobody may read it any more: that is no reason to end.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "multicore-nats: {text}");
}
