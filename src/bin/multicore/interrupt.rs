//! Ctrl-C and SIGTERM: the first lets what runs end, the second kills it, the third ends this process at once.

use crate::summary::INTERRUPTED;
use multicore::Canceller;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many of these signals have come.
#[derive(Debug, Clone, Default)]
pub struct Interrupts(Arc<AtomicU32>);

impl Interrupts {
    /// From now on signals end the task. SIGHUP is left as it is: `nohup` ignores it, and else it ends the runner with
    /// all jobs, as SIGKILL does.
    pub fn watch(canceller: Canceller) -> io::Result<Interrupts> {
        let interrupts = Interrupts::default();
        let count = Arc::clone(&interrupts.0);
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        std::thread::Builder::new().name("multicore-signals".to_string()).spawn(move || {
            for _ in &mut signals {
                match count.fetch_add(1, Ordering::SeqCst) {
                    0 => {
                        eprintln!("multicore run: stopping: what runs comes to its end; once more kills it");
                        canceller.stop();
                    }
                    1 => {
                        eprintln!("multicore run: killing what runs");
                        canceller.cancel();
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
