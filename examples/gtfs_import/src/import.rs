//! The import: table by table, pieces are read, by workers or in this process, and written in file order.

use crate::database::{self, Database};
use crate::feed::{Feed, FeedFile};
use crate::finish;
use crate::journal;
use crate::options::Options;
use crate::piece::{self, Piece, Setup, Source};
use crate::problem::{Problem, Result};
use crate::progress::Bar;
use crate::schema::TABLES;
use crate::writer::{Clock, Writer};
use multicore::{ErrorKind, Memory, Pool};
use std::os::fd::{AsFd, AsRawFd};

/// A worker takes some 20 MB, and more with the trips of a big feed. Above the first it is replaced, above the second killed.
const WORKER_HIGH_BYTES: u64 = 100 << 20;
const WORKER_MAX_BYTES: u64 = 140 << 20;
/// The most bytes of results that wait in this process for those before them.
const MAX_UNREAD_BYTES: usize = 16 << 20;
/// A worker that is killed from outside loses its piece, which then runs again in another.
const RETRIES: u32 = 3;

/// Who reads the pieces.
pub enum Readers {
    /// This process.
    Own,
    Workers(Pool),
}

/// Imports what is not in the database yet. Gives the share of the time in which the writer was busy.
pub fn import(options: &Options, feed: &Feed, readers: Readers, database: &mut dyn Database) -> Result<f64> {
    let mut import = Import { options, feed, database, clock: Clock::start(), bar: Bar::new(feed.rows()), rows: 0 };
    for table in &TABLES {
        match feed.files.iter().find(|file| file.table.name == table.name) {
            Some(file) => import.add(file, &readers)?,
            None => finish::finish_empty(import.database, table)?,
        }
    }
    import.bar.end();
    // Before the pool ends: the workers' end is no work of the writer.
    let busy = import.clock.busy();
    readers.end();
    feed.check_unchanged()?;
    database::finish(import.database)?;
    Ok(busy)
}

impl Readers {
    /// The database need not have its tables yet.
    pub fn start(options: &Options, feed: &Feed) -> Result<Readers> {
        let setup = setup(options, feed);
        if options.serial {
            piece::start(setup);
            return Ok(Readers::Own);
        }
        let descriptors: Vec<_> = feed.files.iter().map(|file| file.file.as_fd()).collect();
        let mut builder = Pool::builder()
            .pass_descriptors(&descriptors)
            .on_worker_start_with(piece::start, setup)
            .worker_memory_high(Memory::bytes(WORKER_HIGH_BYTES))
            .worker_memory_max(Memory::bytes(WORKER_MAX_BYTES));
        if let Some(workers) = options.workers {
            builder = builder.workers(workers);
        }
        let pool = builder.build().map_err(|error| Problem::new(format_args!("{error}; --serial needs no workers")))?;
        journal::probe(&pool, options, feed)?;
        Ok(Readers::Workers(pool))
    }

    fn end(self) {
        match self {
            Readers::Own => piece::end(),
            // It returns when no worker has the database open any more.
            Readers::Workers(pool) => pool.shutdown(),
        }
    }
}

/// An import that runs.
struct Import<'run> {
    options: &'run Options,
    feed: &'run Feed,
    database: &'run mut dyn Database,
    clock: Clock,
    bar: Bar,
    /// The rows of the files before.
    rows: u64,
}

impl Import<'_> {
    /// Brings a file's rows into the database.
    fn add(&mut self, file: &FeedFile, readers: &Readers) -> Result<()> {
        let (committed, is_finished) = database::progress(self.database, file)?;
        if !is_finished {
            match readers {
                Readers::Own => self.read_here(file, committed)?,
                Readers::Workers(pool) => self.read_in_pool(file, committed, pool)?,
            }
            finish::finish(self.database, file)?;
        }
        self.rows += file.layout.rows;
        self.bar.set(self.rows);
        Ok(())
    }

    /// Without a journal, the database tells what is there already.
    fn read_here(&mut self, file: &FeedFile, committed: usize) -> Result<()> {
        let mut pieces = pieces(file).skip(committed);
        let first = committed;
        self.write(file, first, committed, || Some(piece::read(pieces.next()?).map(Some)), |_| Ok(()))
    }

    fn read_in_pool(&mut self, file: &FeedFile, committed: usize, pool: &Pool) -> Result<()> {
        let task = journal::task(pool, self.options, self.feed)?.max_unread(MAX_UNREAD_BYTES).retries(RETRIES);
        for piece in pieces(file) {
            task.try_call(piece::read, piece);
        }
        journal::check_resumed(self.options, task.resumed(), committed)?;
        let confirmer = task.confirmer();
        let mut results = task.iter();
        let next = || match results.next()? {
            Err(error) if error.kind() == ErrorKind::AlreadyDone => Some(Ok(None)),
            rows => Some(rows.map(Some).map_err(Problem::new)),
        };
        self.write(file, 0, committed, next, |piece| confirmer.confirm(piece).map_err(Problem::new))
    }

    /// Writes the pieces that `next` gives, from number `first` on; what the journal has is `None`. Each is confirmed once it is
    /// committed. Those before `committed` were committed by a run that was killed before it confirmed them: to write them once more would
    /// put other pieces together in a transaction, and make another file of the same rows.
    fn write(
        &mut self,
        file: &FeedFile,
        first: usize,
        committed: usize,
        mut next: impl FnMut() -> Option<Result<Option<Vec<u8>>>>,
        mut confirm: impl FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let mut writer = Writer::new(self.database, file);
        for (number, span) in file.layout.spans.iter().enumerate().skip(first) {
            let rows = self.clock.wait(&mut next).ok_or_else(|| Problem::new("a piece was not read"))??;
            if let Some(_rows) = rows.as_ref().filter(|_| number < committed) {
                confirm(number)?;
            } else if let Some(rows) = rows {
                writer.add(number, &rows)?.into_iter().try_for_each(&mut confirm)?;
            }
            self.bar.set(self.rows + span.row);
        }
        writer.commit()?.into_iter().try_for_each(confirm)
    }
}

fn setup(options: &Options, feed: &Feed) -> Setup {
    let files = feed.files.iter().map(|file| Source {
        table: file.number,
        descriptor: file.file.as_raw_fd(),
        columns: file.columns.clone(),
    });
    Setup { target: options.database.clone(), files: files.collect() }
}

fn pieces(file: &FeedFile) -> impl Iterator<Item = Piece> {
    file.layout.spans.iter().map(|span| Piece { table: file.number, span: span.clone() })
}
