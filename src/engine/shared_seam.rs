//! The pool as the backend of its tasks.

use super::*;
use crate::backend::{self, Backend, TaskSettings, Workers};
use crate::stats::{Stats, WorkerStats};

fn site_of(site: backend::Site) -> Result<Site, Site> {
    let backend::Site { call, location } = site;
    match travel_word(&call) {
        Some(word) => Ok(Site { call, word, location }),
        None => Err(Site { call, word: 0, location }),
    }
}

const CANNOT_TRAVEL: &str =
    "never began: its function lies in a shared library, and only the executable's own are the same in a worker";

impl Backend for Shared {
    fn name(&self) -> &'static str {
        "pool"
    }

    fn configure(&self, task: TaskKey, settings: TaskSettings) {
        self.set_up(task, |old| *old = settings);
    }

    fn add_piece(&self, task: TaskKey, site: backend::Site, arguments: Handed<'_>) {
        match site_of(site) {
            Ok(site) => self.add_piece(task, site, arguments),
            Err(_) => Backend::add_failed(self, task, site, ErrorKind::Unsupported, CANNOT_TRAVEL.to_string()),
        }
    }

    fn add_pieces(&self, task: TaskKey, site: backend::Site, arguments: &[u8], ends: &[usize], more: usize) {
        match site_of(site) {
            Ok(site) => self.add_pieces(task, site, arguments, ends, more),
            Err(_) => {
                for _ in ends {
                    Backend::add_failed(self, task, site, ErrorKind::Unsupported, CANNOT_TRAVEL.to_string());
                }
            }
        }
    }

    fn add_failed(&self, task: TaskKey, site: backend::Site, kind: ErrorKind, message: String) {
        let (Ok(site) | Err(site)) = site_of(site);
        self.add_failed(task, site, |label| Error::new(kind, message).with_piece(label, 0));
    }

    fn completed(&self, task: TaskKey) -> usize {
        self.progress(task).1
    }

    fn label(&self, task: TaskKey, number: usize) -> Option<PieceLabel> {
        self.label(task, number)
    }

    fn take_in_order(
        &self,
        task: TaskKey,
        next: usize,
        order: backend::Order,
        deadline: Option<Instant>,
    ) -> Option<Vec<Settled>> {
        self.take_in_order(task, next, order == backend::Order::All, deadline)
    }

    fn take_finished(&self, task: TaskKey, taken: usize) -> Option<(usize, Settled)> {
        if !is_this_process() {
            return Some((taken, Settled::Failed(foreign())));
        }
        self.take_finished(task)
    }

    fn reuse(&self, buffer: Vec<u8>) {
        self.reuse(buffer);
    }

    fn cancel(&self, task: TaskKey) {
        self.cancel_task(task);
    }

    fn close(&self, task: TaskKey, kill: bool) {
        self.close_task(task, kill);
    }
}

impl Workers for Shared {
    fn check_process(&self) -> Result<(), Error> {
        if is_this_process() { Ok(()) } else { Err(foreign()) }
    }

    fn workers(&self) -> usize {
        self.workers
    }

    fn open_task(&self) -> Result<TaskKey, Error> {
        self.open_task()
    }

    fn stats(&self) -> Stats {
        let figures = self.figures();
        let workers = figures.workers.into_iter().enumerate();
        let workers = workers.map(|(worker, (pid, pieces_held, pieces_done, generation))| WorkerStats {
            worker,
            pid,
            pieces_held,
            pieces_done,
            generation,
        });
        Stats {
            workers: workers.collect(),
            tasks: figures.tasks,
            pieces_waiting: figures.pieces_waiting,
            pieces_done: figures.pieces_done,
            workers_lost: figures.deaths,
        }
    }

    fn shut_down(&self, kill: bool) {
        if is_this_process() {
            self.shut_down(kill);
        }
    }
}
