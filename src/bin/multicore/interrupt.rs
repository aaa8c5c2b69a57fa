//! Ctrl-C and SIGTERM: the first lets what runs end, the second kills it, the third ends this process at once.

use crate::address;
use crate::summary::INTERRUPTED;
use crate::tell;
use multicore::Canceller;
use rustix::fd::OwnedFd;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Nobody accepts what connects to a beacon, so more do not get through; they see a listener all the same.
const BEACON_CONNECTIONS: usize = 16;

/// How many of these signals have come.
#[derive(Debug, Clone, Default)]
pub struct Interrupts(Arc<AtomicU32>);

/// An address at which this process listens until the run is stopped. A worker asks there before it tries a failed job again.
#[derive(Debug, Clone)]
pub struct Beacon {
    name: Vec<u8>,
    listener: Arc<Mutex<Option<OwnedFd>>>,
}

impl Beacon {
    pub fn light() -> io::Result<Beacon> {
        let (name, listener) = address::listen(BEACON_CONNECTIONS)?;
        Ok(Beacon { name, listener: Arc::new(Mutex::new(Some(listener))) })
    }

    pub fn name(&self) -> &[u8] {
        &self.name
    }

    pub fn put_out(&self) {
        if let Some(listener) = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take() {
            address::end(listener);
        }
    }
}

impl Interrupts {
    /// From now on signals end the task. SIGHUP is left as it is: `nohup` ignores it, and else it ends the runner with
    /// all jobs, as SIGKILL does.
    pub fn watch(canceller: Canceller, beacon: Beacon) -> io::Result<Interrupts> {
        let interrupts = Interrupts::default();
        let count = Arc::clone(&interrupts.0);
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        std::thread::Builder::new().name("multicore-signals".to_string()).spawn(move || {
            // First what is to be done, then a line about it: a full pipe must not hold up either, nor the next signal.
            for _ in &mut signals {
                match count.fetch_add(1, Ordering::SeqCst) {
                    0 => {
                        beacon.put_out();
                        canceller.stop();
                        tell::line_at_once("multicore run: stopping: what runs comes to its end; once more kills it");
                    }
                    1 => {
                        canceller.cancel();
                        tell::line_at_once("multicore run: killing what runs");
                    }
                    // Something else holds it up, as a full pipe does. The fork server kills what runs.
                    _ => std::process::exit(i32::from(INTERRUPTED)),
                }
            }
        })?;
        Ok(interrupts)
    }

    pub fn is_interrupted(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }
}
