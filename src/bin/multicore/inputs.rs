//! The inputs, one by one, read no earlier than needed.
//!
//! Invariant: from a pipe or a terminal only `AHEAD` inputs are read before they are asked for, so an endless one works.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::Duration;

/// Inputs that wait to be asked for.
const AHEAD: usize = 64;

/// What separates inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separator {
    Line,
    Zero,
}

#[derive(Debug)]
pub struct Inputs {
    source: Source,
    separator: Separator,
    /// How many there are, where that is known.
    total: Option<u64>,
    given: u64,
}

#[derive(Debug)]
enum Source {
    List(std::vec::IntoIter<Vec<u8>>),
    Clusters {
        next: u64,
        count: u64,
    },
    File(BufReader<File>),
    /// A thread reads, since nobody knows when the next input comes.
    Stream(Receiver<io::Result<Vec<u8>>>),
}

#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Input(Vec<u8>),
    /// None has come within the time.
    NotYet,
    End,
}

impl Inputs {
    pub fn list(inputs: Vec<OsString>) -> Inputs {
        let inputs: Vec<Vec<u8>> = inputs.into_iter().map(OsString::into_vec).collect();
        let total = Some(inputs.len() as u64);
        Inputs { source: Source::List(inputs.into_iter()), separator: Separator::Line, total, given: 0 }
    }

    /// `1/count` to `count/count`.
    pub fn clusters(count: u64) -> Inputs {
        let source = Source::Clusters { next: 1, count };
        Inputs { source, separator: Separator::Line, total: Some(count), given: 0 }
    }

    pub fn file(path: &Path, separator: Separator) -> io::Result<Inputs> {
        Inputs::of(File::open(path)?, separator)
    }

    pub fn stdin(separator: Separator) -> io::Result<Inputs> {
        use std::os::fd::AsFd;
        Inputs::of(io::stdin().as_fd().try_clone_to_owned()?.into(), separator)
    }

    fn of(file: File, separator: Separator) -> io::Result<Inputs> {
        let kind = file.metadata()?.file_type();
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let source = if kind.is_file() { Source::File(BufReader::new(file)) } else { stream(file, separator) };
        Ok(Inputs { source, separator, total: None, given: 0 })
    }

    /// Reads all inputs now, for those who must know how many there are.
    pub fn count(&mut self) -> io::Result<u64> {
        if let Some(total) = self.total {
            return Ok(total);
        }
        let mut all = Vec::new();
        while let Some(input) = self.read(None)? {
            all.push(input);
        }
        let total = all.len() as u64;
        self.source = Source::List(all.into_iter());
        self.total = Some(total);
        Ok(total)
    }

    /// True if reading ahead takes no longer than the file is long.
    pub fn is_file(&self) -> bool {
        matches!(self.source, Source::File(_))
    }

    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The next input. Where it may be long in coming, waits at most that long.
    pub fn next(&mut self, patience: Duration) -> io::Result<Next> {
        let next = match self.read(Some(patience)) {
            Ok(Some(input)) => Next::Input(input),
            Ok(None) => Next::End,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::NotYet),
            Err(error) => return Err(error),
        };
        self.given += 1;
        if let Next::Input(input) = &next
            && input.contains(&0)
        {
            let message = format!("input {} has a zero byte; are inputs separated by zeros? Then give -0", self.given);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(next)
    }

    fn read(&mut self, patience: Option<Duration>) -> io::Result<Option<Vec<u8>>> {
        match &mut self.source {
            Source::List(list) => Ok(list.next()),
            Source::Clusters { next, count } => {
                let input = (*next <= *count).then(|| format!("{next}/{count}").into_bytes());
                *next = next.saturating_add(1);
                Ok(input)
            }
            Source::File(file) => read_one(file, self.separator),
            Source::Stream(stream) => receive(stream, patience),
        }
    }
}

fn receive(stream: &Receiver<io::Result<Vec<u8>>>, patience: Option<Duration>) -> io::Result<Option<Vec<u8>>> {
    match stream.try_recv() {
        Ok(input) => return input.map(Some),
        Err(TryRecvError::Disconnected) => return Ok(None),
        Err(TryRecvError::Empty) => {}
    }
    let Some(patience) = patience else { return stream.recv().ok().transpose() };
    match stream.recv_timeout(patience) {
        Ok(input) => input.map(Some),
        Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::WouldBlock.into()),
        Err(RecvTimeoutError::Disconnected) => Ok(None),
    }
}

fn stream(file: File, separator: Separator) -> Source {
    let (sender, receiver) = sync_channel(AHEAD);
    let mut file = BufReader::new(file);
    std::thread::spawn(move || {
        while let Some(input) = read_one(&mut file, separator).transpose() {
            let is_error = input.is_err();
            if sender.send(input).is_err() || is_error {
                return;
            }
        }
    });
    Source::Stream(receiver)
}

fn read_one(file: &mut impl BufRead, separator: Separator) -> io::Result<Option<Vec<u8>>> {
    let end = match separator {
        Separator::Line => b'\n',
        Separator::Zero => 0,
    };
    let mut input = Vec::new();
    if file.read_until(end, &mut input)? == 0 {
        return Ok(None);
    }
    if input.last() == Some(&end) {
        input.pop();
    }
    Ok(Some(input))
}

#[cfg(test)]
mod tests;
