//! Reads a journal as its user sees it: one outcome after the other.
//!
//! Invariant: it reads what was there when it was opened, changes nothing, and needs no lock.

use super::file::{refused, unusable};
use super::format::{Ended, How, Kind, Run};
use super::log::{self, Fault};
use super::scan::{Damage, Found, Next, Scanner};
use crate::error::{Error, ErrorKind};
use crate::sys::record_file::RecordFile;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A message is read up to this length.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// The outcomes in a journal, in the order in which they were recorded: what [`read`] gives.
///
/// After an error it ends.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    /// `None` at the end, and for a file that was never more than begun.
    scanner: Option<Scanner<RecordFile>>,
    runs: HashMap<u32, Arc<Run>>,
    torn_tail: Option<Range<u64>>,
}

/// How a recorded piece ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It is done.
    Done,
    /// It has failed.
    Failed,
}

/// How one piece ended, as its journal tells.
#[derive(Debug, Clone)]
pub struct Record {
    run: Arc<Run>,
    ended: Ended,
    text: Vec<u8>,
    range: Range<u64>,
}

/// Opens a journal to read it, also while a task writes it.
///
/// A torn tail, as a power cut leaves it, is passed over, and nothing is changed.
///
/// ```no_run
/// # fn main() -> Result<(), multicore::Error> {
/// for record in multicore::journal::read("import.journal")? {
///     let record = record?;
///     println!("{:?} after {} attempts", record.outcome(), record.attempts());
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Journal`](ErrorKind::Journal) if there is no such file, if it is not a file of this user, or if it is no journal.
/// The reader gives the same kind where the file is damaged.
pub fn read(path: impl AsRef<Path>) -> Result<Reader, Error> {
    let path = path.as_ref();
    let file = RecordFile::open_to_read(path).map_err(|refusal| refused(path, refusal))?;
    let opened = log::id_of(&file).and_then(|id| Ok(id.map(|id| Scanner::new(file, id)).transpose()?));
    let scanner = opened.map_err(|fault| unusable(path, fault))?;
    Ok(Reader { path: path.to_path_buf(), scanner, runs: HashMap::new(), torn_tail: None })
}

impl Reader {
    /// The bytes behind the last record that are no whole one, once the reader has ended: a crash has left them, or a task was
    /// writing when the journal was opened. The next task that opens it cuts them.
    #[must_use]
    pub fn torn_tail(&self) -> Option<Range<u64>> {
        self.torn_tail.clone()
    }

    fn find_next(&mut self) -> Result<Option<Record>, Fault> {
        let Some(scanner) = &mut self.scanner else { return Ok(None) };
        loop {
            let found = match scanner.next()? {
                Next::Record(found) => found,
                Next::End => return Ok(None),
                Next::Bad { offset } => match scanner.judge(offset)? {
                    Damage::TornTail => {
                        self.torn_tail = Some(offset..scanner.storage().length()?);
                        return Ok(None);
                    }
                    Damage::Corrupt { .. } => return Err(Fault::Corrupt { offset }),
                },
            };
            if found.head.kind == Kind::Run {
                let body = scanner.beginning(&found, log::BEGINNING_BYTES)?;
                // What cannot be read names nobody.
                self.runs.insert(found.head.run, Arc::new(Run::decode(body).unwrap_or_default()));
            } else if found.head.kind.is_outcome() {
                return record(scanner, &self.runs, &found).map(Some);
            }
        }
    }
}

fn record(scanner: &mut Scanner<RecordFile>, runs: &HashMap<u32, Arc<Run>>, found: &Found) -> Result<Record, Fault> {
    let body = if found.head.body_bytes <= log::BEGINNING_BYTES {
        scanner.beginning(found, log::BEGINNING_BYTES)?.to_vec()
    } else {
        log::read_body(scanner.storage(), found)?
    };
    let Some(ended) = Ended::decode(found.head.kind, &body) else {
        return Err(Fault::Corrupt { offset: found.offset });
    };
    let text = body[super::format::OUTCOME_BYTES..].to_vec();
    let run = runs.get(&found.head.run).cloned().unwrap_or_default();
    Ok(Record { run, ended, text, range: found.offset..found.end() })
}

impl Iterator for Reader {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.find_next().map_err(|fault| unusable(&self.path, fault)).transpose();
        if !matches!(next, Some(Ok(_))) {
            self.scanner = None;
        }
        next
    }
}

impl std::iter::FusedIterator for Reader {}

impl Record {
    /// The name of the task.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.run.name
    }

    /// The version of the task's function, as its caller gave it; empty by default.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.run.version
    }

    /// The piece's identity: it depends on the task's name, version and format, on the piece's arguments, and on how many pieces
    /// with the same arguments came before it.
    #[must_use]
    pub fn key(&self) -> [u8; 16] {
        self.ended.key
    }

    /// How the piece ended.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if self.kind().is_some() { Outcome::Failed } else { Outcome::Done }
    }

    /// How many times the piece was started in the run that recorded it.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.ended.attempts
    }

    /// Why the piece failed, if it has.
    #[must_use]
    pub fn kind(&self) -> Option<ErrorKind> {
        match self.ended.how {
            How::Failed(kind) => Some(kind),
            How::Result | How::NoResult => None,
        }
    }

    /// The message of the piece's error, without its name and place, if it has failed.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.kind()?;
        let text = &self.text[..self.text.len().min(MAX_MESSAGE_BYTES)];
        match std::str::from_utf8(text) {
            Ok(text) => Some(text),
            // What comes before is well formed.
            Err(error) => std::str::from_utf8(&text[..error.valid_up_to()]).ok(),
        }
    }

    /// The encoded result, if the piece is done and its result was recorded.
    #[must_use]
    pub fn result(&self) -> Option<&[u8]> {
        matches!(self.ended.how, How::Result).then_some(&self.text)
    }

    /// Where the record stands in the file, in bytes.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// When the piece ended.
    #[must_use]
    pub fn finished(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.ended.finished_ns)
    }

    /// How long the piece ran; with more than one attempt, the last one.
    #[must_use]
    pub fn took(&self) -> Duration {
        Duration::from_nanos(self.ended.took_ns)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Done => "done",
            Outcome::Failed => "failed",
        })
    }
}
